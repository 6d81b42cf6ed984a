"""What type checkers say of code that uses the package: of installed code, with its ``py.typed``."""

import json
import os
import subprocess
import sys
from pathlib import Path

from tests.servers.gunicorn import ROOT

CHECKERS = ["mypy", "pyright"]


def complaints(checker: str, code: str, directory: Path) -> list[str]:
    """Return the lines of *code* in which *checker* finds an error: mypy in its strict mode, pyright as it is."""
    (directory / "code.py").write_text(code)
    (directory / "pyrightconfig.json").write_text(json.dumps({"extraPaths": [str(ROOT)]}))
    command = {
        "mypy": [
            "--config-file",
            str(ROOT / "pyproject.toml"),
            "--no-error-summary",
            "--hide-error-context",
            "--output=json",
        ],
        "pyright": ["--outputjson", "--pythonpath", sys.executable, "--project", str(directory)],
    }[checker]
    run = subprocess.run(
        [sys.executable, "-m", checker, *command, *([str(directory / "code.py")] if checker == "mypy" else [])],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
    if checker == "mypy":
        lines = [found["line"] for found in map(json.loads, run.stdout.splitlines()) if found["severity"] == "error"]
    else:
        found = json.loads(run.stdout)["generalDiagnostics"]
        lines = [each["range"]["start"]["line"] + 1 for each in found if each["severity"] == "error"]
    assert bool(lines) == bool(run.returncode), run.stdout + run.stderr
    return [code.splitlines()[line - 1].strip() for line in lines]

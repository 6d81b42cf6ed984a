"""What somebody gets who writes something wrong, or whose store is away: a line that says what, and an exit code."""

from pathlib import Path

import pytest

from tests.backends.process import free_port
from tests.cli.running import Site, here


@pytest.mark.parametrize("user", ["", "u" * 256, "\udcff"])
@pytest.mark.parametrize("command", [("list", "--user"), ("watch", "--times", "1", "--user"), ("revoke-user", "--yes")])
def test_what_is_no_user_is_wrong_use(site: Site, command: tuple[str, ...], user: str) -> None:
    """It ends with 2, and nothing is asked."""
    done = here("--store", site.url, *command, user)

    assert done.exit_code == 2
    assert "Invalid value" in done.output


@pytest.mark.parametrize(
    ("line", "why"),
    [
        ("import os; os.environ['NOT_SET_ANYWHERE']", "it fails: KeyError: 'NOT_SET_ANYWHERE'"),
        ("1 / 0", "it fails: ZeroDivisionError: division by zero"),
        ("from session_middleware import open_store; open_store('nonsense')", "is not a kind of store"),
    ],
)
def test_an_application_that_fails_is_wrong_use(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, line: str, why: str
) -> None:
    """It ends with 2, and says how it failed."""
    module = f"failing_{tmp_path.name}"
    (tmp_path / f"{module}.py").write_text(f"{line}\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    done = here("--app", f"{module}:application", "check")

    assert done.exit_code == 2
    assert why in done.output


def test_copy_makes_no_file_to_copy_from(tmp_path: Path) -> None:
    """One that is not there is a slip."""
    done = here("copy", f"sqlite:///{tmp_path}/a.sqlite3", f"sqlite:///{tmp_path}/b.sqlite3")

    assert (done.exit_code, done.output) == (2, f"Error: {tmp_path}/a.sqlite3: there is no such file\n")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("command", ["stats", "list"])
@pytest.mark.parametrize("url", ["postgresql://u:a-password@127.0.0.1:{}/d", "redis://:a-password@127.0.0.1:{}/0"])
def test_a_store_that_is_away_says_how(url: str, command: str) -> None:
    """Not that it was away a moment ago; and no password."""
    done = here("--store", url.format(free_port()), command)

    assert done.exit_code == 3
    assert "refused" in done.output
    assert "a-password" not in done.output

"""Print the tests that the page of gates names: `python -m docs.gates`, for `make gates`."""

import re
from pathlib import Path

_NAMED = re.compile(r"`(tests/[\w/]+\.py::[\w:]+)`")


def named_on(page: str) -> list[str]:
    """Return the ids of the tests on a page, such as `reference/gates`, each once."""
    return list(dict.fromkeys(_NAMED.findall((Path(__file__).parent / f"{page}.md").read_text())))


if __name__ == "__main__":
    print(*named_on("reference/gates"))

"""A Prometheus of the tests' own."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from urllib.parse import urlencode
from urllib.request import ProxyHandler, build_opener

from tests.backends.process import ANSWERS_WITHIN, Server, executable


class Prometheus(Server):
    """Listens on loopback alone, and scrapes what its *configuration* (YAML) says."""

    name = "prometheus"

    def __init__(self, configuration: str) -> None:
        super().__init__()
        self._configuration = configuration

    def prepare(self) -> None:
        Path(self.directory, "prometheus.yml").write_text(self._configuration)

    def command(self) -> Sequence[str]:
        return [
            executable("prometheus", "prometheus"),
            f"--config.file={self.directory / 'prometheus.yml'}",
            f"--storage.tsdb.path={self.directory / 'data'}",
            f"--web.listen-address=127.0.0.1:{self.port}",
        ]

    def answers(self) -> bool:
        return "ready" in self._get("/-/ready").lower()

    def query(self, expression: str) -> list[tuple[dict[str, str], float]]:
        """Return what an expression is now: labels, and the value."""
        answer: dict[str, Any] = json.loads(self._get("/api/v1/query?" + urlencode({"query": expression})))
        assert answer["status"] == "success"
        return [(one["metric"], float(one["value"][1])) for one in answer["data"]["result"]]

    def _get(self, path: str) -> str:
        with build_opener(ProxyHandler({})).open(f"http://127.0.0.1:{self.port}{path}", timeout=ANSWERS_WITHIN) as answer:
            return str(answer.read().decode())

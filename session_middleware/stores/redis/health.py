"""What Redis servers tell of themselves. It connects to nothing itself."""

import re
import time
from typing import Final

from session_middleware.stores.base import Health
from session_middleware.stores.redis.connections import Answer, Command, Server
from session_middleware.stores.redis.deployments import Deployment
from session_middleware.stores.several import worst_of

_QUESTIONS: Final[tuple[Command, ...]] = (("TIME",), ("DBSIZE",), ("INFO",))
_FACT: Final = re.compile(r"^([a-z_]+):(.*)$", re.MULTILINE)


def health_of(servers: Deployment, timeout: float) -> Health:
    """Return what *servers* tell, the worst of them; each has the *timeout* (seconds) to answer."""
    found = [_told(servers, server, time.monotonic() + timeout) for server in servers.servers(time.monotonic() + timeout)]
    return worst_of(found)


def _told(servers: Deployment, server: Server, deadline: float) -> Health:
    asked = time.time()
    clock, records, info = servers.ask_at(server, _QUESTIONS, deadline, may_refuse=True)
    half_way = (asked + time.time()) / 2
    facts = _facts(info)
    version, space = facts.get("valkey_version"), int(facts.get("maxmemory", 0))
    used = int(facts.get("used_memory", 0))
    return Health(
        "Valkey" if version else "Redis",
        version=version or facts.get("redis_version"),
        role=facts.get("role"),
        eviction=facts.get("maxmemory_policy"),
        tls=servers.tls,
        clock_difference=int(clock[0]) + int(clock[1]) / 1e6 - half_way if isinstance(clock, list) else None,
        free_space=max(0, space - used) if space else None,
        space=space or None,
        records=records if isinstance(records, int) else None,
    )


def _facts(info: Answer) -> dict[str, str]:
    text = info.decode(errors="replace").replace("\r", "") if isinstance(info, bytes) else ""
    return dict(_FACT.findall(text))

"""Which browser, on which system, in which network: for people who look for what is not theirs among their sessions.

It is one way to describe a request; the option ``describe`` takes any other. It asks no server and no file.
"""

import ipaddress
from collections.abc import Mapping
from functools import cache, lru_cache
from typing import Any, Final

try:
    import ua_parser
except ImportError as error:
    raise ImportError("ua-parser is not installed: pip install 'session-middleware[devices]'", name="ua_parser") from error

from session_middleware.describing import readable

# So much of a User-Agent is looked at: those of browsers are half as long, and the parser's expressions are not all linear.
_LOOKED_AT: Final = 512
_LONGEST_NAME: Final = 60
_LONGEST_ADDRESS: Final = 64
# What a client sends can be different each time, so what is remembered of it has a bound.
_REMEMBERED: Final = 1024

_NAMES: Final = {
    "Mac OS X": "macOS",
    "Chrome OS": "ChromeOS",
    "Mobile Safari UI/WKWebView": "App",
    "Chrome Mobile WebView": "App",
}
# On which kind of device it runs, the name of the system says.
_LEFT_OUT: Final = frozenset({"Mobile", "iOS"})


def browser_and_network(environ: Mapping[str, Any]) -> str | None:
    """Return what is known of a request, such as ``"Firefox on Ubuntu, 203.0.113.0/24"``; ``None`` if that is nothing.

    The names of browser and system are what ``User-Agent`` claims. The network is the first 24 bits of ``REMOTE_ADDR``, of
    IPv6 the first 48; no more of the address is ever returned. What stands in headers of proxies is not looked at.
    """
    parts = _names(environ.get("HTTP_USER_AGENT", "")[:_LOOKED_AT]), _network(environ.get("REMOTE_ADDR", ""))
    return ", ".join([part for part in parts if part]) or None


@lru_cache(_REMEMBERED)
def _names(user_agent: str) -> str:
    """Return the names of browser and system, those that are known."""
    found = _parser()(user_agent, ua_parser.Domain.USER_AGENT | ua_parser.Domain.OS)
    browser = "" if found.user_agent is None else _name(found.user_agent.family, _LEFT_OUT)
    system = "" if found.os is None else _name(found.os.family)
    return " on ".join([name for name in (browser, system) if name])


def _name(family: str, left_out: frozenset[str] = frozenset()) -> str:
    if family in _NAMES:
        return _NAMES[family]
    words = [word for word in family.split() if word not in left_out]
    return readable(" ".join(words) or family, _LONGEST_NAME)


def _network(address: str) -> str | None:
    return _network_of(address) if len(address) <= _LONGEST_ADDRESS else None


@lru_cache(_REMEMBERED)
def _network_of(address: str) -> str | None:
    try:
        found = ipaddress.ip_address(address)
    except ValueError:
        return None  # a Unix socket has none
    if isinstance(found, ipaddress.IPv6Address) and found.ipv4_mapped is not None:
        found = found.ipv4_mapped
    return str(ipaddress.ip_network((found.packed, 24 if found.version == 4 else 48), strict=False))


@cache
def _parser() -> ua_parser.Resolver:
    browsers, systems, _ = ua_parser.load_lazy_builtins()
    return ua_parser.BestAvailableResolver((browsers, systems, []))

"""What browsers, systems and networks are called, whatever a client sends."""

import ipaddress
import runpy
import sys
import time
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from session_middleware import devices
from session_middleware.devices import browser_and_network

KIT = "AppleWebKit/605.1.15 (KHTML, like Gecko)"
IPHONE = "Mozilla/5.0 (iPhone; CPU iPhone OS 17_5 like Mac OS X)"
PIXEL = "Mozilla/5.0 (Linux; Android 14; Pixel 8)"
WINDOWS = "Mozilla/5.0 (Windows NT 10.0; Win64; x64)"
MAC = "Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7)"


def called(user_agent: str | None = None, address: str | None = None) -> str | None:
    environ: dict[str, Any] = {"HTTP_X_FORWARDED_FOR": "198.51.100.7", "HTTP_FORWARDED": "for=198.51.100.7"}
    if user_agent is not None:
        environ["HTTP_USER_AGENT"] = user_agent
    if address is not None:
        environ["REMOTE_ADDR"] = address
    return browser_and_network(environ)


@pytest.mark.parametrize(
    ("user_agent", "name"),
    [
        ("Mozilla/5.0 (X11; Ubuntu; Linux x86_64; rv:128.0) Gecko/20100101 Firefox/128.0", "Firefox on Ubuntu"),
        ("Mozilla/5.0 (Android 14; Mobile; rv:128.0) Gecko/128.0 Firefox/128.0", "Firefox on Android"),
        (f"{WINDOWS} {KIT} Chrome/126.0.0.0 Safari/537.36", "Chrome on Windows"),
        (f"{WINDOWS} {KIT} Chrome/126.0.0.0 Safari/537.36 Edg/126.0.0.0", "Edge on Windows"),
        ("Mozilla/5.0 (X11; CrOS x86_64 14541.0.0) Chrome/126.0.0.0 Safari/537.36", "Chrome on ChromeOS"),
        (f"{MAC} {KIT} Version/17.5 Safari/605.1.15", "Safari on macOS"),
        (f"{IPHONE} {KIT} Version/17.5 Mobile/15E148 Safari/604.1", "Safari on iOS"),
        (f"{IPHONE} {KIT} CriOS/126.0 Mobile/15E148 Safari/604.1", "Chrome on iOS"),
        (f"{IPHONE} {KIT} FxiOS/128.0 Mobile/15E148 Safari/605.1.15", "Firefox on iOS"),
        (f"{IPHONE} {KIT} Mobile/15E148", "App on iOS"),
        (f"{PIXEL} {KIT} Chrome/126.0.0.0 Mobile Safari/537.36", "Chrome on Android"),
        (f"{PIXEL} {KIT} SamsungBrowser/25.0 Chrome/121.0.0.0 Mobile Safari/537.36", "Samsung Internet on Android"),
        ("curl/8.5.0", "curl"),
        ("(Windows NT 10.0)", "Windows"),
        ("something else", None),
        ("", None),
        (None, None),
    ],
)
def test_browsers_and_systems_have_the_names_that_people_know(user_agent: str | None, name: str | None) -> None:
    """Without versions, and without what the name of the system says already."""
    assert called(user_agent) == name
    assert called(user_agent, "203.0.113.77") == (f"{name}, 203.0.113.0/24" if name else "203.0.113.0/24")


@pytest.mark.parametrize(
    ("address", "network"),
    [
        ("203.0.113.77", "203.0.113.0/24"),
        ("127.0.0.1", "127.0.0.0/24"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1::/48"),
        ("::1", "::/48"),
        ("fe80::1%eth0", "fe80::/48"),
        ("::ffff:203.0.113.77", "203.0.113.0/24"),
        ("", None),
        ("unix:", None),
        ("/run/gunicorn.sock", None),
        ("203.0.113.77:8000", None),
        ("203.0.113.077", None),
        ("fe80::1%" + 70_000 * "0", None),
        (None, None),
    ],
)
def test_of_an_address_the_network_is_told(address: str | None, network: str | None) -> None:
    """The first 24 bits, of IPv6 the first 48; what is no address, as with a Unix socket, has none."""
    assert called(None, address) == network


@given(st.ip_addresses())
def test_no_whole_address_is_ever_told(address: ipaddress.IPv4Address | ipaddress.IPv6Address) -> None:
    """All addresses of one network have one text, whatever the last bits are."""
    mapped = address.ipv4_mapped if address.version == 6 else None
    told = called(None, str(address))
    assert told is not None
    network = ipaddress.ip_network(told)

    assert (mapped or address) in network
    assert network.prefixlen == (48 if network.version == 6 else 24)


PIECES = st.sampled_from(
    [WINDOWS, IPHONE, KIT, "Firefox/", "Chrome/1", "Version/", "Mobile ", "bot", "\x1b[2J", "\r\n", "é"]
)
# As servers give them: each byte of a header is a character (PEP 3333).
HEADERS = st.lists(PIECES | st.binary(max_size=40).map(lambda some: some.decode("latin-1")), max_size=30).map("".join)


@given(HEADERS, st.text(max_size=50))
def test_whatever_a_client_sends_the_text_is_short_and_can_be_shown(user_agent: str, address: str) -> None:
    """Promise 10: no header makes it fail, and a terminal finds nothing in it to obey."""
    told = called(user_agent, address)

    assert told is None or (told.isprintable() and len(told.encode()) <= 200)


@given(st.text())
def test_a_header_may_be_any_text(user_agent: str) -> None:
    """Some servers decode headers otherwise."""
    told = called(user_agent, "203.0.113.77")

    assert told is not None
    assert told.endswith("203.0.113.0/24")
    assert told.isprintable()


@pytest.mark.parametrize("some", ["Mozilla/5.0 (Ladybird", "crawler", " ", "Version/1", "d.d)", "\x00", WINDOWS])
def test_a_header_of_64_kib_takes_no_longer_than_a_short_one(some: str) -> None:
    """Only its beginning is looked at: on a quiet machine that is some milliseconds at most."""
    called("something to begin with")
    started = time.process_time()
    for number in range(10):
        called(f"{number} {some}" + some * (65536 // len(some)))

    assert time.process_time() - started < 2


def test_of_a_million_headers_few_are_remembered() -> None:
    """A hostile client that sends another one each time fills no memory."""
    for number in range(3000):
        called(f"curl/{number}", f"10.{number >> 8}.{number & 255}.1")
    called("x" * 65536, "y" * 65536)

    for remembered in (devices._names, devices._network_of):
        found = remembered.cache_info()
        assert found.maxsize == found.currsize == 1024


def test_without_the_parser_it_is_said_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """Promise 15: what is missing is found when it is asked for, not at the first request."""
    monkeypatch.setitem(sys.modules, "ua_parser", None)
    with pytest.raises(ImportError, match=r"pip install 'session-middleware\[devices\]'"):
        runpy.run_path(str(devices.__file__))

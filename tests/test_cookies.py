"""What the session cookie looks like, which headers it is read from, and what browsers make of it: K-1 to K-32."""

import itertools
import locale
import logging
import random
import re
import shutil
import subprocess
import time
import timeit
from collections.abc import Callable, Iterator
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import Any, Final, Literal, get_args
from wsgiref.types import WSGIEnvironment

import flask
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from webtest import TestApp

from session_middleware import ConfigurationError, CookiePolicy, MemoryStore, SessionMiddleware, get_session
from session_middleware.carry_over import Carried
from session_middleware.cookies import SessionCookie, reader
from session_middleware.testing import FakeClock, FaultyStore
from session_middleware.tokens import Token
from tests.apps import an_environ, list_app, visit
from tests.clients import UserAgent

SameSite = Literal["Lax", "Strict", "None"]

TOKEN: Final = "Token-of_40-characters_of-base64url_00zZ"
OTHER: Final = TOKEN.swapcase()
LATEST: Final = 400 * 86400
LONGEST: Final = 64 * 1024

PLAIN = CookiePolicy().for_scheme("http")
SECURE = CookiePolicy().for_scheme("https")


def tokens(*numbers: int) -> tuple[str, ...]:
    return tuple(f"{number:040}" for number in numbers)


def read(cookie: SessionCookie, header: object) -> tuple[str, ...]:
    return tuple(token.reveal() for token in cookie.read(header))


def pairs(name: str, *values: str) -> str:
    return "; ".join(f"{name}={value}" for value in values)


class TestAttributes:
    @pytest.mark.parametrize(
        ("policy", "scheme", "name", "attributes"),
        [
            (CookiePolicy(), "http", "session", "; Path=/; HttpOnly; SameSite=Lax"),
            (CookiePolicy(), "https", "__Host-session", "; Path=/; secure; HttpOnly; SameSite=Lax"),
            (CookiePolicy(secure=True), "http", "__Host-session", "; Path=/; secure; HttpOnly; SameSite=Lax"),
            (CookiePolicy(secure=False), "https", "session", "; Path=/; HttpOnly; SameSite=Lax"),
            (CookiePolicy(name="sid"), "https", "__Host-sid", "; Path=/; secure; HttpOnly; SameSite=Lax"),
            (CookiePolicy(samesite="Strict"), "http", "session", "; Path=/; HttpOnly; SameSite=Strict"),
            (CookiePolicy(path="/app"), "https", "__Secure-session", "; Path=/app; secure; HttpOnly; SameSite=Lax"),
            (CookiePolicy(path="/a%20b"), "http", "session", "; Path=/a%20b; HttpOnly; SameSite=Lax"),
            (
                CookiePolicy(domain="example.com"),
                "https",
                "__Secure-session",
                "; Domain=example.com; Path=/; secure; HttpOnly; SameSite=Lax",
            ),
            (
                CookiePolicy(secure=True, samesite="None", partitioned=True),
                "https",
                "__Host-session",
                "; Path=/; secure; HttpOnly; SameSite=None; Partitioned",
            ),
        ],
    )
    def test_the_header_is_exactly_this(self, policy: CookiePolicy, scheme: str, name: str, attributes: str) -> None:
        """K-9, K-10, K-11, V-40: no option is lost on its way, and the deletion has the attributes of the cookie."""
        cookie = policy.for_scheme(scheme)
        gone = "; Max-Age=0; Expires=Thu, 01 Jan 1970 00:00:00 GMT"

        assert cookie.name == name
        assert cookie.header(Token(TOKEN)) == f"{name}={TOKEN}{attributes}"
        assert cookie.deletion_header() == f"{name}={attributes}{gone}"
        persistent = cookie.header(Token(TOKEN), max_age=60)
        assert persistent.startswith(f"{name}={TOKEN}{attributes}; Max-Age=60; Expires=")

    @pytest.mark.parametrize("scheme", ["http", "https"])
    def test_browsers_do_what_the_policy_says(self, scheme: str) -> None:
        """G-27: every combination of options goes through a model of a browser, or none would take it."""
        combinations = itertools.product(
            ("auto", True, False),
            get_args(SameSite),
            ("/", "/app", "/app/"),
            (None, "example.com", ".example.com", "www.example.com"),
            (True, False),
        )
        for secure, samesite, path, domain, partitioned in combinations:
            options: dict[str, Any] = {
                "secure": secure,
                "samesite": samesite,
                "path": path,
                "domain": domain,
                "partitioned": partitioned,
            }
            if secure is not True and (samesite == "None" or partitioned):
                with pytest.raises(ConfigurationError, match="needs secure=True"):
                    CookiePolicy(**options)
                continue
            check_in_a_browser(CookiePolicy(**options), scheme)

    def test_the_browser_model_refuses_what_browsers_refuse(self) -> None:
        """G-27: the model is no rubber stamp."""
        url, attributes = "https://www.example.com/", "; Path=/; Secure; HttpOnly; SameSite=Lax"
        refused = {
            "http://www.example.com/": f"a=b{attributes}",
            "https://www.example.com/0": "a=b; SameSite=None",
            "https://www.example.com/1": "a=b; Partitioned",
            "https://www.example.com/2": f"__Host-a=b{attributes}; Domain=www.example.com",
            "https://www.example.com/3": "__Host-a=b; Secure",
            "https://www.example.com/4": "__HOST-a=b; Secure; Path=/app",
            "https://www.example.com/5": "__secure-a=b; Path=/",
            "https://www.example.com/6": "a=b; Domain=other.com",
            "https://www.example.com/7": "a=b; Domain=com",
            "https://www.example.com/8": "a=b\x7f",
            "https://www.example.com/9": f"a={'b' * 4096}",
            "https://www.example.com/10": "; Path=/",
            "https://www.example.com/11": "=__Host-a=b",
        }
        for at, set_cookie in refused.items():
            assert UserAgent(now=0).receive(at, set_cookie) is not None, set_cookie

        agent = UserAgent(now=0)
        assert agent.receive(url, f"a=b{attributes}") is None
        assert agent.receive("http://www.example.com/", "a=c; Path=/") == "a Secure one is there"
        assert agent.receive(url, "a=; Max-Age=0; Path=/") is None
        assert agent.header(url) is None
        assert agent.receive(url, f"a=b{attributes}; Expires=Thu, 01 Jan 2037 00:00:00 GMT") is None
        assert agent.cookies.popitem()[1].expires == LATEST

    def test_the_name_and_value_are_short(self) -> None:
        """K-7, A-3.3.5: at most 128 octets, where browsers take 4,096."""
        for policy in (CookiePolicy(name="n" * 64, path="/app"), CookiePolicy(name="n" * 64, domain="example.com")):
            assert len(policy.for_scheme("https").header(Token(TOKEN)).partition(";")[0]) <= 128

    def test_no_attribute_is_there_twice(self) -> None:
        """K-2: nor is anything in it that is no cookie-octet or av-octet (K-1, K-8)."""
        policy = CookiePolicy(secure=True, samesite="None", partitioned=True, domain="example.com", path="/app")
        cookie = policy.for_scheme("https")
        for header in (cookie.header(Token(TOKEN)), cookie.header(Token(TOKEN), max_age=5), cookie.deletion_header()):
            names = [part.partition("=")[0].lower() for part in header.split("; ")[1:]]

            assert len(set(names)) == len(names)
            assert header.isascii()
            assert header.isprintable()
            assert re.fullmatch(r"[!#-+\--:<-\[\]-~]*", header.partition(";")[0].partition("=")[2])

    def test_there_is_no_option_to_let_scripts_read_it(self) -> None:
        """A-3.3.4: ``HttpOnly`` is always there."""
        with pytest.raises(TypeError, match="httponly"):
            CookiePolicy(httponly=False)  # type: ignore[call-arg]


def check_in_a_browser(policy: CookiePolicy, scheme: str) -> None:
    """Create, make persistent and delete the cookie in a model of a browser."""
    # A server that is told nothing by its proxy sees http where the browser sees https.
    url = f"{'https' if policy.secure is True else scheme}://www.example.com/app/page"
    cookie, secure = policy.for_scheme(scheme), policy.secure is True or (policy.secure == "auto" and scheme == "https")
    for max_age in (None, 3600, LATEST, 10 * LATEST):
        agent = UserAgent(now=1_900_000_000)

        assert agent.receive(url, cookie.header(Token(TOKEN), max_age=max_age)) is None
        (kept,) = agent.cookies.values()
        assert (kept.name, kept.value) == (cookie.name, TOKEN)
        for_host_alone = policy.path == "/" and policy.domain is None
        assert kept.name == ("" if not secure else "__Host-" if for_host_alone else "__Secure-") + policy.name
        assert (kept.secure, kept.http_only, kept.partitioned) == (secure, True, policy.partitioned)
        assert (kept.same_site, kept.path) == (policy.samesite, policy.path)
        assert kept.host_only == (policy.domain is None)
        assert kept.domain == (policy.domain or "www.example.com").removeprefix(".")
        assert kept.expires == (None if max_age is None else agent.now + min(max_age, LATEST))
        assert read(cookie, agent.header(url)) == (TOKEN,)

        assert agent.receive(url, cookie.header(Token(OTHER), max_age=max_age)) is None
        assert read(cookie, agent.header(url)) == (OTHER,)

        assert agent.receive(url, cookie.deletion_header()) is None
        assert agent.cookies == {}


class TestDates:
    def test_expires_is_the_moment_that_max_age_means(self) -> None:
        """K-5, K-6: RFC 9110's only date format, for browsers that know no ``Max-Age``."""
        before = int(time.time())
        header = PLAIN.header(Token(TOKEN), max_age=3600)
        date = header.rpartition("Expires=")[2]
        expires = int(parsedate_to_datetime(date).timestamp())

        assert re.fullmatch(r"[A-Z][a-z]{2}, \d\d [A-Z][a-z]{2} \d{4} \d\d:\d\d:\d\d GMT", date)
        assert before + 3600 <= expires <= time.time() + 3600

    def test_no_cookie_is_kept_longer_than_browsers_keep_it(self) -> None:
        """K-6: 400 days; the session may live longer in the store."""
        header = PLAIN.header(Token(TOKEN), max_age=LATEST + 1)

        assert "; Max-Age=34560000; " in header
        assert parsedate_to_datetime(header.rpartition("Expires=")[2]).timestamp() <= time.time() + LATEST

    def test_dates_are_english_in_every_locale(self, foreign_locale: None) -> None:
        """K-5: a process may have set ``LC_TIME``."""
        header = PLAIN.header(Token(TOKEN), max_age=60)

        assert re.search(
            r"Expires=(Mon|Tue|Wed|Thu|Fri|Sat|Sun), \d\d (Jan|Feb|Mar|Apr|May|Jun|Jul|Aug|Sep|Oct|Nov|Dec) ", header
        )


@pytest.fixture
def foreign_locale(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Name days and months in another language, if the machine has one or can make one."""
    if shutil.which("localedef"):
        command = ["localedef", "-i", "de_DE", "-f", "UTF-8", str(tmp_path / "de_DE.UTF-8")]
        if subprocess.run(command, capture_output=True, check=False).returncode == 0:
            monkeypatch.setenv("LOCPATH", str(tmp_path))
    before = locale.setlocale(locale.LC_TIME)
    for name in ("de_DE.UTF-8", "fr_FR.UTF-8", "ja_JP.UTF-8", "de_DE", "fr_FR"):
        try:
            locale.setlocale(locale.LC_TIME, name)
        except locale.Error:
            continue
        assert time.strftime("%B", time.gmtime(5_000_000)) != "February"
        break
    yield
    locale.setlocale(locale.LC_TIME, before)


NO_NAMES: Final = [
    *("", "a b", "a=b", "a;b", "a,b", 'a"b', "a\r\nb", "a\x00", "a\x7f", "\xe4", "\u2603", " a", "a\n", "a" * 65),
    *("$a", "path", "Path", "EXPIRES", "max-age", "HttpOnly"),
]
NO_PATHS: Final = [
    *("", "app", "/a;b", "/a;Domain=evil.example", "/\r\nX-Injected: 1", "/\x00", "/\x7f", "/\xe9", "/a b", "/a,b"),
    *('/"', "/\n", "/" + "a" * 1024),
]
NO_DOMAINS: Final = [
    *("", ".", "a b.com", "exam;ple.com", "a.com; Secure", "a.com\r\n", "b\xfccher.example", "*.a.com", "http://a.com"),
    *("a.com:80", "a..com", "-a.com", "a-.com", "a.com.", "a." * 128 + "a"),
]


class TestRefusals:
    @pytest.mark.parametrize("name", [*NO_NAMES, None, b"session", 5])
    def test_a_name_that_is_no_token_is_refused(self, name: Any) -> None:
        """K-1, K-2, promise 15: control characters, separators, names of attributes."""
        with pytest.raises(ConfigurationError, match=r"name=.*: write 1 to 64 letters"):
            CookiePolicy(name=name)

    @pytest.mark.parametrize(
        "name", ["__Host-sid", "__host-sid", "__HOST-sid", "__Secure-sid", "__Http-sid", "__Host-Http-a"]
    )
    def test_a_prefix_is_not_for_the_user_to_write(self, name: str) -> None:
        """K-9: whatever its case; it belongs to Secure cookies, and these get it."""
        with pytest.raises(ConfigurationError, match="write it without the prefix"):
            CookiePolicy(name=name)

    @pytest.mark.parametrize("name", ["a", "a" * 64, "!#%&'*+-.^_`|~0", "pathfinder", "__session"])
    def test_every_other_token_will_do(self, name: str) -> None:
        """K-1: and it reads back what it wrote."""
        for scheme in ("http", "https"):
            check_in_a_browser(CookiePolicy(name=name), scheme)

    @pytest.mark.parametrize("path", [*NO_PATHS, None, b"/", 1])
    def test_a_path_that_would_end_or_break_the_attribute_is_refused(self, path: Any) -> None:
        """K-2, K-7, V-39, promise 15: or that browsers would read as another one."""
        with pytest.raises(ConfigurationError, match=r"path=.*: write a path as URLs have it"):
            CookiePolicy(path=path)

    @pytest.mark.parametrize("domain", [*NO_DOMAINS, b"example.com", 5, True])
    def test_a_domain_that_is_no_host_name_is_refused(self, domain: Any) -> None:
        """K-2, promise 15: the message says what to write."""
        with pytest.raises(ConfigurationError, match=r"domain=.*: write a host name, such as example\.com, or None"):
            CookiePolicy(domain=domain)

    @pytest.mark.parametrize(
        ("options", "message"),
        [
            ({"secure": "yes"}, "secure='yes': write 'auto', True or False"),
            ({"secure": None}, "write 'auto', True or False"),
            ({"secure": 1}, "write 'auto', True or False"),
            ({"samesite": "lax"}, "samesite='lax': write 'Lax', 'Strict' or 'None'"),
            ({"samesite": None}, "write 'Lax', 'Strict' or 'None'"),
            ({"samesite": "Lax; Domain=evil"}, "write 'Lax', 'Strict' or 'None'"),
            ({"partitioned": "false", "secure": True}, "partitioned='false': write True or False"),
            ({"samesite": "None"}, "needs secure=True"),
            ({"samesite": "None", "secure": False}, "needs secure=True"),
            ({"partitioned": True}, "needs secure=True"),
        ],
    )
    def test_what_cannot_work_does_not_start(self, options: dict[str, Any], message: str) -> None:
        """K-10, K-11, promise 15: and the message says what to write."""
        with pytest.raises(ConfigurationError, match=message):
            CookiePolicy(**options)


JUNK: Final = [
    "a[]=1",
    'x={"a":"b"}',
    "HttpOnly",
    "=v",
    "v",
    "path=/",
    'a="unbalanced',
    "a=" + bytes(range(0x80, 0x100)).decode("latin-1"),
    "a=\x00",
    "a=\x7f",
    "a=\\",
    "a=1,2",
    "",
    " ",
    "$Version=1",
    "session",
    "sessions=1",
    "a=b=c",
    "%",
]

# Each takes a name and a token; the result is not a cookie of that name with that token.
LOOKALIKES: Final[list[str]] = [
    *(
        "{blank}{name}={token}".replace("{blank}", blank)
        for blank in ("\xa0", "\x85", "\x1c", "\x1d", "\x1e", "\x1f", "\x0b")
    ),
    *("{name}{blank}={token}".replace("{blank}", blank) for blank in ("\xa0", "\x85", "\x1c", "\x1f", "\x0b", "\x0c", "\n")),
    *("{name}={token}{blank}".replace("{blank}", blank) for blank in ("\xa0", "\x85", "\x1c", "\x0b", "\r", "\n", "\x00")),
    *(
        f"{blank.encode().decode('latin-1')}{{name}}={{token}}"
        for blank in ("\u2000", "\u3000", "\ufeff", "\xa0", "\x85", "\u2028")
    ),
    *(
        "{blank}{name}={token}".replace("{blank}", blank)
        for blank in ("\u2000", "\u3000", "\ufeff", "\x0c", "\r", "\n", "\x00")
    ),
    "={name}={token}",
    "{name}",
    "{token}",
    "%5F{name}={token}",
    '"{name}"={token}',
    "_{name}={token}",
    "[{name}={token}",
    ".{name}={token}",
    "{name}[]={token}",
    '{name}="{token}"',
    "{name}='{token}'",
    "{name}=%{token}",
    "{name}={token}=",
    "{name}={token}x",
    "{name}==...{token}",
    "{name}={token} {token}",
    "$Version=1,{name}={token}",
    "a=b,{name}={token}",
    "a=b, {name}={token}",
    "{name}=",
    "{name}= ",
]

OF_NO_USE: Final = [
    "",
    "x" * 39,
    "x" * 41,
    "x" * 4096,
    "x" * (LONGEST - 100),
    TOKEN[:-1] + "=",
    TOKEN[:-1] + "\x00",
    TOKEN[:-1] + "\r",
    TOKEN[:-1] + "\n",
    TOKEN[:-1] + "\x1f",
    TOKEN[:-1] + "\x7f",
    TOKEN[:-1] + "\xff",
    TOKEN[:-1] + "\uff11",
    TOKEN[:-1] + "\u0661",
    TOKEN[:-1] + "+",
    TOKEN[:-1] + "/",
    TOKEN[:-1] + ".",
    f"{TOKEN}\n",
    f"\n{TOKEN}",
    f"{TOKEN[:20]} {TOKEN[20:-1]}",
    "../../../../etc/passwd",
    "' OR '1'='1",
    "\r\nDEL *\r\n",
]


class TestReading:
    @pytest.mark.parametrize("cookie", [PLAIN, SECURE])
    def test_the_token_is_found(self, cookie: SessionCookie) -> None:
        """K-23: with space and tab around name and value, and nothing else."""
        for before, inside, between, after in itertools.product(("", " ", "\t", " \t "), repeat=4):
            header = f"{before}{cookie.name}{inside}={between}{TOKEN}{after}"

            assert read(cookie, header) == (TOKEN,)
            assert read(cookie, f"a=b;{header};c=d") == (TOKEN,)

    @pytest.mark.parametrize("header", [None, "", ";;;", "   ", "\t", "; ; ;", "=", "=;=", "a=b", "Session=" + TOKEN])
    def test_no_cookie_is_no_token(self, header: str | None) -> None:
        """K-20: the name is compared as it is, case and all."""
        assert read(PLAIN, header) == ()

    @pytest.mark.parametrize("junk", JUNK)
    def test_junk_beside_it_is_of_no_matter(self, junk: str) -> None:
        """K-21: before, after, and on both sides."""
        for header in (f"{junk}; session={TOKEN}", f"session={TOKEN}; {junk}", f"{junk};session={TOKEN};{junk}"):
            assert read(PLAIN, header) == (TOKEN,)

    @pytest.mark.parametrize("lookalike", LOOKALIKES)
    def test_what_only_looks_like_it_is_not_ours(self, lookalike: str) -> None:
        """K-22, K-24, K-25, K-27, K-28, K-32: browsers may send these for another cookie, never for ours."""
        for cookie in (PLAIN, SECURE):
            evil = lookalike.format(name=cookie.name, token=OTHER)

            assert read(cookie, evil) == ()
            assert read(cookie, f"{evil}; {cookie.name}={TOKEN}") == (TOKEN,)
            assert read(cookie, f"{cookie.name}={TOKEN}; {evil}") == (TOKEN,)

    @pytest.mark.parametrize(("name", "other"), [("a.b", "axb"), ("a*", "aa"), ("a|session", "session"), ("a+", "aa")])
    def test_the_name_is_no_pattern(self, name: str, other: str) -> None:
        """K-1, K-25: the characters that a name may have are themselves and nothing else."""
        cookie = CookiePolicy(name=name).for_scheme("http")

        assert read(cookie, f"{name}={TOKEN}; {other}={OTHER}") == (TOKEN,)

    def test_a_prefix_in_another_case_is_another_cookie(self) -> None:
        """K-25: browsers let a page on http set ``__host-session`` nowhere, but not every browser has heard of that."""
        assert read(SECURE, f"__host-session={TOKEN}; __HOST-session={TOKEN}; session={TOKEN}") == ()

    def test_a_semicolon_ends_a_pair_quotes_or_not(self) -> None:
        """K-26: the quoted reading would hide our cookie, or another one's value, in quotes."""
        assert read(PLAIN, f'lang="b; session={TOKEN}; c=d"') == (TOKEN,)

    def test_what_begins_with_a_dollar_is_a_cookie_like_any_other(self) -> None:
        """K-28: RFC 2965 is gone."""
        assert read(PLAIN, f"$Version=1; session={TOKEN}; $Path=/") == (TOKEN,)

    def test_a_comma_may_follow_the_value_and_never_precedes_the_name(self) -> None:
        """K-13: servers join two Cookie lines with a comma; before a name it may belong to another cookie's value."""
        assert read(PLAIN, f"session={TOKEN}, a=b") == (TOKEN,)
        assert read(PLAIN, f"session={TOKEN} ,a=b; c=d") == (TOKEN,)
        assert read(PLAIN, f"a=b; c=d; session={TOKEN}") == (TOKEN,)
        assert read(PLAIN, f"a=b,session={TOKEN}") == ()

    @pytest.mark.parametrize("value", OF_NO_USE, ids=range(len(OF_NO_USE)))
    def test_a_value_that_is_no_token_is_nothing(self, value: str) -> None:
        """K-29, K-32: length and alphabet are those of what we issue, to the letter."""
        assert read(PLAIN, f"session={value}") == ()
        assert read(PLAIN, f"session={value}; session={TOKEN}") == (TOKEN,)

    def test_one_token_many_times_is_one(self) -> None:
        """K-12: browsers send a cookie once for each path that it was set for."""
        assert read(PLAIN, pairs("session", *[TOKEN] * 1000)) == (TOKEN,)

    def test_the_last_eight_tokens_are_candidates(self, caplog: pytest.LogCaptureFixture) -> None:
        """K-12: in their order; which one is meant, the store knows. That there are more is logged.

        What a neighbour tosses for longer paths comes first in the header (RFC 6265bis, 5.8.3), so the last are looked at.
        """
        caplog.set_level(logging.INFO)
        cookie = CookiePolicy().for_scheme("http")

        assert read(cookie, pairs("session", *tokens(1, 2, 1, 3, 2))) == tokens(1, 2, 3)
        assert read(cookie, pairs("session", *tokens(*range(8), *range(8)))) == tokens(*range(8))
        assert caplog.records == []
        assert read(cookie, pairs("session", *tokens(*range(9)))) == tokens(*range(1, 9))
        assert caplog.messages == ["9 distinct cookies of one name in a request: 8 are looked at"]

    def test_a_flood_is_logged_once_a_minute(
        self, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """K-30: whoever sends it does not fill the disk."""
        clock, cookie = FakeClock(), CookiePolicy().for_scheme("http")
        monkeypatch.setattr("session_middleware.cookies.time.monotonic", clock)
        for seconds, logged in ((0, 1), (0, 1), (30, 1), (29.9, 1), (0.2, 2), (0, 2), (3600, 3)):
            clock.advance(seconds)
            for _ in range(10):
                assert len(cookie.read(pairs("session", *tokens(*range(100))))) == 8

            assert len(caplog.records) == logged

    @pytest.mark.parametrize("header", [b"session=" + TOKEN.encode(), 5, ["session=x"], "a" * LONGEST + "b"])
    def test_a_header_that_cannot_be_is_not_read(self, header: object, caplog: pytest.LogCaptureFixture) -> None:
        """K-30, K-31: of another type, or longer than servers let through; no exception, and one line in the log."""
        caplog.set_level(logging.INFO)

        assert read(PLAIN, header) == ()
        assert [record.message for record in caplog.records] == [
            "a Cookie header is too long, or is no text: it is not read"
        ]

    def test_the_longest_header_is_read(self) -> None:
        """K-30: of 64 KiB, wherever our cookie stands in it."""
        ours = f"session={TOKEN}"
        filler = ("a=b; " * LONGEST)[: LONGEST - len(ours) - 1]

        assert read(PLAIN, f"{ours};{filler}") == (TOKEN,)
        assert read(PLAIN, f"{filler};{ours}") == (TOKEN,)
        assert len(f"{filler};{ours}") == LONGEST

    @pytest.mark.parametrize("other", ["\u2603", "\U0001f36a", "\ud800", "\u0130"])
    def test_a_character_that_no_header_has_does_no_harm(self, other: str) -> None:
        """K-31: a broken server may decode other sites' cookies as it likes; ours is ASCII."""
        assert read(PLAIN, f"a={other}; session={TOKEN}") == (TOKEN,)
        assert read(PLAIN, f"session={TOKEN}{other}") == ()
        assert read(PLAIN, f"{other}session={TOKEN}") == ()

    def test_our_own_set_cookie_is_recognised(self) -> None:
        """K-3: by its name, as browsers take it."""
        assert PLAIN.is_set_by(PLAIN.header(Token(TOKEN)))
        assert PLAIN.is_set_by(" session\t=1")
        assert not PLAIN.is_set_by("sessions=1")
        assert not PLAIN.is_set_by("Session=1")
        assert not PLAIN.is_set_by("a=session=1")
        assert not PLAIN.is_set_by("\xa0session=1")


class Old:
    """A session of another library, which its cookie names."""

    def __init__(self, secret: str) -> None:
        self.secret = secret

    def read(self, now: float) -> Carried | None:
        raise AssertionError("nothing is looked up when a header is read")

    def remove(self) -> None:
        raise AssertionError("nothing is removed when a header is read")


class OldCookie:
    """Finds the sessions of another library: here, any value of 4 letters and more."""

    path, domain = "/", None

    def __init__(self, name: str) -> None:
        self.name = name

    def find(self, header: object) -> Old | None:
        found = re.search(rf"{self.name}=([A-Za-z0-9_-]{{4,}})", header) if isinstance(header, str) else None
        return None if found is None else Old(found[1])

    def deletion_header(self) -> str:
        return f"{self.name}=; Path=/; Max-Age=0"


class TestMovingFromAnotherLibrary:
    def candidates(self, name: str, header: object) -> list[str]:
        found = reader(PLAIN, OldCookie(name))(header)
        return [one.reveal() if isinstance(one, Token) else f"old {one.secret}" for one in found]

    def test_without_one_the_header_is_read_as_ever(self) -> None:
        """No call more than there has to be."""
        assert reader(PLAIN, None) == PLAIN.read

    @pytest.mark.parametrize("header", [None, "", "a=b", "old=", "session=x", f"session={TOKEN}", b"session=x", 5])
    def test_without_its_cookie_too(self, header: object) -> None:
        """K-20, K-31."""
        assert self.candidates("old", header) == list(read(PLAIN, header))

    def test_its_cookie_counts_where_ours_is_not_there(self) -> None:
        """A browser that has ours has been moved: what its other cookie named is there no more."""
        assert self.candidates("old", "old=abcd") == ["old abcd"]
        assert self.candidates("old", f"old=abcd; session={TOKEN}") == [TOKEN]
        assert self.candidates("old", f"old=abcd; {pairs('session', *tokens(1, 2))}") == [*tokens(1, 2)]

    def test_where_both_have_one_name_either_may_be_meant(self) -> None:
        """The old library's value may have the form of a token: the store tells."""
        assert self.candidates("session", "session=abcd") == ["old abcd"]
        assert self.candidates("session", f"session={TOKEN}") == [TOKEN, f"old {TOKEN}"]
        assert self.candidates("session", "session=") == []


ALPHABET: Final = frozenset("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_")


def oracle(name: str, header: str) -> tuple[str, ...]:
    """Read a Cookie header as RFC 6265bis, 5.8.3 writes one, slowly: pair by pair, character by character."""
    found: list[str] = []
    for pair in header.split(";"):
        if "=" not in pair:
            continue
        left, right = pair[: pair.index("=")], trimmed(pair[pair.index("=") + 1 :])
        token, rest = right[:40], trimmed(right[40:])
        if trimmed(left) == name and len(token) == 40 and set(token) <= ALPHABET and rest[:1] in ("", ","):
            found.append(token)
    distinct = [token for number, token in enumerate(found) if token not in found[:number]]
    return tuple(distinct[:8]) if len(header) <= LONGEST else ()


def trimmed(text: str) -> str:
    while text and text[0] in " \t":
        text = text[1:]
    while text and text[-1] in " \t":
        text = text[:-1]
    return text


class TestFuzz:
    @pytest.mark.parametrize("count", [30_000, pytest.param(1_000_000, marks=pytest.mark.soak)])
    def test_random_headers_are_read_as_the_oracle_reads_them(self, count: int) -> None:
        """G-1: no exception, no disagreement; half of the headers hold our cookie somewhere."""
        chance = random.Random(6265)
        found = 0
        for header in itertools.islice(mutations(chance), count):
            candidates = read(PLAIN, header)
            found += candidates != ()

            assert candidates == oracle("session", header), repr(header)
        assert found > count / 5

    @given(st.text(max_size=200) | st.text(st.characters(max_codepoint=0xFF), max_size=200))
    @settings(max_examples=300, deadline=None)
    def test_any_text_is_read_without_an_exception(self, header: str) -> None:
        """G-1: Hypothesis looks for what chance does not find."""
        assert read(PLAIN, header) == oracle("session", header)

    @given(
        st.lists(
            st.sampled_from(["session", TOKEN, OTHER, "=", ";", ",", " ", "\t", "\xa0", '"', "\n", "__Host-", "x", "$"]),
            max_size=40,
        )
    )
    @settings(max_examples=500, deadline=None)
    def test_any_sequence_of_parts_is_read_as_the_oracle_reads_it(self, parts: list[str]) -> None:
        """G-1: of the parts that matter to the parser."""
        header = "".join(parts)

        assert read(PLAIN, header) == oracle("session", header)
        assert read(SECURE, header) == oracle("__Host-session", header)


# Cookies' names that may stand in a token, in each other, or in what browsers and servers write around them.
NAMES: Final = ["session", "__Host-session", "s", "-", "_", "0", "Aa", "session-session", "a.b", "HttpOnly"]


@st.composite
def adversarial_headers(draw: st.DrawFn, name: str) -> str:
    """Return a header of parts that are ours, almost ours, or in the way."""
    token = st.sampled_from([TOKEN, OTHER, "0" * 40, "-" * 40, (name * 40)[:40], *tokens(*range(12))])
    almost = st.sampled_from(OF_NO_USE[:3] + OF_NO_USE[5:])
    around = st.sampled_from(["", "", "", " ", "\t", " \t ", "\xa0", "\r\n", '"', "'", "\x00"])
    names = st.sampled_from(
        [name, name, name, f"x{name}", f"{name}x", f" {name}", name.swapcase(), f"{name}={name}", f";{name}"]
    )
    value = st.one_of(
        token, token, almost, st.text(max_size=4), st.sampled_from([name, f"{name}={TOKEN}", f"{name};{name}"])
    )
    pair = st.tuples(around, names, around, st.just("="), around, value, around).map("".join)
    clean = st.tuples(st.just(f"{name}="), token).map("".join)
    part = st.one_of(clean, clean, pair, st.sampled_from(JUNK), st.sampled_from([name, f"{name}=", f"={TOKEN}", TOKEN]))
    separator = st.sampled_from(["; ", "; ", "; ", ";", ",", ", ", " ; ", ";;", ";\t", "", "\n"])
    parts = draw(st.lists(st.tuples(part, separator).map("".join), max_size=12))
    header = "".join(parts)
    return header.rstrip("; ") if draw(st.booleans()) else header


class TestTheFastWay:
    """Most headers are read without the pattern. Nobody can tell."""

    @given(st.data())
    @settings(max_examples=200, deadline=None)
    def test_it_finds_what_the_pattern_finds(self, data: st.DataObject) -> None:
        """K-20 to K-32: whatever the name, and whatever is around it."""
        name = data.draw(st.sampled_from(NAMES))
        cookie = CookiePolicy(name="x").for_scheme("http").named(name)
        header = data.draw(adversarial_headers(name))
        by_pattern = tuple(dict.fromkeys(cookie._tokens(header)))[:8]

        assert read(cookie, header) == by_pattern == oracle(name, header)

    @pytest.mark.parametrize("name", NAMES)
    def test_it_looks_at_both_ends(self, name: str) -> None:
        """K-22 to K-29: one token, with every neighbour that is one and that is none."""
        cookie = CookiePolicy(name="x").for_scheme("http").named(name)
        befores = ["", "a=b; ", "a=b;", "a=b;  ", "a=b;\t", "a=b, ", "a=b ", "a", " ", "; ", ";", "=", '"', "\n"]
        afters = ["", ";", "; ", "; a=b", " ", "\t", ",", ", a=b", "=", '"', "x", f"; {name}", f"; x{name}=", "\n"]
        for before, token, after in itertools.product(befores, (TOKEN, "-" * 40), afters):
            header = f"{before}{name}={token}{after}"

            assert read(cookie, header) == tuple(dict.fromkeys(cookie._tokens(header))) == oracle(name, header)

    def test_it_is_taken(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Else it could as well go: where browsers write the header, the pattern is not asked."""
        cookie = CookiePolicy().for_scheme("http")
        monkeypatch.setattr(cookie, "_tokens", lambda header: pytest.fail(f"{header} went the long way"))

        for header in (f"session={TOKEN}", f"a=b; session={TOKEN}", f"session={TOKEN}; a=b", f"a=b; session={TOKEN}; c=d"):
            assert read(cookie, header) == (TOKEN,)
        assert read(cookie, "a=b; c=d") == ()


def mutations(chance: random.Random) -> Iterator[str]:
    """Yield headers put together of what section K has, with some characters changed."""
    ours = [*(pairs("session", token) for token in tokens(1, 2, 3, 4)), f" session\t= {TOKEN} ", f"session={TOKEN}"]
    odd = [lookalike.format(name="session", token=TOKEN) for lookalike in LOOKALIKES]
    corpus = [*ours, *ours, *ours, *odd, *JUNK, *(f"session={value[:60]}" for value in OF_NO_USE)]
    characters = "".join(map(chr, range(256))) + '=;, \t\n"session' * 20
    separators = ["; ", ";", "; ", " ;\t", ",", ", ", ""]
    while True:
        header = chance.choice(separators).join(chance.choices(corpus, k=chance.randrange(1, 7)))
        if chance.random() < 0.5:
            at = chance.randrange(len(header) + 1)
            header = header[:at] + chance.choice(characters) + header[at + chance.randrange(3) :]
        yield header


NASTY: Final[dict[str, Callable[[int], str]]] = {
    "semicolons": lambda size: ";" * size,
    "blanks": lambda size: " " * size,
    "blanks after a semicolon": lambda size: ";" + " \t" * (size // 2),
    "blanks after the name": lambda size: "session" + " " * size,
    "blanks after the equals sign": lambda size: "session=" + " " * size,
    "blanks after the token": lambda size: f"session={TOKEN}" + " " * size + "x",
    "blanks everywhere": lambda size: (f"; session{' ' * 50}={' ' * 50}{TOKEN}{' ' * 50}x" * size)[:size],
    "our name": lambda size: ("session;" * size)[:size],
    "our name and blanks": lambda size: ("; session " * size)[:size],
    "our cookie": lambda size: (f"session={TOKEN}; " * size)[:size],
    "tokens of its own each": lambda size: pairs("session", *tokens(*range(size // 50)))[:size],
    "tokens too long": lambda size: "session=" + "x" * size,
    "tokens in vain": lambda size: (f"session={TOKEN}x;" * size)[:size],
    "one long value": lambda size: "a=" + "b" * size,
    "equals signs": lambda size: "=" * size,
    "quotes": lambda size: 'a="' + '\\"' * (size // 2),
    "backslashes": lambda size: 'a="' + "\\a" * (size // 2),
    "commas": lambda size: f"session={TOKEN}" + "," * size,
    "bytes": lambda size: ("".join(map(chr, range(256))) * size)[:size],
}


class TestSpeed:
    @pytest.mark.timed
    @pytest.mark.parametrize("kind", NASTY)
    def test_a_hostile_header_takes_linear_time(self, kind: str) -> None:
        """K-30, G-25: 64 KiB of it at most 10 ms, and twice as much at most 2.5 times as long."""
        half, whole = (NASTY[kind](LONGEST // 2)[: LONGEST // 2], NASTY[kind](LONGEST)[:LONGEST])
        shorter = longer = float("inf")
        for _ in range(50):
            shorter, longer = min(shorter, time_of(half)), min(longer, time_of(whole))
            if longer <= 0.010 and longer <= 2.5 * shorter:
                break

        assert longer <= 0.010
        assert longer <= 2.5 * shorter


def time_of(header: str) -> float:
    """Return how long it takes to read a header, at best (seconds)."""
    return min(timeit.repeat(lambda: read(PLAIN, header), number=1, repeat=5))


def read_all(environ: WSGIEnvironment) -> None:
    len(get_session(environ))


class TestRequests:
    @pytest.mark.parametrize("scheme", ["http", "https"])
    def test_a_header_without_a_token_never_reaches_the_store(self, scheme: str) -> None:
        """K-20, K-29, G-2, C-12: whatever is in it, and nothing of it comes back in any header or in the log."""
        cookie = CookiePolicy().for_scheme(scheme)
        store = FaultyStore(MemoryStore())
        application = SessionMiddleware(list_app(read_all), store)
        headers = [f"{cookie.name}={value}" for value in OF_NO_USE]
        headers += [evil.format(name=cookie.name, token=TOKEN) for evil in LOOKALIKES]
        headers += [*JUNK, pairs(cookie.name, *tokens(1, 2, 3, 4)), *(make(LONGEST) for make in NASTY.values())]
        for header in headers:
            store.calls.clear()
            response = visit(application, cookie=header, scheme=scheme)

            assert response.headers[-1] == ("Vary", "Cookie")
            assert (response.status, response.set_cookies) == ("200 OK", [])
            assert store.calls == [] or read(cookie, header)

    def test_a_flood_of_tokens_costs_eight_loads_at_most(self) -> None:
        """K-30: 1,200 cookies of our name with three tokens, and with a thousand."""
        store = FaultyStore(MemoryStore())
        application = SessionMiddleware(list_app(read_all), store)
        visit(application, cookie=pairs("session", *tokens(1, 2, 3) * 400))
        assert len(store.calls) == 3

        store.calls.clear()
        visit(application, cookie=pairs("session", *tokens(*range(1000))))
        assert len(store.calls) == 8

    def test_of_several_tokens_the_live_one_is_used(self) -> None:
        """K-12: garbage that another site on the domain has planted logs nobody out."""
        store = MemoryStore()
        application = SessionMiddleware(list_app(lambda environ: get_session(environ).update(name="value")), store)
        mine = visit(application).token
        names: list[str | None] = []
        reader = SessionMiddleware(list_app(lambda environ: names.append(get_session(environ).get("name"))), store)
        for planted in itertools.permutations([mine, *tokens(1, 2)]):
            assert visit(reader, cookie=pairs("session", *planted)).set_cookies == []

        assert names == ["value"] * 6

    def test_of_two_live_ones_none_is_used(self, caplog: pytest.LogCaptureFixture) -> None:
        """K-12: who plants a session of his own does not get the victim to use it; nor is any cookie set."""
        store = MemoryStore()
        application = SessionMiddleware(list_app(lambda environ: get_session(environ).update(name="value")), store)
        mine, theirs = visit(application).token, visit(application).token
        names: list[str | None] = []
        reader = SessionMiddleware(list_app(lambda environ: names.append(get_session(environ).get("name"))), store)
        for planted in ((mine, theirs), (theirs, mine)):
            assert visit(reader, cookie=pairs("session", *planted)).set_cookies == []

        assert names == [None, None]
        assert "2 sessions of the same rank in one request" in caplog.text
        assert mine not in caplog.text

    def test_the_two_schemes_do_not_share_a_cookie(self) -> None:
        """K-9, C-6: what was sent over http in the clear opens nothing over https under the prefixed name."""
        store = FaultyStore(MemoryStore())
        application = SessionMiddleware(list_app(read_all), store)
        visit(application, cookie=f"session={TOKEN}", scheme="https")

        assert store.calls == []

    @pytest.mark.parametrize("theirs", ["session=1", "session=1; Path=/other", " session\t=2; HttpOnly"])
    def test_there_is_one_set_cookie_of_our_name(self, theirs: str, caplog: pytest.LogCaptureFixture) -> None:
        """K-3, K-4: the application's own is left out, and that is logged; its others stay, in lines of their own."""

        def app(environ: WSGIEnvironment, start_response: Any) -> list[bytes]:
            get_session(environ)["name"] = "value"
            start_response("200 OK", [("Set-Cookie", "a=b"), ("set-cookie", theirs), ("SET-COOKIE", "sessions=1")])
            return []

        first, second, ours = visit(SessionMiddleware(app, MemoryStore())).set_cookies

        assert (first, second) == ("a=b", "sessions=1")
        assert read(PLAIN, ours.partition(";")[0])
        assert "sets a cookie named session itself" in caplog.text

    @pytest.mark.parametrize("act", [read_all, lambda environ: None])
    @pytest.mark.parametrize("shape", [list, tuple, iter])
    def test_an_applications_cookie_stays_when_we_set_none(
        self, act: Any, shape: Any, caplog: pytest.LogCaptureFixture
    ) -> None:
        """K-3: it is alone then; when a cookie of our name has come that is none of ours, too, that is said once."""

        def app(environ: WSGIEnvironment, start_response: Any) -> Any:
            act(environ)
            start_response("200 OK", [("Set-Cookie", "a=1"), ("Set-Cookie", environ["PATH_INFO"].strip("/"))])
            return shape([b"page"])

        application = SessionMiddleware(app, MemoryStore())
        for cookie in (None, "sid=1", "a=session", f"session={TOKEN}"):
            assert visit(application, "/session=1", cookie=cookie).set_cookies == ["a=1", "session=1"]
        application.http.read("b=2; session=eyJhIjoxfQ")
        assert visit(application, "/sessions=1").set_cookies == ["a=1", "sessions=1"]
        assert caplog.records == []

        for _ in range(2):
            assert visit(application, "/session=1").set_cookies == ["a=1", "session=1"]
        (record,) = caplog.records
        assert "alone it takes its place and signs the user out; give it another name" in record.getMessage()

    @pytest.mark.parametrize("headers", [[None], [("Set-Cookie",)], [(1, 2)], [()]])
    def test_headers_that_are_none_are_left_to_the_server(self, headers: Any) -> None:
        """Promise 14: as without the middleware."""
        seen: list[Any] = []

        def app(environ: WSGIEnvironment, start_response: Any) -> list[bytes]:
            start_response("200 OK", headers)
            return []

        def start_response(status: str, headers: Any, exc_info: Any = None) -> Any:
            seen.append(headers)

        application = SessionMiddleware(app, MemoryStore())
        application.http.read("session=1")
        application(an_environ(), start_response)
        assert seen == [headers]

    def test_flasks_own_session_inside_is_told_of(self, caplog: pytest.LogCaptureFixture) -> None:
        """K-3: where Sessions(app) was forgotten, each flash signs the user out."""
        app = flask.Flask(__name__)
        app.secret_key = "secret"

        @app.get("/login")
        def sign_in() -> str:
            get_session(flask.request.environ).login("alice")
            return "page"

        @app.get("/account")
        def account() -> str:
            return str(get_session(flask.request.environ).user_id)

        @app.get("/flash")
        def flash() -> str:
            flask.flash("hello")
            return "page"

        application = SessionMiddleware(app, MemoryStore())
        browser = TestApp(application)
        for path in ("/login", "/flash", "/account"):
            browser.get(path)
        assert caplog.records == []

        browser.get("/flash")
        assert "write Sessions(app)" in caplog.text

    @pytest.mark.parametrize("path", ["/", "/app"])
    def test_a_cookie_of_https_that_comes_by_http_is_told_of(self, path: str, caplog: pytest.LogCaptureFixture) -> None:
        """C-6: no browser sends it; code on a server does that passes cookies on, or a proxy that is not trusted."""
        policy = CookiePolicy(path=path)
        name = policy.for_scheme("https").name
        application = SessionMiddleware(list_app(read_all), MemoryStore(), cookie=policy)
        for cookie in (f"{name}={TOKEN}", f"a=1; {name}={TOKEN}"):
            visit(application, cookie=cookie, scheme="https")
            visit(application, cookie=f"session={TOKEN}; my{name}-x=1")
        assert caplog.records == []

        for _ in range(2):
            visit(application, cookie=f"a=1; {name}={TOKEN}")
        (record,) = caplog.records
        assert record.getMessage().startswith(f"a cookie named {name} came by http, which no browser does")
        assert TOKEN not in caplog.text

    def test_a_set_cookie_forbids_to_keep_the_response(self) -> None:
        """K-14: caches keep a response with Set-Cookie like any other."""
        response = visit(SessionMiddleware(list_app(lambda environ: get_session(environ).login("alice")), MemoryStore()))

        assert response.values("Cache-Control") == ["private, no-store"]

    def test_the_browsers_clock_decides_nothing(self) -> None:
        """K-15: a cookie that should be gone is as good as the session in the store."""
        store = MemoryStore()

        def brief(environ: WSGIEnvironment) -> None:
            get_session(environ).set_lifetime(persistent=True, absolute=1e9)
            get_session(environ)["name"] = "value"

        response = visit(SessionMiddleware(list_app(brief), store))
        names: list[str | None] = []
        reader = SessionMiddleware(list_app(lambda environ: names.append(get_session(environ).get("name"))), store)
        visit(reader, cookie=response.cookie)

        assert "; Max-Age=34560000; " in response.set_cookies[0]
        assert names == ["value"]

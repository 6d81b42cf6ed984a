"""What the session cookie looks like, what browsers make of it, and what is refused: K-1 to K-11."""

import itertools
import locale
import re
import shutil
import subprocess
import time
from collections.abc import Iterator
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import Any, Final, Literal, get_args

import pytest

from session_middleware import ConfigurationError, CookiePolicy
from session_middleware.tokens import Token
from tests.clients import UserAgent
from tests.cookies.headers import OTHER, PLAIN, TOKEN, read

SameSite = Literal["Lax", "Strict", "None"]

LATEST: Final = 400 * 86400


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

    def test_no_cookie_is_kept_longer_than_browsers_keep_it(self, caplog: pytest.LogCaptureFixture) -> None:
        """K-6: 400 days; the session may live longer in the store, and the log says so."""
        assert "; Max-Age=34560000; " in PLAIN.header(Token(TOKEN), max_age=LATEST)
        assert caplog.records == []
        header = PLAIN.header(Token(TOKEN), max_age=LATEST + 1)

        assert "; Max-Age=34560000; " in header
        assert parsedate_to_datetime(header.rpartition("Expires=")[2]).timestamp() <= time.time() + LATEST
        assert "400 days" in caplog.text

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
        ("option", "longest"), [("path", "/" + "a" * 1023), ("domain", "a." * 127 + "a"), ("name", "a" * 64)]
    )
    def test_the_longest_will_do(self, option: str, longest: str) -> None:
        """K-7: an attribute of 1,024 octets, a host name of 255."""
        allowed: dict[str, Any] = {option: longest}
        beyond: dict[str, Any] = {option: f"{longest}a"}
        assert getattr(CookiePolicy(**allowed), option) == longest
        with pytest.raises(ConfigurationError, match=f"{option}="):
            CookiePolicy(**beyond)

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

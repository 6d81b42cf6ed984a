"""Each step of the runbook, done on a site whose servers are as the step says."""

import doctest
import hashlib
import hmac
import logging
import os
import re
import shlex
import subprocess
import sys
import time
from base64 import urlsafe_b64encode
from collections.abc import Iterable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import pytest
import redis

from session_middleware import SessionManager, SessionMiddleware, StoreUnavailable, get_session
from session_middleware.integrations.moving import FromFlaskSession
from session_middleware.integrations.moving.formats import _unpadded
from session_middleware.observers import Audit
from tests.backends.process import free_port
from tests.backends.redis import RedisSentinels, RedisServer, until
from tests.backends.running import PATIENT
from tests.book.pages import Block, Page
from tests.browser import Browser, in_process, over_http
from tests.cli.running import LONG, Site, environ
from tests.servers.gunicorn import Gunicorn

STEP = re.compile(r"^\$ (.+)\n((?:(?!\$ ).*\n)*)", re.MULTILINE)
SAME = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE
DEPLOYED = "test_a_first_deployment_counts_and_is_well"
COMMAND = "python -m session_middleware"


def typed(block: Block, store: str, **instead: str) -> list[int]:
    """Type the commands of a block, compare what they print, and return their exit codes.

    *store* is in SESSION_STORE; *instead* has what stands for words of the page, with ``p`` before a port.
    """
    codes = []
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", os.defpath)])
    for command, expected in STEP.findall(block.text):
        text = re.sub(r"\bsession-middleware\b", COMMAND, _with(command, instead))
        text = text.replace("curl", "curl --silent --show-error --noproxy '*'")
        done = subprocess.run(
            ["sh", "-c", f"{text} 2>&1"],
            env=environ(SESSION_STORE=store, PATH=path),
            stdout=subprocess.PIPE,
            text=True,
            timeout=LONG,
            check=False,
        )
        same = doctest.OutputChecker().check_output(_with(expected, instead), done.stdout.replace("\r", ""), SAME)
        assert same, f"{block}: {command} ended with {done.returncode}, and printed:\n{done.stdout}"
        codes.append(done.returncode)
    return codes


def _with(text: str, instead: dict[str, str]) -> str:
    for word, other in instead.items():
        text = re.sub(rf"\b{word.removeprefix('p') if word[1:].isdigit() else word}\b", other, text)
    return text


def exported(block: Block, **instead: str) -> str:
    """Return what SESSION_STORE is after a block that exports it."""
    (value,) = re.findall(r'^export SESSION_STORE="(.+)"$', _with(block.text, instead), re.MULTILINE)
    return str(value)


def consoles(claimed: Iterable[Block]) -> list[Block]:
    return [block for block in claimed if block.language == "console"]


def shop(environ: Any, start_response: Any) -> list[bytes]:
    """Sign in, change something, sign out, or say who is there."""
    session = get_session(environ)
    match environ["PATH_INFO"]:
        case "/sign-in":
            session.login("carol")
        case "/buy":
            session["cart"] = ["tea"]
        case "/sign-out":
            session.invalidate()
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [str(session.user_id).encode()]


def browser_at(application: Any, token: str | None = None) -> Browser:
    browser = Browser(in_process(application))
    if token is not None:
        browser.token = token
    return browser


@contextmanager
def serving(claimed: list[Block]) -> Iterator[Gunicorn]:
    """Serve the shop of the page, by the command of the page, on a port of ours."""
    for block in claimed:
        if block.caption:
            block.write()
    (start,) = [block for block in claimed if block.language == "sh" and "exec " in block.text]
    *before, command = start.text.splitlines()
    names = dict(line.removeprefix("export ").split("=", 1) for line in before if line.startswith("export "))
    subprocess.run(["sh", "-ec", "\n".join(before)], check=True)
    arguments = shlex.split(command)
    assert arguments[:4] == ["exec", "python", "-m", "gunicorn"]
    assert arguments[6:8] == ["--bind", "127.0.0.1:8000"]
    with Gunicorn(arguments[-1], *arguments[4:6], cwd=Path.cwd(), env=names | {"PYTHONDONTWRITEBYTECODE": "1"}) as server:
        yield server


def test_a_first_deployment_counts_and_is_well(claimed: list[Block]) -> None:
    """Its health, its sessions and its numbers."""
    (steps,) = consoles(claimed)
    with serving(claimed) as server:
        assert typed(steps, "sqlite:///sessions.sqlite3", p8000=str(server.port)) == [0] * 5
    assert Path("sessions.sqlite3").stat().st_mode & 0o077 == 0


def _fill(site: Site) -> None:
    while True:
        site.begin(ago=40 * 60, data={"much": bytes(50_000)})


@pytest.fixture
def full() -> Iterator[tuple[RedisServer, Site, Any]]:
    """A Redis that is full of idle sessions of nobody, and those of Alice and Bob; and an application that was there before
    it was full."""
    with RedisServer(maxmemory="8mb", maxmemory_policy="noeviction") as server:
        site = Site(f"{server.url}?{PATIENT}")
        with closing(site.store):
            for user in ("alice", "bob"):
                site.begin(user)
            application = SessionMiddleware(shop, site.url)
            with pytest.raises(StoreUnavailable, match="OOM"):
                _fill(site)
            with server.client() as client:
                # What a connection needs for a moment counts, too, and comes and goes.
                client.config_set("maxmemory", "7mb")
            yield server, site, application


def test_a_full_redis_is_seen_and_given_room(
    claimed: list[Block], full: tuple[RedisServer, Site, Any], caplog: pytest.LogCaptureFixture
) -> None:
    """Reading and ending go on, the rest is a 503; with more room all is well, and nobody was signed out."""
    server, site, application = full
    seen, given, checked = consoles(claimed)
    (line,) = [block.text for block in claimed if block.language == "text"]
    alice, bob = (browser_at(application, token) for token in site.tokens[:2])
    (bobs,) = site.manager.sessions_of("bob")

    assert typed(seen, site.url) == [1]
    assert alice.get("/").text == "alice"
    assert alice.get("/buy").status == browser_at(application).get("/sign-in").status == 503
    logged = "".join(f"{record.levelname} {record.name}: {record.getMessage()}\n" for record in caplog.records)
    assert doctest.OutputChecker().check_output(_with(line, {"p6379": str(server.port)}), logged, SAME), logged
    assert bob.get("/sign-out").status == 200
    assert site.lives(bobs.id) == [False]
    refused = Block("", 0, "console", "$ session-middleware revoke-user alice --yes\n...\n")
    assert typed(refused, site.url) == [3]
    assert alice.get("/").text == "alice"

    port = str(server.port)
    assert typed(given, site.url, p6379=port) == [0, 0]
    assert "maxmemory 512mb" in Path(server.directory, "redis.conf").read_text()
    assert typed(checked, site.url) == [0]
    assert alice.get("/buy").text == "alice"
    assert typed(refused, site.url) == [0]
    assert alice.get("/").text == "None"


def test_a_full_redis_signs_everybody_out(full: tuple[RedisServer, Site, Any], caplog: pytest.LogCaptureFixture) -> None:
    """And a site starts with it."""
    _, site, _ = full
    started = SessionMiddleware(shop, site.url)

    assert "the site starts without it" in caplog.text
    assert browser_at(started, site.tokens[0]).get("/").text == "alice"
    assert started.manager.revoke_everybody() == len(site.tokens)
    assert browser_at(started, site.tokens[0]).get("/").text == "None"


def test_a_full_redis_is_emptied_of_what_is_idle(claimed: list[Block], full: tuple[RedisServer, Site, Any]) -> None:
    """Those stay that are in use."""
    _, site, _ = full
    emptied, checked = consoles(claimed)

    assert typed(emptied, site.url) == [0]
    assert typed(checked, site.url) == [0]
    assert [site.manager.open(token).user_id for token in site.tokens[:2]] == ["alice", "bob"]
    assert len(list(site.store.keys())) == 2


@pytest.fixture
def audit() -> Iterator[None]:
    """The audit log, in a file."""
    logger, handler = logging.getLogger("session_middleware.audit"), logging.FileHandler("audit.log")
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    yield
    logger.removeHandler(handler)
    logger.setLevel(logging.NOTSET)
    handler.close()


@pytest.mark.usefixtures("audit")
def test_a_replica_is_promoted_by_hand(claimed: list[Block]) -> None:
    """What it has not heard of is missing: a sign-in, and a sign-out, which the audit log makes good."""
    seen, promoted, checked, mended = consoles(claimed)
    with RedisServer() as primary, RedisServer() as replica:
        replica.follow(primary)
        site = Site(f"{primary.url}?{PATIENT}")
        ids = [site.begin("alice"), site.begin("alice"), site.begin("bob")]
        with closing(site.store), primary.client() as client, replica.client() as other:
            client.publish("tests", "something")
            until(lambda: client.wait(1, 1000), "the replica does not acknowledge")
            other.replicaof("127.0.0.1", free_port())
            late = site.begin("carol")
            manager = SessionManager(site.store, observer=Audit())
            assert manager.revoke(ids[0])
            assert manager.revoke(late)
            late = site.begin("carol")
        primary.kill()
        ports = {"p6379": str(primary.port), "p6380": str(replica.port)}

        assert typed(seen, site.url, **ports) == [1]
        assert typed(promoted, site.url, **ports) == [0, 0]
        survivor = Site(f"{replica.url}?{PATIENT}")
        with closing(survivor.store):
            assert typed(checked, survivor.url) == [0]
            assert survivor.lives(*ids, late) == [True, True, True, False]
            ended, listed = typed(mended, survivor.url)
            assert (ended > 0, listed) == (True, 0)
            assert survivor.lives(*ids, late) == [False, True, True, False]


def _patience(group: RedisSentinels, milliseconds: int) -> None:
    """Let the sentinels wait so long for a primary that is silent."""
    for sentinel in group.sentinels:
        with sentinel.client() as client:
            client.execute_command("SENTINEL", "SET", group.service, "down-after-milliseconds", milliseconds)


def test_sentinels_promote_a_replica(claimed: list[Block]) -> None:
    """Nobody does anything, and nobody is signed out."""
    seen, asked, checked = consoles(claimed)
    with RedisSentinels() as group:
        _patience(group, 60_000)
        site = Site(f"{group.url}?{PATIENT}")
        application = SessionMiddleware(shop, f"{group.url}?{PATIENT}")
        with closing(site.store):
            site.begin("alice")
            alice = browser_at(application, site.tokens[0])
            assert alice.get("/").text == "alice"
            with group.primary().client() as client:
                client.publish("tests", "something")
                until(lambda: client.wait(1, 1000), "the replica does not acknowledge")
            group.primary().kill()

            assert typed(seen, group.url) == [1]
            assert alice.get("/").status == 503
            assert typed(asked, group.url, p26379=str(group.sentinels[0].port)) == [0]
            _patience(group, 200)
            deadline = time.monotonic() + LONG
            while alice.get("/").text != "alice":
                assert time.monotonic() < deadline
                time.sleep(0.1)
            assert typed(checked, group.url) == [0]


def test_a_stolen_laptop_is_signed_out(claimed: list[Block]) -> None:
    """That one alone, all but the one in use, and all."""
    seen, done, checked = consoles(claimed)
    site = Site("sqlite:///sessions.sqlite3")
    with closing(site.store):
        laptop = site.begin("alice", ago=3600, data={"browser": "the laptop"})
        phone = site.begin("alice")
        ids = {"0cYQ2nB8xk7T": laptop, "9rXb2mKq0vLd": phone}
        assert typed(seen, site.url, **ids) == [0, 0]

        one, others, every = (Block("", 0, "console", "".join(step)) for step in _steps(done))
        assert typed(one, site.url, **ids) == [0]
        assert site.lives(laptop, phone) == [False, True]
        third = site.begin("alice")
        assert typed(others, site.url, **ids) == [0]
        assert site.lives(phone, third) == [True, False]
        assert typed(every, site.url, **ids) == [0]
        assert typed(checked, site.url) == [0]
        assert [site.manager.open(token).is_new for token in site.tokens] == [True] * 3


def _steps(block: Block) -> list[tuple[str, str]]:
    return [(f"$ {command}\n", expected) for command, expected in STEP.findall(block.text)]


def test_a_dump_opens_nothing_and_everybody_can_be_signed_out(claimed: list[Block]) -> None:
    """No token is in it, and what is in it is none; the key of another library opens as long as it is read."""
    (done,) = consoles(claimed)
    with RedisServer(rdbcompression="no") as server:
        site = Site(f"{server.url}?{PATIENT}")
        with closing(site.store), server.client() as client:
            ids = [site.begin("alice"), site.begin("bob"), site.begin()]
            dump = _dump(client)
            assert not [secret for secret in site.secrets() if secret.encode() in dump]
            guesses = {dump[start : start + 21] for start in range(len(dump) - 20)}
            for id_ in ids:
                assert all(site.manager.open(id_ + urlsafe_b64encode(guess).decode()).is_new for guess in guesses)
            client.set("session:an-old-id-in-the-clear", '{"_user_id": "alice"}')

            carry_over = FromFlaskSession(server.url, secret_key="leaked", cookie_name="old")
            forged, again = (browser_at(SessionMiddleware(shop, site.url, carry_over=carry_over)) for _ in range(2))
            for browser in (forged, again):
                browser.cookies["old"] = _signed("leaked", "an-old-id-in-the-clear")
            assert forged.get("/").text == "alice"

            assert typed(done, site.url) == [0, 0]
            forged.transport = again.transport = in_process(SessionMiddleware(shop, site.url))
            assert forged.get("/").text == again.get("/").text == "None"
            assert [site.manager.open(token).is_new for token in site.tokens] == [True] * 3


def _dump(client: "redis.Redis") -> bytes:
    return b"".join(part for key in client.scan_iter() for part in (key, client.dump(key) or b""))


def _signed(key: str, old_id: str) -> str:
    derived = hmac.new(key.encode(), b"flask-session", hashlib.sha1).digest()
    return f"{old_id}.{_unpadded(hmac.new(derived, old_id.encode(), hashlib.sha1).digest())}"


def test_a_move_signs_nobody_out(claimed: list[Block]) -> None:
    """Those who come during the move and those who do not, with what they have changed."""
    later, now, copied, alone, counted = claimed
    with RedisServer() as server:
        port = {"p6379": str(server.port)}
        site = Site("sqlite:///sessions.sqlite3")
        with closing(site.store):
            for user in ("alice", "bob", "carol"):
                site.begin(user)
        for step in (later, now):
            assert _users(exported(step, **port), site.tokens) == ["alice", "bob", "carol"]
        assert typed(copied, "memory:", **port) == [0]
        assert _users(exported(alone, **port), site.tokens) == ["alice", "bob", "carol"]
        assert typed(counted, exported(alone, **port)) == [0]


def _users(store: str, tokens: list[str]) -> list[str]:
    application = SessionMiddleware(shop, store)
    assert browser_at(application, tokens[0]).get("/buy").status == 200
    return [browser_at(application, token).get("/").text for token in tokens]


def test_an_upgrade_and_its_way_back_sign_nobody_out(claimed: list[Block]) -> None:
    """The workers are replaced, twice; the backup has what was stored."""
    deployed = [block for block in Page("how-to/runbook").blocks if DEPLOYED in block.tested_by]
    backup, restart = [block for block in claimed if block.language == "sh"]
    (checked,) = consoles(claimed)
    with serving(deployed) as server:
        browser, visits = Browser(over_http(server.url)), 1
        assert browser.get("/").text == "visit number 1\n"
        assert backup.shell() == ""
        old = Path("shop.py").read_text()
        for version, word in ((old.replace("visit number", "visit no."), "visit no."), (old, "visit number")):
            Path("shop.py").write_text(version)
            restart.shell()
            deadline = time.monotonic() + LONG
            while not (text := browser.get("/").text).startswith(word):
                visits += 1
                assert time.monotonic() < deadline
            visits += 1
            assert text == f"{word} {visits}\n"
        assert typed(checked, "sqlite:///sessions.sqlite3") == [0, 0]
    kept = Site("sqlite:///backup.sqlite3")
    with closing(kept.store):
        assert dict(kept.manager.open(browser.token)) == {"visits": 1}

"""No token leaves but in its own ``Set-Cookie``: not into the store, the logs, a repr, a traceback or a response."""

import base64
import copy
import io
import logging
import pickle
import secrets
import sqlite3
import time
import traceback
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing, suppress
from itertools import cycle, islice
from pathlib import Path
from typing import Any

import pytest

from session_middleware import Lifetime, Session, SessionError, Store
from session_middleware.stores.base import Record, Version
from session_middleware.testing import FaultyStore
from session_middleware.tokens import Token
from tests.backends.running import LATER, Backends
from tests.secrecy import PIECE, Secrets, locals_of_ours
from tests.servers.client import Client
from tests.servers.direct import Answer, Site
from tests.servers.gunicorn import Gunicorn
from tests.servers.site import DATABASE

pytestmark = pytest.mark.unmeasured

SESSIONS = 1000
USER = "alice"


@pytest.fixture
def logged() -> Iterator[io.StringIO]:
    """Everything that is logged, from DEBUG on, with tracebacks."""
    stream = io.StringIO()
    handler = logging.StreamHandler(stream)
    root = logging.getLogger()
    level = root.level
    root.addHandler(handler)
    root.setLevel(logging.DEBUG)
    yield stream
    root.setLevel(level)
    root.removeHandler(handler)


def dump(store: Any, kind: str, backends: Backends) -> bytes:
    """Return every byte that the store keeps: its files, its keys and records, or all that its server tells."""
    if kind == "sqlite":
        return b"".join(path.read_bytes() for path in sorted(store.path.parent.iterdir()))
    if kind == "memory":
        return repr(vars(store)).encode() + b"".join(entry[0].value for entry in store._entries.values())
    return backends.dump(kind)


def test_the_search_finds_what_it_is_for() -> None:
    """Without this the tests below would show nothing."""
    tokens = Secrets()
    token = Token.new().reveal()
    tokens.add(token)
    raw = base64.urlsafe_b64decode(token[12:])
    for text in (f"a {token} b", f"x{token[20:34]}", repr({"t": token}), raw.hex(), b"\0" + raw + b"\0"):
        assert tokens.found_in(text)
    assert not tokens.found_in(secrets.token_urlsafe(200) + token[:12] + raw[:7].hex()[: PIECE - 1])


class RefusingStore(FaultyStore):
    """A store that can be told to refuse every update, as if others were always faster."""

    refusing = False

    def update(self, key: str, record: Record, *, version: Version) -> bool:
        return not self.refusing and super().update(key, record, version=version)


class Visitor:
    """Goes through everything that can happen to a session, and keeps all that anyone could get to see of it."""

    def __init__(self, store: Store) -> None:
        self.faulty = RefusingStore(store)
        self.site = Site(self.faulty, max_bytes=64 * 1024)
        self.tokens = Secrets()
        self.seen: list[str | bytes] = []
        self.conflicts = 0

    def visit(self, act: Callable[[Session], object], token: str | None = None, *, late: bool = False) -> Answer | None:
        """Make a request that does *act*; note the response but its cookie, and whatever is raised on the way."""

        def handler(session: Session) -> Iterable[bytes]:
            if late:
                yield b"started"
            try:
                act(session)
            except SessionError as error:
                self._note_error(error)
                if late:
                    return
                raise
            finally:
                self._note(session)
            if not late:
                yield b"ended"
            self._note(session)

        try:
            answer = self.site.visit(handler if late else lambda session: list(handler(session)), token)
        except Exception as error:
            self._note_error(error)
            return None
        if answer.token and answer.token != token:
            self.tokens.add(answer.token)
        self.seen += [answer.status, answer.body]
        self.seen += [f"{name}: {value}" for name, value in answer.headers if name != "Set-Cookie"]
        self.seen += [value.partition(";")[2] for name, value in answer.headers if name == "Set-Cookie"]
        return answer

    def begin(self) -> str:
        answer = self.visit(lambda session: session.update(cart=["book"]))
        assert answer
        assert answer.token
        return answer.token

    def _note(self, *things: object) -> None:
        self.seen += [form(thing) for thing in things for form in (repr, str, "{}".format)]

    def _note_error(self, error: BaseException) -> None:
        self._note(error)
        self.seen.append("".join(traceback.format_exception(error)))
        self.seen.append(repr(vars(error)))
        self.seen += locals_of_ours(error)

    # What can happen. Each begins with a session of its own.

    def reading(self, token: str) -> None:
        self.visit(lambda session: (dict(session), session.id, session.user_id, session.expires_at), token)

    def writing(self, token: str) -> None:
        self.visit(lambda session: session["cart"].append("pen"), token)

    def regenerating(self, token: str) -> None:
        answer = self.visit(regenerate_and_look, token)
        assert answer
        assert answer.token
        self.visit(lambda session: session.update(a=1), token)

    def signing_in(self, token: str) -> None:
        self.visit(lambda session: session.login(USER), token)
        for info in islice(self.site.manager.sessions_of(USER), 3):
            self._note(info)

    def signing_in_as_another(self, token: str) -> None:
        answer = self.visit(lambda session: session.login(USER), token)
        assert answer
        self.visit(lambda session: session.login("bob"), answer.token)

    def signing_out(self, token: str) -> None:
        self.visit(lambda session: session.invalidate(), token)
        self.visit(lambda session: session.update(a=1), token)

    def revoking(self, token: str) -> None:
        def act(session: Session) -> None:
            session["a"] = 1
            self.site.manager.revoke(session.id)

        self.visit(act, token)

    def signing_out_everywhere(self, token: str) -> None:
        def act(session: Session) -> None:
            session.login("dave", mark=self.site.manager.mark_of("dave"))
            self.site.manager.revoke_all("dave")

        self.visit(act, token)
        self._note(self.site.manager.mark_of("dave"))

    def clicking_twice(self, token: str) -> None:
        second = self.site.manager.open(token)
        self._note(len(second))
        self.visit(lambda session: session.login(USER), token)
        second.login(USER)
        self._note(second, self.site.manager.commit(second), second.state, vars(second.state))
        self.visit(read_or_write, token)
        self.visit(Session.invalidate, token)

    def revoking_the_others(self, token: str) -> None:
        def act(session: Session) -> None:
            session.login("carol")
            self.site.manager.revoke_all("carol", keep=session.id)

        self.visit(act, token)

    def transacting(self, token: str) -> None:
        self.visit(lambda session: session.transact(lambda data: data.update(a=1)), token)

    def lasting(self, token: str) -> None:
        self.visit(lambda session: session.set_lifetime(persistent=True, absolute=1000), token)

    def coming_with_two_cookies(self, token: str) -> None:
        other = self.begin()
        self.visit(read_or_write, f"{token}; session={other}")

    def finding_damage(self, token: str) -> None:
        key = self.site.manager.open(token).id
        self.faulty.delete(key)
        self.faulty.create(key, Record(b"damaged" * 20, int(time.time()) + 1000, None))
        self.visit(read_or_write, token)

    def losing_the_store(self, token: str) -> None:
        for act in (
            read_or_write,
            Session.regenerate,
            Session.invalidate,
            lambda session: session.login(USER),
            lambda session: session.login("bob"),
            lambda session: session.transact(lambda data: data.update(a=1)),
            sign_in_and_transact,
        ):
            for at in range(1, 6):
                self.faulty.fail(at=at, applied=bool(len(self.tokens.all) % 2))
                self.visit(act, token)
                self.faulty.heal()
        self.faulty.fail("create")
        self.visit(lambda session: session.update(a=1))
        self.faulty.heal()

    def losing_the_store_without_a_middleware(self, token: str) -> None:
        for act in (read_or_write, Session.regenerate, lambda session: session.login(USER), sign_in_and_transact):
            for at in range(1, 6):
                self.faulty.fail(at=at)
                try:
                    session = self.site.manager.open(token)
                    act(session)
                    self.site.manager.commit(session)
                except SessionError as error:
                    self._note_error(error)
                self.faulty.heal()

    def losing_every_race(self, token: str) -> None:
        if not self.conflicts:  # once, for it takes as long as the manager keeps trying
            self.faulty.refusing = True
            answer = self.visit(read_or_write, token)
            self.faulty.refusing = False
            self.conflicts += answer is not None and answer.status == "503 Service Unavailable"

    def growing_too_large(self, token: str) -> None:
        self.visit(lambda session: session.update(big=bytes(100_000)), token)

    def storing_what_cannot_be(self, token: str) -> None:
        self.visit(lambda session: session.update(cart=[object()]), token)

    def failing(self, token: str) -> None:
        self.visit(lambda session: session[f"{session!r}"], token)

    def being_late(self, token: str) -> None:
        self.visit(lambda session: session.update(late=1), token, late=True)
        self.visit(lambda session: session.regenerate(), token, late=True)
        self.visit(lambda session: session.update(late=1), late=True)


def sign_in_and_transact(session: Session) -> None:
    session.login(USER)
    session.transact(lambda data: data.update(a=1))


def regenerate_and_look(session: Session) -> None:
    session.regenerate()
    session["id"] = session.id


def read_or_write(session: Session) -> None:
    session["seen"] = len(session)


EVENTS = [
    Visitor.reading,
    Visitor.writing,
    Visitor.regenerating,
    Visitor.signing_in,
    Visitor.signing_in_as_another,
    Visitor.signing_out,
    Visitor.revoking,
    Visitor.revoking_the_others,
    Visitor.signing_out_everywhere,
    Visitor.clicking_twice,
    Visitor.transacting,
    Visitor.lasting,
    Visitor.coming_with_two_cookies,
    Visitor.finding_damage,
    Visitor.losing_the_store,
    Visitor.losing_the_store_without_a_middleware,
    Visitor.losing_every_race,
    Visitor.growing_too_large,
    Visitor.storing_what_cannot_be,
    Visitor.failing,
    Visitor.being_late,
]


@pytest.mark.parametrize("store", LATER, indirect=True)
def test_no_token_is_seen_outside_its_cookie(
    request: pytest.FixtureRequest,
    store: Store,
    backends: Backends,
    logged: io.StringIO,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Promise 11, G-4, A-13.1.3: 1,000 sessions through everything that can happen: no trace of a secret anywhere."""
    visitor = Visitor(store)
    for event in islice(cycle(EVENTS), SESSIONS):
        event(visitor, visitor.begin())
    tokens = visitor.tokens
    assert len(tokens.all) > SESSIONS
    assert len(set(tokens.all)) == len(tokens.all)
    assert visitor.conflicts == 1
    assert "damaged" in logged.getvalue()
    assert tokens.found_in(logged.getvalue()) == []
    assert tokens.found_in("".join(capsys.readouterr())) == []
    assert tokens.found_in(dump(store, request.node.callspec.params["store"], backends)) == []
    texts = "\n".join(dict.fromkeys(text for text in visitor.seen if isinstance(text, str)))
    assert tokens.found_in(texts) == []
    assert tokens.found_in(b"\n".join(text for text in visitor.seen if isinstance(text, bytes))) == []


def test_what_a_request_has_done_shows_no_secret(store: Store) -> None:
    """Promise 11: neither the session nor what it keeps for the manager shows one, before the commit or after."""
    site, tokens = Site(store), Secrets()
    tokens.add(site.sign_in(USER))
    session = site.manager.open(tokens.all[0])
    for act in (Session.regenerate, lambda session: session.login(USER)):
        act(session)
        state = session.state
        assert state is not None
        assert state.token is not None
        tokens.add(state.token.reveal())
        shown = [f"{thing!r} {thing}" for thing in (session, state, vars(state), state.token, site.manager)]
        sent = site.manager.commit(session)
        shown += [f"{thing!r} {thing}" for thing in (session, sent, session.state, vars(state), site.manager)]
        assert tokens.found_in("\n".join(shown)) == []


def test_a_token_is_not_pickled_copied_or_formatted_into_the_open() -> None:
    """Promise 11: only who asks for it by name gets it."""
    tokens = Secrets()
    token = Token.new()
    tokens.add(token.reveal())
    shown = f"{token} {token!r} {token!s} %s {[token]} {{'token': {token}}}" % token

    assert tokens.found_in(shown) == []
    assert token.id in shown
    for forbidden in (pickle.dumps, copy.copy, copy.deepcopy):
        with pytest.raises(TypeError, match="is a secret and is not pickled"):
            forbidden(token)


def test_the_id_of_a_session_opens_nothing(store: Store) -> None:
    """Promise 11: what the store has for a key, and ``session.id``, are no use as a cookie."""
    site = Site(store, lifetime=Lifetime())
    for _ in range(100):
        token = site.sign_in(USER, secret=1)
        key = site.manager.open(token).id
        assert site.opened(key) == {}
        answer = site.visit(lambda session: [repr(dict(session)).encode()], key)
        assert (answer.body, answer.token) == (b"{}", None)


def test_a_server_shows_no_token(tmp_path: Path) -> None:
    """Promise 11, G-4, G-14: stdout and stderr of a gunicorn at DEBUG, its responses and its files, whatever happens."""
    tokens, seen = Secrets(), list[bytes]()
    arguments = (
        "--worker-class",
        "gthread",
        "--workers",
        "2",
        "--threads",
        "4",
        "--log-level",
        "debug",
        "--keep-alive",
        "300",
    )
    with (
        Gunicorn("tests.servers.site:make(debug=True)", *arguments, cwd=tmp_path) as server,
        Client(server.port) as client,
        closing(sqlite3.connect(tmp_path / DATABASE, isolation_level=None, timeout=10)) as foreigner,
    ):

        def get(target: str, token: str | None = None) -> str | None:
            response = client.get(target, token)
            fresh = response.token
            if fresh:
                tokens.add(fresh)
            seen.append(response.body)
            seen.append(response.head.replace(fresh.encode(), b"") if fresh else response.head)
            return fresh or token

        for number in range(100):
            token = get("/set?key=a&value=1")
            token = get("/regenerate", token)
            token = get(f"/login?user=user{number}", token)
            get("/get", token)
            for target in ("/fail", "/unsupported"):
                with suppress(OSError):
                    get(target, token)
            if number == 50:
                foreigner.execute("BEGIN EXCLUSIVE")
                get("/set?key=b&value=1", token)
                get("/regenerate", token)
                foreigner.execute("ROLLBACK")
            if number % 10 == 0:
                foreigner.execute("UPDATE sessions SET value = x'0102' WHERE user_id = ?", (f"user{number}",))
                get("/get", token)
            get("/invalidate", token)
        files = b"".join(path.read_bytes() for path in sorted(tmp_path.iterdir()))
        log = server.log()
    assert len(tokens.all) >= 300
    assert "failed on purpose" in log
    assert "locked" in log
    assert "damaged" in log
    for text in (log, files, b"\n".join(seen)):
        assert tokens.found_in(text) == []

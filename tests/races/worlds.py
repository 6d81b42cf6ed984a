"""A site for requests in every order of their store calls, and what these requests do."""

from collections.abc import Callable, Iterator
from contextlib import suppress
from functools import partial
from typing import Any, NamedTuple

from session_middleware import ConflictError, Session, SessionMiddleware, Store, get_session
from session_middleware.rules import Opens
from session_middleware.testing import FakeClock
from session_middleware.testing.orders import Outcome, SteppedStore, every_order, some_orders
from session_middleware.tokens import Token

USER = "alice"
DATA = {"a": 1, "old": [1]}

Action = Callable[["World", Session], Any]
"""What a request does. One that yields does the rest when its response has started."""


class Answer(NamedTuple):
    """What the browser got: ``token`` if it was told one; whether it was told to forget its cookie."""

    status: str
    token: Token | None
    forgets: bool


class World:
    """A site with one browser that has a session; each request of it runs one action."""

    def __init__(self, store: Store, user_id: str | None) -> None:
        self.store = SteppedStore(store)
        self.clock = FakeClock()
        self.application = SessionMiddleware(self._app, self.store, clock=self.clock)
        self.manager = self.application.manager
        begun = self.request(partial(_begin, user_id)).token
        assert begun is not None
        self.token = begun
        self.writers: set[str] = set()
        """The keys written by requests that had the session."""
        self.seen: list[dict[str, Any]] = []
        """What spies have seen."""

    def _app(self, environ: dict[str, Any], start_response: Any) -> Any:
        act = environ["test.action"](self, get_session(environ))
        if not isinstance(act, Iterator):
            start_response("200 OK", [("Content-Type", "text/plain")])
            return [b"mine"]
        next(act, None)
        start_response("200 OK", [("Content-Type", "text/plain")])
        return self._streamed(act)

    @staticmethod
    def _streamed(act: Iterator[Any]) -> Iterator[bytes]:
        yield b"mine"
        for _ in act:
            pass

    def request(self, action: Action, *tokens: Token) -> Answer:
        """Make one request with these cookies, to its end."""
        answers: list[Answer] = []

        def start_response(status: str, headers: list[tuple[str, str]], exc_info: Any = None) -> Callable[[bytes], None]:
            cookies = [value.partition("=")[2].partition(";")[0] for name, value in headers if name == "Set-Cookie"]
            assert len(cookies) <= 1
            text = cookies[0] if cookies else ""
            answers.append(Answer(status, Token.read(text), cookies == [""]))
            return lambda data: None

        environ = {"REQUEST_METHOD": "GET", "wsgi.url_scheme": "http", "test.action": action}
        if tokens:
            environ["HTTP_COOKIE"] = "; ".join(f"session={token.reveal()}" for token in tokens)
        blocks: Any = self.application(environ, start_response)
        body = b"".join(blocks)
        if close := getattr(blocks, "close", None):
            close()
        assert body == b"mine", body
        return answers[0]

    def opens(self, token: Token | None) -> Opens:
        """Return what the token opens now."""
        session = self.manager.open(token)
        assert session.is_new in (True, False)
        return session.state.opens if session.state else Opens.NOTHING

    def data(self, token: Token | None) -> dict[str, Any]:
        """Return what the session of *token* holds now, and nothing if that opens no more than a snapshot."""
        return dict(self.manager.open(token)) if self.opens(token) is Opens.SESSION else {}

    def user(self, *tokens: Token | None) -> str | None:
        """Return who is signed in where these cookies are sent."""
        return Session(self.manager, tuple, [token for token in tokens if token]).user_id

    def live(self) -> list[dict[str, Any]]:
        """Return the data of every live session in the store, whoever knows its token."""
        found = [self.manager.find(key) for key in list(self.store.keys())]
        return [dict(session.data) for session in found if session is not None]


def _begin(user_id: str | None, world: World, session: Session) -> None:
    session.update(DATA)
    if user_id is not None:
        session.login(user_id)


def orders(
    store: Store,
    *actions: Action,
    user_id: str | None = None,
    sample: int | None = None,
    cookies: Callable[[World], list[Token]] = lambda world: [world.token],
) -> Iterator[tuple[World, Outcome]]:
    """Yield every order of these actions, or a *sample* of them, each checked for what holds always.

    Each of them is a request with the cookies that *cookies* returns for a fresh world.
    """

    def world() -> tuple[SteppedStore, list[Callable[[], Any]], World]:
        made = World(store, user_id)
        tokens = cookies(made)
        return made.store, [partial(made.request, action, *tokens) for action in actions], made

    count = 0
    for made, outcome in every_order(world) if sample is None else some_orders(world, sample):
        count += 1
        assert outcome.errors == [None] * len(actions), (outcome.schedule, outcome.errors)
        assert [answer.status for answer in outcome.results] == ["200 OK"] * len(actions), outcome.schedule
        yield made, outcome
        made.store.empty()
    assert count > 1


def token_of(outcome: Outcome, number: int) -> Token | None:
    """Return the token that a response has told."""
    answer: Answer = outcome.results[number]
    return answer.token


# What requests do


def set_key(key: str, value: object = True) -> Action:
    def action(world: World, session: Session) -> None:
        if session.get("a") == 1:
            world.writers.add(key)
        session[key] = value

    return action


def read(world: World, session: Session) -> None:
    session.get("a")


def logout(world: World, session: Session) -> None:
    session.invalidate()


def regenerate(world: World, session: Session) -> None:
    session["regenerated"] = True
    session.regenerate()


def login(user_id: str, **data: object) -> Action:
    def action(world: World, session: Session) -> None:
        session.login(user_id)
        session.update(data)

    return action


def increment(data: Any) -> int:
    data["n"] = data.get("n", 0) + 1
    return int(data["n"])


def transact(world: World, session: Session) -> None:
    """Count; a conflict is no error of the request, but then nobody relies on the count."""
    is_there = session.get("a") == 1
    with suppress(ConflictError):
        session.transact(increment)
        if is_there:
            world.writers.add("n")

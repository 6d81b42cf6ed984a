"""Two requests of an application in every order of their store calls."""

import threading
import time
from collections.abc import Callable, Iterable
from typing import Any

import flask
import pytest
import webtest
from webob import Request

from session_middleware import ConfigurationError, MemoryStore, Record, SessionMiddleware, get_session
from session_middleware.integrations.flask import Sessions
from session_middleware.testing import interleavings, manager_of, orders, session_of, sign_in, signed_in_cookie
from tests.sites import Bare

Redeem = Callable[[Any], bool]


def carelessly(session: Any) -> bool:
    if not session["coupons"]:
        return False
    session["coupons"] -= 1
    return True


def in_a_transaction(session: Any) -> bool:
    done: bool = session.transact(lambda data: carelessly(data))
    return done


def shop(redeem: Redeem, store: Any = None) -> SessionMiddleware:
    """Return a shop in which each coupon is to be redeemed once."""

    def app(environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        body = b"redeemed" if redeem(get_session(environ)) else b"none left"
        start_response("200 OK", [("Content-Type", "text/plain")])
        return [body]

    return SessionMiddleware(app, MemoryStore() if store is None else store)


def once(first: Any, second: Any) -> None:
    assert sorted([first.text, second.text]) == ["none left", "redeemed"]


def request_of(app: Any, **data: Any) -> Request:
    return Request.blank("/", headers={"Cookie": signed_in_cookie(app, "alice", {"coupons": 1, **data})})


def test_a_race_is_found_and_its_orders_are_told() -> None:
    """Both have read before either has written: those orders, and no other, are broken."""
    app = shop(carelessly)
    request = request_of(app)
    found = interleavings(app, request, request, check=once)

    assert found.complete
    assert 0 < len(found.broken) < found.orders
    for broken in found.broken:
        numbers = [call.request for call in broken.calls if call.verb == "load"]
        assert numbers[:2] in ([0, 1], [1, 0])
        assert [response.text for response in broken.responses] == ["redeemed", "redeemed"]
        assert isinstance(broken.error, AssertionError)
    report = str(found).splitlines()
    assert report[0] == f"{len(found.broken)} of {found.orders} orders are broken (all); the first of them:"
    assert report[1].split()[:3] in (["1.", "first", "load"], ["1.", "second", "load"])
    assert any(line.split()[-1] == "refused" for line in report)
    assert "  first got 200 OK b'redeemed'" in report
    assert report[-1].startswith("  AssertionError") or "AssertionError" in str(found)


def test_a_transaction_has_no_such_order() -> None:
    """Promise 4, as an application can test it."""
    app = shop(in_a_transaction)
    request = request_of(app)
    found = interleavings(app, request, request, check=once)

    assert (found.complete, found.broken) == (True, [])
    assert str(found) == f"0 of {found.orders} orders are broken (all)"
    assert found.orders > 2


def test_the_same_orders_come_each_time() -> None:
    """Nothing is left to chance."""
    app = shop(carelessly)
    request = request_of(app)

    def calls() -> list[list[Any]]:
        return [broken.calls for broken in interleavings(app, request, request, check=once).broken]

    assert calls() == calls()


def test_the_store_of_the_application_is_only_read() -> None:
    """Each order begins with what was there, and all of it is there afterwards, as it was."""
    app = shop(carelessly)
    request = request_of(app)
    store = app.manager.store
    key = app.manager.sessions_of("alice")[0].id
    before = store.load(key)
    interleavings(app, request, request, check=once)

    assert app.manager.store is store
    assert store.load(key) == before


def test_the_check_sees_what_is_stored() -> None:
    """The sessions of that order, by the application's own manager."""
    app = shop(in_a_transaction)
    client = webtest.TestApp(app)
    sign_in(client, "alice", {"coupons": 2})
    left: list[int] = []

    def check(first: Any, second: Any) -> None:
        session = session_of(client)
        assert session is not None
        left.append(session.data["coupons"])

    header = {"Cookie": f"session={client.cookies['session']}"}
    request = webtest.TestRequest.blank("/", headers=header)
    found = interleavings(app, request, request, check=check)
    assert left == [0] * found.orders


def test_requests_may_be_functions() -> None:
    """With the test client of a framework; *begin* is called before each order, its own store calls are none of it."""
    app = flask.Flask(__name__)
    Sessions(app, MemoryStore())
    begun: list[str] = []

    @app.route("/redeem", methods=["POST"])
    def redeem() -> str:
        return "redeemed" if carelessly(flask.session) else "none left"

    def begin() -> None:
        begun.append(signed_in_cookie(app, "alice", {"coupons": 1}))

    def click() -> Any:
        return app.test_client(use_cookies=False).post("/redeem", headers={"Cookie": begun[-1]})

    found = interleavings(app, click, click, check=once, begin=begin)
    assert found.broken
    assert len(begun) == found.orders == len(set(begun))
    assert "first got 200 OK b'redeemed'" in str(found)
    assert {call.verb for call in found.broken[0].calls} == {"load", "update"}


def test_requests_that_begin_sessions_are_ordered_too() -> None:
    """Also those of a store without anything in it; and what is listed is listed in each order alike."""
    app = shop(in_a_transaction)
    manager = app.manager

    def sign_in_there() -> None:
        session = manager.open()
        session.login("alice")
        manager.commit(session)

    ended: list[int] = []

    def sign_out_everywhere() -> None:
        ended.append(manager.revoke_all("alice") if manager.sessions_of("alice") else manager.revoke_everybody())

    found = interleavings(app, sign_in_there, sign_out_everywhere)
    assert (found.complete, found.broken) == (True, [])
    assert found.orders > 3
    assert {0, 1} <= set(ended)
    assert manager.sessions_of("alice") == []


def test_marks_and_what_cannot_be_read_are_copied(caplog: pytest.LogCaptureFixture) -> None:
    """A store holds more than sessions."""
    app = shop(in_a_transaction)
    app.manager.revoke_all("alice")
    app.manager.store.create("k" * 12, Record(b"damaged", int(time.time()) + 60, None))
    mark = app.manager.mark_of("alice")
    seen: list[object] = []
    interleavings(app, lambda: seen.append(app.manager.mark_of("alice")), lambda: app.manager.find("k" * 12))

    assert mark is not None
    assert set(seen) == {mark}
    assert "damaged" in caplog.text


def test_a_request_that_raises_breaks_its_order() -> None:
    """No check is needed for that, and none is called."""
    app = shop(carelessly)

    def fail() -> None:
        app.manager.find("k" * 12)
        raise KeyError("fail")

    found = interleavings(app, fail, lambda: 1, check=lambda first, second: pytest.fail("is not called"))
    assert len(found.broken) == found.orders > 0
    assert str(found).splitlines()[1:] == [
        f"  1. first   load    {'k' * 12}  nothing",
        "  first got None",
        "  second got 1",
        "  KeyError: 'fail'",
    ]


def test_what_pytest_raises_is_told_with_the_rest() -> None:
    """pytest.fail() in a check breaks that order alone."""
    app = shop(carelessly)
    found = interleavings(app, lambda: 1, lambda: 2, check=lambda first, second: pytest.fail("no"))
    assert [str(broken.error) for broken in found.broken] == ["no"] * found.orders


def test_whoever_interrupts_a_check_ends_it_all() -> None:
    """Ctrl-C is nothing that an order is broken by; the application has its store back."""
    app = shop(carelessly)
    store = app.manager.store

    def interrupt(first: object, second: object) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interleavings(app, lambda: 1, lambda: 2, check=interrupt)
    assert app.manager.store is store


@pytest.mark.parametrize("bound", [{"most": 3}, {"seconds": 0}])
def test_the_orders_are_bounded(bound: dict[str, Any]) -> None:
    """In number and in time; the report says that these were not all."""
    app = shop(carelessly)
    request = request_of(app)
    found = interleavings(app, request, request, check=once, **bound)

    assert found.orders == bound.get("most", 0)
    assert not found.complete
    assert "not all there are" in str(found)


def test_calls_of_other_threads_are_not_ordered() -> None:
    """They are noted, as those of another."""
    app = shop(carelessly)

    def in_another() -> None:
        thread = threading.Thread(target=app.manager.find, args=("k" * 12,))
        thread.start()
        thread.join()
        raise KeyError

    found = interleavings(app, in_another, lambda: 1)
    assert [call.request for call in found.broken[0].calls] == [None]
    assert " another load " in str(found)


def test_requests_that_do_not_do_the_same_each_time_are_refused() -> None:
    """An order that was found could not be run again: something outside of the session is to be put back."""
    app = shop(carelessly)
    ran: list[int] = []

    def once_only() -> None:
        if not ran:
            ran.append(1)
            for _ in range(3):
                app.manager.find("k" * 12)

    with pytest.raises(AssertionError, match="do not do the same each time"):
        interleavings(app, once_only, once_only)


def test_requests_that_wait_for_each_other_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """A lock that is held over a call of the store lets no order be run but one."""
    monkeypatch.setattr(orders, "_PATIENCE", 0.2)
    app, lock = shop(carelessly), threading.Lock()

    def locked() -> None:
        with lock:
            app.manager.find("k" * 12)

    with pytest.raises(AssertionError, match="does it wait for the other"):
        interleavings(app, locked, locked)


def test_a_store_that_cannot_list_itself_is_refused() -> None:
    """There is nothing to begin with; and it is said what to do."""
    app = shop(carelessly, Bare())
    with pytest.raises(ConfigurationError, match=r"give the application a MemoryStore\(\)"):
        interleavings(app, lambda: 1, lambda: 2)


def test_what_is_no_request_is_refused() -> None:
    """Before anything is run."""
    app = shop(carelessly)
    with pytest.raises(ConfigurationError, match="write a function without arguments"):
        interleavings(app, "/redeem", lambda: 2)  # type: ignore[arg-type]  # the point of it
    assert manager_of(app) is app.manager

"""When a session is stored and what of a response changes: W-1 to W-8, W-15 to W-20, W-27 to W-33."""

import gc
from collections.abc import Iterable, Iterator
from typing import Any, cast
from wsgiref.types import StartResponse, WSGIApplication, WSGIEnvironment
from wsgiref.validate import validator

import pytest
from webtest import lint

from session_middleware import HeadersAlreadySent, Session, SessionMiddleware, get_session
from session_middleware.testing import FaultyStore
from tests.apps import SHAPES, Act, Gateway, Shape, an_environ, some_headers, visit
from tests.wsgi.acts import (
    ACTS,
    a_session,
    invalidate,
    late,
    login,
    method_for,
    nothing,
    read,
    regenerate,
    stored,
    verbs,
    write,
)

ADDED = {"Vary", "Set-Cookie", "Cache-Control"}


class TestConformance:
    def test_both_linters_find_nothing_on_either_side(
        self, store: FaultyStore, shape: Shape, capsys: pytest.CaptureFixture[str]
    ) -> None:
        """W-33, promise 14: whatever the shape of the application and whatever it does to the session."""

        def linted(app: WSGIApplication) -> WSGIApplication:
            return validator(lint.middleware(app))

        def bare(app: WSGIApplication) -> WSGIApplication:
            return app

        for act in ACTS:
            for outside, inside in ((linted, bare), (bare, linted), (linted, linted)):
                for cookie in (None, a_session(store)):
                    app = outside(SessionMiddleware(inside(shape(act)), store))
                    response = visit(app, cookie=cookie, method=method_for(shape))

                    assert response.status[:1] in "234"
        gc.collect(1)
        assert capsys.readouterr().err == ""

    def test_an_untouched_session_changes_nothing(self, store: FaultyStore, shape: Shape) -> None:
        """W-17, W-29, promise 1: status, headers and blocks are those of the application, with a cookie and without."""
        bare = visit(shape(nothing), method=method_for(shape))
        for cookie in (None, a_session(store)):
            wrapped = visit(SessionMiddleware(shape(nothing), store), cookie=cookie, method=method_for(shape))

            assert (wrapped.status, wrapped.headers) == (bare.status, bare.headers)
            assert wrapped.blocks == bare.blocks
        assert store.calls == []

    def test_a_used_session_adds_three_headers_at_most(self, store: FaultyStore, shape: Shape) -> None:
        """W-15, W-17, W-20: status, body and the application's own headers stay, with their order, case and number."""
        bare = visit(shape(nothing), method=method_for(shape))
        for act in ACTS:
            for cookie in (None, a_session(store)):
                wrapped = visit(SessionMiddleware(shape(act), store), cookie=cookie, method=method_for(shape))

                assert (wrapped.status, wrapped.blocks) == (bare.status, bare.blocks)
                assert wrapped.headers[: len(bare.headers)] == bare.headers
                added = [name for name, _ in wrapped.headers[len(bare.headers) :]]
                assert set(added) <= ADDED
                assert len(set(added)) == len(added)

    def test_what_is_added_is_printable_ascii(self, store: FaultyStore, shape: Shape) -> None:
        """W-27, W-28: no control characters, DEL included, nothing beyond Latin-1, no hop-by-hop headers."""
        for act in ACTS:
            response = visit(SessionMiddleware(shape(act), store), cookie=a_session(store), method=method_for(shape))
            values = [value for name, value in response.headers if name in ADDED]

            assert all(value.isascii() and value.isprintable() for value in values)


class TestCommit:
    def test_a_change_is_stored_and_announced_before_the_response_starts(self, store: FaultyStore, shape: Shape) -> None:
        """W-1, W-2, W-6, promise 6: the store has it when status and headers leave, wherever they come from."""
        seen: list[list[str]] = []
        gateway = Gateway(on_start=lambda: seen.append(verbs(store)))
        gateway.run(SessionMiddleware(shape(write), store), an_environ(method=method_for(shape)))

        assert all(verbs == ["create"] for verbs in seen)
        assert len(seen) == gateway.starts
        assert stored(store, gateway.cookie) == {"name": "new"}

    def test_a_change_to_an_existing_session_needs_no_cookie(self, store: FaultyStore, shape: Shape) -> None:
        """W-1, W-2, W-6: one load, one update, and nothing for the browser to learn."""
        cookie = a_session(store)
        response = visit(SessionMiddleware(shape(write), store), cookie=cookie, method=method_for(shape))

        assert verbs(store) == ["load", "update"]
        assert (response.set_cookies, response.values("Vary")) == ([], ["Cookie"])
        assert stored(store, cookie)["name"] == "new"

    @pytest.mark.parametrize("act", [read, write, invalidate])
    def test_a_session_that_is_first_used_late_is_told_of_once(
        self, store: FaultyStore, act: Act, caplog: pytest.LogCaptureFixture
    ) -> None:
        """W-30: the page depends on it, and has no ``Vary``."""
        application = SessionMiddleware(late(act), store)
        for _ in range(2):
            response = visit(application, cookie=a_session(store))
            assert response.values("Vary") == []
        told = [record for record in caplog.records if "first time after its response had started" in record.getMessage()]
        assert len(told) == 1

    def test_a_session_that_is_used_in_time_or_kept_is_not(
        self, store: FaultyStore, caplog: pytest.LogCaptureFixture
    ) -> None:
        """W-30: what a thread reads afterwards is in no page."""
        kept: list[Session] = []

        def app(environ: WSGIEnvironment, start_response: StartResponse) -> Iterator[bytes]:
            kept.append(get_session(environ))
            if environ["PATH_INFO"] == "/read":
                read(environ)
            start_response("200 OK", some_headers())
            yield b"first"
            if environ["PATH_INFO"] == "/read":
                write(environ)

        application = SessionMiddleware(app, store)
        for path in ("/read", "/untouched"):
            visit(application, path, cookie=a_session(store))
            assert kept.pop()["cart"] == {"items": [1]}
        assert caplog.records == []

    def test_an_existing_session_is_stored_again_when_it_changes_late(self, store: FaultyStore) -> None:
        """W-3: what is written after the first byte is stored, too."""
        cookie = a_session(store)
        response = visit(SessionMiddleware(late(write), store), cookie=cookie)

        assert response.body == b"firstsecond"
        assert stored(store, cookie)["name"] == "new"

    def test_a_late_change_is_stored_before_the_end_is_seen(self, store: FaultyStore) -> None:
        """Promise 6: who has read the response to its end finds in the session what it did, though close() comes later."""
        cookie = a_session(store)
        blocks = iter(SessionMiddleware(late(write), store)(an_environ(cookie=cookie), lambda *_: bytes))
        assert b"".join(blocks) == b"firstsecond"

        assert stored(store, cookie)["name"] == "new"
        cast("Any", blocks).close()

    def test_early_and_late_changes_are_both_stored(self, store: FaultyStore) -> None:
        """W-3: a nested change before the first byte, one after it, and one after the last."""
        cookie = a_session(store)

        def app(environ: WSGIEnvironment, start_response: StartResponse) -> Iterator[bytes]:
            start_response("200 OK", some_headers())
            items = get_session(environ)["cart"]["items"]
            for number in (2, 3):
                items.append(number)
                yield b"block"
            items.append(4)

        visit(SessionMiddleware(app, store), cookie=cookie)

        assert stored(store, cookie)["cart"] == {"items": [1, 2, 3, 4]}

    @pytest.mark.parametrize("result", [[], (b"two",), iter([b"two"])])
    def test_a_change_after_write_is_stored(self, store: FaultyStore, result: Iterable[bytes]) -> None:
        """W-3, W-12: the response has started with write(), whatever is returned afterwards."""
        cookie = a_session(store)

        def app(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
            send = start_response("200 OK", some_headers())
            get_session(environ)["cart"]["items"].append(2)
            send(b"one")
            write(environ)
            return result

        visit(SessionMiddleware(app, store), cookie=cookie)

        assert stored(store, cookie) == {"name": "new", "cart": {"items": [1, 2]}}

    def test_a_change_after_write_is_dropped_if_an_exception_escapes(self, store: FaultyStore) -> None:
        """W-11, promise 16: what was stored with the first byte stays, what came later goes."""
        cookie = a_session(store)

        def app(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
            send = start_response("200 OK", some_headers())
            get_session(environ)["cart"]["items"].append(2)
            send(b"one")
            write(environ)
            raise LookupError

        with pytest.raises(LookupError):
            visit(SessionMiddleware(app, store), cookie=cookie)
        assert stored(store, cookie) == {"name": "old", "cart": {"items": [1, 2]}}

    def test_a_late_change_outlives_a_client_that_went_away(self, store: FaultyStore) -> None:
        """W-3, W-13: the server closes early; what was done until then is stored."""
        cookie = a_session(store)
        Gateway().run(SessionMiddleware(late(write), store), an_environ(cookie=cookie), most=2)

        assert stored(store, cookie)["name"] == "new"

    def test_a_late_change_that_cannot_be_stored_is_logged(
        self, store: FaultyStore, caplog: pytest.LogCaptureFixture
    ) -> None:
        """W-3: the response is on its way, so there is only the log to tell."""
        cookie = a_session(store)
        store.fail("update")
        response = visit(SessionMiddleware(late(write), store), cookie=cookie)

        assert response.body == b"firstsecond"
        assert "could not be loaded or stored" in caplog.text
        assert response.status == "200 OK"

    @pytest.mark.parametrize(
        "act",
        [
            write,
            login,
            lambda environ: get_session(environ).setdefault("name", "new"),
            lambda environ: get_session(environ).transact(lambda data: data.update(name="new")),
            regenerate,
            lambda environ: get_session(environ).set_lifetime(persistent=True),
        ],
        ids=["set", "login", "setdefault", "transact", "regenerate", "set_lifetime"],
    )
    def test_what_needs_a_cookie_is_refused_when_it_is_too_late(self, store: FaultyStore, act: Act) -> None:
        """W-4: a new session, or a new token, raises at the call, into the application; nothing is stored."""
        with pytest.raises(HeadersAlreadySent):
            visit(SessionMiddleware(late(act), store))

        assert store.calls == []

    @pytest.mark.parametrize("act", [login, regenerate])
    def test_a_late_new_token_leaves_the_session_as_it_was(self, store: FaultyStore, act: Act) -> None:
        """W-4: the token in the browser goes on opening the session."""
        cookie = a_session(store)
        with pytest.raises(HeadersAlreadySent):
            visit(SessionMiddleware(late(act), store), cookie=cookie)

        assert stored(store, cookie)["name"] == "old"

    def test_a_late_end_is_an_end_at_once(self, store: FaultyStore) -> None:
        """W-5: the store forgets the session at the call; only the cookie stays, and opens nothing."""
        cookie = a_session(store)
        found: list[dict[str, Any]] = []

        def act(environ: WSGIEnvironment) -> None:
            get_session(environ).invalidate()
            found.append(stored(store, cookie))

        response = visit(SessionMiddleware(late(act), store), cookie=cookie)

        assert found == [{}]
        assert response.set_cookies == []

    def test_headers_that_replace_the_first_ones_carry_the_cookie_again(self, store: FaultyStore) -> None:
        """W-7: an error page after an empty block does not cost the browser its new token."""
        cookie = a_session(store)
        response = visit(SessionMiddleware(SHAPES["late_error_page"](regenerate), store), cookie=cookie)

        assert (response.starts, response.status) == (2, "404 Not Found")
        assert response.values("Vary") == ["Cookie"]
        assert response.values("Cache-Control") == ["private, no-store"]
        assert stored(store, response.cookie)["name"] == "old"
        assert response.cookie != cookie

    def test_a_second_start_response_is_an_error_and_stores_nothing(self, store: FaultyStore) -> None:
        """W-8: as at a server; without exc_info it is a programming error."""

        def app(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
            write(environ)
            start_response("200 OK", some_headers())
            start_response("200 OK", some_headers())
            return []

        with pytest.raises(AssertionError, match="second time"):
            visit(SessionMiddleware(app, store))
        assert store.calls == []

    def test_headers_are_copied_when_they_are_given(self, store: FaultyStore) -> None:
        """W-15: neither the application's list nor the one for the server is anybody else's."""
        theirs = some_headers()

        def app(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
            write(environ)
            start_response("200 OK", theirs)
            return []

        response = visit(SessionMiddleware(app, store))

        assert theirs == some_headers()
        assert response.headers is not theirs


class TestMethodsAndStatuses:
    @pytest.mark.parametrize("act", ACTS)
    def test_head_has_the_headers_of_get(self, store: FaultyStore, act: Act) -> None:
        """W-18: nothing but the token differs, the session is kept alike, and no body is added."""
        application = SessionMiddleware(SHAPES["head"](act), store)
        get, head = (visit(application, cookie=a_session(store), method=method) for method in ("GET", "HEAD"))

        assert head.blocks == []
        assert [name for name, _ in head.headers] == [name for name, _ in get.headers]
        assert [value for name, value in head.headers if name != "Set-Cookie"] == [
            value for name, value in get.headers if name != "Set-Cookie"
        ]

    @pytest.mark.parametrize("name", ["not_modified", "no_content"])
    def test_a_response_without_content_gets_no_content_and_no_type(self, store: FaultyStore, name: str) -> None:
        """W-19: a new token goes out with it all the same, and forbids to keep it."""
        application = SessionMiddleware(SHAPES[name](regenerate), store)
        response = visit(application, cookie=a_session(store))

        assert (response.body, response.values("Content-Type")) == (b"", [])
        assert response.values("Cache-Control") == ["private, no-store"]
        assert stored(store, response.cookie)["name"] == "old"

    def test_a_session_that_is_merely_used_sets_no_cookie(self, store: FaultyStore, shape: Shape) -> None:
        """W-19, W-30, promise 2: one load, ``Vary``, and nothing written."""
        response = visit(SessionMiddleware(shape(read), store), cookie=a_session(store), method=method_for(shape))

        assert (response.set_cookies, response.values("Vary")) == ([], ["Cookie"])
        assert verbs(store) == ["load"]

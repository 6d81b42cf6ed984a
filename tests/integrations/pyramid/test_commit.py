"""The session is stored when the whole of Pyramid is done with the request."""

from pathlib import Path
from typing import Any

import pytest
from pyramid.events import NewResponse
from pyramid.httpexceptions import HTTPConflict, HTTPInternalServerError
from pyramid.response import FileResponse, Response

from tests.apps import visit
from tests.integrations.pyramid.application import View, app_of, configured, seen, show


class TestCommit:
    """The session is stored when the whole of Pyramid is done with the request, and the response starts."""

    def test_what_callbacks_and_subscribers_change_is_stored(self) -> None:
        """Response callbacks, NewResponse and finished callbacks all run before that."""

        def home(request: Any) -> Any:
            request.add_response_callback(lambda request, response: note(request, "response"))
            request.add_finished_callback(lambda request: note(request, "finished"))
            return {}

        def note(request: Any, name: str) -> None:
            request.session.setdefault("notes", []).append(name)

        config = configured(home=home, show=show)
        config.add_subscriber(lambda event: note(event.request, "subscriber"), NewResponse)
        app = config.make_wsgi_app()
        first = visit(app, "/home")

        assert seen(app, first)["data"] == {"notes": ["response", "subscriber", "finished"]}

    @pytest.mark.parametrize(("response", "stored"), [(HTTPInternalServerError, False), (HTTPConflict, True)])
    def test_an_exception_view_decides_whether_the_request_has_failed(self, response: Any, stored: bool) -> None:
        """Promise 16: with a status of the 500 kind it has, with another one it has not."""

        def fail(request: Any) -> Any:
            request.session["a"] = 1
            raise LookupError

        config = configured(fail=fail, show=show)
        config.add_exception_view(lambda error, request: response(), LookupError)
        page = visit(config.make_wsgi_app(), "/fail")

        assert page.status == response().status
        assert bool(page.set_cookies) == stored

    def test_a_sign_out_holds_even_if_the_page_fails(self) -> None:
        """Promise 16: ending a session always ends it."""

        def fail(request: Any) -> Any:
            request.session.invalidate()
            raise LookupError

        def put(request: Any) -> Any:
            request.session["a"] = 1

        app = app_of(put=put, fail=fail, show=show)
        first = visit(app, "/put")
        with pytest.raises(LookupError):
            visit(app, "/fail", cookie=first.cookie)

        assert seen(app, first)["data"] == {}

    def test_a_file_goes_to_the_server_as_it_is(self, tmp_path: Path) -> None:
        """Promise 1: the server's own wrapper, so that it can send the file its fast way."""
        (tmp_path / "file").write_bytes(b"content")
        app = app_of(file=lambda request: FileResponse(tmp_path / "file", request=request))
        page = visit(app, "/file")

        assert page.body == b"content"
        assert type(page.result).__name__ == "FileWrapper"

    def test_the_list_of_blocks_is_the_views_own(self) -> None:
        """Promise 1."""
        blocks = [b"one", b"two"]

        assert visit(app_of(page=lambda request: Response(app_iter=blocks)), "/page").result is blocks

    def test_a_session_is_there_in_every_tween(self) -> None:
        """Those above Pyramid's exception views, too: the policy is around all of them."""
        config = configured(show=show)
        config.add_tween("tests.integrations.pyramid.test_commit.counting")
        app = config.make_wsgi_app()
        first = visit(app, "/show")

        assert seen(app, first)["data"] == {"above": 2}


def counting(handler: View, registry: Any) -> View:
    def tween(request: Any) -> Any:
        request.session["above"] = request.session.get("above", 0) + 1
        return handler(request)

    return tween

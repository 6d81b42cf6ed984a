"""The settings of our sessions in Pyramid: an ini file or objects, and what cannot work does not start."""

import json
import subprocess
import sys
from importlib import import_module, reload
from importlib.abc import MetaPathFinder
from typing import Any
from unittest.mock import Mock

import pytest
from pyramid.config import Configurator
from pyramid.response import Response

from session_middleware import ConfigurationError, CookiePolicy, JSONCodec, Lifetime, MemoryStore, SessionMiddleware
from session_middleware.integrations.moving import FromFlaskSession
from session_middleware.integrations.pyramid import manager_of, session_factory
from session_middleware.testing import FakeClock
from tests.apps import visit
from tests.integrations.pyramid.application import INCLUDE, app_of, configured, show


class TestConfiguration:
    def test_settings_are_those_of_an_ini_file(self) -> None:
        """Promise 15: as text."""
        config = Configurator(
            settings={
                "session_middleware.store": "memory:",
                "session_middleware.codec": "json",
                "session_middleware.max_bytes": "4096",
                "session_middleware.namespace": "shop",
                "session_middleware.lifetime.idle": "none",
                "session_middleware.lifetime.absolute": "600",
                "session_middleware.cookie.name": "sid",
                "session_middleware.cookie.samesite": "strict",
                "session_middleware.environ_key": "shop.session",
                "session_middlewares": "another",
            }
        )
        config.include(INCLUDE)
        config.add_route("home", "/")
        config.add_view(self.home, route_name="home", renderer="json")
        page = visit(config.make_wsgi_app())

        assert page.body == b"true"
        assert page.cookie.startswith("sid=")
        assert "SameSite=Strict" in page.set_cookies[0]
        assert isinstance(manager_of(config).codec, JSONCodec)
        assert manager_of(config.registry).lifetime == Lifetime(idle=None, absolute=600)
        assert manager_of(config.registry).namespace == "shop"

    @staticmethod
    def home(request: Any) -> bool:
        request.session["a"] = 1
        return request.session.underlying is request.environ["shop.session"]

    def test_settings_may_be_objects(self) -> None:
        """Where the settings are made in Python."""
        store, clock, codec, lifetime = MemoryStore(), FakeClock(), JSONCodec(), Lifetime.AAL3
        config = Configurator(
            settings={
                "session_middleware.store": store,
                "session_middleware.clock": clock,
                "session_middleware.codec": codec,
                "session_middleware.lifetime": lifetime,
                "session_middleware.cookie": CookiePolicy(name="sid"),
                "session_middleware.max_bytes": 4096,
            }
        )
        config.include(INCLUDE)
        manager = manager_of(config)

        assert (manager.store, manager.now, manager.codec, manager.lifetime) == (store, clock, codec, lifetime)

    def test_sessions_of_another_library_are_carried_over(self) -> None:
        """Pyramid's sessions were often Beaker's."""
        carry_over = FromFlaskSession(Mock(get=Mock(return_value=b'{"count": 7}')), cookie_name="old")
        with Configurator(
            settings={"session_middleware.store": "memory:", "session_middleware.carry_over": carry_over}
        ) as config:
            config.include(INCLUDE)
            config.add_route("home", "/")
            config.add_view(lambda request: Response(str(request.session["count"])), route_name="home")

        assert visit(config.make_wsgi_app(), cookie=f"old={'a' * 43}").body == b"7"

    @pytest.mark.parametrize(
        ("settings", "message"),
        [
            ({"stor": "memory:"}, "did you mean session_middleware.store"),
            ({"store": "nowhere:"}, "not a kind of store"),
            ({"max_bytes": 10}, "max_bytes=10"),
            ({"cookie": 7}, "CookiePolicy"),
            ({"lifetime": Lifetime.AAL1, "lifetime.idle": 60}, "write none of its parts beside it"),
        ],
    )
    def test_settings_that_cannot_work_do_not_start(self, settings: dict[str, Any], message: str) -> None:
        """Promise 15: at ``config.include``."""
        config = Configurator(settings={f"session_middleware.{name}": value for name, value in settings.items()})

        with pytest.raises(ConfigurationError, match=message):
            config.include(INCLUDE)

    def test_including_it_twice_is_including_it_once(self) -> None:
        """As when two parts of an application both need it."""
        config = configured(show=show)
        config.include(INCLUDE)

        assert visit(config.make_wsgi_app(), "/show").status == "200 OK"

    def test_a_policy_that_takes_its_place_is_noticed(self) -> None:
        """No session is better than one that is never stored."""
        config = configured(show=show)
        config.commit()
        config.set_execution_policy(None)

        with pytest.raises(ConfigurationError, match="the application is serving"):
            visit(config.make_wsgi_app(), "/show")

    def test_under_the_middleware_the_factory_alone_is_enough(self) -> None:
        """Nothing is included; the manager is that of the middleware."""
        config = Configurator()
        config.set_session_factory(session_factory)
        config.add_route("home", "/")
        store = MemoryStore()
        config.add_view(lambda request: manager_of(request).store is store, route_name="home", renderer="json")

        assert visit(SessionMiddleware(config.make_wsgi_app(), store)).body == b"true"

    def test_the_manager_of_a_request_knows_its_session(self) -> None:
        """Its own, or that of the middleware around the application."""

        def sign_in(request: Any) -> Any:
            request.session.login("alice")
            return {}

        def ours(request: Any) -> Any:
            return [info.user_id for info in manager_of(request).sessions_of("alice")]

        app = app_of(sign_in=sign_in, ours=ours)
        for application in (app, SessionMiddleware(app, MemoryStore())):
            visit(application, "/sign_in")
            assert json.loads(visit(application, "/ours").body) == ["alice"]

    def test_without_anything_there_is_no_manager(self) -> None:
        """And the error says what to write."""
        with pytest.raises(ConfigurationError, match=r"config\.include"):
            manager_of(Configurator())


class _Absent(MetaPathFinder):
    """What finds that there is no Pyramid."""

    def find_spec(self, name: str, path: object = None, target: object = None) -> None:
        if name == "pyramid":
            raise ModuleNotFoundError("No module named 'pyramid'", name="pyramid")


def test_without_pyramid_the_import_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    """The name of the extra."""
    module = import_module(INCLUDE)
    for name in [name for name in sys.modules if name.partition(".")[0] == "pyramid"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setattr(sys, "meta_path", [_Absent(), *sys.meta_path])

    with pytest.raises(ImportError, match=r"pip install 'session-middleware\[pyramid\]'"):
        reload(module)


def test_it_imports_no_other_framework() -> None:
    """The others need not be installed, and ``import session_middleware`` imports none."""
    program = f"""
import sys
import session_middleware
before = {{"bottle", "pyramid", "flask", "django"}} & sys.modules.keys()
import {INCLUDE}
print(before, {{"bottle", "flask", "django"}} & sys.modules.keys())
"""
    done = subprocess.run([sys.executable, "-W", "ignore", "-c", program], capture_output=True, text=True, check=True)

    assert done.stdout == "set() set()\n"

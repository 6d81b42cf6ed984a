"""Store calls that are counted, and stores that fail, under an application as its users have it."""

from typing import Any

import pytest
import webtest

from session_middleware import Batched, Scannable, Sweepable, UserIndexed
from session_middleware.events import Asked, Event
from session_middleware.testing import faulty_store, manager_of, sign_in, store_calls
from tests.testing import sites


@pytest.fixture(params=sites.SITES)
def client(request: pytest.FixtureRequest) -> Any:
    return webtest.TestApp(sites.SITES[request.param]())


def test_the_calls_of_a_block_are_noted(client: Any) -> None:
    """Promises 1 and 2, as an application tests them: nothing for a page without a session, one load for one that reads."""
    session_id = sign_in(client, "alice")
    with store_calls(client) as calls:
        client.get("/about")
        assert calls == []
        client.get("/")
        assert calls == [("load", session_id)]
    with store_calls(client.app) as others:
        pass
    client.get("/")

    assert (len(calls), others) == (1, [])


def test_the_store_fails_and_heals(client: Any) -> None:
    """The client is told 503 as long as it does, and is signed in afterwards."""
    sign_in(client, "alice")
    with faulty_store(client) as store:
        store.fail(times=None)
        assert client.get("/", expect_errors=True).status == "503 Service Unavailable"
        store.heal()
        assert client.get("/").text == "alice []"
        store.fail("load")
    assert client.get("/").text == "alice []"


def test_the_store_refuses_writes(client: Any) -> None:
    """Who is signed in stays so, and can sign out; what would have to be written fails."""
    sign_in(client, "alice")
    with faulty_store(client) as store:
        store.refuse_writes()
        assert client.get("/").text == "alice []"
        assert client.get("/count", expect_errors=True).status_code == 503
        client.get("/sign-out")
        assert client.get("/").text == "None []"
        assert client.get("/count", expect_errors=True).status_code == 503


def test_the_application_has_its_own_store_back() -> None:
    """Also where the block raises; and within it the store can do what its own can."""
    site = sites.wsgi()
    before = site.manager.store

    def fail() -> None:
        with faulty_store(site) as store:
            assert all(isinstance(store, ability) for ability in (Sweepable, UserIndexed, Scannable))
            assert isinstance(store, Batched) == isinstance(before, Batched)
            assert manager_of(site).store is store
            raise KeyError

    with pytest.raises(KeyError):
        fail()
    assert manager_of(site).store is before


def test_blocks_may_stand_in_each_other() -> None:
    """Calls can be counted while the store fails."""
    client = webtest.TestApp(sites.wsgi())
    sign_in(client, "alice")
    with faulty_store(client) as store, store_calls(client) as calls:
        store.fail("load")
        client.get("/", status=503)

        assert [verb for verb, _ in calls] == ["load"] == [verb for verb, _ in store.calls]


class Listener:
    """Hears how often the store is asked."""

    asked = 0

    def on(self, event: Event) -> None:
        self.asked += isinstance(event, Asked)


@pytest.mark.parametrize("observer", [None, Listener()])
def test_whatever_the_manager_asks_the_store_that_fails_is_asked(observer: Listener | None) -> None:
    """Lists of sessions, too; and with an observer, who hears of the calls."""
    site = sites.wsgi(observer=observer)
    session_id = sign_in(webtest.TestApp(site), "alice")
    before = observer.asked if observer else 0
    with faulty_store(site) as store:
        assert site.manager.revoke_all("alice") == 1
        assert site.manager.revoke_everybody() == 0

    assert ("keys_of", "alice") in store.calls
    assert ("keys", "") in store.calls
    assert observer is None or observer.asked - before == len(store.calls)
    assert site.manager.find(session_id) is None

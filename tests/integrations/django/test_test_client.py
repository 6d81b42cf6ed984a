"""The test client of Django works with our sessions as with Django's."""

from collections.abc import Iterator
from typing import Any

import pytest
from asgiref.sync import async_to_sync
from django.contrib.auth.models import User
from django.test import AsyncClient, Client, override_settings

from session_middleware.testing import FaultyStore
from tests.integrations.django.visits import BACKEND, NOBODY, USER, WAYS


class TestTestClient:
    """Nobody has to restructure a test suite."""

    @pytest.fixture(params=["middleware", "engine"], autouse=True)
    def way(self, request: pytest.FixtureRequest) -> Iterator[str]:
        with override_settings(MIDDLEWARE=WAYS[request.param]):
            yield request.param

    @pytest.mark.parametrize("secure", [False, True])
    def test_login_force_login_and_logout(self, client: Client, secure: bool) -> None:
        """On http and https alike, for the cookie's name is the same."""
        assert not client.login(username="alice", password="wrong")
        assert client.login(username="alice", password="wonder")
        assert client.get("/whoami", secure=secure).json()["name"] == "alice"
        client.logout()
        assert client.get("/whoami", secure=secure).json() == NOBODY
        client.force_login(User.objects.get(username="bob"))
        assert client.get("/whoami", secure=secure).json()["name"] == "bob"

    def test_the_session_can_be_written_and_read(self, client: Client) -> None:
        """``client.session``, before the first request and after it."""
        session = client.session
        session["cart"] = ["tea"]
        session.save()
        client.get("/act/put?key=a&value=1")

        assert client.get("/act/show").json()["data"] == {"cart": ["tea"], "a": "1"}
        assert dict(client.session) == {"cart": ["tea"], "a": "1"}

    def test_a_sign_in_by_hand_keeps_its_key(self, client: Client) -> None:
        """Tests that write the user's key themselves have no use for a new token."""
        alice = User.objects.get(username="alice")
        session = client.session
        session["_auth_user_backend"] = BACKEND
        session.update({"_auth_user_id": str(alice.pk), "_auth_user_hash": alice.get_session_auth_hash()})
        session.save()

        assert client.get("/whoami").json() == {"name": "alice", "user": str(alice.pk)}

    def test_it_goes_through_a_form_as_through_its_own_login(self, client: Client) -> None:
        """The session after a request is the one that the request left."""
        client.post("/login/", {"username": "alice", "password": "wonder"})

        assert client.session["_auth_user_id"] == str(User.objects.get(username="alice").pk)

    @pytest.mark.skipif(not hasattr(AsyncClient, "alogin"), reason="Django 5.0 brought it")
    def test_the_asynchronous_client_signs_in(self, store: FaultyStore) -> None:
        """``aforce_login``, ``asession`` and ``alogout``."""

        async def visit() -> list[Any]:
            client = AsyncClient()
            await client.aforce_login(alice, BACKEND)
            user = await (await client.asession()).aget(USER)
            page = (await client.get("/async")).json()
            await client.alogout()
            return [user, page, (await client.get("/async")).json()]

        alice = User.objects.get(username="alice")
        with override_settings(SESSION_MIDDLEWARE={"store": store}):
            assert async_to_sync(visit)() == [str(alice.pk), {"seen": 1}, {"seen": 1}]

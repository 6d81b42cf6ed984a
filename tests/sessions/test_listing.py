"""Which sessions a user has, and what is known of one."""

from collections.abc import Iterator

import pytest

from session_middleware import ConfigurationError, MemoryStore, Session, SessionManager, StoreUnavailable
from session_middleware.testing import FakeClock, FaultyStore
from session_middleware.tokens import Token
from tests.sites import DATA, MADE_UP, Bare, Site, login, sent


def ids(site: Site, user_id: str) -> list[str]:
    return [info.id for info in site.manager.sessions_of(user_id)]


def test_the_sessions_of_a_user_are_listed_the_one_last_used_first(site: Site) -> None:
    """Nobody else's, and none without a user."""
    first, second, third = (site.begin({"n": n}, user_id="alice") for n in range(3))
    site.begin(user_id="bob")
    site.begin()
    for token in (third, first, second):
        site.clock.advance(60)
        site.request(token, len)
    site.clock.advance(60)

    assert ids(site, "alice") == [token.id for token in (second, first, third)]


def test_a_listing_says_what_there_is_to_know(site: Site) -> None:
    """Times, lifetimes and the data, to be read; its representation does not spill the data into logs."""
    created = site.clock()
    token = site.begin({"b": 2})
    site.clock.advance(10)

    def act(session: Session) -> None:
        session.set_lifetime(persistent=True, idle=600)
        login("alice", a=[1])(session)

    token = site.follow(token, act)
    [info] = site.manager.sessions_of("alice")

    assert (info.id, info.user_id, info.persistent) == (token.id, "alice", True)
    assert (info.created_at, info.signed_in_at) == (created, created + 10)
    assert (info.last_seen_at, info.expires_at) == (created + 10, created + 610)
    assert dict(info.data) == {"b": 2, "a": [1]}
    assert "[1]" not in repr(info)
    info.data["a"].append(2)
    assert site.data(token) == {"b": 2, "a": [1]}


def test_a_listing_decodes_what_is_looked_at(site: Site) -> None:
    """Promise 21: a page of twenty sessions that shows one key of each."""
    for number in range(20):
        site.begin({"agent": f"browser {number}", "large": ["x" * 1000]}, user_id="alice")
    listed = site.manager.sessions_of("alice")

    assert site.decoded(lambda: [info.data["agent"] for info in listed]) == 20


def test_one_session_is_found_by_its_id(site: Site) -> None:
    """Also one that nobody has signed in to."""
    token = site.begin()
    info = site.manager.find(token.id)

    assert info is not None
    assert (info.id, info.user_id, info.signed_in_at) == (token.id, None, None)
    assert dict(info.data) == DATA


@pytest.mark.parametrize("session_id", ["", "x", MADE_UP.id, MADE_UP.reveal(), "é" * 12, None, 5])
def test_what_is_no_id_finds_nothing(site: Site, session_id: str) -> None:
    """Absence is an answer, not an error: ids come from links and forms."""
    site.begin()

    assert site.manager.find(session_id) is None


def test_what_has_ended_or_expired_is_not_found(site: Site) -> None:
    """Promise 12: in no list, whatever the store still holds."""
    ended, expired = site.begin(user_id="alice"), site.begin(user_id="alice")
    site.request(ended, Session.invalidate)
    site.clock.advance(3600)

    assert ids(site, "alice") == []
    assert [site.manager.find(token.id) for token in (ended, expired)] == [None, None]


def test_a_stranger_has_no_sessions(site: Site) -> None:
    """Absence is an answer, not an error."""
    site.begin(user_id="alice")

    assert site.manager.sessions_of("mallory") == []
    assert site.manager.revoke_all("mallory") == 0


def test_a_session_is_listed_under_one_id_whatever_becomes_of_it(site: Site) -> None:
    """Promise 17: through new secrets and sign-ins; under the user that it belongs to."""
    token = site.begin(user_id="alice")
    for act in (Session.regenerate, login("alice"), Session.regenerate):
        token = site.follow(token, act)
        assert ids(site, "alice") == [token.id]
    other = site.follow(token, login("bob"))

    assert (ids(site, "alice"), ids(site, "bob")) == ([], [other.id])


def test_a_session_that_gets_a_new_secret_while_it_is_listed_is_listed_once(clock: FakeClock) -> None:
    """Promise 17: the index was asked before, the records after."""
    store = MemoryStore()
    site = Site(store, clock)
    token = site.begin(user_id="alice")

    def keys_of(user_id: str) -> Iterator[str]:
        yield from list(store.keys_of(user_id))
        site.request(token, Session.regenerate)
        yield from store.keys_of(user_id)

    site.store.keys_of = keys_of
    assert ids(site, "alice") == [token.id]


def test_a_session_that_is_not_the_users_any_more_is_left_out(clock: FakeClock) -> None:
    """The index is asked first, the record after; it is the record that counts."""
    store = MemoryStore()
    site = Site(store, clock)
    token = site.begin(user_id="alice")
    site.store.keys_of = lambda user_id: store.keys_of("alice")

    assert site.manager.sessions_of("bob") == []
    assert site.is_alive(token)


def test_without_an_index_there_is_no_listing(clock: FakeClock) -> None:
    """Promise 15: the error says what to use; signing in needs none."""
    manager = SessionManager(FaultyStore(Bare()), clock=clock)

    for call in (manager.sessions_of, manager.revoke_all):
        with pytest.raises(ConfigurationError, match="keeps no index of users; use a store that does"):
            call("alice")
    with pytest.raises(ConfigurationError, match="cannot list its sessions; use a store that can"):
        manager.revoke_everybody()
    assert manager.mark_of("alice") is None
    session = manager.open()
    session.login("alice")
    assert manager.open(sent(manager.commit(session))).user_id == "alice"


def test_a_failing_store_is_no_empty_list(site: Site) -> None:
    """Promise 7."""
    site.begin(user_id="alice")
    for verbs, call in (
        (("keys_of",), site.manager.sessions_of),
        (("load", "load_many"), site.manager.sessions_of),
        (("keys_of",), site.manager.revoke_all),
        (("update", "delete_many"), site.manager.revoke_all),
        (("load",), site.manager.find),
        (("load",), site.manager.mark_of),
    ):
        site.store.heal()
        site.store.fail(*verbs)
        with pytest.raises(StoreUnavailable):
            call("alice" if call != site.manager.find else Token("A" * 40).id)

"""Listing and ending the sessions of users with very many: as many round trips as there are batches, and the same ends."""

from collections import Counter
from collections.abc import Callable, Sequence
from types import SimpleNamespace
from typing import cast

import pytest

from session_middleware import MemoryStore, SessionManager, Stored, repository
from session_middleware.events import Ended, Event
from session_middleware.notes import pack_tombstone
from session_middleware.record import Envelope, pack, unpack
from session_middleware.testing import FakeClock, FaultyStore, a_key, a_record, loaded
from tests.sealing import names, opened, user_there
from tests.sites import Site


class InBatches(MemoryStore):
    """A store in memory that is asked about many records at once."""

    def load_many(self, keys: Sequence[str]) -> dict[str, Stored]:
        found = {key: self.load(key) for key in keys}
        return {key: stored for key, stored in found.items() if stored is not None}

    def delete_many(self, keys: Sequence[str]) -> list[str]:
        assert keys
        return list(filter(self.delete, keys))


@pytest.fixture(params=[MemoryStore, InBatches])
def store(request: pytest.FixtureRequest) -> FaultyStore:
    return FaultyStore(request.param())


def test_a_hundred_sessions_are_asked_for_at_once() -> None:
    """Promise 13: who has very many costs few round trips, and no single one of them is long."""
    site = Site(FaultyStore(InBatches()), FakeClock())
    for _ in range(250):
        site.begin(user_id="mallory")
    site.store.calls.clear()

    assert len(site.manager.sessions_of("mallory")) == 250
    assert Counter(verb for verb, _ in site.store.calls) == {"keys_of": len(names().users("mallory")), "load_many": 3}
    site.store.calls.clear()
    assert site.manager.revoke_all("mallory") == 250
    assert site.manager.sessions_of("mallory") == []
    found = Counter(verb for verb, _ in site.store.calls)
    assert (found["load_many"], found["delete_many"], found["update"], found["delete"]) == (3, 3, 0, 0)


@pytest.mark.parametrize("everybody", [False, True])
def test_in_batches_each_session_ends_as_it_would_alone(
    store: FaultyStore, everybody: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Promise 19: one of another library leaves what keeps its id from being used again; what is damaged goes, too."""
    monkeypatch.setattr(repository, "_BATCH", 3)
    site = Site(store, FakeClock())
    mine = [site.begin(user_id="alice") for _ in range(4)]
    values = loaded(store, mine[0].id).value
    envelope, packed = opened(*cast("tuple[Envelope, bytes]", unpack(values)))
    others = {a_key(): value for value in (pack(envelope._replace(carried=True), packed), b"damaged", pack_tombstone())}
    for key, value in others.items():
        assert store.create(key, a_record(value, user_id="alice"))
    site.manager.revoke_all("bob")  # leaves a mark

    assert (site.manager.revoke_everybody() if everybody else site.manager.revoke_all("alice")) == len(mine) + 2
    assert not any(map(site.is_alive, mine))
    assert [getattr(store.load(key), "value", None) for key in others] == [
        pack_tombstone(),
        None,
        pack_tombstone(),
    ]
    assert site.manager.mark_of("bob") is not None


def test_of_a_batch_each_end_is_told() -> None:
    """Promise 24: of those that were there, once each, with their user and the reason."""
    told: list[Event] = []
    manager = SessionManager(InBatches(), observer=SimpleNamespace(on=told.append))
    for _ in range(3):
        session = manager.open()
        session.login("alice")
        manager.commit(session)
    told.clear()
    manager.revoke_all("alice")

    ends = [event for event in told if isinstance(event, Ended)]
    assert [(event.user_id, event.reason) for event in ends] == [(user_there("alice"), "signed_out_everywhere")] * 3
    assert len({event.session_id for event in ends}) == 3


@pytest.mark.parametrize("everybody", [False, True])
def test_who_ends_many_is_told_how_far_it_is(everybody: bool, store: FaultyStore, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ever more, to the last; what was broken off goes on where it was."""
    monkeypatch.setattr(repository, "_BATCH", 3)
    site = Site(store, FakeClock())
    mine = [site.begin(user_id="alice") for _ in range(10)]
    told: list[int] = []

    def broken_off(ended: int) -> None:
        told.append(ended)
        if ended > 4:
            raise KeyboardInterrupt

    def ends(progress: Callable[[int], object]) -> int:
        manager = site.manager
        return manager.revoke_everybody(progress=progress) if everybody else manager.revoke_all("alice", progress=progress)

    with pytest.raises(KeyboardInterrupt):
        ends(broken_off)
    assert sum(map(site.is_alive, mine)) == 10 - told[-1]
    first = told[-1]
    told.clear()
    assert ends(told.append) == told[-1] == 10 - first
    assert told == sorted(set(told))
    assert not any(map(site.is_alive, mine))
    told.clear()
    assert ends(told.append) == 0
    assert told == []

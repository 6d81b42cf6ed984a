"""From what was measured to what a site needs of each store."""

import json
from typing import Any

import pytest

from session_middleware import ConfigurationError, Lifetime
from session_middleware.capacity import STORES, Plan, Site, measured, plan, record_bytes
from session_middleware.capacity.sizes import between

GIB = 2**30


def plans(server_memory: float = 24 * GIB, **site: Any) -> dict[str, Plan]:
    given: dict[str, Any] = {"users": 2_000_000, "requests": 5000, "session": 1200, **site}
    return {one.store: one for one in plan(Site(**given), measured(), server_memory=server_memory)}


def settings(one: Plan) -> str:
    return "\n".join(one.settings)


def test_everything_that_is_planned_with_was_measured() -> None:
    """Each store with very many sessions, and each verb with two sizes."""
    found = measured()

    assert min(one["sessions"] for one in found["stores"].values()) >= 100_000
    assert tuple(found["stores"]) == STORES
    for store in STORES[1:]:
        for verbs in found["stores"][store]["verbs"].values():
            assert verbs["update"]["cpu"] > 0
            assert store == "sqlite" or min(verbs["load"]["received"], verbs["update"]["sent"]) > 0


@pytest.mark.parametrize("store", STORES)
def test_at_the_size_that_was_measured_the_plan_says_what_was_found(store: str) -> None:
    """With an index of users, and without."""
    found = measured()
    one, at = found["stores"][store], found["size"]

    assert record_bytes(store, at, found, signed_in=0.0) == pytest.approx(one["bytes"], rel=0.15)
    if store != "memcached":
        everybody = one["bytes"] + one["user_bytes"]
        assert record_bytes(store, at, found, signed_in=1.0) == pytest.approx(everybody, rel=0.15)


@pytest.mark.parametrize("store", STORES)
def test_a_session_takes_more_than_its_record(store: str) -> None:
    """And more of a larger one, but for steps where a page, a chunk or a block has room for it anyway."""
    found, sizes = measured(), [100 * 2**number for number in range(11)]
    taken = [record_bytes(store, size, found, signed_in=0.0) for size in sizes]

    assert taken == sorted(taken)
    assert all(size < bytes_ for size, bytes_ in zip(sizes, taken, strict=True))


def test_a_size_between_two_that_were_measured_takes_what_is_between() -> None:
    """Below the first they go on in their line, above the last in proportion."""
    pairs = [[100, 200], [200, 400], [400, 500]]

    assert between(pairs, 100) == 200
    assert between(pairs, 150) == 300
    assert between(pairs, 300) == 450
    assert between(pairs, 50) == 100
    assert between(pairs, 800) == 1000


def test_an_index_of_users_takes_its_part() -> None:
    """On the stores that have one."""
    nobody, everybody = plans(signed_in=0.0), plans(signed_in=1.0)

    grown = {store for store in STORES if everybody[store].session > nobody[store].session}
    assert grown == set(STORES) - {"memcached"}


def test_what_is_kept_is_what_lives_and_what_has_ended_a_moment_ago() -> None:
    """A session stays for five minutes after its end, where a sweep or the server itself removes it."""
    one = plans()["redis"]

    assert one.kept > 2_000_000 * one.session
    assert one.kept < 2_200_000 * one.session


def test_twice_as_many_sessions_take_twice_as_much() -> None:
    """And twice as many requests twice the time, the writes and the network."""
    once, twice = plans(), plans(users=4_000_000, requests=10_000)

    for store in STORES:
        assert twice[store].kept == pytest.approx(2 * once[store].kept, rel=0.02)
        for name in ("reads", "writes", "logged", "sent", "received", "processors"):
            assert getattr(twice[store], name) == pytest.approx(2 * getattr(once[store], name), rel=0.01)


def test_a_larger_session_takes_more_of_everything() -> None:
    """Also on the way."""
    small, large = plans(session=1200), plans(session=12_000)

    for store in STORES[2:]:
        assert large[store].sent > 3 * small[store].sent
        assert large[store].received > 3 * small[store].received


def test_one_redis_is_enough_for_two_million() -> None:
    """What to set has room for a quarter more, and says what it must not do when it is full."""
    one = plans()["redis"]

    assert one.servers == 1
    assert "maxmemory-policy noeviction" in one.settings
    assert "maxclients" not in settings(one)
    (maxmemory,) = [int(text.removeprefix("maxmemory ").partition("mb")[0]) for text in one.settings if "mb," in text]
    assert maxmemory * 2**20 == pytest.approx(1.25 * one.kept, rel=0.001)


def test_what_one_redis_cannot_hold_or_answer_is_for_a_cluster() -> None:
    """Of at least three masters, each with no more memory than was said and no busier than half."""
    large = plans(users=20_000_000, requests=50_000)["redis"]
    busy = plans(users=200_000, requests=200_000)["redis"]

    for one in (large, busy):
        assert one.servers >= 3
        assert "cluster" in one.ends
        assert one.processors / one.servers <= 0.5
        assert one.kept * 1.25 / one.servers <= 24 * GIB
    assert plans(8 * GIB, users=20_000_000, requests=50_000)["redis"].servers > large.servers


def test_memcached_is_spread_over_several_that_have_room() -> None:
    """With what it is started with: memory, connections if they are many, items if they are large."""
    small, large = plans()["memcached"], plans(users=40_000_000, requests=50_000)["memcached"]

    assert small.servers == 1
    assert large.servers > 1
    assert "-c" not in settings(small)
    assert "-c 5064" in large.settings
    assert "-I 3m" in plans(users=1000, session=2_000_000)["memcached"].settings


def test_connections_are_as_many_as_threads() -> None:
    """None to a file; with many, something stands between them and a database."""
    few, many = plans(threads=64), plans(threads=20_000)

    assert few["sqlite"].connections == few["memory"].connections == 0
    assert few["postgresql"].connections == 64
    assert "PgBouncer" not in settings(few["postgresql"])
    assert "PgBouncer" in settings(many["postgresql"])
    assert "maxclients 20064" in many["redis"].settings


def test_a_session_that_lives_for_a_month_is_kept_for_a_month() -> None:
    """With the same users fewer begin, and fewer are written."""
    hour, month = plans(), plans(lifetime=Lifetime.AAL1)

    assert month["sqlite"].writes < hour["sqlite"].writes
    assert month["sqlite"].kept < hour["sqlite"].kept


def test_a_thousand_million_sessions_fit_into_a_cluster() -> None:
    """On paper: Redis allows a thousand masters."""
    one = plans(users=1_000_000_000, requests=1_000_000)["redis"]

    assert 3 <= one.servers <= 1000
    assert json.loads(json.dumps(one._asdict()))["servers"] == one.servers


def test_sizes_of_disks_are_written_in_their_unit() -> None:
    """Small ones, and large ones."""
    assert "MiB" in settings(plans(users=1000)["sqlite"])
    assert "TiB" in settings(plans(users=1_000_000_000, requests=1_000_000)["sqlite"])


def test_a_server_without_memory_is_refused() -> None:
    """As is what cannot be in a site."""
    with pytest.raises(ConfigurationError, match="server_memory=0: write bytes, above 0"):
        plans(0)

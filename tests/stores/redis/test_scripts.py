"""RedisStore's scripts go by name, in full to a server that does not know them; a record and its entry are one step."""

from collections.abc import Iterator, Sequence
from typing import Any

import pytest

from session_middleware import Record, StoreUnavailable
from session_middleware.stores.redis import RedisStore, deployments
from session_middleware.testing import a_key, a_record, created, listed, loaded
from tests.backends.proxy import FaultProxy
from tests.backends.redis import RedisCluster, RedisSentinels, RedisServer
from tests.backends.running import PATIENCE
from tests.stores.redis.faults import fails

pytestmark = pytest.mark.timed

KINDS = ("one server", "cluster", "sentinels", "sentinels, waiting for a replica")


@pytest.fixture(params=KINDS)
def servers(request: pytest.FixtureRequest) -> Sequence[RedisServer]:
    """The servers of a deployment, replicas too."""
    if request.param == "one server":
        return [request.getfixturevalue("server")]
    if request.param == "cluster":
        cluster: RedisCluster = request.getfixturevalue("cluster")
        return cluster.nodes
    sentinels: RedisSentinels = request.getfixturevalue("sentinels")
    return sentinels.servers


@pytest.fixture
def deployed(request: pytest.FixtureRequest, servers: Sequence[RedisServer], prefix: str) -> Iterator[RedisStore]:
    kind = request.node.callspec.params["servers"]
    url = request.getfixturevalue(kind.partition(",")[0].replace("one ", "")).url
    store = RedisStore(url, prefix=prefix, timeout=PATIENCE, wait_replicas=int("waiting" in kind))
    yield store
    store.close()


def forget(servers: Sequence[RedisServer]) -> None:
    for server in servers:
        with server.client() as client:
            client.script_flush()


def asked(servers: Sequence[RedisServer]) -> dict[str, int]:
    """Return how often the servers were asked to run a script, by its name and in full, since they began to count."""
    found = {"evalsha": 0, "eval": 0}
    for server in servers:
        with server.client() as client:
            counts = client.info("commandstats")
        for name in found:
            found[name] += counts.get(f"cmdstat_{name}", {"calls": 0})["calls"]
    return found


def test_a_server_that_forgot_the_scripts_is_told_them_again(deployed: RedisStore, servers: Sequence[RedisServer]) -> None:
    """After SCRIPT FLUSH, with every verb that has one; each session is whole, and in the list of its user."""
    key = a_key()
    for _ in range(2):
        forget(servers)
        version = created(deployed, key, a_record(user_id="alice")).version
        forget(servers)
        assert deployed.update(key, a_record(b"new", user_id="bob"), version=version)
        forget(servers)
        assert not deployed.update(key, a_record(b"lost"), version=version)
        forget(servers)
        assert listed(deployed, "bob") == [key]
        assert listed(deployed, "alice") == []
        forget(servers)
        assert deployed.update(key, Record(b"", 0, None), version=loaded(deployed, key).version)
        created(deployed, key, a_record(user_id="alice"))
        forget(servers)
        assert deployed.delete(key)


@pytest.mark.parametrize("servers", KINDS[::2], indirect=True)
def test_a_script_costs_one_more_round_trip_where_it_is_not_known(
    deployed: RedisStore, servers: Sequence[RedisServer]
) -> None:
    """It goes by its name; in full only to a server that has just answered that it does not know it."""
    key = a_key()
    stored = created(deployed, key)
    counts = []
    for user in ("alice", "bob"):
        if user == "alice":
            forget(servers)
        before = asked(servers)
        assert deployed.update(key, a_record(user_id=user), version=stored.version)
        after = asked(servers)
        counts.append({name: after[name] - before[name] for name in after})
        stored = loaded(deployed, key)

    assert counts == [{"evalsha": 1, "eval": 1}, {"evalsha": 1, "eval": 0}]


def test_a_sign_in_sends_no_text_of_a_script(proxy: FaultProxy, prefix: str) -> None:
    """What goes to the server is the record, the entry in the index and some forty bytes for the name of the script."""
    store = RedisStore(f"redis://127.0.0.1:{proxy.port}", prefix=prefix, timeout=PATIENCE)
    stored = created(store, key := a_key(), a_record(user_id="bob"))
    assert store.update(key, a_record(user_id="carol"), version=stored.version)
    version = loaded(store, key).version
    before = proxy.bytes_to_server
    assert store.update(key, a_record(user_id="alice"), version=version)

    assert proxy.bytes_to_server - before < 400
    store.close()


def test_a_record_is_not_there_without_its_entry(
    direct: RedisStore, raw: Any, prefix: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Promise 19: whoever dies when the server has just said that it knows no script has stored nothing."""

    def die(command: object) -> None:
        raise StoreUnavailable("the process has ended")

    key, other = a_key(), a_key()
    stored = created(direct, key)
    raw.script_flush()
    monkeypatch.setattr(deployments, "in_full", die)
    fails(lambda: direct.create(other, a_record(user_id="alice")))
    fails(lambda: direct.update(key, a_record(b"new", user_id="alice"), version=stored.version))

    assert raw.exists(prefix + other) == 0
    assert loaded(direct, key) == stored


def test_an_entry_that_cannot_be_written_leaves_no_record(redis_store: RedisStore, raw: Any, prefix: str) -> None:
    """Promise 19: where something else stands in the place of the index."""
    raw.set(f"{prefix}user:alice", "no index")
    stored = created(redis_store, key := a_key())
    fails(lambda: redis_store.create(a_key(), a_record(user_id="alice")))
    fails(lambda: redis_store.update(key, a_record(b"new", user_id="alice"), version=stored.version))

    assert list(redis_store.keys()) == [key]
    assert loaded(redis_store, key) == stored


def test_a_server_that_was_restarted_is_told_the_scripts(prefix: str) -> None:
    """F-N1: its sessions are there, and its scripts are not."""
    with RedisServer(appendonly="yes", appendfsync="always") as server:
        store = RedisStore(server.url, prefix=prefix, timeout=PATIENCE)
        key = a_key()
        version = created(store, key, a_record(user_id="alice")).version
        server.kill()
        server.start()
        assert store.update(key, a_record(b"new", user_id="bob"), version=version)
        assert (listed(store, "alice"), listed(store, "bob")) == ([], [key])
        store.close()

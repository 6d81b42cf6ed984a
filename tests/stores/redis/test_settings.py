"""The URLs, clients and options of RedisStore: what cannot work is refused, and no error tells the password."""

import os
from pathlib import Path
from typing import Any

import fakeredis
import pytest
import redis
from redis.sentinel import Sentinel

from session_middleware import ConfigurationError, StoreUnavailable
from session_middleware.stores.redis import RedisStore, scripts
from session_middleware.stores.redis.settings import _tls
from session_middleware.testing import a_key, a_record, created, listed
from tests.backends.redis import RedisCluster, RedisSentinels, RedisServer, SecretRedisServer, until
from tests.backends.running import PATIENCE


def group(sentinels: RedisSentinels) -> Any:
    """Return redis-py's client of the sentinels."""
    places = [("127.0.0.1", sentinel.port) for sentinel in sentinels.sentinels]
    return Sentinel(places, password="secret-of-both")  # type: ignore[no-untyped-call]  # redis-py's is not typed


def test_the_options_of_a_url(server: RedisServer, raw: Any) -> None:
    """A store can be made from a line of configuration: user, password, database, prefix, time budget."""
    raw.execute_command("ACL", "SETUSER", "ann", "on", ">p@:/?#s", "~site:*", "+@all")
    url = f"redis://ann:p%40%3A%2F%3F%23s@127.0.0.1:{server.port}/5?prefix=site:&timeout=9.5&wait_replicas=0"
    store = RedisStore.from_url(url)
    key = a_key()
    created(store, key)

    with server.client(db=5) as client:
        assert client.exists(f"site:{key}")
    assert store._timeout == 9.5


REFUSED = {
    "redis://localhost/x": "the database 'x' is no number",
    "redis://localhost/0/1": "the database '0/1' is no number",
    "redis://": "name each host",
    "redis://a,b": r"takes one host; write redis\+sentinel:// or redis\+cluster://",
    "redis://localhost:port/0": "its port as a number",
    "redis://localhost#0": "redis: write .*# in a password",
    "redis://localhost?prefix=a@b": "redis: write @",
    "redis://localhost?retries=3": "has no option 'retries'",
    "redis://localhost?ssl_ca_certs=x": "has no option 'ssl_ca_certs'",
    "redis://localhost?timeout=soon": "timeout='soon': write a number",
    "redis://localhost?timeout=0": "timeout=0.0: write seconds",
    "redis://localhost?wait_replicas=-1": "wait_replicas=-1: write how many",
    "redis://localhost?wait_replicas=1.5": "wait_replicas='1.5': write a whole number",
    "redis://localhost?prefix=a{b}": "without braces",
    "redis://localhost?prefix=": "write text, such as 'session:'",
    "rediss://localhost?ssl_cert_reqs=maybe": "write required, optional or none",
    "rediss://localhost?ssl_check_hostname=maybe": "write true or false",
    "rediss://localhost?ssl_cert_reqs=none&ssl_check_hostname=true": "leave it out, or ssl_check_hostname=true",
    "unix://": "takes the path of a socket after three slashes",
    "unix://host/path": "takes the path of a socket after three slashes",
    "unix:///path?db=x": "the database 'x' is no number",
    "redis+sentinel://localhost": "name the service",
    "redis+sentinel://localhost/name/x": "the database 'x' is no number",
    "redis+cluster://localhost/3": "a cluster has no databases",
    "redis+cluster://": "name each host",
    "http://localhost": "http: is no Redis",
    "localhost": "this: is no Redis",
}


@pytest.mark.parametrize("url", REFUSED)
def test_a_url_that_cannot_work_is_refused(url: str) -> None:
    """Promise 15: and the error says what to write instead."""
    with pytest.raises(ConfigurationError, match=REFUSED[url]):
        RedisStore.from_url(url)


@pytest.mark.parametrize(
    "url",
    [
        "redis://:pa/s5word@localhost",
        "redis://:pa?s5word@localhost",
        "redis://:s5word#x@localhost",
        "redis://:s5word\u2100@localhost",
        "redis+sentinel://:s5word@local:host/x",
        "redis+cluster://:s5word@[/",
        "http://:s5word@localhost",
    ],
)
def test_no_error_of_a_url_tells_the_password(url: str) -> None:
    """Promise 11: however it was mistyped."""
    with pytest.raises(ConfigurationError) as caught:
        RedisStore.from_url(url)
    assert "s5word" not in str(caught.value)


def live(store: RedisStore) -> None:
    """Use every verb once."""
    key = a_key()
    stored = created(store, key, a_record(key.encode()))
    assert stored.value == key.encode()
    assert store.update(key, a_record(b"new", user_id="alice"), version=stored.version)
    assert listed(store, "alice") == list(store.keys()) == [key]
    assert store.delete(key)
    assert store.load(key) is None


def test_a_client_lends_its_settings(
    server: RedisServer,
    secret_server: SecretRedisServer,
    sentinels: RedisSentinels,
    cluster: RedisCluster,
    prefix: str,
) -> None:
    """Addresses, credentials and TLS, whatever protocol, retries and decoding of answers it has for itself."""
    host = "127.0.0.1"
    with redis.RedisCluster(host=host, port=cluster.nodes[0].port) as of_cluster:
        for client in (
            redis.Redis(port=server.port, db=2, protocol=3, client_name="sessions"),
            redis.Redis.from_url(f"unix://{server.socket}?db=2", retry_on_timeout=True),
            redis.Redis(port=secret_server.port, ssl=True, ssl_ca_certs=os.fspath(secret_server.authority)),
            group(sentinels).master_for(sentinels.service),
            of_cluster,
        ):
            store = RedisStore(client, prefix=prefix, timeout=PATIENCE)
            live(store)
            store.close()
            client.close()


def test_without_a_look_at_the_certificate_there_is_none_at_the_name(secret_server: SecretRedisServer, prefix: str) -> None:
    """redis-py before 6.1 would ask Python for both, which is an error with every verb."""
    store = RedisStore(f"rediss://127.0.0.1:{secret_server.port}?ssl_cert_reqs=none", prefix=prefix, timeout=PATIENCE)
    live(store)
    store.close()
    assert _tls({"ssl_cert_reqs": "none"})["ssl_check_hostname"] is False
    assert _tls({"ssl_cert_reqs": "optional"})["ssl_check_hostname"] is True


def test_a_node_of_a_cluster_is_no_server(cluster: RedisCluster, prefix: str) -> None:
    """The URL of a single server does not do for a cluster, and the error says what to write."""
    store = RedisStore(f"redis://127.0.0.1:{cluster.nodes[0].port}", prefix=prefix, timeout=PATIENCE)
    with pytest.raises(StoreUnavailable, match=r"write redis\+cluster://"):
        until(lambda: store.load(a_key()), "all keys are there")


def test_a_client_that_cannot_work_is_refused(sentinels: RedisSentinels, cluster: RedisCluster) -> None:
    """Promise 15: text in place of bytes, a replica, an asyncio client, no server, or something else altogether."""
    served = group(sentinels)
    text: Any = {"decode_responses": True}
    with redis.RedisCluster(host="127.0.0.1", port=cluster.nodes[0].port, **text) as cluster_client:
        for client in (redis.Redis(**text), served.master_for("sessions", **text), cluster_client):
            with pytest.raises(ConfigurationError, match="leave decode_responses=True out"):
                RedisStore(client)
    with pytest.raises(ConfigurationError, match="pass the client that master_for"):
        RedisStore(served.slave_for("sessions"))
    for client in (fakeredis.FakeRedis(), fakeredis.FakeStrictRedis(version=6)):
        with pytest.raises(ConfigurationError, match=r"leads to no server: write MemoryStore\(\)"):
            RedisStore(client)
    for other in (redis.asyncio.Redis(), None, Path("socket")):
        with pytest.raises(ConfigurationError, match="is no server: write a URL, such as redis://"):
            RedisStore(other)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"timeout": True}, "timeout=True: write seconds"),
        ({"timeout": 61}, "timeout=61: write seconds"),
        ({"timeout": "1"}, "timeout='1': write seconds"),
        ({"wait_replicas": True}, "wait_replicas=True: write how many"),
        ({"max_connections": True}, "max_connections=True: write how many, 1 or more"),
        ({"max_connections": 0}, "max_connections=0: write how many, 1 or more"),
        ({"prefix": b"x"}, "prefix=b'x': write text"),
        ({"prefix": "a\nb"}, "write text"),
    ],
)
def test_options_that_cannot_work_are_refused(options: dict[str, Any], message: str) -> None:
    """Promise 15: and the error says what to write instead."""
    with pytest.raises(ConfigurationError, match=message):
        RedisStore("redis://localhost", **options)


def test_the_lua_is_what_the_server_is_told() -> None:
    """What is sent by its digest can be sent in full."""
    for name in (scripts.WRITE, scripts.REMOVE, scripts.MARK, scripts.MARK_AGAIN, scripts.DROP, scripts.DELETE):
        assert len(name) == 40

"""What a URL, or a client of redis-py, says of the Redis servers to use. It connects to nothing."""

from collections.abc import Mapping, Sequence
from typing import Any, Final, TypeAlias
from urllib.parse import SplitResult, unquote, urlencode, urlsplit

import redis
from redis.sentinel import SentinelConnectionPool

from session_middleware.exceptions import ConfigurationError
from session_middleware.stores.redis.cluster import Cluster
from session_middleware.stores.redis.connections import Connection, Server, Settings
from session_middleware.stores.redis.deployments import Deployment, Master, Replicated
from session_middleware.stores.urls import number, options, refuse_unknown, split

Client: TypeAlias = redis.Redis | redis.RedisCluster

_EXAMPLES: Final = {
    "redis": "redis://:password@localhost:6379/0",
    "rediss": "rediss://:password@redis.example.com:6379/0",
    "unix": "unix:///run/redis/redis.sock?db=0",
    "redis+sentinel": "redis+sentinel://:password@host1:26379,host2:26379/mymaster/0",
    "rediss+sentinel": "rediss+sentinel://:password@host1:26379,host2:26379/mymaster/0",
    "redis+cluster": "redis+cluster://:password@host1:6379,host2:6379",
    "rediss+cluster": "rediss+cluster://:password@host1:6379,host2:6379",
}
_ESCAPES: Final = "@, :, /, ? and # in a password, and elsewhere, as %40, %3A, %2F, %3F and %23"
_OWN: Final = ("prefix", "timeout", "wait_replicas", "max_connections")
_TLS: Final = (
    *("ssl_ca_certs", "ssl_ca_path", "ssl_cert_reqs", "ssl_check_hostname"),
    *("ssl_certfile", "ssl_keyfile", "ssl_password"),
)
_SENTINEL: Final = ("sentinel_username", "sentinel_password")

# What a client's settings say of one connection; the rest is of its pool, its retries or its ways with answers.
_LENT: Final = (
    *("host", "port", "path", "db", "username", "password", "credential_provider", "client_name", "driver_info"),
    *("socket_keepalive", "socket_keepalive_options", "socket_type", "redis_connect_func"),
)


def without_own_options(url: str) -> tuple[str, dict[str, Any]]:
    """Return *url* without the options of the store in its query, and these as its arguments."""
    parts = _parts(url)
    found = options(parts.scheme, parts.query)
    kinds: Mapping[str, Any] = {"prefix": None, "timeout": float, "wait_replicas": int, "max_connections": int}
    own = {name: number(kinds[name], name, text) if kinds[name] else text for name, text in found.items() if name in _OWN}
    rest = urlencode([(name, text) for name, text in found.items() if name not in _OWN])
    return f"{url.partition('?')[0]}{'?' if rest else ''}{rest}", own


def deployment(server: str | Client, timeout: float, bound: int | None) -> Deployment:
    """Return the servers that a URL or a client names; raise :exc:`ConfigurationError` if it cannot.

    *bound* is how many connections each of them may have at most.
    """
    if isinstance(server, str):
        return _of_url(server, timeout, bound)
    if isinstance(server, redis.RedisCluster):
        return _of_cluster_client(server, timeout, bound)
    if isinstance(server, redis.Redis):
        return _of_client(server, timeout, bound)
    raise ConfigurationError(
        f"a {type(server).__module__}.{type(server).__name__} is no server: write a URL, such as {_EXAMPLES['redis']},"
        " or pass a redis.Redis, a master of a redis.Sentinel or a redis.RedisCluster"
    )


def _alone(settings: Settings, timeout: float, bound: int | None) -> Deployment:
    return Deployment(Server(settings.name, lambda deadline: Connection(settings, deadline, timeout), bound), settings.tls)


# Clients


def _of_client(client: redis.Redis, timeout: float, bound: int | None) -> Deployment:
    pool = client.connection_pool
    kind: type[Any] = pool.connection_class
    if kind.__module__.partition(".")[0] == "fakeredis":
        raise ConfigurationError("a client of fakeredis leads to no server: write MemoryStore() where a test needs none")
    settings = _lent(kind, pool.connection_kwargs)
    if not isinstance(pool, SentinelConnectionPool):
        return _alone(settings, timeout, bound)
    if not pool.is_master:
        raise ConfigurationError("a replica takes no writes: pass the client that master_for() returns")
    sentinels = [
        _lent(sentinel.connection_pool.connection_class, sentinel.connection_pool.connection_kwargs)
        for sentinel in pool.sentinel_manager.sentinels
    ]
    plain = redis.SSLConnection if issubclass(kind, redis.SSLConnection) else redis.Connection
    return Replicated(Master(pool.service_name, sentinels, settings._replace(kind=plain), timeout), bound)


def _of_cluster_client(client: redis.RedisCluster, timeout: float, bound: int | None) -> Deployment:
    arguments = dict(client.nodes_manager.connection_kwargs)
    arguments.pop("redis_connect_func", None)  # the client's own, which is about reading from replicas
    secure = arguments.get("ssl") or issubclass(arguments.get("connection_class", redis.Connection), redis.SSLConnection)
    settings = _lent(redis.SSLConnection if secure else redis.Connection, arguments)
    nodes = [settings.at(node.host, node.port) for node in client.nodes_manager.startup_nodes.values()]
    return Cluster(nodes, timeout, bound)


def _lent(kind: type[Any], arguments: Mapping[str, Any]) -> Settings:
    if arguments.get("decode_responses"):
        raise ConfigurationError("a session is bytes: leave decode_responses=True out of the client's options")
    return Settings(
        kind,
        {
            name: value
            for name, value in arguments.items()
            if value is not None and (name in _LENT or (name.startswith("ssl_") and issubclass(kind, redis.SSLConnection)))
        },
    )


# URLs


def _parts(url: str) -> SplitResult:
    """Return the parts of *url*. What is wrong is not quoted as long as it may be a piece of a password."""
    parts = split(url)
    if parts.scheme.startswith("valkey"):
        parts = parts._replace(scheme=parts.scheme.replace("valkey", "redis", 1))
    scheme = parts.scheme
    if scheme not in _EXAMPLES:
        raise ConfigurationError(f"{scheme or 'this'}: is no Redis; write {' or '.join(_EXAMPLES.values())}")
    if parts.fragment or ("@" in url and "@" not in parts.netloc and scheme != "unix"):
        raise ConfigurationError(f"{scheme}: write {_ESCAPES}")
    return parts


def _of_url(url: str, timeout: float, bound: int | None) -> Deployment:
    parts = _parts(url)
    scheme = parts.scheme
    secure, has_databases = scheme.startswith("rediss"), not scheme.endswith("cluster")
    known = (_TLS if secure else ()) + (_SENTINEL if scheme.endswith("sentinel") else ())
    given = options(scheme, parts.query)
    if own := [name for name in _OWN if name in given]:
        raise ConfigurationError(f"{own[0]!r} is an option of the store: give it as an argument, or use open_store(url)")
    refuse_unknown(scheme, given, (*_OWN, *(("db",) if has_databases else ()), *known))
    settings = Settings(redis.SSLConnection if secure else redis.Connection, _tls(given) if secure else {})
    arguments = {**settings.arguments, **_credentials(parts)}
    settings = settings._replace(arguments=arguments)
    match scheme.partition("+")[2] or scheme:
        case "unix":
            return _of_socket(parts, given, settings, timeout, bound)
        case "sentinel":
            return _of_sentinels(parts, given, settings, timeout, bound)
        case "cluster":
            if parts.path not in ("", "/"):
                raise ConfigurationError(f"{scheme}: a cluster has no databases; write {_EXAMPLES[scheme]}")
            return Cluster([settings.at(*place) for place in _places(parts, 6379)], timeout, bound)
    places = _places(parts, 6379)
    if len(places) > 1:
        raise ConfigurationError(f"{scheme}: takes one host; write {scheme}+sentinel:// or {scheme}+cluster:// for more")
    arguments["db"] = _database(scheme, parts.path.removeprefix("/"), given)
    return _alone(settings.at(*places[0]), timeout, bound)


def _of_socket(
    parts: SplitResult, given: Mapping[str, str], settings: Settings, timeout: float, bound: int | None
) -> Deployment:
    if not parts.path.strip("/") or parts.hostname:
        raise ConfigurationError(f"unix: takes the path of a socket after three slashes; write {_EXAMPLES['unix']}")
    place = {"path": unquote(parts.path), "db": _database("unix", "", given)}
    return _alone(Settings(redis.UnixDomainSocketConnection, {**settings.arguments, **place}), timeout, bound)


def _of_sentinels(
    parts: SplitResult, given: Mapping[str, str], settings: Settings, timeout: float, bound: int | None
) -> Deployment:
    service, _, database = parts.path.removeprefix("/").partition("/")
    if not service:
        raise ConfigurationError(f"{parts.scheme}: name the service; write {_EXAMPLES[parts.scheme]}")
    own = {name.removeprefix("sentinel_"): given[name] for name in _SENTINEL if name in given}
    tls = {name: value for name, value in settings.arguments.items() if name.startswith("ssl_")}
    asked = Settings(settings.kind, {**tls, **own})
    sentinels = [asked.at(*place) for place in _places(parts, 26379)]
    settings = settings._replace(arguments={**settings.arguments, "db": _database(parts.scheme, database, given)})
    return Replicated(Master(unquote(service), sentinels, settings, timeout), bound)


def _tls(given: Mapping[str, str]) -> dict[str, Any]:
    # The name stands in the certificate, which is looked at or not.
    found: dict[str, Any] = {"ssl_check_hostname": given.get("ssl_cert_reqs") != "none"}
    found |= {name: text for name, text in given.items() if name in _TLS}
    if found.get("ssl_cert_reqs", "required") not in ("required", "optional", "none"):
        raise ConfigurationError(f"ssl_cert_reqs={found['ssl_cert_reqs']!r}: write required, optional or none")
    if (text := given.get("ssl_check_hostname")) is not None:
        if text not in ("true", "false"):
            raise ConfigurationError(f"ssl_check_hostname={text!r}: write true or false")
        if text == "true" and given.get("ssl_cert_reqs") == "none":
            raise ConfigurationError("ssl_cert_reqs=none looks at no certificate: leave it out, or ssl_check_hostname=true")
        found["ssl_check_hostname"] = text == "true"
    return found


def _credentials(parts: SplitResult) -> dict[str, str]:
    user, _, password = parts.netloc.rpartition("@")[0].partition(":")
    return {name: unquote(text) for name, text in (("username", user), ("password", password)) if text}


def _places(parts: SplitResult, port: int) -> Sequence[tuple[str, int]]:
    """Return the hosts and their ports."""
    found = []
    for text in parts.netloc.rpartition("@")[2].split(","):
        try:
            place = urlsplit(f"//{text}")
            host, given = place.hostname, place.port
        except ValueError:
            host, given = None, None
        if not host:
            raise ConfigurationError(
                f"{parts.scheme}: name each host, and its port as a number; write {_EXAMPLES[parts.scheme]} (and {_ESCAPES})"
            )
        found.append((host, given or port))
    return found


def _database(scheme: str, text: str, given: Mapping[str, str]) -> int:
    """Return the number of the database, which stands at the end of the path, or in the query as redis-py has it."""
    if text and given.get("db", text) != text:
        raise ConfigurationError(f"{scheme}: the database is {text!r} in the path and {given['db']!r} in db=; write it once")
    text = text or given.get("db", "")
    if text and not (text.isascii() and text.isdigit()):
        raise ConfigurationError(f"{scheme}: the database {text!r} is no number; write {_EXAMPLES[scheme]}")
    return int(text or 0)

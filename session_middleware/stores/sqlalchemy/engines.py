"""Engines for :class:`SQLAlchemyStore`: one of its own from a URL, or one that an application has. It asks nothing."""

import inspect
from collections.abc import Collection
from typing import Any, Final
from urllib.parse import parse_qsl, urlencode

from sqlalchemy import URL, Engine, create_engine, event, make_url
from sqlalchemy.exc import ArgumentError
from sqlalchemy.pool import AssertionPool, NullPool, SingletonThreadPool, StaticPool

from session_middleware.exceptions import ConfigurationError
from session_middleware.stores.sqlalchemy.drivers import Budget, psycopg_connect, pymysql_connect
from session_middleware.stores.urls import number, split

_PSYCOPG: Final = "postgresql+psycopg"
_DRIVERS: Final = {
    **dict.fromkeys(("postgres", "postgresql", _PSYCOPG), _PSYCOPG),
    **dict.fromkeys(("mariadb", "mariadb+pymysql"), "mariadb+pymysql"),
    **dict.fromkeys(("mysql", "mysql+pymysql"), "mysql+pymysql"),
}
_KNOWN: Final = "postgresql: (with psycopg 3), mariadb: and mysql: (with PyMySQL)"

# Of an application's engine. Others write parameters in another way, or keep a statement's error from the next ones.
_FIT: Final = ("psycopg", "psycopg2", "pymysql", "mysqldb", "mysqlconnector")

# Whose connection may be in the middle of a transaction of the application.
_SHARING_POOLS: Final = (StaticPool, SingletonThreadPool, AssertionPool)

# Of these PyMySQL would make less than they say: beside the first two it has forgotten which authority ``ssl_ca`` names,
# and takes any certificate of the system's authorities, whatever the host. And "false" is true.
_MISREAD: Final = ("ssl_verify_identity", "ssl_verify_cert", "ssl")


_UNREADABLE: Final = "the URL of the database cannot be read: write postgresql://user@host/database"


def url_of(text: str | URL) -> URL:
    """Return the URL, with the driver that an engine of our own has; refuse others."""
    try:
        url = make_url(_hosts_apart(text) if isinstance(text, str) else text)
    except (ArgumentError, ValueError):
        # Their text may quote the password.
        raise ConfigurationError(_UNREADABLE) from None
    driver = _DRIVERS.get(url.drivername)
    if driver is None:
        raise ConfigurationError(f"{url.drivername}: is not known; known are {_KNOWN}; for other drivers pass an engine")
    return url.set(drivername=driver)


def _hosts_apart(text: str) -> str:
    """Return the URL with several hosts, as libpq has them, in the query, as SQLAlchemy has them; any other as it is."""
    if "," not in text:
        return text
    parts = split(text)
    credentials, at, hosts = parts.netloc.rpartition("@")
    if "," not in hosts:
        return text
    if not parts.scheme.startswith("postgres"):
        raise ConfigurationError(f"{parts.scheme}: takes one host; for several put a proxy in front of them")
    query = urlencode([*parse_qsl(parts.query, keep_blank_values=True), *[("host", host) for host in hosts.split(",")]])
    return f"{parts.scheme}://{credentials}{at}{parts.path}?{query}"


def without_options(url: URL, names: Collection[str]) -> tuple[URL, dict[str, str]]:
    """Return the URL without those options in its query that have one of these *names*, and these."""
    options: dict[str, str] = {}
    for name in url.query.keys() & set(names):
        text = url.query[name]
        if not isinstance(text, str):
            raise ConfigurationError(f"the option {name!r} is there more than once; write it once")
        options[name] = text
    return url.difference_update_query(names), options


def own_engine(url: URL, budget: Budget) -> Engine:
    """Return an engine whose connections keep to the budget. It opens them, and keeps none."""
    special: dict[str, Any] = {}
    if url.drivername == _PSYCOPG:
        url, found = without_options(url, ("prepare_threshold",))
        # Nobody needs hstore here, and psycopg would look for it in a transaction.
        special = {"use_native_hstore": False, "connect_args": _prepared(**found)}
    try:
        engine = create_engine(
            url,
            isolation_level="AUTOCOMMIT",
            poolclass=NullPool,
            pool_reset_on_return=None,
            hide_parameters=True,
            **special,
        )
    except (ArgumentError, ValueError):
        raise ConfigurationError(_UNREADABLE) from None
    except ModuleNotFoundError as error:
        extra = "postgresql" if url.drivername == _PSYCOPG else "mariadb"
        raise ConfigurationError(
            f"{url.drivername}: needs {error.name}: pip install 'session-middleware[{extra}]'"
        ) from error
    driver: Any = engine.dialect.dbapi
    connect = psycopg_connect(driver, budget) if url.drivername == _PSYCOPG else pymysql_connect(driver, budget)
    _refuse_unknown_options(engine)

    @event.listens_for(engine, "do_connect")
    def do_connect(dialect: Any, record: Any, arguments: Any, parameters: dict[str, Any]) -> Any:
        return connect(**parameters)

    return engine


def _prepared(prepare_threshold: str = "5") -> dict[str, int | None]:
    """Return after how many times psycopg prepares a statement: never where PgBouncer lends a server for a transaction."""
    never = prepare_threshold == "none"
    return {"prepare_threshold": None if never else number(int, "prepare_threshold", prepare_threshold)}


def _refuse_unknown_options(engine: Engine) -> None:
    driver: Any = engine.dialect.dbapi
    if hasattr(driver, "conninfo"):
        try:
            driver.conninfo.make_conninfo(**dict.fromkeys(engine.url.query, "1"))
        except driver.ProgrammingError as error:
            raise ConfigurationError(f"the URL of the database: {str(error).strip()}") from None
        return
    if misread := [name for name in _MISREAD if name in engine.url.query]:
        raise ConfigurationError(
            f"the URL of the database: {misread[0]!r} would not do what it says; write ssl_ca=/path/of/authority.pem, which"
            " checks the certificate and the name of the host"
        )
    if engine.url.query.get("ssl_disabled", "true") != "true":
        raise ConfigurationError("the URL of the database: write ssl_disabled=true, or leave it out")
    _, parameters = engine.dialect.create_connect_args(engine.url)
    charset = parameters.get("charset", "utf8mb4")
    try:
        "".encode(driver.connections.charset_by_name(charset).encoding)
    except (AttributeError, LookupError):
        raise ConfigurationError(
            f"the URL of the database: charset={charset!r}: leave it out; no text of a session depends on it"
        ) from None
    if unknown := sorted(parameters.keys() - inspect.signature(driver.connections.Connection).parameters.keys()):
        raise ConfigurationError(f"the URL of the database: invalid connection option {unknown[0]!r}")


def fit_engine(engine: object) -> Engine:
    """Return *engine*; raise :exc:`ConfigurationError` unless a store can use it beside an application."""
    if not isinstance(engine, Engine):
        raise ConfigurationError(f"{engine!r}: write the URL of a database, or pass an Engine of SQLAlchemy")
    dialect = engine.dialect
    if dialect.name not in ("postgresql", "mysql", "mariadb"):
        raise ConfigurationError(f"{dialect.name}: sessions are not kept there by this store; known are {_KNOWN}")
    if dialect.is_async or dialect.driver not in _FIT:
        raise ConfigurationError(f"the engine's driver {dialect.driver} does not fit; use psycopg, or PyMySQL")
    if isinstance(engine.pool, _SHARING_POOLS):
        raise ConfigurationError(
            f"the engine has a {type(engine.pool).__name__}, whose connection may be in the middle of a transaction of"
            " the application; pass an engine with a QueuePool or a NullPool, or a URL"
        )
    return engine


def server_of(url: URL) -> str:
    """Return which server and database the URL names, without a password."""
    host = url.host or url.query.get("host") or url.query.get("unix_socket") or "localhost"
    place = host if isinstance(host, str) else ",".join(host)
    return f"{place}{f':{url.port}' if url.port else ''}/{url.database or ''}"

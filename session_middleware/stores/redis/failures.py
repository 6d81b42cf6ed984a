"""What the error of a Redis server means for the store: whether it passes, and if not, what to change. It asks nothing."""

import re
from typing import Final

from session_middleware.exceptions import StoreUnavailable, StoreUnusable
from session_middleware.stores.redis.connections import said

# What is said by a server that will say it again. All else may pass: servers load, fail over, and are full for a while.
_LASTING: Final = (
    (
        "^NOAUTH|^WRONGPASS|^ERR AUTH ",
        "look at the user and the password: redis://user:password@host:6379/0, or redis://:password@host:6379/0",
    ),
    ("DB index is out of range", "write a database that there is, such as redis://host:6379/0"),
    (
        "NOPERM|The user executing the script can't",
        "this user needs ~prefix* of the store, +get +set +del +getrange +eval +evalsha +zadd +zscore +zrange +zrevrange"
        " +zrem +expire +pttl +scan, with wait_replicas also +wait +exists +pexpire",
    ),
    ("^DENIED", "give the server a password, and write it into the URL, or let it listen where the site is"),
    ("cluster support disabled", "write redis:// and this one server"),
    ("^ERR unknown command 'SENTINEL'", "write the addresses of the sentinels, whose port is 26379 as a rule"),
    ("^ERR unknown command", "the store needs Redis 6.2 or later, or Valkey, with no command renamed"),
    ("CERTIFICATE_VERIFY_FAILED", "name the authority of the certificate with ssl_ca_certs=/path/of/authority.pem"),
)


def failed(name: str, error: BaseException | None, before: str = "") -> StoreUnavailable:
    """Return what is to be raised for the *error* of the server *name*.

    It is a :exc:`StoreUnusable`, with what to write instead, if the same will happen until somebody changes something.
    *before* is put before what the error says.
    """
    text = said(error)
    for pattern, hint in _LASTING:
        if re.search(pattern, text):
            return StoreUnusable(f"{name}: {before}{text}; {hint}")
    return StoreUnavailable(f"{name}: {before}{text}")

"""Sessions of Beaker, Flask-Session and Django, carried over once each, so that users stay signed in through a move.

::

    application = SessionMiddleware(app, store, carry_over=FromFlaskSession("redis://localhost:6379/0"))

A request that comes with the other library's cookie and with none of ours finds its data, and the user id, in our session;
the old record is removed. The first such request that succeeds is told a cookie of ours, and to remove the old one, which
opens the session until ours has come, and for 30 s more. Timeouts are those of the middleware from then on. Remove the
option when the longest timeout of the old sessions has passed.
"""

from session_middleware.integrations.moving.beaker import FromBeaker
from session_middleware.integrations.moving.django import FromDjango
from session_middleware.integrations.moving.flask_session import CachelibPlace, FromFlaskSession
from session_middleware.integrations.moving.places import FilePlace, Place, RedisPlace, TablePlace

__all__ = [
    "CachelibPlace",
    "FilePlace",
    "FromBeaker",
    "FromDjango",
    "FromFlaskSession",
    "Place",
    "RedisPlace",
    "TablePlace",
]

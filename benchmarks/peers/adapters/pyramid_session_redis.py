"""pyramid_session_redis: a session factory of Pyramid."""

from typing import Any

from benchmarks.peers.adapters import frameworks
from benchmarks.peers.application import Ways
from benchmarks.peers.contenders import Made, Place

SECRET = "a secret of the small application"


def _sign_in(session: Any) -> None:
    kept = dict(session)  # it has no way to change the id and keep the data
    session.invalidate()
    session.update(kept)
    session["user"] = "alice"


WAYS = Ways(_sign_in, lambda session: session.invalidate())


def make(store: str, place: Place, options: dict[str, Any]) -> Made:
    from pyramid.config import Configurator
    from pyramid_session_redis import RedisSessionFactory
    from pyramid_session_redis.util import _StringSerializer
    from webob.cookies import SignedSerializer

    tuned: dict[str, Any] = {"python_expires": False, "redis_socket_timeout": 1} if options.get("tuned") else {}
    factory = RedisSessionFactory(secret=SECRET, redis_url=place.redis_url, **tuned)
    signer = SignedSerializer(SECRET, "pyramid_session_redis.", "sha512", serializer=_StringSerializer())
    application = frameworks.on_pyramid(Configurator(session_factory=factory), WAYS)
    return Made(application, frameworks.without_pyramid(), cookie_of=lambda key: signer.dumps(key).decode())

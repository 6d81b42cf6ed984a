"""Who may sign in, whichever application asks; and what all of them show."""

from collections.abc import MutableMapping
from typing import Any

USERS = {"alice", "bob"}


def seen(session: MutableMapping[str, Any], user: str | None, framework: str) -> dict[str, Any]:
    """Note that the visitor has been here, and return what the session knows of them."""
    session[framework] = session.get(framework, 0) + 1
    return {"framework": framework, "user": user, "visits": {name: session[name] for name in sorted(session)}}

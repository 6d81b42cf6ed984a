"""Lost updates and increments, logouts that are undone, sign-ins: what is left when one request comes within another."""

from typing import Any

from benchmarks.peers.gang import Member
from benchmarks.peers.results import Row, Scope

MADE_UP = "0123456789abcdef0123456789abcdef"


def measure_updates(member: Member, scope: Scope) -> Row:
    """Write distinct keys of one session at once, and count in one key."""
    return {
        "at once": member.do("write_at_once", count=scope.writes, ms=0),
        "5 ms": member.do("write_at_once", count=scope.writes, ms=5),
        "increments": member.do("increment_at_once", count=scope.increments),
        "of": [scope.writes, scope.increments],
    }


def measure_endings(member: Member) -> Row:
    """Sign out while a request runs, and sign in while a request runs."""
    writer = member.do("within", slow="/slow-write", inner="/sign-out")
    reader = member.do("within", slow="/slow-read", inner="/sign-out")
    signing = member.do("within", slow="/slow-write", inner="/sign-in")
    return {
        "back by a writer": _is_user(writer["old"]),
        "writer gets": writer["status"],
        "back by a reader": _is_user(reader["old"]),
        "reader gets": reader["status"],
        "reader sees": reader["text"],
        **_sign_in(member),
        "running request gets": signing["status"],
        "its write": "kept" if "late" in signing["new"] else "lost",
        "browser": "signed in" if signing["browser"].get("user") == "alice" else "signed out",
    }


def _is_user(seen: dict[str, Any]) -> bool:
    return "user" in seen


def _sign_in(member: Member) -> Row:
    before = member.do("ask", path="/write?key=by")
    after = member.do("ask", path="/sign-in", cookie=before["cookie"])
    old = member.do("ask", path="/seen", cookie=before["cookie"])
    name = before["cookie"].partition("=")[0]
    made_up = f"{name}={MADE_UP}"
    adopted = member.do("ask", path="/write?key=user", cookie=made_up)
    opened = member.do("ask", path="/seen", cookie=made_up)
    return {
        "old token": "opens what was before" if '"alice"' not in old["text"] and '"by"' in old["text"] else
        "opens the signed-in session" if '"alice"' in old["text"] else "opens nothing",
        "new token": after["cookie"] != before["cookie"],
        "id adopted": adopted["status"] == 200 and '"user"' in opened["text"],
    }  # fmt: skip

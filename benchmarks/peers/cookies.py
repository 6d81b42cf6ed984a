"""How a library reads a ``Cookie`` header that is not as it should be, and what it sends."""

import re
from typing import Any

from benchmarks.peers.gang import Member
from benchmarks.peers.results import Row

_JUNK = {
    "junk before": 'a b=1; pref={{"a":1}}; =; {pair}',
    "junk after": '{pair}; pref={{"a":1}}; a b=1; "',
    "lookalikes": "x{name}=evil; {name}2=evil; {pair}",
    "spaces of others": "\xa0{name}=evil; {pair}",
    "two, ours last": "{name}=evil; {pair}",
    "two, ours first": "{pair}; {name}=evil",
}
ROWS = tuple(_JUNK)


def measure_cookies(member: Member) -> Row:
    first = member.do("ask", path="/write?key=user")
    pair = first["cookie"]
    name = pair.partition("=")[0]
    row: Row = {}
    for title, header in _JUNK.items():
        found = member.do("ask", path="/seen", cookie=header.format(pair=pair, name=name))
        row[title] = found["status"] == 200 and '"user"' in found["text"]
    secure = member.do("ask", path="/write?key=user", scheme="https")
    return row | {"http": attributes(first["cookies"]), "https": attributes(secure["cookies"])}


def attributes(lines: list[str]) -> dict[str, Any]:
    """Return the name and the attributes of the first cookie that is set."""
    pair, *rest = lines[0].split(";")
    given = {part.strip().partition("=")[0].lower(): part.strip().partition("=")[2] for part in rest}
    return {
        "name": pair.partition("=")[0].strip(),
        "HttpOnly": "httponly" in given,
        "Secure": "secure" in given,
        "SameSite": given.get("samesite", ""),
        "prefix": bool(re.match("__(Host|Secure)-", pair.strip())),
    }

"""Cookies, and headers that have one, almost have one, or are in the way."""

from collections.abc import Callable
from typing import Final

from session_middleware import CookiePolicy
from session_middleware.cookies import SessionCookie

TOKEN: Final = "Token-of_40-characters_of-base64url_00zZ"
OTHER: Final = TOKEN.swapcase()

LONGEST: Final = 64 * 1024

PLAIN = CookiePolicy().for_scheme("http")
SECURE = CookiePolicy().for_scheme("https")


def tokens(*numbers: int) -> tuple[str, ...]:
    return tuple(f"{number:040}" for number in numbers)


def read(cookie: SessionCookie, header: object) -> tuple[str, ...]:
    return tuple(token.reveal() for token in cookie.read(header))


def pairs(name: str, *values: str) -> str:
    return "; ".join(f"{name}={value}" for value in values)


JUNK: Final = [
    "a[]=1",
    'x={"a":"b"}',
    "HttpOnly",
    "=v",
    "v",
    "path=/",
    'a="unbalanced',
    "a=" + bytes(range(0x80, 0x100)).decode("latin-1"),
    "a=\x00",
    "a=\x7f",
    "a=\\",
    "a=1,2",
    "",
    " ",
    "$Version=1",
    "session",
    "sessions=1",
    "a=b=c",
    "%",
]

# Each takes a name and a token; the result is not a cookie of that name with that token.
LOOKALIKES: Final[list[str]] = [
    *(
        "{blank}{name}={token}".replace("{blank}", blank)
        for blank in ("\xa0", "\x85", "\x1c", "\x1d", "\x1e", "\x1f", "\x0b")
    ),
    *("{name}{blank}={token}".replace("{blank}", blank) for blank in ("\xa0", "\x85", "\x1c", "\x1f", "\x0b", "\x0c", "\n")),
    *("{name}={token}{blank}".replace("{blank}", blank) for blank in ("\xa0", "\x85", "\x1c", "\x0b", "\r", "\n", "\x00")),
    *(
        f"{blank.encode().decode('latin-1')}{{name}}={{token}}"
        for blank in ("\u2000", "\u3000", "\ufeff", "\xa0", "\x85", "\u2028")
    ),
    *(
        "{blank}{name}={token}".replace("{blank}", blank)
        for blank in ("\u2000", "\u3000", "\ufeff", "\x0c", "\r", "\n", "\x00")
    ),
    "={name}={token}",
    "{name}",
    "{token}",
    "%5F{name}={token}",
    '"{name}"={token}',
    "_{name}={token}",
    "[{name}={token}",
    ".{name}={token}",
    "{name}[]={token}",
    '{name}="{token}"',
    "{name}='{token}'",
    "{name}=%{token}",
    "{name}={token}=",
    "{name}={token}x",
    "{name}==...{token}",
    "{name}={token} {token}",
    "$Version=1,{name}={token}",
    "a=b,{name}={token}",
    "a=b, {name}={token}",
    "{name}=",
    "{name}= ",
]

OF_NO_USE: Final = [
    "",
    "x" * 39,
    "x" * 41,
    "x" * 4096,
    "x" * (LONGEST - 100),
    TOKEN[:-1] + "=",
    TOKEN[:-1] + "\x00",
    TOKEN[:-1] + "\r",
    TOKEN[:-1] + "\n",
    TOKEN[:-1] + "\x1f",
    TOKEN[:-1] + "\x7f",
    TOKEN[:-1] + "\xff",
    TOKEN[:-1] + "\uff11",
    TOKEN[:-1] + "\u0661",
    TOKEN[:-1] + "+",
    TOKEN[:-1] + "/",
    TOKEN[:-1] + ".",
    f"{TOKEN}\n",
    f"\n{TOKEN}",
    f"{TOKEN[:20]} {TOKEN[20:-1]}",
    "../../../../etc/passwd",
    "' OR '1'='1",
    "\r\nDEL *\r\n",
]

NASTY: Final[dict[str, Callable[[int], str]]] = {
    "semicolons": lambda size: ";" * size,
    "blanks": lambda size: " " * size,
    "blanks after a semicolon": lambda size: ";" + " \t" * (size // 2),
    "blanks after the name": lambda size: "session" + " " * size,
    "blanks after the equals sign": lambda size: "session=" + " " * size,
    "blanks after the token": lambda size: f"session={TOKEN}" + " " * size + "x",
    "blanks everywhere": lambda size: (f"; session{' ' * 50}={' ' * 50}{TOKEN}{' ' * 50}x" * size)[:size],
    "our name": lambda size: ("session;" * size)[:size],
    "our name and blanks": lambda size: ("; session " * size)[:size],
    "our cookie": lambda size: (f"session={TOKEN}; " * size)[:size],
    "tokens of its own each": lambda size: pairs("session", *tokens(*range(size // 50)))[:size],
    "tokens too long": lambda size: "session=" + "x" * size,
    "tokens in vain": lambda size: (f"session={TOKEN}x;" * size)[:size],
    "one long value": lambda size: "a=" + "b" * size,
    "equals signs": lambda size: "=" * size,
    "quotes": lambda size: 'a="' + '\\"' * (size // 2),
    "backslashes": lambda size: 'a="' + "\\a" * (size // 2),
    "commas": lambda size: f"session={TOKEN}" + "," * size,
    "bytes": lambda size: ("".join(map(chr, range(256))) * size)[:size],
}

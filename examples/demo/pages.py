"""The HTML of the site. Every value that is put into a page is escaped, unless it is HTML made here."""

import time
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from html import escape
from pprint import pformat
from typing import Any

from session_middleware import Session, SessionInfo


class Html(str):
    """A text that is HTML already."""

    __slots__ = ()


def html(template: str, **values: object) -> Html:
    """Put *values* in the place of their ``{names}``, escaped."""
    safe = {name: value if isinstance(value, Html) else escape(str(value)) for name, value in values.items()}
    return Html(template.format_map(safe))


def join(parts: Iterable[Html]) -> Html:
    return Html("".join(parts))


NOTHING = Html("")

MENU = {"/": "Home", "/cart": "Cart", "/sessions": "My sessions", "/cookie": "The cookie"}

REMOVE = 'Remove<span class="unseen"> {name}</span>'

LAYOUT = """<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{title} · Session demo</title>
<link rel="icon" href="/static/icon.svg" type="image/svg+xml">
<link rel="stylesheet" href="/static/style.css">
</head>
<body>
<a class="skip" href="#main">Skip to the content</a>
<header>
<p class="brand">Session demo</p>
<nav aria-label="Pages"><ul>{menu}</ul></nav>
<div class="who">{who}</div>
</header>
<main id="main">
<h1>{title}</h1>
{body}
</main>
</body>
</html>
"""


def layout(title: str, body: Html, *, path: str, user: str | None, csrf: str) -> Html:
    menu = join(
        html(
            '<li><a href="{url}"{current}>{label}</a></li>',
            url=url,
            label=label,
            current=Html(' aria-current="page"') if url == path else NOTHING,
        )
        for url, label in MENU.items()
    )
    if user is None:
        who = html('<a class="button" href="/sign-in">Sign in</a>')
    else:
        who = html(
            '<span><span class="wide">Signed in as </span><strong>{user}</strong></span>{button}',
            user=user,
            button=button("/sign-out", "Sign out", csrf, style="quiet"),
        )
    return html(LAYOUT, title=title, menu=menu, who=who, body=body)


def button(action: str, label: str, csrf: str, fields: Mapping[str, str] | None = None, *, style: str = "") -> Html:
    """Return a form that is nothing but a button; with POST, because it changes something."""
    hidden = join(
        html('<input type="hidden" name="{name}" value="{value}">', name=name, value=value)
        for name, value in {"csrf": csrf, **(fields or {})}.items()
    )
    return html(
        '<form method="post" action="{action}">{hidden}<button class="{style}">{label}</button></form>',
        action=action,
        hidden=hidden,
        style=style,
        label=label,
    )


def home(visits: int, user: str | None) -> Html:
    return html(
        """<p class="count"><strong>{visits}</strong> {noun} to this page in your session.</p>
<p>{greeting}</p>
<ul class="plain">
<li><a href="/cart">Cart</a>: put something in, then sign in. It is still there.</li>
<li><a href="/sessions">My sessions</a>: sign in with a second browser, and end its session from here.</li>
<li><a href="/cookie">The cookie</a>: what a script on this page can see of it, and what the server sees.</li>
</ul>""",
        visits=visits,
        noun="visit" if visits == 1 else "visits",
        greeting="You are not signed in. The session knows you all the same." if user is None else f"Hello, {user}.",
    )


def sign_in(csrf: str, users: Mapping[str, str], *, name: str = "", failed: bool = False) -> Html:
    problem = html('<p class="problem" role="alert">There is no such user, or the password is wrong.</p>')
    return html(
        """{problem}<form class="fields" method="post" action="/sign-in">
<input type="hidden" name="csrf" value="{csrf}">
<label for="user">Name</label>
<input id="user" name="user" value="{name}" autocomplete="username" autocapitalize="none" required maxlength="80">
<label for="password">Password</label>
<input id="password" name="password" type="password" autocomplete="current-password" required maxlength="200">
<button>Sign in</button>
</form>
<h2>Who can sign in here</h2>
<dl class="pairs">{users}</dl>""",
        problem=problem if failed else NOTHING,
        csrf=csrf,
        name=name,
        users=join(
            html("<div><dt>{name}</dt><dd><code>{password}</code></dd></div>", name=name, password=password)
            for name, password in users.items()
        ),
    )


def cart(lines: Mapping[str, Mapping[str, Any]], csrf: str) -> Html:
    rows = join(
        html(
            """<li class="card"><div><h3>{name}</h3>
<p>{quantity} &times;, first added {added}</p></div>{remove}</li>""",
            name=name,
            quantity=line["quantity"],
            added=moment(line["added"].timestamp()),
            remove=button("/cart/remove", html(REMOVE, name=name), csrf, {"item": name}, style="quiet"),
        )
        for name, line in lines.items()
    )
    return html(
        """<form class="fields" method="post" action="/cart">
<input type="hidden" name="csrf" value="{csrf}">
<label for="item">What</label>
<input id="item" name="item" required maxlength="60" autocomplete="off">
<label for="quantity">How many</label>
<input id="quantity" name="quantity" type="number" min="1" max="99" value="1" required>
<button>Put it in the cart</button>
</form>
<h2>In your cart</h2>
{lines}""",
        csrf=csrf,
        lines=html('<ul class="cards">{rows}</ul>', rows=rows) if rows else html("<p>Nothing yet.</p>"),
    )


def sessions(found: Sequence[SessionInfo], here: str, csrf: str) -> Html:
    cards = join(
        html(
            """<li class="card{style}"><div><h2>{browser}</h2>{mark}
<p>Signed in {created}<br>Last seen {seen}</p></div>{end}</li>""",
            style=" here" if info.id == here else "",
            browser=info.data.get("browser", "Unknown browser"),
            mark=html('<p class="mark">This session</p>') if info.id == here else NOTHING,
            created=moment(info.created_at),
            seen=moment(info.last_seen_at),
            end=button(
                "/sessions/revoke",
                "Sign out here" if info.id == here else "End this session",
                csrf,
                {"id": info.id},
                style="quiet",
            ),
        )
        for info in found
    )
    others = button("/sessions/revoke-others", "End all other sessions", csrf)
    return html(
        '<p>Wherever you are signed in, the one last used first.</p><ul class="cards">{cards}</ul>{others}',
        cards=cards,
        others=others if len(found) > 1 else NOTHING,
    )


def cookie(session: Session, header: str) -> Html:
    data = {key: "(kept from this page)" if key == "csrf" else value for key, value in session.items()}
    facts = {
        "session.id": html("<code>{id}</code>", id=session.id),
        "session.user_id": html("<code>{user}</code>", user=repr(session.user_id)),
        "Created": moment(session.created_at),
        "Last seen": moment(session.last_seen_at),
        "Ends unless used": moment(session.expires_at),
    }
    return html(
        """<h2>As JavaScript sees it</h2>
<p>The value of <code>document.cookie</code> on this page:</p>
<p><output id="javascript-sees" class="code">(JavaScript is off)</output></p>
<h2>As the server sent it</h2>
<p>Once, when the session got its token:</p>
<pre tabindex="0" aria-label="Set-Cookie header">Set-Cookie: {header}</pre>
<p>The token is in the browser's cookie and nowhere else: the store keeps its SHA-256, which is the session's id.</p>
<h2>As the server sees it</h2>
<dl class="pairs">{facts}</dl>
<h3>Its data</h3>
<pre tabindex="0" aria-label="Session data">{data}</pre>
<script src="/static/cookie.js" defer></script>""",
        header=header,
        facts=join(html("<div><dt>{name}</dt><dd>{fact}</dd></div>", name=k, fact=v) for k, v in facts.items()),
        data=pformat(data, sort_dicts=False, width=60),
    )


def error(message: str) -> Html:
    return html('<p>{message}</p><p><a href="/">To the first page</a></p>', message=message)


def moment(seconds: float) -> Html:
    """Return a time as people read it, with the exact one behind it."""
    exact = datetime.fromtimestamp(seconds, UTC)
    return html(
        '<time datetime="{iso}" title="{exact}">{relative}</time>',
        iso=exact.isoformat(timespec="seconds"),
        exact=exact.strftime("%Y-%m-%d %H:%M:%S UTC"),
        relative=_relative(seconds - time.time()),
    )


def _relative(seconds: float) -> str:
    for unit, size in (("day", 86400), ("hour", 3600), ("minute", 60)):
        count = round(abs(seconds) / size)
        if count:
            text = f"{count} {unit}" if count == 1 else f"{count} {unit}s"
            return f"in {text}" if seconds > 0 else f"{text} ago"
    return "now" if seconds > 0 else "just now"

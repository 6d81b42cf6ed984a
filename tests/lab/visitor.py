"""Someone at a real browser: they click, and read what the page says. They see what the console complains of, too."""

import re
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from playwright.sync_api import BrowserContext, Locator

LANGUAGES = {"en": "en-GB", "ko": "ko-KR"}
PASSWORDS = {"alice": "looking-glass", "bob": "long-way-home", "carol": "silent-night"}


class Visitor:
    """A page of the lab in a browser context of its own."""

    url = ""

    def __init__(self, context: "BrowserContext") -> None:
        self.context = context
        self.context.set_default_timeout(120_000)  # one experiment takes ten seconds by itself
        self.complaints: list[str] = []
        self.page = context.new_page()
        self._size = self.page.viewport_size
        self.page.on("console", lambda message: self._hear(message.type, message.text))
        self.page.on("pageerror", lambda error: self.complaints.append(str(error)))

    def begin(self, url: str, path: str = "/") -> None:
        """Come to the site at *url* for the first time."""
        self.url = url
        self.complaints.clear()
        self.go(path)

    def leave(self) -> None:
        """Leave nothing in the browser."""
        self.page.goto("about:blank")
        if self._size:
            self.page.set_viewport_size(self._size)
        self.context.clear_cookies()

    def go(self, path: str) -> None:
        self.page.goto(self.url + path)

    def read_again(self) -> None:
        """Press "Just read"."""
        self.settled(self.page.locator("a.quick-read").click)

    def press(self, action: str, *, within: str = "main") -> None:
        """Press the button of the form that goes to *action*, and wait for the page that comes of it."""
        self.settled(self.page.locator(f'{within} form[action="{action}"] button').first.click)

    def enter(self) -> None:
        """Press the Enter key where the focus is."""
        self.settled(lambda: self.page.keyboard.press("Enter"))

    def sign_in(self, user: str, *, remember: bool = False) -> None:
        """Fill in the form on the page, as people do."""
        form = self.page.locator('main form.fields[action="/sign-in"]')
        form.locator('[name="user"]').fill(user)
        form.locator('[name="password"]').fill(PASSWORDS[user])
        if remember:
            form.locator('[name="remember"]').check()
        self.settled(form.locator("button").click)

    def fill(self, action: str, **fields: str) -> None:
        form = self.page.locator(f'main form[action="{action}"]').first
        for name, value in fields.items():
            field = form.locator(f'[name="{name}"]')
            if field.evaluate("field => field.tagName") == "SELECT":
                field.select_option(value)
            else:
                field.fill(value)
        self.settled(form.locator("button").click)

    def text(self, selector: str) -> str:
        return self.page.locator(selector).first.inner_text().strip()

    def has(self, selector: str) -> bool:
        return self.page.locator(selector).count() > 0

    @property
    def session_id(self) -> str:
        return self.text("#session-id")

    def who(self) -> str | None:
        """Who the header says is signed in."""
        user = self.page.locator("header .user strong")
        return user.inner_text() if user.count() else None

    @property
    def data(self) -> dict[str, str]:
        """The keys and values that the page shows of what the server holds."""
        rows = self.page.locator("#data tbody tr").all()
        return {row.locator("th").inner_text(): row.locator("td > :first-child").inner_text() for row in rows}

    @property
    def secrets(self) -> list[str]:
        """The kinds of the secrets that the page shows proofs of, the newest first."""
        return [str(row.get_attribute("class")) for row in self.page.locator("#secrets li").all()]

    def cookie(self, name: str = "session") -> dict[str, Any] | None:
        """Return a cookie as the browser's own jar has it."""
        found = [dict(cookie) for cookie in self.context.cookies() if cookie.get("name") == name]
        return found[0] if found else None

    @property
    def token(self) -> str:
        cookie = self.cookie()
        return cookie["value"] if cookie else ""

    def use(self, token: str) -> None:
        """Put a token in the place of the one in the jar."""
        self.context.add_cookies([{"name": "session", "value": token, "url": self.url, "httpOnly": True, "sameSite": "Lax"}])

    def result(self, name: str) -> "Locator":
        return self.page.locator(f'[data-result="{name}"]')

    def facts(self, name: str) -> dict[str, str]:
        """Return what the page says came of an experiment."""
        lines = self.result(name).locator("[data-fact]").all()
        return {str(line.get_attribute("data-fact")): line.inner_text() for line in lines}

    def verdict(self, name: str) -> str:
        return self.result(name).locator(".verdict strong").inner_text()

    def requests(self, *, kind: str = "") -> list[str]:
        """Return the headings of the requests in the drawing, the newest first."""
        return [heading.inner_text() for heading in self.page.locator(f"li.band{kind} > details > summary > code").all()]

    def newest(self, title: str) -> "Locator":
        """Return the drawing of the newest request with that heading."""
        return self.page.locator(
            "li.band", has=self.page.locator("summary code", has_text=re.compile(rf"^{re.escape(title)}$"))
        ).first

    def words(self, title: str) -> str:
        """Return what the newest request with that heading did, in words."""
        return self.newest(title).locator(".words ol").text_content() or ""

    def settled(self, click: Any) -> None:
        """Act, and wait until the page that answers has taken the place of this one."""
        self.page.evaluate("document.body.dataset.stale = ''")
        click()
        self.page.wait_for_selector("body:not([data-stale])")
        self.page.wait_for_load_state()

    def _hear(self, kind: str, text: str) -> None:
        if kind in ("error", "warning"):
            self.complaints.append(text)


Arrive = Callable[..., Visitor]
"""What the fixture ``arrive`` is: it lets someone visit the lab, and returns the visitor."""

"""Make the pictures of the lab in ``docs/``: ``python -m docs.screenshots``, or ``make screenshots``.

It needs Chromium, pngquant, which makes them small, and, for pictures that look the same everywhere, the fonts Inter,
JetBrains Mono and Noto Sans CJK:

    apt-get install chromium pngquant fonts-inter fonts-jetbrains-mono fonts-noto-cjk
"""

import shutil
import subprocess
import sys
import tempfile
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Any

from playwright.sync_api import sync_playwright

from tests.chromium import FLAGS
from tests.lab.conftest import APPLICATION, SETTINGS
from tests.lab.visitor import LANGUAGES, Visitor
from tests.servers.gunicorn import Gunicorn

if TYPE_CHECKING:
    from playwright.sync_api import Browser

HERE = Path(__file__).parent

DESKTOP: dict[str, Any] = {"viewport": {"width": 1440, "height": 1000}}
PHONE: dict[str, Any] = {"viewport": {"width": 390, "height": 844}, "device_scale_factor": 2, "has_touch": True}


def main() -> None:
    executable = shutil.which("chromium")
    if executable is None or shutil.which("pngquant") is None:
        sys.exit("chromium and pngquant are needed: apt-get install chromium pngquant")
    with (
        tempfile.TemporaryDirectory() as directory,
        Gunicorn(APPLICATION, *SETTINGS, cwd=Path(directory), env={"LAB_BOOK": "none"}) as server,
        sync_playwright() as playwright,
        closing(playwright.chromium.launch(executable_path=executable, args=FLAGS)) as browser,
    ):
        for scheme in ("light", "dark"):
            lab(browser, server.url, scheme)
            for language in LANGUAGES:
                sign_in(browser, server.url, scheme, language)
            phone(browser, server.url, scheme)
        attacks(browser, server.url)
    subprocess.run(["pngquant", "--force", "--ext=.png", "--quality=80-98", "--speed=1", *HERE.glob("*.png")], check=True)


def arrive(browser: "Browser", url: str, *, language: str = "en", **options: Any) -> Visitor:
    context = browser.new_context(locale=LANGUAGES[language], reduced_motion="reduce", **options)
    visitor = Visitor(context)
    visitor.begin(url)
    return visitor


def someone_at_work(visitor: Visitor) -> None:
    """Leave something to see."""
    visitor.fill("/cart", item="Tea" if visitor.page.locator("html").get_attribute("lang") == "en" else "차", quantity="2")
    visitor.press("/count")
    visitor.sign_in("alice")


def lab(browser: "Browser", url: str, scheme: str) -> None:
    visitor = arrive(browser, url, color_scheme=scheme, **DESKTOP)
    someone_at_work(visitor)
    visitor.page.evaluate("scrollTo(0, 0)")
    save(visitor, f"lab-{scheme}")


def sign_in(browser: "Browser", url: str, scheme: str, language: str) -> None:
    """How it works: the request that signed in, and the six steps."""
    visitor = arrive(browser, url, language=language, color_scheme=scheme, **DESKTOP)
    someone_at_work(visitor)
    visitor.page.set_viewport_size({"width": 900, "height": 1000})
    visitor.page.evaluate("document.querySelectorAll('.bands > li').forEach((band, index) => band.hidden = index !== 1)")
    name = f"sign-in-{scheme}" if language == "en" else f"sign-in-{language}-{scheme}"
    visitor.page.locator(".drawing").screenshot(path=HERE / f"{name}.png")


def phone(browser: "Browser", url: str, scheme: str) -> None:
    visitor = arrive(browser, url, color_scheme=scheme, language="ko" if scheme == "dark" else "en", **PHONE)
    someone_at_work(visitor)
    visitor.page.locator(".drawing").scroll_into_view_if_needed()
    visitor.page.evaluate("document.querySelector('.drawing').scrollIntoView({block: 'start'})")
    save(visitor, f"phone-{scheme}")


def attacks(browser: "Browser", url: str) -> None:
    visitor = arrive(browser, url, color_scheme="light", **DESKTOP)
    visitor.press("/try/parallel")
    visitor.press("/try/break")
    visitor.page.locator("#parallel").screenshot(path=HERE / "parallel.png")
    visitor.go("/attacks")
    for name in ("planted", "before-sign-in", "after-sign-out", "thief", "two-cookies"):
        visitor.press(f"/try/{name}")
    visitor.page.click('[data-run="script"]')
    visitor.page.evaluate("scrollTo(0, 0)")
    save(visitor, "attacks")


def save(visitor: Visitor, name: str) -> None:
    visitor.page.screenshot(path=HERE / f"{name}.png")


if __name__ == "__main__":
    main()

"""A real Chromium, for as long as a ``with`` block runs."""

import os
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from tests.backends.process import executable

if TYPE_CHECKING:
    from playwright.sync_api import Browser, BrowserContext, BrowserType

FLAGS = [
    *("--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-sync"),
    *("--disable-background-networking", "--disable-component-update"),
]


@contextmanager
def launched(*flags: str) -> "Iterator[Browser]":
    """Yield a browser, with further *flags*; skip the test, saying how to install it, if there is none."""
    with _started() as chromium, closing(chromium.launch(**_options(flags))) as browser:
        yield browser


@contextmanager
def remembering(profile: Path, *flags: str) -> "Iterator[BrowserContext]":
    """Yield a browser that keeps in a directory what it is to know when it is started again."""
    with _started() as chromium, closing(chromium.launch_persistent_context(profile, **_options(flags))) as context:
        yield context


@contextmanager
def _started() -> "Iterator[BrowserType]":
    try:
        from playwright.sync_api import sync_playwright
    except ImportError:
        pytest.skip("playwright is not installed: pip install playwright")
    with sync_playwright() as playwright:
        yield playwright.chromium


def _options(flags: Sequence[str]) -> dict[str, Any]:
    path = executable("chromium", "chromium")
    return {"executable_path": path, "args": [*FLAGS, *flags], "env": {**os.environ, "LANG": "C.UTF-8"}}

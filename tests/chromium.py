"""A real Chromium, for as long as a ``with`` block runs."""

import os
from collections.abc import Iterator
from contextlib import closing, contextmanager
from typing import TYPE_CHECKING

import pytest

from tests.backends.process import executable

if TYPE_CHECKING:
    from playwright.sync_api import Browser

FLAGS = [
    *("--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-sync"),
    *("--disable-background-networking", "--disable-component-update"),
]


@contextmanager
def launched() -> "Iterator[Browser]":
    """Yield a browser; skip the test, saying how to install it, if there is none."""
    path = executable("chromium", "chromium")
    try:
        from playwright.sync_api import sync_playwright
    except ImportError:
        pytest.skip("playwright is not installed: pip install playwright")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=FLAGS, env={**os.environ, "LANG": "C.UTF-8"})
        with closing(browser):
            yield browser

"""Django does with our sessions what every framework does."""

from typing import ClassVar

from tests.browser import Browser
from tests.integrations import django_site
from tests.integrations.contract import IntegrationContract, answer


class TestContract(IntegrationContract):
    site: ClassVar = django_site

    def test_head_is_like_get(self, browser: Browser) -> None:
        """Promise 14: the session is stored; the body of a HEAD Django leaves to the server."""
        assert browser.send("HEAD", "/act/put?key=a&value=1").status == 200
        assert answer(browser, "show")["data"] == {"a": "1"}

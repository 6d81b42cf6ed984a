"""What the headers of a response tell caches, merged with what the application says itself."""

import pytest

from session_middleware.headers import Headers, forbid_shared_caching, vary_on_cookie


def lines(name: str, *values: str) -> Headers:
    return [(name, value) for value in values]


class TestVary:
    @pytest.mark.parametrize(
        ("before", "after"),
        [
            ([], ["Cookie"]),
            (["Accept"], ["Accept, Cookie"]),
            (["Accept, Accept-Encoding"], ["Accept, Accept-Encoding, Cookie"]),
            (["Accept", "Origin"], ["Accept", "Origin, Cookie"]),
            ([""], ["Cookie"]),
            ([" \t"], ["Cookie"]),
            (["Cookie"], ["Cookie"]),
            (["cookie"], ["cookie"]),
            (["COOKIE , Accept"], ["COOKIE , Accept"]),
            (["Accept", "Origin,\tCookie"], ["Accept", "Origin,\tCookie"]),
            (["Cookie", "Accept"], ["Cookie", "Accept"]),
            (["*"], ["*"]),
            (["Accept", "*"], ["Accept", "*"]),
            (["Accept, *"], ["Accept, *"]),
            (["Set-Cookie"], ["Set-Cookie, Cookie"]),
            (["Cookies, X-Cookie"], ["Cookies, X-Cookie, Cookie"]),
        ],
    )
    def test_cookie_is_named_once(self, before: list[str], after: list[str]) -> None:
        """W-16: merged into the application's own, whatever its case and however many lines it has; ``*`` says all."""
        headers = [("Content-Type", "text/html"), *lines("vary", *before), ("X-Last", "1")]
        vary_on_cookie(headers)

        assert [value for name, value in headers if name.lower() == "vary"] == after
        assert [header for header in headers if header[0].lower() != "vary"] == [
            ("Content-Type", "text/html"),
            ("X-Last", "1"),
        ]

    def test_the_name_keeps_its_case_and_its_place(self) -> None:
        """W-15: what the application sent stays as it is but for the one word."""
        headers = [("VARY", "Accept"), ("X-Last", "1")]
        vary_on_cookie(headers)

        assert headers == [("VARY", "Accept, Cookie"), ("X-Last", "1")]


class TestCacheControl:
    @pytest.mark.parametrize(
        "values",
        [
            ["private"],
            ["no-store"],
            ["private, max-age=60"],
            ["max-age=60, PRIVATE"],
            ["no-cache", "No-Store"],
            ["public", "private"],
            ['no-cache="Set-Cookie, X", no-store'],
        ],
    )
    def test_what_forbids_shared_caching_stays(self, values: list[str]) -> None:
        """V-16: the application may know better for how long a browser may keep its page."""
        headers = lines("cache-control", *values)
        forbid_shared_caching(headers)

        assert headers == lines("cache-control", *values)

    @pytest.mark.parametrize(
        "values",
        [
            [],
            [""],
            ["public"],
            ["public, max-age=3600", "s-maxage=60"],
            ["no-cache"],
            ['no-cache="Set-Cookie"'],
            ['private="Set-Cookie"'],
            ['private="Set-Cookie, X"'],
            ['no-cache="Set-Cookie, private, X"'],
            ['no-cache="a\\", private, \\"", max-age=5'],
            ["x-private, no-storefront"],
        ],
    )
    def test_anything_else_is_replaced(self, values: list[str]) -> None:
        """V-16, C-21: ``private`` with field names covers these fields only, and quoted text is no directive."""
        headers = [*lines("CACHE-CONTROL", *values), ("X-Last", "1")]
        forbid_shared_caching(headers)

        assert headers == [("X-Last", "1"), ("Cache-Control", "private, no-store")]

    @pytest.mark.parametrize("name", ["CDN-Cache-Control", "cloudflare-cdn-cache-control", "Surrogate-Control"])
    @pytest.mark.parametrize("own", ["no-store", "public"])
    def test_what_is_said_to_some_caches_alone_goes(self, name: str, own: str) -> None:
        """V-16: a cache that is addressed by name (RFC 9213) would not look at Cache-Control."""
        headers = [(name, "max-age=600"), ("Cache-Control", own)]
        forbid_shared_caching(headers)

        assert headers == [("Cache-Control", own if own == "no-store" else "private, no-store")]

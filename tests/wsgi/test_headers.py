"""What the headers of a response tell caches, merged with what the application says itself; what cannot be sent."""

from io import BytesIO, StringIO
from typing import Any
from wsgiref.handlers import SimpleHandler

import pytest

from session_middleware.headers import Headers, forbid_shared_caching, refuse_unsendable, vary_on_cookie
from tests.apps import an_environ


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
            (["X"], ["X, Cookie"]),
            (["XCookieX, Cookie\xa0"], ["XCookieX, Cookie\xa0, Cookie"]),
            (["\xa0"], ["\xa0, Cookie"]),
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

    def test_without_one_it_is_the_last_line(self) -> None:
        """W-16."""
        headers = [("X-First", "1")]
        vary_on_cookie(headers)

        assert headers == [("X-First", "1"), ("Vary", "Cookie")]


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
            ["private, no-store, must-understand"],
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
            ["max-age=60, stale-while-revalidate=5, immutable"],
            ["no-store, must-understand, max-age=60"],
            ['no-cache="Set-Cookie"'],
            ['private="Set-Cookie"'],
            ['private="Set-Cookie, X"'],
            ['no-cache="Set-Cookie, private, X"'],
            ['no-cache="a\\", private, \\"", max-age=5'],
            ["x-private, no-storefront"],
            ["XprivateX, Xno-store", "private\xa0, \x85no-store"],
        ],
    )
    def test_anything_else_is_replaced(self, values: list[str]) -> None:
        """V-16, C-21: ``private`` with field names covers these fields only, and quoted text is no directive."""
        headers = [*lines("CACHE-CONTROL", *values), ("X-Last", "1")]
        forbid_shared_caching(headers)

        assert headers == [("X-Last", "1"), ("Cache-Control", "private, no-store")]

    @pytest.mark.parametrize(
        ("values", "kept"),
        [
            (["no-cache"], "no-cache"),
            (["no-cache, no-transform"], "no-cache, no-transform"),
            (["public, NO-TRANSFORM", "max-age=60, no-transform"], "no-transform"),
            (["max-age=0, must-revalidate, proxy-revalidate"], "must-revalidate, proxy-revalidate"),
        ],
    )
    def test_what_lets_nobody_keep_it_stays_beside_ours(self, values: list[str], kept: str) -> None:
        """W-15, V-16: that a proxy must not change the page is none of our business."""
        headers = lines("Cache-Control", *values)
        forbid_shared_caching(headers)

        assert headers == [("Cache-Control", f"private, no-store, {kept}")]

    @pytest.mark.parametrize(
        ("name", "value"),
        [
            ("CDN-Cache-Control", "max-age=600"),
            ("cloudflare-cdn-cache-control", "public"),
            ("X-LiteSpeed-Cache-Control", "no-store, must-understand"),
            ("Surrogate-Control", "max-age=600"),
            ("Edge-Control", "!no-store, max-age=1d"),
            ("X-Accel-Expires", "600"),
            ("x-accel-expires", "@1900000000"),
            ("X-Accel-Expires", "X0"),
            ("X-Accel-Expires", "0\xa0"),
        ],
    )
    @pytest.mark.parametrize("own", ["no-store", "public", None])
    def test_what_lets_some_caches_alone_keep_it_goes(self, name: str, value: str, own: str | None) -> None:
        """V-16: a cache that is addressed by name (RFC 9213) would not look at Cache-Control."""
        headers = [(name, value)] + ([] if own is None else [("Cache-Control", own)])
        forbid_shared_caching(headers)

        assert headers == [("Cache-Control", own if own == "no-store" else "private, no-store")]

    @pytest.mark.parametrize(
        "header", [("CDN-Cache-Control", "no-store"), ("Edge-Control", "no-store"), ("X-Accel-Expires", " 0")]
    )
    def test_what_forbids_it_to_some_caches_stays(self, header: tuple[str, str]) -> None:
        """V-16: such a cache may have been told to look at nothing else."""
        headers = [header]
        forbid_shared_caching(headers)

        assert headers == [header, ("Cache-Control", "private, no-store")]

    def test_expires_goes_with_what_let_the_response_be_kept(self) -> None:
        """V-16: caches that know no Cache-Control heed it (RFC 9111, 5.3); what the application kept private is its own."""
        expires = ("Expires", "Thu, 01 Jan 2099 00:00:00 GMT")
        alone, shared, private = [expires], [expires, ("Cache-Control", "public")], [expires, ("Cache-Control", "private")]
        for headers in (alone, shared, private):
            forbid_shared_caching(headers)

        assert alone == shared == [("Cache-Control", "private, no-store")]
        assert private == [expires, ("Cache-Control", "private")]


def sent_by_wsgiref(status: str, headers: Headers) -> bytes:
    """Return what the server of the standard library sends."""

    def app(environ: Any, start_response: Any) -> list[bytes]:
        start_response(status, headers)
        return [b""]

    out = BytesIO()
    handler = SimpleHandler(BytesIO(), out, StringIO(), an_environ())
    handler.run(app)
    return out.getvalue()


class TestWhatCannotBeSent:
    @pytest.mark.parametrize("status", ["200 OK", "404 Not Found", "299 ", "200 Fran\xe7ais", "101 Switching Protocols"])
    @pytest.mark.parametrize(
        "headers",
        [
            [],
            [("Content-Type", "text/html"), ("Content-Length", "5")],
            [("X-Request-ID", "1"), ("x!#$%&'*+-.^_`|~9", " a\tb ")],
            [("Content-Disposition", 'attachment; filename="na\xefve.txt"'), ("X-Empty", "")],
        ],
    )
    def test_the_rest_is_let_through(self, status: str, headers: Headers) -> None:
        """Promise 6: and a server does send it."""
        refuse_unsendable(status, headers)

        assert sent_by_wsgiref(status, headers).startswith(f"HTTP/1.0 {status}\r\n".encode("latin-1"))

    @pytest.mark.parametrize(
        "status", ["200", "", "OK", "20 OK", "2000 OK", "099 No", "200 O\nK", "200 \u540d", b"200 OK", None]
    )
    def test_a_status_is_three_digits_a_blank_and_a_reason(self, status: Any) -> None:
        """Promise 6, PEP 3333."""
        with pytest.raises(ValueError, match=r"the status .* cannot be sent: write three digits, a blank and a reason"):
            refuse_unsendable(status, [("Content-Type", "text/html")])

    def test_there_is_one_length(self) -> None:
        """RFC 9110, 8.6: whoever reads the other one takes the next response for a part of this one."""
        with pytest.raises(ValueError, match="'Content-Length' cannot be sent: it is one number"):
            refuse_unsendable("200 OK", [("Content-Length", "5"), ("Content-Length", "6")])
        refuse_unsendable("200 OK", [("Content-Length", "5"), ("Content-Length", "5")])

    @pytest.mark.parametrize(
        ("header", "message"),
        [
            (("Location", "/\u540d"), "the header 'Location' cannot be sent: '\u540d' in its value"),
            (("X A", "b"), "the header 'X A' cannot be sent: that is no field name"),
            (("X-A:", "b"), "the header 'X-A:' cannot be sent"),
            (("", "b"), "the header '' cannot be sent"),
            (("X-A\n", "b"), "no field name"),
            (("X-\xe4", "b"), "no field name"),
            ((b"X-A", "b"), "no field name"),
            (("X-A", "b\r\nc"), r"the header 'X-A' cannot be sent: '\\r' in its value"),
            (("ETag", "b\x00"), r"the header 'ETag' cannot be sent: '\\x00' in its value"),
            (("ETag", "b\x7f"), "the header 'ETag' cannot be sent"),
            (("Vary", None), "the header 'Vary' cannot be sent: its value is NoneType, not str"),
            (("Content-Length", 5), "the header 'Content-Length' cannot be sent: its value is int, not str"),
            (("Content-Length", "abc"), "the header 'Content-Length' cannot be sent: it is one number"),
            (("Content-Length", ""), "the header 'Content-Length' cannot be sent: it is one number"),
            (("content-length", "-5"), "the header 'Content-Length' cannot be sent: it is one number"),
            ("ab", "a header is a tuple of name and value"),
            (("Connection", "close"), "the header 'Connection' cannot be sent: it is for the server to set"),
            (("transfer-encoding", "chunked"), "it is for the server to set"),
            (("X-A", "b", "c"), "a header is a tuple of name and value"),
            (None, "a header is a tuple of name and value"),
        ],
    )
    def test_the_error_names_the_header(self, header: Any, message: str) -> None:
        """Promise 6, W-27, W-28: among others that are right; its value, which may be a secret, is not shown."""
        with pytest.raises(ValueError, match=message):
            refuse_unsendable("200 OK", [("Content-Type", "text/html"), header, ("X-Last", "1")])

    @pytest.mark.parametrize("header", [("Vary", "b", "c"), ("Vary",), ()])
    def test_a_header_among_common_ones_is_a_pair_too(self, header: Any) -> None:
        """W-27: whatever the others are."""
        with pytest.raises(ValueError, match="a header is a tuple of name and value"):
            refuse_unsendable("200 OK", [("Content-Type", "text/html"), header, ("Server", "x")])

    def test_what_changes_the_protocol_has_its_headers(self) -> None:
        """RFC 9110, 15.2.2: servers that let an application upgrade a connection ask it for them."""
        refuse_unsendable("101 Switching Protocols", [("Connection", "upgrade"), ("Upgrade", "websocket")])

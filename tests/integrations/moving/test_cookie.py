"""Which cookie of another library opens a session that is to be carried over, and what becomes of it."""

import hmac
import json
from collections.abc import Callable
from datetime import date, datetime, timedelta, timezone
from typing import Any

import freezegun
import pytest
from itsdangerous import Signer

from session_middleware import ConfigurationError, Lifetime, MemoryStore, SessionMiddleware, get_session
from session_middleware.integrations.moving import FromBeaker, FromDjango, FromFlaskSession
from session_middleware.tokens import Token
from tests.apps import list_app, visit
from tests.integrations.moving.sites import MemoryPlace, Site, the_line


class TestCookie:
    def test_only_one_cookie_is_believed(self) -> None:
        """Several of one name: which is meant cannot be told, and someone else may have set one."""
        reader = FromFlaskSession(MemoryPlace())
        one, other = "a" * 43, "b" * 43
        assert reader.find(f"session={one}; session={one}") is not None
        assert reader.find(f"session={one}; session={other}") is None

    @pytest.mark.parametrize("space", ["\xa0", "\x0b", "\x1f", "\u2000"])
    def test_odd_white_space_makes_no_cookie(self, space: str) -> None:
        """K-22."""
        assert FromFlaskSession(MemoryPlace()).find(f"{space}session={'a' * 43}") is None

    @pytest.mark.parametrize("header", [None, 7, "", "session", "session=", "x" * 70_000, "sessionx=" + "a" * 43])
    def test_anything_else_names_none(self, header: object) -> None:
        assert FromFlaskSession(MemoryPlace()).find(header) is None

    def test_a_quoted_value_and_junk_beside_it(self) -> None:
        """K-21: Beaker's cookies may be quoted."""
        found = FromBeaker(MemoryPlace()).find(f'a[]=1; beaker.session.id="{"a" * 32}" ; x={{"y":1}}')
        assert found is not None
        assert "a" * 32 not in repr(found)

    def test_what_opens_a_session_is_the_cookie_and_not_the_id(self) -> None:
        """Promise 11: the other store is full of ids, which open nothing there where cookies are signed, nor here."""
        one, other = "a" * 32, "b" * 32
        signed = Signer("flask's own", salt="flask-session", key_derivation="hmac").sign(one).decode()
        beaker = hmac.new(b"shh", one.encode(), "sha1").hexdigest() + one
        for reader, value in (
            (FromBeaker(MemoryPlace(), secret="shh"), beaker),
            (FromFlaskSession(MemoryPlace(), secret_key="flask's own"), signed),
        ):
            old, again = reader.find(f"{reader.name}={value}"), reader.find(f'x=1; {reader.name}="{value}"')
            assert old is not None
            assert again is not None
            assert old.secret == again.secret
            assert value in old.secret
            assert one not in repr(old)
        unsigned = [FromBeaker(MemoryPlace()), FromFlaskSession(MemoryPlace()), FromDjango(MemoryPlace(), secret_key="s")]
        found = [reader.find(f"{reader.name}={value}") for reader in unsigned for value in (one, other)]
        assert len({old.secret for old in found if old is not None}) == 6

    def test_the_deletion_has_the_attributes_of_the_old_cookie(self) -> None:
        reader = FromFlaskSession(MemoryPlace(), cookie_name="__Secure-s", cookie_path="/app", cookie_domain="a.example")
        assert reader.deletion_header().startswith("__Secure-s=; Path=/app; Domain=a.example; Secure; Max-Age=0; Expires=")

    @pytest.mark.parametrize(
        "wrong",
        [
            {"cookie_name": "a b"},
            {"cookie_name": None},
            {"cookie_path": "/;x"},
            {"cookie_path": "/\r\nX: 1"},
            {"cookie_path": "app"},
            {"cookie_domain": "a;b"},
            {"cookie_domain": "a\r\n"},
            {"cookie_domain": ""},
        ],
    )
    def test_what_cannot_be_a_cookie_does_not_start(self, wrong: dict[str, str]) -> None:
        """Promise 15."""
        with pytest.raises(ConfigurationError, match="of the old cookie"):
            FromBeaker(MemoryPlace(), **wrong)  # type: ignore[arg-type]

    @pytest.mark.parametrize(
        ("make", "message"),
        [
            (lambda: FromBeaker(MemoryPlace(), secret=""), "secret is empty"),
            (lambda: FromFlaskSession(MemoryPlace(), secret_key=b""), "secret_key is empty"),
            (lambda: FromFlaskSession(MemoryPlace(), secret_key=7), "secret_key is empty, or no text"),  # type: ignore[arg-type]
            (lambda: FromDjango(MemoryPlace(), secret_key=""), "secret_key is empty"),
            (lambda: FromDjango(MemoryPlace(), secret_key="s", fallback_keys=["t", ""]), "one of fallback_keys is empty"),
            (lambda: FromDjango(MemoryPlace(), secret_key="s", fallback_keys="abc"), "write a list"),
            (lambda: FromDjango(MemoryPlace(), secret_key="s", salt=""), "salt='': write a text"),
            (lambda: FromDjango(MemoryPlace(), secret_key="s", max_age=0), "max_age=0: write a time span"),
            (lambda: FromDjango(MemoryPlace(), secret_key="s", persistent="no"), "persistent='no'"),  # type: ignore[arg-type]
            (lambda: FromBeaker(MemoryPlace(), timeout=-1), "timeout=-1: write a time span"),
            (lambda: FromBeaker(MemoryPlace(), user_key=""), "user_key=''"),
            (lambda: FromBeaker(MemoryPlace(), plain_pickles="yes"), "plain_pickles='yes'"),  # type: ignore[arg-type]
            (lambda: FromFlaskSession(MemoryPlace(), key_prefix=None), "key_prefix=None"),  # type: ignore[arg-type]
            (lambda: FromFlaskSession(MemoryPlace), "place="),  # type: ignore[arg-type]
            (lambda: FromFlaskSession(7), "place=7"),  # type: ignore[arg-type]
            (lambda: FromFlaskSession("redis://localhost/0?prefix=s:"), "'prefix'.* key_prefix="),
            (lambda: FromFlaskSession("rediss://localhost/0?ssl_cert=x"), "redis-py does not know"),
            (lambda: FromBeaker(MemoryPlace(), carry_over_until="soon"), "write a date"),  # type: ignore[arg-type]
            (lambda: FromBeaker(MemoryPlace(), carry_over_until=datetime(2030, 1, 1)), "a datetime with a time zone"),
        ],
    )
    def test_options_that_cannot_work_do_not_start(self, make: Callable[[], object], message: str) -> None:
        """Promise 15: an empty key would let everybody sign cookies; what is misread would sign everybody out."""
        with pytest.raises(ConfigurationError, match=message):
            make()

    @pytest.mark.parametrize(
        ("reader", "value"),
        [
            (FromBeaker, lambda number: f"{'0' * 40}{number:032x}"),
            (FromFlaskSession, lambda number: f"{number:043}.{'x' * 27}"),
            (FromFlaskSession, lambda number: f"{number:043}"),
        ],
    )
    def test_old_cookies_that_all_open_nothing_are_told_of_once(
        self, reader: Callable[[Any], Any], value: Callable[[int], str], caplog: pytest.LogCaptureFixture
    ) -> None:
        """The key is missing, or the prefix is another: everybody is signed out, and the log says where to look."""
        old = reader(MemoryPlace())
        site = Site(old)
        for number in [1] * 30 + list(range(19)):
            site.visit(f"{old.name}={value(number)}")
        assert caplog.messages == []
        for number in range(40):
            site.visit(f"{old.name}={value(number)}")
        assert the_line(caplog).startswith(f"none of the first 20 cookies named {old.name} opens a session of {old.library}")
        assert "secret" in the_line(caplog)
        assert value(1) not in caplog.text

    @pytest.mark.parametrize("secret_key", [None, "flask's own"])
    def test_our_own_cookies_of_the_same_name_are_no_old_ones(
        self, secret_key: str | None, caplog: pytest.LogCaptureFixture
    ) -> None:
        """After a restart, when nobody has an old cookie any more."""
        site = Site(FromFlaskSession(MemoryPlace(), secret_key=secret_key))
        for _ in range(30):
            site.visit(f"session={Token.new().reveal()}")
        assert caplog.messages == []

    def test_once_one_has_opened_a_session_there_is_nothing_to_say(self, caplog: pytest.LogCaptureFixture) -> None:
        """Old cookies whose sessions have timed out are the usual thing."""
        site = Site(FromFlaskSession(MemoryPlace(**{f"session:{0:043}": b'{"_user_id": "1"}'})))
        for number in range(60):
            site.visit(f"session={number:043}")
        assert caplog.messages == []

    @pytest.mark.parametrize("user", ["user", "_user_id"])
    def test_sessions_that_say_of_no_user_are_told_of_once(self, user: str, caplog: pytest.LogCaptureFixture) -> None:
        """Users who stay signed in by a key of the application's own would not be found by ``revoke_all``."""
        told = json.dumps({user: "anna"}).encode()
        found = {f"session:{number:043}": b'{"cart": 1}' if number else told for number in range(45)}
        site = Site(FromFlaskSession(MemoryPlace(**found)))
        for number in range(45):
            site.visit(f"session={number:043}")
        if user == "_user_id":
            assert caplog.messages == []
        else:
            assert "give user_key= (it is '_user_id')" in the_line(caplog)

    def test_its_cookie_lasts_as_those_of_new_sessions_do(self) -> None:
        """Where every cookie outlives the browser, that of a session from before does, too."""
        place = MemoryPlace(**{f"session:{'a' * 43}": b'{"_user_id": "1"}'})
        app = list_app(lambda environ: get_session(environ).get("_user_id"))
        lifetime = Lifetime(persistent=True)
        moved = SessionMiddleware(app, MemoryStore(), carry_over=FromFlaskSession(place), lifetime=lifetime)
        (cookie,) = visit(moved, cookie=f"session={'a' * 43}").set_cookies
        assert "; Max-Age=86400;" in cookie

    @pytest.mark.parametrize("until", [date(2030, 1, 2), datetime(2030, 1, 2, 1, tzinfo=timezone(timedelta(hours=1)))])
    def test_nothing_is_carried_over_after_the_date(self, until: date) -> None:
        """Whoever can set a cookie for the host could sign a visitor in as himself, with a cookie that he has kept."""
        reader = FromFlaskSession(MemoryPlace(), carry_over_until=until)
        with freezegun.freeze_time("2030-01-01 23:59:59"):
            assert reader.find(f"session={'a' * 43}") is not None
        with freezegun.freeze_time("2030-01-02"):
            assert reader.find(f"session={'a' * 43}") is None

    @pytest.mark.parametrize(
        ("value", "user"),
        [("anna", "anna"), (7, "7"), ("", None), ("x" * 300, None), (True, None), ([], None), (None, None)],
    )
    def test_a_user_id_that_cannot_be_kept_is_none(self, value: object, user: str | None) -> None:
        assert FromBeaker(MemoryPlace(), user_key="u").user_of({"u": value}) == user

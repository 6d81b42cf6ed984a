"""A session that is too large, or has a value that cannot be stored, is refused, and stays as it was."""

from typing import Any

import pytest

from session_middleware import PayloadError, SessionManager, SessionTooLarge
from session_middleware.record import pack
from tests.core.records import TOKEN, Watched, an_envelope, packed, plant, stored, token_of


class TestAnOversizedSession:
    def test_it_is_refused_before_the_store_is_asked(self, watched: Watched) -> None:
        """F-L1, AC-21.1: the error says which key takes how much, and the stored session is as it was."""
        manager = SessionManager(watched)
        token = token_of(stored(manager, {"cart": ["tea"], "name": "alice"}))
        before = watched.load(token.id)
        watched.writes.clear()
        session = manager.open(token)
        session["cart"] = ["x" * 300_000]
        session["note"] = "y" * 1_000

        with pytest.raises(SessionTooLarge) as caught:
            manager.commit(session)

        assert watched.writes == []
        assert watched.load(token.id) == before
        assert manager.open(token)["cart"] == ["tea"]
        assert caught.value.limit == 256 * 1024
        assert 301_000 < caught.value.size < 301_300
        assert sorted(caught.value.by_key) == ["cart", "name", "note"]
        assert 300_000 < caught.value.by_key["cart"] < 300_030
        assert 1_000 < caught.value.by_key["note"] < 1_020
        message = (
            r"the session takes 301,\d\d\d bytes, over the limit of 262,144:"
            r" 'cart' 300,0\d\d, 'note' 1,0\d\d, 'name' \d"
        )
        assert_matches(message, str(caught.value))

    def test_a_new_one_is_refused_before_the_store_is_asked(self, watched: Watched) -> None:
        """F-L1: no record, no token."""
        session = SessionManager(watched, max_bytes=2048).open()
        session["cart"] = "x" * 2048

        with pytest.raises(SessionTooLarge, match="over the limit of 2,048: 'cart' 2,0"):
            SessionManager(watched, max_bytes=2048).commit(session)
        assert watched.writes == []
        assert list(watched.keys()) == []

    def test_the_limit_is_the_size_of_the_record(self, watched: Watched) -> None:
        """F-L1: a record of exactly the limit is stored and read, one byte more is refused."""
        manager = SessionManager(watched, max_bytes=2048)
        fits = 2048 - len(pack(an_envelope(), packed({"a": "x" * 1000}))) + 1000
        token = token_of(stored(manager, {"a": "x" * fits}))

        found = watched.load(token.id)
        assert found is not None
        assert len(found.value) == 2048
        assert manager.open(token)["a"] == "x" * fits
        with pytest.raises(SessionTooLarge):
            stored(manager, {"a": "x" * (fits + 1)})

    def test_an_oversized_record_is_not_read(self, watched: Watched, lines: list[str]) -> None:
        """F-L1, F-L2: what is over the limit was not written by this application."""
        plant(watched, pack(an_envelope(), packed({"a": "x" * 5000})))

        assert dict(SessionManager(watched, max_bytes=2048).open(TOKEN)) == {}
        assert len(lines) == 1
        assert "bytes are over the limit" in lines[0]

    def test_a_large_one_is_stored_with_a_warning(self, watched: Watched, lines: list[str]) -> None:
        """AC-21.1: from 64 KiB on, one line names the session and the sizes by key, largest first."""
        manager = SessionManager(watched)
        data = {f"key {number}": "x" * number for number in range(10)}
        token = token_of(stored(manager, data | {"cart": "x" * 65_500, "name": "y" * 700}))

        assert len(lines) == 1
        assert_matches(
            rf"session {token.id} takes 66,\d\d\d of max_bytes=262144:"
            r" 'cart' 65,5\d\d, 'name' 7\d\d, 'key 9' \d+, .*, and 4 more",
            lines[0],
        )
        assert token.reveal()[12:] not in lines[0]

    def test_one_that_is_not_large_gives_no_warning(self, watched: Watched, lines: list[str]) -> None:
        """AC-21.1."""
        stored(SessionManager(watched), {"cart": "x" * 65_000})

        assert lines == []


def assert_matches(pattern: str, text: str) -> None:
    with pytest.raises(ValueError, match=rf"\A{pattern}\Z"):
        raise ValueError(text)


class TestAValueThatCannotBeStored:
    @pytest.mark.parametrize("value", [object(), {"a": [1, "\ud800"]}, {1: {2: print}}], ids=["object", "text", "function"])
    def test_the_stored_session_is_unchanged(self, value: Any, watched: Watched) -> None:
        """Promise 9, F-A1: nothing is saved in part, and the store is not asked."""
        manager = SessionManager(watched)
        token = token_of(stored(manager, {"cart": ["tea"]}))
        before = watched.load(token.id)
        watched.writes.clear()
        session = manager.open(token)
        session["name"] = "alice"
        session["cart"].append(value)

        with pytest.raises(PayloadError, match=r"session\['cart'\]\[1\]"):
            manager.commit(session)
        assert watched.writes == []
        assert watched.load(token.id) == before

    @pytest.mark.parametrize("key", [1, None, b"key", ("a",)])
    def test_a_top_level_key_is_text(self, key: Any, watched: Watched) -> None:
        """F-A1: refused where it is set."""
        session = SessionManager(watched).open()
        with pytest.raises(PayloadError, match="keys at the top level are str"):
            session[key] = 1

    def test_an_atomic_change_is_refused_by_its_path(self, watched: Watched) -> None:
        """Promises 4 and 9: transact() names the value, and stores nothing."""
        manager = SessionManager(watched)
        token = token_of(stored(manager, {"cart": ["tea"]}))
        session = manager.open(token)

        with pytest.raises(PayloadError, match=r"session\['cart'\]\[1\]: object"):
            session.transact(lambda data: data["cart"].append(object()))
        assert manager.open(token)["cart"] == ["tea"]

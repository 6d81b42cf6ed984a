"""A sign-in locks nobody out: double clicks, and what a sign-in keeps."""

from typing import Any

import pytest

from session_middleware import Session
from session_middleware.notes import MOST_CURRENT
from tests.sites import DATA, USER, Site, login, regenerate, setting


class TestDoubleClick:
    """Promise 20: of any number of clicks on "sign in" each response carries a cookie that opens the one session."""

    @pytest.mark.parametrize("in_flight", [True, False])
    @pytest.mark.parametrize("user_id", [None, USER])
    def test_the_second_click_joins_the_first(self, site: Site, in_flight: bool, user_id: str | None) -> None:
        """Whether it came before the first was stored or a moment later; also when somebody signs in again."""
        token = site.begin({"cart": 1}, user_id=user_id)
        session = site.open(token)
        if in_flight:
            assert len(session) == 1
        first = site.follow(token, login(USER, theirs=1))
        login(USER, mine=1)(session)
        second = site.sent(session)

        assert first != second
        assert site.data(first) == site.data(second) == {"cart": 1, "theirs": 1, "mine": 1}
        assert site.user(first) == site.user(second) == USER
        assert [info.id for info in site.manager.sessions_of(USER)] == [token.id]
        assert not site.is_alive(token)

    def test_the_latest_four_clicks_have_tokens_that_open_it(self, site: Site) -> None:
        """The others were answered long ago, in the same browser."""
        token = site.begin({"cart": 1})
        clicks = [site.loaded(token) for _ in range(6)]
        tokens = []
        for click in clicks:
            login(USER)(click)
            tokens.append(site.sent(click))

        assert [site.is_alive(one) for one in tokens] == [False] * 2 + [True] * MOST_CURRENT

    def test_each_of_their_tokens_is_dead_once_the_secret_is_replaced(self, site: Site) -> None:
        """Promise 11: regenerate() and a re-authentication replace them all."""
        for act in (Session.regenerate, login(USER)):
            token = site.begin()
            session = site.loaded(token)
            first = site.follow(token, login(USER))
            login(USER)(session)
            second = site.sent(session)
            site.follow(first, act)

            assert not site.is_alive(first)
            assert not site.is_alive(second)

    def test_the_second_click_of_another_user_is_a_session_of_its_own(self, site: Site) -> None:
        """Promise 18: neither sees what the other's sign-in wrote, nor what the other had read."""
        token = site.begin({"cart": 1})
        session = site.loaded(token)
        first = site.follow(token, login("bob", theirs=1))
        login(USER, mine=1)(session)
        second = site.sent(session)

        assert site.data(first) == {"cart": 1, "theirs": 1}
        assert site.data(second) == {"mine": 1}
        assert first.id != second.id

    def test_the_second_click_after_the_user_was_signed_out_everywhere_is_a_session_of_its_own(self, site: Site) -> None:
        """Promise 19: the first ended, the second began after that."""
        token = site.begin({"cart": 1})
        first = site.follow(token, login(USER))
        site.manager.revoke_all(USER, keep=first.id)
        second = site.follow(token, login(USER))

        assert second.id != first.id
        assert site.is_alive(first)
        assert site.is_alive(second)

    def test_a_sign_in_with_a_secret_that_regenerate_has_replaced_is_a_session_of_its_own(self, site: Site) -> None:
        """Promise 18: who was left alone with an old secret gets nothing of the session, and who signs in is signed in."""
        token = site.begin({"cart": 1}, user_id=USER)
        new = site.follow(token, Session.regenerate)
        second = site.follow(token, login(USER, mine=1))

        assert second.id != new.id
        assert site.data(second) == {"mine": 1}
        assert site.data(new) == {"cart": 1}

    def test_a_sign_in_that_was_under_way_when_the_secret_was_replaced_goes_on(self, site: Site) -> None:
        """Promise 3: the anonymous session is the same, with what was written to it meanwhile."""
        token = site.begin({"cart": 1})
        session = site.loaded(token)
        other = site.follow(token, regenerate)
        login(USER, mine=1)(session)
        new = site.sent(session)

        assert site.data(new) == {"cart": 1, "regenerated": True, "mine": 1}
        assert not site.is_alive(other)
        assert len(site.live()) == 1

    def test_the_second_click_deletes_and_changes_what_it_itself_has(self, site: Site) -> None:
        """Promise 3: laid over the first, like any change."""
        token = site.begin({"cart": [1], "step": 1, "old": 1})
        session = site.loaded(token)
        first = site.follow(token, login(USER, step=2))
        session["cart"].append(2)
        del session["old"]
        login(USER)(session)
        site.sent(session)

        assert site.data(first) == {"cart": [1, 2], "step": 2}


class TestKeep:
    def test_of_an_anonymous_session_only_those_keys_go_on(self, site: Site) -> None:
        """A4-3.7.1: what was half done before is not taken for done by who is signed in."""
        token = site.begin({"cart": [1], "step": 2, "flag": True})
        session = site.open(token)
        session["before"] = 1
        session.login(USER, keep=("cart", "missing"))
        session["after"] = 1
        assert session == {"cart": [1], "after": 1}
        new = site.sent(session)

        assert site.data(new) == session == {"cart": [1], "after": 1}
        assert site.data(token) == {"cart": [1], "step": 2, "flag": True}

    @pytest.mark.parametrize("keep", [(), [], frozenset(), iter(())])
    def test_it_may_be_nothing(self, site: Site, keep: Any) -> None:
        """An empty session, signed in."""
        new = site.follow(site.begin(), lambda s: s.login(USER, keep=keep))

        assert site.data(new) == {}

    def test_what_others_have_written_meanwhile_stays_behind_too(self, site: Site) -> None:
        """Promise 18: it was written before the sign-in, by whoever."""
        token = site.begin({"cart": [1]})
        session = site.loaded(token)
        site.request(token, lambda s: s.update(cart=[1, 2], planted=1))
        session.login(USER, keep=("cart",))

        assert site.data(site.sent(session)) == {"cart": [1, 2]}

    def test_the_second_click_deletes_nothing_that_came_after_the_first(self, site: Site) -> None:
        """Promise 3: what is left behind is left behind once."""
        token = site.begin({"cart": [1], "visits": 7})
        second = site.loaded(token)
        first = site.follow(token, lambda s: s.login(USER, keep=("cart",)))
        site.request(first, setting("visits", 1))
        second.login(USER, keep=("cart",))
        site.sent(second)

        assert site.data(first) == second == {"cart": [1], "visits": 1}

    def test_who_signs_in_again_keeps_everything(self, site: Site) -> None:
        """It is the same user's session."""
        new = site.follow(site.begin(user_id=USER), lambda s: s.login(USER, keep=()))

        assert site.data(new) == DATA

    def test_one_key_is_written_as_a_tuple(self, site: Site) -> None:
        """Promise 15: a text is as many keys as it has letters; the error says what to write."""
        with pytest.raises(TypeError, match=r"write the keys as a tuple, such as \('cart',\)"):
            site.open().login(USER, keep="cart")

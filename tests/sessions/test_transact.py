"""``session.transact()``: an atomic read-modify-write, whatever else the request and others do."""

from collections.abc import Callable, MutableMapping
from typing import Any

import pytest

from session_middleware import ConflictError, Forget, PayloadError, Send, Session, StoreUnavailable
from tests.sites import DATA, Site, login, sent, setting

HOUR = 3600
DAY = 86400


class TestTransact:
    def test_it_stores_at_once_and_returns_what_the_function_returns(self, site: Site) -> None:
        """Promise 4: stored before it returns, whatever becomes of the request."""
        token = site.begin({"n": 1})
        session = site.open(token)

        assert session.transact(lambda data: data.pop("n")) == 1
        assert site.data(token) == {}
        assert "n" not in session
        assert site.calls(lambda: site.manager.commit(session, failed=True)) == []

    def test_it_is_stored_even_if_the_request_fails(self, site: Site) -> None:
        """Promises 4 and 16: with what the request had changed until then; what it changes afterwards goes."""
        token = site.begin({"n": 1})
        session = site.open(token)
        session["before"] = 1
        session.transact(lambda data: data.update(n=2))
        session["after"] = 1
        site.manager.commit(session, failed=True)

        assert site.data(token) == {"n": 2, "before": 1}

    def test_it_sees_what_is_stored_now_and_the_changes_of_the_request(self, site: Site) -> None:
        """Read your writes: the function sees both."""
        token = site.begin({"n": 1, "old": 1})
        session = site.loaded(token)
        site.request(token, setting("theirs", 1))
        session["mine"] = 1
        del session["old"]
        seen = session.transact(dict)

        assert seen == {"n": 1, "theirs": 1, "mine": 1}
        assert session == seen

    def test_what_the_request_has_changed_so_far_is_stored_with_it(self, site: Site) -> None:
        """One atomic step, in which nothing that the function has seen is missing."""
        token = site.begin({"n": 1, "list": [1], "old": 1})
        session = site.open(token)
        session["mine"] = 1
        session["list"].append(2)
        del session["old"]
        session.set_lifetime(idle=600)
        session.transact(lambda data: data.update(n=2))

        assert site.data(token) == session == {"n": 2, "list": [1, 2], "mine": 1}
        assert site.open(token).expires_at == site.clock() + 600
        assert site.calls(lambda: site.manager.commit(session)) == []

    def test_a_value_that_was_set_before_may_change_after_it(self, site: Site) -> None:
        """Promise 8: what the application has put there, and still holds, is looked at again."""
        token = site.begin({"n": 1})
        session = site.open(token)
        session["list"] = held = [1]
        session.transact(lambda data: data.update(n=2))
        held.append(2)
        site.manager.commit(session)

        assert site.data(token) == {"n": 2, "list": [1, 2]}

    def test_a_change_over_a_pending_one_is_stored(self, site: Site) -> None:
        """The same key, changed by the request and then by the function."""
        token = site.begin({"n": 1})
        session = site.open(token)
        session["n"] = 10
        session.transact(lambda data: data.update(n=data["n"] + 1))

        assert site.data(token) == {"n": 11}

    def test_it_is_tried_again_until_nobody_else_was_faster(self, site: Site) -> None:
        """Promise 4: no update is lost."""
        token = site.begin({"n": 0})
        session = site.open(token)
        seen: list[int] = []

        def add(data: MutableMapping[str, Any]) -> None:
            seen.append(data["n"])
            if len(seen) < 4:
                site.request(token, setting("n", len(seen) * 10))
            data["n"] += 1

        session.transact(add)

        assert seen == [0, 10, 20, 30]
        assert site.data(token) == {"n": 31}

    def test_two_in_a_row_both_count(self, site: Site) -> None:
        """Also when another request comes between."""
        token = site.begin({"n": 0})
        session = site.open(token)
        for _ in range(2):
            session.transact(lambda data: data.update(n=data["n"] + 1))
            site.request(token, lambda s: s.transact(lambda data: data.update(n=data["n"] + 1)))

        assert site.data(token) == {"n": 4}

    def test_values_that_did_not_change_stay_the_same_objects(self, site: Site) -> None:
        """Promise 8: what the application already holds is still what will be stored."""
        token = site.begin({"n": 1, "list": [1], "theirs": [1]})
        session = site.open(token)
        held, replaced = session["list"], session["theirs"]
        site.request(token, lambda s: s["theirs"].append(2))
        session.transact(lambda data: data.update(n=2))

        assert session["list"] is held
        assert session["theirs"] is not replaced
        held.append(2)
        site.manager.commit(session)
        assert site.data(token) == {"n": 2, "list": [1, 2], "theirs": [1, 2]}

    def test_it_sees_what_is_stored_now_also_if_it_changes_nothing(self, site: Site) -> None:
        """Promise 4: a question asked in one has the answer of that moment, not of when the request began."""
        token = site.begin({"n": 1})
        session = site.loaded(token)
        site.request(token, setting("n", 2))

        assert session.transact(lambda data: data["n"]) == 2
        assert session["n"] == 2
        assert site.calls(lambda: session.transact(dict)) == ["load"]

    def test_an_exception_inside_changes_nothing(self, site: Site) -> None:
        """It goes through to the caller, and neither the store nor the request's view has changed."""
        token = site.begin()
        session = site.open(token)

        def broken(data: MutableMapping[str, Any]) -> None:
            data.clear()
            raise ZeroDivisionError

        with pytest.raises(ZeroDivisionError):
            session.transact(broken)
        assert session == DATA
        assert site.manager.commit(session) is None
        assert site.data(token) == DATA

    def test_a_value_that_cannot_be_stored_changes_nothing(self, site: Site) -> None:
        """Promise 9: the error names the path."""
        token = site.begin()
        session = site.open(token)

        with pytest.raises(PayloadError, match=r"session\['cart'\]\[0\]\['price'\]: object"):
            session.transact(lambda data: data.update(cart=[{"price": object()}]))
        assert session == DATA
        assert site.data(token) == DATA

    def test_it_may_replace_what_was_set_before(self, site: Site) -> None:
        """What the application had put there is not there any more; what it holds is its own."""
        token = site.begin({"n": 1})
        session = site.open(token)
        session["list"] = held = [1]
        session["gone"] = [1]
        session.transact(lambda data: data.update(list=[2]) or data.pop("gone"))
        held.append(3)
        session["n"] = 2
        site.manager.commit(session)

        assert site.data(token) == {"n": 2, "list": [2]}

    def test_it_gets_a_mapping_of_values_that_are_decoded_when_they_are_touched(self, site: Site) -> None:
        """Promise 21: a counter beside large values costs what a counter costs."""
        token = site.begin({"n": 1, "large": ["x" * 1000] * 10})
        session = site.open(token)
        decoded = site.decoded(lambda: session.transact(lambda data: data.update(n=data["n"] + 1)))

        assert decoded == 1
        assert site.data(token)["n"] == 2

    def test_on_a_new_session_it_changes_the_data_like_any_other_code(self, site: Site) -> None:
        """There is nobody else yet to race with."""
        session = site.open()

        assert site.calls(lambda: session.transact(lambda data: data.update(n=1))) == []
        assert session == {"n": 1}
        assert site.data(site.sent(session)) == {"n": 1}

    def test_on_a_session_that_has_ended_it_sees_nothing_and_stores_nothing(self, site: Site) -> None:
        """Promise 5: nothing in flight brings it back, and the request goes on."""
        token = site.begin()
        session = site.loaded(token)
        site.request(token, Session.invalidate)

        assert session.transact(lambda data: data.setdefault("n", 5)) == 5
        assert session.transact(dict) == {}
        assert site.manager.commit(session) is None
        assert site.live() == []

    def test_on_a_session_that_has_expired_it_sees_nothing_and_stores_nothing(self, site: Site) -> None:
        """Promise 12: however slow the request was; nobody has signed in, so nothing is raised."""
        token = site.begin()
        session = site.loaded(token)
        site.clock.advance(HOUR)

        assert session.transact(dict) == {}
        assert site.live() == []

    def test_on_a_session_that_another_request_has_used_meanwhile_it_goes_on(self, site: Site) -> None:
        """Promise 3: what this request had loaded would have ended; the session has not."""
        token = site.begin({"n": 1})
        session = site.loaded(token)
        site.clock.advance(HOUR - 1)
        site.request(token, setting("theirs", 1))
        site.clock.advance(1)
        session.transact(lambda data: data.update(n=2))

        assert site.data(token) == {"n": 2, "theirs": 1}

    def test_it_gives_up_where_someone_has_signed_in_meanwhile(self, site: Site) -> None:
        """Promises 4 and 18: what they have is not for this request, and nothing is lost without a word."""
        token = site.begin({"n": 1})
        session = site.loaded(token)
        new = site.follow(token, login("alice"))

        with pytest.raises(ConflictError, match="someone signed in"):
            session.transact(lambda data: data.update(n=2))
        assert site.data(new) == {"n": 1}

    def test_it_gives_up_where_its_user_has_signed_in_again(self, site: Site) -> None:
        """Promise 18: a re-authentication is a boundary like a sign-in."""
        token = site.begin({"n": 1}, user_id="alice")
        session = site.loaded(token)
        new = site.follow(token, login("alice", private=1))

        with pytest.raises(ConflictError, match="someone signed in"):
            session.transact(lambda data: data.update(n=2))
        assert site.data(new) == {"n": 1, "private": 1}

    def test_it_goes_on_with_a_session_that_got_a_new_secret(self, site: Site) -> None:
        """Promise 3: the session is the same, so who had it before loses nothing."""
        token = site.begin({"n": 1})
        session = site.loaded(token)
        new = site.follow(token, Session.regenerate)
        session.transact(lambda data: data.update(n=2))

        assert site.data(new) == {"n": 2}
        assert site.manager.commit(session) is None

    def test_from_a_snapshot_it_raises(self, site: Site) -> None:
        """Promises 4 and 18: the secret from before the sign-in shows what was there, and gives nothing away twice."""
        token = site.begin({"n": 1})
        new = site.follow(token, login("alice", private=1))
        session = site.open(token)

        with pytest.raises(ConflictError, match="someone signed in meanwhile"):
            session.transact(lambda data: data.pop("n"))
        assert site.manager.commit(session) is None
        assert site.data(new) == {"n": 1, "private": 1}


class TestWithOtherActs:
    """It is stored at once, and with it what the request has asked for; the cookie goes out with the response."""

    @pytest.mark.parametrize("failed", [False, True])
    @pytest.mark.parametrize("act", [Session.regenerate, login("alice")])
    @pytest.mark.parametrize("user_id", [None, "alice"])
    def test_a_new_secret_is_stored_at_once_and_sent_with_the_response(
        self, site: Site, act: Callable[[Session], object], user_id: str | None, failed: bool
    ) -> None:
        """Promises 4 and 18: the old one is dead from then on, so the new one is sent even if the request fails."""
        token = site.begin({"n": 1}, user_id=user_id)
        session = site.open(token)
        act(session)
        session.transact(lambda data: data.update(n=2))
        assert not site.is_alive(token)
        assert session.tells
        session["after"] = 1
        new = sent(site.manager.commit(session, failed=failed))

        assert site.data(new) == ({"n": 2} if failed else {"n": 2, "after": 1})
        assert site.user(new) == session.user_id
        assert len(site.live()) == 1

    def test_a_sign_in_without_a_session_is_stored_at_once(self, site: Site) -> None:
        """A session of its own, with what the function and the request have set."""
        session = site.open()
        session["mine"] = 1
        session.login("alice")
        before = session.id
        session.transact(lambda data: data.update(n=1))

        assert [info.id for info in site.manager.sessions_of("alice")] == [before]
        assert site.data(site.sent(session)) == {"mine": 1, "n": 1}

    def test_a_sign_in_on_a_session_that_has_ended_is_stored_at_once_as_a_new_one(self, site: Site) -> None:
        """Promise 5: with what the function and the request have set, and nothing of what had ended."""
        token = site.begin({"old": 1})
        session = site.loaded(token)
        site.request(token, Session.invalidate)
        login("alice", mine=1)(session)

        assert session.transact(lambda data: data.setdefault("n", len(data))) == 1
        new = site.sent(session)
        assert new.id != token.id
        assert site.data(new) == {"mine": 1, "n": 1}

    def test_signing_in_as_somebody_else_ends_the_former_session_at_once(self, site: Site) -> None:
        """Promise 5: whatever comes afterwards, also a failure."""
        token = site.begin({"n": 1}, user_id="alice")
        session = site.open(token)
        session.login("bob")
        session.transact(lambda data: data.update(n=2))

        assert not site.is_alive(token)
        assert site.live() == [{"n": 2}]
        assert site.user(sent(site.manager.commit(session, failed=True))) == "bob"

    def test_if_the_former_session_cannot_be_ended_nothing_begins(self, site: Site) -> None:
        """Promise 7: and the end is tried again when the request ends."""
        token = site.begin({"n": 1}, user_id="alice")
        session = site.open(token)
        session.login("bob")
        site.store.fail("delete")
        with pytest.raises(StoreUnavailable):
            session.transact(lambda data: data.update(n=2))
        assert site.live() == [{"n": 1}]

        assert site.manager.commit(session, failed=True) == Forget()
        assert site.live() == []

    def test_a_changed_lifetime_is_stored_at_once_and_the_cookie_sent_again(self, site: Site) -> None:
        """The same token, with the attributes that it has now."""
        token = site.begin({"n": 1})
        session = site.open(token)
        session.set_lifetime(persistent=True)
        session.transact(lambda data: data.update(n=2))
        assert site.open(token).persistent
        verdict = site.manager.commit(session, failed=True)

        assert isinstance(verdict, Send)
        assert (verdict.token, verdict.max_age) == (token, DAY)

    def test_a_regenerate_gives_way_if_another_request_was_faster(self, site: Site) -> None:
        """Promise 11: two responses never name two tokens of one session, of which one is dead."""
        token = site.begin({"n": 1})
        session = site.loaded(token)
        new = site.follow(token, Session.regenerate)
        session.regenerate()
        session.transact(lambda data: data.update(n=2))

        assert site.manager.commit(session) is None
        assert site.data(new) == {"n": 2}

    def test_a_second_regenerate_after_it_gives_a_second_secret(self, site: Site) -> None:
        """Nobody but the browser that gets the response has ever seen either; the last one is sent."""
        token = site.begin({"n": 1})
        session = site.open(token)
        secrets = []
        for _ in range(2):
            session.regenerate()
            secrets.append(session.state and session.state.token)
            session.transact(lambda data: data.update(n=data["n"] + 1))
        new = site.sent(session)

        assert new == secrets[1] != secrets[0]
        assert site.data(new) == {"n": 3}

    def test_what_is_asked_for_after_it_waits_for_the_end_of_the_request(self, site: Site) -> None:
        """Promise 16: a failed request changes nothing that was not stored before."""
        token = site.begin({"n": 1})
        session = site.open(token)
        session.transact(lambda data: data.update(n=2))
        session.regenerate()

        assert site.manager.commit(session, failed=True) is None
        assert site.data(token) == {"n": 2}

    def test_an_end_after_it_is_an_end(self, site: Site) -> None:
        """Promise 5: of what it has stored, too; the token that it has made is not sent."""
        token = site.begin({"n": 1})
        session = site.open(token)
        login("alice")(session)
        session.transact(lambda data: data.update(n=2))
        session.invalidate()

        assert site.manager.commit(session) == Forget()
        assert site.live() == []

    @pytest.mark.parametrize("act", [Session.regenerate, login("alice")])
    def test_a_token_that_is_dead_before_the_response_starts_is_not_sent(
        self, site: Site, act: Callable[[Session], object]
    ) -> None:
        """A session that was revoked meanwhile, and that the request finds gone: no cookie."""
        token = site.begin({"n": 1})
        session = site.open(token)
        act(session)
        session.transact(lambda data: data.update(n=2))
        site.manager.revoke(session.id)
        session["after"] = 1

        assert site.manager.commit(session) is None
        assert site.live() == []

    def test_one_on_a_sign_in_that_is_revoked_meanwhile_returns_and_leaves_nothing(self, site: Site) -> None:
        """Promise 19: the sign-in began before the user was signed out everywhere."""
        session = site.open(site.begin({"n": 1}))
        session.login("alice")
        site.manager.revoke_all("alice")

        assert session.transact(lambda data: data.pop("n")) == 1
        assert session.transact(dict) == {}
        session["after"] = 1
        assert site.manager.commit(session) is None
        assert site.live() == []

    def test_a_sign_in_is_tried_again_until_nobody_else_was_faster(self, site: Site) -> None:
        """Promise 4: the function sees what was written to the anonymous session meanwhile."""
        token = site.begin({"n": 0})
        session = site.open(token)
        session.login("alice")
        seen: list[int] = []

        def add(data: MutableMapping[str, Any]) -> None:
            seen.append(data["n"])
            if len(seen) < 4:
                site.request(token, setting("n", len(seen) * 10))
            data["n"] += 1

        session.transact(add)

        assert seen == [0, 10, 20, 30]
        assert site.data(site.sent(session)) == {"n": 31}

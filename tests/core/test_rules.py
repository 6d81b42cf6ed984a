"""Secrets and eras: what a token opens, and what each act makes of a record. The rules are those of the design, restated."""

from itertools import product

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from session_middleware import MemoryStore, Record, Send, SessionManager, rules
from session_middleware.notes import Mark, Tombstone, pack_mark, pack_tombstone
from session_middleware.record import Envelope, Kind, Previous, unpack
from session_middleware.rules import OVERLAP, WINDOW, Opens
from session_middleware.testing import FakeClock
from session_middleware.tokens import Token
from tests.core.eras import (
    HOUR,
    NOTHING,
    NOW,
    RENEWED,
    REPLACED,
    REPLAY,
    SESSION,
    SIGNED_IN,
    SNAPSHOT,
    an_envelope,
    p,
    previous,
    proof,
)

FAMILY = b"family"


def moment(seconds: float) -> float:
    return NOW + seconds


class TestWhatATokenOpens:
    @pytest.mark.parametrize("current", ["c", "bc", "abc", "cdef"])
    @pytest.mark.parametrize("after", [-1e9, -1, 0, 1, 10, 30, 1e9])
    def test_a_current_secret_opens_the_session(self, current: str, after: float) -> None:
        """Rule 2: each of them, whatever its age."""
        envelope = an_envelope(current, "x:renewed y:signed-in@0 z:replaced@0")

        assert {rules.opens(envelope, p(name), moment(after)) for name in current} == {SESSION}

    @pytest.mark.parametrize("after", [-1e9, 0, 10, 30, 1e9])
    def test_a_renewed_one_opens_it_until_a_later_one_has_come(self, after: float) -> None:
        """Rule 3: the response with the new one may be lost, for how long ever."""
        assert rules.opens(an_envelope("c", "a:renewed b:renewed"), p("a"), moment(after)) is SESSION
        assert rules.opens(an_envelope("c", "a:renewed b:renewed"), p("b"), moment(after)) is SESSION

    @pytest.mark.parametrize(
        ("after", "opens"), [(0, SESSION), (1, SESSION), (29.999, SESSION), (30, REPLAY), (31, REPLAY), (1e9, REPLAY)]
    )
    def test_and_for_half_a_minute_more(self, after: float, opens: Opens) -> None:
        """Rule 3: for parallel and slow requests; then nothing, and it is a replay."""
        assert OVERLAP == 30
        assert rules.opens(an_envelope("c", "a:renewed@0 b:renewed"), p("a"), moment(after)) is opens
        assert rules.opens(an_envelope("c", "a:renewed@0 b:renewed"), p("b"), moment(after)) is SESSION

    @pytest.mark.parametrize("kind", ["signed-in", "replaced"])
    @pytest.mark.parametrize(
        ("after", "opens"), [(0, SNAPSHOT), (1, SNAPSHOT), (9.999, SNAPSHOT), (10, NOTHING), (11, NOTHING), (1e9, NOTHING)]
    )
    def test_one_that_was_replaced_opens_the_snapshot_for_a_moment(self, kind: str, after: float, opens: Opens) -> None:
        """Rule 4: ten seconds, for the second click and the images of the page; then nothing."""
        assert WINDOW == 10
        assert rules.opens(an_envelope("c", f"a:renewed b:{kind}@0"), p("b"), moment(after)) is opens

    @pytest.mark.parametrize("kind", ["signed-in", "replaced"])
    def test_one_that_was_replaced_at_no_time_opens_nothing(self, kind: str) -> None:
        """Rule 5: nobody writes that."""
        assert rules.opens(an_envelope("c", f"a:{kind}"), p("a"), NOW) is NOTHING

    @pytest.mark.parametrize("proof", [p("u"), b"", b"c" * 15, b"c" * 17, p("C")])
    def test_any_other_opens_nothing(self, proof: bytes) -> None:
        """Rule 5: as an unknown token."""
        for envelope in (an_envelope("c", "a:renewed b:signed-in@0 d:replaced@0"), an_envelope("", "")):
            assert rules.opens(envelope, proof, NOW) is NOTHING

    def test_no_record_opens_nothing(self) -> None:
        """Rule 1: none, an expired one, one that has ended, a mark; and nothing of it is adopted."""
        store, clock = MemoryStore(), FakeClock()
        manager = SessionManager(store, clock=clock)
        session = manager.open()
        session["name"] = "value"
        verdict = manager.commit(session)
        assert isinstance(verdict, Send)
        expiring, ended, marked, absent = verdict.token, Token.new(), Token.new(), Token.new()
        until = int(clock()) + 99
        store.create(ended.id, Record(pack_tombstone(), until, None))
        store.create(marked.id, Record(pack_mark(Mark((("A" * 12, None),), until)), until, None))
        assert manager.open(expiring)["name"] == "value"
        clock.advance(HOUR)

        for token in (expiring, ended, marked, absent):
            opened = manager.open(token)
            assert opened.is_new
            assert dict(opened) == {}
            opened["name"] = "another"
            stored = manager.commit(opened)
            assert isinstance(stored, Send)
            assert stored.token.id != token.id
        found = store.load(ended.id)
        assert found is not None
        assert unpack(found.value) == Tombstone()


class TestUse:
    @given(st.floats(-1e6, 1e6))
    def test_it_goes_forward_only(self, seconds: float) -> None:
        """A clock that is behind takes nothing back; nothing else changes."""
        envelope = an_envelope("c", "a:renewed", last_seen_at=NOW)

        assert rules.used(envelope, moment(seconds)) == envelope._replace(last_seen_at=max(NOW, moment(seconds)))
        assert rules.used(envelope, NOW) is rules.used(envelope, moment(-1)) is envelope

    @pytest.mark.parametrize(
        ("after", "stays"), [(-1, True), (0, True), (9.999, True), (10, False), (11, False), (1e6, False)]
    )
    def test_a_snapshot_goes_when_its_time_is_over(self, after: float, stays: bool) -> None:
        """Nobody can open it any more, so the record has room for something else."""
        envelope = signed_in(an_envelope())
        used = rules.used(envelope, moment(after))

        assert used.snapshot == (b"snapshot" if stays else b"")
        assert used == envelope._replace(last_seen_at=max(NOW - HOUR, moment(after)), snapshot=used.snapshot)


class TestNote:
    """When a secret comes, those that it renewed have half a minute left."""

    @pytest.mark.parametrize(
        ("before", "came", "after"),
        [
            ("", "c", ""),
            ("a:renewed", "a", "a:renewed"),
            ("a:renewed", "c", "a:renewed@0"),
            ("a:renewed@-5", "c", "a:renewed@-5"),
            ("a:renewed b:renewed", "a", "a:renewed b:renewed"),
            ("a:renewed b:renewed", "b", "a:renewed@0 b:renewed"),
            ("a:renewed b:renewed", "c", "a:renewed@0 b:renewed@0"),
            ("a:renewed@-5 b:renewed", "b", "a:renewed@-5 b:renewed"),
            ("a:renewed@-5 b:renewed", "c", "a:renewed@-5 b:renewed@0"),
            ("a:renewed@-5 b:renewed@-3", "a", "a:renewed@-5 b:renewed@-3"),
            ("a:renewed b:renewed d:renewed", "b", "a:renewed@0 b:renewed d:renewed"),
            ("a:renewed b:renewed d:renewed", "d", "a:renewed@0 b:renewed@0 d:renewed"),
            ("a:signed-in@-5 b:renewed", "c", "a:signed-in@-5 b:renewed@0"),
            ("a:replaced@-5 b:signed-in@-5", "c", "a:replaced@-5 b:signed-in@-5"),
        ],
    )
    def test_every_earlier_one_gets_its_time_once(self, before: str, came: str, after: str) -> None:
        """Those issued before the one that came, and no later ones; the first time counts."""
        envelope = an_envelope("c", before)
        noted = rules.noted(envelope, p(came), NOW)

        assert noted == an_envelope("c", after)
        assert (noted is envelope) == (before == after)
        assert rules.noted(noted, p(came), moment(5)) is noted

    def test_a_session_that_was_never_renewed_needs_none(self) -> None:
        """Nothing is written for it: the envelope is the same object, whatever came."""
        for envelope in (an_envelope(), an_envelope("abc"), an_envelope("c", "a:signed-in@-5 b:replaced@-1")):
            for came in "cab":
                assert rules.noted(envelope, p(came), NOW) is envelope


class TestRenewal:
    @pytest.mark.parametrize(
        ("before", "came", "due"),
        [
            ("", "c", True),
            ("a:renewed", "a", True),
            ("a:renewed", "c", True),
            ("a:renewed b:renewed", "a", True),
            ("a:renewed b:renewed", "b", True),
            ("a:renewed@-5", "a", False),
            ("a:renewed@-5", "c", True),
            ("a:signed-in@-5", "a", False),
            ("a:replaced@-5", "a", False),
            ("", "u", False),
        ],
    )
    def test_it_is_due_by_the_latest_that_has_come(self, before: str, came: str, due: bool) -> None:
        """A current one, or a renewed one whose successor was never used; so long after the current one was issued."""
        envelope = an_envelope("c", before, issued_at=moment(-60))

        assert rules.renewal_is_due(envelope, p(came), NOW, 60) == due
        assert not rules.renewal_is_due(envelope, p(came), moment(-0.001), 60)
        assert rules.renewal_is_due(envelope, p(came), moment(1e6), 60) == due

    def test_it_is_never_due_where_it_is_off(self) -> None:
        """Nobody has asked for it."""
        assert not rules.renewal_is_due(an_envelope(issued_at=0.0), p("c"), NOW, None)

    @pytest.mark.parametrize(
        ("current", "before", "after"),
        [
            ("c", "", "c:renewed"),
            ("c", "b:renewed", "b:renewed c:renewed"),
            ("c", "a:renewed b:renewed", "a:renewed b:renewed c:renewed"),
            ("c", "a:renewed b:renewed d:renewed", "a:renewed b:renewed c:renewed"),
            ("c", "a:renewed@-5 b:renewed d:renewed", "b:renewed d:renewed c:renewed"),
            ("c", "a:renewed b:renewed@-5 d:renewed", "a:renewed d:renewed c:renewed"),
            ("c", "a:signed-in@-5 b:replaced@-5 d:renewed", "b:replaced@-5 d:renewed c:renewed"),
            ("cd", "", "c:renewed d:renewed"),
            ("cdef", "", "c:renewed d:renewed f:renewed"),
            ("cdef", "a:signed-in@-5 b:renewed", "b:renewed c:renewed f:renewed"),
            ("cd", "a:signed-in@-50 b:signed-in@-5", "b:signed-in@-5 c:renewed d:renewed"),
        ],
    )
    def test_the_old_ones_work_until_the_new_one_is_used(self, current: str, before: str, after: str) -> None:
        """Of too many those go first whose time has come, then the last but one: never the first that was renewed."""
        envelope = an_envelope(current, before, user_id="alice", era=3, snapshot=b"snapshot")
        renewed = rules.renewed(envelope, p("n"), FAMILY, NOW)

        assert renewed == envelope._replace(current=(p("n"),), issued_at=NOW, previous=previous(after), family=FAMILY)
        assert rules.renewed(renewed, p("m"), b"FAMILY", NOW).family == FAMILY, "of a double click the first one counts"


class TestRegenerate:
    @pytest.mark.parametrize(
        ("current", "before", "after"),
        [
            ("c", "", "c:replaced@0"),
            ("cd", "", "c:replaced@0 d:replaced@0"),
            ("c", "a:renewed b:renewed", "a:replaced@0 b:replaced@0 c:replaced@0"),
            ("c", "a:renewed@-29.9 b:renewed", "a:replaced@0 b:replaced@0 c:replaced@0"),
            ("c", "a:signed-in@-5", "a:signed-in@-5 c:replaced@0"),
            ("c", "a:replaced@-5", "a:replaced@-5 c:replaced@0"),
            ("c", "a:renewed b:renewed d:renewed", "b:replaced@0 d:replaced@0 c:replaced@0"),
            ("cdef", "a:signed-in@-5", "d:replaced@0 e:replaced@0 f:replaced@0"),
        ],
    )
    def test_all_others_are_dead_at_once(self, current: str, before: str, after: str) -> None:
        """Current and renewed ones are replaced; snapshot and family are none; nothing else changes, and no timeout."""
        envelope = an_envelope(current, before, user_id="alice", era=3, mark="m" * 12, snapshot=b"snapshot", family=FAMILY)
        regenerated = rules.regenerated(envelope, p("n"), NOW)

        assert regenerated == envelope._replace(
            current=(p("n"),), issued_at=NOW, previous=previous(after), snapshot=b"", family=None
        )
        assert regenerated.expires_at == envelope.expires_at

    @pytest.mark.parametrize(
        ("before", "came", "may"),
        [
            ("", "c", True),
            ("", "d", True),
            ("a:renewed", "a", True),
            ("a:renewed@-5", "a", True),
            ("a:renewed@-50", "a", True),
            ("a:replaced@-5", "a", False),
            ("a:signed-in@-5", "a", False),
            ("", "u", False),
        ],
    )
    def test_it_goes_on_with_a_secret_that_is_in_service(self, before: str, came: str, may: bool) -> None:
        """It beats a renewal, and its time may run out while the request runs; it does not beat another of its kind."""
        assert rules.in_service(an_envelope("cd", before), p(came)) == may

    @pytest.mark.parametrize("since", [30, 31, 1e6])
    def test_nor_does_one_that_had_had_its_time(self, since: float) -> None:
        """A request that is under way with it takes the session from nobody who has a new secret."""
        envelope = an_envelope("c", f"a:renewed@{-since} b:renewed")
        for after, opens in ((rules.regenerated(envelope, p("n"), NOW), REPLAY), (signed_in(envelope), NOTHING)):
            assert not any(rules.in_service(after, p(name)) for name in "abc")
            assert rules.opens(after, p("a"), NOW) is opens


def signed_in(envelope: Envelope, fresh: str = "n", now: float = NOW) -> Envelope:
    return rules.signed_in(envelope, "alice", "m" * 12, p(fresh), now, b"snapshot")


class TestSignIn:
    @pytest.mark.parametrize(
        ("current", "before", "after"),
        [
            ("c", "", "c:signed-in@0"),
            ("c", "a:renewed b:renewed", "a:signed-in@0 b:signed-in@0 c:signed-in@0"),
            ("c", "a:renewed@-29.9", "a:signed-in@0 c:signed-in@0"),
            ("c", "a:replaced@-5 b:signed-in@-5", "a:replaced@-5 b:signed-in@-5 c:signed-in@0"),
            ("cd", "a:signed-in@-5 b:signed-in@-4", "b:signed-in@-4 c:signed-in@0 d:signed-in@0"),
        ],
    )
    @pytest.mark.parametrize("user_id", [None, "alice"])
    def test_it_is_a_new_era_with_one_secret(self, user_id: str | None, current: str, before: str, after: str) -> None:
        """User, mark, era + 1, both timeouts anew, the snapshot, no family; what opened it does so no more."""
        envelope = an_envelope(current, before, user_id=user_id, era=7, carried=True, persistent=True, family=FAMILY)

        assert signed_in(envelope) == envelope._replace(
            user_id="alice",
            mark="m" * 12,
            era=8,
            signed_in_at=NOW,
            current=(p("n"),),
            issued_at=NOW,
            previous=previous(after),
            snapshot=b"snapshot",
            family=None,
        )
        assert rules.used(signed_in(envelope), NOW).expires_at == NOW + 2 * HOUR

    def test_the_time_of_one_that_had_had_it_is_over_by_every_clock(self) -> None:
        """Promise 18: another machine's may be behind."""
        envelope = an_envelope("c", "a:renewed@-30")
        assert rules.opens(envelope, p("a"), moment(-1)) is SESSION
        for seconds in (-1e6, -31, -30, -1, 0, 1, 1e6):
            assert rules.opens(signed_in(envelope), p("a"), moment(seconds)) is NOTHING
            assert rules.opens(rules.regenerated(envelope, p("n"), NOW), p("a"), moment(seconds)) is REPLAY

    def test_of_one_that_had_had_its_time_nobody_is_told(self) -> None:
        """Promises 18 and 24: it is of before the boundary, so it is no replay, and learns of no end."""
        after = signed_in(an_envelope("c", "a:renewed@-30 b:renewed"))

        assert [previous.proof for previous in after.previous] == [p("b"), p("c")]
        assert rules.tombstone(after, "revoked", NOW).proofs == (p("n"),)

    @pytest.mark.parametrize("kind", ["renewed", "renewed@-5", "signed-in@-5", "replaced@-5", "current", "unknown"])
    @pytest.mark.parametrize("user_id", ["alice", "bob", None])
    @pytest.mark.parametrize("mark", [None, "m" * 12, "o" * 12])
    @pytest.mark.parametrize("found_mark", [None, "m" * 12])
    def test_a_second_click_is_one_that_the_first_took_out_of_service(
        self, kind: str, user_id: str | None, mark: str | None, found_mark: str | None
    ) -> None:
        """The record is this user's already, our secret stands there as taken by a sign-in, and the mark is the same."""
        before = "b:signed-in@-9" if kind in ("current", "unknown") else f"b:signed-in@-9 a:{kind}"
        envelope = an_envelope("a" if kind == "current" else "c", before, user_id=user_id, mark=found_mark, era=1)
        is_click = rules.is_second_click(envelope, "alice", mark, p("a"))

        assert is_click == (kind == "signed-in@-5" and user_id == "alice" and mark == found_mark)

    @pytest.mark.parametrize(
        ("current", "after"), [("", "n"), ("c", "cn"), ("bc", "bcn"), ("abc", "abcn"), ("abcd", "bcdn")]
    )
    def test_the_second_click_joins_the_first(self, current: str, after: str) -> None:
        """Promise 20: its secret is added, at most four there are; the era stays, and whatever else there is.

        None of them is renewed before the browser has decided which it keeps."""
        envelope = an_envelope(current, "x:signed-in@-1", user_id="alice", era=1, snapshot=b"snapshot")

        assert rules.joined(envelope, p("n"), NOW) == envelope._replace(current=tuple(map(p, after)), issued_at=NOW)
        later = envelope._replace(issued_at=NOW + 5)
        assert rules.joined(later, p("n"), NOW).issued_at == NOW + 5


class TestMark:
    """What signing a user out everywhere leaves for sign-ins that are under way."""

    def a_mark(self, *entries: tuple[str, str | None]) -> Mark:
        return Mark(entries, NOW)

    def test_the_newest_is_what_a_sign_in_remembers(self) -> None:
        """None, if the user never was signed out."""
        assert rules.newest(None) is None
        assert rules.newest(self.a_mark(("one", None))) == "one"
        assert rules.newest(self.a_mark(("one", None), ("two", "kept"))) == "two"

    @pytest.mark.parametrize("keep", [None, "kept"])
    def test_the_last_four_are_remembered(self, keep: str | None) -> None:
        """With the session that each of them kept; the expiry is that of the last."""
        mark, entries = None, []
        for number in range(7):
            entries.append((f"nonce {number}", keep))
            mark = rules.marked(mark, f"nonce {number}", keep, NOW + number)

            assert mark == Mark(tuple(entries[-4:]), NOW + number)

    @pytest.mark.parametrize(
        ("nonces", "remembered", "revoked"),
        [
            ("", None, False),
            ("", "a", False),
            ("a", None, True),
            ("a", "a", False),
            ("ab", "a", True),
            ("ab", "b", False),
            ("ab", None, True),
            ("ab", "u", True),
            ("abcd", "d", False),
            ("abcd", "a", True),
            ("abcd", "u", True),
            ("abcd", None, True),
        ],
    )
    def test_a_sign_in_is_revoked_by_what_came_after_it_began(
        self, nonces: str, remembered: str | None, revoked: bool
    ) -> None:
        """Promise 19: if none of them kept its session; a mark that has gone since revokes nothing."""
        mark = self.a_mark(*[(nonce, None) for nonce in nonces]) if nonces else None

        assert rules.revoked_since(mark, remembered, "our id") == revoked

    @pytest.mark.parametrize(
        ("kept", "remembered", "revoked"),
        [
            (["ours"], None, False),
            (["ours", "ours"], None, False),
            (["ours", "theirs"], None, True),
            (["theirs", "ours"], None, True),
            (["theirs", "ours"], 0, False),
            ([None, "ours", "ours"], 0, False),
            ([None, "ours", None], 0, True),
            (["ours", None, "ours"], 1, False),
            (["ours", "ours", "ours", "ours"], 0, False),
            (["ours", "ours", "ours", "ours"], None, True),
            (["ours", "ours", "ours", "ours"], "forgotten", True),
            (["ours", "ours", "ours"], "forgotten", False),
        ],
    )
    def test_unless_each_of_them_kept_its_session(
        self, kept: list[str | None], remembered: int | str | None, revoked: bool
    ) -> None:
        """Promise 19: in doubt it is revoked, for of four there may be others that are forgotten."""
        mark = self.a_mark(*[(f"nonce {number}", keep) for number, keep in enumerate(kept)])
        nonce = f"nonce {remembered}" if isinstance(remembered, int) else remembered

        assert rules.revoked_since(mark, nonce, "ours") == revoked

    @given(st.lists(st.sampled_from([None, "ours", "theirs"]), max_size=10), st.integers(0, 10))
    def test_no_revocation_is_missed(self, kept: list[str | None], began: int) -> None:
        """Promise 19: however many there are while one signs in."""
        mark: Mark | None = None
        seen: list[str | None] = [None]
        for number, keep in enumerate(kept):
            mark = rules.marked(mark, f"nonce {number}", keep, NOW)
            seen.append(rules.newest(mark))
        began = min(began, len(kept))
        since = kept[began:]
        revoked = rules.revoked_since(mark, seen[began], "ours")

        assert revoked or all(keep == "ours" for keep in since)
        assert not revoked or any(keep != "ours" for keep in since) or len(since) >= 4


entries_of_previous = st.builds(
    Previous,
    st.integers(0, 10**6).map(proof),
    st.sampled_from(Kind),
    st.none() | st.floats(-100, 0).map(moment),
)


class TestOverflow:
    @given(
        st.lists(entries_of_previous, max_size=3, unique_by=lambda before: before.proof),
        st.lists(st.integers(10**7, 10**8), min_size=1, max_size=4, unique=True),
        st.sampled_from(["renewed", "regenerated", "signed in"]),
    )
    def test_the_first_without_a_time_stays(self, before: list[Previous], current: list[int], act: str) -> None:
        """Of any record: what a browser is known to have is not what goes; the others keep their order."""
        envelope = an_envelope()._replace(previous=tuple(before), current=tuple(map(proof, current)))
        after = {
            "renewed": rules.renewed(envelope, p("n"), FAMILY, NOW),
            "regenerated": rules.regenerated(envelope, p("n"), NOW),
            "signed in": signed_in(envelope),
        }[act]
        names = [one.proof for one in after.previous]
        had_its_time = [one for one in before if one.kind is RENEWED and one.at is not None and NOW - one.at >= OVERLAP]
        told = [one for one in before if act != "signed in" or one not in had_its_time]
        order = [*[one.proof for one in told], *map(proof, current)]

        assert len(names) == min(3, len(order))
        assert names == sorted(names, key=order.index)
        assert after.current == (p("n"),)
        waiting = [
            one.proof for one in (*before, *[Previous(proof(name), RENEWED, None) for name in current]) if one.at is None
        ]
        if act == "renewed":
            assert waiting[0] in names
            assert names[-1] == order[-1]


def test_the_windows_are_those_of_the_design() -> None:
    """Whoever changes one of these changes what users were promised."""
    assert (OVERLAP, WINDOW) == (30, 10)
    assert [kind.value for kind in (RENEWED, SIGNED_IN, REPLACED)] == [1, 2, 3]


@pytest.mark.parametrize(("kind", "act"), list(product(["current", "renewed", "renewed@-5"], ["regenerate", "sign in"])))
@settings(max_examples=50)
@given(seconds=st.floats(-1e9, 1e9))
def test_no_earlier_secret_opens_the_session_at_any_time(kind: str, act: str, seconds: float) -> None:
    """Promise 18, for each kind of secret and each act that is a boundary: by every clock."""
    envelope = an_envelope("a") if kind == "current" else an_envelope("c", f"a:{kind}")
    after = signed_in(envelope) if act == "sign in" else rules.regenerated(envelope, p("n"), NOW)

    assert rules.opens(after, p("a"), moment(seconds)) is (SNAPSHOT if moment(seconds) - NOW < 10 else NOTHING)
    assert rules.opens(after, p("n"), moment(seconds)) is SESSION

"""Managers that seal, though their tests know nothing of it: ``pytest --sealed``.

Who lists sessions sees their users and values all the same, for the tests ask for them: what seals them here keeps each key.
"""

from collections.abc import Callable
from functools import wraps
from typing import Any

from session_middleware import SessionInfo, SessionManager
from session_middleware.directory import Directory
from session_middleware.record import Closed, Envelope, unpack_values
from session_middleware.seal import Opened, Seal, Sealer
from session_middleware.state import Found
from session_middleware.tokens import Names, Token, proof_function

SEAL = Seal(bytes(range(32)))
is_on = False

DIFFERENT = {
    "the user of a session that nobody has opened is not known": (
        "test_of_a_batch_each_end_is_told",
        "test_it_is_told_once",
        "test_a_thief_who_comes_after_the_victim_is_refused_and_told_of",
    ),
    "they know the id of a mark, or of the record of an alias, or what the store is asked for": (
        "test_one_whose_note_is_lost_ends",
        "test_two_clicks_of_which_one_began_before_share_no_session",
        "test_a_session_that_was_to_be_signed_in_and_was_not_is_none_of_them",
        "test_what_could_not_be_ended_is_ended_the_next_time",
        "test_ending_everybody_leaves_it",
        "test_it_is_remembered_for_a_day_that_all_were_ended",
        "test_the_alias_is_known_as_long_as_the_last_of_its_sessions",
        "test_the_record_of_an_alias_is_no_session",
        "test_one_that_is_stored_when_it_has_just_lost_its_place_ends",
        "test_one_that_signs_in_again_is_a_late_one",
        "test_what_is_gone_makes_room_first",
        "test_too_many_at_once_are_told",
        "test_the_id_of_a_mark_opens_nothing",
        "test_a_damaged_mark_is_written_anew",
        "test_the_mark_goes_after_a_day",
        "test_a_hundred_sessions_are_asked_for_at_once",
        "test_a_session_that_gets_a_new_secret_after_the_index_was_read_ends",
        "test_a_sign_in_outlives_no_revocation_that_began_after_it",
        "test_two_sign_ins_of_one_browser_do_not_either",
        "test_a_broken_step_is_seen",
    ),
    "without its secret nobody opens a session that is sealed": (
        "test_trusted_code_opens_a_session_by_its_id",
        "test_who_opens_by_the_id_can_change_the_secret",
        "test_what_was_opened_by_the_id_and_has_ended_is_not_saved",
        "test_opening_by_the_id_does_not_use_a_secret_up",
        "test_a_public_id_in_a_cookie_opens_nothing",
        "test_it_is_off_unless_asked_for",
        "test_a_session_is_found_by_its_id",
        "test_it_can_be_ended",
        "test_it_can_be_ended_while_it_gets_a_new_cookie",
        "test_anything_else_is_none",
    ),
    "they know the bytes of a record, or how many there are": (
        "test_a_record_over_the_limit_is_not_even_decoded",
        "test_a_value_that_cannot_be_read_is_absent_and_stays",
        "test_a_session_that_is_full_can_be_signed_in_regenerated_and_ended",
        "test_a_player_sees_a_store_that_does_otherwise",
    ),
}
"""Tests that ask for what a seal changes, by what that is."""


written: dict[bytes, tuple[Envelope, bytes]] = {}
"""What has been sealed here, by what has become of it."""


def names() -> Names:
    """Return what makes the names in the stores of these tests."""
    return SEAL.of("session", proof_function("session")) if is_on else Names("session")


def seal_all() -> None:
    """Have each manager seal that is made without a seal from now on."""
    global is_on
    make, close, info = SessionManager.__init__, Sealer.close, Directory._info
    is_on = True

    @wraps(make)
    def make_sealed(self: SessionManager, *args: Any, seal: Seal | None = None, **options: Any) -> None:
        make(self, *args, seal=seal or SEAL, **options)

    def close_and_remember(
        self: Sealer, envelope: Envelope, packed: bytes, opened: Opened, key: str, token: Token | None, now: float
    ) -> tuple[Envelope, Callable[[bytes], bytes], Opened]:
        clear, rest, stored = close(self, envelope, packed, opened, key, token, now)

        def remembered(before: bytes) -> bytes:
            tail = rest(before)
            written[tail] = envelope, packed
            return tail

        return clear, remembered, stored

    def info_of_opened(self: Directory, found: Found) -> SessionInfo:
        if isinstance(found.seal, Closed) and found.seal in written:
            envelope, packed = written[found.seal]
            found = found._replace(envelope=envelope, values=unpack_values(packed), seal=None)
        return info(self, found)

    SessionManager.__init__ = make_sealed  # type: ignore[method-assign]
    Sealer.close = close_and_remember  # type: ignore[method-assign]
    Directory._info = info_of_opened  # type: ignore[method-assign]

"""The package with one of its rules broken: does the search see it?

A mutant is a passage of one function, and what takes its place. Where the passage is not there any more, or not once, the
rule is to be found anew.
"""

import inspect
import textwrap
from collections.abc import Callable
from types import CodeType
from typing import Any, NamedTuple

from session_middleware import rules
from session_middleware.aliases import Aliases
from session_middleware.commits import Committer
from session_middleware.lifetime import touch_interval
from session_middleware.limit import Limit, beyond
from session_middleware.manager import SessionManager
from session_middleware.repository import Repository
from session_middleware.state import State
from session_middleware.values import Changes


class Mutant(NamedTuple):
    """``scenario`` is one that shows what is wrong."""

    scenario: str
    function: Callable[..., Any]
    passage: str
    instead: str
    meaning: str

    def code(self) -> CodeType:
        """Return the code of the function with the rule broken."""
        source = textwrap.dedent(inspect.getsource(self.function))
        if source.count(self.passage) != 1:
            raise ValueError(f"{self.function.__qualname__} has {self.passage!r} {source.count(self.passage)} times")
        broken = source.replace(self.passage, self.instead)
        made: dict[str, Any] = {}
        exec(compile(broken, inspect.getfile(self.function), "exec"), self.function.__globals__, made)
        code: CodeType = made[self.function.__name__].__code__
        return code


MUTANTS = {
    "alias_is_not_read_again": Mutant(
        "alias_and_sign_ins",
        Committer._revoked_meanwhile,
        'return "revoked" if self._aliases.has_revoked(login, key) else None',
        "return None",
        "login() does not read the alias again after its record is written",
    ),
    "alias_keeps_its_nonce": Mutant(
        "alias_and_sign_ins",
        Aliases._renew,
        "Alias(ids, new_id(), until)",
        "Alias(ids, None, until)",
        "revoke_alias() only ends what is noted",
    ),
    "alias_names_nobody": Mutant(
        "alias_and_a_crash",
        Committer._sign_in_there,
        "self._aliases.note(base.id, envelope)",
        "pass",
        "a session is stored before its alias names it",
    ),
    "alias_nonces_may_differ": Mutant(
        "alias_and_sign_ins",
        Committer._signed_in,
        "login.user_id, login.stamp",
        "login.user_id, login.mark",
        "sign-ins share a session whatever nonce they have read",
    ),
    "alias_ends_whatever_was_noted": Mutant(
        "alias_and_a_plain_sign_in",
        Repository._end,
        "not (only is None or only(found[0]))",
        "False",
        "revoke_alias() ends what is noted, whether it has the alias or not",
    ),
    "compare_user_instead_of_era": Mutant(
        "stolen_before_reauthentication",
        Committer._replace,
        "found.envelope.era != base.envelope.era",
        "found.envelope.user_id != base.envelope.user_id",
        "a write goes on if the user is the same",
    ),
    "no_second_read_of_the_mark": Mutant(
        "revoke_all_and_sign_ins",
        Committer._revoked_meanwhile,
        "if rules.revoked_since(self._sessions.mark(self._id_of_mark(login.user_id)), login.mark, key):",
        "if False:",
        "login() does not read the mark again after its record is written",
    ),
    "mark_is_written_last": Mutant(
        "revoke_all_and_sign_ins",
        SessionManager.revoke_all,
        """    for mark in self._names.marks(user_id):
        self._sessions.leave_mark(mark, kept)
    return self._sessions.end_all((key for key in found if key != keep), "signed_out_everywhere", progress)
""",
        """    ended = self._sessions.end_all((key for key in found if key != keep), "signed_out_everywhere", progress)
    for mark in self._names.marks(user_id):
        self._sessions.leave_mark(mark, kept)
    return ended
""",
        "revoke_all() writes the mark when it has ended what is listed",
    ),
    "mark_remembers_only_the_latest": Mutant(
        "password_reset",
        rules.revoked_since,
        "since = mark.entries\n",
        "since = mark.entries[-1:]\n",
        "the mark holds the latest (nonce, keep) only",
    ),
    "update_without_compare_and_set": Mutant(
        "parallel_writes",
        Repository.replace,
        "version=version)",
        "version=getattr(self._store.load(key), 'version', None))",
        "a commit overwrites whatever is there",
    ),
    "login_deletes_then_creates": Mutant(
        "double_click",
        Committer._sign_in_there,
        "    fresh = self._proof_of(token)\n",
        '    self._sessions.delete(base.id, base.envelope, "replaced"); return None\n    fresh = self._proof_of(token)\n',
        "login() deletes the old record and creates a new one",
    ),
    "renewed_is_good_forever": Mutant(
        "theft_with_renewal",
        rules._in_service,
        "return at is None or now - at < OVERLAP",
        "return True",
        "a renewed secret opens the session however long ago its successor was seen",
    ),
    "seen_is_not_noted": Mutant(
        "theft_with_renewal",
        rules.noted,
        "if not envelope.previous:",
        "if True:",
        "nobody notes that a secret has come",
    ),
    "only_the_current_is_noted": Mutant(
        "theft_with_renewal",
        rules.noted,
        "if not envelope.previous:",
        "if proof not in envelope.current:",
        "only the first use of the current secret is noted",
    ),
    "rivals_are_not_ended": Mutant(
        "two_signed_in_cookies",
        Committer._sign_in,
        "for rival in state.rivals:",
        "for rival in ():",
        "login() leaves the other sessions that the request named",
    ),
    "snapshot_is_writable": Mutant(
        "planted_token_writes",
        rules.opens,
        "return Opens.SNAPSHOT",
        "return Opens.SESSION",
        "for 10 s a secret from before a sign-in or regenerate() opens the session",
    ),
    "left_alone_shares": Mutant(
        "stolen_before_reauthentication",
        rules.is_second_click,
        "previous.kind is Kind.SIGNED_IN",
        "previous.kind is not Kind.RENEWED",
        "who comes with a secret that regenerate() replaced shares the session when signing in",
    ),
    "second_click_gets_no_cookie": Mutant(
        "double_click",
        Committer._sign_in,
        "    stored, token, result = signed_in\n",
        "    stored, token, result = signed_in\n"
        "    if len(stored.envelope.current) > 1: state.login = state.token = None; return None\n",
        "the second of two sign-ins sends no cookie",
    ),
    "in_place_resurrects": Mutant(
        "in_place_versus_delete",
        Changes.over,
        "for key, value in grown.items() if key in result}",
        "for key, value in grown.items()}",
        "a change in place brings a deleted key back",
    ),
    "update_brings_back": Mutant(
        "anonymous_end_and_sign_in",
        Repository.replace,
        "is_there = self._store.update(key, record, version=version)",
        "is_there = self._store.update(key, record, version=version) or self._store.create(key, record)",
        "a writer that finds its session ended writes it anew (in the specification, it takes the tombstone for a session)",
    ),
    "revoke_gives_up_when_refused": Mutant(
        "revoke_and_writers",
        Repository._end,
        "return True, user_id\n    return",
        "return True, user_id\n        return False, None\n    return",
        "revoke() does not try again",
    ),
    "snapshot_ends_too": Mutant(
        "planted_token_ends",
        State.end,
        "if self.opens is Opens.SESSION and self.found is not None:",
        "if self.found is not None:",
        "invalidate() from a snapshot deletes the record",
    ),
    "expiry_is_not_checked_at_commit": Mutant(
        "expiry_while_running",
        Committer._at,
        "or base.envelope.expires_at <= now:",
        ":",
        "a commit does not look at the clock",
    ),
    "reads_write": Mutant(
        "reads",
        touch_interval,
        "return 60.0 if idle is None else min(60.0, idle / 10)",
        "return 0.0",
        "every read writes",
    ),
    "renewed_survive_sign_in": Mutant(
        "planted_token_was_renewed",
        rules._replaced,
        "if p.kind is Kind.RENEWED else p",
        "if False else p",
        "a sign-in takes only the current secret out of service",
    ),
    "second_click_renews": Mutant(
        "double_click",
        rules.joined,
        "current=(*envelope.current, fresh)[-MOST_CURRENT:], ",
        "current=(fresh,), previous=_trimmed("
        "(*envelope.previous, *[Previous(proof, Kind.RENEWED, None) for proof in envelope.current])), ",
        "the second click makes the first one's secret RENEWED",
    ),
    "note_is_not_tried_again": Mutant(
        "theft_with_renewal",
        Committer._replace,
        "if number > 0 and not asked and envelope is before:",
        "if number > 0 and not asked:",
        "a note that loses a race is forgotten",
    ),
    "oldest_previous_goes": Mutant(
        "renewals_never_delivered",
        rules._trimmed,
        "kept.remove(kept[-2] if timed is None else timed)",
        "kept.pop(0)",
        "of too many previous secrets, the oldest goes",
    ),
    "regenerate_yields_to_renewal": Mutant(
        "regenerate_and_renewal",
        rules.in_service,
        "return any(p.proof == proof and p.kind is Kind.RENEWED and p.at != _FOR_GOOD for p in envelope.previous)",
        "return False",
        "regenerate() keeps the secret that a renewal has made",
    ),
    "mark_knows_no_keep": Mutant(
        "change_of_password",
        rules.revoked_since,
        "return any(keep != key for _, keep in since)",
        "return True",
        "the mark is a bare nonce",
    ),
    "sessions_are_shared_across_marks": Mutant(
        "revoke_all_and_sign_ins",
        rules.is_second_click,
        "and envelope.mark == mark",
        "",
        "sign-ins share a session whatever marks they have read",
    ),
    "new_record_takes_what_was_read": Mutant(
        "anonymous_end_and_sign_in",
        Committer._sign_in_anew,
        "state.values.assigned()",
        "{**state.values._stored, **state.values.assigned()}",
        "login() on a session that is gone, or another's, takes its data along",
    ),
    "anonymous_ends_unconditionally": Mutant(
        "planted_token_ends",
        Committer._end,
        "if one.envelope.user_id is not None:",
        "if True:",
        "invalidate() deletes, also what was anonymous when it was opened",
    ),
    "a_revoked_sign_in_stays": Mutant(
        "revoke_all_and_sign_ins",
        Committer._sign_in,
        "self._sessions.delete(token.id, envelope, why)",
        "pass",
        "login() sends no cookie of a session that revoke_all() has named, and leaves it there",
    ),
    "what_was_replaced_is_told": Mutant(
        "renewal_in_a_transaction",
        Committer._settle,
        "elif state.to_tell is not None and not rules.in_service(envelope, self._proof_of(state.to_tell)):",
        "elif False:",
        "a request sends a secret that it had stored, though another has replaced it since",
    ),
    "a_renewed_secret_is_sent_again": Mutant(
        "changed_lifetime_and_renewal",
        Committer._resent,
        "if state.renew is None:\n        return envelope, state.own if is_current else None",
        "if True:\n        return envelope, state.own",
        "set_lifetime() sends the secret again that the request came with, whatever has become of it",
    ),
    "limit_is_only_looked_at": Mutant(
        "limit_three_refuse_1",
        Limit.keep,
        "if has_signed_in_again(envelope):",
        "if True:",
        "login() looks before its record is written, and not afterwards",
    ),
    "limit_ends_who_finds_it_exceeded": Mutant(
        "limit_three_end_oldest_1",
        beyond,
        "    if not refuses:\n",
        "    if len(living) > most:\n        return [one for one in living if one.id == key]\n    if not refuses:\n",
        "a sign-in that finds too many sessions ends its own",
    ),
    "limit_ends_whatever_is_there": Mutant(
        "limit_again_end_oldest_2",
        Limit.keep,
        'if self._sessions.remove(one, "limit")]',
        'if self._sessions.end(one.id, "limit") or True]',
        "an end does not look whether the session has been signed in to again",
    ),
    "limit_is_not_tried_again": Mutant(
        "limit_again_end_oldest_2",
        Limit.keep,
        "len(ended) == len(over)",
        "True",
        "who finds a session changed does not list again",
    ),
    "limit_counts_rivals": Mutant(
        "limit_rivals_end_oldest_2",
        Limit.keep,
        "apart = {key, *(rival.id for rival in rivals)}",
        "apart = {key}",
        "the sessions whose place the sign-in takes count",
    ),
    "limit_lets_everybody_in": Mutant(
        "limit_lowered_refuse_2",
        Limit.look,
        "sum(1 for _ in islice(others, self._most)) == self._most",
        "False",
        "login() does not look",
    ),
    "limit_refuses_a_second_click": Mutant(
        "limit_double_click_alone_refuse_1",
        Limit.look,
        "replaced = _replaced_by(state, login)",
        "replaced = set()",
        "the session that the sign-in is stored in counts",
    ),
    "limit_refuses_who_is_in": Mutant(
        "limit_lowered_again_refuse_1",
        Limit.look,
        "state.envelope.user_id == login.user_id",
        "False",
        "who signs in again is refused like anybody",
    ),
    "limit_takes_a_second_sign_in_for_a_new_one": Mutant(
        "limit_in_and_again_refuse_1",
        beyond,
        "sorted(living, key=_as_admitted)",
        "sorted(living, key=_by_sign_in)",
        "who has signed in again is the newest where sign-ins are refused",
    ),
    "limit_ends_those_that_were_there": Mutant(
        "limit_three_refuse_1",
        beyond,
        "ranked[max(most, own) :]",
        "ranked[own:]",
        "a sign-in ends whatever is not older than itself",
    ),
    "limit_leaves_the_others": Mutant(
        "limit_three_refuse_1",
        beyond,
        "ranked[max(most, own) :]",
        "ranked[max(most, own) : own + 1]",
        "where sign-ins are refused, one ends only itself",
    ),
}
"""Those of the specification, and some of the package's own."""

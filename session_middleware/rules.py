"""What a token opens, and what an act makes of a record: the rules of secrets and eras. Pure: no store, no clock, no token.

A secret is known here by its proof. ``now`` is epoch seconds. What an act makes is the next envelope; whoever asks stores it
by compare-and-set, and asks again with what is there if that is refused.
"""

from enum import Enum
from typing import Final

from session_middleware.notes import MOST_CURRENT, MOST_ENTRIES, MOST_PREVIOUS, Alias, Mark, Tombstone
from session_middleware.record import ERAS, MOST_ALIASES, Binding, Envelope, Kind, Previous

OVERLAP: Final = 30
"""So long (seconds) a renewed secret works after a later one has come: parallel, slow and lost responses."""

WINDOW: Final = 10
"""So long (seconds) a secret that a sign-in or ``regenerate()`` has replaced is told from an unknown one."""


# As if a later secret than a renewed one had come so long ago that no clock can give it any time.
_FOR_GOOD: Final = 0.0


class Opens(Enum):
    """What a token opens."""

    SESSION = "session"
    SNAPSHOT = "snapshot"
    """The values as they were before the sign-in: they can be read, and one can sign in."""
    NOTHING = "nothing"
    REPLAY = "replay"
    """Nothing, and that is worth telling: the secret has a successor that was used."""


def opens(envelope: Envelope, proof: bytes, now: float) -> Opens:
    """Say what the secret opens. The proofs are hashes, so comparing them tells an attacker nothing of use."""
    if proof in envelope.current:
        return Opens.SESSION
    for previous, kind, at in envelope.previous:
        if previous == proof:
            if kind is Kind.RENEWED:
                return Opens.SESSION if _in_service(at, now) else Opens.REPLAY
            if now - (at or 0) < WINDOW:
                return Opens.SNAPSHOT
    return Opens.NOTHING


def used(envelope: Envelope, now: float) -> Envelope:
    """The session was used; a clock that is behind takes nothing back. A snapshot goes when its time is over."""
    if envelope.snapshot and now - envelope.signed_in_at >= WINDOW:
        envelope = envelope._replace(snapshot=b"")
    # A third of the time of _replace(), on every write.
    return tuple.__new__(Envelope, (*envelope[:3], now, *envelope[4:])) if now > envelope.last_seen_at else envelope


def noted(envelope: Envelope, proof: bytes, now: float) -> Envelope:
    """The secret has come: those that it renewed have 30 s left."""
    if not envelope.previous:
        return envelope
    proofs = [previous.proof for previous in envelope.previous]
    if proof in envelope.current:
        older = len(proofs)
    elif proof in proofs:
        older = proofs.index(proof)
    else:
        return envelope  # of what is forgotten, nobody knows what came before it
    if all(previous.at is not None for previous in envelope.previous[:older]):
        return envelope
    came = [
        previous._replace(at=now) if number < older and previous.at is None else previous
        for number, previous in enumerate(envelope.previous)
    ]
    return envelope._replace(previous=tuple(came))


def renewal_is_due(envelope: Envelope, proof: bytes, now: float, every: float | None) -> bool:
    """Tell whether this secret is to be renewed."""
    return every is not None and now - envelope.issued_at >= every and is_latest(envelope, proof)


def is_latest(envelope: Envelope, proof: bytes) -> bool:
    """Tell whether nobody came with a later secret: it is a current one, or the one that was renewed to that."""
    return proof in envelope.current or Previous(proof, Kind.RENEWED, None) in envelope.previous


def renewed(envelope: Envelope, fresh: bytes, family: bytes, now: float) -> Envelope:
    """Time has passed: a new secret of the same *family*; the old one works until the new one has been used."""
    before = tuple([Previous(proof, Kind.RENEWED, None) for proof in envelope.current])
    previous = _trimmed(envelope.previous + before)
    return envelope._replace(current=(fresh,), issued_at=now, previous=previous, family=envelope.family or family)


def in_service(envelope: Envelope, proof: bytes) -> bool:
    """Tell whether ``regenerate()`` may go on: the secret that it came with still opens the session."""
    if proof in envelope.current:
        return True
    return any(p.proof == proof and p.kind is Kind.RENEWED and p.at != _FOR_GOOD for p in envelope.previous)


def regenerated(envelope: Envelope, fresh: bytes, now: float) -> Envelope:
    """The application has asked for a new secret: all others are dead at once."""
    previous = _replaced(envelope, Kind.REPLACED, now)
    return envelope._replace(current=(fresh,), issued_at=now, previous=previous, snapshot=b"", family=None)


def signed_in(
    envelope: Envelope,
    user_id: str,
    mark: str | None,
    fresh: bytes,
    now: float,
    snapshot: bytes,
    binding: Binding | None = None,
) -> Envelope:
    """Someone has signed in: a new era with one secret. *snapshot*: what the secrets from before may still read. *binding*:
    what the session is to be bound with to the device; that from before is void."""
    return envelope._replace(
        user_id=user_id,
        mark=mark,
        era=(envelope.era + 1) % ERAS,
        signed_in_at=now,
        current=(fresh,),
        issued_at=now,
        previous=_replaced(envelope, Kind.SIGNED_IN, now),
        snapshot=snapshot,
        family=None,
        binding=binding,
    )


def bound(envelope: Envelope, offered: Binding, key: bytes, now: float) -> Envelope | None:
    """A device brings its public key for the binding that it was *offered*: the first one counts, and may come twice.
    ``None``: another one has come, or the binding is void."""
    binding = envelope.binding
    if binding is None or binding.secret != offered.secret:
        return None
    if binding.key:
        return envelope if binding.key == key else None
    return envelope._replace(binding=binding._replace(key=key, at=now))


def is_second_click(envelope: Envelope, user_id: str, mark: str | None, proof: bytes) -> bool:
    """Tell whether a sign-in of the same user, that has read the same mark, has just taken this secret out of service."""
    click = any(previous.proof == proof and previous.kind is Kind.SIGNED_IN for previous in envelope.previous)
    return click and envelope.user_id == user_id and envelope.mark == mark


def joined(envelope: Envelope, fresh: bytes, now: float) -> Envelope:
    """The second click of a double click: its secret is added to those of the first. None of them is renewed before the
    browser has decided which it keeps."""
    return envelope._replace(current=(*envelope.current, fresh)[-MOST_CURRENT:], issued_at=max(envelope.issued_at, now))


def named(envelope: Envelope, aliases: tuple[str, ...]) -> Envelope:
    """The session has these aliases, too; of too many, the oldest go."""
    if not aliases:
        return envelope
    others = tuple([alias for alias in envelope.aliases if alias not in aliases])
    return envelope._replace(aliases=(*others, *aliases)[-MOST_ALIASES:])


def tombstone(envelope: Envelope, reason: str, at: float) -> Tombstone:
    """The session has ended: whoever holds a secret of its own is told why, also one that was renewed."""
    renewed = [previous.proof for previous in envelope.previous if previous.kind is Kind.RENEWED]
    return Tombstone(reason, at, (*renewed, *envelope.current))


def newest(mark: Mark | None) -> str | None:
    """Return the nonce that tells whether a user was signed out everywhere since; ``None`` if that never was."""
    return None if mark is None else mark.entries[-1][0]


def marked(mark: Mark | None, nonce: str, keep: str | None, expires_at: float) -> Mark:
    """The user is being signed out everywhere, but for the session with the id *keep*."""
    entries = (*(() if mark is None else mark.entries), (nonce, keep))
    return Mark(entries[-MOST_ENTRIES:], expires_at)


def revoked_since(mark: Mark | None, nonce: str | None, key: str) -> bool:
    """Tell whether the user was signed out everywhere, not keeping the session *key*, since the mark was read as *nonce*."""
    if mark is None or newest(mark) == nonce:
        return False
    nonces = [entry[0] for entry in mark.entries]
    if nonce in nonces:
        since = mark.entries[nonces.index(nonce) + 1 :]
    elif len(nonces) == MOST_ENTRIES:
        return True  # some may be forgotten
    else:
        since = mark.entries
    return any(keep != key for _, keep in since)


def names_still(alias: Alias | None, nonce: str | None, key: str) -> bool:
    """Tell whether a sign-in of the session *key* may go on: its sessions were not all ended since the alias was read with
    this nonce, and it is among those to be ended."""
    return alias is not None and alias.revoked == nonce and key in alias.ids


def _in_service(at: float | None, now: float) -> bool:
    return at is None or now - at < OVERLAP


def _replaced(envelope: Envelope, kind: Kind, now: float) -> tuple[Previous, ...]:
    """Take every secret that opens the session out of service, renewed ones, too.

    A sign-in is a boundary: of those that had had their time before it, nobody who comes later is to be told.
    """
    told = [
        p for p in envelope.previous if kind is not Kind.SIGNED_IN or p.kind is not Kind.RENEWED or _in_service(p.at, now)
    ]
    before = [_out_of_service(p, kind, now) if p.kind is Kind.RENEWED else p for p in told]
    return _trimmed((*before, *[Previous(proof, kind, now) for proof in envelope.current]))


def _out_of_service(renewed: Previous, kind: Kind, now: float) -> Previous:
    # One that has had its time gets it back neither from a clock that is behind ours nor by a request that is under way.
    return Previous(renewed.proof, kind, now) if _in_service(renewed.at, now) else renewed._replace(at=_FOR_GOOD)


def _trimmed(previous: tuple[Previous, ...]) -> tuple[Previous, ...]:
    """Of too many, those go first whose time has come; then the last but one: the first is what a browser is known to have,
    the last may be on its way."""
    kept = list(previous)
    while len(kept) > MOST_PREVIOUS:
        timed = next((p for p in kept if p.at is not None), None)
        kept.remove(kept[-2] if timed is None else timed)
    return tuple(kept)

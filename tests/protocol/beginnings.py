"""What is there when a scenario begins, and who has which cookie."""

from session_middleware import Lifetime, MsgpackCodec, Record
from session_middleware.record import Envelope, Kind, Previous, pack, pack_values
from session_middleware.tokens import Token
from session_middleware.values import encoded
from tests.protocol.acts import Invalidate, Read, Regenerate, RevokeAll
from tests.protocol.invariants import T0
from tests.protocol.turn import START, a_token, proof_of
from tests.protocol.world import Jar

READ, REGENERATE, INVALIDATE, REVOKE_ALL = Read(), Regenerate(), Invalidate(), RevokeAll()


def a_session(
    token: Token = T0,
    data: dict[str, object] | None = None,
    *,
    user_id: str | None = None,
    renewed: tuple[Token, ...] = (),
    idle: float | None = 3600.0,
    age: int = 0,
) -> dict[str, Record]:
    """Return the record of a session, by its key. *renewed*: what the token has replaced; nobody has come with it yet.

    *age*: how long ago (seconds) the token was issued.
    """
    values = encoded({"cart": "1"} if data is None else data, MsgpackCodec())
    envelope = Envelope(
        user_id=user_id,
        created_at=START,
        signed_in_at=START,
        last_seen_at=START,
        idle=idle,
        absolute=Lifetime.AAL2.absolute,
        persistent=False,
        era=0 if user_id is None else 1,
        current=(proof_of(token),),
        issued_at=START - age,
        previous=tuple([Previous(proof_of(old), Kind.RENEWED, None) for old in renewed]),
    )
    return {token.id: Record(pack(envelope, pack_values(values)), int(envelope.expires_at), user_id)}


PLANTED = a_session()
"""An anonymous session, of which an attacker may know the token."""
HERS = a_session(user_id="alice")
M0 = a_token("M", "m0")
HIS = a_session(M0, {"his": "1"}, user_id="mallory")

BROWSER = {"browser": Jar(T0)}
BOTH = {"browser": Jar(T0), "attacker": Jar(T0)}
ADMIN = {"browser": Jar(T0), "admin": Jar()}

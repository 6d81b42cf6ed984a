"""What others do between two calls of a process that moves something, or makes it."""

from collections.abc import Callable
from typing import TypeVar

from session_middleware import MemoryStore
from session_middleware.moving import MovingStore, copy
from session_middleware.notes import Mark, pack_mark, pack_reservation
from session_middleware.stores.around import StoreAround
from session_middleware.stores.base import Record
from session_middleware.testing import a_key, a_record, created, loaded

T = TypeVar("T")

FAR = 2**32


class Interrupted(StoreAround):
    """A store of which, before a call of a verb, the first or the *at*-th, somebody else does something."""

    def __init__(self) -> None:
        super().__init__(MemoryStore())
        self._acts: list[tuple[str, Callable[[], object]]] = []

    def before(self, verb: str, *acts: Callable[[], object]) -> None:
        self._acts += [(verb, act) for act in acts]

    def around(self, verb: str, key: str, call: Callable[[], T]) -> T:
        if self._acts and self._acts[0][0] == verb:
            self._acts.pop(0)[1]()
        return call()


def place(nonce: bytes, until: int = FAR) -> Record:
    return Record(pack_reservation(nonce, until), until, "")


def test_a_place_that_is_kept_anew_is_asked_for_again() -> None:
    """Two keep a place at once, for different times: both have it; what is left over in the old store is written over."""
    new, old, key = Interrupted(), Interrupted(), a_key()
    new.inner.create(key, place(b"a nonce!", 10**10 // 5))
    short = loaded(new.inner, key)
    new.before("update", lambda: new.inner.update(key, place(b"a nonce!"), version=short.version))
    created(old.inner, key, place(b"left!!!!"))
    leftover = loaded(old.inner, key)
    old.before("update", lambda: old.inner.update(key, place(b"left!!!!"), version=leftover.version))

    assert MovingStore(new, old).create(key, Record(b"made", 10**10 // 4, None))
    assert loaded(new.inner, key).value == b"made"
    assert old.inner.load(key) is None
    assert not MovingStore(new, old).create(key, a_record())


def test_a_place_that_is_kept_longer_meanwhile_is_taken() -> None:
    """Who put the marker there is not stopped by that."""
    new, old, key = Interrupted(), Interrupted(), a_key()

    def longer() -> None:
        found = loaded(new.inner, key)
        nonce = found.value[6:14]
        assert new.inner.update(key, place(nonce), version=found.version)

    new.before("update", longer)
    assert MovingStore(new, old).create(key, a_record(b"made"))
    assert loaded(new.inner, key).value == b"made"


def test_what_is_left_over_and_changes_meanwhile_is_taken() -> None:
    """Without handing over: whoever was faster has the key."""
    new, old, key = Interrupted(), Interrupted(), a_key()
    created(old.inner, key, place(b"left!!!!"))
    version = loaded(old.inner, key).version
    old.before("update", lambda: old.inner.update(key, a_record(b"theirs"), version=version))

    assert not MovingStore(new, old, hand_over=False).create(key, a_record(b"ours"))
    assert loaded(old.inner, key).value == b"theirs"


def test_one_that_hands_over_was_faster() -> None:
    """Without handing over: what is in the new store counts, also if what was made is changed before it is taken back."""
    new, old, key = Interrupted(), Interrupted(), a_key()
    old.before("create", lambda: created(new.inner, key, a_record(b"theirs")))
    old.before("update", lambda: old.inner.update(key, a_record(b"changed"), version=loaded(old.inner, key).version))

    assert not MovingStore(new, old, hand_over=False).create(key, a_record(b"ours"))
    assert old.inner.load(key) is None
    assert loaded(new.inner, key).value == b"theirs"


def test_one_that_was_made_has_moved_before_its_maker_knew() -> None:
    """Without handing over: it is there, though somewhere else."""
    new, old, key = Interrupted(), Interrupted(), a_key()
    store = MovingStore(new, old, hand_over=False)
    # The second look into the new store comes after it was made.
    new.before("load", lambda: None, lambda: MovingStore(new.inner, old.inner).hand_over_now(key))

    assert store.create(key, a_record(b"ours"))
    assert old.inner.load(key) is None
    assert loaded(new.inner, key).value == b"ours"


def test_a_mark_that_is_copied_is_nobodys() -> None:
    """Also from a store that does not tell nobody's from an anonymous session's."""
    source, target, key = MemoryStore(), MemoryStore(), a_key()
    source.create(key, Record(pack_mark(Mark(((a_key(), None),), FAR)), FAR, None))

    assert copy(source, target) == 0
    whole = target.load_whole(key)
    assert whole is not None
    assert whole[0].user_id == ""

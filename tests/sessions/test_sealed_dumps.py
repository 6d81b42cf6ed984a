"""What every store gets of sealed sessions, and what a dump of it has of them."""

from collections.abc import Callable
from pathlib import Path
from secrets import token_hex
from typing import Any, Final

import pytest

from session_middleware import Send, SessionManager, Store, UserIndexed
from session_middleware.seal import Seal
from session_middleware.tokens import Names
from tests.backends.running import Backends, a_store

KEY: Final = bytes(range(32))


class Told:
    """What sessions hold that nobody is to learn from a store. It is in no other test."""

    def __init__(self) -> None:
        mark = token_hex(4)
        self.user, self.alias = f"alice-{mark}@example.com", f"the sid {mark}"
        self.name, self.value, self.device = f"name {mark}", f"value {mark}", f"Firefox {mark}"
        self.before = f"cart {mark}"
        """A value of before the sign-in, which a snapshot keeps."""

    def words(self, number: int = 1) -> list[str]:
        """Return all of it that is in so many sessions, and what is made of it without a key; of aliases, of some."""
        made = Names("session")
        aliases = [name for one in range(min(number, 20)) for name in made.aliases(f"{self.alias}-{one}")]
        in_the_record = [self.user, self.name, self.value, self.device, self.before]
        return [*in_the_record, self.alias, *made.marks(self.user), *aliases]

    def keep(self, manager: SessionManager, number: int) -> list[str]:
        """Begin so many sessions, and sign in to each; return their ids."""
        ids = []
        for one in range(number):
            session = manager.open()
            session[self.before] = self.before
            verdict = manager.commit(session)
            assert isinstance(verdict, Send)
            session = manager.open(verdict.token)
            session[self.name] = self.value
            session.login(self.user, alias=f"{self.alias}-{one}", keep=[self.name])
            session.amend(device=self.device)
            manager.commit(session)
            ids.append(session.id)
        return ids


class Listened:
    """A store around another that keeps whatever it is given, and whatever it gives."""

    def __init__(self, inner: Store) -> None:
        self._inner = inner
        self.heard: list[str] = []

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._inner, name)
        return self._listened(found) if callable(found) else found

    def _listened(self, verb: Callable[..., Any]) -> Callable[..., Any]:
        def asked(*args: Any, **options: Any) -> Any:
            result = verb(*args, **options)
            self.heard.append(repr((args, options, result)))
            return result

        return asked


class Indexed(Listened):
    def keys_of(self, user_id: str) -> Any:
        self.heard.append(user_id)
        return self._inner.keys_of(user_id)  # type: ignore[attr-defined]


@pytest.mark.parametrize("number", [20, pytest.param(1000, marks=pytest.mark.soak)])
def test_no_store_is_told_anything(store: Store, number: int) -> None:
    """Promise 25: no value, name, user, alias or device is in what a store gets, nor is the digest of one."""
    there, told = (Indexed if isinstance(store, UserIndexed) else Listened)(store), Told()
    manager = SessionManager(there, seal=Seal(KEY, require=True))
    ids = told.keep(manager, number)
    assert [info.id for info in manager.sessions_with(f"{told.alias}-0")] == ids[:1]
    if isinstance(store, UserIndexed):
        assert manager.revoke_all(told.user, keep=ids[0]) == number - 1
    heard = "\n".join(there.heard)
    assert [word for word in told.words(number) if word in heard] == []
    assert heard.count(ids[0]) > 3


@pytest.mark.parametrize("kind", ["sqlite", "redis", "memcached", "postgresql", "mariadb"])
@pytest.mark.parametrize("number", [20, pytest.param(1000, marks=pytest.mark.soak)])
def test_a_dump_of_every_store_tells_nothing(kind: str, number: int, tmp_path: Path, backends: Backends) -> None:
    """Promise 25: neither what a client can read, nor the files, with their logs of changes. One session without a seal is
    found in all of them."""
    sealed, plain = Told(), Told()
    with a_store(kind, tmp_path, backends) as store:
        ids = sealed.keep(SessionManager(store, seal=Seal(KEY, require=True)), number)
        plain.keep(SessionManager(store), 1)
        if kind == "sqlite":
            dumps = [b"\n".join(path.read_bytes() for path in tmp_path.iterdir())]
        else:
            dumps = [backends.dump(kind)]
            if kind != "memcached":
                dumps.append(backends.on_disk(kind))
    for dump in dumps:
        assert [key for key in ids[::20] if key.encode() not in dump] == []
        assert [word for word in sealed.words(number) if word.encode() in dump] == []
        assert [word for word in plain.words()[:5] if word.encode() not in dump] == []

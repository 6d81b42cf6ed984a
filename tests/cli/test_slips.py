"""What somebody gets who writes something wrong, or whose store is away: a line that says what, and an exit code."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from session_middleware import MemoryStore, SessionManager, SQLiteStore, StoreUnavailable
from session_middleware.stores.base import Stored
from tests.backends.process import free_port
from tests.cli.running import Site, here


@pytest.mark.parametrize("user", ["", "u" * 256, "\udcff"])
@pytest.mark.parametrize("command", [("list", "--user"), ("watch", "--times", "1", "--user"), ("revoke-user", "--yes")])
def test_what_is_no_user_is_wrong_use(site: Site, command: tuple[str, ...], user: str) -> None:
    """It ends with 2, and nothing is asked."""
    done = here("--store", site.url, *command, user)

    assert done.exit_code == 2
    assert "Invalid value" in done.output


@pytest.mark.parametrize(
    ("line", "why"),
    [
        ("import os; os.environ['NOT_SET_ANYWHERE']", "it fails: KeyError: 'NOT_SET_ANYWHERE'"),
        ("1 / 0", "it fails: ZeroDivisionError: division by zero"),
        ("from session_middleware import open_store; open_store('nonsense')", "is not a kind of store"),
    ],
)
def test_an_application_that_fails_is_wrong_use(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, line: str, why: str
) -> None:
    """It ends with 2, and says how it failed."""
    module = f"failing_{tmp_path.name}"
    (tmp_path / f"{module}.py").write_text(f"{line}\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    done = here("--app", f"{module}:application", "check")

    assert done.exit_code == 2
    assert why in done.output


def test_copy_makes_no_file_to_copy_from(tmp_path: Path) -> None:
    """One that is not there is a slip."""
    done = here("copy", f"sqlite:///{tmp_path}/a.sqlite3", f"sqlite:///{tmp_path}/b.sqlite3")

    assert (done.exit_code, done.output) == (2, f"Error: {tmp_path}/a.sqlite3: there is no such file\n")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("command", ["stats", "list"])
@pytest.mark.parametrize("url", ["postgresql://u:a-password@127.0.0.1:{}/d", "redis://:a-password@127.0.0.1:{}/0"])
def test_a_store_that_is_away_says_how(url: str, command: str) -> None:
    """Not that it was away a moment ago; and no password."""
    done = here("--store", url.format(free_port()), command)

    assert done.exit_code == 3
    assert "refused" in done.output
    assert "a-password" not in done.output


class _Breaks(MemoryStore):
    """Does what *then* does once it has been asked for so many records that none are *left*."""

    left = 1_000_000

    def __init__(self, then: Callable[[], None]) -> None:
        super().__init__()
        self._then = then

    def load(self, key: str) -> Stored | None:
        self.left -= 1
        if self.left < 0:
            self._then()
        return super().load(key)


def _interrupt() -> None:
    raise KeyboardInterrupt


def _fail() -> None:
    raise StoreUnavailable("it is away")


def _with_sessions(then: Callable[[], None], number: int) -> tuple[_Breaks, SessionManager, list[str]]:
    store = _Breaks(then)
    manager = SessionManager(store)
    ids = []
    for _ in range(number):
        session = manager.open()
        session.login("alice")
        manager.commit(session)
        ids.append(session.id)
    return store, manager, ids


def test_revoke_says_what_it_did_when_it_is_interrupted() -> None:
    """It ends with 130; what it did not come to is neither ended nor absent."""
    store, manager, ids = _with_sessions(_interrupt, 3)
    store.left = 1
    done = here("revoke", *ids, "--yes", "--json", obj=lambda: manager)

    assert done.exit_code == 130
    assert json.loads(done.stdout)["interrupted"] is True
    assert json.loads(done.stdout)["result"] == {"ended": ids[:1], "absent": []}
    assert "run it again" in done.stderr


def test_what_was_ended_is_said_when_the_store_fails() -> None:
    """It ends with 3, and has ended some."""
    store, manager, ids = _with_sessions(_fail, 50)
    store.left = 20
    done = here("revoke-user", "alice", "--yes", obj=lambda: manager)
    store.left = 1000
    left = sum(manager.find(key) is not None for key in ids)

    assert done.exit_code == 3
    assert 0 < left < len(ids)
    assert done.stderr == f"ended {len(ids) - left}\nError: it is away\n"


def test_a_session_to_keep_that_is_not_there_is_wrong_use(site: Site) -> None:
    """It would end all of them, the one that was meant, too."""
    ids = [site.begin("alice"), site.begin("alice")]
    of_another = site.begin("bob")

    for keep in ("A" * 12, "no-id", of_another):
        done = here("--store", site.url, "revoke-user", "alice", "--keep", keep, "--yes")
        assert done.exit_code == 2
        assert "--keep: 'alice' has no session" in done.output
    assert all(site.lives(*ids, of_another))


def test_what_is_neither_an_option_nor_an_id_ends_nothing(site: Site) -> None:
    """An id may begin with a hyphen; an option that there is not is no id."""
    key = site.begin("alice")
    done = here("--store", site.url, "revoke", "--dry-run", key, "--yes")

    assert done.exit_code == 2
    assert "--dry-run is neither an option nor the id of a session" in done.output
    assert all(site.lives(key))


def test_neither_file_of_a_move_is_made_by_a_slip(tmp_path: Path) -> None:
    """Nor by a look at how it is."""
    SQLiteStore(tmp_path / "there.sqlite3").open()
    for url in (f"{tmp_path}/there.sqlite3 sqlite:///{tmp_path}/a.sqlite3", f"{tmp_path}/a.sqlite3 memory:"):
        done = here("--store", f"moving:sqlite:///{url}", "check")
        assert (done.exit_code, done.output) == (2, f"Error: {tmp_path}/a.sqlite3: there is no such file\n")
    assert not (tmp_path / "a.sqlite3").exists()

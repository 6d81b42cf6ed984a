"""Each command in this process: what it prints for people and for programs."""

import json
from pathlib import Path
from typing import Any

import pytest

from session_middleware import MemoryStore, SessionManager, SessionMiddleware
from session_middleware.cli.group import run
from session_middleware.stores.base import Record
from session_middleware.testing import a_key
from tests.cli.running import OF_OTHERS, Site, here
from tests.cli.test_applications import WSGI, answer


def told(*arguments: str, obj: Any = None) -> Any:
    """Return the result in the envelope that is printed."""
    done = here(*arguments, "--json", obj=obj)
    assert done.exit_code == 0, done.output
    return json.loads(done.output)["result"]


def test_check_in_words_and_as_json(site: Site) -> None:
    """The same of both."""
    site.begin()

    assert told("--store", site.url, "check")["kind"] == "SQLite"
    assert "store\tSQLite" in here("--store", site.url, "check").output


def test_list_of_a_user_and_of_all(site: Site) -> None:
    """As rows, and as objects."""
    ids = [site.begin("alice", ago=60), site.begin("alice"), site.begin()]

    assert {one["id"] for one in told("--store", site.url, "list")} == set(ids)
    assert [one["id"] for one in told("--store", site.url, "list", "--user", "alice")] == [ids[1], ids[0]]
    assert f"{ids[0]}\talice\t1 min" in here("--store", site.url, "list", "--user", "alice").output


def test_revoke_says_which(site: Site) -> None:
    """Those that were there, and those that were not."""
    key = site.begin()
    assert told("--store", site.url, "revoke", key, "--yes") == {"ended": [key], "absent": []}

    done = here("--store", site.url, "revoke", key, "--yes")
    assert (done.exit_code, done.output) == (1, f"ended 0\nthere is no session {key!r}\n")
    assert here("--store", site.url, "show", key).output == f"Error: there is no session {key!r}\n"


@pytest.mark.parametrize("key", ["-hAAAAAAAAAA", "-AAAAyAAAAAA", "--AAAAAAAAAA"])
def test_an_id_may_begin_with_a_hyphen(key: str) -> None:
    """It is no option."""
    revoked = here("--store", "memory:", "revoke", key, "--yes")
    assert (revoked.exit_code, revoked.output) == (1, f"ended 0\nthere is no session {key!r}\n")
    assert here("--store", "memory:", "show", key).output == f"Error: there is no session {key!r}\n"
    kept = here("--store", "memory:", "revoke-user", "-alice", "--keep", key, "--yes")
    assert f"'-alice' has no session '{key}'" in kept.output
    assert told("--store", "memory:", "revoke-user", "-alice", "--yes") == {"ended": 0}


def test_stats_for_people(site: Site) -> None:
    """Numbers and bars."""
    site.begin("alice")
    printed = here("--store", site.url, "stats").output

    assert "alive\t1\nsigned in\t1 of 1 users\n" in printed
    assert "users with most sessions\n  alice" in printed
    assert "users with most" not in here("--store", site.url, "stats", "--users", "0").output


def test_sweep_goes_on_until_nothing_is_left() -> None:
    """In steps."""
    store = MemoryStore()
    for _ in range(1001):
        store.create(a_key(), Record(b"", 1, None))

    assert told("sweep", obj=lambda: SessionManager(store)) == {"removed": 1001}


def test_the_schema_for_people() -> None:
    """As it goes into a file."""
    assert here("--store", "mysql://nowhere/db", "schema").output.startswith("CREATE TABLE")


def test_an_application_is_named_by_its_module(site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Or by its name in it; or made by a function."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    text = WSGI.format(url=site.url) + "def made():\n    return application\n"
    (tmp_path / "a_site_to_be_named.py").write_text(text)
    key = site.begin()

    for name in ("a_site_to_be_named", "a_site_to_be_named:application", "a_site_to_be_named:made()"):
        assert [one["id"] for one in told("--app", name, "list")] == [key]


def test_a_framework_gives_its_application() -> None:
    """As Flask does by what it hands on."""
    middleware = SessionMiddleware(answer, "memory:")
    session = middleware.manager.open()
    session["a"] = 1
    middleware.manager.commit(session)

    class ScriptInfo:
        def load_app(self) -> object:
            return middleware

    assert [one["id"] for one in told("list", obj=ScriptInfo())] == [session.id]


def test_a_framework_runs_it_by_name(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """And the process ends with its code."""
    for name in OF_OTHERS:
        monkeypatch.delenv(name, raising=False)
    manager = SessionManager("memory:")
    with pytest.raises(SystemExit) as ended:
        run(["list"], "manage.py sessions", lambda: manager)

    assert ended.value.code == 0
    assert capsys.readouterr().out.startswith("id\tuser")


def test_watching_that_is_interrupted_is_over() -> None:
    """Without a word."""

    class Interrupted(MemoryStore):
        def keys(self) -> Any:
            raise KeyboardInterrupt

    done = here("watch", obj=lambda: SessionManager(Interrupted()))
    assert (done.exit_code, done.output) == (0, "")

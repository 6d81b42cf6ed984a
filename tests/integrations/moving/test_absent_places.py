"""Places of old sessions where none can ever be found: the site does not start."""

from pathlib import Path
from typing import Any

import pytest
import sqlalchemy

from tests.integrations import django_site  # noqa: F401  # it configures Django

# isort: split

from django.test import override_settings

from session_middleware import ConfigurationError
from session_middleware.integrations.moving import (
    CachelibPlace,
    FromBeaker,
    FromDjango,
    FromFlaskSession,
    TablePlace,
)


@pytest.mark.parametrize("name", ["sha257", "", "md", 7, None, "shake_128"])
def test_a_hash_that_there_is_not(tmp_path: Path, name: Any) -> None:
    """Promise 15: no file could be named by it."""
    with pytest.raises(ConfigurationError, match="write the name of a hash, such as 'sha256'"):
        CachelibPlace(tmp_path, hash_name=name)
    CachelibPlace(tmp_path, hash_name="md5")


@pytest.mark.parametrize("make", [FromBeaker, FromFlaskSession])
def test_a_file_of_sqlite_that_is_not_there(tmp_path: Path, make: Any) -> None:
    """Promise 15: and none is made, in which nobody would ever find anything."""
    with pytest.raises(ConfigurationError, match="there is no such file; write where the old sessions are"):
        make(f"sqlite:///{tmp_path}/old.sqlite3")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("url", ["sqlite://", "sqlite:///:memory:", "sqlite:///file:old?mode=memory&uri=true"])
def test_an_engine_whose_database_is_no_file(url: str) -> None:
    """It is there as long as the engine is."""
    engine = sqlalchemy.create_engine(url, poolclass=sqlalchemy.StaticPool)
    TablePlace(engine, "t", key_column="k", value_column="v")
    engine.dispose()


@pytest.mark.parametrize("name", ["db", "cached_db"])
def test_djangos_table_without_its_application(name: str) -> None:
    """Promise 15: Django has no such table then."""
    with override_settings(INSTALLED_APPS=[]), pytest.raises(ConfigurationError, match="leave it in INSTALLED_APPS"):
        FromDjango.from_settings(f"django.contrib.sessions.backends.{name}")
    assert FromDjango.from_settings(f"django.contrib.sessions.backends.{name}")

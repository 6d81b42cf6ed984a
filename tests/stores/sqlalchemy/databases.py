"""The databases that the SQLAlchemy store is tested on."""

from typing import TypeAlias

from tests.backends.mariadb import MariaDBServer
from tests.backends.postgresql import PostgresServer

Database: TypeAlias = PostgresServer | MariaDBServer

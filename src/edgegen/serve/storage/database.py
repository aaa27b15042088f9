"""One database behind a URL: SQLite as a file beside the journal, or PostgreSQL.

SQLite runs in WAL mode with `synchronous = FULL`: what is committed is on the disk. It has one writer at a time; writes
take their turn here, and wait for those of another process. The tables are brought to the latest state on opening.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

from alembic import command
from alembic.config import Config as AlembicConfig
from sqlalchemy import Connection, event, make_url, text
from sqlalchemy.engine import URL
from sqlalchemy.exc import ArgumentError, InterfaceError, OperationalError, SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine

from edgegen.core.errors import ConfigError

MIGRATIONS = Path(__file__).with_name("migrations")
ENVIRONMENT_NAME = "EDGEGEN_DATABASE_URL"
BUSY_S = 30.0  # how long a write waits for that of another process
CONNECTIONS = 5
_DRIVERS = {
    "sqlite": "sqlite+aiosqlite",
    "postgresql": "postgresql+asyncpg",
    "postgres": "postgresql+asyncpg",  # as many write it
}
_LOCK = 0x65646765  # of PostgreSQL's advisory locks, the one that whoever migrates holds
_WRITES = "edgegen_writes"


class Database:
    """Transactions, and nothing about what is in them."""

    def __init__(self, url: str):
        self._url = parse_url(url)
        self._engine: AsyncEngine | None = None
        self._turn = asyncio.Lock()  # of SQLite's writers

    @property
    def name(self) -> str:
        """The URL without its password."""
        return self._url.render_as_string(hide_password=True)

    @property
    def is_sqlite(self) -> bool:
        """Whether it is a file of this machine."""
        return self._url.get_backend_name() == "sqlite"

    async def open(self) -> None:
        """Connect, and bring the tables to the latest state. **Raises** `ConfigError` when that is not possible."""
        try:
            self._engine = _sqlite(self._url) if self.is_sqlite else _postgresql(self._url)
        except ImportError as error:
            raise ConfigError(
                f"{self._url.get_backend_name()} needs a driver that is not installed: pip install 'edgegen[postgres]'"
            ) from error
        try:
            async with self.writing() as connection:
                if not self.is_sqlite:  # SQLite's writers wait for each other anyway
                    await connection.execute(text("SELECT pg_advisory_xact_lock(:lock)"), {"lock": _LOCK})
                await connection.run_sync(migrate)
        except (SQLAlchemyError, OSError) as error:
            await self.close()
            raise ConfigError(
                f"cannot use the database {self.name}: {_first_line(error)}; see [storage] url"
            ) from error

    async def close(self) -> None:
        """Close all connections; twice is fine."""
        engine, self._engine = self._engine, None
        if engine is not None:
            await engine.dispose()

    @contextlib.asynccontextmanager
    async def writing(self) -> AsyncIterator[AsyncConnection]:
        """Begin a transaction that writes; it is committed, durably, when the block ends without an error."""
        async with self._turn if self.is_sqlite else contextlib.nullcontext(), self._connect() as connection:
            await connection.execution_options(**{_WRITES: True})
            async with connection.begin():
                yield connection

    @contextlib.asynccontextmanager
    async def reading(self) -> AsyncIterator[AsyncConnection]:
        """Begin a transaction that only reads, all of it the same state."""
        async with self._connect() as connection:
            if not self.is_sqlite:  # there each statement would see what was committed before it
                await connection.execution_options(isolation_level="REPEATABLE READ")
            async with connection.begin():
                yield connection

    def _connect(self) -> AsyncConnection:
        if self._engine is None:
            raise ConfigError("the database is not open")
        return self._engine.connect()


def parse_url(url: str) -> URL:
    """Return a URL with the driver that we use.

    **Raises** `ConfigError` for what is neither a file of SQLite nor a PostgreSQL.
    """
    try:
        parsed = make_url(url)
    except ArgumentError:
        parsed = None
    backend = parsed.get_backend_name() if parsed else None
    if parsed is None or backend not in _DRIVERS:
        raise ConfigError(
            "expected a database such as 'sqlite:///edgegen-runs/edgegen.db' or "
            f"'postgresql://user:password@host/name', got {backend or 'something else'!r}; see [storage] url"
        )
    if backend == "sqlite" and parsed.database in (None, "", ":memory:"):
        raise ConfigError("a database in memory loses its jobs; name a file: 'sqlite:///edgegen-runs/edgegen.db'")
    return parsed.set(drivername=_DRIVERS[backend])


def migrate(connection: Connection, revision: str = "head") -> None:
    """Bring the tables to a state of their history, in the caller's transaction."""
    config = AlembicConfig()
    config.set_main_option("script_location", str(MIGRATIONS).replace("%", "%%"))
    config.attributes["connection"] = connection
    command.upgrade(config, revision)


def is_away(error: BaseException) -> bool:
    """Tell whether an error means that the database cannot be reached now, so that it is worth trying again."""
    return isinstance(error, OSError | OperationalError | InterfaceError)


def _sqlite(url: URL) -> AsyncEngine:
    Path(str(url.database)).parent.mkdir(parents=True, exist_ok=True)
    engine = create_async_engine(url, pool_size=CONNECTIONS, max_overflow=0, connect_args={"timeout": BUSY_S})

    @event.listens_for(engine.sync_engine, "connect")
    def prepare(connection: Any, _: Any) -> None:
        connection.isolation_level = None  # the driver begins nothing by itself; `begin` below does
        cursor = connection.cursor()
        for pragma in ("journal_mode = WAL", "synchronous = FULL", "foreign_keys = ON"):
            cursor.execute(f"PRAGMA {pragma}")
        cursor.close()

    @event.listens_for(engine.sync_engine, "begin")
    def begin(connection: Connection) -> None:
        # A transaction that reads first and writes later could not go on after somebody else's write.
        writes = connection.get_execution_options().get(_WRITES)
        connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")

    return engine


def _postgresql(url: URL) -> AsyncEngine:
    return create_async_engine(url, pool_size=CONNECTIONS, max_overflow=CONNECTIONS, pool_pre_ping=True)


def _first_line(error: BaseException) -> str:
    return (str(getattr(error, "orig", None) or error).strip().splitlines() or [type(error).__name__])[0]

"""Numbered plain SQL, applied once each, in order, one process at a time.

A migration is one transaction. One that begins with the line `-- one by one` is not: its statements
(each ends with a semicolon at the end of a line) are committed one by one, as building an index
CONCURRENTLY demands. Interrupted, it is begun again, so its statements have to bear repetition.
"""

import asyncio
import hashlib
from importlib import resources
from typing import LiteralString, cast

import asyncpg
import msgspec
from asyncpg.types import ServerVersion

from rytask.platform.db import translated
from rytask.platform.errors import CannotRun, Unavailable

_LOCK = 7_239_181_402
_OLDEST = 15


class Migration(msgspec.Struct, frozen=True):
    version: int
    name: str
    sql: str

    @property
    def checksum(self) -> str:
        return hashlib.sha256(self.sql.encode()).hexdigest()

    @property
    def statements(self) -> list[str]:
        """The parts to commit one by one: the whole text, or each of its statements."""
        if not self.sql.startswith("-- one by one\n"):
            return [self.sql]
        return [text for text in self.sql.split(";\n") if text.strip()]


class SchemaProblem(CannotRun):
    """The database and this version of RyTask do not fit; the message says what to do."""


def shipped_migrations() -> list[Migration]:
    """The migrations of this version, in order."""
    files = resources.files("rytask").joinpath("migrations").iterdir()
    return sorted(
        (
            Migration(int(file.name[:4]), file.name.removesuffix(".sql"), file.read_text())
            for file in files
            if file.name[:4].isdigit() and file.name.endswith(".sql")
        ),
        key=lambda migration: migration.version,
    )


def too_old(postgres: ServerVersion) -> str | None:
    """Return the error for a PostgreSQL that is too old, if it is."""
    if postgres.major >= _OLDEST:
        return None
    return f"PostgreSQL {postgres.major} is too old: {_OLDEST} or newer is needed."


async def pending(connection: asyncpg.Connection) -> list[Migration]:
    """List unapplied migrations. Raises SchemaProblem when history was changed."""
    with translated():
        await connection.execute(
            "CREATE TABLE IF NOT EXISTS schema_migrations ("
            " version int PRIMARY KEY, name text NOT NULL, checksum text NOT NULL,"
            " applied_at timestamptz NOT NULL DEFAULT now())"
        )
        rows = await connection.fetch("SELECT version, checksum FROM schema_migrations")
    applied = {row["version"]: row["checksum"] for row in rows}
    for migration in shipped_migrations():
        if applied.get(migration.version, migration.checksum) != migration.checksum:
            raise SchemaProblem(
                f"Migration {migration.name} was applied in another form. Install the version of"
                " RyTask that this database was made with, or restore a backup."
            )
    return [migration for migration in shipped_migrations() if migration.version not in applied]


async def migrate(url: str, *, wait: float = 60.0) -> list[str]:
    """Bring the schema up to date; the names of what was applied.

    Waits up to `wait` seconds for the database to answer. A migration that cannot get its locks
    within 5 seconds gives up and leaves everything as it was, so that traffic is never held up.
    """
    connection = await _connected(url, wait)
    try:
        if sentence := too_old(connection.get_server_version()):
            raise SchemaProblem(sentence)
        await _lock(connection)
        applied = []
        for migration in await pending(connection):
            with translated():
                await _apply(connection, migration)
            applied.append(migration.name)
        return applied
    finally:
        await connection.close()


async def _lock(connection: asyncpg.Connection) -> None:
    """Wait until no other process migrates.

    Nobody waits inside a statement: building an index CONCURRENTLY waits for every statement that
    was begun before, and would wait for those who wait for it.
    """
    with translated():
        while not await connection.fetchval("SELECT pg_try_advisory_lock($1)", _LOCK):
            await asyncio.sleep(0.2)


async def _apply(connection: asyncpg.Connection, migration: Migration) -> None:
    *before, last = migration.statements
    for statement in before:
        await connection.execute(cast("LiteralString", statement))
    async with connection.transaction():
        await connection.execute("SET LOCAL lock_timeout = '5s'")
        await connection.execute(cast("LiteralString", last))
        await connection.execute(
            "INSERT INTO schema_migrations (version, name, checksum) VALUES ($1, $2, $3)",
            migration.version,
            migration.name,
            migration.checksum,
        )


async def _connected(url: str, wait: float) -> asyncpg.Connection:
    deadline = asyncio.get_running_loop().time() + wait
    while True:
        try:
            with translated():
                return await asyncpg.connect(url, timeout=5)
        except Unavailable:
            if asyncio.get_running_loop().time() > deadline:
                raise
            await asyncio.sleep(0.3)

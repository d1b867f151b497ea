"""Migrations that build indexes while the application writes."""

import asyncio
import os
from collections.abc import AsyncIterator
from urllib.parse import urlsplit

import asyncpg
import pytest

from rytask.platform.migrate import Migration, migrate, shipped_migrations


@pytest.fixture
async def new_database_url(worker_number: int) -> AsyncIterator[str]:
    server, name = os.environ["RYTASK_TEST_DATABASE_URL"], f"migrating_{worker_number}"
    connection = await asyncpg.connect(server)
    try:
        await connection.execute(f"DROP DATABASE IF EXISTS {name} WITH (FORCE)")
        await connection.execute(f"CREATE DATABASE {name}")
        yield urlsplit(server)._replace(path=f"/{name}").geturl()
        await connection.execute(f"DROP DATABASE {name} WITH (FORCE)")
    finally:
        await connection.close()


def test_a_migration_is_one_transaction_unless_it_says_otherwise() -> None:
    sql = "CREATE TABLE a ();\nCREATE TABLE b ();\n"
    assert Migration(1, "one", sql).statements == [sql]
    assert Migration(1, "one", "-- one by one\n" + sql).statements == [
        "-- one by one\nCREATE TABLE a ()",
        "CREATE TABLE b ()",
    ]


async def test_processes_that_migrate_at_once_do_not_wait_for_each_other_in_a_circle(
    new_database_url: str,
) -> None:
    applied = await asyncio.gather(*(migrate(new_database_url) for _ in range(3)))
    every = [migration.name for migration in shipped_migrations()]
    assert sorted(applied) == [[], [], every]


async def test_an_interrupted_migration_is_begun_again(new_database_url: str) -> None:
    await migrate(new_database_url)
    connection = await asyncpg.connect(new_database_url)
    try:
        # As a crash between its statements leaves it: one index is not there, one is not valid.
        await connection.execute(
            "DELETE FROM schema_migrations WHERE version = 3;"
            " DROP INDEX work_items_groups, work_items_number"
        )
        await connection.execute(
            "INSERT INTO organizations (id, name, slug)"
            " SELECT gen_random_uuid(), 'Same', 'same' || n FROM generate_series(1, 2) n"
        )
        with pytest.raises(asyncpg.UniqueViolationError):
            await connection.execute(
                "CREATE UNIQUE INDEX CONCURRENTLY work_items_number ON organizations (name)"
            )
        assert await migrate(new_database_url) == ["0003_reading"]
        names = await connection.fetch(
            "SELECT c.relname FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid"
            " WHERE NOT i.indisvalid"
        )
        assert names == []
    finally:
        await connection.close()

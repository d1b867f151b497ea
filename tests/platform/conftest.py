"""A database for tests of the worker, which runs whatever is due in it."""

from collections.abc import AsyncIterator
from urllib.parse import urlsplit

import asyncpg
import pytest
from tests.platform import sample_jobs
from tests.platform.sample_jobs import Lab

from rytask.platform.ids import OrgId, new_id
from rytask.platform.migrate import migrate


@pytest.fixture(scope="session")
async def lab_url(empty_database_url: str) -> str:
    """A database of these tests alone: their workers run whatever is due in it."""
    at = urlsplit(empty_database_url)
    url = at._replace(path=f"{at.path}_jobs").geturl()
    name = at.path[1:] + "_jobs"
    connection = await asyncpg.connect(empty_database_url)
    await connection.execute(f"DROP DATABASE IF EXISTS {name} WITH (FORCE)")
    await connection.execute(f"CREATE DATABASE {name}")
    await connection.close()
    await migrate(url)
    connection = await asyncpg.connect(url)
    await connection.execute("CREATE TABLE effects (what text NOT NULL)")
    await connection.close()
    return url


@pytest.fixture
async def it(lab_url: str, redis_url: str) -> AsyncIterator[Lab]:
    async with sample_jobs.opened(lab_url, lambda: None) as tools:
        org_id = OrgId(new_id())
        async with tools.work.database.transaction() as tx:
            await tx.execute("TRUNCATE effects, jobs, schedules")
            await tx.execute(
                "INSERT INTO organizations (id, name, slug) VALUES ($1, 'Lab', $2)",
                org_id,
                org_id.hex,
            )
        yield Lab(lab_url, redis_url, tools, org_id)

"""An installation as a whole, on a database of its own: the first run, and migrations."""

import asyncio
import os
import re
import sys
from collections.abc import AsyncIterator
from urllib.parse import urlsplit

import asyncpg
import httpx
import pytest
from structlog.testing import capture_logs

from rytask import app
from rytask.platform.crypto import token
from rytask.platform.migrate import migrate, shipped_migrations
from rytask.platform.settings import Settings
from tests.world import PASSWORD, environ

FOUNDER = {
    "organizationName": "Example",
    "ownerName": "Olive",
    "ownerEmail": "olive@example.com",
    "ownerPassword": PASSWORD,
}


@pytest.fixture
async def bare_database_url(database_url: str) -> str:
    connection = await asyncpg.connect(database_url)
    name = f"{urlsplit(database_url).path[1:]}_first_run"
    await connection.execute(f"DROP DATABASE IF EXISTS {name}")
    await connection.execute(f"CREATE DATABASE {name}")
    await connection.close()
    return urlsplit(database_url)._replace(path=f"/{name}").geturl()


@pytest.fixture
async def fresh_database_url(bare_database_url: str) -> str:
    await migrate(bare_database_url)
    return bare_database_url


@pytest.fixture
async def client(fresh_database_url: str, redis_url: str) -> AsyncIterator[httpx.AsyncClient]:
    async with app.api(Settings.read(environ(fresh_database_url, redis_url, 9))) as api:
        transport = httpx.ASGITransport(api.application)
        async with httpx.AsyncClient(transport=transport, base_url="http://test/api/v1") as client:
            yield client


async def rytask(database_url: str, *args: str) -> str:
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "rytask", *args),
        env={**os.environ, "DATABASE_URL": database_url},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    said, _ = await process.communicate()
    return said.decode()


async def test_without_its_schema_an_api_says_what_to_do_and_serves_once_it_is_there(
    bare_database_url: str, redis_url: str
) -> None:
    newest, invited = shipped_migrations()[-1].version, token("rytask_inv_")
    with capture_logs() as logs:
        async with (
            app.api(Settings.read(environ(bare_database_url, redis_url, 9))) as api,
            httpx.AsyncClient(
                transport=httpx.ASGITransport(api.application), base_url="http://test"
            ) as client,
        ):
            ready, setup = "/readyz", "/api/v1/setup"
            assert (await client.get(ready)).status_code == 503
            refused = await client.post(setup, json=FOUNDER)
            assert refused.status_code == 503
            assert "Run `rytask migrate`" in refused.json()["detail"]
            assert (await client.get(f"/api/v1/invites/{invited}")).status_code == 503
            await migrate(bare_database_url)
            assert (await client.get(ready)).status_code == 200
            assert (await client.post(setup, json=FOUNDER)).status_code == 201
            await asyncio.sleep(0.6)  # until it has looked again
            connection = await asyncpg.connect(bare_database_url)
            await connection.execute("DELETE FROM schema_migrations WHERE version = $1", newest)
            await connection.close()
            assert (await client.get(ready)).status_code == 503
    unavailable = [log for log in logs if log["event"] == "request.unavailable"]
    assert [log["route"] for log in unavailable] == ["/api/v1/setup", "/api/v1/invites/{token}"]
    assert all("does not exist" in log["error"] for log in unavailable)
    assert invited not in str(logs)
    events = [log["event"] for log in logs if log["event"].startswith("database.")]
    assert events == ["database.away", "database.back"]


async def test_the_first_run_is_over_for_good_and_the_shell_is_the_way_back(
    client: httpx.AsyncClient, fresh_database_url: str
) -> None:
    assert (await client.get("/setup")).json() == {"available": True}
    owner = (await client.post("/setup", json=FOUNDER)).json()
    bearer = {"authorization": f"Bearer {owner['accessToken']}"}
    assert (await client.get("/setup")).json() == {"available": False}
    assert (await client.delete("/orgs/current", headers=bearer)).status_code == 204

    assert (await client.get("/setup")).json() == {"available": False}
    answer = await client.post("/setup", json={**FOUNDER, "ownerEmail": "mallory@example.com"})
    assert (answer.status_code, answer.json()["code"]) == (409, "setup.done")

    options = ("setup", "--organization=Again", "--owner-name=Olive")
    said = await rytask(fresh_database_url, *options, "--owner-email=nobody")
    assert "`$.ownerEmail`" in said
    said = await rytask(fresh_database_url, *options, "--owner-email=olive@example.com")
    password = re.findall(r"Sign in as olive@example.com with (\S+), and change it", said)[0]
    login = {"email": "olive@example.com", "password": password}
    assert (await client.post("/auth/login", json=login)).status_code == 200
    said = await rytask(fresh_database_url, *options, "--owner-email=olive@example.com")
    assert "has an account already" in said


async def test_a_migration_under_traffic_fails_no_write(
    client: httpx.AsyncClient, fresh_database_url: str
) -> None:
    founded = (await client.post("/setup", json=FOUNDER)).json()
    client.headers["authorization"] = f"Bearer {founded['accessToken']}"
    [project] = (await client.get("/projects")).json()["data"]
    body = {"projectId": project["id"], "title": "Fix the door"}

    async def create_some() -> set[int]:
        made = await asyncio.gather(*(client.post("/work-items", json=body) for _ in range(20)))
        return {answer.status_code for answer in made}

    assert await create_some() == {201}
    connection = await asyncpg.connect(fresh_database_url)
    await connection.execute("ALTER TABLE projects ALTER COLUMN key_prefix TYPE varchar(50)")
    await connection.close()
    assert await create_some() == {201}

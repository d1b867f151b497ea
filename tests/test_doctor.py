import asyncio
import json
import os
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import asyncpg
import pytest
import redis
from asyncpg.types import ServerVersion

from rytask.doctor import Finding, examine
from rytask.platform import connections, engines
from rytask.platform.db import Database
from rytask.platform.engines import Engines
from rytask.platform.migrate import migrate, too_old
from tests.world import MailServer, environ

NOBODY = "127.0.0.1:9"


@pytest.fixture(scope="module")
def at_work(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Path, Engines]]:
    """Engines that may be broken, and where their data is."""
    path = tmp_path_factory.mktemp("doctor") / "data"
    with engines.running(path) as running:
        yield path, running


@dataclass
class Patient:
    """An installation of one test, which a worker looked after a moment ago."""

    environ: dict[str, str]
    data_dir: Path
    db: asyncpg.Connection

    async def findings(self, **settings: str) -> list[Finding]:
        return await examine(self.environ | settings, data_dir=self.data_dir)

    async def troubles(self, **settings: str) -> list[str]:
        """What is not ok: `level about: found`."""
        return [
            f"{finding.level} {finding.about}: {finding.found}"
            for finding in await self.findings(**settings)
            if finding.level != "ok"
        ]


@pytest.fixture(scope="module")
async def sound(at_work: tuple[Path, Engines]) -> str:
    """The address of a database of this module's own, which each test finds sound."""
    owner = await asyncpg.connect(at_work[1].database_url)
    await owner.execute("CREATE DATABASE patient")
    await owner.close()
    url = urlsplit(at_work[1].database_url)._replace(path="/patient").geturl()
    await migrate(url)
    db = await asyncpg.connect(url)
    await db.execute("CREATE TABLE history AS TABLE schema_migrations")
    await db.close()
    return url


@pytest.fixture
async def patient(at_work: tuple[Path, Engines], sound: str) -> AsyncIterator[Patient]:
    db = await asyncpg.connect(sound)
    await db.execute("DROP TABLE IF EXISTS schema_migrations")
    await db.execute("CREATE TABLE schema_migrations AS TABLE history")
    await db.execute("TRUNCATE organizations, jobs, schedules CASCADE")
    await db.execute("INSERT INTO schedules VALUES ('a.scan', now() + interval '1 hour')")
    async with MailServer().running() as mail:
        yield Patient(environ(sound, at_work[1].redis_url, mail.port), at_work[0], db)
    await db.close()


async def test_a_sound_installation_has_nothing_to_complain_about(patient: Patient) -> None:
    findings = await patient.findings()
    assert await patient.troubles() == []
    assert {finding.about for finding in findings} == {
        *("settings", "PostgreSQL", "connections", "clock", "schema", "Redis", "jobs"),
        *("Slack", "mail"),
    }


async def test_every_setting_that_is_wrong_is_named_and_the_rest_is_still_looked_at(
    patient: Patient,
) -> None:
    findings = await patient.findings(PORT="x", SLACK_SIGNING_SECRET="", MAIL_FORM="a@b.example")
    wrong = [finding.found for finding in findings if finding.level != "ok"]
    assert wrong[0].startswith("MAIL_FORM is not a setting")
    assert wrong[1].startswith("PORT is 'x'")
    assert "SLACK_SIGNING_SECRET" in wrong[2]
    assert {"PostgreSQL", "Redis", "jobs", "mail"} <= {finding.about for finding in findings}


async def test_without_the_address_of_the_database_only_the_settings_are_looked_at(
    patient: Patient,
) -> None:
    (trouble,) = await patient.troubles(DATABASE_URL="")
    assert trouble.startswith("problem settings: DATABASE_URL is missing")


async def test_links_that_lead_to_this_machine_only_are_pointed_out(patient: Patient) -> None:
    (trouble,) = await patient.troubles(APP_BASE_URL="http://localhost:3001")
    assert "lead to http://localhost:3001" in trouble


async def test_postgresql_that_is_away_is_said_and_redis_is_still_looked_at(
    patient: Patient,
) -> None:
    findings = await patient.findings(DATABASE_URL=f"postgresql://me:secret@{NOBODY}/db")
    said = {finding.about: finding for finding in findings}
    assert said["PostgreSQL"].level == "problem"
    assert NOBODY in said["PostgreSQL"].found
    assert "secret" not in str(findings)
    assert said["Redis"].level == "ok"


async def test_a_database_that_does_not_exist_is_told_in_the_words_of_postgresql(
    patient: Patient,
) -> None:
    url = urlsplit(patient.environ["DATABASE_URL"])._replace(path="/nowhere").geturl()
    (trouble,) = await patient.troubles(DATABASE_URL=url)
    assert 'database "nowhere" does not exist' in trouble


async def test_redis_that_is_away_is_said_and_the_jobs_are_still_looked_at(
    patient: Patient,
) -> None:
    findings = await patient.findings(REDIS_URL=f"redis://{NOBODY}/0")
    said = {finding.about: finding for finding in findings}
    assert said["Redis"].level == "problem"
    assert NOBODY in said["Redis"].found
    assert said["jobs"].level == "ok"


async def test_redis_that_may_forget_jobs_is_said(patient: Patient) -> None:
    with redis.Redis.from_url(patient.environ["REDIS_URL"]) as client:
        client.config_set("maxmemory-policy", "allkeys-lru")
        client.config_set("appendonly", "no")
        try:
            evicting, forgetting = await patient.troubles()
        finally:
            client.config_set("maxmemory-policy", "noeviction")
            client.config_set("appendonly", "yes")
    assert evicting.startswith("problem Redis: maxmemory-policy is allkeys-lru")
    assert forgetting.startswith("warn Redis: appendonly is off")


async def test_pools_that_leave_no_room_for_a_second_process_are_said(patient: Patient) -> None:
    (trouble,) = await patient.troubles(DATABASE_POOL_SIZE="80")
    assert trouble.startswith("warn connections: Room for 297 connections: 1 processes, each with")
    assert "164" in trouble


async def test_the_pools_open_no_more_than_is_added_up(patient: Patient) -> None:
    database = await Database.connect(patient.environ["DATABASE_URL"], size=3, name="crowd")

    async def write(*, asynchronous_commit: bool) -> None:
        async with database.transaction(asynchronous_commit=asynchronous_commit) as tx:
            await tx.value("SELECT pg_sleep(0.3)")

    readers = database.reader, database.reader.custom_plans
    reads = [reader.value("SELECT pg_sleep(0.3)") for reader in readers for _ in range(9)]
    writes = [write(asynchronous_commit=way) for way in (False, True) for _ in range(9)]
    crowd = asyncio.gather(*reads, *writes)
    opened: list[Any] = []
    while not crowd.done():
        await asyncio.sleep(0.02)
        opened.append(
            await patient.db.fetchval(
                "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'crowd'"
            )
        )
    await crowd
    await database.close()
    assert max(opened) == connections.max_connections(3) == 10


def test_a_postgresql_that_the_schema_cannot_live_in_is_said() -> None:
    old, new = (ServerVersion(major, 0, 9, "final", 0) for major in (14, 15))
    assert too_old(old) == "PostgreSQL 14 is too old: 15 or newer is needed."
    assert too_old(new) is None


async def test_the_locale_is_the_one_that_sorts(patient: Patient) -> None:
    await patient.db.execute("DROP DATABASE IF EXISTS sorted")
    if patient.db.get_server_version().major < 17:
        pytest.skip("this PostgreSQL sorts by no locale of its own")
    await patient.db.execute(
        "CREATE DATABASE sorted TEMPLATE template0 LC_COLLATE 'C' LC_CTYPE 'C.UTF-8'"
        " LOCALE_PROVIDER builtin BUILTIN_LOCALE 'C.UTF-8'"
    )
    url = urlsplit(patient.environ["DATABASE_URL"])._replace(path="/sorted").geturl()
    found = [finding.found for finding in await patient.findings(DATABASE_URL=url)]
    assert any(said.endswith("UTF8, C.UTF-8 (builtin).") for said in found), found


async def test_a_database_without_a_schema_is_said(patient: Patient) -> None:
    await patient.db.execute("DROP TABLE schema_migrations")
    (trouble,) = await patient.troubles()
    assert trouble == "problem schema: The database is empty."
    assert await patient.db.fetchval("SELECT to_regclass('schema_migrations')") is None


async def test_migrations_that_are_not_applied_are_named(patient: Patient) -> None:
    await patient.db.execute("DELETE FROM schema_migrations")
    (trouble,) = await patient.troubles()
    assert trouble.startswith("problem schema: Not applied yet: 0001_start")


async def test_a_changed_history_is_said(patient: Patient) -> None:
    await patient.db.execute("UPDATE schema_migrations SET checksum = 'other'")
    (trouble,) = await patient.troubles()
    assert trouble.startswith("problem schema: Migration 0001_start was applied in another form.")


async def test_a_database_of_a_newer_version_is_said(patient: Patient) -> None:
    await patient.db.execute("INSERT INTO schema_migrations VALUES (9999, '9999_later', 'x')")
    (trouble,) = await patient.troubles()
    assert trouble.startswith("warn schema: A newer version")


async def test_that_no_worker_runs_is_said(patient: Patient) -> None:
    await patient.db.execute("UPDATE schedules SET next_at = now() - interval '2 hours'")
    (trouble,) = await patient.troubles()
    assert trouble.startswith("problem jobs: No worker has looked for jobs for 2:00:0")
    await patient.db.execute("DELETE FROM schedules")
    (trouble,) = await patient.troubles()
    assert trouble.startswith("problem jobs: No worker has ever run here")


async def test_jobs_that_wait_for_long_are_said(patient: Patient) -> None:
    await patient.db.execute(
        "INSERT INTO jobs (name, arg, max_attempts, due_at)"
        " VALUES ('a.b', 'null', 5, now() - interval '5 minutes')"
    )
    (trouble,) = await patient.troubles()
    assert trouble.startswith("warn jobs: The oldest job has been due for 0:05:0")
    assert trouble.endswith("1 waiting.")


async def test_jobs_that_failed_for_good_are_told_by_name_and_how_to_run_them_again(
    patient: Patient,
) -> None:
    await patient.db.execute(
        "INSERT INTO jobs (name, arg, max_attempts, state, last_error) VALUES"
        " ('mail.send', 'null', 5, 'dead', 'old'), ('mail.send', 'null', 5, 'dead', 'new'),"
        " ('slack.capture', 'null', 5, 'dead', NULL)"
    )
    mails, captures = [f for f in await patient.findings() if f.level == "problem"]
    assert mails.found == "2 × mail.send failed for good, at last with: new"
    assert "rytask jobs retry --dead --name mail.send" in mails.advice
    assert captures.found.startswith("1 × slack.capture")


async def test_a_token_that_our_key_does_not_open_is_said(patient: Patient) -> None:
    await patient.db.execute(
        "WITH org AS (INSERT INTO organizations (id, name, slug)"
        "    VALUES (gen_random_uuid(), 'Acme', 'acme') RETURNING id),"
        " owner AS (INSERT INTO users (id, org_id, email, name)"
        "    SELECT gen_random_uuid(), id, 'o@acme.example', 'Olive' FROM org RETURNING id)"
        " INSERT INTO slack_connections (id, org_id, team_id, team_name, bot_user_id, bot_token,"
        "    scopes, installed_by, connected_at)"
        " SELECT gen_random_uuid(), org.id, 'T1', 'Acme', 'U1', 'sealed otherwise', '{}', owner.id,"
        "    now() FROM org, owner"
    )
    (trouble,) = await patient.troubles()
    assert trouble == (
        "problem Slack: The connection to Acme is broken:"
        " SLACK_TOKEN_ENC_KEY does not open its token."
    )


async def test_a_mail_server_that_is_away_is_said(patient: Patient) -> None:
    (trouble,) = await patient.troubles(SMTP_URL=f"smtp://me:secret@{NOBODY}")
    assert trouble.startswith(f"problem mail: {NOBODY} does not take mail")


async def test_without_a_mail_server_it_is_said_what_does_not_work(patient: Patient) -> None:
    (trouble,) = await patient.troubles(SMTP_URL="", MAIL_FROM="")
    assert trouble.startswith("warn mail: No mail is sent")


async def run_doctor(*flags: str, **settings: str) -> subprocess.CompletedProcess[str]:
    return await asyncio.to_thread(
        subprocess.run,
        [sys.executable, "-m", "rytask", "doctor", *flags],
        capture_output=True,
        text=True,
        env={**os.environ, **settings},
    )


async def test_the_command_finds_the_engines_that_run_here_and_fails_when_something_is_wrong(
    at_work: tuple[Path, Engines],
) -> None:
    data_dir, running = at_work
    result = await run_doctor("--json", RYTASK_DATA_DIR=str(data_dir))
    assert result.returncode == 1, result.stderr
    said: dict[str, Any] = {finding["about"]: finding for finding in json.loads(result.stdout)}
    assert said["schema"]["found"] == "The database is empty."
    assert said["disk"]["level"] in ("ok", "warn", "problem")
    assert running.database_url not in result.stdout


async def test_the_command_succeeds_when_nothing_is_wrong(patient: Patient) -> None:
    result = await run_doctor(**patient.environ)
    assert result.returncode == 0, result.stdout + result.stderr
    assert "A worker looks for jobs: no job waits." in result.stdout

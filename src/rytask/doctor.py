"""The doctor: looks at an installation, and says what is wrong and what to do about it.

It changes nothing, and what is away keeps it from looking only at what depends on it.
"""

import re
import shutil
from collections.abc import AsyncIterator, Iterator, Mapping
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from time import perf_counter
from typing import Any, Literal
from urllib.parse import urlsplit

import asyncpg
import msgspec

from rytask.modules.slack import service as slack
from rytask.platform import connections, outbox, schedule
from rytask.platform.db import Database, translated
from rytask.platform.engines import saved_settings
from rytask.platform.errors import Unavailable
from rytask.platform.mail import Delayed, Mailer
from rytask.platform.migrate import SchemaProblem, pending, shipped_migrations, too_old
from rytask.platform.settings import BadSetting, Settings, likely_typos
from rytask.platform.worker_notifier import REDIS_ERRORS, connect

_GIB = 1 << 30


class Finding(msgspec.Struct, frozen=True):
    """One thing that was looked at. What is not ok says what to do."""

    level: Literal["ok", "warn", "problem"]
    about: str
    found: str
    advice: str = ""


_ok, _warn, _problem = (partial(Finding, level) for level in ("ok", "warn", "problem"))


async def examine(
    environ: Mapping[str, str], *, data_dir: Path, online: bool = False
) -> list[Finding]:
    """Look at everything. `online` asks Slack, too, whether it takes our tokens."""
    findings, settings = _settings(environ)
    if settings is None:
        return findings
    findings += [finding async for finding in _engines(settings, online)]
    findings += [finding async for finding in _mail(settings)]
    if saved_settings(data_dir).get("DATABASE_URL") == settings.database_url:
        findings.append(_disk(data_dir))
    return findings


def _settings(environ: Mapping[str, str]) -> tuple[list[Finding], Settings | None]:
    findings = [
        _warn("settings", typo, "Correct its name, or remove it.") for typo in likely_typos(environ)
    ]
    try:
        settings = Settings.read(environ)
    except BadSetting as wrong:
        findings += [
            _problem("settings", sentence, "Correct it: RyTask does not start before.")
            for sentence in str(wrong).splitlines()
        ]
        return findings, _usable(environ, wrong)
    findings += _links(settings)
    if not findings:
        findings.append(_ok("settings", "All can be used."))
    return findings, settings


def _usable(environ: Mapping[str, str], wrong: BadSetting) -> Settings | None:
    """The settings without those that are wrong: with the others, much can be looked at."""
    named = set(re.findall(r"\b[A-Z][A-Z0-9_]+\b", str(wrong)))
    rest = {name: text for name, text in environ.items() if name.removesuffix("_FILE") not in named}
    try:
        return Settings.read(rest, serving=False)
    except BadSetting as still:
        return None if len(rest) == len(environ) else _usable(rest, still)


def _links(settings: Settings) -> Iterator[Finding]:
    local = urlsplit(settings.app_base_url).hostname in ("localhost", "127.0.0.1", "::1")
    if local and (settings.slack or settings.smtp_url):
        yield _warn(
            "settings",
            f"Links in mails and in Slack lead to {settings.app_base_url}: to this machine only.",
            "Set APP_BASE_URL to where people reach RyTask.",
        )


async def _engines(settings: Settings, online: bool) -> AsyncIterator[Finding]:
    redis = [finding async for finding in _redis(settings.redis_url)]
    # Not by a pool: what PostgreSQL says when it refuses is worth reading.
    try:
        with translated():
            connection = await asyncpg.connect(settings.database_url, timeout=5)
    except Unavailable as away:
        where, why = _where(settings.database_url), away.__cause__
        yield _problem(
            "PostgreSQL",
            f"It does not let us in at {where}: {str(why) or 'no answer within 5 seconds'}.",
            "Start it, or correct DATABASE_URL. With `rytask up`, its own is there while it runs.",
        )
        for finding in redis:
            yield finding
        return
    schema = False
    try:
        async for finding in _postgres(connection, settings.database_pool_size):
            yield finding
        async for finding in _schema(connection):
            schema = finding.level != "problem"
            yield finding
    finally:
        await connection.close()
    for finding in redis:
        yield finding
    if schema:
        database = await Database.connect(settings.database_url, size=1, name="rytask-doctor")
        try:
            async for finding in _queue(database):
                yield finding
            async for finding in _slack(database, settings, online):
                yield finding
        finally:
            await database.close()


async def _postgres(connection: asyncpg.Connection, pool_size: int) -> AsyncIterator[Finding]:
    if sentence := too_old(connection.get_server_version()):
        yield _problem("PostgreSQL", sentence, "Move the database to a newer PostgreSQL.")
        return
    facts = await connection.fetchrow(
        "SELECT current_setting('server_version') AS version,"
        "   current_setting('server_encoding') AS encoding,"
        "   current_setting('fsync') = 'on' AS fsync, pg_is_in_recovery() AS replica,"
        "   current_setting('max_connections')::int"
        "     - current_setting('superuser_reserved_connections')::int AS room,"
        # Until 16 the column was daticulocale, and libc has its own.
        "   coalesce(to_jsonb(d) ->> 'datlocale', to_jsonb(d) ->> 'daticulocale', d.datcollate)"
        "     AS locale,"
        "   CASE d.datlocprovider WHEN 'b' THEN 'builtin' WHEN 'i' THEN 'ICU' ELSE 'libc' END"
        "     AS provider,"
        "   d.datcollversion AS sorted_by,"
        "   pg_database_collation_actual_version(d.oid) AS sorts_by"
        "  FROM pg_database d WHERE d.datname = current_database()"
    )
    assert facts  # noqa: S101 - the database that we are in
    sorts = f"{facts['locale']} ({facts['provider']})"
    yield _ok("PostgreSQL", f"Version {facts['version']}, {facts['encoding']}, {sorts}.")
    if facts["encoding"] != "UTF8":
        yield _problem(
            "PostgreSQL",
            f"The database's encoding is {facts['encoding']}: it cannot hold every text.",
            "Make it again with ENCODING 'UTF8' TEMPLATE template0, and restore into it.",
        )
    if facts["sorted_by"] != facts["sorts_by"]:
        yield _problem(
            "PostgreSQL",
            "The system sorts texts otherwise than when the database was made:"
            " its indexes may miss rows.",
            "Run REINDEX DATABASE and then ALTER DATABASE … REFRESH COLLATION VERSION.",
        )
    if facts["replica"]:
        yield _problem(
            "PostgreSQL",
            "This server is a replica: nothing can be written.",
            "Set DATABASE_URL to the primary.",
        )
        return
    yield _connections(facts["room"], connections.max_connections(pool_size))
    yield await _commit(connection, facts["fsync"])
    asked = datetime.now(UTC)
    theirs: Any = await connection.fetchval("SELECT clock_timestamp()")
    yield _clock("PostgreSQL", asked, theirs)


def _connections(room: int, each: int) -> Finding:
    processes = room // each
    found = (
        f"Room for {room} connections: {processes} processes, each with at most {each}"
        f" (DATABASE_POOL_SIZE to read, as many to write, and"
        f" {connections.ASYNC_COMMIT_POOL_SIZE} more)."
    )
    if processes >= 2:
        return _ok("connections", found)
    return _warn(
        "connections", found, "Raise max_connections of PostgreSQL, or lower DATABASE_POOL_SIZE."
    )


async def _commit(connection: asyncpg.Connection, fsync: bool) -> Finding:
    """Measure how long PostgreSQL takes for a durable commit: every change waits for that."""
    if not fsync:
        return _problem(
            "PostgreSQL", "fsync is off: a power cut destroys the database.", "Set fsync = on."
        )
    took = []
    for _ in range(5):
        started = perf_counter()
        await connection.fetchval("SELECT pg_logical_emit_message(true, 'rytask', 'doctor')")
        took.append(perf_counter() - started)
    found = f"A commit takes {sorted(took)[2] * 1000:.1f} ms."
    if sorted(took)[2] < 0.05:
        return _ok("PostgreSQL", found)
    return _warn("PostgreSQL", found, "Put its data on a faster disk.")


async def _schema(connection: asyncpg.Connection) -> AsyncIterator[Finding]:
    migrate = "Run `rytask migrate`."
    if not await connection.fetchval("SELECT to_regclass('schema_migrations')"):
        yield _problem("schema", "The database is empty.", migrate)
        return
    try:
        missing = await pending(connection)
    except SchemaProblem as problem:
        found, _, advice = str(problem).partition(". ")
        yield _problem("schema", f"{found}.", advice)
        return
    newest: Any = await connection.fetchval("SELECT max(version) FROM schema_migrations")
    if missing:
        names = ", ".join(migration.name for migration in missing)
        yield _problem("schema", f"Not applied yet: {names}.", migrate)
    elif newest > shipped_migrations()[-1].version:
        yield _warn(
            "schema",
            "A newer version of RyTask has migrated this database.",
            "Finish the upgrade of every process to that version.",
        )
    else:
        yield _ok("schema", f"Up to date: {shipped_migrations()[-1].name}.")


async def _redis(url: str) -> AsyncIterator[Finding]:
    if not url:
        return
    client: Any = connect(url, timeout=2.0)
    try:
        facts = await client.info("everything")
        asked = datetime.now(UTC)
        seconds, micros = await client.time()
        clock = _clock("Redis", asked, datetime.fromtimestamp(seconds + micros / 1e6, UTC))
    except REDIS_ERRORS as error:
        yield _problem(
            "Redis",
            f"It does not let us in at {_where(url)}: {str(error).rstrip('.')}."
            " Requests go on; jobs and captures wait.",
            "Start it, or correct REDIS_URL. With `rytask up`, its own is there while it runs.",
        )
        return
    finally:
        await client.aclose()
    name, least = ("Valkey", 8) if "valkey_version" in facts else ("Redis", 7)
    version = str(facts.get("valkey_version") or facts["redis_version"])
    if int(version.split(".")[0]) < least:
        yield _problem(
            "Redis", f"It is {name} {version}: too old.", "Move to Redis 7 or Valkey 8, or newer."
        )
    else:
        yield _ok("Redis", f"{name} {version}.")
    if facts["maxmemory_policy"] != "noeviction":
        yield _problem(
            "Redis",
            f"maxmemory-policy is {facts['maxmemory_policy']}: when memory is short, it throws"
            " jobs away.",
            "Set maxmemory-policy noeviction.",
        )
    most = facts["maxmemory"]
    if most and facts["used_memory"] > 0.9 * most:
        yield _warn(
            "Redis",
            f"{facts['used_memory'] / most:.0%} of maxmemory is used: soon it takes no more jobs.",
            "Raise maxmemory.",
        )
    if not facts["aof_enabled"]:
        yield _warn(
            "Redis",
            "appendonly is off: a restart forgets the jobs under way, which then start late.",
            "Set appendonly yes and appendfsync everysec.",
        )
    for fact in ("aof_last_write_status", "aof_last_bgrewrite_status", "rdb_last_bgsave_status"):
        if facts.get(fact, "ok") != "ok":
            yield _problem(
                "Redis",
                f"It cannot save its data ({fact} is {facts[fact]}).",
                "Look into its log, and at the disk that it writes to.",
            )
    yield clock


def _clock(whose: str, asked: datetime, theirs: datetime) -> Finding:
    """Compare clocks, taking the other's time as that of half-way to its answer."""
    halfway = asked + (datetime.now(UTC) - asked) / 2
    seconds = (theirs - halfway).total_seconds()
    found = f"The clock of {whose} is {abs(seconds):.1f} s {'ahead' if seconds > 0 else 'behind'}."
    if abs(seconds) < 2:
        return _ok("clock", found)
    return Finding(
        "problem" if abs(seconds) > 30 else "warn",
        "clock",
        found,
        "Let every machine set its clock by NTP.",
    )


async def _queue(database: Database) -> AsyncIterator[Finding]:
    counts = await outbox.counts(database.reader)
    late = await schedule.late(database.reader)
    waits = max((count.overdue for count in counts if count.state != "dead"), default=0.0)
    said = ", ".join(f"{count.jobs} {count.state}" for count in counts) or "no job waits"
    if late is None:
        yield _problem(
            "jobs",
            f"No worker has ever run here: {said}.",
            "Start one: `rytask serve` with WORKER=1.",
        )
    elif late > 15:
        yield _problem(
            "jobs",
            f"No worker has looked for jobs for {_lasting(late)}: {said}.",
            "Start one: `rytask serve` with WORKER=1. If one runs, its log says what stops it.",
        )
    elif waits > 60:
        yield _warn(
            "jobs",
            f"The oldest job has been due for {_lasting(waits)}: {said}.",
            "Start more workers; if Redis is away, jobs wait for it.",
        )
    else:
        yield _ok("jobs", f"A worker looks for jobs: {said}.")
    for dead in await outbox.dead(database.reader):
        yield _problem(
            "jobs",
            f"{dead.jobs} × {dead.name} failed for good, at last with: {dead.last_error}",
            f"Mend the cause, then run `rytask jobs retry --dead --name {dead.name}`.",
        )


async def _slack(database: Database, settings: Settings, online: bool) -> AsyncIterator[Finding]:
    if not settings.slack:
        yield _ok("Slack", "Not configured.")
        return
    all_ever = await slack.every_connection(database.reader)
    active = [connection for connection in all_ever if connection.revoked_at is None]
    yield _ok(
        "Slack",
        f"Workspaces connected: {len(active)}, in the past: {len(all_ever) - len(active)}.",
    )
    for connection in active:
        if wrong := await slack.connection_problem(settings, connection, online=online):
            yield _problem(
                "Slack",
                f"The connection to {connection.team_name} is broken: {wrong}.",
                "Let an admin of the organization connect Slack again.",
            )


async def _mail(settings: Settings) -> AsyncIterator[Finding]:
    if not settings.smtp_url:
        yield _warn(
            "mail",
            "No mail is sent: people cannot reset a password, nor be invited by mail.",
            "Set SMTP_URL and MAIL_FROM.",
        )
        return
    try:
        await Mailer.read(settings.smtp_url, settings.mail_from).check()
    except Delayed as error:
        yield _problem(
            "mail",
            f"{_where(settings.smtp_url)} does not take mail: {error}.",
            "Correct SMTP_URL, or ask whoever runs that server.",
        )
    else:
        yield _ok("mail", f"{_where(settings.smtp_url)} takes mail.")


def _disk(data_dir: Path) -> Finding:
    free = shutil.disk_usage(data_dir).free
    found = f"{free / _GIB:.1f} GiB are free for {data_dir}."
    if free > 2 * _GIB:
        return _ok("disk", found)
    level = "problem" if free < _GIB / 2 else "warn"
    return Finding(level, "disk", found, "Make room, or move the data directory to another disk.")


def _where(url: str) -> str:
    """The host and port of an address, without its password."""
    parts = urlsplit(url)
    return parts.netloc.rpartition("@")[2] or parts.path


def _lasting(seconds: float) -> str:
    return str(timedelta(seconds=round(seconds)))

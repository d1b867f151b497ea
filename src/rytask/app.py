"""The composition root: what one process is made of, put together in one place."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from rytask import first_run, home
from rytask.modules.identity import jobs as identity_jobs
from rytask.modules.identity import routes as identity
from rytask.modules.identity import service as identity_service
from rytask.modules.notifications import jobs as notifications_jobs
from rytask.modules.notifications import reactions as notifications_reactions
from rytask.modules.notifications import routes as notifications
from rytask.modules.orgs import jobs as orgs_jobs
from rytask.modules.orgs import routes as orgs
from rytask.modules.projects import reactions as projects_reactions
from rytask.modules.projects import routes as projects
from rytask.modules.slack import jobs as slack_jobs
from rytask.modules.slack import reactions as slack_reactions
from rytask.modules.slack import routes as slack
from rytask.modules.work_items import jobs as work_items_jobs
from rytask.modules.work_items import reactions as work_items_reactions
from rytask.modules.work_items import routes as work_items
from rytask.platform import housekeeping, jobs, openapi, reactions
from rytask.platform.asgi import Application
from rytask.platform.auth import PERMISSIONS, Bearers, Keys
from rytask.platform.crypto import Passwords, Sealer
from rytask.platform.db import Database
from rytask.platform.executor import Executor, Limits
from rytask.platform.idempotency import Replays
from rytask.platform.mail import Mailer
from rytask.platform.rate_limit import Limiter
from rytask.platform.redis_client import RequestRedis
from rytask.platform.settings import Settings
from rytask.platform.work import Work
from rytask.platform.worker_notifier import WorkerNotifier

MODULES = (
    home.routes,
    first_run.routes,
    identity.routes,
    orgs.routes,
    projects.routes,
    work_items.routes,
    notifications.routes,
    slack.routes,
    slack.callback,
)
ROUTES = [route for module in MODULES for route in module.routes]

REGISTERED = (
    housekeeping,
    identity_jobs,
    orgs_jobs,
    projects_reactions,
    work_items_jobs,
    work_items_reactions,
    notifications_jobs,
    notifications_reactions,
    slack_jobs,
    slack_reactions,
)
"""Importing these has registered every job and every reaction."""

Clock = Callable[[], datetime]


def _now() -> datetime:
    return datetime.now(UTC)


def document(version: str) -> dict[str, Any]:
    """The OpenAPI document of every route."""
    return openapi.document(ROUTES, version)


@dataclass(frozen=True)
class Api:
    """An API process."""

    settings: Settings
    work: Work
    bearers: Bearers
    passwords: Passwords
    probes: home.Probes
    executor: Executor
    application: Application


@asynccontextmanager
async def api(settings: Settings, *, clock: Clock = _now) -> AsyncIterator[Api]:
    """Everything an API process needs, open for the length of the block."""
    if settings.slack:
        import slack_sdk.web.async_client  # noqa: F401 - not while somebody waits for a form
    database = await Database.connect(
        settings.database_url, size=settings.database_pool_size, name="rytask-api"
    )
    redis = RequestRedis(settings.redis_url)
    notifier = WorkerNotifier(redis)
    passwords = _passwords(settings)
    work = _work(database, notifier, clock)
    bearers = Bearers(_keys(settings), identity_service.pat_reader(work), clock)
    probes = home.Probes(database, redis)
    executor = Executor(
        ROUTES,
        work=work,
        limiter=Limiter(redis),
        replays=Replays(redis, Sealer.derived(settings.signing_secret, "replays")),
        limits={
            "default": Limits(settings.throttle_max_requests, settings.throttle_window_seconds),
            "auth": Limits(
                settings.auth_throttle_max_requests, settings.auth_throttle_window_seconds
            ),
        },
        permissions=PERMISSIONS,
        provide={
            Settings: settings,
            Work: work,
            Bearers: bearers,
            Passwords: passwords,
            home.Probes: probes,
            home.ApiDocument: home.ApiDocument(document(settings.app_version)),
        },
    )
    application = Application(
        ROUTES,
        executor,
        bearers,
        trusted_proxies=settings.trusted_proxies,
        cors_origins=frozenset(settings.cors_origin),
    )
    await redis.start()
    watching = asyncio.create_task(bearers.watch(database))
    try:
        yield Api(settings, work, bearers, passwords, probes, executor, application)
    finally:
        watching.cancel()
        await asyncio.gather(watching, return_exceptions=True)
        await notifier.close()
        await redis.close()
        passwords.close()
        await database.close()


@dataclass(frozen=True)
class Worker:
    """A worker process."""

    tools: jobs.Tools
    probes: home.Probes


@asynccontextmanager
async def worker(
    settings: Settings, wake: Callable[[], None], *, clock: Clock = _now
) -> AsyncIterator[Worker]:
    """Everything a worker's jobs need, open for the length of the block."""
    import aiohttp  # 0.2 s that an API process need not spend

    database = await Database.connect(
        settings.database_url, size=settings.database_pool_size, name="rytask-worker"
    )
    redis = RequestRedis(settings.redis_url)
    await redis.start()
    mailer = Mailer.read(settings.smtp_url, settings.mail_from) if settings.smtp_url else None
    try:
        async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=10)) as http:
            yield Worker(
                jobs.Tools(_work(database, wake, clock), http, settings, mailer),
                home.Probes(database, redis),
            )
    finally:
        await redis.close()
        await database.close()


@asynccontextmanager
async def cli_tools(settings: Settings) -> AsyncIterator[tuple[Work, Passwords]]:
    """Open what a command needs for changes. Workers find its jobs when they next poll."""
    database = await Database.connect(settings.database_url, size=2, name="rytask-cli")
    passwords = _passwords(settings)
    try:
        yield _work(database, lambda: None, _now), passwords
    finally:
        passwords.close()
        await database.close()


def _passwords(settings: Settings) -> Passwords:
    return Passwords(
        memory_cost=settings.argon2_memory_cost,
        time_cost=settings.argon2_time_cost,
        parallelism=settings.argon2_parallelism,
    )


def _work(database: Database, notify_workers: Callable[[], None], clock: Clock) -> Work:
    return Work(
        database,
        subscribers=reactions.subscribers(),
        attempts=jobs.attempts_of,
        notify_workers=notify_workers,
        clock=clock,
    )


def _keys(settings: Settings) -> Keys:
    rsa = bool(settings.jwt_private_key)
    return Keys(
        algorithm="RS256" if rsa else "HS256",
        signing=settings.jwt_private_key if rsa else settings.jwt_secret,
        verifying=settings.jwt_public_key if rsa else settings.jwt_secret,
        issuer=settings.jwt_issuer,
        lifetime=settings.access_token_ttl_seconds,
    )

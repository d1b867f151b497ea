"""Pages for visitors without a client: the front page, the API page, probes and metrics."""

import asyncio
import hmac
import time
from collections.abc import Mapping
from html import escape
from importlib import resources
from typing import Any, Literal

import msgspec

from rytask.platform import openapi, telemetry
from rytask.platform.db import Database
from rytask.platform.errors import NotFound, Unauthenticated, Unavailable
from rytask.platform.http import Answer, Request, Routes
from rytask.platform.migrate import shipped_migrations
from rytask.platform.redis_client import RedisUnavailable, RequestRedis
from rytask.platform.settings import Settings

routes = Routes("operation", prefix="")
_STARTED = time.monotonic()
_HTML = b"text/html; charset=utf-8"
_PAGE = [
    (
        b"content-security-policy",
        b"default-src 'none'; style-src 'self'; img-src 'self' data:; frame-ancestors 'none'",
    ),
    (b"referrer-policy", b"no-referrer"),
]


class Health(msgspec.Struct, frozen=True, rename="camel"):
    """This process runs. Says nothing about what it depends on."""

    status: Literal["ok"]
    uptime_seconds: int
    version: str


class Checks(msgspec.Struct, frozen=True):
    database: Literal["up", "down"]
    redis: Literal["up", "down"]


class Readiness(msgspec.Struct, frozen=True):
    """`degraded`: serving, without Redis. `down` (503): send requests elsewhere."""

    status: Literal["ok", "degraded", "down"]
    checks: Checks


class Probes:
    """Checks what a process needs. `draining` is set once it has been asked to stop."""

    def __init__(self, database: Database, redis: RequestRedis) -> None:
        self._database, self._redis = database, redis
        self._schema = shipped_migrations()[-1].version
        self.draining = False

    async def readiness(self) -> Readiness:
        database, redis = await asyncio.gather(self._has_database(), self._has_redis())
        up = database and not self.draining
        return Readiness(
            "down" if not up else "ok" if redis else "degraded",
            Checks("up" if database else "down", "up" if redis else "down"),
        )

    async def _has_database(self) -> bool:
        try:
            async with asyncio.timeout(2):
                newest = await self._database.reader.value(
                    "SELECT max(version) FROM schema_migrations"
                )
        except (Unavailable, TimeoutError):
            return False
        return newest is not None and newest >= self._schema

    async def _has_redis(self) -> bool:
        try:
            await self._redis.call("PING")
        except RedisUnavailable:
            return False
        return True


class ApiDocument:
    """The OpenAPI document, encoded once, for programs and for people."""

    def __init__(self, document: Mapping[str, Any]) -> None:
        self.json = msgspec.json.encode(document)
        self.page = openapi.page(document).encode()


@routes.route("GET", "/healthz", public=True, operation_id="get_health", throttle="none")
async def get_health(settings: Settings) -> Health:
    """Say that this process is alive."""
    return Health("ok", int(time.monotonic() - _STARTED), settings.app_version)


@routes.route("GET", "/readyz", public=True, operation_id="get_readiness", throttle="none")
async def get_readiness(probes: Probes) -> Answer:
    """Say whether this process can serve: 200 `ok` or `degraded`, 503 `down`.

    A database that has not been migrated to this version is `down`, too.
    """
    readiness = await probes.readiness()
    return Answer.json(readiness, status=503 if readiness.status == "down" else 200)


@routes.route(
    "GET", "/metrics", public=True, operation_id="get_metrics", throttle="none", hidden=True
)
async def get_metrics(request: Request, settings: Settings) -> Answer:
    """Prometheus metrics of this process, for whoever bears METRICS_TOKEN."""
    if not settings.metrics_token:
        raise NotFound("Set METRICS_TOKEN or METRICS_PORT to see metrics.")
    given = request.header(b"authorization") or ""
    if not hmac.compare_digest(given.encode(), f"Bearer {settings.metrics_token}".encode()):
        raise Unauthenticated("Send `Authorization: Bearer <METRICS_TOKEN>`.")
    body, media = telemetry.render()
    return Answer(body, media=media.encode())


@routes.route(
    "GET",
    "/api/v1/openapi.json",
    public=True,
    operation_id="get_openapi",
    throttle="none",
    hidden=True,
)
async def get_openapi(document: ApiDocument) -> Answer:
    """The OpenAPI 3.1 document of every route."""
    return Answer(document.json)


@routes.route(
    "GET", "/api/docs", public=True, operation_id="get_docs", throttle="none", hidden=True
)
async def get_docs(document: ApiDocument) -> Answer:
    """The same document, to read."""
    return Answer(document.page, media=_HTML, headers=_PAGE)


@routes.route(
    "GET", "/style.css", public=True, operation_id="get_style", throttle="none", hidden=True
)
async def get_style() -> Answer:
    """The look of the pages above."""
    return Answer(
        _asset("style.css").encode(),
        media=b"text/css; charset=utf-8",
        headers=[(b"cache-control", b"public, max-age=300")],
    )


@routes.route("GET", "/", public=True, operation_id="get_home", throttle="none", hidden=True)
async def get_home(probes: Probes, settings: Settings) -> Answer:
    """The front page: what is running, and where to go."""
    readiness = await probes.readiness()
    base = escape(settings.app_base_url)
    said = {
        "ok": "Everything is up.",
        "degraded": "Redis is away: captures are accepted and wait, everything else works.",
        "down": "PostgreSQL is away. Nothing is lost; we are back as soon as it is.",
    }
    page = (
        _asset("home.html")
        .replace("{{version}}", escape(settings.app_version))
        .replace("{{status}}", readiness.status)
        .replace("{{said}}", said[readiness.status])
        .replace("{{database}}", readiness.checks.database)
        .replace("{{redis}}", readiness.checks.redis)
        .replace("{{slack}}", "configured" if settings.slack else "not configured")
        .replace("{{base}}", base)
    )
    return Answer(page.encode(), media=_HTML, headers=_PAGE)


def _asset(name: str) -> str:
    return resources.files("rytask").joinpath("assets", name).read_text("utf-8")

"""One image, two roles: `WORKER=1` runs the jobs, anything else the HTTP server.

Both wait for the database at start, and both end on SIGTERM: what is under way is finished, and
what was not begun is left to others. Each role imports here what only it needs.
"""

import asyncio
import ctypes
import gc
import resource
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from http import HTTPStatus

import msgspec
import structlog
import uvloop

from rytask import app
from rytask.home import Probes
from rytask.platform import telemetry
from rytask.platform.connections import max_connections
from rytask.platform.settings import Settings, likely_typos

log = structlog.get_logger("serve")
_M_ARENA_MAX = -8  # of malloc.h
_MAX_FILES = 10_000


def serve(settings: Settings, environ: dict[str, str]) -> None:
    """Run the role that the settings name, until SIGTERM or SIGINT."""
    share_heap()
    telemetry.configure(settings.log_level, format=settings.log_format)
    for sentence in likely_typos(environ):
        log.warning("settings.unknown", why=sentence)
    uvloop.run(_worker(settings) if settings.worker else _api(settings))


def share_heap() -> None:
    """Let threads use one heap, so that what a password hash took goes back to the system.

    glibc gives each thread a heap of its own, which keeps the 19 MiB of its last hash: after 200
    logins, twenty at a time, that was 126 MiB, and 87 with one heap, as fast (2026-11).
    """
    with suppress(AttributeError):  # another C library
        ctypes.CDLL(None).mallopt(_M_ARENA_MAX, 1)


async def _api(settings: Settings) -> None:
    from rytask.platform.server import ServerLimits, listening

    stop = _stop_requested()
    limits = ServerLimits(connections=_connections(settings))
    async with app.api(settings) as api, _probes(settings, api.probes):
        _freeze_heap()
        async with listening(
            api.application, host=settings.host, port=settings.port, limits=limits
        ) as serving:
            log.info(
                "api.started", host=settings.host, port=settings.port, version=settings.app_version
            )
            await asyncio.wait({serving, stop}, return_when=asyncio.FIRST_COMPLETED)
            api.probes.draining = True
    log.info("api.stopped")


async def _worker(settings: Settings) -> None:
    from rytask.platform.worker import run_worker

    stopping, wake = asyncio.Event(), asyncio.Event()
    _stop_requested().add_done_callback(lambda _: stopping.set())
    async with app.worker(settings, wake.set) as worker, _probes(settings, worker.probes):
        _freeze_heap()
        log.info("worker.started", version=settings.app_version)
        await run_worker(worker.tools, settings.redis_url, wake=wake, stop=stopping)
    log.info("worker.stopped")


def _connections(settings: Settings) -> int:
    """Return how many connections of callers fit into this process's limit on files.

    Those to PostgreSQL and Redis come first.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    files = _MAX_FILES if hard == resource.RLIM_INFINITY else min(hard, _MAX_FILES)
    if soft != resource.RLIM_INFINITY and soft < files:
        resource.setrlimit(resource.RLIMIT_NOFILE, (files, hard))
    return max(files - max_connections(settings.database_pool_size) - 100, 100)


def _freeze_heap() -> None:
    """From here on the garbage collector looks at what requests and jobs leave, and at no more."""
    gc.freeze()
    gc.enable()


def _stop_requested() -> "asyncio.Future[None]":
    """A future, done on a signal to stop."""
    loop = asyncio.get_running_loop()
    stop_requested: asyncio.Future[None] = loop.create_future()

    def request_stop() -> None:
        if not stop_requested.done():
            stop_requested.set_result(None)

    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, request_stop)
    return stop_requested


@asynccontextmanager
async def _probes(settings: Settings, probes: Probes) -> AsyncIterator[None]:
    """Serve /healthz, /readyz and /metrics on METRICS_PORT, if it is set, in both roles."""
    if not settings.metrics_port:
        yield
        return
    from aiohttp import web

    async def healthz(_: web.Request) -> web.Response:
        return web.json_response({"status": "ok", "version": settings.app_version})

    async def readyz(_: web.Request) -> web.Response:
        readiness = await probes.readiness()
        down = readiness.status == "down"
        return web.Response(
            body=msgspec.json.encode(readiness),
            content_type="application/json",
            status=HTTPStatus.SERVICE_UNAVAILABLE if down else HTTPStatus.OK,
        )

    async def metrics(_: web.Request) -> web.Response:
        body, media = telemetry.render()
        return web.Response(body=body, headers={"content-type": media})

    site = web.Application()
    for path, answer in (("/healthz", healthz), ("/readyz", readyz), ("/metrics", metrics)):
        site.router.add_get(path, answer)
    runner = web.AppRunner(site, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "0.0.0.0", settings.metrics_port).start()  # noqa: S104
    try:
        yield
    finally:
        await runner.cleanup()

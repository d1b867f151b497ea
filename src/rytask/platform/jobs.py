"""Jobs: what is done after the commit, by a worker. A module registers them with a decorator.

* `@transactional` for work in the database: the job's row is deleted in the transaction that the
  function runs in, so its effects happen exactly once.
* `@job` for what reaches the network: claim, call, settle. It may run twice.
* `@every` for what happens on the clock: it belongs to no organization, and typically asks for one
  job per organization.
"""

from collections.abc import Awaitable, Callable, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Literal, TypeVar, get_type_hints
from uuid import UUID

import msgspec

from rytask.platform import outbox
from rytask.platform.errors import Refused, Unavailable
from rytask.platform.ids import OrgId
from rytask.platform.mail import Mailer
from rytask.platform.settings import Settings
from rytask.platform.work import Work, Writing, system

if TYPE_CHECKING:
    import aiohttp

Queue = Literal["work", "calls"]
Arg = TypeVar("Arg", UUID, int, str)


@dataclass(frozen=True)
class Tools:
    """The tools of jobs that reach the outside."""

    work: Work
    http: "aiohttp.ClientSession"
    settings: Settings
    mailer: Mailer | None
    """None when no mail server is configured."""

    def transaction(self, org_id: OrgId) -> AbstractAsyncContextManager[Writing]:
        """A unit of work in the name of the organization itself."""
        return self.work.writing(system(org_id))


class TryAgain(Exception):
    """Not now: `after` so many seconds (a Retry-After), or with the usual backoff."""

    def __init__(self, why: str, *, after: float | None = None) -> None:
        super().__init__(why)
        self.after = after


@dataclass(frozen=True)
class RegisteredJob:
    """A registered job. `run` runs a claimed row and deletes it."""

    name: str
    queue: Queue
    attempts: int
    run: Callable[[Tools, outbox.LeasedJob], Awaitable[None]]
    run_all: Callable[[Tools, Sequence[outbox.LeasedJob]], Awaitable[None]] | None = None
    """Runs rows of one organization in one transaction: all of them, or none when it raises."""
    every: timedelta | None = None


_registered: dict[str, RegisteredJob] = {}


def transactional(
    name: str,
    *,
    attempts: int,
    otherwise: Callable[[Writing, Arg, Refused], Awaitable[None]] | None = None,
) -> Callable[
    [Callable[[Writing, Arg], Awaitable[None]]], Callable[[Writing, Arg], Awaitable[None]]
]:
    """Register a job that works in the database only: it happens exactly once, or not at all.

    With `otherwise` a refusal is an outcome too: what was done is undone, and that is done instead.
    """

    def register(
        function: Callable[[Writing, Arg], Awaitable[None]],
    ) -> Callable[[Writing, Arg], Awaitable[None]]:
        decode = _decoder(function)

        async def run(tools: Tools, row: outbox.LeasedJob) -> None:
            try:
                async with tools.transaction(_org(row)) as ctx:
                    if await outbox.finish(ctx.db, row.id):
                        await function(ctx, decode(row.arg))
            except Refused as refusal:
                if otherwise is None or isinstance(refusal, Unavailable):
                    raise
                async with tools.transaction(_org(row)) as ctx:
                    if await outbox.finish(ctx.db, row.id):
                        await otherwise(ctx, decode(row.arg), refusal)

        async def run_all(tools: Tools, rows: Sequence[outbox.LeasedJob]) -> None:
            async with tools.transaction(_org(rows[0])) as ctx:
                ours = await outbox.finish_all(ctx.db, [row.id for row in rows])
                for row in rows:
                    if row.id in ours:
                        await function(ctx, decode(row.arg))

        _register(RegisteredJob(name, "work", attempts, run, run_all))
        return function

    return register


def job(
    name: str, *, attempts: int
) -> Callable[
    [Callable[[Tools, OrgId, Arg], Awaitable[None]]], Callable[[Tools, OrgId, Arg], Awaitable[None]]
]:
    """Register a job that reaches the network, outside of any transaction. It may run twice."""

    def register(
        function: Callable[[Tools, OrgId, Arg], Awaitable[None]],
    ) -> Callable[[Tools, OrgId, Arg], Awaitable[None]]:
        decode = _decoder(function)

        async def run(tools: Tools, row: outbox.LeasedJob) -> None:
            await function(tools, _org(row), decode(row.arg))
            await _finish(tools, row)

        _register(RegisteredJob(name, "calls", attempts, run))
        return function

    return register


def installation_job(
    name: str, *, attempts: int
) -> Callable[[Callable[[Tools, Arg], Awaitable[None]]], Callable[[Tools, Arg], Awaitable[None]]]:
    """Register a job as by `job`, for what belongs to no organization (yet)."""

    def register(
        function: Callable[[Tools, Arg], Awaitable[None]],
    ) -> Callable[[Tools, Arg], Awaitable[None]]:
        decode = _decoder(function)

        async def run(tools: Tools, row: outbox.LeasedJob) -> None:
            await function(tools, decode(row.arg))
            await _finish(tools, row)

        _register(RegisteredJob(name, "calls", attempts, run))
        return function

    return register


def every(
    period: timedelta, name: str, *, attempts: int = 5
) -> Callable[[Callable[[Tools], Awaitable[None]]], Callable[[Tools], Awaitable[None]]]:
    """Register a job that runs once per `period`, however many workers there are.

    Slots are aligned to the epoch, in UTC. What was missed while everything was down is made up
    for by one run. It may run twice.
    """

    def register(
        function: Callable[[Tools], Awaitable[None]],
    ) -> Callable[[Tools], Awaitable[None]]:
        async def run(tools: Tools, row: outbox.LeasedJob) -> None:
            await function(tools)
            await _finish(tools, row)

        _register(RegisteredJob(name, "calls", attempts, run, every=period))
        return function

    return register


def registered(name: str) -> RegisteredJob:
    """A registered job. An unknown name is a bug of the caller."""
    if name not in _registered:
        raise LookupError(f"no job is called {name!r}")
    return _registered[name]


def attempts_of(name: str) -> int:
    """Return a job's most attempts."""
    return registered(name).attempts


def names(queue: Queue | None = None) -> list[str]:
    """The jobs of a queue, or all of them."""
    return sorted(k.name for k in _registered.values() if queue in (None, k.queue))


def scheduled() -> list[RegisteredJob]:
    """The jobs that run on the clock."""
    return [k for k in _registered.values() if k.every]


def _register(job: RegisteredJob) -> None:
    if job.name in _registered:
        raise ValueError(f"two jobs are called {job.name!r}")
    _registered[job.name] = job


def _decoder(function: Callable[..., Awaitable[None]]) -> Callable[[msgspec.Raw], Any]:
    *_, kind = (hint for name, hint in get_type_hints(function).items() if name != "return")
    return msgspec.json.Decoder(kind).decode


def _org(row: outbox.LeasedJob) -> OrgId:
    if row.org_id is None:
        raise LookupError(f"job {row.id} ({row.name}) belongs to no organization")
    return row.org_id


async def _finish(tools: Tools, row: outbox.LeasedJob) -> None:
    await outbox.finish(tools.work.database.asynchronous_commit, row.id)

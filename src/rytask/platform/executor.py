"""The one door to the product: HTTP, MCP, a batch and the command line run operations here.

Check the permission, open the unit of work, claim the idempotency key, run, encode, commit, answer.
"""

from collections.abc import Iterable, Mapping
from typing import Any, Self

import msgspec

from rytask.platform import decoding
from rytask.platform.db import RETRYABLE
from rytask.platform.errors import NotFound, Unavailable
from rytask.platform.idempotency import Overtaken, Replay, Replays, Scope, fingerprint, parse_key
from rytask.platform.operations import Client, Operation, Outcome, Throttle, require_permission
from rytask.platform.rate_limit import Limiter, Verdict
from rytask.platform.work import Actor, Work


class Limits(msgspec.Struct, frozen=True):
    """Requests allowed per window of so many seconds."""

    requests: int
    window: int


class Key(msgspec.Struct, frozen=True):
    """An idempotency key: within `route` it means the one call that has this fingerprint."""

    text: str
    route: str
    fingerprint: bytes

    @classmethod
    def of(cls, operation: Operation, text: str, sent: bytes) -> Self:
        """The key of a call that sends one JSON object. Raises Malformed."""
        name = operation.operation_id
        same = msgspec.json.encode(msgspec.json.decode(sent), order="deterministic")
        return cls(parse_key(text), name, fingerprint("CALL", name, "", "application/json", same))


class Executor:
    """The operations of the product, run for whoever may."""

    def __init__(
        self,
        operations: Iterable[Operation],
        *,
        work: Work,
        limiter: Limiter,
        replays: Replays,
        limits: Mapping[Throttle, Limits],
        permissions: frozenset[str],
        provide: Mapping[type, object],
    ) -> None:
        """Make every operation ready. One whose permission nobody can have is refused."""
        self.operations: dict[str, Operation] = {}
        self._provided: dict[str, dict[str, object]] = {}
        for operation in operations:
            name, needed = operation.operation_id, operation.permission
            if name in self.operations:
                raise TypeError(f"two operations are called {name}")
            if needed is not None and needed not in permissions:
                raise TypeError(f"{name} needs {needed!r}, which is no permission")
            self.operations[name] = operation
            self._provided[name] = {n: provide[kind] for n, kind in operation.provided.items()}
        self._work, self._limiter, self._replays = work, limiter, replays
        self._limits = dict(limits)

    async def count(self, throttle: Throttle, caller: object) -> Verdict:
        """Count a call of somebody, or of an address, against a limit."""
        limits = self._limits[throttle]
        return await self._limiter.check(f"{throttle}:{caller}", limits.requests, limits.window)

    async def execute(
        self,
        operation: Operation,
        actor: Actor | None,
        arguments: Mapping[str, Any],
        *,
        client: Client | None = None,
        key: Key | None = None,
    ) -> Outcome:
        """Run an operation for a caller, or raise what refuses it.

        `arguments` are decoded: see `decoding.arguments`. With a `key`, a call that is repeated has
        one effect and one answer.
        """
        if operation.permission is not None:
            require_permission(actor, operation.permission)
        given: dict[str, Any] = {**arguments, **self._provided[operation.operation_id]}
        if operation.takes_client:
            given["client"] = client or Client()
        if operation.takes_actor:
            given["actor"] = actor
        if actor is not None and operation.writes:
            return await self._write(operation, actor, given, key)
        if actor is not None and operation.reads:
            given["ctx"] = self._work.reading(actor)
        return _outcome(operation, await operation.run(**given))

    async def execute_json(
        self,
        name: str,
        actor: Actor | None,
        sent: bytes,
        *,
        client: Client | None = None,
        key: str | None = None,
    ) -> Outcome:
        """Run an operation by its name, with one JSON object of arguments, for any caller but HTTP.

        Members of path, query and body stand side by side. With a `client` the call is counted.
        """
        operation = self.operations.get(name)
        if operation is None or operation.takes_request:
            raise NotFound(f"There is no operation {name[:200]}.")
        if client is not None and operation.throttle != "none":
            guarded = operation.permission is not None
            caller = actor.user_id if actor and guarded else client.network
            (await self.count(operation.throttle, caller)).require_allowed()
        if operation.permission is not None:
            require_permission(actor, operation.permission)
        arguments = decoding.arguments(operation, sent)
        return await self.execute(
            operation,
            actor,
            arguments,
            client=client,
            key=None if key is None else Key.of(operation, key, sent),
        )

    async def _write(
        self, operation: Operation, actor: Actor, given: dict[str, Any], key: Key | None
    ) -> Outcome:
        for _ in range(_TRIES - 1):
            try:
                return await self._write_once(operation, actor, given, key)
            except (*RETRYABLE, Overtaken):
                continue
        try:
            return await self._write_once(operation, actor, given, key)
        except RETRYABLE as error:
            raise Unavailable(
                "Too many changes met in one place, and this one was not made. Try again."
            ) from error

    async def _write_once(
        self, operation: Operation, actor: Actor, given: dict[str, Any], key: Key | None
    ) -> Outcome:
        if key is None:
            async with self._work.writing(actor) as ctx:
                return _outcome(operation, await operation.run(ctx=ctx, **given))
        scope = Scope(
            org_id=actor.org_id,
            # A token is a principal of its own: it may do less than its owner, and sees no more.
            principal_id=actor.token_id or actor.me,
            route=key.route,
            key=key.text,
        )
        replay = await self._replays.cached(scope, key.fingerprint)
        if replay is not None:
            return _replayed(replay)
        async with self._work.writing(actor) as ctx:
            replay = await self._replays.claim(ctx.db, scope, key.fingerprint)
            if replay is not None:
                return _replayed(replay)
            outcome = _outcome(operation, await operation.run(ctx=ctx, **given))
            replay = Replay(outcome.status, outcome.body)
            await self._replays.store(ctx.db, scope, key.fingerprint, replay)
        await self._replays.remember(scope, key.fingerprint, replay)
        return outcome


_TRIES = 3


def _outcome(operation: Operation, result: object) -> Outcome:
    if isinstance(result, Outcome):
        return result
    body = b"" if result is None else msgspec.json.encode(result)
    return Outcome(body, operation.status)


def _replayed(replay: Replay) -> Outcome:
    return Outcome(replay.body, replay.status, replayed=True)

"""Idempotency-Key: a request that is sent again has one effect and one answer.

PostgreSQL decides: the key is claimed by a lock of the business transaction and the answer is
written by that transaction, so a crash leaves neither a stale claim nor half a state. Redis only
makes repeats cheap.
"""

import asyncio
import hashlib
from datetime import datetime
from uuid import UUID

import msgspec
from redis.exceptions import ResponseError

from rytask.platform.crypto import Sealer, Unsealable
from rytask.platform.db import Tx
from rytask.platform.errors import Conflict, Invalid, Malformed
from rytask.platform.ids import OrgId
from rytask.platform.redis_client import RedisUnavailable, RequestRedis

LIFETIME_SECONDS = 24 * 3600
CLAIM_TIMEOUT = 2.0
PURGE_BATCH = 1000
_STILL_RUNNING = "The first request with this Idempotency-Key is still running. Try again."


class InFlight(Conflict):
    """The first request with this key is still running; ask again after `retry_after` seconds."""

    code = "idempotency.in_flight"
    retry_after = 1


class Overtaken(InFlight):
    """Another request with this key was done first, unseen: run again, and get its answer."""


class KeyReused(Invalid):
    title = "Idempotency Key Reused"
    code = "idempotency.key_reused"


class Scope(msgspec.Struct, frozen=True):
    """Within this a key means one request. `route` is the method and the route's template."""

    org_id: OrgId
    principal_id: UUID
    route: str
    key: str

    @property
    def digest(self) -> bytes:
        return _digest(self.org_id.bytes, self.principal_id.bytes, self.route, self.key)


class Replay(msgspec.Struct, frozen=True):
    """An answer that was given."""

    status: int
    body: bytes


class _StoredAnswer(msgspec.Struct, frozen=True, array_like=True):
    fingerprint: bytes
    status: int
    body: bytes


class _Claim(msgspec.Struct, frozen=True):
    claimed: bool
    fingerprint: bytes | None
    status: int | None
    body: bytes | None


def parse_key(header: str) -> str:
    """The key, quoted (RFC 8941) or bare: 1 to 255 visible ASCII characters, else Malformed."""
    key = header.strip(" \t")
    if len(key) >= 2 and key[0] == key[-1] == '"':
        key = _unquoted(key[1:-1])
    if not 1 <= len(key) <= 255 or not all("!" <= char <= "~" for char in key):
        raise _bad_key()
    return key


def fingerprint(method: str, path: str, query: str, media_type: str, body: bytes) -> bytes:
    """Hash a request: the same request, the same hash."""
    return _digest(method, path, query, media_type, body)


class Replays:
    """Answers given under a key, for 24 hours. They are kept sealed: some carry secrets."""

    def __init__(self, redis: RequestRedis, sealer: Sealer) -> None:
        self._redis, self._sealer = redis, sealer

    async def cached(self, scope: Scope, fingerprint: bytes) -> Replay | None:
        """The answer, if Redis still has it. Raises KeyReused; any trouble is just a miss."""
        try:
            found: bytes | None = await self._redis.call("GET", _name(scope))
            if found is None:
                return None
            kept = msgspec.msgpack.decode(found, type=_StoredAnswer)
            return self._replay(scope, fingerprint, kept)
        except (RedisUnavailable, ResponseError, Unsealable, msgspec.DecodeError):
            return None

    async def remember(self, scope: Scope, fingerprint: bytes, replay: Replay) -> None:
        """Keep a committed answer in Redis. Best effort: it never raises."""
        sealed = self._sealer.seal(replay.body, scope.digest)
        kept = msgspec.msgpack.encode(_StoredAnswer(fingerprint, replay.status, sealed))
        try:
            await self._redis.call("SET", _name(scope), kept, "EX", LIFETIME_SECONDS)
        except (RedisUnavailable, ResponseError):
            return

    async def claim(self, tx: Tx, scope: Scope, fingerprint: bytes) -> Replay | None:
        """Make the key ours until the transaction ends: None, or the answer that was given before.

        While another request holds the key, waits up to 2 s for its answer. Raises InFlight when
        it takes longer, and KeyReused when the key came with another request.
        """
        loop = asyncio.get_running_loop()
        give_up, pause, waited = loop.time() + CLAIM_TIMEOUT, 0.005, False
        while True:
            found = await _try_claim(tx, scope)
            if found.claimed and found.fingerprint is None and waited:
                # The lock may have been let go after this statement's snapshot was taken.
                found = await _try_claim(tx, scope)
            if found.fingerprint is not None:
                return self._stored(scope, fingerprint, found)
            if found.claimed:
                return None
            if loop.time() + pause > give_up:
                raise InFlight(_STILL_RUNNING)
            await asyncio.sleep(pause)
            pause, waited = min(pause * 2, 0.1), True

    async def store(self, tx: Tx, scope: Scope, fingerprint: bytes, replay: Replay) -> None:
        """Write the answer with its effect. Raises Overtaken when another request was first."""
        written = await tx.execute(
            "INSERT INTO idempotency_keys"
            " (org_id, principal_id, route, key, fingerprint, status, body, created_at)"
            " VALUES ($1, $2, $3, $4, $5, $6, $7, now()) ON CONFLICT DO NOTHING",
            scope.org_id,
            scope.principal_id,
            scope.route,
            scope.key,
            fingerprint,
            replay.status,
            self._sealer.seal(replay.body, scope.digest),
        )
        if not written:
            raise Overtaken(_STILL_RUNNING)

    def _stored(self, scope: Scope, fingerprint: bytes, found: _Claim) -> Replay:
        kept = msgspec.convert(found, _StoredAnswer, from_attributes=True)
        try:
            return self._replay(scope, fingerprint, kept)
        except Unsealable:
            raise Conflict(
                "This request was done before the server's secrets were changed, and its answer"
                " cannot be read any more. Look at what it did; use a new key to do more.",
                code="idempotency.answer_lost",
            ) from None

    def _replay(self, scope: Scope, fingerprint: bytes, kept: _StoredAnswer) -> Replay:
        if kept.fingerprint != fingerprint:
            raise KeyReused(
                "This Idempotency-Key was used for another request. Use a new key for each."
            )
        return Replay(kept.status, self._sealer.unseal(kept.body, scope.digest))


async def purge(tx: Tx, older_than: datetime) -> int:
    """Delete one batch of old answers; how many. Call it again, in a new transaction, until 0."""
    return await tx.execute(
        "DELETE FROM idempotency_keys WHERE ctid = ANY (ARRAY("
        "  SELECT ctid FROM idempotency_keys WHERE created_at < $1"
        "   ORDER BY created_at LIMIT $2 FOR UPDATE SKIP LOCKED))",
        older_than,
        PURGE_BATCH,
    )


async def _try_claim(tx: Tx, scope: Scope) -> _Claim:
    return await tx.one(
        _Claim,
        "SELECT l.claimed, k.fingerprint, k.status, k.body"
        "  FROM (SELECT pg_try_advisory_xact_lock($5) AS claimed) AS l"
        "  LEFT JOIN idempotency_keys AS k"
        "    ON k.org_id = $1 AND k.principal_id = $2 AND k.route = $3 AND k.key = $4",
        scope.org_id,
        scope.principal_id,
        scope.route,
        scope.key,
        int.from_bytes(scope.digest[:8], signed=True),
    )


def _name(scope: Scope) -> str:
    return f"replay:{scope.digest.hex()}"


def _digest(*parts: str | bytes) -> bytes:
    """SHA-256 of the parts, each with its length: moving a border changes it."""
    whole = hashlib.sha256()
    for part in parts:
        raw = part.encode() if isinstance(part, str) else part
        whole.update(len(raw).to_bytes(8))
        whole.update(raw)
    return whole.digest()


def _unquoted(quoted: str) -> str:
    """The inside of an RFC 8941 string: only a quote and a backslash are escaped."""
    plain, chars = [], iter(quoted)
    for char in chars:
        if char == '"':
            raise _bad_key()
        if char == "\\":
            char = next(chars, "")
            if char not in ('"', "\\"):
                raise _bad_key()
        plain.append(char)
    return "".join(plain)


def _bad_key() -> Malformed:
    return Malformed(
        "Idempotency-Key must be 1 to 255 visible ASCII characters, quoted or bare.",
        code="idempotency.bad_key",
    )

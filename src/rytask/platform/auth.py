"""Bearer tokens: who is asking, decided without a round trip in the common case.

Access tokens are verified once and remembered until they expire; personal access tokens are looked
up and remembered for a minute. Both are forgotten within half a second of a revocation, which
every process reads from PostgreSQL, so it holds across processes and without Redis.
"""

import asyncio
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from typing import Any, cast
from uuid import UUID

import jwt
import msgspec
import structlog
from jwt.utils import base64url_decode, base64url_encode

from rytask.platform import crypto
from rytask.platform.db import Database, Reader, Tx
from rytask.platform.errors import TooMany, Unauthenticated, Unavailable
from rytask.platform.ids import OrgId, UserId
from rytask.platform.rate_limit import LocalBuckets
from rytask.platform.work import Actor, OrgRole

log = structlog.get_logger("auth")

_GUEST = frozenset(
    {"self", "tokens:read", "tokens:write", "org:read", "workspace:read", "work:read"}
)
_VIEWER = _GUEST | {"members:read"}
_MEMBER = _VIEWER | {"work:write"}
_ADMIN = _MEMBER | {"org:settings:write", "members:invite", "members:write"}
PERMISSIONS_OF: dict[OrgRole, frozenset[str]] = {
    "GUEST": _GUEST,
    "VIEWER": _VIEWER,
    "MEMBER": _MEMBER,
    "ADMIN": _ADMIN,
    "OWNER": _ADMIN | {"org:delete", "org:transfer"},
}
PERMISSIONS: frozenset[str] = PERMISSIONS_OF["OWNER"]
"""Every permission that there is."""
RANK: dict[OrgRole, int] = {"GUEST": 0, "VIEWER": 1, "MEMBER": 2, "ADMIN": 3, "OWNER": 4}

_CACHE_SIZE = 10_000
_PAT_SECONDS = 60.0
_UNKNOWN_TOKENS, _UNKNOWN_WINDOW = 60, 60
_REVOCATION_LAG = 20.0


def permissions(role: OrgRole, scopes: tuple[str, ...]) -> frozenset[str]:
    """The role's permissions, narrowed by the token's scopes. No scopes, or `*`: all of them."""
    granted = PERMISSIONS_OF[role]
    return granted if not scopes or "*" in scopes else granted & frozenset(scopes)


class Keys(msgspec.Struct, frozen=True, kw_only=True):
    """The keys of access tokens, for signing and verifying: one secret, or an RSA pair."""

    algorithm: str
    signing: str
    verifying: str
    issuer: str
    lifetime: int
    """Seconds an access token is good for."""

    def __repr__(self) -> str:
        return f"Keys({self.algorithm})"


class VerifiedToken(msgspec.Struct, frozen=True):
    """A token that was found good, until when, and what it was known by then (timestamps)."""

    actor: Actor
    until: float
    since: float


LookUp = Callable[[str], Awaitable[Actor | None]]
"""Finds the actor of a personal access token that is good now."""


class Bearers:
    """Turns a bearer token into an actor, or raises Unauthenticated."""

    def __init__(
        self,
        keys: Keys,
        look_up: LookUp,
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._keys, self._look_up, self._clock = keys, look_up, clock
        self._unknown_tokens = LocalBuckets()
        self._verified: dict[str, VerifiedToken] = {}
        self._revoked: dict[UUID, float] = {}

    def issue(self, actor: Actor) -> str:
        """A signed access token for an actor's session."""
        now = self._clock().timestamp()
        claims = {
            "sub": str(actor.user_id),
            "org": str(actor.org_id),
            "wsp": str(actor.workspace_id) if actor.workspace_id else None,
            "role": actor.role,
            "adm": actor.is_admin,
            "scopes": sorted(actor.permissions),
            "sid": str(actor.session_id) if actor.session_id else None,
            "ver": 1,
            "typ": "access",
            "iss": self._keys.issuer,
            "aud": self._keys.issuer,
            "iat": now,
            "exp": int(now) + self._keys.lifetime,
        }
        return jwt.encode(claims, self._keys.signing, algorithm=self._keys.algorithm)

    async def authenticate(self, token: str, network: str = "") -> Actor:
        """The actor behind a token. Raises Unauthenticated for anything that is not good now.

        Raises TooMany for tokens that have to be looked up, once the network has sent too many that
        turned out to be unknown.
        """
        now = self._clock().timestamp()
        verified = self._verified.get(token)
        if verified is not None and verified.until > now:
            return verified.actor
        if token.count(".") == 2:
            verified = self._verify(token)
            if self._is_revoked(verified):
                raise _refused()
        else:
            actor = await self._looked_up(token, network, known=verified is not None)
            # What was just read is the truth, but a revocation under way may not be in it yet.
            until = now + _PAT_SECONDS
            if actor.until is not None:
                until = min(until, actor.until.timestamp())
            verified = VerifiedToken(actor, until, now - _REVOCATION_LAG)
            if self._is_revoked(verified):
                return actor
        if len(self._verified) >= _CACHE_SIZE:
            self._verified.pop(next(iter(self._verified)))
        self._verified[token] = verified
        return verified.actor

    async def _looked_up(self, token: str, network: str, *, known: bool) -> Actor:
        """Look a token up, unless it is a guess too many. One that was good before is no guess."""
        if not crypto.token_ok(token):
            raise _refused()
        if not known:
            verdict = self._unknown_tokens.check(network, _UNKNOWN_TOKENS, _UNKNOWN_WINDOW)
            if not verdict.allowed:
                raise TooMany(
                    "Too many unknown tokens came from your network.",
                    retry_after=verdict.retry_after,
                    code="auth.too_many_unknown_tokens",
                )
        actor = await self._look_up(token)
        if actor is None:
            raise _refused()
        if not known:
            self._unknown_tokens.give_back(network, _UNKNOWN_TOKENS, _UNKNOWN_WINDOW)
        return actor

    def _verify(self, token: str) -> VerifiedToken:
        keys = self._keys
        try:
            signature = token.rpartition(".")[2].encode()
            if base64url_encode(base64url_decode(signature)) != signature:
                raise ValueError("another spelling of a signature")
            claims = jwt.decode(
                token,
                keys.verifying,
                algorithms=[keys.algorithm],
                issuer=keys.issuer,
                audience=keys.issuer,
                options={"require": ["exp", "iat", "sub", "iss", "aud"], "verify_iat": False},
            )
            return _verified_token(claims)
        except (jwt.PyJWTError, KeyError, ValueError, TypeError) as error:
            raise _refused() from error

    def _is_revoked(self, verified: VerifiedToken) -> bool:
        actor = verified.actor
        return any(
            subject is not None and self._revoked.get(subject, 0.0) >= verified.since
            for subject in (actor.user_id, actor.session_id, actor.token_id, actor.org_id)
        )

    async def watch(self, database: Database, interval: float = 0.5) -> None:
        """Keep up with revocations until cancelled. `interval` is in seconds."""
        last: datetime | None = None
        unavailable = False
        while True:
            try:
                last = await self._refresh(database, last)
                if unavailable:
                    log.info("database.back")
                unavailable = False
            except Unavailable as error:
                if not unavailable:
                    log.warning("database.away", why=error.message, error=str(error.__cause__))
                unavailable = True
            except Exception:
                # Whoever stopped looking would let the removed in until the next restart.
                log.exception("auth.revocations_not_read")
            await asyncio.sleep(interval)

    async def _refresh(self, database: Database, last: datetime | None) -> datetime | None:
        # A revocation becomes visible at its commit, which may be later than its time: look back.
        since = (last or self._clock() - timedelta(hours=1)) - timedelta(seconds=30)
        fresh = await database.reader.all(
            _Revocation, "SELECT subject_id, at FROM revocations WHERE at > $1 ORDER BY at", since
        )
        changed = False
        for revocation in fresh:
            at = revocation.at.timestamp()
            if self._revoked.get(revocation.subject_id, 0.0) < at:
                self._revoked[revocation.subject_id] = at
                changed = True
            last = revocation.at
        if changed:
            self._verified = {t: k for t, k in self._verified.items() if not self._is_revoked(k)}
        horizon = self._clock().timestamp() - 3600
        if len(self._revoked) > 1000:
            self._revoked = {s: at for s, at in self._revoked.items() if at > horizon}
        return last


class _Revocation(msgspec.Struct, frozen=True):
    subject_id: UUID
    at: datetime


async def revoke(tx: Tx, *subject_ids: UUID) -> None:
    """Refuse tokens made until now that name one of these users, sessions, tokens or orgs.

    Call it after the rows that new tokens are made from were changed: whoever made one before is
    covered by the time taken here, whoever comes later finds the changed rows.
    """
    await tx.execute(
        "INSERT INTO revocations (subject_id, at) SELECT DISTINCT id, clock_timestamp()"
        " FROM unnest($1::uuid[]) AS subject (id)"
        " ON CONFLICT (subject_id) DO UPDATE SET at = excluded.at",
        subject_ids,
    )


async def use_up(db: Reader, subject_id: UUID) -> bool:
    """Use up what is good once and for less than an hour; False when it was used before."""
    used = await db.value(
        "INSERT INTO revocations (subject_id, at) VALUES ($1, clock_timestamp())"
        " ON CONFLICT DO NOTHING RETURNING true",
        subject_id,
    )
    return used is not None


async def revoked(db: Reader, since: datetime, *subject_ids: UUID) -> bool:
    """Whether what was made then, and names these, is refused: for what is no access token."""
    return await db.value(
        "SELECT EXISTS (SELECT FROM revocations WHERE subject_id = ANY ($1::uuid[]) AND at >= $2)",
        subject_ids,
        since,
    )


def _refused() -> Unauthenticated:
    return Unauthenticated("Sign in again: this token is not valid, or not any more.")


def _verified_token(claims: dict[str, Any]) -> VerifiedToken:
    if claims.get("typ") != "access":
        raise ValueError("not an access token")
    role = cast("OrgRole", claims["role"])
    scopes = frozenset(claims["scopes"])
    actor = Actor(
        org_id=OrgId(UUID(claims["org"])),
        user_id=UserId(UUID(claims["sub"])),
        role=role,
        permissions=PERMISSIONS_OF[role] & scopes,
        workspace_id=UUID(claims["wsp"]) if claims["wsp"] else None,
        session_id=UUID(claims["sid"]) if claims["sid"] else None,
        source="WEB",
    )
    return VerifiedToken(actor, float(claims["exp"]), float(claims["iat"]))

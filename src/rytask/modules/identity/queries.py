"""The SQL of identity. E-mail addresses and secrets are looked up before one knows whose they are.

Whoever starts or refreshes a session locks the membership for sharing first, and whoever changes
one changes it before the sessions: so no session outlives the removal of its owner.
"""

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import LiteralString
from uuid import UUID

import msgspec

from rytask.modules.identity.model import (
    Addressee,
    ApiToken,
    Door,
    KeptSession,
    Knock,
    Link,
    Newcomer,
    Person,
    Profile,
    Purpose,
    Session,
    SessionId,
    Standing,
    TokenId,
    TokenInUse,
    Tried,
)
from rytask.platform.db import Reader, Tx, Where
from rytask.platform.ids import OrgId, UserId, new_id
from rytask.platform.work import OrgRole


async def people(db: Reader, org_id: OrgId, ids: Sequence[UserId]) -> list[Person]:
    return await db.all(
        Person,
        "SELECT id, name, email FROM users WHERE org_id = $1 AND id = ANY ($2::uuid[])",
        org_id,
        ids,
    )


async def members(db: Reader, org_id: OrgId) -> list[Person]:
    """Everybody who was not removed, by name."""
    return await db.all(
        Person,
        "SELECT u.id, u.name, u.email FROM memberships m"
        "  JOIN users u ON u.org_id = m.org_id AND u.id = m.user_id"
        " WHERE m.org_id = $1 AND m.deactivated_at IS NULL ORDER BY lower(u.name), u.id",
        org_id,
    )


class MemberRow(msgspec.Struct, frozen=True):
    user_id: UserId
    email: str
    name: str
    email_verified: bool
    role: OrgRole
    deactivated_at: datetime | None


_MEMBER: LiteralString = (
    "SELECT m.user_id, u.email, u.name, u.email_verified_at IS NOT NULL AS email_verified,"
    "       m.role, m.deactivated_at"
    "  FROM memberships m JOIN users u ON u.org_id = m.org_id AND u.id = m.user_id"
)


async def memberships(db: Reader, org_id: OrgId) -> list[MemberRow]:
    """Everybody, also who was removed."""
    return await db.all(
        MemberRow, _MEMBER + " WHERE m.org_id = $1 ORDER BY lower(u.name), m.user_id", org_id
    )


async def lock_members(tx: Tx, org_id: OrgId, user_ids: Sequence[UserId]) -> list[MemberRow]:
    """These members and every owner, unless removed: nobody else changes them until we commit."""
    return await tx.all(
        MemberRow,
        _MEMBER + " WHERE m.org_id = $1 AND (m.user_id = ANY ($2::uuid[]) OR m.role = 'OWNER')"
        "   AND m.deactivated_at IS NULL ORDER BY m.user_id FOR UPDATE OF m",
        org_id,
        user_ids,
    )


async def account_of(db: Reader, org_id: OrgId, email: str) -> MemberRow | None:
    """The account with this address in this organization, also of somebody who was removed."""
    return await db.maybe(
        MemberRow,
        _MEMBER + " WHERE m.org_id = $1 AND lower(u.email) = lower($2)"
        "   AND u.deactivated_at IS NULL",
        org_id,
        email,
    )


async def set_role(tx: Tx, org_id: OrgId, user_id: UserId, role: OrgRole) -> None:
    await tx.execute(
        "UPDATE memberships SET role = $3 WHERE org_id = $1 AND user_id = $2",
        org_id,
        user_id,
        role,
    )


async def deactivate(tx: Tx, org_id: OrgId, user_id: UserId, now: datetime) -> None:
    await tx.execute(
        "UPDATE memberships SET deactivated_at = $3 WHERE org_id = $1 AND user_id = $2",
        org_id,
        user_id,
        now,
    )


async def close_accounts(tx: Tx, org_id: OrgId, now: datetime) -> None:
    """Close everybody's account. The addresses are free again."""
    await tx.execute(
        "WITH closed AS ("
        "  UPDATE memberships SET deactivated_at = $2"
        "   WHERE org_id = $1 AND deactivated_at IS NULL)"
        " UPDATE users SET deactivated_at = $2 WHERE org_id = $1",
        org_id,
        now,
    )


async def insert_user(tx: Tx, org_id: OrgId, user: Newcomer, now: datetime) -> None:
    await tx.execute(
        "WITH person AS ("
        "  INSERT INTO users (id, org_id, email, name, password_hash, notify_at,"
        "                     email_verified_at, created_at)"
        "  VALUES ($1, $2, $3, $4, $5, $6::text::time,"
        "          CASE WHEN $7 THEN $10::timestamptz END, $10))"
        " INSERT INTO memberships (org_id, user_id, role, workspace_id, created_at)"
        " VALUES ($2, $1, $8, $9, $10::timestamptz)",
        user.id,
        org_id,
        user.email,
        user.name,
        user.password_hash,
        user.notify_at,
        user.verified,
        user.role,
        user.workspace_id,
        now,
    )


async def reopen(tx: Tx, org_id: OrgId, user: Newcomer, now: datetime) -> int:
    """Let somebody who was removed in again; 0 when they are not removed (any more)."""
    return await tx.execute(
        "WITH back AS ("
        "  UPDATE memberships SET deactivated_at = NULL, role = $3, workspace_id = $4"
        "   WHERE org_id = $1 AND user_id = $2 AND deactivated_at IS NOT NULL RETURNING user_id)"
        " UPDATE users u SET name = $5, password_hash = $6,"
        "        email_verified_at = coalesce(email_verified_at, $7)"
        "   FROM back WHERE u.org_id = $1 AND u.id = back.user_id",
        org_id,
        user.id,
        user.role,
        user.workspace_id,
        user.name,
        user.password_hash,
        now,
    )


async def profile(db: Reader, org_id: OrgId, user_id: UserId) -> Profile:
    return await db.one(
        Profile,
        "SELECT id, email, name, email_verified_at IS NOT NULL AS email_verified, timezone,"
        "       to_char(notify_at, 'HH24:MI') AS notify_at"
        "  FROM users WHERE org_id = $1 AND id = $2",
        org_id,
        user_id,
    )


async def update_profile(tx: Tx, org_id: OrgId, profile: Profile) -> None:
    await tx.execute(
        "UPDATE users SET name = $3, timezone = $4, notify_at = $5::text::time"
        " WHERE org_id = $1 AND id = $2",
        org_id,
        profile.id,
        profile.name,
        profile.timezone,
        profile.notify_at,
    )


async def set_active_workspace(tx: Tx, org_id: OrgId, user_id: UserId, workspace_id: UUID) -> None:
    await tx.execute(
        "UPDATE memberships SET workspace_id = $3 WHERE org_id = $1 AND user_id = $2",
        org_id,
        user_id,
        workspace_id,
    )


async def knock(db: Reader, email: str, address: str) -> Knock:
    """Always one row: a stranger's looks like anybody's."""
    return await db.one(
        Knock,
        "SELECT f.locked_until, u.id AS user_id, u.org_id, u.password_hash"
        "  FROM (VALUES (lower($1::text))) AS asked (email)"
        "  LEFT JOIN login_failures f ON f.email = asked.email AND f.address = $2"
        "  LEFT JOIN (users u JOIN memberships m ON m.org_id = u.org_id AND m.user_id = u.id"
        "                      AND m.deactivated_at IS NULL)"
        "    ON lower(u.email) = asked.email AND u.deactivated_at IS NULL",
        email,
        address,
    )


async def count_try(
    tx: Tx, email: str, address: str, now: datetime, *, most: int, window: timedelta
) -> Tried:
    """Count one more try within the window; the last one allowed locks for as long again."""
    return await tx.one(
        Tried,
        "INSERT INTO login_failures AS f (email, address, failures, first_at, locked_until)"
        " VALUES (lower($1), $2, 1, $3, CASE WHEN $4 <= 1 THEN $3::timestamptz + $5 END)"
        " ON CONFLICT (email, address) DO UPDATE SET"
        "   failures = CASE WHEN f.first_at > $3 - $5::interval THEN f.failures + 1 ELSE 1 END,"
        "   first_at = CASE WHEN f.first_at > $3 - $5::interval THEN f.first_at ELSE $3 END,"
        "   locked_until = CASE WHEN $4 <= CASE WHEN f.first_at > $3 - $5::interval"
        "                                       THEN f.failures + 1 ELSE 1 END"
        "                       THEN $3 + $5::interval END"
        " RETURNING failures AS times, locked_until",
        email,
        address,
        now,
        most,
        window,
    )


async def forget_tries(tx: Tx, email: str, address: str) -> datetime | None:
    """Start counting anew; until when it was locked, if it was."""
    return await tx.value(
        "DELETE FROM login_failures WHERE email = lower($1) AND address = $2"
        " RETURNING locked_until",
        email,
        address,
    )


async def forget_all_tries(tx: Tx, email: str) -> None:
    await tx.execute("DELETE FROM login_failures WHERE email = lower($1)", email)


async def standing(tx: Tx, org_id: OrgId, user_id: UserId) -> Standing | None:
    """An active member, who stays so until we commit."""
    return await tx.maybe(
        Standing,
        "SELECT u.id, u.email, u.name, u.email_verified_at IS NOT NULL AS email_verified,"
        "       u.password_hash, m.role, m.workspace_id"
        "  FROM users u JOIN memberships m ON m.org_id = u.org_id AND m.user_id = u.id"
        " WHERE u.org_id = $1 AND u.id = $2 AND m.deactivated_at IS NULL FOR SHARE",
        org_id,
        user_id,
    )


async def password_hash(db: Reader, org_id: OrgId, user_id: UserId) -> str | None:
    return await db.value(
        "SELECT password_hash FROM users WHERE org_id = $1 AND id = $2", org_id, user_id
    )


async def replace_password(
    tx: Tx, org_id: OrgId, user_id: UserId, old: str | None, new: str
) -> bool:
    """Replace this password by that; False when it is not the password any more."""
    touched = await tx.execute(
        "UPDATE users SET password_hash = $4 WHERE org_id = $1 AND id = $2 AND password_hash = $3",
        org_id,
        user_id,
        old,
        new,
    )
    return touched == 1


async def reset_password(
    tx: Tx, org_id: OrgId, user_id: UserId, new: str, now: datetime
) -> str | None:
    """Set a password by a link that was mailed, which also proves the address. Returns that."""
    return await tx.value(
        "UPDATE users u SET password_hash = $3, email_verified_at = coalesce(email_verified_at, $4)"
        "  FROM memberships m WHERE u.org_id = $1 AND u.id = $2"
        "   AND m.org_id = u.org_id AND m.user_id = u.id AND m.deactivated_at IS NULL"
        " RETURNING u.email",
        org_id,
        user_id,
        new,
        now,
    )


async def verify_email(tx: Tx, org_id: OrgId, user_id: UserId, now: datetime) -> bool:
    """Mark the address as verified; False when it was already."""
    touched = await tx.execute(
        "UPDATE users SET email_verified_at = $3"
        " WHERE org_id = $1 AND id = $2 AND email_verified_at IS NULL",
        org_id,
        user_id,
        now,
    )
    return touched == 1


async def insert_session(
    tx: Tx,
    org_id: OrgId,
    user_id: UserId,
    family_id: SessionId,
    token_hash: bytes,
    door: Door,
    now: datetime,
    lifetime: timedelta,
) -> None:
    await tx.execute(
        "INSERT INTO sessions (id, org_id, user_id, family_id, refresh_token_hash,"
        "                      user_agent, ip, created_at, expires_at)"
        " VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $8::timestamptz + $9::interval)",
        new_id(),
        org_id,
        user_id,
        family_id,
        token_hash,
        door.user_agent,
        door.ip,
        now,
        lifetime,
    )


_SESSION: LiteralString = (
    "SELECT id, org_id, user_id, family_id, expires_at, rotated_at, revoked_at FROM sessions"
)


async def session(db: Reader, token_hash: bytes) -> KeptSession | None:
    return await db.maybe(KeptSession, _SESSION + " WHERE refresh_token_hash = $1", token_hash)


async def lock_session(tx: Tx, org_id: OrgId, session_id: UUID) -> KeptSession:
    """Of two who present the same token at once, the second sees what the first did."""
    return await tx.one(
        KeptSession, _SESSION + " WHERE org_id = $1 AND id = $2 FOR UPDATE", org_id, session_id
    )


async def mark_rotated(tx: Tx, org_id: OrgId, session_id: UUID, now: datetime) -> None:
    await tx.execute(
        "UPDATE sessions SET rotated_at = $3 WHERE org_id = $1 AND id = $2",
        org_id,
        session_id,
        now,
    )


async def sessions(
    db: Reader, org_id: OrgId, user_id: UserId, current: UUID | None, now: datetime
) -> list[Session]:
    """The sessions of a person that are still good, the latest first."""
    return await db.all(
        Session,
        "SELECT s.family_id AS id, s.user_agent, s.ip,"
        "       (SELECT min(f.created_at) FROM sessions f"
        "         WHERE f.org_id = s.org_id AND f.family_id = s.family_id) AS created_at,"
        "       s.created_at AS last_used_at, s.expires_at,"
        "       s.family_id IS NOT DISTINCT FROM $3::uuid AS current"
        "  FROM sessions s"
        " WHERE s.org_id = $1 AND s.user_id = $2 AND s.rotated_at IS NULL"
        "   AND s.revoked_at IS NULL AND s.expires_at > $4"
        " ORDER BY s.created_at DESC",
        org_id,
        user_id,
        current,
        now,
    )


_END: LiteralString = (
    "UPDATE sessions SET revoked_at = $3 WHERE org_id = $1 AND user_id = $2"
    "   AND revoked_at IS NULL AND expires_at > $3 AND "
)


async def end_sessions(
    tx: Tx,
    org_id: OrgId,
    user_id: UserId,
    now: datetime,
    *,
    only: UUID | None = None,
    but: UUID | None = None,
) -> list[SessionId]:
    """End the sessions of a person: all, only one, or all but one; those that were ended."""
    where = Where(org_id, user_id, now)
    if only is not None:
        where.add("family_id = {}", only)
    if but is not None:
        where.add("family_id <> {}", but)
    ended = await tx.values(_END + where.sql + " RETURNING family_id", *where.args)
    return list(dict.fromkeys(ended))


async def insert_link(
    tx: Tx,
    org_id: OrgId,
    link_id: UUID,
    user_id: UserId,
    purpose: Purpose,
    token_hash: bytes,
    now: datetime,
    lifetime: timedelta,
) -> None:
    await tx.execute(
        "INSERT INTO one_time_tokens (id, org_id, user_id, purpose, token_hash, created_at,"
        "                             expires_at)"
        " VALUES ($1, $2, $3, $4, $5, $6, $6::timestamptz + $7::interval)",
        link_id,
        org_id,
        user_id,
        purpose,
        token_hash,
        now,
        lifetime,
    )


_LINK: LiteralString = (
    "SELECT t.id, t.org_id, t.user_id, t.purpose, u.email, u.name"
    "  FROM one_time_tokens t JOIN users u ON u.org_id = t.org_id AND u.id = t.user_id"
    "  JOIN memberships m ON m.org_id = t.org_id AND m.user_id = t.user_id"
    " WHERE t.consumed_at IS NULL AND t.expires_at > $1 AND m.deactivated_at IS NULL"
)


async def link(db: Reader, org_id: OrgId, link_id: UUID, now: datetime) -> Link | None:
    return await db.maybe(Link, _LINK + " AND t.org_id = $2 AND t.id = $3", now, org_id, link_id)


async def link_by(db: Reader, token_hash: bytes, purpose: Purpose, now: datetime) -> Link | None:
    return await db.maybe(
        Link, _LINK + " AND t.token_hash = $2 AND t.purpose = $3", now, token_hash, purpose
    )


async def consume(tx: Tx, link: Link, now: datetime) -> bool:
    """Use a link up, and the others for the same purpose; False when somebody was faster."""
    touched = await tx.execute(
        "UPDATE one_time_tokens SET consumed_at = $4"
        " WHERE org_id = $1 AND user_id = $2 AND purpose = $3 AND consumed_at IS NULL"
        "   AND EXISTS (SELECT FROM one_time_tokens t"
        "                WHERE t.org_id = $1 AND t.id = $5 AND t.consumed_at IS NULL)",
        link.org_id,
        link.user_id,
        link.purpose,
        now,
        link.id,
    )
    return touched > 0


async def addressee(db: Reader, email: str) -> Addressee | None:
    return await db.maybe(
        Addressee,
        "SELECT u.org_id, u.id AS user_id, u.email_verified_at IS NOT NULL AS email_verified"
        "  FROM users u JOIN memberships m ON m.org_id = u.org_id AND m.user_id = u.id"
        " WHERE lower(u.email) = lower($1) AND u.deactivated_at IS NULL"
        "   AND m.deactivated_at IS NULL",
        email,
    )


async def tokens(db: Reader, org_id: OrgId, user_id: UserId) -> list[ApiToken]:
    return await db.all(
        ApiToken,
        "SELECT id, name, type, scopes, last_used_at, expires_at, created_at FROM api_tokens"
        " WHERE org_id = $1 AND user_id = $2 AND revoked_at IS NULL ORDER BY id DESC",
        org_id,
        user_id,
    )


async def insert_token(
    tx: Tx, org_id: OrgId, user_id: UserId, token: ApiToken, token_hash: bytes
) -> None:
    await tx.execute(
        "INSERT INTO api_tokens (id, org_id, user_id, type, name, token_hash, scopes, expires_at,"
        "                        created_at)"
        " VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)",
        token.id,
        org_id,
        user_id,
        token.type,
        token.name,
        token_hash,
        token.scopes,
        token.expires_at,
        token.created_at,
    )


async def revoke_token(
    tx: Tx, org_id: OrgId, user_id: UserId, token_id: TokenId, now: datetime
) -> ApiToken:
    """Raises NotFound when the person has no such token (any more)."""
    return await tx.one(
        ApiToken,
        "UPDATE api_tokens SET revoked_at = $4"
        " WHERE org_id = $1 AND user_id = $2 AND id = $3 AND revoked_at IS NULL"
        " RETURNING id, name, type, scopes, last_used_at, expires_at, created_at",
        org_id,
        user_id,
        token_id,
        now,
    )


async def revoke_tokens(tx: Tx, org_id: OrgId, user_id: UserId, now: datetime) -> list[ApiToken]:
    """Revoke all tokens of a person; those that were."""
    return await tx.all(
        ApiToken,
        "UPDATE api_tokens SET revoked_at = $3"
        " WHERE org_id = $1 AND user_id = $2 AND revoked_at IS NULL"
        " RETURNING id, name, type, scopes, last_used_at, expires_at, created_at",
        org_id,
        user_id,
        now,
    )


async def token_in_use(db: Reader, token_hash: bytes, now: datetime) -> TokenInUse | None:
    """A token that is good now, of somebody who was not removed."""
    return await db.maybe(
        TokenInUse,
        "SELECT t.id, t.org_id, t.user_id, t.type, t.scopes, t.last_used_at,"
        "       t.expires_at, m.role, m.workspace_id"
        "  FROM api_tokens t JOIN memberships m ON m.org_id = t.org_id AND m.user_id = t.user_id"
        " WHERE t.token_hash = $1 AND t.revoked_at IS NULL"
        "   AND (t.expires_at IS NULL OR t.expires_at > $2) AND m.deactivated_at IS NULL",
        token_hash,
        now,
    )


async def mark_used(tx: Tx, org_id: OrgId, token_id: TokenId, now: datetime) -> None:
    await tx.execute(
        "UPDATE api_tokens SET last_used_at = $3 WHERE org_id = $1 AND id = $2",
        org_id,
        token_id,
        now,
    )


async def purge(tx: Tx, now: datetime) -> None:
    """Delete what no one can use any more, of every organization."""
    before = now - timedelta(hours=2)
    await tx.execute("DELETE FROM sessions WHERE expires_at < $1", before)
    await tx.execute("DELETE FROM one_time_tokens WHERE expires_at < $1", before)
    await tx.execute("DELETE FROM revocations WHERE at < $1", before)
    await tx.execute(
        "DELETE FROM login_failures WHERE coalesce(locked_until, first_at) < $1",
        now - timedelta(days=1),
    )

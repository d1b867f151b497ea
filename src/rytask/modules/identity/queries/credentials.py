"""Credentials for signing in: a password, a session, or a link that was mailed.

E-mail addresses and secrets are looked up before one knows whose they are. Whoever starts or
refreshes a session first locks the person and their membership for sharing. Whoever ends sessions
first changes one of these, or locks the person by `lock_user`: so no session outlives its end, or
the removal of its owner.
"""

from datetime import datetime, timedelta
from typing import LiteralString
from uuid import UUID

from rytask.modules.identity.model import (
    ActiveMember,
    Addressee,
    AttemptCount,
    Link,
    Purpose,
    Session,
    SessionContext,
    SessionId,
    StoredCredentials,
    StoredSession,
)
from rytask.platform import outbox
from rytask.platform.db import Reader, Tx, Where
from rytask.platform.ids import OrgId, UserId, new_id
from rytask.platform.pruning import BATCH


async def accounts_of(
    db: Reader, email: str, org_id: OrgId | None, limit: int
) -> list[StoredCredentials]:
    """The accounts that an address signs in to, in one organization or in all.

    Those that have proved the address come first: nobody else's account takes their place.
    """
    where = Where(email, limit)
    if org_id is not None:
        where.add("u.org_id = {}", org_id)
    return await db.all(
        StoredCredentials,
        "SELECT u.org_id, u.id AS user_id, u.password_hash"
        "  FROM users u JOIN memberships m ON m.org_id = u.org_id AND m.user_id = u.id"
        "   AND m.deactivated_at IS NULL"
        f" WHERE lower(u.email) = lower($1) AND u.deactivated_at IS NULL AND {where.sql}"
        " ORDER BY u.email_verified_at IS NULL, u.created_at, u.id LIMIT $2",
        *where.args,
    )


_COUNT: LiteralString = (
    "INSERT INTO login_failures AS f (email, address, failures, first_at, locked_until)"
    " VALUES (lower($1::text), $2::text, 1, $3, CASE WHEN $4 <= 1 THEN $3::timestamptz + $5 END)"
    " ON CONFLICT (email, address) DO UPDATE SET"
    "   failures = CASE WHEN f.first_at > $3 - $5::interval THEN f.failures + 1 ELSE 1 END,"
    "   first_at = CASE WHEN f.first_at > $3 - $5::interval THEN f.first_at ELSE $3 END,"
    "   locked_until = CASE WHEN $4 <= CASE WHEN f.first_at > $3 - $5::interval"
    "                                       THEN f.failures + 1 ELSE 1 END"
    "                       THEN $3 + $5::interval END"
    " WHERE f.locked_until IS NULL OR f.locked_until <= $3"
    " RETURNING"
)


async def count_attempt(
    db: Reader, email: str, address: str, now: datetime, *, most: int, window: timedelta
) -> AttemptCount | None:
    """Count one more attempt within the window; None, and nothing counted, while it is locked.

    The last one allowed locks for as long again.
    """
    return await db.maybe(
        AttemptCount, _COUNT + " failures AS times, locked_until", email, address, now, most, window
    )


async def request_links(
    db: Reader, email: str, purpose: Purpose, now: datetime, *, most: int, window: timedelta
) -> bool:
    """Ask for the job that mails links to an address; False after too many within the window."""
    asked = await db.value(
        f"WITH counted AS ({_COUNT} failures)"
        f" {outbox.INSERT} SELECT NULL, 'identity.send_links', to_jsonb($2 || ' ' || $1), 10"
        "    FROM counted RETURNING true",
        email,
        purpose,
        now,
        most,
        window,
    )
    return asked is not None


async def locked_until(db: Reader, email: str, address: str) -> datetime | None:
    return await db.value(
        "SELECT locked_until FROM login_failures WHERE email = lower($1) AND address = $2",
        email,
        address,
    )


async def clear_attempts(db: Reader, email: str, address: str) -> None:
    """Start counting anew after the right password.

    Where the address has several accounts, only the attempt itself is taken back: otherwise who
    has one of them could go on guessing at the others.
    """
    await db.value(
        "WITH accounts AS ("
        "  SELECT count(*) > 1 AS several FROM users"
        "   WHERE lower(email) = lower($1) AND deactivated_at IS NULL"
        "), cleared AS ("
        "  DELETE FROM login_failures USING accounts"
        "   WHERE NOT several AND login_failures.email = lower($1) AND address = $2)"
        " UPDATE login_failures SET failures = failures - 1, locked_until = NULL FROM accounts"
        "  WHERE several AND login_failures.email = lower($1) AND address = $2",
        email,
        address,
    )


async def clear_all_attempts(tx: Tx, email: str) -> None:
    await tx.execute("DELETE FROM login_failures WHERE email = lower($1)", email)


async def lock_active_member(tx: Tx, org_id: OrgId, user_id: UserId) -> ActiveMember | None:
    """An active member, who stays so until we commit."""
    return await tx.maybe(
        ActiveMember,
        "SELECT u.id, u.email, u.name, u.email_verified_at IS NOT NULL AS email_verified,"
        "       u.password_hash, m.role, m.workspace_id"
        "  FROM users u JOIN memberships m ON m.org_id = u.org_id AND m.user_id = u.id"
        " WHERE u.org_id = $1 AND u.id = $2 AND m.deactivated_at IS NULL FOR SHARE",
        org_id,
        user_id,
    )


async def lock_user(tx: Tx, org_id: OrgId, user_id: UserId) -> None:
    """Lock a person: no session of theirs is started or refreshed until we commit."""
    await tx.execute(
        "SELECT FROM users WHERE org_id = $1 AND id = $2 FOR NO KEY UPDATE", org_id, user_id
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


async def reset_password(tx: Tx, org_id: OrgId, user_id: UserId, new: str) -> str | None:
    """Set the password of a member; their address, or None when they were removed."""
    return await tx.value(
        "UPDATE users u SET password_hash = $3 FROM memberships m"
        " WHERE u.org_id = $1 AND u.id = $2"
        "   AND m.org_id = u.org_id AND m.user_id = u.id AND m.deactivated_at IS NULL"
        " RETURNING u.email",
        org_id,
        user_id,
        new,
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
    session_context: SessionContext,
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
        session_context.user_agent,
        session_context.ip,
        now,
        lifetime,
    )


_SESSION: LiteralString = (
    "SELECT id, org_id, user_id, family_id, expires_at, rotated_at, revoked_at FROM sessions"
)


async def session(db: Reader, token_hash: bytes) -> StoredSession | None:
    return await db.maybe(StoredSession, _SESSION + " WHERE refresh_token_hash = $1", token_hash)


async def lock_session(tx: Tx, org_id: OrgId, session_id: UUID) -> StoredSession:
    """Of two who present the same token at once, the second sees what the first did."""
    return await tx.one(
        StoredSession, _SESSION + " WHERE org_id = $1 AND id = $2 FOR UPDATE", org_id, session_id
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


async def addressees(db: Reader, email: str, limit: int) -> list[Addressee]:
    """The accounts of an address, those that have proved it first."""
    return await db.all(
        Addressee,
        "SELECT u.org_id, u.id AS user_id, u.email_verified_at IS NOT NULL AS email_verified"
        "  FROM users u JOIN memberships m ON m.org_id = u.org_id AND m.user_id = u.id"
        " WHERE lower(u.email) = lower($1) AND u.deactivated_at IS NULL"
        "   AND m.deactivated_at IS NULL"
        " ORDER BY u.email_verified_at IS NULL, u.created_at, u.id LIMIT $2",
        email,
        limit,
    )


async def purge(tx: Tx, now: datetime) -> int:
    """Delete a batch of what no one can use any more, of every organization; how many."""
    expired, counted = now - timedelta(hours=2), now - timedelta(days=1)
    purges: list[tuple[LiteralString, datetime]] = [
        ("sessions WHERE ctid = ANY (ARRAY(SELECT ctid FROM sessions WHERE expires_at", expired),
        (
            "one_time_tokens WHERE ctid = ANY (ARRAY(SELECT ctid FROM one_time_tokens"
            " WHERE expires_at",
            expired,
        ),
        ("revocations WHERE ctid = ANY (ARRAY(SELECT ctid FROM revocations WHERE at", expired),
        (
            "login_failures WHERE ctid = ANY (ARRAY(SELECT ctid FROM login_failures"
            " WHERE coalesce(locked_until, first_at)",
            counted,
        ),
    ]
    return sum(
        [
            await tx.execute(
                f"DELETE FROM {which} < $1 LIMIT $2 FOR UPDATE SKIP LOCKED))", before, BATCH
            )
            for which, before in purges
        ]
    )

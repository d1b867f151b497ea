"""People, and their place in the organization."""

from collections.abc import Sequence
from datetime import datetime
from typing import LiteralString
from uuid import UUID

import msgspec

from rytask.modules.identity.model import Newcomer, Person, Profile
from rytask.platform.db import Reader, Tx
from rytask.platform.ids import OrgId, UserId
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


class RoleRow(msgspec.Struct, frozen=True):
    user_id: UserId
    role: OrgRole


async def lock_roles(tx: Tx, org_id: OrgId, user_ids: Sequence[UserId]) -> list[RoleRow]:
    """The roles of these members, unless removed: nobody changes them until we commit."""
    return await tx.all(
        RoleRow,
        "SELECT m.user_id, m.role FROM memberships m"
        " WHERE m.org_id = $1 AND m.user_id = ANY ($2::uuid[]) AND m.deactivated_at IS NULL"
        " ORDER BY m.user_id FOR SHARE",
        org_id,
        user_ids,
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


async def reactivate(tx: Tx, org_id: OrgId, user: Newcomer, now: datetime) -> int:
    """Let somebody who was removed in again; 0 when they are not removed (any more)."""
    return await tx.execute(
        "WITH back AS ("
        "  UPDATE memberships SET deactivated_at = NULL, role = $3, workspace_id = $4"
        "   WHERE org_id = $1 AND user_id = $2 AND deactivated_at IS NOT NULL RETURNING user_id)"
        " UPDATE users u SET name = $5, password_hash = $6,"
        "        email_verified_at = CASE WHEN $7 THEN coalesce(email_verified_at, $8) END"
        "   FROM back WHERE u.org_id = $1 AND u.id = back.user_id",
        org_id,
        user.id,
        user.role,
        user.workspace_id,
        user.name,
        user.password_hash,
        user.verified,
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

"""The SQL of organizations, workspaces and invitations."""

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import LiteralString

import msgspec

from rytask.modules.orgs.model import (
    Invite,
    InviteId,
    OpenInvite,
    OrgSettings,
    Workspace,
    WorkspaceId,
)
from rytask.platform.db import Reader, Tx
from rytask.platform.ids import OrgId, UserId
from rytask.platform.pruning import BATCH
from rytask.platform.work import OrgRole


class OrgRow(msgspec.Struct, frozen=True):
    id: OrgId
    name: str
    slug: str
    settings: msgspec.Raw
    workspace_id: WorkspaceId
    """The first workspace: who joins works there, unless their invitation says otherwise."""


_ORG: LiteralString = (
    "SELECT o.id, o.name, o.slug, o.settings,"
    "       (SELECT w.id FROM workspaces w WHERE w.org_id = o.id"
    "         ORDER BY w.created_at, w.id LIMIT 1) AS workspace_id"
    "  FROM organizations o WHERE o.deleted_at IS NULL"
)


async def any_ever(db: Reader) -> bool:
    return await db.value("SELECT EXISTS (SELECT FROM organizations)")


async def exists(db: Reader, org_id: OrgId) -> bool:
    return await db.value("SELECT EXISTS (SELECT FROM organizations WHERE id = $1)", org_id)


async def org(db: Reader, org_id: OrgId) -> OrgRow:
    return await db.one(OrgRow, _ORG + " AND o.id = $1", org_id)


async def lock_org(tx: Tx, org_id: OrgId) -> OrgRow:
    return await tx.one(OrgRow, _ORG + " AND o.id = $1 FOR UPDATE OF o", org_id)


async def org_by_slug(db: Reader, slug: str) -> OrgRow | None:
    return await db.maybe(OrgRow, _ORG + " AND o.slug = $1", slug)


async def count_orgs(db: Reader, limit: int) -> int:
    """Count the organizations, up to a limit."""
    return await db.value(
        "SELECT count(*) FROM (SELECT FROM organizations WHERE deleted_at IS NULL LIMIT $1) AS o",
        limit,
    )


async def first_orgs(db: Reader) -> list[OrgRow]:
    """The two oldest organizations: enough to tell whether there is exactly one."""
    return await db.all(OrgRow, _ORG + " ORDER BY o.created_at, o.id LIMIT 2")


async def insert_org(tx: Tx, org_id: OrgId, name: str, slug: str, now: datetime) -> bool:
    """False when the slug is taken."""
    touched = await tx.execute(
        "INSERT INTO organizations (id, name, slug, created_at, updated_at)"
        " VALUES ($1, $2, $3, $4, $4) ON CONFLICT (slug) DO NOTHING",
        org_id,
        name,
        slug,
        now,
    )
    return touched == 1


async def update_org(
    tx: Tx, org_id: OrgId, name: str, settings: OrgSettings, now: datetime
) -> None:
    await tx.execute(
        "UPDATE organizations SET name = $2, settings = $3, updated_at = $4 WHERE id = $1",
        org_id,
        name,
        settings,
        now,
    )


async def delete_org(tx: Tx, org_id: OrgId, now: datetime) -> None:
    await tx.execute("UPDATE organizations SET deleted_at = $2 WHERE id = $1", org_id, now)


async def zone_of(db: Reader, org_id: OrgId, user_id: UserId | None) -> str:
    """A person's time zone, else their organization's."""
    return await db.value(
        "SELECT coalesce(u.timezone, o.settings ->> 'timezone', 'UTC')"
        "  FROM organizations o LEFT JOIN users u ON u.org_id = o.id AND u.id = $2"
        " WHERE o.id = $1",
        org_id,
        user_id,
    )


async def workspaces(db: Reader, org_id: OrgId) -> list[Workspace]:
    return await db.all(
        Workspace,
        "SELECT id, name, slug FROM workspaces WHERE org_id = $1 ORDER BY created_at, id",
        org_id,
    )


async def workspace(db: Reader, org_id: OrgId, workspace_id: WorkspaceId) -> Workspace:
    return await db.one(
        Workspace,
        "SELECT id, name, slug FROM workspaces WHERE org_id = $1 AND id = $2",
        org_id,
        workspace_id,
    )


async def insert_workspace(tx: Tx, org_id: OrgId, workspace: Workspace, now: datetime) -> bool:
    """False when the slug is taken."""
    touched = await tx.execute(
        "INSERT INTO workspaces (id, org_id, name, slug, created_at) VALUES ($1, $2, $3, $4, $5)"
        " ON CONFLICT (org_id, slug) DO NOTHING",
        workspace.id,
        org_id,
        workspace.name,
        workspace.slug,
        now,
    )
    return touched == 1


async def rename_workspace(
    tx: Tx, org_id: OrgId, workspace_id: WorkspaceId, name: str
) -> Workspace:
    return await tx.one(
        Workspace,
        "UPDATE workspaces SET name = $3 WHERE org_id = $1 AND id = $2 RETURNING id, name, slug",
        org_id,
        workspace_id,
        name,
    )


async def invites(db: Reader, org_id: OrgId, now: datetime) -> list[Invite]:
    """The open invitations, the latest first."""
    return await db.all(
        Invite,
        "SELECT id, email, role, invited_by_user_id, expires_at, created_at FROM invitations"
        " WHERE org_id = $1 AND accepted_at IS NULL AND revoked_at IS NULL AND expires_at > $2"
        " ORDER BY id DESC",
        org_id,
        now,
    )


async def insert_invite(
    tx: Tx,
    org_id: OrgId,
    invite: Invite,
    workspace_id: WorkspaceId | None,
    token_hash: bytes,
    mailed_token_hash: bytes | None,
) -> None:
    await tx.execute(
        "INSERT INTO invitations (id, org_id, workspace_id, email, role, token_hash,"
        "                         mailed_token_hash, invited_by_user_id, expires_at, created_at)"
        " VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)",
        invite.id,
        org_id,
        workspace_id,
        invite.email,
        invite.role,
        token_hash,
        mailed_token_hash,
        invite.invited_by_user_id,
        invite.expires_at,
        invite.created_at,
    )


_OPEN: LiteralString = (
    "SELECT i.id, i.org_id, o.name AS organization_name, i.email, i.role,"
    "       i.invited_by_user_id, i.mailed_token_hash,"
    "       coalesce(i.workspace_id, (SELECT w.id FROM workspaces w WHERE w.org_id = o.id"
    "                                  ORDER BY w.created_at, w.id LIMIT 1)) AS workspace_id,"
    "       o.settings"
    "  FROM invitations i JOIN organizations o ON o.id = i.org_id AND o.deleted_at IS NULL"
    " WHERE i.accepted_at IS NULL AND i.revoked_at IS NULL AND i.expires_at > $1"
)


async def open_invite(db: Reader, token_hash: bytes, now: datetime) -> OpenInvite | None:
    return await db.maybe(
        OpenInvite, _OPEN + " AND (i.token_hash = $2 OR i.mailed_token_hash = $2)", now, token_hash
    )


async def open_invite_by_id(
    db: Reader, org_id: OrgId, invite_id: InviteId, now: datetime
) -> OpenInvite | None:
    return await db.maybe(
        OpenInvite, _OPEN + " AND i.org_id = $2 AND i.id = $3", now, org_id, invite_id
    )


async def accept_invite(tx: Tx, org_id: OrgId, invite_id: InviteId, now: datetime) -> bool:
    """Use an invitation up; False when somebody was faster."""
    touched = await tx.execute(
        "UPDATE invitations SET accepted_at = $3 WHERE org_id = $1 AND id = $2"
        "   AND accepted_at IS NULL AND revoked_at IS NULL AND expires_at > $3",
        org_id,
        invite_id,
        now,
    )
    return touched == 1


async def revoke_invite(tx: Tx, org_id: OrgId, invite_id: InviteId, now: datetime) -> bool:
    touched = await tx.execute(
        "UPDATE invitations SET revoked_at = $3"
        " WHERE org_id = $1 AND id = $2 AND accepted_at IS NULL AND revoked_at IS NULL",
        org_id,
        invite_id,
        now,
    )
    return touched == 1


async def revoke_invites_of(
    tx: Tx, org_id: OrgId, user_id: UserId, roles: Sequence[OrgRole], now: datetime
) -> None:
    """Revoke what somebody offered and may not offer any more."""
    await tx.execute(
        "UPDATE invitations SET revoked_at = $4"
        " WHERE org_id = $1 AND invited_by_user_id = $2 AND role = ANY ($3::text[])"
        "   AND accepted_at IS NULL AND revoked_at IS NULL",
        org_id,
        user_id,
        roles,
        now,
    )


async def purge_invites(tx: Tx, now: datetime) -> int:
    """Delete a batch of what lapsed 30 days ago or more, of every organization; how many."""
    return await tx.execute(
        "DELETE FROM invitations WHERE ctid = ANY (ARRAY(SELECT ctid FROM invitations"
        "   WHERE expires_at < $1 LIMIT $2 FOR UPDATE SKIP LOCKED))",
        now - timedelta(days=30),
        BATCH,
    )

"""Workspaces that are connected, and their channels."""

from datetime import datetime
from typing import LiteralString

from rytask.modules.slack.model import (
    Channel,
    Connection,
    ConnectionId,
    Grant,
)
from rytask.platform.db import Reader, Tx
from rytask.platform.ids import OrgId, ProjectId, UserId
from rytask.platform.work import OrgRole

_CONNECTION: LiteralString = (
    "SELECT id, org_id, team_id, team_name, bot_token, default_project_id, sync_cursor,"
    "   connected_at, revoked_at FROM slack_connections"
)


async def connection_of_team(db: Reader, team_id: str) -> Connection | None:
    """The connection of a team that is connected."""
    return await db.maybe(
        Connection, f"{_CONNECTION} WHERE team_id = $1 AND revoked_at IS NULL", team_id
    )


async def connection_of_org(db: Reader, org_id: OrgId) -> Connection | None:
    """The connection that an organization has now."""
    return await db.maybe(
        Connection, f"{_CONNECTION} WHERE org_id = $1 AND revoked_at IS NULL", org_id
    )


async def connection(db: Reader, org_id: OrgId, connection_id: ConnectionId) -> Connection | None:
    """A connection, whether it still stands or not."""
    return await db.maybe(
        Connection, f"{_CONNECTION} WHERE org_id = $1 AND id = $2", org_id, connection_id
    )


async def connections(db: Reader) -> list[Connection]:
    """Every connection of every organization."""
    return await db.all(Connection, f"{_CONNECTION} ORDER BY connected_at")


async def lock_earlier(tx: Tx, org_id: OrgId, team_id: str) -> ConnectionId | None:
    """The row of a team that was connected before."""
    return await tx.value(
        "SELECT id FROM slack_connections WHERE org_id = $1 AND team_id = $2 FOR UPDATE",
        org_id,
        team_id,
    )


async def connected_since(db: Reader, org_id: OrgId, at: datetime) -> bool:
    """Whether a team was connected since then, even if it is not any more."""
    return await db.value(
        "SELECT EXISTS (SELECT FROM slack_connections WHERE org_id = $1 AND connected_at >= $2)",
        org_id,
        at,
    )


async def role_of(db: Reader, org_id: OrgId, user_id: UserId) -> OrgRole | None:
    """The role of an active member."""
    return await db.value(
        "SELECT role FROM memberships"
        " WHERE org_id = $1 AND user_id = $2 AND deactivated_at IS NULL",
        org_id,
        user_id,
    )


async def connect(
    tx: Tx,
    org_id: OrgId,
    connection_id: ConnectionId,
    grant: Grant,
    sealed: bytes,
    installed_by: UserId,
    now: datetime,
) -> None:
    """Connect, or connect again. Captures go to the only project, if there is only one."""
    await tx.execute(
        "INSERT INTO slack_connections AS k (org_id, id, team_id, team_name, bot_user_id,"
        "   bot_token, scopes, installed_by, connected_at, sync_cursor, default_project_id)"
        " VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, '', ("
        "   SELECT (array_agg(id))[1] FROM projects"
        "    WHERE org_id = $1 AND archived_at IS NULL AND deleted_at IS NULL"
        "   HAVING count(*) = 1))"
        " ON CONFLICT (org_id, team_id) DO UPDATE SET team_name = excluded.team_name,"
        "   bot_user_id = excluded.bot_user_id, bot_token = excluded.bot_token,"
        "   scopes = excluded.scopes, installed_by = excluded.installed_by,"
        "   connected_at = excluded.connected_at, sync_cursor = '', revoked_at = NULL,"
        "   default_project_id = coalesce(k.default_project_id, excluded.default_project_id)",
        org_id,
        connection_id,
        grant.team.id,
        grant.team.name,
        grant.bot_user_id,
        sealed,
        grant.scopes,
        installed_by,
        now,
    )


async def disconnect(
    tx: Tx, org_id: OrgId, connection_id: ConnectionId, now: datetime, *, wipe: bool
) -> bool:
    """End a connection that stands; False when it does not. `wipe` forgets the token at once."""
    ended = await tx.execute(
        "UPDATE slack_connections SET revoked_at = $3, sync_cursor = NULL,"
        "   bot_token = CASE WHEN $4::boolean THEN NULL ELSE bot_token END"
        " WHERE org_id = $1 AND id = $2 AND revoked_at IS NULL",
        org_id,
        connection_id,
        now,
        wipe,
    )
    return ended == 1


async def wipe_token(db: Reader, org_id: OrgId, connection_id: ConnectionId, sealed: bytes) -> None:
    """Forget the token of a connection that was ended, unless it was connected again since."""
    await db.value(
        "UPDATE slack_connections SET bot_token = NULL"
        " WHERE org_id = $1 AND id = $2 AND bot_token = $3 AND revoked_at IS NOT NULL",
        org_id,
        connection_id,
        sealed,
    )


async def set_default_project(
    tx: Tx, org_id: OrgId, connection_id: ConnectionId, project_id: ProjectId | None
) -> None:
    await tx.execute(
        "UPDATE slack_connections SET default_project_id = $3 WHERE org_id = $1 AND id = $2",
        org_id,
        connection_id,
        project_id,
    )


async def channels(db: Reader, org_id: OrgId, connection_id: ConnectionId) -> list[Channel]:
    return await db.all(
        Channel,
        "SELECT channel_id, project_id FROM slack_channels"
        " WHERE org_id = $1 AND connection_id = $2 ORDER BY channel_id",
        org_id,
        connection_id,
    )


async def set_channel(
    tx: Tx, org_id: OrgId, connection_id: ConnectionId, channel_id: str, project_id: ProjectId
) -> None:
    await tx.execute(
        "INSERT INTO slack_channels (org_id, connection_id, channel_id, project_id)"
        " VALUES ($1, $2, $3, $4)"
        " ON CONFLICT (org_id, connection_id, channel_id)"
        " DO UPDATE SET project_id = excluded.project_id",
        org_id,
        connection_id,
        channel_id,
        project_id,
    )


async def delete_channel(
    tx: Tx, org_id: OrgId, connection_id: ConnectionId, channel_id: str
) -> bool:
    deleted = await tx.execute(
        "DELETE FROM slack_channels WHERE org_id = $1 AND connection_id = $2 AND channel_id = $3",
        org_id,
        connection_id,
        channel_id,
    )
    return deleted == 1

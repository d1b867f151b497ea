"""The SQL of Slack."""

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import LiteralString
from uuid import UUID

from rytask.modules.slack.model import (
    Accepted,
    CaptureId,
    Capturer,
    Channel,
    Connection,
    ConnectionId,
    Delivery,
    Grant,
    Mentioned,
    News,
    Outcome,
    Person,
    SlackUser,
    State,
    Stranger,
)
from rytask.platform import outbox
from rytask.platform.db import Reader, Tx
from rytask.platform.ids import OrgId, ProjectId, UserId
from rytask.platform.work import OrgRole

_CONNECTION: LiteralString = (
    "SELECT id, org_id, team_id, team_name, bot_token, default_project_id, sync_cursor,"
    "   connected_at, revoked_at FROM slack_connections"
)


async def accept(
    db: Reader, capture_id: CaptureId, delivery: Delivery, sealed: bytes | None, now: datetime
) -> bool:
    """Keep a delivery and ask for its work, once, in one statement that is the whole transaction.

    False when its team is not connected.
    """
    return await db.value(
        "WITH connection AS ("
        "  SELECT id, org_id FROM slack_connections WHERE team_id = $2 AND revoked_at IS NULL"
        " ), capture AS ("
        "  INSERT INTO slack_captures (id, org_id, connection_id, kind, trigger, slack_user_id,"
        "     channel_id, request, response_url, created_at)"
        "  SELECT $1::uuid, org_id, id, $3::text, $4::text, $5::text, $6::text, $7::jsonb,"
        "     $8::bytea, $9::timestamptz FROM connection"
        "  ON CONFLICT (connection_id, kind, trigger) DO NOTHING"
        "  RETURNING org_id, id"
        f" ), job AS ({outbox.INSERT}"
        "  SELECT org_id, 'slack.capture', to_jsonb(id), $10::int FROM capture"
        " )"
        " SELECT EXISTS (SELECT FROM connection)",
        capture_id,
        delivery.team_id,
        delivery.kind,
        delivery.trigger,
        delivery.slack_user_id,
        delivery.channel_id,
        delivery.wish,
        sealed,
        now,
        ATTEMPTS,
    )


ATTEMPTS = 25
"""How often a capture may be tried."""


async def lock_capture(tx: Tx, org_id: OrgId, capture_id: CaptureId) -> Accepted | None:
    """A capture in order to carry it out or to undo it, and where it goes as things are now."""
    return await tx.maybe(
        Accepted,
        "SELECT c.id, c.connection_id, c.state, c.request, c.slack_user_id, c.item_id,"
        "   coalesce(h.project_id, k.default_project_id) AS project_id,"
        "   m.user_id AS reporter_id, u.slack_user_id IS NOT NULL AS capturer_known"
        "  FROM slack_captures c"
        "  JOIN slack_connections k ON k.org_id = c.org_id AND k.id = c.connection_id"
        "  LEFT JOIN slack_channels h ON h.org_id = c.org_id"
        "   AND h.connection_id = c.connection_id AND h.channel_id = c.channel_id"
        "  LEFT JOIN slack_users u ON u.org_id = c.org_id"
        "   AND u.connection_id = c.connection_id AND u.slack_user_id = c.slack_user_id"
        "  LEFT JOIN memberships m ON m.org_id = c.org_id AND m.user_id = u.user_id"
        "   AND m.deactivated_at IS NULL"
        " WHERE c.org_id = $1 AND c.id = $2 FOR UPDATE OF c",
        org_id,
        capture_id,
    )


async def mentioned(
    db: Reader, org_id: OrgId, connection_id: ConnectionId, slack_user_ids: Sequence[str]
) -> list[Mentioned]:
    """The people behind mentions, as far as they are known."""
    return await db.all(
        Mentioned,
        "SELECT s.slack_user_id, s.name, split_part(u.email, '@', 1) AS handle FROM slack_users s"
        "  LEFT JOIN users u ON u.org_id = s.org_id AND u.id = s.user_id"
        " WHERE s.org_id = $1 AND s.connection_id = $2 AND s.slack_user_id = ANY ($3::text[])",
        org_id,
        connection_id,
        slack_user_ids,
    )


async def decide(
    tx: Tx,
    org_id: OrgId,
    capture_id: CaptureId,
    state: State,
    outcome: Outcome,
    item_id: UUID | None,
) -> None:
    """What became of a capture."""
    await tx.execute(
        "UPDATE slack_captures SET state = $3, outcome = $4, item_id = $5"
        " WHERE org_id = $1 AND id = $2",
        org_id,
        capture_id,
        state,
        outcome,
        item_id,
    )


async def undo(tx: Tx, org_id: OrgId, capture_id: CaptureId, sealed: bytes | None) -> None:
    """A capture is undone, and that is to be confirmed where the button was."""
    await tx.execute(
        "UPDATE slack_captures"
        "   SET state = 'undone', response_url = $3, posting_at = NULL, posted_at = NULL"
        " WHERE org_id = $1 AND id = $2",
        org_id,
        capture_id,
        sealed,
    )


async def capturer(db: Reader, team_id: str, capture_id: CaptureId) -> Capturer | None:
    """Whose capture it is, if it came from this connected team."""
    return await db.maybe(
        Capturer,
        "SELECT c.org_id, c.slack_user_id FROM slack_captures c"
        "  JOIN slack_connections k ON k.org_id = c.org_id AND k.id = c.connection_id"
        " WHERE c.id = $1 AND k.team_id = $2 AND k.revoked_at IS NULL",
        capture_id,
        team_id,
    )


async def captured_by(db: Reader, org_id: OrgId, capture_id: CaptureId) -> Person | None:
    """Who captured, and in which team."""
    return await db.maybe(
        Person,
        "SELECT connection_id, slack_user_id FROM slack_captures WHERE org_id = $1 AND id = $2",
        org_id,
        capture_id,
    )


async def news(db: Reader, org_id: OrgId, capture_id: CaptureId) -> News | None:
    """A confirmation that was not sent yet."""
    return await db.maybe(
        News,
        "SELECT c.id, c.connection_id, c.state, c.outcome, c.item_id, p.name AS assignee,"
        "   c.response_url, c.slack_user_id, k.bot_token, c.posting_at IS NOT NULL AS begun_before"
        "  FROM slack_captures c"
        "  JOIN slack_connections k ON k.org_id = c.org_id AND k.id = c.connection_id"
        "  LEFT JOIN work_items w ON w.org_id = c.org_id AND w.id = c.item_id"
        "  LEFT JOIN users p ON p.org_id = c.org_id AND p.id = w.assignee_id"
        " WHERE c.org_id = $1 AND c.id = $2 AND c.state <> 'accepted' AND c.posted_at IS NULL",
        org_id,
        capture_id,
    )


async def begin_posting(db: Reader, org_id: OrgId, capture_id: CaptureId) -> None:
    """From here on a confirmation may be seen, even if we never hear so."""
    await db.value(
        "UPDATE slack_captures SET posting_at = now(), response_url = NULL"
        " WHERE org_id = $1 AND id = $2",
        org_id,
        capture_id,
    )


async def settle(db: Reader, org_id: OrgId, capture_id: CaptureId, told: State) -> None:
    """The capturer was told of this state. If it was undone since, that is still to be told."""
    await db.value(
        "UPDATE slack_captures SET posted_at = now(), response_url = NULL"
        " WHERE org_id = $1 AND id = $2 AND state = $3",
        org_id,
        capture_id,
        told,
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


_USER: LiteralString = (
    "slack_user_id, name AS slack_user_name, email AS slack_user_email,"
    " user_id AS mapped_user_id, mapped_manually"
)


async def users(db: Reader, org_id: OrgId, connection_id: ConnectionId) -> list[SlackUser]:
    return await db.all(
        SlackUser,
        f"SELECT {_USER} FROM slack_users WHERE org_id = $1 AND connection_id = $2"
        " ORDER BY lower(name), slack_user_id",
        org_id,
        connection_id,
    )


async def map_user(
    tx: Tx, org_id: OrgId, connection_id: ConnectionId, slack_user_id: str, user_id: UserId | None
) -> SlackUser | None:
    """Say by hand who somebody is. That outlasts every look at the e-mail addresses."""
    return await tx.maybe(
        SlackUser,
        "UPDATE slack_users SET user_id = $4, mapped_manually = true"
        " WHERE org_id = $1 AND connection_id = $2 AND slack_user_id = $3"
        f" RETURNING {_USER}",
        org_id,
        connection_id,
        slack_user_id,
        user_id,
    )


async def meet(
    tx: Tx, org_id: OrgId, connection_id: ConnectionId, slack_user_id: str, name: str
) -> None:
    """Note somebody of whom only an id and a name are known."""
    await tx.execute(
        "INSERT INTO slack_users (org_id, connection_id, slack_user_id, name)"
        " VALUES ($1, $2, $3, $4) ON CONFLICT DO NOTHING",
        org_id,
        connection_id,
        slack_user_id,
        name,
    )


async def know(
    db: Reader, org_id: OrgId, connection_id: ConnectionId, people: Sequence[Stranger]
) -> None:
    """Note what Slack says about people; who has a verified address of a member is that member."""
    await db.value(
        "INSERT INTO slack_users AS s (org_id, connection_id, slack_user_id, name, email, user_id)"
        " SELECT $1, $2, p.slack_user_id, p.name, p.email, u.id"
        "   FROM unnest($3::text[], $4::text[], $5::text[]) AS p (slack_user_id, name, email)"
        "   LEFT JOIN users u ON lower(u.email) = lower(p.email) AND u.org_id = $1"
        "    AND u.email_verified_at IS NOT NULL AND u.deactivated_at IS NULL"
        "  ORDER BY p.slack_user_id"
        " ON CONFLICT (org_id, connection_id, slack_user_id) DO UPDATE"
        "   SET name = excluded.name, email = excluded.email,"
        "   user_id = CASE WHEN s.mapped_manually THEN s.user_id ELSE excluded.user_id END",
        org_id,
        connection_id,
        [person.id for person in people],
        [person.name for person in people],
        [person.email for person in people],
    )


async def advance_sync(
    tx: Tx, org_id: OrgId, connection_id: ConnectionId, at: str, to: str | None
) -> bool:
    """Go on from `at` to the next page of people; False when somebody else did."""
    moved = await tx.execute(
        "UPDATE slack_connections SET sync_cursor = $4"
        " WHERE org_id = $1 AND id = $2 AND sync_cursor = $3 AND revoked_at IS NULL",
        org_id,
        connection_id,
        at,
        to,
    )
    return moved == 1


async def begin_syncs(tx: Tx, attempts: int) -> None:
    """Ask for a look at the people of every team."""
    await tx.execute(
        "WITH started AS ("
        "  UPDATE slack_connections SET sync_cursor = ''"
        "   WHERE revoked_at IS NULL RETURNING org_id, id"
        f" ) {outbox.INSERT}"
        " SELECT org_id, 'slack.sync_users', to_jsonb(id), $1::int FROM started",
        attempts,
    )


async def map_verified(tx: Tx, org_id: OrgId, user_id: UserId) -> None:
    """A member's address was verified: whoever has it in Slack is that member."""
    await tx.execute(
        "UPDATE slack_users s SET user_id = u.id FROM users u"
        " WHERE s.org_id = $1 AND u.org_id = $1 AND u.id = $2 AND NOT s.mapped_manually"
        "   AND lower(s.email) = lower(u.email)"
        "   AND u.email_verified_at IS NOT NULL AND u.deactivated_at IS NULL",
        org_id,
        user_id,
    )


async def purge(tx: Tx, now: datetime) -> None:
    """Forget response URLs after an hour, deliveries after 90 days, tokens a week after the end."""
    await tx.execute(
        "UPDATE slack_captures SET response_url = NULL"
        " WHERE created_at < $1 AND response_url IS NOT NULL AND state <> 'accepted'",
        now - timedelta(hours=1),
    )
    await tx.execute(
        "DELETE FROM slack_captures WHERE created_at < $1 AND state <> 'accepted'",
        now - timedelta(days=90),
    )
    await tx.execute(
        "UPDATE slack_connections SET bot_token = NULL"
        " WHERE bot_token IS NOT NULL AND revoked_at < $1",
        now - timedelta(days=7),
    )

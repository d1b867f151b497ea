"""Slack users as members."""

from collections.abc import Sequence
from typing import LiteralString

from rytask.modules.identity.model import MAILBOX
from rytask.modules.slack.model import (
    ConnectionId,
    MentionedUser,
    SlackProfile,
    SlackUser,
)
from rytask.platform import outbox
from rytask.platform.db import Reader, Tx
from rytask.platform.ids import OrgId, UserId

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


async def insert_user(
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


async def upsert_profiles(
    db: Reader, org_id: OrgId, connection_id: ConnectionId, people: Sequence[SlackProfile]
) -> None:
    """Note what Slack says about people; those with a member's verified address are mapped."""
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


async def mentioned(
    db: Reader, org_id: OrgId, connection_id: ConnectionId, slack_user_ids: Sequence[str]
) -> list[MentionedUser]:
    """The people behind mentions, as far as they are known."""
    return await db.all(
        MentionedUser,
        f"SELECT s.slack_user_id, s.name, {MAILBOX} AS handle FROM slack_users s"
        "  LEFT JOIN users u ON u.org_id = s.org_id AND u.id = s.user_id"
        " WHERE s.org_id = $1 AND s.connection_id = $2 AND s.slack_user_id = ANY ($3::text[])",
        org_id,
        connection_id,
        slack_user_ids,
    )

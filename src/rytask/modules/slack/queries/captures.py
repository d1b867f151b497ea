"""Captures from Slack, and their outcomes."""

from datetime import datetime, timedelta
from uuid import UUID

from rytask.modules.slack.model import (
    CaptureId,
    Capturer,
    Delivery,
    LockedCapture,
    Outcome,
    PendingConfirmation,
    State,
    TeamMember,
)
from rytask.platform import outbox
from rytask.platform.db import Reader, Tx
from rytask.platform.ids import OrgId


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
        delivery.request,
        sealed,
        now,
        ATTEMPTS,
    )


ATTEMPTS = 25
"""The most attempts at a capture."""


async def lock_capture(tx: Tx, org_id: OrgId, capture_id: CaptureId) -> LockedCapture | None:
    """A capture in order to carry it out or to undo it, and where it goes as things are now."""
    return await tx.maybe(
        LockedCapture,
        "SELECT c.id, c.connection_id, c.state, c.request, c.slack_user_id, c.outcome, c.item_id,"
        "   w.id IS NULL OR w.deleted_at IS NOT NULL AS item_trashed,"
        "   coalesce(h.project_id, k.default_project_id) AS project_id,"
        "   m.user_id AS reporter_id, m.role AS reporter_role,"
        "   u.slack_user_id IS NOT NULL AS capturer_recorded, c.created_at"
        "  FROM slack_captures c"
        "  JOIN slack_connections k ON k.org_id = c.org_id AND k.id = c.connection_id"
        "  LEFT JOIN slack_channels h ON h.org_id = c.org_id"
        "   AND h.connection_id = c.connection_id AND h.channel_id = c.channel_id"
        "  LEFT JOIN slack_users u ON u.org_id = c.org_id"
        "   AND u.connection_id = c.connection_id AND u.slack_user_id = c.slack_user_id"
        "  LEFT JOIN memberships m ON m.org_id = c.org_id AND m.user_id = u.user_id"
        "   AND m.deactivated_at IS NULL"
        "  LEFT JOIN work_items w ON w.org_id = c.org_id AND w.id = c.item_id"
        " WHERE c.org_id = $1 AND c.id = $2 FOR UPDATE OF c",
        org_id,
        capture_id,
    )


async def decide(
    tx: Tx,
    org_id: OrgId,
    capture_id: CaptureId,
    state: State,
    outcome: Outcome,
    item_id: UUID | None,
) -> None:
    """Store a capture's outcome."""
    await tx.execute(
        "UPDATE slack_captures SET state = $3, outcome = $4, item_id = $5"
        " WHERE org_id = $1 AND id = $2",
        org_id,
        capture_id,
        state,
        outcome,
        item_id,
    )


async def confirm_again(
    tx: Tx,
    org_id: OrgId,
    capture_id: CaptureId,
    state: State,
    outcome: Outcome,
    sealed: bytes | None,
) -> None:
    """A button was pressed: what came of it is to be confirmed where the button was."""
    await tx.execute(
        "UPDATE slack_captures SET state = $3, outcome = $4, response_url = $5, posting_at = NULL,"
        "   posted_at = NULL"
        " WHERE org_id = $1 AND id = $2",
        org_id,
        capture_id,
        state,
        outcome,
        sealed,
    )


async def capturer(db: Reader, team_id: str, capture_id: CaptureId) -> Capturer | None:
    """Return a capture's owner, if it came from this connected team."""
    return await db.maybe(
        Capturer,
        "SELECT c.org_id, c.slack_user_id FROM slack_captures c"
        "  JOIN slack_connections k ON k.org_id = c.org_id AND k.id = c.connection_id"
        " WHERE c.id = $1 AND k.team_id = $2 AND k.revoked_at IS NULL",
        capture_id,
        team_id,
    )


async def captured_by(db: Reader, org_id: OrgId, capture_id: CaptureId) -> TeamMember | None:
    """Return the capturer in their team."""
    return await db.maybe(
        TeamMember,
        "SELECT connection_id, slack_user_id FROM slack_captures WHERE org_id = $1 AND id = $2",
        org_id,
        capture_id,
    )


async def pending_confirmation(
    db: Reader, org_id: OrgId, capture_id: CaptureId
) -> PendingConfirmation | None:
    """A confirmation that was not sent yet."""
    return await db.maybe(
        PendingConfirmation,
        "SELECT c.id, c.connection_id, c.state, c.outcome, c.item_id, p.name AS assignee,"
        "   c.response_url, c.slack_user_id, k.bot_token,"
        "   c.posting_at IS NOT NULL AS posting_started"
        "  FROM slack_captures c"
        "  JOIN slack_connections k ON k.org_id = c.org_id AND k.id = c.connection_id"
        "  LEFT JOIN work_items w ON w.org_id = c.org_id AND w.id = c.item_id"
        "  LEFT JOIN users p ON p.org_id = c.org_id AND p.id = w.assignee_id"
        " WHERE c.org_id = $1 AND c.id = $2 AND c.state <> 'accepted' AND c.posted_at IS NULL",
        org_id,
        capture_id,
    )


async def begin_posting(db: Reader, org_id: OrgId, capture_id: CaptureId) -> None:
    """From here on a confirmation may be seen, even if we get no reply."""
    await db.value(
        "UPDATE slack_captures SET posting_at = now(), response_url = NULL"
        " WHERE org_id = $1 AND id = $2",
        org_id,
        capture_id,
    )


async def mark_confirmed(
    db: Reader, org_id: OrgId, capture_id: CaptureId, confirmed_state: State
) -> None:
    """Mark this state as confirmed. If it was undone since, that is still to be confirmed."""
    await db.value(
        "UPDATE slack_captures SET posted_at = now(), response_url = NULL"
        " WHERE org_id = $1 AND id = $2 AND state = $3",
        org_id,
        capture_id,
        confirmed_state,
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

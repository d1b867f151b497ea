"""The SQL of the inbox, and of the scan for what is due."""

from collections.abc import Mapping, Sequence
from datetime import date, datetime, timedelta
from typing import LiteralString
from uuid import UUID

import msgspec

from rytask.modules.notifications.model import (
    Kind,
    Notice,
    Notification,
    NotificationId,
    State,
)
from rytask.modules.projects.visibility import MEMBER_SEES, visible_to
from rytask.modules.work_items.events import BulkOperationFinished
from rytask.modules.work_items.model import DUE_SOON_NOTICE
from rytask.platform.db import Reader, Tx, Where
from rytask.platform.events import RecordedFact
from rytask.platform.ids import OrgId, ProjectId, UserId, new_id
from rytask.platform.pruning import BATCH
from rytask.platform.work import Actor

_NOTIFICATION: LiteralString = (
    "n.id, n.recipient_id, n.type, n.entity_type, n.entity_id, n.actor_id, n.payload, n.read_at,"
    " n.snoozed_until, n.archived_at, n.created_at"
)


def _inbox(actor: Actor) -> Where:
    """The person's notifications, without those about projects that they cannot see any more."""
    return Where(actor.org_id, actor.me).add(
        "n.org_id = $1 AND n.recipient_id = $2 AND (n.project_id IS NULL OR EXISTS ("
        f"  SELECT FROM projects p WHERE p.org_id = $1 AND p.id = n.project_id"
        f"     AND {visible_to(actor)}))"
    )


def _in_state(where: Where, state: State, now: datetime) -> Where:
    if state == "archived":
        return where.add("n.archived_at IS NOT NULL")
    where.add("n.archived_at IS NULL")
    if state == "snoozed":
        where.add("n.snoozed_until > {}", now)
    if state == "unread":
        where.add("n.read_at IS NULL AND coalesce(n.snoozed_until <= {}, true)", now)
    return where


async def inbox(
    db: Reader,
    actor: Actor,
    state: State,
    now: datetime,
    after: tuple[datetime, UUID] | None,
    limit: int,
) -> list[Notification]:
    """One notification more than `limit`, the newest first."""
    where = _in_state(_inbox(actor), state, now)
    if after is not None:
        where.add("(n.created_at, n.id) < ({}, {})", *after)
    return await db.all(
        Notification,
        f"SELECT {_NOTIFICATION} FROM notifications n WHERE {where.sql}"
        f" ORDER BY n.created_at DESC, n.id DESC LIMIT {where.param(limit + 1)}",
        *where.args,
    )


async def unread(db: Reader, actor: Actor, now: datetime, up_to: int) -> int:
    """Count the unread, no further than `up_to`."""
    where = _in_state(_inbox(actor), "unread", now)
    return await db.value(
        f"SELECT count(*) FROM (SELECT FROM notifications n WHERE {where.sql}"
        f" LIMIT {where.param(up_to)}) n",
        *where.args,
    )


async def lock(tx: Tx, actor: Actor, notification_id: NotificationId) -> Notification:
    """Read a notification of the person's own in order to change it."""
    where = _inbox(actor).add("n.id = {}", notification_id)
    return await tx.one(
        Notification,
        f"SELECT {_NOTIFICATION} FROM notifications n WHERE {where.sql} FOR UPDATE OF n",
        *where.args,
    )


async def update(tx: Tx, org_id: OrgId, notification: Notification) -> None:
    await tx.execute(
        "UPDATE notifications SET read_at = $3, snoozed_until = $4, archived_at = $5"
        " WHERE org_id = $1 AND id = $2",
        org_id,
        notification.id,
        notification.read_at,
        notification.snoozed_until,
        notification.archived_at,
    )


async def read_all(tx: Tx, actor: Actor, now: datetime) -> int:
    """Mark what is unread, and not snoozed, as read; how many."""
    where = _in_state(_inbox(actor), "unread", now)
    return await tx.execute(
        f"UPDATE notifications n SET read_at = {where.param(now)} WHERE {where.sql}", *where.args
    )


async def insert_notices(tx: Tx, org_id: OrgId, notices: Sequence[Notice], now: datetime) -> None:
    """Write notices into the inboxes, each once, as `Notice` promises."""
    await tx.execute(
        "INSERT INTO notifications (org_id, created_at, id, recipient_id, type, entity_type,"
        "                           entity_id, project_id, actor_id, payload, dedupe_key, seq)"
        " SELECT $1, $2, n.* FROM unnest($3::uuid[], $4::uuid[], $5::text[], $6::text[],"
        "   $7::uuid[], $8::uuid[], $9::uuid[], $10::jsonb[], $11::text[], $12::bigint[]) AS n"
        " ON CONFLICT (org_id, recipient_id, dedupe_key) DO UPDATE"
        "   SET actor_id = excluded.actor_id, payload = excluded.payload, seq = excluded.seq,"
        "       created_at = excluded.created_at, read_at = NULL, archived_at = NULL"
        " WHERE notifications.seq < excluded.seq",
        org_id,
        now,
        [new_id() for _ in notices],
        [notice.recipient_id for notice in notices],
        [notice.kind for notice in notices],
        [notice.entity_type for notice in notices],
        [notice.entity_id for notice in notices],
        [notice.project_id for notice in notices],
        [notice.actor_id for notice in notices],
        [notice.payload for notice in notices],
        [notice.key for notice in notices],
        [notice.seq for notice in notices],
    )


class Recipient(msgspec.Struct, frozen=True):
    """Somebody whom an item concerns, who can see it now; and what there is to say about it."""

    user_id: UserId
    assigned: bool
    project_id: ProjectId
    project_name: str
    due_date: date | None
    actor_name: str | None
    status_name: str | None


async def recipients(
    db: Reader,
    org_id: OrgId,
    item_id: UUID,
    actor_id: UserId | None,
    status_id: UUID | None = None,
) -> list[Recipient]:
    """The assignee and the watchers of an item that is not in the trash, without the actor.

    `status_name` is that of the status which is asked for, if there is such a one.
    """
    return await db.all(
        Recipient,
        "WITH persons AS ("
        "  SELECT assignee_id AS user_id FROM work_items WHERE org_id = $1 AND id = $2"
        "  UNION"
        "  SELECT user_id FROM work_item_watchers WHERE org_id = $1 AND item_id = $2"
        ")"
        " SELECT m.user_id, w.assignee_id IS NOT DISTINCT FROM m.user_id AS assigned,"
        "        w.project_id, p.name AS project_name, w.due_date,"
        "        actor.name AS actor_name, s.name AS status_name"
        "  FROM persons"
        "  JOIN memberships m ON m.org_id = $1 AND m.user_id = persons.user_id"
        "  JOIN work_items w ON w.org_id = $1 AND w.id = $2 AND w.deleted_at IS NULL"
        "  JOIN projects p ON p.org_id = $1 AND p.id = w.project_id AND p.deleted_at IS NULL"
        "  LEFT JOIN users actor ON actor.org_id = $1 AND actor.id = $3"
        "  LEFT JOIN statuses s ON s.org_id = $1 AND s.project_id = w.project_id AND s.id = $4"
        f" WHERE m.user_id IS DISTINCT FROM $3 AND {MEMBER_SEES}"
        " ORDER BY m.user_id",
        org_id,
        item_id,
        actor_id,
        status_id,
    )


async def admins(db: Reader, org_id: OrgId, but: UserId | None) -> list[UserId]:
    """Owners and admins, except one."""
    return await db.values(
        "SELECT user_id FROM memberships WHERE org_id = $1 AND deactivated_at IS NULL"
        "   AND role IN ('OWNER', 'ADMIN') AND user_id IS DISTINCT FROM $2 ORDER BY user_id",
        org_id,
        but,
    )


async def archive_stale_due_notices(tx: Tx, org_id: OrgId, item_id: UUID, now: datetime) -> None:
    """Archive what nobody has read yet about a due date that an item has not any more.

    That is so when it is done, in the trash, or due on another day.
    """
    await tx.execute(
        "UPDATE notifications n SET archived_at = $3 FROM work_items w"
        " WHERE n.org_id = $1 AND n.entity_id = $2 AND n.type IN ('DUE_SOON', 'OVERDUE')"
        "   AND n.read_at IS NULL AND n.archived_at IS NULL AND w.org_id = $1 AND w.id = $2"
        "   AND (w.closed_at IS NOT NULL OR w.deleted_at IS NOT NULL"
        "        OR n.payload ->> 'dueDate' IS DISTINCT FROM w.due_date::text)",
        org_id,
        item_id,
        now,
    )


_CHANGED: LiteralString = (
    "changed AS MATERIALIZED ("
    "  SELECT e.subject_id AS item_id, e.payload FROM events e"
    "   WHERE e.org_id = $1 AND e.seq > $2 AND e.seq < $3 AND e.project_id = $4"
    "     AND e.payload ->> 'operationId' = $5)"
)


def _of_operation(
    org_id: OrgId, recorded: RecordedFact, fact: BulkOperationFinished
) -> tuple[object, ...]:
    return org_id, fact.first_seq, recorded.seq, fact.project_id, str(fact.subject_id)


class Follower(msgspec.Struct, frozen=True):
    """Somebody whose items a bulk operation has changed, how many, and where the last one went."""

    user_id: UserId
    items: int
    key_prefix: str
    project_name: str
    actor_name: str | None
    status_id: UUID
    status_name: str


async def followers_of_operation(
    db: Reader, org_id: OrgId, recorded: RecordedFact, fact: BulkOperationFinished
) -> list[Follower]:
    """The assignees and watchers of the items that a bulk operation has changed, without who did.

    An item that it changed twice counts once; those in the trash do not count.
    """
    return await db.all(
        Follower,
        f"WITH {_CHANGED}, w AS MATERIALIZED ("
        "  SELECT w.id, w.assignee_id, w.project_id, c.payload FROM ("
        "    SELECT DISTINCT ON (item_id) item_id, payload FROM changed"
        "     WHERE payload ? 'toId' ORDER BY item_id) c"
        "   JOIN work_items w ON w.org_id = $1 AND w.id = c.item_id AND w.deleted_at IS NULL"
        "), persons AS ("
        "  SELECT w.id, w.assignee_id AS user_id FROM w WHERE w.assignee_id IS NOT NULL"
        "  UNION"
        "  SELECT w.id, v.user_id FROM w"
        "    JOIN work_item_watchers v ON v.org_id = $1 AND v.item_id = w.id"
        ")"
        " SELECT m.user_id, count(*) AS items, min(p.key_prefix) AS key_prefix,"
        "        min(p.name) AS project_name, min(actor.name) AS actor_name,"
        "        (max(w.payload ->> 'toId'))::uuid AS status_id,"
        "        max(w.payload ->> 'toName') AS status_name"
        "  FROM persons JOIN w ON w.id = persons.id"
        "  JOIN memberships m ON m.org_id = $1 AND m.user_id = persons.user_id"
        "  JOIN projects p ON p.org_id = $1 AND p.id = w.project_id AND p.deleted_at IS NULL"
        "  LEFT JOIN users actor ON actor.org_id = $1 AND actor.id = $6"
        f" WHERE m.user_id IS DISTINCT FROM $6 AND {MEMBER_SEES}"
        " GROUP BY m.user_id ORDER BY m.user_id",
        *_of_operation(org_id, recorded, fact),
        recorded.actor_id,
    )


async def archive_stale_due_of_operation(
    tx: Tx, org_id: OrgId, recorded: RecordedFact, fact: BulkOperationFinished, now: datetime
) -> None:
    """Archive what nobody has read yet about the dates of items that a bulk operation closed."""
    await tx.execute(
        f"WITH {_CHANGED}"
        " UPDATE notifications n SET archived_at = $6 FROM changed c, work_items w"
        "  WHERE n.org_id = $1 AND n.entity_id = c.item_id AND n.type IN ('DUE_SOON', 'OVERDUE')"
        "    AND n.read_at IS NULL AND n.archived_at IS NULL"
        "    AND w.org_id = $1 AND w.id = c.item_id AND w.closed_at IS NOT NULL",
        *_of_operation(org_id, recorded, fact),
        now,
    )


async def purge(tx: Tx, older_than: datetime, *, seen: bool) -> int:
    """Delete a batch of every organization's notifications, seen (read or archived) or unseen."""
    which: LiteralString = (
        "(read_at IS NOT NULL OR archived_at IS NOT NULL)"
        if seen
        else "read_at IS NULL AND archived_at IS NULL"
    )
    return await tx.execute(
        "DELETE FROM notifications WHERE ctid = ANY (ARRAY(SELECT ctid FROM notifications"
        f"   WHERE {which} AND created_at < $1"
        "   ORDER BY created_at LIMIT $2 FOR UPDATE SKIP LOCKED))",
        older_than,
        BATCH,
    )


# People to notify of what is due: it is their hour (notify_at) of a working day on which they have
# not been notified yet. $1 and $2 are the local times by zone, $3 is that of UTC: a name that is no
# zone falls back to the organization's, and to UTC. The day is that of the hour which came last,
# if it is today's, or was missed by less than an hour around midnight.
_DUE_PERSONS: LiteralString = (
    "  FROM users u"
    "  JOIN memberships m ON m.org_id = u.org_id AND m.user_id = u.id AND m.deactivated_at IS NULL"
    "  JOIN organizations o ON o.id = u.org_id AND o.deleted_at IS NULL"
    "  LEFT JOIN unnest($1::text[], $2::timestamp[]) AS own (zone, at) ON own.zone = u.timezone"
    "  LEFT JOIN unnest($1::text[], $2::timestamp[]) AS shared (zone, at)"
    "         ON shared.zone = o.settings ->> 'timezone'"
    " CROSS JOIN LATERAL ("
    "   SELECT at, (at - u.notify_at)::date AS day"
    "     FROM (SELECT coalesce(own.at, shared.at, $3::timestamp) AS at) AS clock) AS local"
    "  LEFT JOIN notification_scans s ON s.org_id = u.org_id AND s.user_id = u.id"
    " WHERE coalesce(s.scanned_on < local.day, true)"
    "   AND (local.day = local.at::date OR local.at < local.day + u.notify_at + interval '1 hour')"
    "   AND coalesce(o.settings -> 'workingDays', '[1, 2, 3, 4, 5]')"
    "       @> to_jsonb(extract(dow FROM local.day)::int)"
)


def _clocks(local_times: Mapping[str, datetime]) -> tuple[list[str], list[datetime], datetime]:
    return list(local_times), list(local_times.values()), local_times["UTC"]


async def orgs_to_scan(db: Reader, local_times: Mapping[str, datetime]) -> list[OrgId]:
    """The organizations with somebody to notify now."""
    return await db.values(f"SELECT DISTINCT u.org_id {_DUE_PERSONS}", *_clocks(local_times))


class ClaimedScan(msgspec.Struct, frozen=True):
    """Somebody who is notified today of what is due, and their date."""

    user_id: UserId
    today: date


async def claim_scans(
    tx: Tx, org_id: OrgId, local_times: Mapping[str, datetime], limit: int
) -> list[ClaimedScan]:
    """Mark some of those to notify as notified today. Each is given to one caller only."""
    return await tx.all(
        ClaimedScan,
        "INSERT INTO notification_scans AS s (org_id, user_id, scanned_on)"
        f" SELECT u.org_id, u.id, local.day {_DUE_PERSONS} AND u.org_id = $4"
        " ORDER BY u.id LIMIT $5"
        " ON CONFLICT (org_id, user_id) DO UPDATE SET scanned_on = excluded.scanned_on"
        "  WHERE s.scanned_on < excluded.scanned_on"
        " RETURNING user_id, scanned_on AS today",
        *_clocks(local_times),
        org_id,
        limit,
    )


class Due(msgspec.Struct, frozen=True):
    """An item that is due soon, or overdue, and somebody not notified of it."""

    recipient_id: UserId
    kind: Kind
    notice_key: str
    item_id: UUID
    key: str
    title: str
    due_date: date
    project_id: ProjectId
    project_name: str


async def due(db: Reader, org_id: OrgId, scanned: Sequence[ClaimedScan]) -> list[Due]:
    """List visible open items of which these people have not been notified yet.

    Due soon: on that day or the two after it, once for each due date. Overdue: once in each week
    that begins on the day after it, on the 1st, 8th, 15th … day of the recipient's own.
    """
    return await db.all(
        Due,
        "WITH scanned AS ("
        "  SELECT * FROM unnest($2::uuid[], $3::date[]) AS s (user_id, today)"
        "), due AS MATERIALIZED ("
        "  SELECT w.id, w.key, w.title, w.due_date, w.assignee_id, w.project_id FROM work_items w"
        "   WHERE w.org_id = $1 AND w.deleted_at IS NULL AND w.closed_at IS NULL"
        "     AND w.due_date <= $4"
        "), concerned AS ("
        "  SELECT due.id, due.assignee_id AS user_id FROM due"
        "   WHERE due.assignee_id = ANY ($2::uuid[])"
        "  UNION"
        # OFFSET 0 makes it one look-up for each item: a join would read all watchers of all items.
        "  SELECT due.id, watcher.user_id FROM due CROSS JOIN LATERAL ("
        "    SELECT v.user_id FROM work_item_watchers v"
        "     WHERE v.org_id = $1 AND v.item_id = due.id OFFSET 0) watcher"
        "   WHERE watcher.user_id = ANY ($2::uuid[])"
        ")"
        " SELECT s.user_id AS recipient_id, notice.kind, notice.key AS notice_key, w.id AS item_id,"
        "        w.key, w.title, w.due_date, w.project_id, p.name AS project_name"
        "  FROM scanned s"
        "  JOIN memberships m ON m.org_id = $1 AND m.user_id = s.user_id"
        "  JOIN concerned c ON c.user_id = s.user_id"
        "  JOIN due w ON w.id = c.id AND w.due_date <= s.today + $5::int"
        "  JOIN projects p ON p.org_id = $1 AND p.id = w.project_id"
        "   AND p.deleted_at IS NULL AND p.archived_at IS NULL"
        " CROSS JOIN LATERAL ("
        "   SELECT 'DUE_SOON' AS kind, 'due_soon:' || w.id || ':' || w.due_date AS key"
        "    WHERE w.due_date >= s.today"
        "    UNION ALL"
        "   SELECT 'OVERDUE', 'overdue:' || w.id || ':' || w.due_date || ':'"
        "                     || (s.today - w.due_date - 1) / 7"
        "    WHERE w.due_date < s.today) AS notice"
        # As a sub-select it stays one look into the index per notice, whatever the statistics say:
        # NOT EXISTS became a join of everything with everything (2026-11, 3 s for 2,000 items).
        f" WHERE {MEMBER_SEES} AND ("
        "   SELECT n.id FROM notifications n WHERE n.org_id = $1 AND n.recipient_id = s.user_id"
        "      AND n.dedupe_key = notice.key) IS NULL"
        " ORDER BY s.user_id, w.due_date, w.id",
        org_id,
        [person.user_id for person in scanned],
        [person.today for person in scanned],
        max(person.today for person in scanned) + timedelta(days=DUE_SOON_NOTICE),
        DUE_SOON_NOTICE,
    )

"""The inbox of a person, and what other modules may put into it."""

from datetime import datetime
from uuid import UUID

import msgspec

from rytask.modules.notifications import queries, rules
from rytask.modules.notifications.events import InboxChanged
from rytask.modules.notifications.model import Count, Kind, Notice, Notification, NotificationId
from rytask.modules.notifications.schemas import InboxQuery, NotificationChanges
from rytask.platform import pages
from rytask.platform.http import Page
from rytask.platform.work import Reading, Writing

_COUNTED = 1_000


async def inbox(ctx: Reading, query: InboxQuery) -> Page[Notification]:
    """The person's own notifications, the newest first."""
    after = pages.decode(query.cursor, tuple[datetime, UUID]) if query.cursor else None
    rows = await queries.inbox(ctx.db, ctx.actor, query.state, ctx.now, after, query.limit)
    return pages.page(rows, query.limit, lambda last: pages.encode(last.created_at, last.id))


async def unread_count(ctx: Reading) -> Count:
    """Count the unread that are neither snoozed nor archived: 1,000 means that many or more."""
    return Count(await queries.unread(ctx.db, ctx.actor, ctx.now, _COUNTED))


async def change(
    ctx: Writing, notification_id: NotificationId, changes: NotificationChanges
) -> Notification:
    """Read, snooze or archive one, or take that back. Doing it twice changes nothing."""
    before = await queries.lock(ctx.db, ctx.actor, notification_id)
    after = rules.changed(before, changes, ctx.now)
    if after != before:
        await queries.update(ctx.db, ctx.org_id, after)
        ctx.record(InboxChanged(subject_id=ctx.actor.me))
    return after


async def read_all(ctx: Writing) -> Count:
    """Mark everything that is unread as read, except what is snoozed; how many that were."""
    read = await queries.read_all(ctx.db, ctx.actor, ctx.now)
    if read:
        ctx.record(InboxChanged(subject_id=ctx.actor.me))
    return Count(read)


async def notify_admins(
    ctx: Writing,
    kind: Kind,
    payload: msgspec.Struct,
    *,
    entity_type: str,
    entity_id: UUID,
    key: str,
) -> None:
    """Tell the owners and admins of the organization, except whoever acts.

    `key` names the subject: for the same one, each is notified once.
    """
    me = ctx.actor.user_id
    await queries.insert_notices(
        ctx.db,
        ctx.org_id,
        [
            Notice(
                recipient_id=admin,
                kind=kind,
                entity_type=entity_type,
                entity_id=entity_id,
                payload=payload,
                key=key,
                actor_id=me,
            )
            for admin in await queries.admins(ctx.db, ctx.org_id, me)
        ],
        ctx.now,
    )

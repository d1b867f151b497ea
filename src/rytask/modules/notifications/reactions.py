"""Notifications about what happens to items that concern their recipients."""

from uuid import UUID

from rytask.modules.notifications import queries, rules
from rytask.modules.notifications.model import ItemPayload, Kind, Named, Notice
from rytask.modules.work_items.events import (
    BulkOperationFinished,
    ItemAssigned,
    ItemChanged,
    ItemCompleted,
    ItemFact,
    ItemReopened,
    ItemStatusChanged,
    ItemTrashed,
    StatusFact,
)
from rytask.platform.events import RecordedFact
from rytask.platform.reactions import on
from rytask.platform.work import Writing


@on(ItemAssigned)
async def notify_assignee(ctx: Writing, recorded: RecordedFact, fact: ItemAssigned) -> None:
    """Tell who got an item, unless they took it themselves or have it no longer."""
    persons = await queries.recipients(ctx.db, ctx.org_id, fact.subject_id, recorded.actor_id)
    await _notify(
        ctx,
        [
            _notice("ASSIGNED", person, recorded, fact)
            for person in persons
            if person.assigned and person.user_id == fact.to_id
        ],
    )


@on(ItemStatusChanged)
async def notify_followers(ctx: Writing, recorded: RecordedFact, fact: ItemStatusChanged) -> None:
    """Tell the assignee and the watchers, except whoever did it, of an item's new status."""
    await _notify_followers(ctx, recorded, fact)


@on(ItemCompleted)
async def notify_of_completion(ctx: Writing, recorded: RecordedFact, fact: ItemCompleted) -> None:
    """Tell them that an item was completed."""
    await _notify_followers(ctx, recorded, fact)


@on(ItemReopened)
async def notify_of_reopening(ctx: Writing, recorded: RecordedFact, fact: ItemReopened) -> None:
    """Tell them that an item was reopened."""
    await _notify_followers(ctx, recorded, fact)


@on(BulkOperationFinished)
async def notify_of_bulk_change(
    ctx: Writing, recorded: RecordedFact, fact: BulkOperationFinished
) -> None:
    """Tell each follower once how many of their items a bulk operation put into another status."""
    if fact.project_id is None:
        return
    rows = await queries.followers_of_operation(ctx.db, ctx.org_id, recorded, fact)
    await _notify(
        ctx,
        [
            Notice(
                recipient_id=row.user_id,
                kind="STATUS_CHANGED",
                entity_type="project",
                entity_id=fact.project_id,
                project_id=fact.project_id,
                actor_id=recorded.actor_id,
                payload=ItemPayload(
                    key=row.key_prefix,
                    title="1 item" if row.items == 1 else f"{row.items:,} items",
                    project_id=fact.project_id,
                    project_name=row.project_name,
                    actor_name=row.actor_name,
                    after=Named(row.status_id, row.status_name),
                ),
                key=f"status_changed:{fact.subject_id}",
                seq=recorded.seq,
            )
            for row in rows
        ],
    )
    await queries.archive_stale_due_of_operation(ctx.db, ctx.org_id, recorded, fact, ctx.now)


@on(ItemChanged)
async def archive_after_date_change(
    ctx: Writing, recorded: RecordedFact, fact: ItemChanged
) -> None:
    """Archive what nobody has read yet about a date that is not the item's any more."""
    if any(change.field == "dueDate" for change in fact.changes):
        await _archive_stale_due(ctx, fact.subject_id)


@on(ItemTrashed)
async def archive_after_trash(ctx: Writing, recorded: RecordedFact, fact: ItemTrashed) -> None:
    """Archive what nobody has read yet about the date of an item that is in the trash."""
    await _archive_stale_due(ctx, fact.subject_id)


async def _notify_followers(ctx: Writing, recorded: RecordedFact, fact: StatusFact) -> None:
    """Notify an item's watchers, unless its assignee just was, or a bulk operation will."""
    if fact.from_id is None or fact.operation_id is not None:
        return
    persons = await queries.recipients(
        ctx.db, ctx.org_id, fact.subject_id, recorded.actor_id, fact.from_id
    )
    await _notify(
        ctx,
        [
            _notice(
                "STATUS_CHANGED",
                person,
                recorded,
                fact,
                before=Named(fact.from_id, person.status_name),
                after=Named(fact.to_id, fact.to_name),
            )
            for person in persons
        ],
    )
    await _archive_stale_due(ctx, fact.subject_id)


async def _archive_stale_due(ctx: Writing, item_id: UUID) -> None:
    await queries.archive_stale_due_notices(ctx.db, ctx.org_id, item_id, ctx.now)


async def _notify(ctx: Writing, notices: list[Notice]) -> None:
    if notices:
        await queries.insert_notices(ctx.db, ctx.org_id, notices, ctx.now)


def _notice(
    kind: Kind,
    person: queries.Recipient,
    recorded: RecordedFact,
    fact: ItemFact,
    *,
    before: Named | None = None,
    after: Named | None = None,
) -> Notice:
    return Notice(
        recipient_id=person.user_id,
        kind=kind,
        entity_type="work_item",
        entity_id=fact.subject_id,
        project_id=person.project_id,
        actor_id=recorded.actor_id,
        payload=ItemPayload(
            key=fact.key,
            title=fact.title,
            project_id=person.project_id,
            project_name=person.project_name,
            due_date=person.due_date,
            actor_name=person.actor_name,
            before=before,
            after=after,
        ),
        key=f"{kind.lower()}:{fact.subject_id}:{rules.bucket(recorded.at)}",
        seq=recorded.seq,
    )

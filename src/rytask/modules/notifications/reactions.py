"""What people are told when something happens to an item that concerns them."""

from uuid import UUID

from rytask.modules.notifications import queries, rules
from rytask.modules.notifications.model import ItemPayload, Kind, Named, Notice
from rytask.modules.work_items.events import (
    ItemAssigned,
    ItemChanged,
    ItemFact,
    ItemStatusChanged,
    ItemTrashed,
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

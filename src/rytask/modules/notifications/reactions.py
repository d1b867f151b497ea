"""What people are told when something happens to an item that concerns them."""

from uuid import UUID

from rytask.modules.notifications import queries, rules
from rytask.modules.notifications.model import ItemNews, Kind, Named, Notice
from rytask.modules.work_items.events import (
    ItemAssigned,
    ItemChanged,
    ItemFact,
    ItemStatusChanged,
    ItemTrashed,
)
from rytask.platform.events import Recorded
from rytask.platform.reactions import on
from rytask.platform.work import Writing


@on(ItemAssigned)
async def tell_the_assignee(ctx: Writing, recorded: Recorded, fact: ItemAssigned) -> None:
    """Tell who got an item, unless they took it themselves or have it no longer."""
    persons = await queries.concerned(ctx.db, ctx.org_id, fact.subject_id, recorded.actor_id)
    await _tell(
        ctx,
        [
            _notice("ASSIGNED", person, recorded, fact)
            for person in persons
            if person.assigned and person.user_id == fact.to_id
        ],
    )


@on(ItemStatusChanged)
async def tell_who_follows(ctx: Writing, recorded: Recorded, fact: ItemStatusChanged) -> None:
    """Tell the assignee and the watchers, except whoever did it, of an item's new status."""
    persons = await queries.concerned(
        ctx.db, ctx.org_id, fact.subject_id, recorded.actor_id, fact.from_id
    )
    await _tell(
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
    await _forget_due(ctx, fact.subject_id)


@on(ItemChanged)
async def forget_the_old_date(ctx: Writing, recorded: Recorded, fact: ItemChanged) -> None:
    """Archive what nobody has read yet about a date that is not the item's any more."""
    if any(change.field == "dueDate" for change in fact.changes):
        await _forget_due(ctx, fact.subject_id)


@on(ItemTrashed)
async def forget_what_is_gone(ctx: Writing, recorded: Recorded, fact: ItemTrashed) -> None:
    """Archive what nobody has read yet about the date of an item that is in the trash."""
    await _forget_due(ctx, fact.subject_id)


async def _forget_due(ctx: Writing, item_id: UUID) -> None:
    await queries.archive_what_is_not_due(ctx.db, ctx.org_id, item_id, ctx.now)


async def _tell(ctx: Writing, notices: list[Notice]) -> None:
    if notices:
        await queries.tell(ctx.db, ctx.org_id, notices, ctx.now)


def _notice(
    kind: Kind,
    person: queries.Concerned,
    recorded: Recorded,
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
        payload=ItemNews(
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

"""Bringing in many items at once, with their past."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from uuid import UUID

from msgspec.structs import replace

from rytask.modules.projects import service as projects
from rytask.modules.projects.model import ProjectWithRole
from rytask.modules.work_items import checks, creation, rules
from rytask.modules.work_items.model import ImportedItem, ItemStatus, WorkItem
from rytask.modules.work_items.queries import bulk_insert
from rytask.platform import history
from rytask.platform.errors import Invalid
from rytask.platform.history import PastFact
from rytask.platform.ids import ProjectId
from rytask.platform.work import Reading, Writing

Statuses = Mapping[UUID, ItemStatus]


async def import_items(
    ctx: Writing, project_id: ProjectId, imported: Sequence[ImportedItem]
) -> list[WorkItem]:
    """Add many items with their past to a project: all of them or none, numbered in this order.

    Each is as if it had been created and then moved to its status at its own times, but it stands
    in the order of the numbers, and nobody is notified. A parent is one of them and comes before
    its sub-tasks. Some thousands are a good measure for one transaction.
    """
    project = await projects.require(ctx, project_id, "MEMBER")
    if project.archived_at is not None:
        raise checks.archived()
    _check_tree(imported)
    statuses = await _check_references(ctx, project, imported)
    places = await bulk_insert.reserve_places(ctx.db, ctx.org_id, project_id, len(imported))
    children = Counter(one.parent_id for one in imported)
    items = [
        _item(
            one,
            project,
            statuses,
            number=places.number + nth,
            position=places.position + nth * rules.STEP,
            child_count=children[one.id],
        )
        for nth, one in enumerate(imported, 1)
    ]
    await bulk_insert.insert_items(
        ctx.db,
        ctx.org_id,
        items,
        [_closing_times(one, statuses)[1] for one in imported],
    )
    await bulk_insert.insert_watchers(
        ctx.db, ctx.org_id, ((item.id, creation.watching(item)) for item in items)
    )
    past = [
        fact
        for item, one in zip(items, imported, strict=True)
        for fact in _past(item, one, statuses)
    ]
    await history.record(ctx.db, ctx.org_id, past)
    return items


async def count_items(ctx: Reading) -> dict[ProjectId, int]:
    """Count the items of each project that has any, without those in the trash."""
    counts = await bulk_insert.counts(ctx.db, ctx.org_id)
    return {one.project_id: one.count for one in counts}


def _check_tree(imported: Sequence[ImportedItem]) -> None:
    levels: dict[UUID | None, int] = {None: 0}
    for one in imported:
        if one.parent_id not in levels:
            raise Invalid(
                "A parent must be imported together with its sub-tasks, before them.",
                code="work_item.unknown_parent",
            )
        levels[one.id] = level = levels[one.parent_id] + 1
        if level > rules.MAX_DEPTH:
            raise checks.too_deep()


async def _check_references(
    ctx: Writing, project: ProjectWithRole, imported: Sequence[ImportedItem]
) -> Statuses:
    """Refuse what the project does not have; the statuses, by id."""
    status_ids = {id for one in imported for id in (one.status_id, one.created_in)}
    assignee_ids = {one.assignee_id for one in imported if one.assignee_id is not None}
    label_ids = {id for one in imported for id in one.label_ids}
    statuses = await bulk_insert.lock_statuses(ctx.db, ctx.org_id, project.id, status_ids)
    if statuses.keys() != status_ids:
        raise checks.unknown_status()
    if assignee_ids != await bulk_insert.assignable(ctx.db, ctx.org_id, project.id, assignee_ids):
        raise checks.unknown_assignee()
    if label_ids != await bulk_insert.lock_labels(
        ctx.db, ctx.org_id, project.workspace_id, label_ids
    ):
        raise checks.unknown_label()
    return statuses


def _item(
    one: ImportedItem,
    project: ProjectWithRole,
    statuses: Statuses,
    *,
    number: int,
    position: float,
    child_count: int,
) -> WorkItem:
    checks.dates(one.start_date, one.end_date, one.due_date)
    return WorkItem(
        id=one.id,
        key=f"{project.key_prefix}-{number}",
        number=number,
        project_id=project.id,
        title=checks.title(one.title),
        description=one.description,
        status_id=one.status_id,
        priority=one.priority,
        source=one.source,
        assignee_id=one.assignee_id,
        reporter_id=one.reporter_id,
        parent_id=one.parent_id,
        estimate_value=one.estimate_value,
        start_date=one.start_date,
        end_date=one.end_date,
        due_date=one.due_date,
        overdue=False,
        position=position,
        version=1 if one.created_in == one.status_id else 2,
        completed_at=_closing_times(one, statuses)[0],
        created_at=one.created_at,
        updated_at=one.moved_at,
        label_ids=checks.label_ids(one.label_ids),
        child_count=child_count,
    )


def _closing_times(
    one: ImportedItem, statuses: Statuses
) -> tuple[datetime | None, datetime | None]:
    """The times of its completion and its closing, by both of its statuses."""
    created = _first_closing_times(one, statuses)
    return rules.closing_times(statuses[one.status_id].category, *created, one.moved_at)


def _first_closing_times(
    one: ImportedItem, statuses: Statuses
) -> tuple[datetime | None, datetime | None]:
    return rules.closing_times(statuses[one.created_in].category, None, None, one.created_at)


def _past(item: WorkItem, one: ImportedItem, statuses: Statuses) -> Iterator[PastFact]:
    """Facts of an item: its reporter created it, and whoever has it moved it."""
    created = _first_closing_times(one, statuses)
    new = replace(item, status_id=one.created_in, completed_at=created[0])
    for fact in creation.facts(new, statuses[one.created_in].name):
        yield PastFact(fact, item.reporter_id, item.source, item.created_at)
    if one.created_in != one.status_id:
        to = statuses[one.status_id]
        moved = rules.status_fact(to.category, *created)(
            **creation.fact_fields(item),
            from_id=one.created_in,
            to_id=one.status_id,
            to_name=to.name,
        )
        yield PastFact(moved, item.assignee_id or item.reporter_id, item.source, one.moved_at)

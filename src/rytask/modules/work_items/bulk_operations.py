"""Changes of many items: at once if they are few, else a job for one batch after the other.

A batch is a transaction. What is left to do is seen from the items themselves, so a batch that is
killed is done again, and operations on the same status or label end in the same state, whatever
their order: each batch looks again at what the items are to become.
"""

from datetime import timedelta
from uuid import UUID

from msgspec.structs import replace

from rytask.modules.projects import service as projects
from rytask.modules.projects.model import Category
from rytask.modules.work_items import rules
from rytask.modules.work_items.events import BulkOperationFinished, ItemLabelled
from rytask.modules.work_items.model import BulkOperation, OperationKind
from rytask.modules.work_items.queries import bulk as queries
from rytask.modules.work_items.queries.bulk import BulkItem, LockedOperation
from rytask.platform import pages
from rytask.platform.db import Where
from rytask.platform.errors import NotFound
from rytask.platform.http import Page
from rytask.platform.ids import ProjectId, new_id
from rytask.platform.work import Reading, Writing, system

AT_ONCE = 100
"""Up to so many items are changed by the request itself."""
BATCH = 500
_LOCKED_ITEMS_PAUSE = timedelta(seconds=1)


async def start(
    ctx: Writing,
    kind: OperationKind,
    subject_id: UUID,
    *,
    project_id: ProjectId | None = None,
    target_id: UUID | None = None,
    from_category: Category | None = None,
) -> None:
    """Change the items of a status, a label or a project: now if they are few, else by jobs."""
    change = _CHANGES[kind](ctx, subject_id, project_id, from_category)
    await change.prepare()
    items = await change.lock(AT_ONCE + 1)
    if len(items) <= AT_ONCE:
        if items:
            await change.apply(items)
        if not await queries.any_left(ctx.db, change.items()):
            await change.finish()
            return
    operation = BulkOperation(
        id=new_id(),
        kind=kind,
        project_id=project_id,
        subject_id=subject_id,
        target_id=target_id,
        total=None,
        done=0,
        started_at=ctx.now,
        finished_at=None,
        error=None,
    )
    await queries.insert_operation(ctx.db, operation, ctx.actor, from_category)
    ctx.enqueue("work_items.change_in_bulk", operation.id)


async def run_batch(ctx: Writing, operation_id: UUID) -> None:
    """Change the next batch in the name of whoever asked, and ask for another one."""
    operation = await queries.lock_operation(ctx.db, ctx.org_id, operation_id)
    if operation is None:
        return
    actor = replace(system(ctx.org_id), user_id=operation.actor_id, source=operation.source)
    with ctx.acting_as(actor):
        await _run_batch(ctx, operation)


async def _run_batch(ctx: Writing, operation: LockedOperation) -> None:
    change = _CHANGES[operation.kind](
        ctx, operation.subject_id, operation.project_id, operation.from_category, operation.id
    )
    await change.prepare()
    total, done, after = operation.total, operation.done, operation.after_position
    if total is None:
        total = await queries.count(ctx.db, change.items())
    items = await change.lock(BATCH, after)
    if items:
        await change.apply(items)
        done, after = done + len(items), items[-1].position
    elif after is not None:
        after = None  # from the start again: for what moved, or was locked by somebody else
    elif await queries.any_left(ctx.db, change.items()):
        ctx.enqueue("work_items.change_in_bulk", operation.id, at=ctx.now + _LOCKED_ITEMS_PAUSE)
        return
    else:
        await change.finish()
        await queries.advance(
            ctx.db,
            ctx.org_id,
            operation.id,
            total=done,
            done=done,
            after=None,
            finished_at=ctx.now,
        )
        ctx.record(
            BulkOperationFinished(
                subject_id=operation.id,
                project_id=operation.project_id,
                operation=operation.kind,
                changed=done,
                first_seq=operation.first_seq,
            )
        )
        return
    await queries.advance(ctx.db, ctx.org_id, operation.id, total=total, done=done, after=after)
    ctx.enqueue("work_items.change_in_bulk", operation.id)


async def list_operations(ctx: Reading, cursor: str | None, limit: int) -> Page[BulkOperation]:
    """The bulk operations that the actor may see, the newest first."""
    before = None if cursor is None else pages.decode(cursor, tuple[UUID])[0]
    rows = await queries.operations(ctx.db, ctx.actor, before, limit)
    return pages.page(rows, limit, lambda operation: pages.encode(operation.id))


async def get_operation(ctx: Reading, operation_id: UUID) -> BulkOperation:
    found = await queries.operation(ctx.db, ctx.actor, operation_id)
    if found is None:
        raise NotFound("There is no such operation, or it is not shared with you.")
    return found


class _ItemsOfProject:
    """Erases the items of a deleted project."""

    def __init__(
        self,
        ctx: Writing,
        subject_id: UUID,
        project_id: ProjectId | None,
        from_category: Category | None,
        operation_id: UUID | None = None,
    ) -> None:
        self._ctx, self._subject_id, self._operation_id = ctx, subject_id, operation_id
        self._project_id = project_id or ProjectId(subject_id)
        self._from_category: Category | None = from_category

    async def prepare(self) -> None:
        """Lock what is administered, and look at what the items are to become."""

    def items(self, after: float | None = None) -> Where:
        """The items that are still to be changed."""
        return queries.project_items(self._ctx.org_id, self._project_id)

    async def lock(self, limit: int, after: float | None = None) -> list[BulkItem]:
        """The next of them."""
        return await queries.lock_batch(
            self._ctx.db, self.items(after), limit, queries.YOUNGEST_FIRST
        )

    async def apply(self, items: list[BulkItem]) -> None:
        await queries.erase(self._ctx.db, self._ctx.org_id, [item.id for item in items])

    async def finish(self) -> None:
        """Remove what no item needs any more."""
        await projects.erase_project(self._ctx, self._project_id)


class _ItemsOfStatus(_ItemsOfProject):
    """Puts items where those of a status belong: closed as it says, or into what replaces it."""

    async def prepare(self) -> None:
        self._status = await projects.status_of_items(self._ctx, self._project_id, self._subject_id)
        self._moves = self._status is not None and self._status.id != self._subject_id

    def items(self, after: float | None = None) -> Where:
        status = self._status
        return queries.status_items(
            self._ctx.org_id,
            self._project_id,
            self._subject_id,
            closed_as=None if status is None or self._moves else rules.closed_as(status.category),
            after=after,
        )

    async def lock(self, limit: int, after: float | None = None) -> list[BulkItem]:
        return await queries.lock_batch(self._ctx.db, self.items(after), limit, queries.IN_ORDER)

    async def apply(self, items: list[BulkItem]) -> None:
        ctx, status = self._ctx, self._status
        if status is None:
            raise LookupError("items cannot be in a status that was erased")
        positions = [item.position for item in items]
        if self._moves:
            end = await queries.allocate_positions(ctx.db, ctx.org_id, self._project_id, len(items))
            positions = [end + rules.STEP * n for n in range(len(items))]
        await queries.put_into_status(
            ctx.db,
            ctx.org_id,
            status.id,
            ctx.now,
            [
                (
                    item.id,
                    position,
                    *rules.closing_times(
                        status.category, item.completed_at, item.closed_at, ctx.now
                    ),
                )
                for item, position in zip(items, positions, strict=True)
            ],
        )
        for item in items:
            fact = rules.status_fact(status.category, item.completed_at, item.closed_at)
            ctx.record(
                fact(
                    subject_id=item.id,
                    project_id=item.project_id,
                    key=item.key,
                    title=item.title,
                    from_id=self._subject_id,
                    to_id=status.id,
                    to_name=status.name,
                    from_category=self._from_category,
                    to_category=status.category if self._from_category else None,
                    operation_id=self._operation_id,
                )
            )

    async def finish(self) -> None:
        await projects.erase_status(self._ctx, self._subject_id)


class _ItemsOfLabel(_ItemsOfProject):
    """Takes a label off items, and puts on what takes its place."""

    async def prepare(self) -> None:
        self._label = await projects.replacement_of_label(self._ctx, self._subject_id)

    def items(self, after: float | None = None) -> Where:
        return queries.label_items(self._ctx.org_id, self._subject_id)

    async def lock(self, limit: int, after: float | None = None) -> list[BulkItem]:
        return await queries.lock_batch(self._ctx.db, self.items(), limit)

    async def apply(self, items: list[BulkItem]) -> None:
        ctx, label_id = self._ctx, self._subject_id
        into_id = self._label and self._label.replaced_by
        await queries.replace_label(
            ctx.db, ctx.org_id, [item.id for item in items], label_id, into_id, ctx.now
        )
        for item in items:
            ctx.record(
                ItemLabelled(
                    subject_id=item.id,
                    project_id=item.project_id,
                    key=item.key,
                    title=item.title,
                    added=[into_id] if into_id and into_id not in item.label_ids else [],
                    removed=[label_id],
                )
            )

    async def finish(self) -> None:
        await projects.erase_label(self._ctx, self._subject_id)


_CHANGES: dict[OperationKind, type[_ItemsOfProject]] = {
    "STATUS_CATEGORY": _ItemsOfStatus,
    "STATUS_DELETION": _ItemsOfStatus,
    "LABEL_MERGE": _ItemsOfLabel,
    "LABEL_DELETION": _ItemsOfLabel,
    "PROJECT_DELETION": _ItemsOfProject,
}

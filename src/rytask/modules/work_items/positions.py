"""Places in the order of a status: between two other items, and at which position."""

from uuid import UUID

from rytask.modules.work_items import rules
from rytask.modules.work_items.events import PositionsChanged
from rytask.modules.work_items.model import LockedItem
from rytask.modules.work_items.queries import writing
from rytask.modules.work_items.queries.writing import Neighbour
from rytask.modules.work_items.schemas import Move
from rytask.platform.errors import Invalid
from rytask.platform.work import Writing

Neighbours = tuple[Neighbour | None, Neighbour | None]


async def find_neighbours(
    ctx: Writing, item: LockedItem, status_id: UUID, to: Move
) -> Neighbours | None:
    """The two that a move asks to be between; None in it is an end, None alone: nothing asked."""
    anchor_id = to.after_id or to.before_id
    if anchor_id is None:
        return None
    found = await _neighbours_of(ctx, item, status_id, anchor_id, before=to.after_id is None)
    anchor, other = found[0], found[1] if len(found) > 1 else None
    if to.after_id is None:
        return other, anchor
    if to.before_id is not None:
        [end, *_] = await _neighbours_of(ctx, item, status_id, to.before_id, before=True)
        if (end.position, end.id) <= (anchor.position, anchor.id):
            raise Invalid(
                "`afterId` must come before `beforeId` in the status.",
                code="work_item.wrong_order",
            )
    return anchor, other


async def _neighbours_of(
    ctx: Writing, item: LockedItem, status_id: UUID, anchor_id: UUID, *, before: bool
) -> list[Neighbour]:
    found = await writing.neighbours(
        ctx.db, ctx.org_id, item, status_id, anchor_id, before=before, count=1
    )
    if not found:
        raise Invalid(
            "`beforeId` and `afterId` must be other items of the status.",
            code="work_item.unknown_neighbour",
        )
    return found


def is_between(position: float, low: Neighbour | None, high: Neighbour | None) -> bool:
    return (low is None or low.position < position) and (high is None or position < high.position)


async def position_for(
    ctx: Writing, item: LockedItem, status_id: UUID, neighbours: Neighbours
) -> float:
    """A position between two neighbours; if there is no room, those near it move apart."""
    low, high = neighbours
    position = rules.position_between(low and low.position, high and high.position)
    if position is not None:
        return position
    reach = rules.REACH
    while True:
        left = await _neighbours_on_side(ctx, item, status_id, low, reach, before=True)
        right = await _neighbours_on_side(ctx, item, status_id, high, reach, before=False)
        start = left.pop(0).position if len(left) > reach else None
        stop = right.pop().position if len(right) > reach else None
        count = len(left) + 1 + len(right)
        if stop is None:
            start = await writing.reserve_end(ctx.db, ctx.org_id, item.project_id, count)
        positions = rules.spread_positions(start, stop, count)
        if positions is not None:
            ids = [neighbour.id for neighbour in (*left, *right)]
            own = positions.pop(len(left))
            await writing.set_positions(ctx.db, ctx.org_id, status_id, ids, positions)
            ctx.record(
                PositionsChanged(
                    subject_id=item.project_id,
                    project_id=item.project_id,
                    status_id=status_id,
                    item_ids=ids,
                    positions=positions,
                )
            )
            return own
        reach *= 2


async def _neighbours_on_side(
    ctx: Writing,
    item: LockedItem,
    status_id: UUID,
    nearest: Neighbour | None,
    reach: int,
    *,
    before: bool,
) -> list[Neighbour]:
    """Up to `reach` neighbours on one side and the one that stays, in the order of the status."""
    if nearest is None:
        return []
    found = await writing.neighbours(
        ctx.db, ctx.org_id, item, status_id, nearest.id, before=before, count=reach
    )
    return found[::-1] if before else found

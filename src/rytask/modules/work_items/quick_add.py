"""From a captured line to what it means here: the grammar, and the names it mentions."""

from collections.abc import Iterable
from typing import cast

import msgspec

from rytask.modules.projects import service as projects
from rytask.modules.work_items import capture
from rytask.modules.work_items.capture import Captured, Kind, Unresolved
from rytask.modules.work_items.model import LineNames, Mentions
from rytask.modules.work_items.queries.names import resolve_names
from rytask.modules.work_items.schemas import NewItem
from rytask.platform.ids import UserId
from rytask.platform.work import Writing


async def read_line(
    ctx: Writing, line: str, new: NewItem, day_of: UserId | None, *, confined: bool
) -> tuple[NewItem, tuple[Unresolved, ...]]:
    """A new item with what a line says filled in, and the words of it that mean nothing.

    Labels are made where they are missing. What `new` says already goes before the line. With
    `confined` the names of other projects mean nothing.
    """
    first = capture.parse(line, ctx.now.date())
    mentions = Mentions(
        first.project, first.parent, _values(first, "assignee"), _values(first, "label")
    )
    names = await resolve_names(
        ctx.db,
        ctx.actor,
        ctx.now,
        mentions,
        project_id=new.project_id,
        day_of=day_of,
        confined=confined,
    )
    people = dict(zip(mentions.handles, names.assignee_ids, strict=True))
    captured = capture.parse(line, names.today, _unknown(first, names, people))
    label_of = dict(zip(mentions.labels, names.label_ids, strict=True))
    missing = [label for label in captured.labels if label_of[label.lower()] is None]
    if missing and names.workspace_id is not None:
        made = await projects.ensure_labels(ctx, names.workspace_id, missing)
        label_of.update(zip((label.lower() for label in missing), made, strict=True))
    label_ids = [id for label in captured.labels if (id := label_of[label.lower()])]
    filled = msgspec.structs.replace(
        new,
        project_id=names.project_id or new.project_id,
        title=new.title if new.title is not None else captured.title,
        priority=new.priority or captured.priority,
        assignee_id=new.assignee_id or people.get((captured.assignee or "").lower()),
        label_ids=[*new.label_ids, *label_ids],
        parent_id=new.parent_id or (names.parent_id if captured.parent else None),
        estimate_value=(
            captured.estimate_value if new.estimate_value is None else new.estimate_value
        ),
        due_date=new.due_date or captured.due_date,
    )
    return filled, captured.unresolved


def _values(captured: Captured, kind: Kind) -> list[str]:
    """Every name of a kind that a line mentions, once, in lower case."""
    mentioned: Iterable[str] = (
        cast("str", token.value).lower() for token in captured.tokens if token.kind == kind
    )
    return list(dict.fromkeys(mentioned))


def _unknown(captured: Captured, names: LineNames, people: dict[str, UserId | None]) -> set[str]:
    """The tokens whose names mean nothing here, as they were typed."""
    nothing: dict[Kind, bool] = {
        "project": not names.project_named,
        "parent": names.parent_id is None,
    }
    return {
        token.token
        for token in captured.tokens
        if nothing.get(token.kind)
        or (token.kind == "assignee" and people[str(token.value).lower()] is None)
    }

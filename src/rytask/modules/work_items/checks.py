"""Refusals and their error texts: one place for every way in."""

from datetime import date
from uuid import UUID

from rytask.modules.projects.service import require_role
from rytask.modules.work_items.dates import FIRST_YEAR, LAST_YEAR
from rytask.modules.work_items.model import (
    ItemReferences,
    ItemStatus,
    LockedItem,
    WantedReferences,
    WorkItem,
)
from rytask.modules.work_items.rules import MAX_DEPTH, parent_refused
from rytask.modules.work_items.schemas import MAX_LABELS, MAX_TITLE
from rytask.platform.errors import Conflict, Invalid, Malformed, NotFound
from rytask.platform.work import Actor


class StaleVersion(Conflict):
    """Somebody else changed the item. `current` is its version now."""

    code = "work_item.stale_version"


def no_item() -> NotFound:
    return NotFound("There is no such item, or it is not shared with you.")


def no_project() -> Malformed:
    return Malformed(
        "Say which project: send `projectId`, or put its key into the line, as in +OPS.",
        code="work_item.no_project",
        problems=["projectId: needed"],
    )


def title(text: str) -> str:
    """A title without white space around it: 1 to 500 characters."""
    trimmed = text.strip()
    if not trimmed:
        raise Malformed(
            "Say what is to be done: an item needs a title.",
            code="work_item.no_title",
            problems=["title: expected at least one character that is not a space or a marker"],
        )
    if len(trimmed) > MAX_TITLE:
        raise Malformed(
            f"A title has at most {MAX_TITLE} characters. Put the rest into the description.",
            code="work_item.title_too_long",
            problems=[f"title: expected at most {MAX_TITLE} characters"],
        )
    return trimmed


def dates(start: date | None, end: date | None, due: date | None) -> None:
    """Days within reason, and an end that is not before the start."""
    for name, day in (("startDate", start), ("endDate", end), ("dueDate", due)):
        if day is not None and not FIRST_YEAR <= day.year <= LAST_YEAR:
            raise Malformed(
                f"{name}: expected a day from {FIRST_YEAR} to {LAST_YEAR}.",
                code="work_item.bad_day",
            )
    if start is not None and end is not None and end < start:
        raise Invalid("The end must not be before the start.", code="work_item.ends_before_start")


def label_ids(ids: list[UUID]) -> list[UUID]:
    """Each label once, and not too many."""
    unique = list(dict.fromkeys(ids))
    if len(unique) > MAX_LABELS:
        raise Invalid(f"An item has at most {MAX_LABELS} labels.", code="work_item.too_many_labels")
    return unique


def require_changeable(actor: Actor, item: LockedItem | None) -> LockedItem:
    """The item, if the actor may change it."""
    if item is None or (item.role is None and not actor.is_admin):
        raise no_item()
    require_role(actor, item.role, "MEMBER")
    if item.archived:
        raise archived()
    return item


def version(item: WorkItem, read: int) -> None:
    """The item must still be as the caller has read it."""
    if item.version != read:
        raise StaleVersion(
            "Somebody changed this item since you read it. Read it again, then repeat your change.",
            current=item.version,
        )


def status(references: ItemReferences) -> ItemStatus:
    """The status that a new item comes into."""
    id, name, category = references.status_id, references.status_name, references.category
    if id is None or name is None or category is None:
        raise unknown_status()
    return ItemStatus(id, name, category)


def references(references: ItemReferences, wanted: WantedReferences) -> None:
    """An assignee who can see the item, labels of the workspace, a parent that fits."""
    if not references.assignable:
        raise unknown_assignee()
    if not references.labels_exist:
        raise unknown_label()
    if wanted.parent_id is None:
        return
    if not references.lineage:
        raise Invalid(
            "The parent must be an item of the same project.", code="work_item.unknown_parent"
        )
    match parent_refused(
        wanted.item_id, wanted.parent_id, references.lineage[1:], references.height
    ):
        case "cycle":
            raise Invalid("An item cannot be below itself.", code="work_item.parent_cycle")
        case "too_deep":
            raise too_deep()


def unknown_status() -> Invalid:
    return Invalid("The status must be one of the project's.", code="work_item.unknown_status")


def unknown_assignee() -> Invalid:
    return Invalid(
        "The assignee must be in the project, or an admin of the organization.",
        code="work_item.unknown_assignee",
    )


def unknown_label() -> Invalid:
    return Invalid(
        "Not all of these labels exist in the workspace.", code="work_item.unknown_label"
    )


def too_deep() -> Invalid:
    return Invalid(f"Sub-tasks nest at most {MAX_DEPTH} deep.", code="work_item.too_deep")


def archived() -> Conflict:
    return Conflict(
        "The project is archived: its items can be read only. Unarchive it first.",
        code="project.archived",
    )

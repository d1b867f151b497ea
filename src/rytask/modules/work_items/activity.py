"""The activity of an item, read from the facts."""

from collections.abc import Callable, Mapping
from typing import Any
from uuid import UUID, uuid5

from rytask.modules.work_items.events import (
    ItemAssigned,
    ItemChanged,
    ItemCompleted,
    ItemCreated,
    ItemLabelled,
    ItemMoved,
    ItemReopened,
    ItemRestored,
    ItemStatusChanged,
    ItemTrashed,
    StatusFact,
    SubtaskAdded,
    excerpt,
)
from rytask.modules.work_items.model import Action, Activity
from rytask.platform.events import RecordedFact


def activity_rows(recorded: RecordedFact) -> list[Activity]:
    """One row for each thing that a fact changed. Ids are the same on every read."""
    return [
        Activity(
            id=uuid5(_NAMESPACE, f"{recorded.seq}.{n}"),
            actor_id=recorded.actor_id,
            action=action,
            field=field,
            old_value=old,
            new_value=new,
            created_at=recorded.at,
        )
        for n, (action, field, old, new) in enumerate(_ROWS[recorded.kind](recorded))
    ]


_NAMESPACE = UUID("8d3a6c1e-52f4-5a0b-9c57-6e1f0b9a7d42")
_Row = tuple[Action, str | None, Any, Any]


def _changed(recorded: RecordedFact) -> list[_Row]:
    changes = recorded.fact(ItemChanged).changes
    return [
        ("UPDATED", change.field, excerpt(change.old), excerpt(change.new)) for change in changes
    ]


def _status_changed(recorded: RecordedFact) -> list[_Row]:
    fact = recorded.fact(_STATUS_FACTS[recorded.kind])
    if fact.from_id == fact.to_id:
        return [("STATUS_CHANGED", "statusCategory", fact.from_category, fact.to_category)]
    return [("STATUS_CHANGED", "statusId", fact.from_id, fact.to_id)]


def _assigned(recorded: RecordedFact) -> list[_Row]:
    fact = recorded.fact(ItemAssigned)
    return [("ASSIGNED", "assigneeId", fact.from_id, fact.to_id)]


def _moved(recorded: RecordedFact) -> list[_Row]:
    fact = recorded.fact(ItemMoved)
    return [("MOVED", "position", fact.from_position, fact.to_position)]


def _labelled(recorded: RecordedFact) -> list[_Row]:
    fact = recorded.fact(ItemLabelled)
    added: list[_Row] = [("LABEL_ADDED", "labelIds", None, id) for id in fact.added]
    return added + [("LABEL_REMOVED", "labelIds", id, None) for id in fact.removed]


def _subtask_added(recorded: RecordedFact) -> list[_Row]:
    return [("SUBTASK_ADDED", None, None, recorded.fact(SubtaskAdded).subtask_id)]


_STATUS_FACTS: Mapping[str, type[StatusFact]] = {
    fact.kind: fact for fact in (ItemStatusChanged, ItemCompleted, ItemReopened)
}
_ROWS: Mapping[str, Callable[[RecordedFact], list[_Row]]] = {
    ItemCreated.kind: lambda _: [("CREATED", None, None, None)],
    ItemTrashed.kind: lambda _: [("DELETED", None, None, None)],
    ItemRestored.kind: lambda _: [("RESTORED", None, None, None)],
    ItemChanged.kind: _changed,
    **dict.fromkeys(_STATUS_FACTS, _status_changed),
    ItemAssigned.kind: _assigned,
    ItemMoved.kind: _moved,
    ItemLabelled.kind: _labelled,
    SubtaskAdded.kind: _subtask_added,
}
ACTIVITY_KINDS = tuple(_ROWS)
"""The facts that activity is read from; each gives a row at least."""

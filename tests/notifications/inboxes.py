"""Work items for people to be told about, and what their inboxes say."""

from collections.abc import Mapping, Sequence
from datetime import date
from itertools import count
from typing import Any
from uuid import UUID

from tests.world import Person, World

from rytask.platform.ids import new_id

_numbers = count(1000)


async def put_item(
    world: World,
    *,
    due: date | None,
    assignee: Person | None = None,
    watchers: Sequence[Person] = (),
    project_id: UUID | None = None,
    status_id: UUID | None = None,
) -> UUID:
    """An item as if it had been there for long: nobody was told about it."""
    item_id, number = new_id(), next(_numbers)
    async with world.database.transaction() as tx:
        await tx.execute(
            "INSERT INTO work_items (id, org_id, project_id, number, key, title, status_id, source,"
            "   assignee_id, due_date, position, created_at, updated_at)"
            " VALUES ($1, $2, $3, $4, $5, 'Water the plants', $6, 'WEB', $7, $8, 0, now(), now())",
            item_id,
            world.org_id,
            project_id or world.project.id,
            number,
            f"{world.project.key_prefix}-{number}",
            status_id or world.project.statuses["To Do"],
            assignee.id if assignee else None,
            due,
        )
        await tx.execute(
            "INSERT INTO work_item_watchers (org_id, item_id, user_id, reason)"
            " SELECT $1, $2, unnest($3::uuid[]), 'MANUAL'",
            world.org_id,
            item_id,
            [watcher.id for watcher in watchers],
        )
    return item_id


async def change_item(world: World, item_id: UUID, **columns: object) -> None:
    """Change an item in silence."""
    async with world.database.transaction() as tx:
        for column, value in columns.items():
            await tx.execute(
                f"UPDATE work_items SET {column} = $3 WHERE org_id = $1 AND id = $2",  # type: ignore[arg-type]
                world.org_id,
                item_id,
                value,
            )


async def live_in(world: World, person: Person, zone: str, notify_at: str = "09:00") -> None:
    async with world.database.transaction() as tx:
        await tx.execute(
            "UPDATE users SET timezone = $3, notify_at = $4::text::time"
            " WHERE org_id = $1 AND id = $2",
            world.org_id,
            person.id,
            zone,
            notify_at,
        )


async def work_on(world: World, days: Sequence[int], zone: str = "UTC") -> None:
    """The organization's working days (Sunday is 0) and zone."""
    async with world.database.transaction() as tx:
        await tx.execute(
            "UPDATE organizations SET settings = settings || $2 WHERE id = $1",
            world.org_id,
            {"workingDays": list(days), "timezone": zone},
        )


async def inbox(person: Person, state: str = "all") -> list[Mapping[str, Any]]:
    answer = await person.api.get("/api/v1/notifications", params={"state": state})
    assert answer.status_code == 200, answer.text
    return answer.json()["data"]


async def notified_kinds(person: Person, state: str = "all") -> list[str]:
    """The kinds of a person's notifications, the newest first."""
    return [notification["type"] for notification in await inbox(person, state)]


async def unread(person: Person) -> int:
    answer = await person.api.get("/api/v1/notifications/unread-count")
    return answer.json()["data"]["count"]

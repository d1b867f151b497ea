"""Every form that a list has, in every order, for people who see all projects, few, one or none."""

from collections import Counter
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from random import Random
from typing import Any
from uuid import UUID

import pytest
from tests.items import Json, call, encoded, listed
from tests.work_items.test_lists import PRIORITIES, TODAY, WORDS, Shelf, ids, in_order, matches
from tests.work_items.test_lists import some_tree as tree_of
from tests.world import Person, Worlds

from rytask.modules.work_items import sorting
from rytask.modules.work_items.queries import lists, selection
from rytask.platform.db import Where
from rytask.platform.ids import new_id

PROJECTS = 9
ITEMS = 13


class Library(Shelf):
    """Several projects with the same numbers; one is archived, one deleted, two are empty."""

    people: dict[str, Person]
    seen: dict[str, set[str]]

    async def fill(self) -> None:
        luck, world = Random(5), self.world
        others = [
            (
                await call(
                    world.owner, "POST", "/projects", 201, json={"name": key, "keyPrefix": key}
                )
            )["data"]["id"]
            for key in (f"K{n}" for n in range(PROJECTS + 3))
        ]
        kept, archived, deleted = others[:-3], others[0], others[-1]
        self.projects = [str(world.project.id), *kept]
        labels = [
            (await call(world.owner, "POST", "/labels", 201, json={"name": name}))["data"]["id"]
            for name in ("a", "b", "c")
        ]
        self.ids = {"label": labels, "project": self.projects, "status": []}
        for project in (*self.projects, deleted):
            statuses = await call(world.owner, "GET", f"/projects/{project}/statuses")
            if project != deleted:
                self.category |= {s["id"]: s["category"] for s in statuses["data"]}
            await self._add_items(luck, project, [s["id"] for s in statuses["data"]])
        self.ids["status"] = sorted(self.category)
        self.people = {"owner": world.owner}
        self.seen = {"owner": {*self.projects}}
        for name, count in (("most", PROJECTS), ("few", 2), ("one", 1), ("nobody", 0)):
            person = await world.person(name=f"{name} {name}", project_role=None)
            self.people[name] = person
            self.seen[name] = (
                {*luck.sample(self.projects[1:], count)} if count < PROJECTS else {*kept}
            )
            for project in (*self.seen[name], deleted):
                await call(
                    world.owner,
                    "POST",
                    f"/projects/{project}/members",
                    201,
                    json={"userId": str(person.id), "role": "VIEWER"},
                )
        self.ids["assignee"] = [str(self.people[name].id) for name in ("owner", "most", "few")]
        await self._assign()
        await call(world.owner, "PATCH", f"/projects/{archived}", json={"archived": True})
        await call(world.owner, "DELETE", f"/projects/{deleted}", 204)
        for project in self.projects:
            self.items += await listed(world.owner, projectId=project)
        self.ids["parent"] = [self.items[0]["id"]]
        assert len(self.items) == len(self.projects) * ITEMS

    async def _add_items(self, luck: Random, project: str, statuses: list[str]) -> None:
        days: list[Any] = [None, *(TODAY + timedelta(days=n) for n in (-9, -1, 0, 1, 7, 8))]
        at = datetime.now(UTC) - timedelta(days=80)
        rows = []
        for number in range(1, ITEMS + 1):
            status = luck.choice(statuses)
            closed = self.category.get(status) in ("COMPLETED", "CANCELLED")
            start, end = sorted(luck.sample(days[1:], 2))
            rows.append(
                (
                    *(new_id(), self.world.org_id, UUID(project), number, f"K-{number}"),
                    " ".join(luck.sample(WORDS, 2)),
                    *(UUID(status), luck.choice(PRIORITIES)),
                    [UUID(label) for label in luck.sample(self.ids["label"], luck.randint(0, 2))],
                    *(luck.choice([None, start]), luck.choice([None, end]), luck.choice(days)),
                    *(float(number), at if closed else None),
                    at + timedelta(days=luck.randint(0, 8) * 9),
                )
            )
        async with self.world.database.transaction() as tx:
            for row in rows:
                await tx.execute(
                    "INSERT INTO work_items (id, org_id, project_id, number, key, title, status_id,"
                    "  priority, label_ids, start_date, end_date, due_date, position, closed_at,"
                    "  created_at, updated_at, source) VALUES ($1, $2, $3, $4, $5, $6, $7,"
                    "  $8::text::priority, $9, $10, $11, $12, $13, $14, $15, $15, 'WEB')",
                    *row,
                )

    async def _assign(self) -> None:
        async with self.world.database.transaction() as tx:
            await tx.execute(
                "UPDATE work_items SET assignee_id = ($2::uuid[])[1 + number % 4]"
                " WHERE org_id = $1",
                self.world.org_id,
                [UUID(id) for id in self.ids["assignee"]],
            )

    def shown_to(self, name: str) -> list[Json]:
        return [item for item in self.items if item["projectId"] in self.seen[name]]


@pytest.fixture(scope="module")
async def library(worlds: Worlds) -> AsyncIterator[Library]:
    async with worlds.new() as world:
        neighbour = await world.elsewhere()
        await call(
            neighbour.owner,
            "POST",
            "/work-items",
            201,
            json={"projectId": str(neighbour.project.id), "title": " ".join(WORDS)},
        )
        library = Library(world, world.owner)
        await library.fill()
        yield library


@pytest.fixture(params=["few matches", "many matches"])
def plenty(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """What a filter finds is more than can be sorted, or not; and so is what was made lately."""
    if request.param == "many matches":
        monkeypatch.setattr(lists, "_MANY", "2")
        monkeypatch.setattr(selection, "_NARROW", timedelta(0))


ORDERS = [
    *("number", "-number", "priority", "-priority", "dueDate", "-dueDate", "startDate", "-endDate"),
    *("createdAt", "-createdAt", "updatedAt", "-priority,dueDate", "priority,-number"),
    *("-priority,number", "priority,-createdAt", "-dueDate,priority", "dueDate,startDate,-endDate"),
    *("-startDate,-priority,dueDate", "number,-priority", "createdAt,-dueDate"),
]


@pytest.mark.parametrize("name", ["owner", "most", "few", "one", "nobody"])
@pytest.mark.parametrize("sort", ORDERS)
async def test_a_list_of_all_projects_has_its_order(library: Library, name: str, sort: str) -> None:
    found = await listed(library.people[name], sort=sort, limit=7)
    assert ids(found) == ids(in_order(library.shown_to(name), sort))


@pytest.mark.usefixtures("plenty")
@pytest.mark.parametrize("seed", range(3))
async def test_filters_orders_pages_and_people_together(library: Library, seed: int) -> None:
    luck, sizes = Random(seed), set[int]()
    for _ in range(20):
        name = luck.choice(["owner", "most", "few", "one", "nobody"])
        tree, sort = tree_of(library, luck), luck.choice(ORDERS)
        query: Json = {"filter": encoded(tree), "sort": sort, "limit": luck.choice([3, 10, 200])}
        items = [item for item in library.shown_to(name) if matches(library, tree, item)]
        if luck.random() < 0.3:
            query["projectId"] = luck.choice(library.projects)
            items = [item for item in items if item["projectId"] == query["projectId"]]
            if query["projectId"] not in library.seen[name]:
                await call(library.people[name], "GET", "/work-items", 404, params=query)
                continue
        found = await listed(library.people[name], **query)
        assert ids(found) == ids(in_order(items, sort)), (name, tree, query)
        sizes.add(len(items))
    assert len(sizes) > 5


@pytest.mark.usefixtures("plenty")
@pytest.mark.parametrize("smart", ["my-work", "due-soon", "overdue", "urgent"])
@pytest.mark.parametrize("name", ["owner", "most", "few", "one"])
async def test_smart_views_agree_with_the_filter_that_says_the_same(
    library: Library, smart: str, name: str
) -> None:
    is_open = {
        "field": "statusCategory",
        "operator": "in",
        "value": ["BACKLOG", "UNSTARTED", "STARTED"],
    }
    week = [str(TODAY), str(TODAY + timedelta(days=7))]
    same = {
        "my-work": [{"field": "assignee", "operator": "eq", "value": "me"}],
        "due-soon": [is_open, {"field": "dueDate", "operator": "between", "value": week}],
        "overdue": [is_open, {"field": "dueDate", "operator": "before", "value": str(TODAY)}],
        "urgent": [is_open, {"field": "priority", "operator": "eq", "value": "URGENT"}],
    }[smart]
    tree = {"op": "and", "conditions": same}
    for sort in ("number", "-priority,dueDate", "-dueDate"):
        found = await listed(library.people[name], smart=smart, sort=sort, limit=4)
        same_found = await listed(library.people[name], filter=encoded(tree), sort=sort, limit=50)
        assert ids(found) == ids(same_found)
    assert smart == "my-work" or name in ("few", "one") or found


@pytest.mark.parametrize("name", ["owner", "most", "few", "one", "nobody"])
@pytest.mark.parametrize(
    ("group", "field"),
    [
        ("status", "statusId"),
        ("assignee", "assigneeId"),
        ("priority", "priority"),
        ("project", "projectId"),
    ],
)
async def test_groups_count_what_one_may_see(
    library: Library, name: str, group: str, field: str
) -> None:
    tree = {"field": "priority", "operator": "neq", "value": "LOW"}
    for query, items in (
        ({}, library.shown_to(name)),
        (
            {"filter": encoded(tree)},
            [item for item in library.shown_to(name) if item["priority"] != "LOW"],
        ),
    ):
        page = await call(
            library.people[name], "GET", "/work-items", params={"group": group, "limit": 1, **query}
        )
        counted = {entry["key"]: entry["count"] for entry in page["groups"]}
        assert counted == Counter(item[field] for item in items)


async def test_groups_of_a_filter_stop_counting(
    library: Library, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lists, "COUNTED", 5)
    tree = {"field": "priority", "operator": "neq", "value": "LOW"}
    query = {"group": "priority", "limit": 1}
    page = await call(
        library.world.owner, "GET", "/work-items", params={**query, "filter": encoded(tree)}
    )
    assert sum(entry["count"] for entry in page["groups"]) == 5
    page = await call(library.world.owner, "GET", "/work-items", params=query)
    assert sum(entry["count"] for entry in page["groups"]) == len(library.items)


async def test_a_cursor_of_an_earlier_version_is_refused(library: Library) -> None:
    """Its order had other ties."""
    old = sorting.pages.encode("number", [3], library.items[0]["id"])
    await call(library.world.owner, "GET", "/work-items", 400, params={"cursor": old})


def test_no_segment_tests_one_key_against_another() -> None:
    """An OR is tested on every row from the first one on: a deep page would cost its depth."""
    for sort in ORDERS:
        keys = sorting.parse(sort)
        item: Any = type("Item", (), {"number": 3, "id": new_id(), "priority": "HIGH"})
        for name in ("due_date", "start_date", "end_date"):
            setattr(item, name, TODAY)
        item.created_at = item.updated_at = datetime.now(UTC)
        where = Where()
        segments = sorting.segments(keys, sorting.cursor(keys, item), where)
        assert segments
        assert not any(" OR " in segment.condition for segment in segments)

"""Lists against a slow model of them in plain Python."""

import base64
import json
from collections import Counter
from collections.abc import AsyncIterator, Callable
from datetime import UTC, date, datetime, timedelta
from functools import cmp_to_key
from itertools import pairwise
from random import Random
from typing import Any
from uuid import UUID

import pytest
from tests.items import Json, call, create, encoded, listed, refused
from tests.world import Person, World, Worlds

PRIORITIES = ["NONE", "LOW", "MEDIUM", "HIGH", "URGENT"]
WORDS = ["banana", "router", "ticket"]
TODAY = date.today()  # noqa: DTZ011 - the organization of the tests is in UTC, as they are


class Shelf:
    """A world with items of all sorts, made once for all tests of this file."""

    def __init__(self, world: World, sam: Person) -> None:
        self.world, self.sam = world, sam
        self.items: list[Json] = []
        self.category: dict[str, str] = {}
        self.ids: dict[str, list[str]] = {}

    async def fill(self) -> None:
        luck, world = Random(1), self.world
        statuses = await call(world.owner, "GET", f"/projects/{world.project.id}/statuses")
        self.category = {s["id"]: s["category"] for s in statuses["data"]}
        labels = [
            (await call(world.owner, "POST", "/labels", 201, json={"name": name}))["data"]["id"]
            for name in ("a", "b", "c")
        ]
        people = [str(world.owner.id), str(self.sam.id)]
        self.ids = {
            "status": list(self.category),
            "assignee": people,
            "label": labels,
            "project": [str(world.project.id)],
        }

        def day() -> str | None:
            return luck.choice([None, str(TODAY + timedelta(days=luck.randint(-9, 9)))])

        parents: list[str | None] = [None, None]
        for _ in range(45):
            start, end = day(), day()
            if start and end and end < start:
                start, end = end, start
            item = await create(
                world,
                " ".join(luck.sample(WORDS, luck.randint(1, 2))),
                statusId=luck.choice(self.ids["status"]),
                priority=luck.choice(PRIORITIES),
                assigneeId=luck.choice([None, *people]),
                labelIds=luck.sample(labels, luck.randint(0, 2)),
                parentId=luck.choice(parents[-4:]),
                startDate=start,
                endDate=end,
                dueDate=day(),
            )
            if item["parentId"] is None:
                parents += [None, item["id"]]
        self.items = await listed(world.owner)
        self.ids["parent"] = [id for id in parents if id is not None]


@pytest.fixture(scope="module")
async def shelf(worlds: Worlds) -> AsyncIterator[Shelf]:
    async with worlds.new() as world:
        shelf = Shelf(world, await world.person(name="Sam"))
        await shelf.fill()
        yield shelf


def ids(items: list[Json]) -> list[str]:
    return [item["id"] for item in items]


# The model ---------------------------------------------------------------------------------------


def is_open(shelf: Shelf, item: Json) -> bool:
    return shelf.category[item["statusId"]] not in ("COMPLETED", "CANCELLED")


def is_overdue(shelf: Shelf, item: Json) -> bool:
    return bool(item["dueDate"]) and is_open(shelf, item) and item["dueDate"] < str(TODAY)


def matches(shelf: Shelf, tree: Any, item: Json) -> bool:
    """What a filter says of one item."""
    if "op" in tree:
        results = [matches(shelf, child, item) for child in tree["conditions"]]
        return all(results) if tree["op"] == "and" else any(results)
    field: str = tree["field"]
    operator, value = tree["operator"], tree["value"]
    if field == "label":
        having: bool = (
            not item["labelIds"] if operator == "isEmpty" else bool({*item["labelIds"]} & {*value})
        )
        return having == value if operator == "isEmpty" else having == (operator == "in")
    if field == "text":
        return value in item["title"]
    if field == "overdue":
        return is_overdue(shelf, item) == value
    names: dict[str, str] = {"status": "statusId", "assignee": "assigneeId", "project": "projectId"}
    names |= {"parent": "parentId", "statusCategory": "statusId"}
    actual: Any = item[names.get(field, field)]
    if field == "statusCategory":
        actual = shelf.category[actual]
    if operator == "isNull":
        return (actual is None) == value
    if field in ("createdAt", "updatedAt"):
        actual = actual[:10] if len(str(value)) == 10 else actual
    compare: dict[str, Callable[[], bool]] = {
        "eq": lambda: actual == value,
        "neq": lambda: actual != value,
        "in": lambda: actual in value,
        "nin": lambda: actual not in value,
        "gt": lambda: PRIORITIES.index(actual) > PRIORITIES.index(value),
        "lt": lambda: PRIORITIES.index(actual) < PRIORITIES.index(value),
        "before": lambda: actual is not None and actual < value,
        "after": lambda: actual is not None and actual > value,
        "between": lambda: actual is not None and value[0] <= actual <= value[1],
    }
    return compare[operator]()


def some_condition(shelf: Shelf, luck: Random) -> Any:
    """Any field with any of its operators."""
    dated = ["dueDate", "startDate", "endDate"]
    stamped = ["createdAt", "updatedAt"]

    def day() -> str:
        return str(TODAY + timedelta(days=luck.randint(-10, 10)))

    def some(values: list[str]) -> list[str]:
        return luck.sample(values, luck.randint(1, min(3, len(values))))

    categories = sorted(set(shelf.category.values()))
    one_of, any_of = {**shelf.ids}, {**shelf.ids}
    one_of |= {"priority": PRIORITIES, "statusCategory": categories, "text": WORDS}
    any_of |= {"priority": PRIORITIES, "statusCategory": categories}
    operators = {
        **{field: ["before", "after", "between", "isNull"] for field in dated},
        **{field: ["before", "after"] for field in stamped},
        "dueDate": ["eq", "before", "after", "between", "isNull"],
        "status": ["eq", "neq", "in", "nin"],
        "statusCategory": ["eq", "in"],
        "priority": ["eq", "neq", "in", "gt", "lt"],
        "assignee": ["eq", "neq", "in", "isNull"],
        "label": ["in", "nin", "isEmpty"],
        "project": ["eq", "in"],
        "parent": ["eq", "isNull"],
        "overdue": ["eq"],
        "text": ["contains"],
    }
    field = luck.choice(list(operators))
    operator = luck.choice(operators[field])
    value: object
    if operator in ("isNull", "isEmpty") or field == "overdue":
        value = luck.random() < 0.5
    elif operator in ("in", "nin"):
        value = some(any_of[field])
    elif field in one_of:
        value = luck.choice(one_of[field])
    else:
        value = [day(), day()] if operator == "between" else day()
    return {"field": field, "operator": operator, "value": value}


def some_tree(shelf: Shelf, luck: Random, depth: int = 1) -> Any:
    if depth == 5 or luck.random() < 0.4:
        return some_condition(shelf, luck)
    return {
        "op": luck.choice(["and", "or"]),
        "conditions": [some_tree(shelf, luck, depth + 1) for _ in range(luck.randint(1, 3))],
    }


async def test_a_filter_finds_what_it_says(shelf: Shelf) -> None:
    luck = Random(2)
    sizes = set()
    for _ in range(250):
        tree = some_tree(shelf, luck)
        page = await call(
            shelf.world.owner,
            "GET",
            "/work-items",
            params={"filter": encoded(tree), "limit": 200},
        )
        expected = [item for item in shelf.items if matches(shelf, tree, item)]
        assert ids(page["data"]) == ids(expected), tree
        sizes.add(len(expected))
    assert len(sizes) > 20


KEYS = {"priority": PRIORITIES.index}
SORTS = [
    "number",
    "-number",
    "priority",
    "-priority",
    "dueDate",
    "-dueDate",
    "startDate,-priority",
    "-end_date,dueDate",
    "createdAt",
    "-updated_at",
    "-priority,due_date,-number",
]


def in_order(items: list[Json], sort: str) -> list[Json]:
    """Sorted as the contract says: nothing comes last in either direction.

    Ties go by number, then by id, in the direction of the last key.
    """
    last = "-" if sort.split(",")[-1].startswith("-") else ""

    def compare(one: Json, other: Json) -> int:
        for part in (*sort.split(","), f"{last}number", f"{last}id"):
            name = part.removeprefix("-")
            name = {"due_date": "dueDate", "end_date": "endDate", "updated_at": "updatedAt"}.get(
                name, name
            )
            a, b = (KEYS.get(name, lambda x: x)(item[name]) for item in (one, other))
            if a == b:
                continue
            if a is None or b is None:
                return 1 if a is None else -1
            return (1 if a > b else -1) * (-1 if part.startswith("-") else 1)
        return 0

    return sorted(items, key=cmp_to_key(compare))


@pytest.mark.parametrize("sort", SORTS)
@pytest.mark.parametrize("scope", ["project", "all", "filtered"])
async def test_pages_have_no_gaps_and_no_doubles(shelf: Shelf, sort: str, scope: str) -> None:
    query: Json = {"sort": sort, "limit": 4}
    items = shelf.items
    if scope == "project":
        query["projectId"] = str(shelf.world.project.id)
    if scope == "filtered":
        query["filter"] = encoded({"field": "priority", "operator": "neq", "value": "LOW"})
        items = [item for item in items if item["priority"] != "LOW"]
    assert ids(await listed(shelf.sam, **query)) == ids(in_order(items, sort))


async def test_smart_views_show_what_they_say(shelf: Shelf) -> None:
    week = {str(TODAY + timedelta(days=n)) for n in range(8)}
    mine = {"assigneeId": str(shelf.sam.id)}
    for smart, wanted in (
        ("my-issues", lambda i: i["assigneeId"] == mine["assigneeId"]),
        ("my-work", lambda i: i["assigneeId"] == mine["assigneeId"]),
        ("due-soon", lambda i: is_open(shelf, i) and i["dueDate"] in week),
        ("overdue", lambda i: is_overdue(shelf, i)),
        ("urgent", lambda i: is_open(shelf, i) and i["priority"] == "URGENT"),
    ):
        found = await listed(shelf.sam, smart=smart)
        assert ids(found) == ids([item for item in shelf.items if wanted(item)])
    assert all(item["overdue"] == is_overdue(shelf, item) for item in shelf.items)


@pytest.mark.parametrize(
    ("group", "field"),
    [
        ("status", "statusId"),
        ("assignee", "assigneeId"),
        ("priority", "priority"),
        ("project", "projectId"),
    ],
)
async def test_groups_count_all_pages(shelf: Shelf, group: str, field: str) -> None:
    page = await call(
        shelf.sam,
        "GET",
        "/work-items",
        params={"group": group, "limit": 1, "projectId": str(shelf.world.project.id)},
    )
    counted = {entry["key"]: entry["count"] for entry in page["groups"]}
    assert counted == Counter(item[field] for item in shelf.items)
    counts = [entry["count"] for entry in page["groups"]]
    assert all(one >= other for one, other in pairwise(counts))


async def test_me_is_whoever_asks(shelf: Shelf) -> None:
    for operator, value in (("eq", "me"), ("in", ["me"])):
        tree = {"field": "assignee", "operator": operator, "value": value}
        found = await listed(shelf.sam, filter=encoded(tree))
        assert {item["assigneeId"] for item in found} == {str(shelf.sam.id)}


async def test_a_filter_comes_in_either_alphabet_padded_or_not(shelf: Shelf) -> None:
    tree = {"field": "text", "operator": "contains", "value": "banana ??>>~~ÿ or router"}
    raw = json.dumps(tree, ensure_ascii=False).encode()
    answers = [
        await listed(shelf.sam, filter=text)
        for text in (
            base64.b64encode(raw).decode(),
            base64.urlsafe_b64encode(raw).decode(),
            base64.urlsafe_b64encode(raw).decode().rstrip("="),
        )
    ]
    assert answers[0] == answers[1] == answers[2]


def deep(levels: int) -> Any:
    tree: Any = {"field": "overdue", "operator": "eq", "value": True}
    for _ in range(levels):
        tree = {"op": "and", "conditions": [tree]}
    return tree


def some_ids(count: int) -> Json:
    return {"field": "label", "operator": "in", "value": [str(UUID(int=n)) for n in range(count)]}


@pytest.mark.parametrize(
    ("tree", "path"),
    [
        ({}, "filter"),
        ([], "filter"),
        ({"op": "and", "conditions": []}, "filter.conditions"),
        ({"op": "xor", "conditions": [1]}, "filter.op"),
        ({"op": "and", "conditions": [1]}, "filter.conditions[0]"),
        ({"field": "mood", "operator": "eq", "value": 1}, "filter.field"),
        ({"field": "status", "operator": "gt", "value": 1}, "filter.operator"),
        ({"field": "status", "operator": "eq", "value": "x"}, "filter.value"),
        ({"field": "status", "operator": "in", "value": []}, "filter.value"),
        ({"field": "dueDate", "operator": "eq", "value": "2026-02-30"}, "filter.value"),
        ({"field": "dueDate", "operator": "between", "value": ["2026-02-01"]}, "filter.value"),
        ({"field": "dueDate", "operator": "before", "value": "9999-01-01"}, "filter.value"),
        ({"field": "createdAt", "operator": "after", "value": "2026-01-01T10:00"}, "filter.value"),
        ({"field": "overdue", "operator": "eq", "value": "yes"}, "filter.value"),
        ({"field": "overdue", "operator": "eq", "value": True, "more": 1}, "filter"),
        (deep(5), "filter" + ".conditions[0]" * 5),
        (deep(20_000), "filter"),
        ({"op": "or", "conditions": [deep(0)] * 51}, "filter.conditions[50]"),
        ({"op": "or", "conditions": [some_ids(200), some_ids(101)]}, "filter.conditions[1].value"),
    ],
)
async def test_a_filter_that_makes_no_sense_is_refused_with_its_path(
    world: World, tree: Any, path: str
) -> None:
    text = encoded(tree) if not isinstance(tree, dict) or "conditions" not in tree else None
    try:
        text = text or encoded(tree)
    except RecursionError:
        text = base64.b64encode(b'{"op":"and","conditions":[' * 500).decode()
    problem = await refused(
        world.owner, "GET", "/work-items", 400, "filter.malformed", params={"filter": text}
    )
    assert problem["message"][0].startswith(f"{path}: "), problem


def nested(levels: int, opening: str, closing: str) -> str:
    value = opening * levels + "1" + closing * levels
    text = '{"field": "assignee", "operator": "in", "value": ' + value + "}"
    return base64.b64encode(text.encode()).decode()


@pytest.mark.parametrize("levels", [6, 20, 250, 480, 600, 750, 900, 1000, 2400])
@pytest.mark.parametrize(("opening", "closing"), [("[", "]"), ('{"a":', "}")])
async def test_a_value_may_nest_as_deep_as_it_likes_and_is_refused_in_a_few_words(
    world: World, levels: int, opening: str, closing: str
) -> None:
    query = {"filter": nested(levels, opening, closing)}
    problem = await refused(
        world.owner, "GET", "/work-items", 400, "filter.malformed", params=query
    )
    assert len(json.dumps(problem)) < 1_000


async def test_a_filter_that_is_refused_is_not_repeated(world: World) -> None:
    tree = {"field": "priority", "operator": "eq", "value": "x" * 9_000}
    query = {"filter": encoded(tree)}
    problem = await refused(
        world.owner, "GET", "/work-items", 400, "filter.malformed", params=query
    )
    assert len(json.dumps(problem)) < 1_000


@pytest.mark.parametrize("text", ["", "%%%", "e30", "bm9wZQ==", "AAAA", "eyJv"])
async def test_what_is_no_filter_at_all_is_refused(world: World, text: str) -> None:
    query = {"filter": text}
    await refused(world.owner, "GET", "/work-items", 400, "filter.malformed", params=query)


async def test_text_that_cannot_be_searched_for_breaks_nothing(world: World) -> None:
    for words in ("the", "'; DROP TABLE", "a & | ! (", '"', "\\", "-", "%_"):
        tree = {"field": "text", "operator": "contains", "value": words}
        assert await listed(world.owner, filter=encoded(tree)) == []
    nul = {"field": "text", "operator": "contains", "value": "a\x00b"}
    await call(world.owner, "GET", "/work-items", 400, params={"filter": encoded(nul)})


@pytest.mark.parametrize("sort", ["title", "", "-", "number,number", "number,-number", "priority;"])
async def test_an_order_that_there_is_not_is_refused(world: World, sort: str) -> None:
    await refused(world.owner, "GET", "/work-items", 400, "sort.malformed", params={"sort": sort})


async def test_a_cursor_belongs_to_its_order(shelf: Shelf) -> None:
    page = await call(shelf.sam, "GET", "/work-items", params={"limit": 1, "sort": "dueDate"})
    cursor = page["pageInfo"]["nextCursor"]
    for query in (
        {"cursor": cursor},
        {"cursor": cursor, "sort": "startDate"},
        {"cursor": cursor, "sort": "-dueDate"},
        {"cursor": cursor[:-1], "sort": "dueDate"},
        {"cursor": "", "sort": "dueDate"},
        {"cursor": "Ünïcode"},
    ):
        await refused(shelf.sam, "GET", "/work-items", 400, "request.bad_cursor", params=query)


@pytest.mark.parametrize(
    "query",
    [
        {"limit": 0},
        {"limit": 201},
        {"limit": "many"},
        {"smart": "best"},
        {"group": "colour"},
        {"projectId": "x"},
        {"page": 2},
    ],
)
async def test_a_query_that_makes_no_sense_is_refused(world: World, query: Json) -> None:
    await call(world.owner, "GET", "/work-items", 400, params=query)


async def test_a_list_that_has_not_changed_is_not_sent_again(shelf: Shelf) -> None:
    first = await shelf.sam.api.get("/api/v1/work-items")
    again = await shelf.sam.api.get(
        "/api/v1/work-items", headers={"if-none-match": first.headers["etag"]}
    )
    assert (again.status_code, again.content) == (304, b"")


async def test_an_instant_is_compared_to_the_microsecond(shelf: Shelf) -> None:
    at = shelf.items[10]["createdAt"]
    for operator, expected in (
        ("before", [i for i in shelf.items if i["createdAt"] < at]),
        ("after", [i for i in shelf.items if i["createdAt"] > at]),
    ):
        tree = {"field": "createdAt", "operator": operator, "value": at}
        assert ids(await listed(shelf.sam, filter=encoded(tree))) == ids(expected)
    span = {"field": "createdAt", "operator": "between", "value": [at, at]}
    assert ids(await listed(shelf.sam, filter=encoded(span))) == [shelf.items[10]["id"]]
    later = str(datetime.now(UTC).date() + timedelta(days=1))
    future = {"field": "updatedAt", "operator": "after", "value": later}
    assert await listed(shelf.sam, filter=encoded(future)) == []

"""The requests whose latency is held against a budget."""

import base64
import itertools
import json
import time
from collections.abc import AsyncIterator, Iterable, Iterator
from dataclasses import dataclass, field
from datetime import date, timedelta
from typing import Any
from urllib.parse import urlencode
from uuid import uuid4

import aiohttp

from bench.load import request

API = "/api/v1"
SAMPLES, WARM_UP = 30, 3
_WALK_SECONDS = 3.0
_WALK_PAGES = 25
_JSON = {"content-type": "application/json"}

GROUPS = (
    "list",
    "sort",
    "filter",
    "text",
    "group",
    "view",
    "inbox",
    "item",
    "member",
    "write",
    "bulk",
)
"""What the names of rows begin with."""


@dataclass(frozen=True)
class Row:
    """Requests to send one after the other. The first `warm_up` are not counted."""

    name: str
    requests: Iterable[bytes]
    writes: bool = False
    warm_up: int = WARM_UP


@dataclass
class Client:
    """Somebody who is signed in: what they see is looked up, what is measured is written out."""

    http: aiohttp.ClientSession
    email: str
    password: str
    _token: str = ""
    _since: float = 0.0

    async def sign_in(self) -> None:
        body = {"email": self.email, "password": self.password}
        async with self.http.post(f"{API}/auth/login", json=body) as answer:
            answer.raise_for_status()
            self._token = (await answer.json())["accessToken"]
        self._since = time.monotonic()

    async def sign_in_again(self) -> None:
        """Sign in again before the token ends."""
        if time.monotonic() - self._since > 300:
            await self.sign_in()

    @property
    def _bearer(self) -> dict[str, str]:
        return {"authorization": f"Bearer {self._token}"}

    async def get(self, path: str, **query: Any) -> Any:
        async with self.http.get(f"{API}{path}", params=query, headers=self._bearer) as answer:
            answer.raise_for_status()
            return await answer.json()

    async def post(self, path: str, body: object) -> Any:
        async with self.http.post(f"{API}{path}", json=body, headers=self._bearer) as answer:
            answer.raise_for_status()
            return await answer.json()

    def request(self, method: str, path: str, body: object = None, **query: Any) -> bytes:
        """The bytes of a request of theirs."""
        path = f"{API}{path}" + (f"?{urlencode(query)}" if query else "")
        if body is None:
            return request(method, path, self._bearer)
        return request(method, path, self._bearer | _JSON, json.dumps(body).encode())

    def repeated(self, path: str, **query: Any) -> Iterable[bytes]:
        return itertools.repeat(self.request("GET", path, **query), SAMPLES + WARM_UP)


@dataclass(frozen=True, kw_only=True)
class Subjects:
    """What the requests are about."""

    project_id: str
    status_ids: dict[str, str]
    """Of that project, by name."""
    label_ids: list[str]
    """The most used ones first."""
    person_ids: list[str]
    rare_word: str
    today: date = field(default_factory=date.today)


async def subjects(client: Client, project_id: str) -> Subjects:
    """Look up what the demo has."""
    statuses = (await client.get(f"/projects/{project_id}/statuses"))["data"]
    members = (await client.get(f"/projects/{project_id}/members"))["data"]
    labels = (await client.get("/labels"))["data"]
    page = await client.get("/work-items", projectId=project_id, limit=200)
    orders = [
        item["description"].rpartition(" ")[2].rstrip(".")
        for item in page["data"]
        if "The order is" in (item["description"] or "")
    ]
    return Subjects(
        project_id=project_id,
        status_ids={status["name"]: status["id"] for status in statuses},
        label_ids=[label["id"] for label in labels],
        person_ids=[member["userId"] for member in members if member["role"] != "VIEWER"],
        rare_word=orders[0],
    )


async def reads(client: Client, about: Subjects) -> AsyncIterator[Row]:
    """Lists in every order and under every filter, on the first and on a deep page; the rest."""
    for project in (None, about.project_id):
        where = "one project" if project else "all projects"
        scope = {"projectId": project} if project else {}
        for name, query in _lists(about):
            first = scope | query
            yield Row(f"{name}, {where}", client.repeated("/work-items", **first))
            cursor = await _deep_cursor(client, "/work-items", first)
            if cursor:
                deep = client.repeated("/work-items", **first, cursor=cursor)
                yield Row(f"{name}, {where}, deep", deep)
        for by in ("status", "assignee", "priority", "project"):
            grouped = client.repeated("/work-items", **scope, group=by)
            yield Row(f"group {by}, {where}", grouped)
        for view in ("my-issues", "my-work", "due-soon", "overdue", "urgent"):
            yield Row(f"view {view}, {where}", client.repeated("/work-items", **scope, smart=view))
    for state in ("unread", "all"):
        yield Row(f"inbox {state}", client.repeated("/notifications", state=state))
        cursor = await _deep_cursor(client, "/notifications", {"state": state})
        if cursor:
            deep = client.repeated("/notifications", state=state, cursor=cursor)
            yield Row(f"inbox {state}, deep", deep)
    yield Row("inbox unread count", client.repeated("/notifications/unread-count"))
    [item, *_] = (await client.get("/work-items", projectId=about.project_id, limit=1))["data"]
    for name, path in (
        ("by id", ""),
        ("activity", "/activity"),
        ("watchers", "/watchers"),
        ("sub-tasks", "/subtasks"),
    ):
        yield Row(f"item {name}", client.repeated(f"/work-items/{item['id']}{path}"))
    yield Row("item by key", client.repeated(f"/work-items/{item['key']}"))


def member_reads(client: Client) -> Iterator[Row]:
    """The same for somebody who sees only some of the projects."""
    for name, query in (
        ("list", {}),
        ("sort -priority", {"sort": "-priority"}),
        ("filter category", _filter("statusCategory", "eq", "STARTED")),
        ("filter text", _filter("text", "contains", "customer")),
        ("group status", {"group": "status"}),
    ):
        yield Row(f"member {name}", client.repeated("/work-items", **query))


def many_projects_reads(client: Client) -> Iterator[Row]:
    """Lists over a thousand projects."""
    for name, query in (("", {}), (" -priority", {"sort": "-priority"})):
        yield Row(f"list{name}, 1,000 projects", client.repeated("/work-items", **query))


_SORTS = ("number", "priority", "dueDate", "startDate", "endDate", "createdAt", "updatedAt")


def _lists(about: Subjects) -> Iterator[tuple[str, dict[str, Any]]]:
    yield "list", {}
    for key in _SORTS:
        for sort in (key, f"-{key}"):
            yield f"sort {sort}", {"sort": sort}
    yield "sort -priority,dueDate", {"sort": "-priority,dueDate"}
    today, week = about.today, about.today + timedelta(days=7)
    day, month = today - timedelta(days=400), today - timedelta(days=370)
    for name, condition in (
        ("status", ("status", "eq", about.status_ids["Done"])),
        ("category", ("statusCategory", "eq", "STARTED")),
        ("priority", ("priority", "eq", "URGENT")),
        ("assignee", ("assignee", "eq", about.person_ids[0])),
        ("unassigned", ("assignee", "isNull", True)),
        ("common label", ("label", "in", about.label_ids[:1])),
        ("rare label", ("label", "in", about.label_ids[-1:])),
        ("due this week", ("dueDate", "between", [str(today), str(week)])),
        ("overdue", ("overdue", "eq", True)),
        ("top level", ("parent", "isNull", True)),
        ("created on a day", ("createdAt", "between", [str(day), str(day)])),
        ("created in a month", ("createdAt", "between", [str(day), str(month)])),
        ("updated on a day", ("updatedAt", "between", [str(day), str(day)])),
    ):
        yield f"filter {name}", _filter(*condition)
    yield "text common", _filter("text", "contains", "customer")
    yield "text rare", _filter("text", "contains", about.rare_word)


def _filter(field: str, operator: str, value: object) -> dict[str, str]:
    condition = {"field": field, "operator": operator, "value": value}
    return {"filter": base64.urlsafe_b64encode(json.dumps(condition).encode()).decode()}


async def _deep_cursor(client: Client, path: str, query: dict[str, Any]) -> str | None:
    """A cursor behind some thousands of rows, or as far as one comes in a few seconds."""
    end = time.monotonic() + _WALK_SECONDS
    cursor: str | None = None
    for _ in range(_WALK_PAGES):
        more = {"cursor": cursor} if cursor else {}
        page = await client.get(path, **query, **more, limit=200)
        if not page["pageInfo"]["hasNextPage"] or time.monotonic() > end:
            break
        cursor = page["pageInfo"]["nextCursor"]
    return cursor


async def writes(client: Client, about: Subjects) -> AsyncIterator[Row]:
    """Everything that changes one item."""
    count = SAMPLES + WARM_UP
    project, done = about.project_id, about.status_ids["Done"]
    new: dict[str, Any] = {"projectId": project, "title": "Fix login when the clock is wrong"}
    full = new | {
        "description": "It fails after an hour and says nothing about why. " * 4,
        "priority": "HIGH",
        "assigneeId": about.person_ids[0],
        "labelIds": about.label_ids[:1],
        "estimateValue": 2,
        "dueDate": "2030-01-31",
    }
    line = {"projectId": project, "quickAdd": "Fix login @amara ~2h #bug !high ^friday"}
    for name, body in (
        ("title", new),
        ("all fields", full),
        ("one line", line),
        ("done", new | {"statusId": done}),
    ):
        sent = [client.request("POST", "/work-items", body)] * count
        yield Row(f"write create, {name}", sent, writes=True)
    [parent, *_] = await _items(client, project, 1)
    path = f"/work-items/{parent['id']}/subtasks"
    subtask = [client.request("POST", path, {"title": "Ask the supplier"})] * count
    yield Row("write create, sub-task", subtask, writes=True)
    for name, change in (
        ("title", {"title": "Fix login, whatever the clock says"}),
        ("status", {"statusId": done}),
        ("priority", {"priority": "LOW"}),
        ("assignee", {"assigneeId": about.person_ids[1]}),
        ("labels", {"labelIds": about.label_ids[1:3]}),
        ("due date", {"dueDate": "2031-02-03"}),
    ):
        yield Row(
            f"write change {name}",
            [
                client.request(
                    "PATCH", f"/work-items/{it['id']}", change | {"version": it["version"]}
                )
                for it in await _items(client, project, count)
            ],
            writes=True,
        )
    async for row in _moves_and_more(client, about, count):
        yield row


async def _moves_and_more(client: Client, about: Subjects, count: int) -> AsyncIterator[Row]:
    project, done = about.project_id, about.status_ids["Done"]
    condition = _filter("status", "eq", done)
    column = (await client.get("/work-items", projectId=project, limit=200, **condition))["data"]
    anchors = [item["id"] for item in column[100:]]
    items = await _items(client, project, 3 * count)
    moved = [
        client.request(
            "POST",
            f"/work-items/{it['id']}/move",
            {"version": it["version"], "statusId": done, "afterId": anchor},
        )
        for it, anchor in zip(items[:count], anchors, strict=False)
    ]
    yield Row("write move into a column", moved, writes=True)
    labels = [f"/work-items/{it['id']}/labels" for it in items[count : 2 * count]]
    added = [client.request("POST", path, {"name": uuid4().hex[:8]}) for path in labels]
    yield Row("write add a new label", added, writes=True)
    gone = [f"/work-items/{it['id']}" for it in items[2 * count :]]
    yield Row("write trash", [client.request("DELETE", path) for path in gone], writes=True)
    restored = [client.request("POST", f"{path}/restore") for path in gone]
    yield Row("write restore", restored, writes=True)


async def _items(client: Client, project: str, count: int) -> list[Any]:
    """The newest open items of a project."""
    found: list[Any] = []
    more: dict[str, str] = {}
    open_ = _filter("statusCategory", "in", ["BACKLOG", "UNSTARTED", "STARTED"])
    while len(found) < count:
        query = {"projectId": project, "sort": "-number", "limit": 200} | open_ | more
        page = await client.get("/work-items", **query)
        found += page["data"]
        if not page["pageInfo"]["hasNextPage"]:
            break
        more = {"cursor": page["pageInfo"]["nextCursor"]}
    return found[:count]


async def bulk(client: Client, about: Subjects) -> AsyncIterator[Row]:
    """What changes very many items: the time until the answer. Each is done a few times."""
    done = f"/statuses/{about.status_ids['Done']}"

    def once(name: str, *requests: bytes) -> Row:
        return Row(f"bulk {name}", requests, writes=True, warm_up=0)

    yield once(
        "status category",
        *(client.request("PATCH", done, {"category": it}) for it in ("CANCELLED", "COMPLETED")),
    )
    into, *others = about.label_ids
    yield once(
        "label merge",
        *(
            client.request("POST", f"/labels/{label}/merge", {"intoId": into})
            for label in others[:2]
        ),
    )
    yield once(
        "label delete", *(client.request("DELETE", f"/labels/{label}") for label in others[2:4])
    )
    path = f"/projects/{about.project_id}/statuses"
    empty = [
        (await client.post(path, {"name": f"Empty {n}", "category": "STARTED"}))["data"]["id"]
        for n in range(3)
    ]
    yield once(
        "status delete, empty", *(client.request("DELETE", f"/statuses/{id}") for id in empty)
    )
    target = about.status_ids["To Do"]
    yield once(
        "status delete, reassigned",
        *(
            client.request("DELETE", f"/statuses/{about.status_ids[name]}", reassignTo=target)
            for name in ("Review", "In Progress")
        ),
    )

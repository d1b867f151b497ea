"""Short ways to work with items over HTTP; each expects to be let in."""

import base64
import json
from typing import Any

from tests.world import Person, World

Json = dict[str, Any]
ITEMS = "/api/v1/work-items"


async def call(person: Person, method: str, path: str, expect: int = 200, **options: Any) -> Any:
    """Call a route and look at its status; the decoded body."""
    answer = await person.api.request(method, f"/api/v1{path}", **options)
    assert answer.status_code == expect, f"{method} {path}: {answer.status_code} {answer.text}"
    return answer.json() if answer.content else None


async def create(world: World, title: str = "Fix the door", **fields: Any) -> Json:
    """A new item of the starter project, made by the owner."""
    body = {"projectId": str(world.project.id), "title": title, **fields}
    return (await call(world.owner, "POST", "/work-items", 201, json=body))["data"]


async def capture(world: World, line: str, **fields: Any) -> Json:
    """A captured line: the whole answer."""
    body = {"projectId": str(world.project.id), "quickAdd": line, **fields}
    return await call(world.owner, "POST", "/work-items", 201, json=body)


async def get(person: Person, item_id: str) -> Json:
    return (await call(person, "GET", f"/work-items/{item_id}"))["data"]


async def patch(person: Person, item: Json, **fields: Any) -> Json:
    """Change an item as it was read."""
    body = {"version": item["version"], **fields}
    return (await call(person, "PATCH", f"/work-items/{item['id']}", json=body))["data"]


async def move(person: Person, item: Json, **to: Any) -> Json:
    body = {"version": item["version"], **to}
    return (await call(person, "POST", f"/work-items/{item['id']}/move", json=body))["data"]


async def listed(person: Person, **query: Any) -> list[Json]:
    """All items that a query finds, page by page."""
    found: list[Json] = []
    while True:
        page = await call(person, "GET", "/work-items", params=query)
        found += page["data"]
        cursor = page["pageInfo"]["nextCursor"]
        assert page["pageInfo"]["hasNextPage"] == (cursor is not None)
        if cursor is None:
            return found
        query["cursor"] = cursor


async def refused(
    person: Person, method: str, path: str, status: int, code: str, **options: Any
) -> Json:
    """The problem that a call ends in."""
    problem = await call(person, method, path, status, **options)
    assert problem["code"] == code, problem
    return problem


def encoded(tree: object) -> str:
    """A filter as the API takes it."""
    return base64.b64encode(json.dumps(tree).encode()).decode()

"""The demo at size, on a database of its own: its ids are the same everywhere."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

import asyncpg
import httpx
import pytest

from rytask import app, demo
from rytask.app import Api
from rytask.platform.errors import CannotRun
from rytask.platform.migrate import migrate
from rytask.platform.settings import Settings
from tests.world import environ

REVIEW, DONE = "0193b3a0-0000-7000-8000-000000000014", "0193b3a0-0000-7000-8000-000000000015"
RY, FIRST_PERSON = "0193b3a0-0000-7000-8000-000000000010", "0193b3a0-0000-7000-8000-000000000200"


@dataclass(frozen=True)
class Demo:
    """A database with a demo, its application, and the founder's client."""

    url: str
    api: Api
    client: httpx.AsyncClient

    async def load(self, size: int) -> list[int]:
        """Load or fill it; what was told about the progress, and sign the founder in."""
        advanced: list[int] = []
        await demo.load(self.api.work, self.api.passwords, size=size, advance=advanced.append)
        login = {"email": demo.EMAIL, "password": demo.PASSWORD}
        signed_in = await self.call("POST", "/auth/login", json=login)
        self.client.headers["authorization"] = f"Bearer {signed_in['accessToken']}"
        return advanced

    async def call(self, method: str, path: str, **options: Any) -> Any:
        answer = await self.client.request(method, path, **options)
        assert answer.status_code < 300, f"{method} {path}: {answer.status_code} {answer.text}"
        return answer.json() if answer.content else None

    async def value(self, sql: Any, *args: object) -> Any:
        return await self.api.work.database.reader.value(sql, *args)

    async def items(self) -> list[dict[str, Any]]:
        """Every item, as the API shows it."""
        found: list[dict[str, Any]] = []
        cursor = None
        while True:
            query = {"limit": "200", **({"cursor": cursor} if cursor else {})}
            page = await self.call("GET", "/work-items", params=query)
            found += page["data"]
            cursor = page["pageInfo"]["nextCursor"]
            if cursor is None:
                return found


@pytest.fixture
async def organization(database_url: str, redis_url: str) -> AsyncIterator[Demo]:
    connection = await asyncpg.connect(database_url)
    name = f"{urlsplit(database_url).path[1:]}_demo"
    await connection.execute(f"DROP DATABASE IF EXISTS {name} WITH (FORCE)")
    await connection.execute(f"CREATE DATABASE {name}")
    url = urlsplit(database_url)._replace(path=f"/{name}").geturl()
    await migrate(url)
    try:
        async with app.api(Settings.read(environ(url, redis_url, 9))) as api:
            transport = httpx.ASGITransport(api.application)
            base_url = "http://test/api/v1"
            async with httpx.AsyncClient(transport=transport, base_url=base_url) as client:
                yield Demo(url, api, client)
    finally:
        await connection.execute(f"DROP DATABASE {name} WITH (FORCE)")
        await connection.close()


async def test_the_smallest_demo_is_the_same_everywhere(organization: Demo) -> None:
    assert await organization.load(0) == []
    items = await organization.items()
    assert [(item["key"], item["title"]) for item in items] == [
        ("RY-1", "Set up the project board"),
        ("RY-2", "Capture work in seconds with quick-add"),
        ("RY-3", "Triage the inbox"),
    ]
    assert [item["id"][-12:] for item in items] == [f"{n:012d}" for n in (20, 21, 22)]
    assert await organization.load(3) == []
    assert len(await organization.items()) == 3


async def test_a_large_demo_is_as_if_people_had_made_it(organization: Demo) -> None:
    assert sum(await organization.load(3000)) == 3000
    items = await organization.items()
    assert len(items) == len({item["id"] for item in items}) == 3000
    people = {one["userId"]: one for one in await organization.call("GET", "/memberships")}
    labels = {one["id"] for one in (await organization.call("GET", "/labels"))["data"]}
    projects = (await organization.call("GET", "/projects", params={"limit": "200"}))["data"]
    assert len(projects) > 3
    assert len(people) > 10
    closed = 0
    for project in projects:
        own = [item for item in items if item["projectId"] == project["id"]]
        own.sort(key=lambda item: item["number"])
        assert [item["number"] for item in own] == list(range(1, len(own) + 1))
        assert {item["key"] for item in own} == {
            f"{project['keyPrefix']}-{n}" for n in range(1, len(own) + 1)
        }
        positions = [item["position"] for item in own]
        assert positions == sorted(set(positions))
        counter = await organization.api.work.database.reader.values(
            "SELECT ARRAY[last_number, last_position] FROM project_counters WHERE project_id = $1",
            project["id"],
        )
        assert counter == [[len(own), positions[-1]]]
        statuses = (await organization.call("GET", f"/projects/{project['id']}/statuses"))["data"]
        category = {status["id"]: status["category"] for status in statuses}
        of_item = {item["id"]: category[item["statusId"]] for item in own}
        assert all((of_item[i["id"]] == "COMPLETED") == bool(i["completedAt"]) for i in own)
        closed += sum(it in ("COMPLETED", "CANCELLED") for it in of_item.values())
        members = await organization.call("GET", f"/projects/{project['id']}/members")
        assignable = {member["userId"] for member in members["data"]}
        assert {item["assigneeId"] for item in own} <= assignable | {None}
    children: dict[str, int] = {}
    for item in items:
        assert labels.issuperset(item["labelIds"])
        if item["parentId"]:
            children[item["parentId"]] = children.get(item["parentId"], 0) + 1
    assert all(item["childCount"] == children.get(item["id"], 0) for item in items)
    assert sum(children.values()) > 100
    assert 0.65 < closed / 3000 < 0.75
    assert 0.35 < sum(item["dueDate"] is not None for item in items) / 3000 < 0.45
    assert 0.58 < sum(item["projectId"] == RY for item in items) / 3000 < 0.62
    await _check_what_hangs_on_items(organization, items)


async def _check_what_hangs_on_items(organization: Demo, items: list[dict[str, Any]]) -> None:
    """Closing times, events, watchers; and the next item goes on where the demo ends."""
    wrong = await organization.value(
        "SELECT count(*) FROM work_items w JOIN statuses s ON s.id = w.status_id"
        " WHERE (w.closed_at IS NOT NULL) <> (s.category IN ('COMPLETED', 'CANCELLED'))"
        "    OR (w.completed_at IS NOT NULL) <> (s.category = 'COMPLETED')"
        "    OR w.completed_at < w.created_at OR w.updated_at > now() OR w.created_at > now()"
    )
    assert wrong == 0
    assert 2.2 < await organization.value("SELECT count(*) / 3e3::float8 FROM events") < 2.9
    watchers = await organization.value("SELECT count(*) / 3e3::float8 FROM work_item_watchers")
    assert 1.5 < watchers < 2.0
    assert await organization.value("SELECT count(*) FROM jobs") < 100
    moved = next(item for item in items if item["version"] == 2 and item["assigneeId"])
    activity = await organization.call("GET", f"/work-items/{moved['id']}/activity")
    actions = [row["action"] for row in activity["data"] if row["action"] != "SUBTASK_ADDED"]
    assert actions == ["CREATED", "ASSIGNED", "STATUS_CHANGED"]
    assert activity["data"][0]["createdAt"] == moved["createdAt"]
    last = max(item["number"] for item in items if item["projectId"] == RY)
    body = {"projectId": RY, "title": "Created after all of them"}
    created = (await organization.call("POST", "/work-items", json=body))["data"]
    assert created["number"] == last + 1
    assert created["position"] > max(item["position"] for item in items if item["projectId"] == RY)


async def test_what_was_deleted_from_the_demo_stays_deleted_when_it_grows(
    organization: Demo,
) -> None:
    await organization.load(600)
    await organization.call("DELETE", f"/statuses/{REVIEW}", params={"reassignTo": DONE})
    label = (await organization.call("GET", "/labels"))["data"][0]
    await organization.call("DELETE", f"/labels/{label['id']}")
    await organization.call("DELETE", f"/memberships/{FIRST_PERSON}")
    projects = (await organization.call("GET", "/projects"))["data"]
    gone, archived = (one for one in projects if one["keyPrefix"] in ("WEB", "APP"))
    await organization.call("DELETE", f"/projects/{gone['id']}")
    await organization.call("PATCH", f"/projects/{archived['id']}", json={"archived": True})
    seen = {item["id"] for item in await organization.items()}

    await organization.load(1500)

    items = await organization.items()
    assert len(items) == 1500
    new = [item for item in items if item["id"] not in seen]
    assert new
    assert all(item["assigneeId"] != FIRST_PERSON for item in new)
    assert all(item["projectId"] not in (gone["id"], archived["id"]) for item in new)
    names = [one["name"] for one in (await organization.call("GET", "/labels"))["data"]]
    assert label["name"] not in names
    assert len(names) > 5
    statuses = (await organization.call("GET", f"/projects/{RY}/statuses"))["data"]
    assert REVIEW not in {status["id"] for status in statuses}
    people = await organization.call("GET", "/memberships")
    [first] = [one for one in people if one["userId"] == FIRST_PERSON]
    assert first["deactivatedAt"] is not None


async def test_without_anything_to_fill_the_demo_says_so(organization: Demo) -> None:
    await organization.load(50)
    await organization.call("DELETE", f"/projects/{RY}")
    with pytest.raises(CannotRun, match="projects of the demo were deleted"):
        await organization.load(100)
    await organization.call("DELETE", "/orgs/current")
    with pytest.raises(CannotRun, match="organization of the demo was deleted"):
        await demo.load(
            organization.api.work, organization.api.passwords, size=100, advance=lambda _: None
        )


async def test_an_interrupted_demo_has_whole_batches_and_goes_on_to_its_size(
    organization: Demo, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(demo, "BATCH", 100)
    await organization.load(100)
    connection = await asyncpg.connect(organization.url)
    async with connection.transaction():
        # Whoever adds watchers waits for us, with the items of the batch already in the table.
        await connection.execute("LOCK TABLE work_item_watchers IN SHARE ROW EXCLUSIVE MODE")
        filling = asyncio.create_task(organization.load(1000))
        while not await connection.fetchval(
            "SELECT EXISTS (SELECT FROM pg_locks WHERE NOT granted)"
        ):
            assert not filling.done()
            await asyncio.sleep(0.01)
        filling.cancel()
        with pytest.raises(asyncio.CancelledError):
            await filling
    await connection.close()
    assert await organization.value("SELECT count(*) FROM work_items") == 100
    halfway: list[int] = []

    def interrupt(count: int) -> None:
        halfway.append(count)
        if len(halfway) == 3:
            raise asyncio.CancelledError

    work, passwords = organization.api.work, organization.api.passwords
    with pytest.raises(asyncio.CancelledError):
        await demo.load(work, passwords, size=1000, advance=interrupt)
    assert await organization.value("SELECT count(*) FROM work_items") == sum(halfway)
    assert sum(await organization.load(1000)) == 1000
    items = await organization.items()
    assert len(items) == 1000
    assert len({(item["projectId"], item["number"]) for item in items}) == 1000
    assert len({(item["projectId"], item["position"]) for item in items}) == 1000

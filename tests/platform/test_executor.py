"""What the executor does for every operation, whoever calls it."""

import json
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Annotated
from uuid import UUID

import msgspec
import pytest

from rytask.platform import decoding
from rytask.platform.crypto import Sealer
from rytask.platform.db import Database
from rytask.platform.errors import (
    Forbidden,
    Malformed,
    NotFound,
    TooMany,
    Unauthenticated,
    Unavailable,
)
from rytask.platform.executor import Executor, Key, Limits
from rytask.platform.http import Body, Data, Query, Request
from rytask.platform.idempotency import KeyReused, Replay, Replays, Scope
from rytask.platform.ids import OrgId, UserId, new_id
from rytask.platform.operations import Client, Operation, Outcome
from rytask.platform.rate_limit import Limiter
from rytask.platform.redis_client import RequestRedis
from rytask.platform.work import Actor, Reading, Work, Writing


@dataclass
class Runs:
    """How often something ran, committed or not, and how often it is to fail before."""

    count: int = 0
    failures: int = 0


class Note(Body):
    text: Annotated[str, msgspec.Meta(min_length=1, max_length=20)]
    repeat: int = 1


class Range(Query):
    limit: Annotated[int, msgspec.Meta(ge=1, le=200)] = 50


async def add_note(ctx: Writing, runs: Runs, folder_id: UUID, data: Note) -> Data[str]:
    """Add a note to a folder."""
    runs.count += 1
    await ctx.db.execute("INSERT INTO notes VALUES ($1, $2)", ctx.org_id, data.text)
    return Data(f"{data.text} {runs.count}")


async def list_notes(ctx: Reading, folder_id: UUID, query: Range) -> Data[int]:
    """List the notes of a folder."""
    return Data(query.limit)


async def add_in_a_crowd(ctx: Writing, runs: Runs) -> None:
    """Add a note, and meet a deadlock as often as is asked for."""
    runs.count += 1
    await ctx.db.execute("INSERT INTO notes VALUES ($1, 'crowd')", ctx.org_id)
    if runs.count <= runs.failures:
        await ctx.db.execute("DO $$ BEGIN RAISE 'met' USING ERRCODE = 'deadlock_detected'; END $$")


async def say_where(client: Client, actor: Actor | None) -> Data[list[str | None]]:
    """Say where a call comes from, and in which organization."""
    return Data([client.ip, str(actor.org_id) if actor else None])


async def get_page(request: Request) -> Data[str]:
    """Get a page of the web."""
    return Data(request.path)


ADD = Operation(
    add_note, operation_id="add_note", permission="write", status=201, path_names=["folder_id"]
)
ADD_AGAIN = Operation(
    add_note, operation_id="add_again", permission="write", path_names=["folder_id"]
)
LIST = Operation(list_notes, operation_id="list_notes", permission="read", path_names=["folder_id"])
CROWD = Operation(add_in_a_crowd, operation_id="add_in_a_crowd", permission="write")
WHERE = Operation(say_where, operation_id="say_where", public=True)
PAGE = Operation(get_page, operation_id="get_page", public=True)


class House:
    """An executor, and a caller in an organization of this test's own."""

    def __init__(self, executor: Executor, database: Database, replays: Replays, runs: Runs):
        self.executor, self.database, self.replays, self.runs = executor, database, replays, runs
        self.writer = Actor(
            org_id=OrgId(new_id()),
            user_id=UserId(new_id()),
            role="MEMBER",
            permissions=frozenset({"read", "write"}),
        )
        self.reader = msgspec.structs.replace(self.writer, permissions=frozenset({"read"}))
        self.folder_id = new_id()

    async def add(self, text: str, operation: Operation = ADD, key: str | None = None) -> Outcome:
        arguments = {"folderId": str(self.folder_id), "text": text}
        sent = json.dumps(arguments).encode()
        return await self.executor.execute_json(operation.operation_id, self.writer, sent, key=key)

    async def notes(self) -> list[str]:
        return await self.database.reader.values(
            "SELECT text FROM notes WHERE org_id = $1", self.writer.org_id
        )


@pytest.fixture
async def house(database_url: str, redis_url: str) -> AsyncIterator[House]:
    database, redis = await Database.connect(database_url), RequestRedis(redis_url)
    await redis.start()
    runs = Runs()
    replays = Replays(redis, Sealer.derived("a secret of the tests", "replays"))
    executor = Executor(
        [ADD, ADD_AGAIN, LIST, CROWD, WHERE, PAGE],
        work=Work(
            database,
            subscribers={},
            attempts=lambda _: 1,
            notify_workers=lambda: None,
        ),
        limiter=Limiter(redis),
        replays=replays,
        limits={"default": Limits(2, 60)},
        permissions=frozenset({"read", "write"}),
        provide={Runs: runs},
    )
    house = House(executor, database, replays, runs)
    async with database.transaction() as tx:
        await tx.execute("CREATE TABLE IF NOT EXISTS notes (org_id uuid, text text)")
        await tx.execute(
            "INSERT INTO organizations (id, name, slug) VALUES ($1, 'Notes', $2)",
            house.writer.org_id,
            str(house.writer.org_id),
        )
    yield house
    await redis.close()
    await database.close()


async def test_who_lacks_the_permission_is_refused_and_nothing_runs(house: House) -> None:
    arguments = {"folder_id": house.folder_id, "data": Note(text="no")}
    with pytest.raises(Forbidden):
        await house.executor.execute(ADD, house.reader, arguments)
    with pytest.raises(Unauthenticated):
        await house.executor.execute(ADD, None, arguments)
    assert (house.runs.count, await house.notes()) == (0, [])


async def test_permission_comes_before_a_look_at_the_arguments(house: House) -> None:
    with pytest.raises(Forbidden):
        await house.executor.execute_json("add_note", house.reader, b"{")


async def test_a_call_is_one_object_of_the_members_of_path_query_and_body(house: House) -> None:
    added = await house.add("first")
    assert (added.status, added.body) == (201, b'{"data":"first 1"}')
    assert await house.notes() == ["first"]
    listing = json.dumps({"folderId": str(house.folder_id), "limit": 7}).encode()
    listed = await house.executor.execute_json("list_notes", house.reader, listing)
    assert (listed.status, listed.body) == (200, b'{"data":7}')


FOLDER = '"folderId": "0193b3a0-0000-7000-8000-000000000001"'


@pytest.mark.parametrize(
    ("operation", "sent", "said"),
    [
        (ADD, "{", "not JSON"),
        (ADD, "[]", "Expected `object`"),
        (ADD, '{"text": "a"}', "folderId"),
        (ADD, '{"folderId": "seven", "text": "a"}', "folderId: not an id"),
        (ADD, f"{{{FOLDER}}}", "text"),
        (ADD, f'{{{FOLDER}, "text": ""}}', "text"),
        (ADD, f'{{{FOLDER}, "text": "a", "repeat": "3"}}', "repeat"),
        (ADD, f'{{{FOLDER}, "text": "a", "text": "b"}}', "given twice"),
        (ADD, f'{{{FOLDER}, "text": "a", "more": 1}}', "more"),
        (ADD, f'{{{FOLDER}, "text": "a\\u0000"}}', "NUL"),
        (ADD, f'{{{FOLDER}, "folder_id": 1, "text": "a"}}', "folder_id"),
        (LIST, f'{{{FOLDER}, "limit": "7"}}', "limit"),
        (LIST, f'{{{FOLDER}, "limit": 0}}', "limit"),
        (LIST, f'{{{FOLDER}, "text": "a"}}', "text"),
        (WHERE, '{"actor": 1}', "actor"),
    ],
)
def test_arguments_are_decoded_strictly(operation: Operation, sent: str, said: str) -> None:
    with pytest.raises(Malformed) as refused:
        decoding.arguments(operation, sent.encode())
    assert said in refused.value.message


async def test_a_key_gives_a_call_one_effect_and_one_answer(house: House) -> None:
    key = str(new_id())
    first = await house.add("once", key=key)
    again = await house.add("once", key=key)
    assert (again.status, again.body, again.replayed) == (first.status, first.body, True)
    assert (house.runs.count, await house.notes()) == (1, ["once"])
    with pytest.raises(KeyReused):
        await house.add("twice", key=key)


async def test_a_key_does_not_care_how_the_same_call_is_spelled(house: House) -> None:
    key = str(new_id())
    spellings = ('{"folderId": "%s", "text": "a"}', '{ "text":"\\u0061", "folderId":"%s" }')
    for spelling in spellings:
        sent = (spelling % house.folder_id).encode()
        await house.executor.execute_json("add_note", house.writer, sent, key=key)
    assert house.runs.count == 1


async def test_a_key_belongs_to_one_operation(house: House) -> None:
    key = str(new_id())
    await house.add("once", key=key)
    await house.add("once", ADD_AGAIN, key=key)
    assert house.runs.count == 2


async def test_a_call_that_another_overtook_is_undone_and_gets_its_answer(house: House) -> None:
    key = Key(str(new_id()), "add_note", b"the same")
    scope = Scope(house.writer.org_id, house.writer.me, key.route, key.text)

    async def overtaken(ctx: Writing, runs: Runs) -> Data[str]:
        """Add a note, while another call with this key is committed unseen."""
        runs.count += 1
        await ctx.db.execute("INSERT INTO notes VALUES ($1, 'lost')", ctx.org_id)
        async with house.database.transaction() as tx:
            await house.replays.store(tx, scope, key.fingerprint, Replay(200, b'"first"'))
        return Data("second")

    operation = Operation(overtaken, operation_id="add_note", permission="write")
    outcome = await house.executor.execute(operation, house.writer, {}, key=key)
    assert (outcome.body, outcome.replayed) == (b'"first"', True)
    assert (house.runs.count, await house.notes()) == (1, [])


async def test_what_met_a_deadlock_twice_is_done_in_the_end(house: House) -> None:
    house.runs.failures = 2
    await house.executor.execute(CROWD, house.writer, {})
    assert (house.runs.count, await house.notes()) == (3, ["crowd"])


async def test_what_meets_deadlocks_without_end_is_put_off_and_changes_nothing(
    house: House,
) -> None:
    house.runs.failures = 100
    with pytest.raises(Unavailable) as refused:
        await house.executor.execute(CROWD, house.writer, {})
    assert (refused.value.status, refused.value.retry_after) == (503, 1)
    assert (house.runs.count, await house.notes()) == (3, [])


async def test_a_call_with_an_address_is_counted_and_one_without_is_not(house: House) -> None:
    client = Client("203.0.113.9")
    for _ in range(3):
        await house.executor.execute_json("say_where", house.reader, b"{}")
    for _ in range(2):
        outcome = await house.executor.execute_json("say_where", house.reader, b"{}", client=client)
        assert json.loads(outcome.body) == {"data": ["203.0.113.9", str(house.reader.org_id)]}
    with pytest.raises(TooMany):
        await house.executor.execute_json("say_where", house.reader, b"{}", client=client)


@pytest.mark.parametrize("name", ["add_notes", "get_page"])
async def test_what_is_no_operation_or_needs_a_browser_is_not_there(
    house: House, name: str
) -> None:
    with pytest.raises(NotFound):
        await house.executor.execute_json(name, house.writer, b"{}")


def test_neither_a_permission_nor_a_mark_is_refused_at_the_start() -> None:
    with pytest.raises(TypeError, match="open needs a permission"):
        Operation(get_page, operation_id="open")
    with pytest.raises(TypeError, match="both needs a permission"):
        Operation(get_page, operation_id="both", permission="read", public=True)
    with pytest.raises(TypeError, match="acts for somebody"):
        Operation(add_in_a_crowd, operation_id="anybody", public=True)


async def test_a_permission_that_nobody_can_have_is_refused_at_the_start(house: House) -> None:
    typo = Operation(get_page, operation_id="typo", permission="raed")
    with pytest.raises(TypeError, match="'raed'"):
        Executor(
            [typo],
            work=house.executor._work,
            limiter=house.executor._limiter,
            replays=house.replays,
            limits={},
            permissions=frozenset({"read"}),
            provide={},
        )


def test_two_arguments_of_one_name_are_refused_at_the_start() -> None:
    async def add(ctx: Writing, text: str, data: Note) -> None: ...

    with pytest.raises(TypeError, match="two arguments"):
        Operation(add, operation_id="add", permission="write", path_names=["text"])

"""The ceilings: the same statements and the same answers, from a bare ASGI function.

It replays what the application is seen to send to PostgreSQL, so the two cannot drift apart. It
has no tokens, no limits and no checks, and Granian serves it exactly as it serves the application.

A replay is as expensive as what it replays. So a create has a second, independent ceiling: BEGIN,
one INSERT of the row that the application made, COMMIT.
"""

import argparse
import gc
import itertools
import os
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, LiteralString
from uuid import UUID

import asyncpg
import msgspec
import uvloop
from granian.constants import HTTPModes, Interfaces
from granian.server.embed import Server
from msgspec.structs import replace

import rytask.app  # noqa: F401 it registers what reacts to facts
from rytask.modules.work_items import service
from rytask.modules.work_items.model import Created, ItemPage, WorkItem
from rytask.modules.work_items.schemas import ItemsQuery, NewItem
from rytask.platform import jobs, reactions
from rytask.platform.auth import permissions
from rytask.platform.db import Database, Reader, Row, Tx
from rytask.platform.http import Data, PageInfo
from rytask.platform.ids import OrgId, UserId, new_id
from rytask.platform.work import Actor, Reading, Work

HEALTH, ITEMS, INSERT = "/health", "/items", "/insert"
_POOL_SIZE = 10
_Create = Callable[[bytes], Awaitable[Created]]
_free_numbers = itertools.count(1_000_000_000)


@dataclass(frozen=True)
class Statement:
    """What the application sent, by which method of the driver."""

    method: str
    sql: str
    values: tuple[object, ...]
    autocommit: bool = False

    async def run(self, on: Any) -> Any:
        """Send it again."""
        return await getattr(on, self.method)(self.sql, *self.values)

    def about(
        self, old: UUID, numbered: tuple[int, float] | None = None
    ) -> Callable[..., Awaitable[Any]]:
        """How to send it again about something else, under another number."""
        template = list(self.values)
        places = [
            [n for n, value in enumerate(template) if type(value) is type(old) and value == old]
            for old in numbered or ()
        ]
        single = [n for n, value in enumerate(template) if value == old]
        many = [n for n, value in enumerate(template) if isinstance(value, list) and old in value]

        async def run(on: Any, new: UUID, slot: Any = ()) -> Any:
            values = template.copy()
            for found, value in zip(places, slot or (), strict=False):
                for n in found:
                    values[n] = value
            for n in single:
                values[n] = new
            for n in many:
                values[n] = [new] * len(template[n])  # type: ignore[arg-type]
            return await getattr(on, self.method)(self.sql, *values)

        return run


class _Taped(Tx):
    """Notes every statement on its way to another reader."""

    __slots__ = ("_autocommit", "_inner", "_tape")

    def __init__(self, inner: Reader, tape: list[Statement], *, autocommit: bool = False) -> None:
        self._inner, self._tape, self._autocommit = inner, tape, autocommit
        if isinstance(inner, Tx):
            self.autocommit = _Taped(inner.autocommit, tape, autocommit=True)

    async def all(self, row: type[Row], sql: LiteralString, *args: object) -> list[Row]:
        self._tape.append(Statement("fetch", sql, args, self._autocommit))
        return await self._inner.all(row, sql, *args)

    async def maybe(self, row: type[Row], sql: LiteralString, *args: object) -> Row | None:
        self._tape.append(Statement("fetchrow", sql, args, self._autocommit))
        return await self._inner.maybe(row, sql, *args)

    async def value(self, sql: LiteralString, *args: object) -> Any:
        self._tape.append(Statement("fetchval", sql, args, self._autocommit))
        return await self._inner.value(sql, *args)

    async def execute(self, sql: LiteralString, *args: object) -> int:
        assert isinstance(self._inner, Tx)
        self._tape.append(Statement("execute", sql, args, self._autocommit))
        return await self._inner.execute(sql, *args)


class _TapedDatabase:
    """A database whose transactions are noted."""

    def __init__(self, database: Database, tape: list[Statement]) -> None:
        self._database, self._tape = database, tape

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[Tx]:
        async with self._database.transaction() as tx:
            yield _Taped(tx, self._tape)


@dataclass(frozen=True)
class Creation:
    """What creating an item sends, what it answered, and the row that it made."""

    sent: list[Statement]
    answer: Created
    row: dict[str, object]


@dataclass(frozen=True)
class Tapes:
    """What the use cases send, and what they answered."""

    item: list[Statement]
    item_id: UUID
    listed: list[Statement]
    page_size: int
    creations: list[Creation]


async def tapes(
    database_url: str, actor: Actor, item_id: UUID, new_items: Sequence[NewItem]
) -> Tapes:
    """Run each use case once and note what it sends."""
    database = await Database.connect(database_url)
    item: list[Statement] = []
    listed: list[Statement] = []
    now = datetime.now(UTC)
    query = ItemsQuery(project_id=new_items[0].project_id)
    await service.get(Reading(_Taped(database.reader, item), actor, now), item_id)
    await service.list_items(Reading(_Taped(database.reader, listed), actor, now), query)
    creations = [await _creation(database, database_url, actor, new) for new in new_items]
    await database.close()
    return Tapes(item, item_id, listed, query.limit, creations)


async def _creation(database: Database, database_url: str, actor: Actor, new: NewItem) -> Creation:
    sent: list[Statement] = []
    work = Work(
        _TapedDatabase(database, sent),  # type: ignore[arg-type]
        subscribers=reactions.subscribers(),
        attempts=jobs.attempts_of,
        notify_workers=lambda: None,
    )
    async with work.writing(actor) as ctx:
        made = await service.create(ctx, new)
    return Creation(sent, made, await _row(database_url, made.data.id))


async def _row(database_url: str, item_id: UUID) -> dict[str, object]:
    """The columns of an item's row that are written, whichever the table has."""
    connection = await asyncpg.connect(database_url)
    try:
        record = await connection.fetchrow("SELECT * FROM work_items WHERE id = $1", item_id)
        generated = await connection.fetch(
            "SELECT attname FROM pg_attribute"
            " WHERE attrelid = 'work_items'::regclass AND attgenerated <> ''"
        )
    finally:
        await connection.close()
    assert record is not None
    left_out = {name for (name,) in generated}
    return {name: value for name, value in record.items() if name not in left_out}


async def application(database_url: str, tapes: Tapes) -> Any:
    """The ASGI function, on pools like those of the application."""
    reading, writing = await _pool(database_url, "on"), await _pool(database_url, "off")
    autocommit = await _pool(database_url, "off", synchronous_commit="off")
    (one,), (many,) = tapes.item, tapes.listed
    find = one.about(tapes.item_id)

    async def item(item_id: UUID) -> object:
        record = await find(reading, item_id)
        return Data(WorkItem(*record))

    async def items() -> object:
        records = await many.run(reading)
        rows = [WorkItem(*record) for record in records[: tapes.page_size]]
        return ItemPage(rows, PageInfo("cursor", True))

    creates = {
        f"{path}/{n}": create
        for n, creation in enumerate(tapes.creations)
        for path, create in (
            (ITEMS, _replayed(creation, writing, autocommit)),
            (INSERT, _inserted(creation, writing)),
        )
    }

    async def bare(scope: Any, receive: Any, send: Any) -> None:
        path: str = scope["path"]
        status = 200
        if path == HEALTH:
            answer: object = {"status": "ok", "uptimeSeconds": 1, "version": "0"}
        elif scope["method"] == "POST":
            status = 201
            answer = await creates[path]((await receive())["body"])
        elif path == ITEMS:
            answer = await items()
        else:
            answer = await item(UUID(path.rpartition("/")[2]))
        content = msgspec.json.encode(answer)
        headers = [
            (b"content-type", b"application/json"),
            (b"content-length", str(len(content)).encode()),
        ]
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": content, "more_body": False})

    return bare


def _replayed(creation: Creation, writing: asyncpg.Pool, autocommit: asyncpg.Pool) -> _Create:
    """All that the application sends."""
    template = creation.answer.data
    numbered = (template.number, template.position)
    steps = [(s.autocommit, s.about(template.id, numbered)) for s in creation.sent]

    async def create(body: bytes) -> Created:
        msgspec.json.decode(body)
        new = new_id()
        slot: Any = None
        async with writing.acquire() as connection, connection.transaction():
            for is_autocommit, send in steps:
                if is_autocommit:
                    slot = await send(autocommit, new)
                else:
                    await send(connection, new, slot)
        return Created(replace(template, id=new, number=slot[0], position=slot[1]))

    return create


def _inserted(creation: Creation, writing: asyncpg.Pool) -> _Create:
    """The row of the item and nothing else."""
    template = creation.answer.data
    names = ", ".join(f'"{name}"' for name in creation.row)
    values = ", ".join(f"${n}" for n in range(1, len(creation.row) + 1))
    sql = f"INSERT INTO work_items ({names}) VALUES ({values})"  # noqa: S608 - names of columns

    async def create(body: bytes) -> Created:
        msgspec.json.decode(body)
        new, number = new_id(), next(_free_numbers)
        row = {**creation.row, "id": new, "number": number}
        async with writing.acquire() as connection, connection.transaction():
            await connection.execute(sql, *row.values())
        return Created(replace(template, id=new, number=number))

    return create


async def _pool(database_url: str, read_only: str, **more: str) -> asyncpg.Pool:
    return await asyncpg.create_pool(
        database_url,
        min_size=0,
        max_size=_POOL_SIZE,
        init=_prepare,
        reset=_no_reset,
        server_settings={"default_transaction_read_only": read_only, "jit": "off", **more},
    )


async def _prepare(connection: asyncpg.Connection) -> None:
    await connection.set_type_codec(
        "jsonb",
        encoder=lambda value: b"\x01" + msgspec.json.encode(value),
        decoder=lambda raw: raw[1:],
        schema="pg_catalog",
        format="binary",
    )


async def _no_reset(connection: asyncpg.Connection) -> None:
    return None


async def _serve(port: int, org_id: UUID, user_id: UUID, item_id: UUID, bodies: list[str]) -> None:
    actor = Actor(
        org_id=OrgId(org_id),
        user_id=UserId(user_id),
        role="OWNER",
        permissions=permissions("OWNER", ()),
        source="WEB",
    )
    database_url = os.environ["DATABASE_URL"]
    new_items = [msgspec.json.decode(body, type=NewItem) for body in bodies]
    taped = await tapes(database_url, actor, item_id, new_items)
    server = Server(
        await application(database_url, taped),
        address="127.0.0.1",
        port=port,
        interface=Interfaces.ASGINL,
        http=HTTPModes.http1,
        websockets=False,
        log_enabled=False,
        backlog=2048,
    )
    gc.freeze()
    await server.serve()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--org-id", type=UUID, required=True)
    parser.add_argument("--user-id", type=UUID, required=True)
    parser.add_argument("--item-id", type=UUID, required=True)
    parser.add_argument("--body", action="append", help="what is sent to create an item")
    given = parser.parse_args()
    uvloop.run(_serve(given.port, given.org_id, given.user_id, given.item_id, given.body))

"""PostgreSQL: two pools, typed rows, and SQL as plain text.

The pools differ in one thing: connections of the reading pool cannot write. Connections carry no
session state (`SET LOCAL` and transaction-scoped locks only), so they are not reset on release.
"""

import asyncio
from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import asynccontextmanager
from types import TracebackType
from typing import Any, LiteralString, Self, TypeVar

import asyncpg
import msgspec

from rytask.platform.connections import ASYNC_COMMIT_POOL_SIZE, POOL_SIZE, reading
from rytask.platform.errors import Malformed, NotFound, Unavailable
from rytask.platform.pool import Pool

Row = TypeVar("Row", bound=msgspec.Struct)
_columns_checked: set[tuple[type, str]] = set()

_UNAVAILABLE = (
    OSError,
    TimeoutError,
    asyncio.TimeoutError,
    asyncpg.PostgresConnectionError,
    asyncpg.CannotConnectNowError,
    asyncpg.AdminShutdownError,
    asyncpg.CrashShutdownError,
    asyncpg.TooManyConnectionsError,
    asyncpg.LockNotAvailableError,
    asyncpg.ReadOnlySQLTransactionError,
    asyncpg.InvalidAuthorizationSpecificationError,
    asyncpg.InvalidCatalogNameError,
)


RETRYABLE = (
    asyncpg.DeadlockDetectedError,
    asyncpg.SerializationError,
    asyncpg.InvalidCachedStatementError,  # a migration has changed what a statement returns
)
"""The whole unit of work may be run again after one of these."""


class Duplicate(Exception):
    """A unique constraint refused a row; `str()` is the constraint's name."""


class Dangling(Exception):
    """A foreign key refused a reference; `str()` is the constraint's name."""


class translated:
    """Name what the driver raises: a refused row is Duplicate or Dangling, the rest a refusal.

    A database that is away or takes too long is Unavailable (503), a value that it cannot store
    Malformed (400).
    """

    def __enter__(self) -> None:
        return None

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        tb: TracebackType | None,
    ) -> None:
        if error is None:
            return
        if isinstance(error, _UNAVAILABLE) or (
            isinstance(error, asyncpg.InterfaceError) and "clos" in str(error)
        ):
            raise Unavailable("The database is away for a moment. Try again.") from error
        if isinstance(error, asyncpg.QueryCanceledError):
            raise Unavailable(
                "This took too long and was stopped; nothing was changed. Try again in a moment.",
                retry_after=5,
            ) from error
        if isinstance(error, asyncpg.UndefinedTableError | asyncpg.UndefinedColumnError):
            raise Unavailable(
                "The database is not migrated to this version. Run `rytask migrate`.",
                retry_after=10,
            ) from error
        if isinstance(error, asyncpg.UniqueViolationError):
            raise Duplicate(_constraint(error)) from error
        if isinstance(error, asyncpg.ForeignKeyViolationError):
            raise Dangling(_constraint(error)) from error
        if isinstance(error, asyncpg.DataError):
            raise Malformed("A value is too large, or cannot be stored as text.") from error


def _constraint(error: asyncpg.PostgresError) -> str:
    return error.as_dict().get("constraint_name") or ""


def _check_columns(row: type[Row], sql: str, record: asyncpg.Record) -> None:
    """Columns must be the struct's fields, in order: checked once per statement."""
    if (row, sql) in _columns_checked:
        return
    columns, fields = tuple(record.keys()), row.__struct_fields__
    if columns != fields:
        raise TypeError(f"{row.__name__} has {fields}, the statement returns {columns}")
    _columns_checked.add((row, sql))


class Reader:
    """Reads one connection, or takes one of a pool for each statement."""

    __slots__ = ("_custom_plans", "_on")

    def __init__(self, on: Pool | asyncpg.Connection, custom_plans: "Reader | None" = None) -> None:
        self._on, self._custom_plans = on, custom_plans

    @property
    def custom_plans(self) -> "Reader":
        """The same, through connections that plan a statement anew for the values of each run.

        For statements whose best plan depends on their values: after five runs PostgreSQL would
        settle for one plan, which suits none of them well. Planning costs up to a millisecond.
        """
        return self._custom_plans or self

    async def all(self, row: type[Row], sql: LiteralString, *args: object) -> list[Row]:
        """Every row. Columns are the struct's fields, in order."""
        with translated():
            records = await self._on.fetch(sql, *args)
        if records:
            _check_columns(row, sql, records[0])
        return [row(*record) for record in records]

    async def maybe(self, row: type[Row], sql: LiteralString, *args: object) -> Row | None:
        """The first row, or None."""
        with translated():
            record = await self._on.fetchrow(sql, *args)
        if record is None:
            return None
        _check_columns(row, sql, record)
        return row(*record)

    async def one(self, row: type[Row], sql: LiteralString, *args: object) -> Row:
        """The first row. Raises NotFound when there is none."""
        found = await self.maybe(row, sql, *args)
        if found is None:
            raise NotFound("There is nothing here, or it is not shared with you.")
        return found

    async def value(self, sql: LiteralString, *args: object) -> Any:
        """The first column of the first row, or None."""
        with translated():
            return await self._on.fetchval(sql, *args)

    async def values(self, sql: LiteralString, *args: object) -> list[Any]:
        """The first column of every row."""
        with translated():
            return [record[0] for record in await self._on.fetch(sql, *args)]


class Tx(Reader):
    """A connection inside a transaction."""

    __slots__ = ("_connection", "autocommit")

    def __init__(self, connection: asyncpg.Connection, autocommit: Reader) -> None:
        super().__init__(connection)
        self._connection = connection
        self.autocommit = autocommit
        """For one statement that is committed at once, whatever becomes of this transaction.

        A crash may lose it, but never after something that was committed later. It must not touch
        a row that this transaction has changed: it would wait for itself.
        """

    async def execute(self, sql: LiteralString, *args: object) -> int:
        """Run a statement; the number of rows that it touched."""
        with translated():
            tag: str = await self._connection.execute(sql, *args)
        _, _, count = tag.rpartition(" ")
        return int(count) if count.isdigit() else 0

    async def copy(
        self,
        table: LiteralString,
        columns: Sequence[LiteralString],
        rows: Iterable[Sequence[object]],
    ) -> None:
        """Add many rows, each with its values in the order of the columns."""
        with translated():
            await self._connection.copy_records_to_table(table, columns=columns, records=rows)

    @asynccontextmanager
    async def savepoint(self) -> AsyncIterator[None]:
        """Roll back the block alone when it raises."""
        async with self._connection.transaction():
            yield


class Where:
    """A conjunction that is built up: `where.add("w.project_id = {}", project_id)`.

    `{}` becomes the next `$n`; several values fill several `{}`. Start it with the parameters
    that the statement has already.
    """

    __slots__ = ("_parts", "args")

    def __init__(self, *args: object) -> None:
        self.args: list[object] = list(args)
        self._parts: list[LiteralString] = []

    def param(self, value: object) -> LiteralString:
        """Add a value; its placeholder."""
        self.args.append(value)
        return _PLACEHOLDERS[len(self.args)]

    def add(self, condition: LiteralString, *values: object) -> Self:
        for value in values:
            condition = condition.replace("{}", self.param(value), 1)
        self._parts.append(condition)
        return self

    @property
    def sql(self) -> LiteralString:
        return " AND ".join(self._parts) if self._parts else "true"


_PLACEHOLDERS: list[LiteralString] = [f"${n}" for n in range(1000)]  # type: ignore[misc]


async def _prepare(connection: asyncpg.Connection) -> None:
    await connection.set_type_codec(
        "jsonb",
        encoder=lambda value: b"\x01" + msgspec.json.encode(value),
        decoder=lambda raw: msgspec.Raw(raw[1:]),
        schema="pg_catalog",
        format="binary",
    )


class Database:
    """The pools of one process."""

    def __init__(
        self, reading: Pool, custom_plans: Pool, writing: Pool, asynchronous_commit: Pool
    ) -> None:
        self._pools = reading, custom_plans, writing, asynchronous_commit
        self._writing, self._asynchronous_commit = writing, asynchronous_commit
        self.asynchronous_commit = Reader(asynchronous_commit)
        """As `writer`, but the commit does not wait for the disk: a crash of PostgreSQL may lose
        it, though never after something that was committed later."""
        self.reader = Reader(reading, Reader(custom_plans))
        self.writer = Reader(writing)
        """For one statement that changes something: it is a transaction by itself."""

    @classmethod
    async def connect(
        cls,
        url: str,
        *,
        size: int = POOL_SIZE,
        statement_timeout: float = 15.0,
        name: str = "rytask",
    ) -> Self:
        """Open the pools: `max_connections(size)` in all, each opened when first needed.

        `statement_timeout` is in seconds.
        """

        def pool(size: int, **more: str) -> Pool:
            async def open_() -> asyncpg.Connection:
                connection = await asyncpg.connect(
                    url,
                    timeout=5,
                    server_settings={
                        "application_name": name,
                        "statement_timeout": str(int(statement_timeout * 1000)),
                        "idle_in_transaction_session_timeout": "10000",
                        "jit": "off",
                        "timezone": "UTC",
                        **more,
                    },
                )
                await _prepare(connection)
                return connection

            return Pool(open_, size)

        plain, custom_plans = reading(size)
        return cls(
            pool(plain, default_transaction_read_only="on"),
            pool(
                custom_plans,
                default_transaction_read_only="on",
                plan_cache_mode="force_custom_plan",
            ),
            pool(size),
            pool(ASYNC_COMMIT_POOL_SIZE, synchronous_commit="off", lock_timeout="3000"),
        )

    @asynccontextmanager
    async def transaction(self, *, asynchronous_commit: bool = False) -> AsyncIterator[Tx]:
        """One transaction: committed when the block ends, rolled back when it raises.

        With `asynchronous_commit` it does not wait for the disk: for what may be done again.
        """
        pool = self._asynchronous_commit if asynchronous_commit else self._writing
        with translated():
            connection = await pool.acquire()
        reusable = False
        try:
            transaction = connection.transaction()
            with translated():
                await transaction.start()
            try:
                yield Tx(connection, self.asynchronous_commit)
            except BaseException:
                with translated():
                    await transaction.rollback()
                reusable = True
                raise
            with translated():
                await transaction.commit()
            reusable = True
        finally:
            pool.release(connection, reusable=reusable)

    async def close(self) -> None:
        await asyncio.gather(*(pool.close() for pool in self._pools))

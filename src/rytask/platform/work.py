"""The unit of work: who acts, in which transaction, and when.

A use case takes `Reading` or `Writing` as its first argument. Facts and jobs are gathered while it
runs and written by one statement just before the commit: one round trip. After the commit
the workers are notified; that may be lost.
"""

from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager
from datetime import UTC, datetime
from typing import Literal
from uuid import UUID

import msgspec

from rytask.platform.db import Database, Reader, Tx
from rytask.platform.events import Fact
from rytask.platform.ids import OrgId, UserId

Source = Literal["WEB", "SLACK", "MCP", "API", "SYSTEM"]
OrgRole = Literal["OWNER", "ADMIN", "MEMBER", "VIEWER", "GUEST"]


class Actor(msgspec.Struct, frozen=True, kw_only=True):
    """The caller. `user_id` is None for the system itself.

    `permissions` are those of the role, narrowed by the token's scopes. `token_id` is the personal
    access token in use, if one is, and `until` when it ends; `session_id` is the family of the
    session otherwise.
    """

    org_id: OrgId
    user_id: UserId | None
    role: OrgRole
    permissions: frozenset[str]
    scopes: tuple[str, ...] = ()
    workspace_id: UUID | None = None
    session_id: UUID | None = None
    token_id: UUID | None = None
    until: datetime | None = None
    source: Source = "API"

    @property
    def is_admin(self) -> bool:
        """Owners and admins pass every project's door."""
        return self.role in ("OWNER", "ADMIN")

    @property
    def me(self) -> UserId:
        """The person asking. Only for use cases that the system never calls."""
        if self.user_id is None:
            raise LookupError("the system has no inbox, no timer and no profile")
        return self.user_id


def system(org_id: OrgId, source: Source = "SYSTEM") -> Actor:
    """The organization's own hand, for reactions and jobs."""
    return Actor(org_id=org_id, user_id=None, role="OWNER", permissions=frozenset(), source=source)


class Reading:
    """The context of a use case that only reads."""

    __slots__ = ("_actor", "db", "now")

    def __init__(self, db: Reader, actor: Actor, now: datetime) -> None:
        self.db, self._actor, self.now = db, actor, now

    @property
    def actor(self) -> Actor:
        return self._actor

    @property
    def org_id(self) -> OrgId:
        return self._actor.org_id


class Writing(Reading):
    """The context of a use case that changes something: the same, inside one transaction."""

    __slots__ = ("_facts", "_jobs", "db")
    db: Tx

    def __init__(self, db: Tx, actor: Actor, now: datetime) -> None:
        super().__init__(db, actor, now)
        self._facts: list[tuple[Fact, Actor]] = []
        self._jobs: list[tuple[str, object, datetime | None]] = []

    @contextmanager
    def acting_as(self, actor: Actor) -> Iterator[None]:
        """Act as somebody else of the organization until the block ends, however it ends."""
        if actor.org_id != self.org_id:
            raise ValueError("a transaction belongs to one organization")
        before, self._actor = self._actor, actor
        try:
            yield
        finally:
            self._actor = before

    def record(self, fact: Fact) -> None:
        """Record a fact of whoever acts now: it is written with the commit, or not at all."""
        self._facts.append((fact, self._actor))

    def enqueue(self, job: str, arg: UUID | int | str, *, at: datetime | None = None) -> None:
        """Ask for a job after the commit: `module.verb` with an id, now or not before `at`."""
        self._jobs.append((job, arg, at))


# The mark is a shared lock that nobody waits for: see docs/adr/0002. Facts and jobs travel as JSON:
# the driver spends several times as much on an array for each of their columns.
_RECORD = """
WITH low AS MATERIALIZED (
    SELECT last_value FROM events_seq
), mark AS MATERIALIZED (
    SELECT pg_advisory_xact_lock_shared(last_value)::text FROM low
), fact AS (
    INSERT INTO events (org_id, seq, kind, project_id, subject_id, item_id, actor_id, source,
                        payload, at)
    SELECT $1, nextval('events_seq'), f.kind, f.project_id, f.subject_id, f.item_id, f.actor_id,
           f.source, f.payload, $2
      FROM mark, ROWS FROM (
           jsonb_to_recordset($3)
           AS (kind text, project_id uuid, subject_id uuid, item_id uuid, actor_id uuid,
               source text, payload jsonb)
           ) WITH ORDINALITY
           AS f (kind, project_id, subject_id, item_id, actor_id, source, payload, n)
     ORDER BY f.n
    RETURNING seq, kind
)
INSERT INTO jobs (org_id, name, arg, max_attempts, due_at)
SELECT $1, s.name, to_jsonb(fact.seq), s.max_attempts, now()
  FROM fact JOIN jsonb_to_recordset($4) AS s (kind text, name text, max_attempts int)
    ON s.kind = fact.kind
UNION ALL
SELECT $1, j.name, j.arg, j.max_attempts, coalesce(j.due_at, now())
  FROM jsonb_to_recordset($5) AS j (name text, arg jsonb, max_attempts int, due_at timestamptz)
"""

_ENQUEUE = """
INSERT INTO jobs (org_id, name, arg, max_attempts, due_at)
SELECT $1, j.name, j.arg, j.max_attempts, coalesce(j.due_at, now())
  FROM jsonb_to_recordset($2) AS j (name text, arg jsonb, max_attempts int, due_at timestamptz)
"""


class Work:
    """Opens units of work on one database.

    `subscribers` are the jobs that react to a kind of fact, `attempts` says how often a job may be
    tried, and `notify_workers` is called after a commit that left work for the workers.
    """

    def __init__(
        self,
        database: Database,
        *,
        subscribers: Mapping[str, Sequence[str]],
        attempts: Callable[[str], int],
        notify_workers: Callable[[], None],
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self.database = database
        self._attempts = attempts
        self._subscriptions = {
            kind: [{"kind": kind, "name": name, "max_attempts": attempts(name)} for name in names]
            for kind, names in subscribers.items()
        }
        self._notify_workers = notify_workers
        self.clock = clock

    def reading(self, actor: Actor) -> Reading:
        """Look, without a transaction. Each statement takes a connection of its own."""
        return Reading(self.database.reader, actor, self.clock())

    @asynccontextmanager
    async def writing(self, actor: Actor) -> AsyncIterator[Writing]:
        """Change things in one transaction; facts and jobs are written with it or not at all."""
        async with self.database.transaction() as tx:
            ctx = Writing(tx, actor, self.clock())
            yield ctx
            has_work = await self._flush(ctx)
        if has_work:
            self._notify_workers()

    def notify_workers(self) -> None:
        """Tell the workers that a statement of its own (`database.writer`) left work for them."""
        self._notify_workers()

    async def _flush(self, ctx: Writing) -> bool:
        facts = ctx._facts
        subscribed = [
            subscription
            for kind in {fact.kind for fact, _ in facts}
            for subscription in self._subscriptions.get(kind, ())
        ]
        jobs = [
            {"name": name, "arg": arg, "max_attempts": self._attempts(name), "due_at": at}
            for name, arg, at in ctx._jobs
        ]
        if facts:
            await ctx.db.execute(
                _RECORD,
                ctx.org_id,
                ctx.now,
                [
                    {
                        "kind": fact.kind,
                        "project_id": fact.project_id,
                        "subject_id": fact.subject_id,
                        "item_id": fact.item_id,
                        "actor_id": actor.user_id,
                        "source": actor.source,
                        "payload": fact.payload(),
                    }
                    for fact, actor in facts
                ],
                subscribed,
                jobs,
            )
        elif jobs:
            await ctx.db.execute(_ENQUEUE, ctx.org_id, jobs)
        return bool(jobs or subscribed)

"""Reactions: what follows from a fact. Nobody calls "notify"; who cares subscribes.

Each subscription is a job of its own, recorded with the fact: it runs in a worker, in its own
transaction, after the fact was committed, and its failure holds up nobody else's. It runs exactly
once as far as the database is concerned: the job is deleted by the same transaction.
"""

from collections import defaultdict
from collections.abc import Awaitable, Callable, Mapping, Sequence

from rytask.platform.db import Tx
from rytask.platform.events import AnyFact, RecordedFact
from rytask.platform.ids import OrgId
from rytask.platform.jobs import transactional
from rytask.platform.work import Writing

Reaction = Callable[[Writing, RecordedFact, AnyFact], Awaitable[None]]
_subscribers: dict[str, list[str]] = defaultdict(list)
_ATTEMPTS = 25


def on(fact: type[AnyFact]) -> Callable[[Reaction[AnyFact]], Reaction[AnyFact]]:
    """Subscribe a function to a fact, as the job `module.function`: the name is kept in the table
    of jobs, so a function that is renamed keeps its old name as a job until those are done."""

    def subscribe(reaction: Reaction[AnyFact]) -> Reaction[AnyFact]:
        _, _, module = reaction.__module__.rpartition("modules.")
        name = f"{module.partition('.')[0]}.{reaction.__name__}"

        @transactional(name, attempts=_ATTEMPTS)
        async def react(ctx: Writing, seq: int) -> None:
            recorded = await _recorded(ctx.db, ctx.org_id, seq)
            await reaction(ctx, recorded, recorded.fact(fact))

        _subscribers[fact.kind].append(name)
        return reaction

    return subscribe


def subscribers() -> Mapping[str, Sequence[str]]:
    """The jobs that react to a fact, by its kind."""
    return _subscribers


@transactional("facts.react", attempts=_ATTEMPTS)
async def enqueue_subscribers(ctx: Writing, seq: int) -> None:
    """Hand a fact to its subscribers: for what a version before this one has recorded."""
    recorded = await _recorded(ctx.db, ctx.org_id, seq)
    for name in _subscribers[recorded.kind]:
        ctx.enqueue(name, seq)


async def _recorded(tx: Tx, org_id: OrgId, seq: int) -> RecordedFact:
    return await tx.one(
        RecordedFact,
        "SELECT org_id, seq, kind, project_id, subject_id, item_id, actor_id, source,"
        "  payload, at"
        "  FROM events WHERE org_id = $1 AND seq = $2",
        org_id,
        seq,
    )

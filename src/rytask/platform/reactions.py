"""Reactions: what follows from a fact. Nobody calls "notify"; who cares subscribes.

Reactions of one fact run in one transaction, in a worker, after the fact was committed. They run
exactly once as far as the database is concerned: the job that runs them is deleted by the same
transaction.
"""

from collections import defaultdict
from collections.abc import Awaitable, Callable
from typing import Any

from rytask.platform.db import Tx
from rytask.platform.events import AnyFact, Fact, RecordedFact
from rytask.platform.ids import OrgId
from rytask.platform.jobs import transactional
from rytask.platform.work import Writing

Reaction = Callable[[Writing, RecordedFact, AnyFact], Awaitable[None]]
_reactions: dict[str, list[tuple[type[Fact], Reaction[Any]]]] = defaultdict(list)


def on(fact: type[AnyFact]) -> Callable[[Reaction[AnyFact]], Reaction[AnyFact]]:
    """Subscribe a function to a fact."""

    def subscribe(reaction: Reaction[AnyFact]) -> Reaction[AnyFact]:
        _reactions[fact.kind].append((fact, reaction))
        return reaction

    return subscribe


def subscribed_kinds() -> frozenset[str]:
    """The kinds of facts that somebody reacts to."""
    return frozenset(_reactions)


@transactional("facts.react", attempts=25)
async def react(ctx: Writing, seq: int) -> None:
    """Run every reaction to one recorded fact."""
    recorded = await _recorded(ctx.db, ctx.org_id, seq)
    for fact, reaction in _reactions[recorded.kind]:
        await reaction(ctx, recorded, recorded.fact(fact))


async def _recorded(tx: Tx, org_id: OrgId, seq: int) -> RecordedFact:
    return await tx.one(
        RecordedFact,
        "SELECT org_id, seq, kind, project_id, subject_id, actor_id, source, payload, at"
        "  FROM events WHERE org_id = $1 AND seq = $2",
        org_id,
        seq,
    )

"""Facts about the past: recorded with their own times and persons, and nobody reacts to them."""

from collections.abc import Sequence
from datetime import datetime
from typing import LiteralString, NamedTuple
from uuid import UUID

from rytask.platform.db import Reader, Tx
from rytask.platform.events import Fact
from rytask.platform.ids import OrgId, UserId


class PastFact(NamedTuple):
    fact: Fact
    actor_id: UserId | None
    source: str
    at: datetime


# The mark comes before the numbers, as in every record of facts: see docs/adr/0002.
_DRAW: LiteralString = (
    "WITH low AS MATERIALIZED (SELECT last_value FROM events_seq),"
    " mark AS MATERIALIZED (SELECT pg_advisory_xact_lock_shared(last_value)::text FROM low)"
    " SELECT nextval('events_seq') FROM mark, generate_series(1, $1)"
)


async def record(tx: Tx, org_id: OrgId, past: Sequence[PastFact]) -> None:
    """Record facts in this order, behind all that is in the feed. Do it last in a transaction."""
    numbers = await tx.values(_DRAW, len(past))
    await tx.copy(
        "events",
        (
            *("org_id", "seq", "kind", "project_id", "subject_id", "item_id", "actor_id"),
            *("source", "payload", "at"),
        ),
        [
            (
                org_id,
                seq,
                fact.kind,
                fact.project_id,
                fact.subject_id,
                fact.item_id,
                actor_id,
                source,
                fact.payload(),
                at,
            )
            for seq, (fact, actor_id, source, at) in zip(numbers, past, strict=True)
        ],
    )


async def subjects(db: Reader, org_id: OrgId, ids: Sequence[UUID]) -> set[UUID]:
    """The ids among these that a fact is about, whether they are still there or not."""
    return set(
        await db.values(
            "SELECT DISTINCT subject_id FROM events"
            " WHERE org_id = $1 AND coalesce(item_id, subject_id) = ANY ($2)",
            org_id,
            ids,
        )
    )

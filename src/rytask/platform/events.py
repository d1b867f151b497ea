"""Facts: past-tense records of what changed, in the same transaction as the change.

A row of `events` is at once activity, audit trail, outbox and feed. Rows are never changed.
`seq` rises, with holes; a reader that stays below the horizon never skips one (docs/adr/0002).
"""

from datetime import datetime
from typing import ClassVar, Literal, TypeVar
from uuid import UUID

import msgspec

from rytask.platform.ids import OrgId, ProjectId, UserId

Audience = Literal["project", "person", "organization", "members", "admins"]
"""Readers of a fact: those who may read its project or its item · the person who is its subject ·
everybody in the organization · those of them who may list the members · owners and admins."""


class Fact(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """Something that happened. Subclasses name their `kind` (`item.completed`) and their details.

    `subject_id` is what it happened to; `project_id` is the project that may be read to see it, and
    `item_id` the work item that it belongs to, where that is not the subject. A payload only grows,
    by members with a default: docs/reference/facts.md.
    """

    kind: ClassVar[str]
    audience: ClassVar[Audience] = "admins"
    subject_id: UUID
    project_id: ProjectId | None = None
    item_id: UUID | None = None

    def payload(self) -> dict[str, object]:
        """The details, without what has a column."""
        return {
            public: getattr(self, name)
            for name, public in zip(
                self.__struct_fields__, self.__struct_encode_fields__, strict=True
            )
            if name not in _COLUMNS
        }


_COLUMNS = ("subject_id", "project_id", "item_id")
AnyFact = TypeVar("AnyFact", bound=Fact)


class RecordedFact(msgspec.Struct, frozen=True):
    """A fact as it stands in the feed: who did it, from where, and when."""

    org_id: OrgId
    seq: int
    kind: str
    project_id: ProjectId | None
    subject_id: UUID
    item_id: UUID | None
    actor_id: UserId | None
    source: str
    payload: msgspec.Raw
    at: datetime

    def fact(self, of: type[AnyFact]) -> AnyFact:
        """Read the details back as the fact that was recorded."""
        details: dict[str, object] = msgspec.json.decode(self.payload)
        columns = {
            "subjectId": self.subject_id,
            "projectId": self.project_id,
            "itemId": self.item_id,
        }
        return msgspec.convert({**details, **columns}, of, strict=False)

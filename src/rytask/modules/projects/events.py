"""Facts about projects, members, statuses and labels."""

from typing import ClassVar
from uuid import UUID

from rytask.modules.projects.model import Category, ProjectRole
from rytask.platform.events import Audience, Fact
from rytask.platform.ids import UserId


class ProjectCreated(Fact, frozen=True, kw_only=True):
    kind: ClassVar[str] = "project.created"
    audience: ClassVar[Audience] = "project"
    name: str
    key_prefix: str


class ProjectChanged(Fact, frozen=True, kw_only=True):
    """`fields` are those that changed; their values are the project's own."""

    kind: ClassVar[str] = "project.changed"
    audience: ClassVar[Audience] = "project"
    fields: list[str]


class ProjectDeleted(Fact, frozen=True, kw_only=True):
    """Nobody can see it any more; what belongs to it is erased in the background."""

    kind: ClassVar[str] = "project.deleted"
    audience: ClassVar[Audience] = "project"
    name: str
    key_prefix: str


class ProjectMemberSet(Fact, frozen=True, kw_only=True):
    """Somebody's role in a project is now this one; None: they left."""

    kind: ClassVar[str] = "project.member_set"
    audience: ClassVar[Audience] = "project"
    user_id: UserId
    role: ProjectRole | None


class StatusCreated(Fact, frozen=True, kw_only=True):
    kind: ClassVar[str] = "status.created"
    audience: ClassVar[Audience] = "project"
    name: str
    category: Category


class StatusChanged(Fact, frozen=True, kw_only=True):
    kind: ClassVar[str] = "status.changed"
    audience: ClassVar[Audience] = "project"
    fields: list[str]


class StatusesReordered(Fact, frozen=True, kw_only=True):
    """The subject is the project."""

    kind: ClassVar[str] = "status.reordered"
    audience: ClassVar[Audience] = "project"
    ordered_ids: list[UUID]


class StatusDeleted(Fact, frozen=True, kw_only=True):
    """Its items, if it had any, are in `reassigned_to` now."""

    kind: ClassVar[str] = "status.deleted"
    audience: ClassVar[Audience] = "project"
    name: str
    reassigned_to: UUID | None


class LabelCreated(Fact, frozen=True, kw_only=True):
    kind: ClassVar[str] = "label.created"
    audience: ClassVar[Audience] = "organization"
    name: str


class LabelChanged(Fact, frozen=True, kw_only=True):
    kind: ClassVar[str] = "label.changed"
    audience: ClassVar[Audience] = "organization"
    fields: list[str]


class LabelDeleted(Fact, frozen=True, kw_only=True):
    """Its items, if any, carry `merged_into` now, if that is a label."""

    kind: ClassVar[str] = "label.deleted"
    audience: ClassVar[Audience] = "organization"
    name: str
    merged_into: UUID | None

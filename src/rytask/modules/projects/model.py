"""Projects, who works on them, the states their items go through, and labels."""

from datetime import datetime
from typing import Literal
from uuid import UUID

import msgspec

from rytask.platform.ids import ProjectId, UserId

ProjectRole = Literal["ADMIN", "MEMBER", "VIEWER"]
Category = Literal["BACKLOG", "UNSTARTED", "STARTED", "COMPLETED", "CANCELLED"]
CLOSED: tuple[Category, ...] = ("COMPLETED", "CANCELLED")


class Project(msgspec.Struct, frozen=True, rename="camel"):
    """`keyPrefix` starts the keys of its items (`OPS-12`) and never changes."""

    id: ProjectId
    name: str
    key_prefix: str
    description: str | None
    icon: str | None
    color: str | None
    lead_id: UserId | None
    archived_at: datetime | None
    created_at: datetime


class ProjectWithRole(Project, frozen=True):
    """A project, and how whoever asks stands to it."""

    workspace_id: UUID
    role: ProjectRole | None


class Status(msgspec.Struct, frozen=True, rename="camel"):
    """A state of a project's items. Statuses are shown in the order of `position`."""

    id: UUID
    name: str
    category: Category
    color: str | None
    position: int


class Label(msgspec.Struct, frozen=True, rename="camel"):
    """A word that items of any project in the workspace can carry."""

    id: UUID
    name: str
    color: str | None


class Member(msgspec.Struct, frozen=True, rename="camel"):
    user_id: UserId
    role: ProjectRole
    name: str


class Membership(msgspec.Struct, frozen=True, rename="camel"):
    user_id: UserId
    role: ProjectRole

"""Request bodies about projects, members, statuses and labels."""

from typing import Annotated
from uuid import UUID

from msgspec import UNSET, Meta, UnsetType

from rytask.modules.projects.model import Category, ProjectRole
from rytask.platform.http import Body, Query
from rytask.platform.ids import UserId
from rytask.platform.text import ONE_LINE

Name = Annotated[str, Meta(min_length=1, max_length=120, pattern=ONE_LINE)]
ShortName = Annotated[str, Meta(min_length=1, max_length=60, pattern=ONE_LINE)]
Description = Annotated[str, Meta(max_length=2000)]
Icon = Annotated[str, Meta(max_length=64)]
Color = Annotated[str, Meta(max_length=32, description="As in `#6366F1`.")]
KeyPrefix = Annotated[
    str,
    Meta(
        pattern=r"^[A-Z][A-Z0-9]{1,9}$(?!\n)",
        description="Starts the keys of items: OPS in OPS-12.",
    ),
]
Limit = Annotated[int, Meta(ge=1, le=200)]
Cursor = Annotated[str, Meta(max_length=1000, description="`nextCursor` of the page before.")]


class ProjectsQuery(Query):
    cursor: Cursor | None = None
    limit: Limit = 50
    include_archived: bool = False


class PageQuery(Query):
    cursor: Cursor | None = None
    limit: Limit = 50


class NewProject(Body):
    name: Name
    key_prefix: KeyPrefix
    description: Description | None = None
    icon: Icon | None = None
    color: Color | None = None
    lead_id: UserId | None = None


class ProjectChanges(Body):
    name: Name | UnsetType = UNSET
    description: Description | UnsetType | None = UNSET
    icon: Icon | UnsetType | None = UNSET
    color: Color | UnsetType | None = UNSET
    lead_id: UserId | UnsetType | None = UNSET
    archived: bool | UnsetType = UNSET


class NewMember(Body):
    user_id: UserId
    role: ProjectRole = "MEMBER"


class MemberChanges(Body):
    role: ProjectRole


class NewStatus(Body):
    name: ShortName
    category: Category
    color: Color | None = None
    position: Annotated[int, Meta(ge=0, le=10_000)] | None = None


class StatusChanges(Body):
    name: ShortName | UnsetType = UNSET
    category: Category | UnsetType = UNSET
    color: Color | UnsetType | None = UNSET


class StatusOrder(Body):
    ordered_ids: Annotated[list[UUID], Meta(min_length=1, max_length=1000)]


class NewLabel(Body):
    name: ShortName
    color: Color | None = None


class LabelChanges(Body):
    name: ShortName | UnsetType = UNSET
    color: Color | UnsetType | None = UNSET

"""Organizations and what belongs to them."""

from datetime import datetime
from typing import Literal, NewType
from uuid import UUID

import msgspec

from rytask.modules.identity.model import User
from rytask.platform.ids import OrgId, UserId
from rytask.platform.work import OrgRole

WorkspaceId = NewType("WorkspaceId", UUID)
InviteId = NewType("InviteId", UUID)
WeekStart = Literal["SUNDAY", "MONDAY"]


class WorkingHours(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """From HH:MM to HH:MM."""

    start: str = "09:00"
    end: str = "17:00"


class OrgSettings(msgspec.Struct, frozen=True, rename="camel", kw_only=True):
    """Settings of an organization. Days are numbered from Sunday, 0.

    `timezone` holds for whoever has not chosen their own, `notifyAt` for whoever joins from now on.
    """

    timezone: str = "UTC"
    locale: str = "en"
    week_start: WeekStart = "MONDAY"
    working_days: list[int] = msgspec.field(default_factory=lambda: [1, 2, 3, 4, 5])
    working_hours: WorkingHours = WorkingHours()
    logo_url: str | None = None
    allow_public_signup: bool = False
    notify_at: str = "09:00"


class Organization(msgspec.Struct, frozen=True):
    id: OrgId
    name: str
    slug: str
    settings: OrgSettings


class Workspace(msgspec.Struct, frozen=True):
    id: WorkspaceId
    name: str
    slug: str


class CreatedOrganization(msgspec.Struct, frozen=True):
    """A new organization, its first workspace and its owner."""

    org_id: OrgId
    workspace_id: WorkspaceId
    owner_id: UserId


class Whoami(msgspec.Struct, frozen=True, rename="camel"):
    """The caller, their place and their permissions."""

    user: User
    organization_id: OrgId
    active_workspace_id: UUID
    role: OrgRole
    scopes: list[str]
    workspaces: list[Workspace]


class Invite(msgspec.Struct, frozen=True, rename="camel"):
    """An open invitation. Without an e-mail address, whoever has the link may use it, once."""

    id: InviteId
    email: str | None
    role: OrgRole
    invited_by_user_id: UserId
    expires_at: datetime
    created_at: datetime


class CreatedInvite(Invite, frozen=True, rename="camel"):
    """A new invitation. Its link is shown this once."""

    accept_url: str


class Invitation(msgspec.Struct, frozen=True, rename="camel"):
    """An invitation as seen by whoever has its link."""

    organization_name: str
    role: OrgRole
    email: str | None


class OpenInvite(msgspec.Struct, frozen=True):
    """An invitation that can still be accepted, and where it leads."""

    id: InviteId
    org_id: OrgId
    organization_name: str
    email: str | None
    role: OrgRole
    invited_by_user_id: UserId
    mailed_token_hash: bytes | None
    workspace_id: WorkspaceId
    settings: msgspec.Raw

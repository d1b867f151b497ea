"""Request bodies."""

from typing import Annotated

from msgspec import UNSET, Meta, UnsetType

from rytask.modules.identity.schemas import Credentials, Email, NewPassword, PersonName, TimeOfDay
from rytask.modules.orgs.model import WeekStart, WorkspaceId
from rytask.platform.http import Body
from rytask.platform.ids import UserId
from rytask.platform.work import OrgRole

OrgName = PersonName


class HoursBody(Body):
    start: TimeOfDay
    end: TimeOfDay


class OrgBody(Body):
    name: OrgName | UnsetType = UNSET
    timezone: (
        Annotated[str, Meta(max_length=64, examples=["Europe/Berlin"], description="IANA")]
        | UnsetType
    ) = UNSET
    locale: (
        Annotated[str, Meta(max_length=35, pattern=r"^[A-Za-z]{2,3}(-[A-Za-z0-9]{2,8})*$(?!\n)")]
        | UnsetType
    ) = UNSET
    week_start: WeekStart | UnsetType = UNSET
    working_days: (
        Annotated[
            list[Annotated[int, Meta(ge=0, le=6)]],
            Meta(min_length=1, max_length=7, description="Days of the week; Sunday is 0"),
        ]
        | UnsetType
    ) = UNSET
    working_hours: HoursBody | UnsetType = UNSET
    logo_url: (
        Annotated[str, Meta(max_length=2048, pattern=r"^https?://[^\s/?#]\S*$(?!\n)")]
        | UnsetType
        | None
    ) = UNSET
    allow_public_signup: bool | UnsetType = UNSET
    notify_at: TimeOfDay | UnsetType = UNSET


class TransferBody(Body):
    to_user_id: UserId
    demote_self_to: OrgRole | None = None


class WorkspaceBody(Body):
    name: OrgName


class RoleBody(Body):
    role: OrgRole


class RegisterBody(Body):
    name: PersonName
    email: Email
    password: NewPassword
    organization: (
        Annotated[str, Meta(max_length=80, description="Its slug, where there are several")] | None
    ) = None


class LoginBody(Credentials):
    organization: (
        Annotated[str, Meta(max_length=80, description="Its slug, where there are several")] | None
    ) = None


class InviteBody(Body):
    role: OrgRole
    email: Email | None = None
    workspace_id: WorkspaceId | None = None
    expires_in_hours: Annotated[int, Meta(ge=1, le=8760)] = 168


class AcceptBody(Body):
    """The profile of somebody who joins; `email` where the invitation names none."""

    name: PersonName | None = None
    password: NewPassword | None = None
    email: Email | None = None

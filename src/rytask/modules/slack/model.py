"""Connections, people and channels of Slack, and what was captured there."""

from datetime import date, datetime
from typing import Any, Literal, NewType
from uuid import UUID

import msgspec

from rytask.platform.ids import OrgId, ProjectId, UserId
from rytask.platform.work import OrgRole

ConnectionId = NewType("ConnectionId", UUID)
CaptureId = NewType("CaptureId", UUID)
Kind = Literal["slash", "modal", "shortcut"]
State = Literal["accepted", "captured", "refused", "undone"]
Priority = Literal["URGENT", "HIGH", "MEDIUM", "LOW", "NONE"]
Json = dict[str, Any]


class Team(msgspec.Struct, frozen=True):
    """A Slack workspace."""

    id: str
    name: str


class Integration(msgspec.Struct, frozen=True, rename="camel"):
    """Whether Slack is connected. `configured`: this server has a Slack app to connect with."""

    status: Literal["not_connected", "connected"]
    configured: bool
    team: Team | None = None
    connected_at: datetime | None = None
    default_project_id: ProjectId | None = None


class Install(msgspec.Struct, frozen=True):
    """The address for an admin's browser. Good for ten minutes."""

    url: str


class InstallStart(msgspec.Struct, frozen=True):
    """The person who began an installation, their session or token, and when."""

    org_id: OrgId
    user_id: UserId
    credential_id: UUID
    at: datetime


class SlackUser(msgspec.Struct, frozen=True, rename="camel"):
    """Somebody in Slack, and who they are here."""

    slack_user_id: str
    slack_user_name: str
    slack_user_email: str | None
    mapped_user_id: UserId | None
    mapped_manually: bool


class Channel(msgspec.Struct, frozen=True, rename="camel"):
    """A channel whose captures go to a project of its own."""

    channel_id: str
    project_id: ProjectId


class Connection(msgspec.Struct, frozen=True):
    """An organization's connection to a team."""

    id: ConnectionId
    org_id: OrgId
    team_id: str
    team_name: str
    bot_token: bytes | None
    default_project_id: ProjectId | None
    sync_cursor: str | None
    connected_at: datetime
    revoked_at: datetime | None


class Grant(msgspec.Struct, frozen=True, kw_only=True):
    """Slack's grant to an app that was installed."""

    team: Team
    bot_user_id: str
    bot_token: str
    scopes: list[str]


class SlackProfile(msgspec.Struct, frozen=True):
    """Somebody in Slack, as Slack describes them. `email` only if Slack has confirmed it."""

    id: str
    name: str
    email: str | None


class CaptureRequest(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, rename="camel"):
    """A request to capture. `markup`: the text is written in Slack's markup."""

    text: str
    markup: bool = False
    description: str | None = None
    priority: Priority | None = None
    due_date: date | None = None
    permalink: str | None = None
    user_name: str | None = None


class Delivery(msgspec.Struct, frozen=True, kw_only=True):
    """One delivery from Slack: the same team, kind and trigger mean the same delivery."""

    team_id: str
    kind: Kind
    trigger: str
    slack_user_id: str
    channel_id: str | None
    request: CaptureRequest
    response_url: str | None = None


class LockedCapture(msgspec.Struct, frozen=True):
    """A capture, locked, with all that is needed to carry it out."""

    id: CaptureId
    connection_id: ConnectionId
    state: State
    request: msgspec.Raw
    slack_user_id: str
    outcome: msgspec.Raw | None
    item_id: UUID | None
    item_trashed: bool
    project_id: ProjectId | None
    reporter_id: UserId | None
    reporter_role: OrgRole | None
    capturer_recorded: bool
    created_at: datetime


class Capturer(msgspec.Struct, frozen=True):
    """A capture's owner."""

    org_id: OrgId
    slack_user_id: str


class TeamMember(msgspec.Struct, frozen=True):
    """Somebody in the team of a connection."""

    connection_id: ConnectionId
    slack_user_id: str


class MentionedUser(msgspec.Struct, frozen=True):
    """Somebody named in a text. `handle` is what the capture grammar knows them by, if it does."""

    slack_user_id: str
    name: str
    handle: str | None


class UnresolvedToken(msgspec.Struct, frozen=True):
    """A token that meant nothing and stayed in the title."""

    token: str
    kind: str


class Outcome(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, rename="camel"):
    """The outcome of a capture, for its confirmation.

    `refusal` says why it was refused, `note` why it cannot be undone any more.
    """

    text: str = ""
    key: str = ""
    title: str = ""
    priority: Priority = "NONE"
    due_date: date | None = None
    estimate_value: float | None = None
    unresolved: list[UnresolvedToken] = []
    refusal: str | None = None
    note: str = ""
    linked: bool = True


class PendingConfirmation(msgspec.Struct, frozen=True):
    """A confirmation to send. `posting_started`: a direct message of it may have been seen."""

    id: CaptureId
    connection_id: ConnectionId
    state: State
    outcome: msgspec.Raw
    item_id: UUID | None
    assignee: str | None
    response_url: bytes | None
    slack_user_id: str
    bot_token: bytes | None
    posting_started: bool

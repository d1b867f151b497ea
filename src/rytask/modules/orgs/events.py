"""Facts about an organization, its workspaces and its invitations."""

from typing import ClassVar

from rytask.platform.events import Audience, Fact
from rytask.platform.work import OrgRole


class OrgFounded(Fact, frozen=True, kw_only=True):
    """The subject is the organization."""

    kind: ClassVar[str] = "org.founded"
    name: str


class OrgChanged(Fact, frozen=True, kw_only=True):
    """Its name or its settings; the subject is the organization."""

    kind: ClassVar[str] = "org.settings_changed"
    audience: ClassVar[Audience] = "organization"
    fields: list[str]


class OrgDeleted(Fact, frozen=True, kw_only=True):
    """The subject is the organization."""

    kind: ClassVar[str] = "org.deleted"
    audience: ClassVar[Audience] = "organization"


class WorkspaceCreated(Fact, frozen=True, kw_only=True):
    """The subject is the workspace."""

    kind: ClassVar[str] = "workspace.created"
    audience: ClassVar[Audience] = "organization"
    name: str


class WorkspaceRenamed(Fact, frozen=True, kw_only=True):
    """The subject is the workspace."""

    kind: ClassVar[str] = "workspace.renamed"
    audience: ClassVar[Audience] = "organization"
    name: str


class InviteCreated(Fact, frozen=True, kw_only=True):
    """The subject of these is the invitation."""

    kind: ClassVar[str] = "invite.created"
    email: str | None
    role: OrgRole


class InviteAccepted(Fact, frozen=True, kw_only=True):
    kind: ClassVar[str] = "invite.accepted"
    role: OrgRole


class InviteRevoked(Fact, frozen=True, kw_only=True):
    kind: ClassVar[str] = "invite.revoked"

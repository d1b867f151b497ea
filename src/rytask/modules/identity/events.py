"""Facts about people, their sessions and their tokens. Together they are the audit log."""

from datetime import datetime
from typing import ClassVar, Literal
from uuid import UUID

from rytask.modules.identity.model import TokenType
from rytask.platform.events import Audience, Fact
from rytask.platform.work import OrgRole


class UserRegistered(Fact, frozen=True, kw_only=True):
    """Somebody joined the organization. The subject of all these is the person."""

    kind: ClassVar[str] = "user.registered"
    audience: ClassVar[Audience] = "members"
    role: OrgRole


class EmailVerified(Fact, frozen=True, kw_only=True):
    kind: ClassVar[str] = "user.email_verified"


class ProfileChanged(Fact, frozen=True, kw_only=True):
    kind: ClassVar[str] = "user.profile_changed"
    audience: ClassVar[Audience] = "members"
    fields: list[str]


class LockedOut(Fact, frozen=True, kw_only=True):
    """Too many wrong passwords from one address: that address has to wait."""

    kind: ClassVar[str] = "user.locked_out"
    address: str
    until: datetime


class PasswordChanged(Fact, frozen=True, kw_only=True):
    kind: ClassVar[str] = "password.changed"
    how: Literal["CHANGED", "RESET"]


class SessionStarted(Fact, frozen=True, kw_only=True):
    kind: ClassVar[str] = "session.started"
    session_id: UUID


class SessionsEnded(Fact, frozen=True, kw_only=True):
    kind: ClassVar[str] = "session.ended"
    session_ids: list[UUID]


class RefreshReused(Fact, frozen=True, kw_only=True):
    """A refresh token was used twice, so somebody else may have it: its session was ended."""

    kind: ClassVar[str] = "session.reuse_detected"
    session_id: UUID


class RoleChanged(Fact, frozen=True, kw_only=True):
    kind: ClassVar[str] = "member.role_changed"
    audience: ClassVar[Audience] = "members"
    was: OrgRole
    role: OrgRole


class MemberRemoved(Fact, frozen=True, kw_only=True):
    kind: ClassVar[str] = "member.removed"
    audience: ClassVar[Audience] = "members"


class MemberReturned(Fact, frozen=True, kw_only=True):
    """Somebody who had been removed came back by an invitation."""

    kind: ClassVar[str] = "member.returned"
    audience: ClassVar[Audience] = "members"
    role: OrgRole


class TokenCreated(Fact, frozen=True, kw_only=True):
    """The subject is the token."""

    kind: ClassVar[str] = "token.created"
    name: str
    type: TokenType
    scopes: list[str]
    expires_at: datetime | None


class TokenRevoked(Fact, frozen=True, kw_only=True):
    """The subject is the token."""

    kind: ClassVar[str] = "token.revoked"
    name: str

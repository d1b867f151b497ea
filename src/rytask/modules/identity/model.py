"""People, and what they sign in with."""

from datetime import datetime
from typing import Literal, LiteralString, NewType
from uuid import UUID

import msgspec

from rytask.platform.auth import Bearers
from rytask.platform.ids import OrgId, UserId
from rytask.platform.settings import Settings
from rytask.platform.work import OrgRole

SessionId = NewType("SessionId", UUID)
"""A family of refresh tokens: one sign-in, however often it was refreshed."""
TokenId = NewType("TokenId", UUID)
TokenType = Literal["PAT", "MCP"]
Purpose = Literal["EMAIL_VERIFY", "PASSWORD_RESET"]

MAILBOX: LiteralString = "lower(split_part(u.email, '@', 1))"
"""The handle that everybody has, in SQL: the first part of the address of `users u`."""


class User(msgspec.Struct, frozen=True, rename="camel"):
    """A person."""

    id: UserId
    email: str
    name: str
    email_verified: bool


class Person(msgspec.Struct, frozen=True):
    """A person, as other modules need them."""

    id: UserId
    name: str
    email: str


class Profile(msgspec.Struct, frozen=True, rename="camel"):
    """A person, and how they like it. Without a time zone, the organization's is theirs."""

    id: UserId
    email: str
    name: str
    email_verified: bool
    timezone: str | None
    notify_at: str


class Membership(msgspec.Struct, frozen=True, rename="camel"):
    """A person's role. `deactivatedAt` is when they were removed."""

    user_id: UserId
    user: User
    role: OrgRole
    deactivated_at: datetime | None


class AuthResult(msgspec.Struct, frozen=True, rename="camel"):
    """A session. The access token is good for `expiresIn` seconds, the refresh token once."""

    access_token: str
    refresh_token: str
    expires_in: int
    user: User


class Session(msgspec.Struct, frozen=True, rename="camel"):
    """One sign-in that is still good."""

    id: SessionId
    user_agent: str | None
    ip: str | None
    created_at: datetime
    last_used_at: datetime
    expires_at: datetime
    current: bool


class ApiToken(msgspec.Struct, frozen=True, rename="camel"):
    """A personal access token, without its secret."""

    id: TokenId
    name: str
    type: TokenType
    scopes: list[str]
    last_used_at: datetime | None
    expires_at: datetime | None
    created_at: datetime


class CreatedToken(ApiToken, frozen=True, rename="camel"):
    """A new token. Its secret is shown this once."""

    secret: str


class SessionContext(msgspec.Struct, frozen=True):
    """Everything that signing in takes, and the client's origin."""

    bearers: Bearers
    settings: Settings
    ip: str
    network: str
    """The unit that failures are counted by: the address, or its IPv6 network."""
    user_agent: str | None = None


class Newcomer(msgspec.Struct, frozen=True, kw_only=True):
    """Somebody about to join the organization. `notify_at` is HH:MM."""

    id: UserId
    email: str
    name: str
    password_hash: str
    role: OrgRole
    workspace_id: UUID
    verified: bool
    notify_at: str


class StoredCredentials(msgspec.Struct, frozen=True):
    """An account that an e-mail address may sign in to."""

    org_id: OrgId
    user_id: UserId
    password_hash: str | None


class ActiveMember(msgspec.Struct, frozen=True):
    """An active member, as a session needs them."""

    id: UserId
    email: str
    name: str
    email_verified: bool
    password_hash: str | None
    role: OrgRole
    workspace_id: UUID


class StoredSession(msgspec.Struct, frozen=True):
    """A refresh token as it is kept."""

    id: UUID
    org_id: OrgId
    user_id: UserId
    family_id: SessionId
    expires_at: datetime
    rotated_at: datetime | None
    revoked_at: datetime | None


class TokenInUse(msgspec.Struct, frozen=True):
    """A personal access token that is good now, and its owner."""

    id: TokenId
    org_id: OrgId
    user_id: UserId
    type: TokenType
    scopes: list[str]
    last_used_at: datetime | None
    expires_at: datetime | None
    role: OrgRole
    workspace_id: UUID


class Addressee(msgspec.Struct, frozen=True):
    """The recipient of a link."""

    org_id: OrgId
    user_id: UserId
    email_verified: bool


class Link(msgspec.Struct, frozen=True):
    """A one-time link that is still good, and whom it is for."""

    id: UUID
    org_id: OrgId
    user_id: UserId
    purpose: Purpose
    email: str
    name: str


class AttemptCount(msgspec.Struct, frozen=True):
    """The number of recent attempts, and the time until which more are refused."""

    times: int
    locked_until: datetime | None

"""Request bodies."""

from datetime import datetime
from typing import Annotated, Literal
from uuid import UUID

import msgspec
from msgspec import UNSET, Meta, UnsetType

from rytask.modules.identity.model import TokenType
from rytask.platform.http import Body
from rytask.platform.text import ONE_LINE

_LOCAL = r"[^\s@,;:<>()\[\]\\\"\x00-\x1f\x7f]+"

Email = Annotated[
    str,
    Meta(
        max_length=254,
        pattern=rf"^\s*{_LOCAL}@{_LOCAL}\s*$",
        description="An e-mail address. Upper and lower case are the same.",
    ),
]
PersonName = Annotated[
    str,
    Meta(
        min_length=1,
        max_length=120,
        pattern=ONE_LINE,
        description="A name, on one line",
    ),
]
NewPassword = Annotated[str, Meta(min_length=8, max_length=200)]
TimeOfDay = Annotated[
    str,
    Meta(pattern=r"^([01][0-9]|2[0-3]):[0-5][0-9]$(?!\n)", examples=["09:00"], description="HH:MM"),
]
Scope = Literal[
    "*",
    "self",
    "tokens:read",
    "tokens:write",
    "org:read",
    "workspace:read",
    "members:read",
    "org:settings:write",
    "members:invite",
    "members:write",
    "org:delete",
    "org:transfer",
    "work:read",
    "work:write",
]
_GivenPassword = Annotated[str, Meta(max_length=200)]
_OneTimeToken = Annotated[str, Meta(max_length=200, description="The last part of the link")]
_RevokeTokens = Annotated[bool, Meta(description="End your personal access tokens, too")]


class Credentials(Body):
    email: Email
    password: _GivenPassword


class RefreshBody(Body):
    refresh_token: Annotated[str, Meta(max_length=200)]


class EmailBody(Body):
    email: Email


class VerifyBody(Body):
    token: _OneTimeToken


class ResetBody(Body):
    token: _OneTimeToken
    new_password: NewPassword
    revoke_tokens: _RevokeTokens = False


class ChangePasswordBody(Body):
    current_password: _GivenPassword
    new_password: NewPassword
    revoke_tokens: _RevokeTokens = False


class ProfileBody(Body):
    name: PersonName | UnsetType = UNSET
    timezone: (
        Annotated[str, Meta(max_length=64, description="IANA; null: the organization's")]
        | UnsetType
        | None
    ) = UNSET
    notify_at: TimeOfDay | UnsetType = UNSET


class ActiveWorkspaceBody(Body):
    workspace_id: UUID


class TokenBody(Body):
    name: PersonName
    type: TokenType = "PAT"
    scopes: Annotated[
        list[Scope], Meta(max_length=20, description="None, or `*`: all that your role allows")
    ] = msgspec.field(default_factory=list)
    expires_at: Annotated[datetime, Meta(tz=True)] | None = None

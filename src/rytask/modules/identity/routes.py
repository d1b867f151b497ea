"""The HTTP routes of identity. What a session needs is gathered in a `SessionContext`."""

from rytask.modules.identity import links, service, sign_in
from rytask.modules.identity.model import (
    ApiToken,
    AuthResult,
    CreatedToken,
    Profile,
    Session,
    SessionId,
    TokenId,
)
from rytask.modules.identity.schemas import (
    ActiveWorkspaceBody,
    ChangePasswordBody,
    EmailBody,
    ProfileBody,
    RefreshBody,
    ResetBody,
    TokenBody,
    VerifyBody,
)
from rytask.platform.auth import Bearers
from rytask.platform.crypto import Passwords
from rytask.platform.http import Routes
from rytask.platform.operations import Client
from rytask.platform.settings import Settings
from rytask.platform.work import Reading, Work, Writing

routes = Routes("identity")


@routes.route(
    "POST", "/auth/refresh", public=True, operation_id="refresh", status=200, throttle="auth"
)
async def refresh(
    work: Work, bearers: Bearers, settings: Settings, client: Client, data: RefreshBody
) -> AuthResult:
    """Exchange a refresh token for a new pair of tokens.

    A refresh token is good once. Within ten seconds it gives the same successor again; presented
    later, its session is ended.
    """
    return await sign_in.refresh(
        work, sign_in.session_context(bearers, settings, client), data.refresh_token
    )


@routes.route(
    "POST", "/auth/logout", permission="self", operation_id="logout", status=204, throttle="auth"
)
async def logout(ctx: Writing) -> None:
    """Sign out everywhere. Access tokens stop working within a second."""
    await sign_in.sign_out(ctx)


@routes.route("GET", "/auth/sessions", permission="self", operation_id="list_sessions")
async def list_sessions(ctx: Reading) -> list[Session]:
    """List your sessions."""
    return await sign_in.sessions(ctx)


@routes.route("DELETE", "/auth/sessions/{id}", permission="self", operation_id="end_session")
async def end_session(ctx: Writing, id: SessionId) -> None:
    """Sign out in one place."""
    await sign_in.end_session(ctx, id)


@routes.route("GET", "/auth/profile", permission="self", operation_id="get_profile")
async def get_profile(ctx: Reading) -> Profile:
    """Your profile."""
    return await service.profile(ctx)


@routes.route("PATCH", "/auth/profile", permission="self", operation_id="update_profile")
async def update_profile(ctx: Writing, data: ProfileBody) -> Profile:
    """Change your name, your time zone, or when you are reminded."""
    return await service.change_profile(ctx, data)


@routes.route(
    "POST", "/auth/active-workspace", permission="self", operation_id="set_active_workspace"
)
async def set_active_workspace(ctx: Writing, data: ActiveWorkspaceBody) -> None:
    """Work in another workspace from now on. Access tokens have to be refreshed to follow."""
    await service.set_active_workspace(ctx, data.workspace_id)


@routes.route(
    "POST",
    "/auth/change-password",
    permission="self",
    operation_id="change_password",
    throttle="auth",
)
async def change_password(
    ctx: Writing,
    work: Work,
    passwords: Passwords,
    bearers: Bearers,
    settings: Settings,
    client: Client,
    data: ChangePasswordBody,
) -> None:
    """Set a new password. Your other sessions end, and your tokens if `revokeTokens` says so."""
    await sign_in.change_password(
        ctx,
        work,
        passwords,
        sign_in.session_context(bearers, settings, client),
        current=data.current_password,
        new=data.new_password,
        revoke_tokens=data.revoke_tokens,
    )


@routes.route(
    "POST",
    "/auth/request-verification",
    public=True,
    operation_id="request_verification",
    status=202,
    throttle="auth",
)
async def request_verification(work: Work, data: EmailBody) -> None:
    """Mail a link that verifies this address, if it has an account."""
    await links.request_link(work, data.email, "EMAIL_VERIFY")


@routes.route(
    "POST", "/auth/verify-email", public=True, operation_id="verify_email", throttle="auth"
)
async def verify_email(work: Work, data: VerifyBody) -> None:
    """Verify an address by the token of a mailed link."""
    await links.verify_email(work, data.token)


@routes.route(
    "POST",
    "/auth/request-password-reset",
    public=True,
    operation_id="request_password_reset",
    status=202,
    throttle="auth",
)
async def request_password_reset(work: Work, data: EmailBody) -> None:
    """Mail a link to choose a new password, if this address has an account."""
    await links.request_link(work, data.email, "PASSWORD_RESET")


@routes.route(
    "POST",
    "/auth/confirm-password-reset",
    public=True,
    operation_id="confirm_password_reset",
    throttle="auth",
)
async def confirm_password_reset(work: Work, passwords: Passwords, data: ResetBody) -> None:
    """Choose a new password by the token of a mailed link. All sessions end.

    Personal access tokens end with them if `revokeTokens` says so.
    """
    await links.reset_password(
        work, passwords, data.token, data.new_password, revoke_tokens=data.revoke_tokens
    )


@routes.route("GET", "/api-tokens", permission="tokens:read", operation_id="list_api_tokens")
async def list_api_tokens(ctx: Reading) -> list[ApiToken]:
    """Your personal access tokens, without their secrets."""
    return await service.tokens(ctx)


@routes.route(
    "POST",
    "/api-tokens",
    permission="tokens:write",
    operation_id="create_api_token",
)
async def create_api_token(ctx: Writing, data: TokenBody) -> CreatedToken:
    """Make a personal access token. Its secret is shown this once."""
    return await service.create_token(ctx, data)


@routes.route(
    "DELETE", "/api-tokens/{id}", permission="tokens:write", operation_id="revoke_api_token"
)
async def revoke_api_token(ctx: Writing, id: TokenId) -> None:
    """Revoke a personal access token. It stops working within a second."""
    await service.revoke_token(ctx, id)

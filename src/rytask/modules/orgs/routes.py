"""The HTTP routes of organizations, and those of signing in that need to know one."""

from rytask.modules.identity import service as identity
from rytask.modules.identity.model import AuthResult, Membership
from rytask.modules.orgs import joining, service
from rytask.modules.orgs.model import (
    CreatedInvite,
    Invitation,
    Invite,
    InviteId,
    Organization,
    Whoami,
    Workspace,
    WorkspaceId,
)
from rytask.modules.orgs.schemas import (
    AcceptBody,
    InviteBody,
    LoginBody,
    OrgBody,
    RegisterBody,
    RoleBody,
    TransferBody,
    WorkspaceBody,
)
from rytask.platform.auth import Bearers
from rytask.platform.crypto import Passwords
from rytask.platform.http import Routes
from rytask.platform.ids import UserId
from rytask.platform.operations import Client
from rytask.platform.settings import Settings
from rytask.platform.work import Actor, Reading, Work, Writing

routes = Routes("organization")


@routes.route("POST", "/auth/register", public=True, operation_id="register", throttle="auth")
async def register(
    work: Work,
    passwords: Passwords,
    bearers: Bearers,
    settings: Settings,
    client: Client,
    data: RegisterBody,
) -> AuthResult:
    """Join as a member, where the organization lets everybody in."""
    session_context = identity.session_context(bearers, settings, client)
    return await joining.register(work, passwords, session_context, data)


@routes.route("POST", "/auth/login", public=True, operation_id="login", status=200, throttle="auth")
async def login(
    work: Work,
    passwords: Passwords,
    bearers: Bearers,
    settings: Settings,
    client: Client,
    data: LoginBody,
) -> AuthResult:
    """Sign in with an e-mail address and a password.

    Say the `organization` where the address has accounts in several with one password.
    """
    session_context = identity.session_context(bearers, settings, client)
    return await joining.sign_in(work, passwords, session_context, data)


@routes.route("GET", "/auth/whoami", permission="self", operation_id="whoami")
async def whoami(ctx: Reading) -> Whoami:
    """Return who you are and what you may do."""
    return await service.whoami(ctx)


@routes.route("GET", "/orgs/current", permission="org:read", operation_id="get_org_settings")
async def get_org_settings(ctx: Reading) -> Organization:
    """Your organization and its settings."""
    return await service.current(ctx)


@routes.route(
    "PATCH", "/orgs/current", permission="org:settings:write", operation_id="update_org_settings"
)
async def update_org_settings(ctx: Writing, data: OrgBody) -> Organization:
    """Change the organization's name or settings."""
    return await service.change(ctx, data)


@routes.route("DELETE", "/orgs/current", permission="org:delete", operation_id="delete_org")
async def delete_org(ctx: Writing) -> None:
    """Delete the organization. Nobody's access works after a second."""
    await service.delete(ctx)


@routes.route(
    "POST",
    "/orgs/current/transfer-ownership",
    permission="org:transfer",
    operation_id="transfer_ownership",
)
async def transfer_ownership(ctx: Writing, data: TransferBody) -> None:
    """Make somebody an owner, and give up your own ownership if `demoteSelfTo` says so."""
    await service.transfer_ownership(ctx, data)


@routes.route("GET", "/workspaces", permission="workspace:read", operation_id="list_workspaces")
async def list_workspaces(ctx: Reading) -> list[Workspace]:
    """All workspaces of the organization."""
    return await service.workspaces(ctx)


@routes.route("GET", "/workspaces/{id}", permission="workspace:read", operation_id="get_workspace")
async def get_workspace(ctx: Reading, id: WorkspaceId) -> Workspace:
    """One workspace."""
    return await service.workspace(ctx, id)


@routes.route(
    "POST", "/workspaces", permission="org:settings:write", operation_id="create_workspace"
)
async def create_workspace(ctx: Writing, data: WorkspaceBody) -> Workspace:
    """Make a workspace."""
    return await service.create_workspace(ctx, data.name)


@routes.route(
    "PATCH", "/workspaces/{id}", permission="org:settings:write", operation_id="rename_workspace"
)
async def rename_workspace(ctx: Writing, id: WorkspaceId, data: WorkspaceBody) -> Workspace:
    """Rename a workspace."""
    return await service.rename_workspace(ctx, id, data.name)


@routes.route("GET", "/memberships", permission="members:read", operation_id="list_members")
async def list_members(ctx: Reading) -> list[Membership]:
    """Everybody in the organization, also who was removed."""
    return await identity.memberships(ctx)


@routes.route(
    "PATCH", "/memberships/{user_id}", permission="members:write", operation_id="set_member_role"
)
async def set_member_role(ctx: Writing, user_id: UserId, data: RoleBody) -> Membership:
    """Change a member's role. The last owner stays one."""
    return await service.set_role(ctx, user_id, data.role)


@routes.route(
    "DELETE", "/memberships/{user_id}", permission="members:write", operation_id="remove_member"
)
async def remove_member(ctx: Writing, user_id: UserId) -> None:
    """Remove a member. Their sessions and tokens stop working within a second."""
    await service.remove_member(ctx, user_id)


@routes.route("GET", "/invites", permission="members:read", operation_id="list_invites")
async def list_invites(ctx: Reading) -> list[Invite]:
    """The open invitations."""
    return await joining.invites(ctx)


@routes.route("POST", "/invites", permission="members:invite", operation_id="invite_member")
async def invite_member(ctx: Writing, settings: Settings, data: InviteBody) -> CreatedInvite:
    """Invite somebody, by mail where an address is given. The link is shown this once."""
    return await joining.invite(ctx, settings, data)


@routes.route("GET", "/invites/{token}", public=True, operation_id="get_invite")
async def get_invite(work: Work, token: str) -> Invitation:
    """Return an invitation to whoever has its link."""
    return await joining.invitation(work, token)


@routes.route(
    "POST",
    "/invites/{token}/accept",
    public=True,
    operation_id="accept_invite",
    status=200,
    throttle="auth",
)
async def accept_invite(
    work: Work,
    passwords: Passwords,
    bearers: Bearers,
    settings: Settings,
    client: Client,
    actor: Actor | None,
    token: str,
    data: AcceptBody,
) -> AuthResult:
    """Join by an invitation. Say your `email` if the invitation names none."""
    session_context = identity.session_context(bearers, settings, client)
    return await joining.accept(work, passwords, session_context, token, data, actor)


@routes.route(
    "DELETE", "/invites/{id}/_revoke", permission="members:invite", operation_id="revoke_invite"
)
async def revoke_invite(ctx: Writing, id: InviteId) -> None:
    """Revoke an invitation that nobody has accepted."""
    await joining.revoke_invite(ctx, id)

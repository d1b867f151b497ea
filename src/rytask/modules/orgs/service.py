"""Founding and running an organization: settings, workspaces, members, invitations."""

import secrets
from datetime import timedelta
from zoneinfo import ZoneInfo

import msgspec
from msgspec import UNSET, structs

from rytask.modules.identity import service as identity
from rytask.modules.identity.model import AuthResult, Door, Membership, Newcomer, User
from rytask.modules.orgs import queries, rules
from rytask.modules.orgs.events import (
    InviteAccepted,
    InviteCreated,
    InviteRevoked,
    OrgChanged,
    OrgDeleted,
    OrgFounded,
    WorkspaceCreated,
    WorkspaceRenamed,
)
from rytask.modules.orgs.model import (
    CreatedInvite,
    Founded,
    Invitation,
    Invite,
    InviteId,
    OpenInvite,
    Organization,
    OrgSettings,
    Whoami,
    WorkingHours,
    Workspace,
    WorkspaceId,
)
from rytask.modules.orgs.schemas import AcceptBody, InviteBody, OrgBody, RegisterBody, TransferBody
from rytask.platform import crypto
from rytask.platform.auth import RANK
from rytask.platform.crypto import Passwords
from rytask.platform.db import Dangling, Reader
from rytask.platform.errors import Conflict, Forbidden, Gone, Invalid, Malformed, NotFound
from rytask.platform.ids import OrgId, UserId, new_id
from rytask.platform.settings import Settings
from rytask.platform.work import Actor, OrgRole, Reading, Work, Writing, system


class LastOwner(Conflict):
    code = "org.last_owner"


class RoleAboveOwn(Forbidden):
    code = "member.role_above_own"


async def any_ever(db: Reader) -> bool:
    """Whether there has ever been an organization: the row of a deleted one stays for good."""
    return await queries.any_ever(db)


async def exists(db: Reader, org_id: OrgId) -> bool:
    """Whether there is this organization, deleted or not."""
    return await queries.exists(db, org_id)


async def found(
    ctx: Writing,
    *,
    organization_name: str,
    owner_name: str,
    owner_email: str,
    password_hash: str,
    slug: str | None = None,
    workspace_id: WorkspaceId | None = None,
    owner_id: UserId | None = None,
) -> Founded:
    """Found an organization, its first workspace, "Default", and its owner, who counts as verified.

    `ctx` is `work.writing(system(org_id))` with an id that is not used yet: it becomes that of the
    organization.
    """
    founded = Founded(
        ctx.org_id, workspace_id or WorkspaceId(new_id()), owner_id or UserId(new_id())
    )
    name = organization_name.strip()
    for free in _slugs(slug or name, "organization"):
        if await queries.insert_org(ctx.db, ctx.org_id, name, free, ctx.now):
            break
    ctx.record(OrgFounded(subject_id=ctx.org_id, name=name))
    await queries.insert_workspace(
        ctx.db, ctx.org_id, Workspace(founded.workspace_id, "Default", "default"), ctx.now
    )
    owner = Newcomer(
        id=founded.owner_id,
        email=owner_email.strip(),
        name=owner_name.strip(),
        password_hash=password_hash,
        role="OWNER",
        workspace_id=founded.workspace_id,
        verified=True,
        notify_at=OrgSettings().notify_at,
    )
    await identity.join(ctx, owner)
    return founded


async def current(ctx: Reading) -> Organization:
    """The organization of whoever asks."""
    return _organization(await queries.org(ctx.db, ctx.org_id))


async def settings_of(ctx: Reading) -> OrgSettings:
    """How the organization works."""
    return (await current(ctx)).settings


async def zone_of(ctx: Reading, user_id: UserId | None) -> ZoneInfo:
    """The time zone of a person, or of the organization where they have none of their own."""
    return ZoneInfo(await queries.zone_of(ctx.db, ctx.org_id, user_id))


async def change(ctx: Writing, body: OrgBody) -> Organization:
    """Change what is given of the name and the settings."""
    before = _organization(await queries.lock_org(ctx.db, ctx.org_id))
    given = {name: value for name, value in structs.asdict(body).items() if value is not UNSET}
    name = given.pop("name", before.name).strip()
    if "working_days" in given:
        given["working_days"] = sorted(set(given["working_days"]))
    if body.working_hours is not UNSET:
        given["working_hours"] = WorkingHours(body.working_hours.start, body.working_hours.end)
    after = structs.replace(before.settings, **given)
    _check(after)
    changed = [field for field in given if getattr(before.settings, field) != given[field]]
    if name != before.name:
        changed.insert(0, "name")
    if changed:
        await queries.update_org(ctx.db, ctx.org_id, name, after, ctx.now)
        ctx.record(OrgChanged(subject_id=ctx.org_id, fields=changed))
    return structs.replace(before, name=name, settings=after)


async def delete(ctx: Writing) -> None:
    """Delete the organization: nothing works for its people after a second.

    Its rows stay, at least its own: `/setup` stays closed. Their e-mail addresses are free at once.
    """
    await queries.delete_org(ctx.db, ctx.org_id, ctx.now)
    await identity.close_accounts(ctx)
    ctx.record(OrgDeleted(subject_id=ctx.org_id))


async def whoami(ctx: Reading) -> Whoami:
    """Who is asking, where, and what they may do with the token in use."""
    actor = ctx.actor
    me = await identity.profile(ctx)
    workspaces = await queries.workspaces(ctx.db, ctx.org_id)
    return Whoami(
        user=User(me.id, me.email, me.name, me.email_verified),
        organization_id=ctx.org_id,
        active_workspace_id=actor.workspace_id or workspaces[0].id,
        role=actor.role,
        scopes=sorted(actor.permissions),
        workspaces=workspaces,
    )


async def workspaces(ctx: Reading) -> list[Workspace]:
    """All workspaces, the oldest first."""
    return await queries.workspaces(ctx.db, ctx.org_id)


async def workspace(ctx: Reading, workspace_id: WorkspaceId) -> Workspace:
    return await queries.workspace(ctx.db, ctx.org_id, workspace_id)


async def create_workspace(ctx: Writing, name: str) -> Workspace:
    """Make a workspace. Its slug is made from its name, and stays."""
    name = name.strip()
    for slug in _slugs(name, "workspace"):
        workspace = Workspace(WorkspaceId(new_id()), name, slug)
        if await queries.insert_workspace(ctx.db, ctx.org_id, workspace, ctx.now):
            ctx.record(WorkspaceCreated(subject_id=workspace.id, name=name))
            return workspace
    raise LookupError("a random slug was taken")


async def rename_workspace(ctx: Writing, workspace_id: WorkspaceId, name: str) -> Workspace:
    name = name.strip()
    ctx.record(WorkspaceRenamed(subject_id=workspace_id, name=name))
    return await queries.rename_workspace(ctx.db, ctx.org_id, workspace_id, name)


async def set_role(ctx: Writing, user_id: UserId, role: OrgRole) -> Membership:
    """Change a member's role: neither to one above one's own, nor of somebody above oneself.

    The last owner stays one. Access tokens with the old role stop working within a second.
    """
    members = await identity.lock_members(ctx, user_id)
    member = _member(members, user_id)
    if not (rules.may_grant(ctx.actor.role, role) and rules.may_grant(ctx.actor.role, member.role)):
        raise RoleAboveOwn("Ask somebody whose role is as high as the ones involved.")
    await _change_role(ctx, members, member, role)
    return structs.replace(member, role=role)


async def remove_member(ctx: Writing, user_id: UserId) -> None:
    """Remove a member: sessions and tokens stop working within a second, open invitations too.

    The last owner cannot be removed.
    """
    members = await identity.lock_members(ctx, user_id)
    member = _member(members, user_id)
    if not rules.may_grant(ctx.actor.role, member.role):
        raise RoleAboveOwn("Only somebody with this member's role, or a higher one, can do that.")
    _keep_an_owner(members, member)
    await identity.remove(ctx, user_id)
    await queries.revoke_invites_of(ctx.db, ctx.org_id, user_id, list(RANK), ctx.now)


async def transfer_ownership(ctx: Writing, body: TransferBody) -> None:
    """Make somebody an owner, and give up one's own ownership where `demoteSelfTo` says so."""
    me = ctx.actor.me
    if body.to_user_id == me:
        raise Conflict("You own the organization already.", code="org.already_owner")
    members = await identity.lock_members(ctx, me, body.to_user_id)
    heir, self = _member(members, body.to_user_id), _member(members, me)
    if self.role != "OWNER":
        raise Conflict("You do not own the organization any more.", code="org.not_owner")
    if heir.role != "OWNER":
        await identity.set_role(ctx, heir.user_id, heir.role, "OWNER")
        members[heir.user_id] = structs.replace(heir, role="OWNER")
    if body.demote_self_to is not None:
        await _change_role(ctx, members, self, body.demote_self_to)


async def register(work: Work, passwords: Passwords, door: Door, body: RegisterBody) -> AuthResult:
    """Join as a member, where the organization lets everybody in."""
    org = await _open_to_all(work.database.reader, body.organization)
    hashed = await passwords.hash(body.password)
    newcomer = Newcomer(
        id=UserId(new_id()),
        email=body.email.strip(),
        name=body.name.strip(),
        password_hash=hashed,
        role="MEMBER",
        workspace_id=org.workspace_id,
        verified=False,
        notify_at=_organization(org).settings.notify_at,
    )
    async with work.writing(_joining(org.id, newcomer)) as ctx:
        await identity.join(ctx, newcomer)
        await identity.send_link(ctx, door.settings, newcomer.id, "EMAIL_VERIFY")
        return await identity.start_session(ctx, newcomer.id, door)


async def invites(ctx: Reading) -> list[Invite]:
    """The open invitations, the latest first."""
    return await queries.invites(ctx.db, ctx.org_id, ctx.now)


async def invite(ctx: Writing, settings: Settings, body: InviteBody) -> CreatedInvite:
    """Invite somebody: by mail where an address is given, and by the link in any case."""
    if not rules.may_grant(ctx.actor.role, body.role):
        raise RoleAboveOwn("You cannot invite somebody to a role above your own.")
    email = body.email.strip() if body.email else None
    if email:
        account = await identity.account_of(ctx, email)
        if account and account.deactivated_at is None:
            raise identity.EmailTaken("Somebody with this e-mail address is a member already.")
    invite_id = InviteId(new_id())
    secret = secret_of(settings, invite_id)
    created = CreatedInvite(
        id=invite_id,
        email=email,
        role=body.role,
        invited_by_user_id=ctx.actor.me,
        expires_at=ctx.now + timedelta(hours=body.expires_in_hours),
        created_at=ctx.now,
        accept_url=link_of(settings, invite_id),
    )
    try:
        await queries.insert_invite(
            ctx.db, ctx.org_id, created, body.workspace_id, crypto.digest(secret)
        )
    except Dangling:
        raise Invalid("There is no such workspace.", code="invite.unknown_workspace") from None
    ctx.record(InviteCreated(subject_id=invite_id, email=email, role=body.role))
    if email:
        ctx.enqueue("orgs.send_invite", invite_id)
    return created


async def revoke_invite(ctx: Writing, invite_id: InviteId) -> None:
    """Revoke an invitation that nobody has accepted."""
    if not await queries.revoke_invite(ctx.db, ctx.org_id, invite_id, ctx.now):
        raise NotFound("There is no such open invitation.")
    ctx.record(InviteRevoked(subject_id=invite_id))


async def invitation(work: Work, token: str) -> Invitation:
    """What an invitation says to whoever has its link. Raises Gone when it cannot be used."""
    invite = await _open(work, token)
    return Invitation(invite.organization_name, invite.role, invite.email)


async def accept(
    work: Work,
    passwords: Passwords,
    door: Door,
    token: str,
    body: AcceptBody,
    visitor: Actor | None,
) -> AuthResult:
    """Join by an invitation, once. Raises Gone when it was used, revoked or is too old.

    Somebody who was removed comes back with their old account, if the invitation names its address.
    """
    invite = await _open(work, token)
    name, email, password = _introduced(invite, body, visitor)
    account = await identity.account_of(work.reading(system(invite.org_id)), email)
    returns = account is not None and account.deactivated_at is not None and invite.email
    newcomer = Newcomer(
        id=account.user_id if account and returns else UserId(new_id()),
        email=email,
        name=name,
        password_hash=await passwords.hash(password),
        role=invite.role,
        workspace_id=invite.workspace_id,
        verified=invite.email is not None,
        notify_at=msgspec.json.decode(invite.settings, type=OrgSettings).notify_at,
    )
    async with work.writing(_joining(invite.org_id, newcomer)) as ctx:
        if not await queries.accept_invite(ctx.db, ctx.org_id, invite.id, ctx.now):
            raise _gone()
        if returns:
            await identity.come_back(ctx, newcomer)
        else:
            await identity.join(ctx, newcomer)
        if not newcomer.verified:
            await identity.send_link(ctx, door.settings, newcomer.id, "EMAIL_VERIFY")
        ctx.record(InviteAccepted(subject_id=invite.id, role=invite.role))
        return await identity.start_session(ctx, newcomer.id, door)


def secret_of(settings: Settings, invite_id: InviteId) -> str:
    """An invitation's secret: derived from its id, so that it is kept nowhere and can be mailed."""
    return crypto.successor(settings.signing_secret, f"rytask_inv_{invite_id}")


def link_of(settings: Settings, invite_id: InviteId) -> str:
    """Where an invitation is accepted."""
    return f"{settings.app_base_url}/invite/{secret_of(settings, invite_id)}"


def _organization(row: queries.OrgRow) -> Organization:
    settings = msgspec.json.decode(row.settings, type=OrgSettings)
    return Organization(row.id, row.name, row.slug, settings)


def _slugs(name: str, otherwise: str) -> tuple[str, str]:
    slug = rules.slug(name, otherwise)
    return slug, f"{slug}-{secrets.token_hex(4)}"


def _check(settings: OrgSettings) -> None:
    if not identity.is_zone(settings.timezone):
        raise Invalid(
            "There is no such time zone: use a name such as Europe/Berlin.",
            code="org.unknown_timezone",
        )
    if settings.working_hours.start >= settings.working_hours.end:
        raise Invalid("Working hours must start before they end.", code="org.bad_hours")


def _member(members: dict[UserId, Membership], user_id: UserId) -> Membership:
    if user_id not in members:
        raise NotFound("There is no such member, or they were removed.")
    return members[user_id]


async def _change_role(
    ctx: Writing, members: dict[UserId, Membership], member: Membership, role: OrgRole
) -> None:
    if role == member.role:
        return
    _keep_an_owner(members, member)
    await identity.set_role(ctx, member.user_id, member.role, role)
    await queries.revoke_invites_of(
        ctx.db, ctx.org_id, member.user_id, rules.roles_above(role), ctx.now
    )


def _keep_an_owner(members: dict[UserId, Membership], leaving: Membership) -> None:
    if not any(m.role == "OWNER" for m in members.values() if m.user_id != leaving.user_id):
        raise LastOwner("An organization needs an owner: make somebody else one first.")


async def _open_to_all(db: Reader, slug: str | None) -> queries.OrgRow:
    """The organization named by its slug, or the only one, if it lets everybody in."""
    if slug is not None:
        org = await queries.org_by_slug(db, slug)
    else:
        found = await queries.first_orgs(db)
        org = found[0] if len(found) == 1 else None
    if org is None or not _organization(org).settings.allow_public_signup:
        raise Forbidden("Ask for an invitation: nobody can sign up here.", code="signup.closed")
    return org


async def _open(work: Work, token: str) -> OpenInvite:
    invite = None
    if crypto.token_ok(token):
        invite = await queries.open_invite(work.database.reader, crypto.digest(token), work.clock())
    if invite is None:
        raise _gone()
    return invite


def _gone() -> Gone:
    return Gone(
        "This invitation was used, revoked or is too old: ask for a new one.", code="invite.gone"
    )


def _introduced(
    invite: OpenInvite, body: AcceptBody, visitor: Actor | None
) -> tuple[str, str, str]:
    """The name, the address and the password of somebody new."""
    if visitor is not None and body.password is None:
        if visitor.org_id == invite.org_id:
            raise Conflict("You are a member already.", code="invite.already_member")
        raise Conflict(
            "An account belongs to one organization: sign out, and join with another address.",
            code="invite.other_organization",
        )
    if body.name is None or body.password is None:
        raise Malformed("Choose a name and a password to join.", code="invite.who_are_you")
    email = (body.email or invite.email or "").strip()
    if not email:
        raise Malformed("Say your e-mail address to join.", code="invite.who_are_you")
    if invite.email and email.lower() != invite.email.lower():
        raise Invalid("This invitation is for another e-mail address.", code="invite.other_address")
    return body.name.strip(), email, body.password


def _joining(org_id: OrgId, newcomer: Newcomer) -> Actor:
    return Actor(org_id=org_id, user_id=newcomer.id, role="GUEST", permissions=frozenset())

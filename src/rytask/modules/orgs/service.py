"""Founding and running an organization: settings, workspaces and members."""

import secrets
from zoneinfo import ZoneInfo

import msgspec
from msgspec import UNSET, structs

from rytask.modules.identity import service as identity
from rytask.modules.identity.model import Membership, Newcomer, User
from rytask.modules.orgs import queries, rules
from rytask.modules.orgs.events import (
    OrgChanged,
    OrgDeleted,
    OrgFounded,
    WorkspaceCreated,
    WorkspaceRenamed,
)
from rytask.modules.orgs.model import (
    CreatedOrganization,
    Organization,
    OrgSettings,
    Whoami,
    WorkingHours,
    Workspace,
    WorkspaceId,
)
from rytask.modules.orgs.schemas import OrgBody, TransferBody
from rytask.platform import patch
from rytask.platform.auth import RANK
from rytask.platform.db import Reader
from rytask.platform.errors import Conflict, Forbidden, Invalid, NotFound
from rytask.platform.ids import OrgId, UserId, new_id
from rytask.platform.work import OrgRole, Reading, Writing


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


async def create_organization(
    ctx: Writing,
    *,
    organization_name: str,
    owner_name: str,
    owner_email: str,
    password_hash: str,
    slug: str | None = None,
    workspace_id: WorkspaceId | None = None,
    owner_id: UserId | None = None,
) -> CreatedOrganization:
    """Found an organization, its first workspace, "Default", and its owner, who counts as verified.

    `ctx` is `work.writing(system(org_id))` with an id that is not used yet: it becomes that of the
    organization.
    """
    founded = CreatedOrganization(
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
    await identity.create_account(ctx, owner)
    return founded


async def current(ctx: Reading) -> Organization:
    """The organization of whoever asks."""
    return _organization(await queries.org(ctx.db, ctx.org_id))


async def settings_of(ctx: Reading) -> OrgSettings:
    """Return the settings."""
    return (await current(ctx)).settings


async def zone_of(ctx: Reading, user_id: UserId | None) -> ZoneInfo:
    """The time zone of a person, or of the organization where they have none of their own."""
    return ZoneInfo(await queries.zone_of(ctx.db, ctx.org_id, user_id))


async def change(ctx: Writing, body: OrgBody) -> Organization:
    """Change what is given of the name and the settings."""
    before = _organization(await queries.lock_org(ctx.db, ctx.org_id))
    await identity.require_current(ctx, "org:settings:write")
    given = patch.sent_fields(body)
    name = given.pop("name", before.name)
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
    # The organization first: of two owners who delete it, one does not hold what the other needs.
    await queries.delete_org(ctx.db, ctx.org_id, ctx.now)
    await identity.require_current(ctx, "org:delete")
    await identity.close_accounts(ctx)
    ctx.record(OrgDeleted(subject_id=ctx.org_id))


async def whoami(ctx: Reading) -> Whoami:
    """Return the caller, and their permissions with the token in use."""
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
    members = await identity.lock_members(ctx, "members:write", user_id)
    member, own = _member(members, user_id), members[ctx.actor.me].role
    if not (rules.may_grant(own, role) and rules.may_grant(own, member.role)):
        raise RoleAboveOwn("Ask somebody whose role is as high as the ones involved.")
    await _change_role(ctx, members, member, role)
    return structs.replace(member, role=role)


async def remove_member(ctx: Writing, user_id: UserId) -> None:
    """Remove a member: sessions and tokens stop working within a second, open invitations too.

    The last owner cannot be removed.
    """
    members = await identity.lock_members(ctx, "members:write", user_id)
    member = _member(members, user_id)
    if not rules.may_grant(members[ctx.actor.me].role, member.role):
        raise RoleAboveOwn("Only somebody with this member's role, or a higher one, can do that.")
    _keep_an_owner(members, member)
    await identity.remove(ctx, user_id)
    await queries.revoke_invites_of(ctx.db, ctx.org_id, user_id, list(RANK), ctx.now)


async def transfer_ownership(ctx: Writing, body: TransferBody) -> None:
    """Make somebody an owner, and give up one's own ownership where `demoteSelfTo` says so."""
    me = ctx.actor.me
    if body.to_user_id == me:
        raise Conflict("You own the organization already.", code="org.already_owner")
    members = await identity.lock_members(ctx, "org:transfer", body.to_user_id)
    heir, self = _member(members, body.to_user_id), members[me]
    if heir.role != "OWNER":
        await identity.set_role(ctx, heir.user_id, heir.role, "OWNER")
        members[heir.user_id] = structs.replace(heir, role="OWNER")
    if body.demote_self_to is not None:
        await _change_role(ctx, members, self, body.demote_self_to)


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
        ctx.db, ctx.org_id, member.user_id, rules.not_invited_by(role), ctx.now
    )


def _keep_an_owner(members: dict[UserId, Membership], leaving: Membership) -> None:
    if not any(m.role == "OWNER" for m in members.values() if m.user_id != leaving.user_id):
        raise LastOwner("An organization needs an owner: make somebody else one first.")

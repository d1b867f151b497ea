"""Coming in: by an invitation, or alone where the organization lets everybody in."""

from datetime import timedelta
from uuid import UUID

import msgspec

from rytask.modules.identity import service as identity
from rytask.modules.identity.model import AuthResult, Newcomer, SessionContext
from rytask.modules.orgs import queries, rules
from rytask.modules.orgs.events import InviteAccepted, InviteCreated, InviteRevoked
from rytask.modules.orgs.model import (
    CreatedInvite,
    Invitation,
    Invite,
    InviteId,
    OpenInvite,
    OrgSettings,
)
from rytask.modules.orgs.schemas import AcceptBody, InviteBody, LoginBody, RegisterBody
from rytask.modules.orgs.service import RoleAboveOwn
from rytask.platform import crypto
from rytask.platform.crypto import Passwords
from rytask.platform.db import Dangling, Reader
from rytask.platform.errors import Conflict, Forbidden, Gone, Invalid, Malformed, NotFound
from rytask.platform.ids import OrgId, UserId, new_id
from rytask.platform.settings import Settings
from rytask.platform.work import Actor, Reading, Work, Writing, system

_MAX_CHECKS = 3
_NO_ORG = OrgId(UUID(int=0))


async def sign_in(
    work: Work, passwords: Passwords, session_context: SessionContext, body: LoginBody
) -> AuthResult:
    """Sign in with a password, to the organization that is named or to whichever it fits.

    How many accounts an address has does not show: as many passwords are compared for an address
    that has none. That is one where there is one organization, and three at most.
    """
    db, org_id, checks = work.database.reader, None, 1
    if body.organization is None:
        checks = await queries.count_orgs(db, _MAX_CHECKS) or 1
    else:
        org = await queries.org_by_slug(db, body.organization)
        org_id = org.id if org else _NO_ORG
    return await identity.sign_in(
        work,
        passwords,
        session_context,
        email=body.email,
        password=body.password,
        org_id=org_id,
        checks=checks,
    )


async def register(
    work: Work, passwords: Passwords, session_context: SessionContext, body: RegisterBody
) -> AuthResult:
    """Join as a member, where the organization lets everybody in."""
    org = await _org_open_to_all(work.database.reader, body.organization)
    hashed = await passwords.hash(body.password)
    newcomer = Newcomer(
        id=UserId(new_id()),
        email=body.email.strip(),
        name=body.name.strip(),
        password_hash=hashed,
        role="MEMBER",
        workspace_id=org.workspace_id,
        verified=False,
        notify_at=_settings(org).notify_at,
    )
    async with work.writing(_actor_joining(org.id, newcomer)) as ctx:
        await identity.create_account(ctx, newcomer)
        await identity.send_link(ctx, session_context.settings, newcomer.id, "EMAIL_VERIFY")
        return await identity.start_session(ctx, newcomer.id, session_context)


async def invites(ctx: Reading) -> list[Invite]:
    """The open invitations, the latest first."""
    return await queries.invites(ctx.db, ctx.org_id, ctx.now)


async def invite(ctx: Writing, settings: Settings, body: InviteBody) -> CreatedInvite:
    """Invite somebody: by mail where an address is given, and by the link in any case."""
    roles = await identity.require_current(ctx, "members:invite")
    if not rules.may_grant(roles[ctx.actor.me], body.role):
        raise RoleAboveOwn("You cannot invite somebody to a role above your own.")
    email = body.email.strip() if body.email else None
    if email:
        account = await identity.account_of(ctx, email)
        if account and account.deactivated_at is None:
            raise identity.EmailTaken("Somebody with this e-mail address is a member already.")
    invite_id = InviteId(new_id())
    shown, mailed = (secret_of(settings, invite_id, mailed=way) for way in (False, True))
    created = CreatedInvite(
        id=invite_id,
        email=email,
        role=body.role,
        invited_by_user_id=ctx.actor.me,
        expires_at=ctx.now + timedelta(hours=body.expires_in_hours),
        created_at=ctx.now,
        accept_url=link_of(settings, invite_id, mailed=False),
    )
    try:
        await queries.insert_invite(
            ctx.db,
            ctx.org_id,
            created,
            body.workspace_id,
            crypto.digest(shown),
            crypto.digest(mailed) if email else None,
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
    """Return an invitation for its link. Raises Gone when it cannot be used."""
    invite = await _open_invite(work, token)
    return Invitation(invite.organization_name, invite.role, invite.email)


async def accept(
    work: Work,
    passwords: Passwords,
    session_context: SessionContext,
    token: str,
    body: AcceptBody,
    visitor: Actor | None,
) -> AuthResult:
    """Join by an invitation, once. Raises Gone when it was used, revoked or is too old, or when
    whoever sent it may not grant its role any more.

    Somebody who was removed comes back with their old account, if the invitation names its address.
    """
    invite = await _open_invite(work, token)
    name, email, password = _name_and_password(invite, body, visitor)
    account = await identity.account_of(work.reading(system(invite.org_id)), email)
    returns = account is not None and account.deactivated_at is not None and invite.email
    newcomer = Newcomer(
        id=account.user_id if account and returns else UserId(new_id()),
        email=email,
        name=name,
        password_hash=await passwords.hash(password),
        role=invite.role,
        workspace_id=invite.workspace_id,
        # The link that its sender saw proves nothing; the other was only ever in the mail.
        verified=invite.mailed_token_hash == crypto.digest(token),
        notify_at=_settings(invite).notify_at,
    )
    async with work.writing(_actor_joining(invite.org_id, newcomer)) as ctx:
        # The inviter first, as whoever demotes them does, and then withdraws their invitations.
        inviter = await identity.current_role(ctx, invite.invited_by_user_id)
        if not rules.may_invite(inviter, invite.role):
            raise _inviter_gone()
        if not await queries.accept_invite(ctx.db, ctx.org_id, invite.id, ctx.now):
            raise _gone()
        if returns:
            await identity.reactivate(ctx, newcomer)
        else:
            await identity.create_account(ctx, newcomer)
        if not newcomer.verified:
            await identity.send_link(ctx, session_context.settings, newcomer.id, "EMAIL_VERIFY")
        ctx.record(InviteAccepted(subject_id=invite.id, role=invite.role))
        return await identity.start_session(ctx, newcomer.id, session_context)


def secret_of(settings: Settings, invite_id: InviteId, *, mailed: bool) -> str:
    """An invitation's secret, the one that is shown or the one that is only mailed.

    It is derived from the id, so that it is kept nowhere and can be mailed.
    """
    way = "/mailed" if mailed else ""
    return crypto.successor(settings.signing_secret, f"rytask_inv_{invite_id}{way}")


def link_of(settings: Settings, invite_id: InviteId, *, mailed: bool) -> str:
    """Return an invitation's link."""
    return f"{settings.app_base_url}/invite/{secret_of(settings, invite_id, mailed=mailed)}"


async def _org_open_to_all(db: Reader, slug: str | None) -> queries.OrgRow:
    """The organization named by its slug, or the only one, if it lets everybody in."""
    if slug is not None:
        org = await queries.org_by_slug(db, slug)
    else:
        found = await queries.first_orgs(db)
        org = found[0] if len(found) == 1 else None
    if org is None or not _settings(org).allow_public_signup:
        raise Forbidden("Ask for an invitation: nobody can sign up here.", code="signup.closed")
    return org


def _settings(kept: queries.OrgRow | OpenInvite) -> OrgSettings:
    return msgspec.json.decode(kept.settings, type=OrgSettings)


async def _open_invite(work: Work, token: str) -> OpenInvite:
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


def _inviter_gone() -> Gone:
    return Gone(
        "Whoever invited you may not do so any more: ask for a new invitation.",
        code="invite.inviter_gone",
    )


def _name_and_password(
    invite: OpenInvite, body: AcceptBody, visitor: Actor | None
) -> tuple[str, str, str]:
    """The name, the address and the password of somebody new."""
    if visitor is not None and body.password is None:
        if visitor.org_id == invite.org_id:
            raise Conflict("You are a member already.", code="invite.already_member")
        raise Conflict(
            "You are signed in to another organization: choose a name and a password to join.",
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


def _actor_joining(org_id: OrgId, newcomer: Newcomer) -> Actor:
    return Actor(org_id=org_id, user_id=newcomer.id, role="GUEST", permissions=frozenset())

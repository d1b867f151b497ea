"""The people of an organization, their roles and their tokens; and what it takes to let one in."""

from collections.abc import Sequence
from contextlib import suppress
from datetime import timedelta
from typing import cast
from uuid import UUID

from msgspec import structs

from rytask.modules.identity import rules
from rytask.modules.identity.events import (
    MemberRemoved,
    MemberReturned,
    ProfileChanged,
    RoleChanged,
    TokenCreated,
    TokenRevoked,
    UserRegistered,
)
from rytask.modules.identity.links import send_link as send_link
from rytask.modules.identity.model import (
    ApiToken,
    CreatedToken,
    Membership,
    Newcomer,
    Person,
    Profile,
    TokenId,
    TokenInUse,
    User,
)
from rytask.modules.identity.queries import accounts, api_tokens, credentials
from rytask.modules.identity.schemas import ProfileBody, TokenBody
from rytask.modules.identity.sign_in import session_context as session_context
from rytask.modules.identity.sign_in import sign_in as sign_in
from rytask.modules.identity.sign_in import start_session as start_session
from rytask.platform import auth, crypto, patch
from rytask.platform.auth import LookUp, permissions
from rytask.platform.db import Dangling, Duplicate, Reader
from rytask.platform.errors import (
    Conflict,
    Forbidden,
    Invalid,
    NotFound,
    Unavailable,
)
from rytask.platform.ids import UserId, new_id
from rytask.platform.work import Actor, OrgRole, Reading, Work, Writing

_LAST_USED_PRECISION = timedelta(minutes=1)


class EmailTaken(Conflict):
    code = "user.email_taken"


class NotPermitted(Forbidden):
    code = "member.not_permitted"


async def profile(ctx: Reading) -> Profile:
    return await accounts.profile(ctx.db, ctx.org_id, ctx.actor.me)


async def change_profile(ctx: Writing, body: ProfileBody) -> Profile:
    """Change what is given."""
    before = await accounts.profile(ctx.db, ctx.org_id, ctx.actor.me)
    given = patch.sent_fields(body)
    if given.get("timezone") is not None and not rules.is_zone(given["timezone"]):
        raise Invalid(
            "There is no such time zone: use a name such as Europe/Berlin.",
            code="user.unknown_timezone",
        )
    changed = [name for name, value in given.items() if getattr(before, name) != value]
    if not changed:
        return before
    after = structs.replace(before, **given)
    await accounts.update_profile(ctx.db, ctx.org_id, after)
    ctx.record(ProfileChanged(subject_id=after.id, fields=changed))
    return after


async def set_active_workspace(ctx: Writing, workspace_id: UUID) -> None:
    """Work in this workspace from now on. Access tokens have to be refreshed to follow."""
    try:
        await accounts.set_active_workspace(ctx.db, ctx.org_id, ctx.actor.me, workspace_id)
    except Dangling:
        raise NotFound("There is no such workspace.") from None
    await auth.revoke(ctx.db, ctx.actor.me)


async def tokens(ctx: Reading) -> list[ApiToken]:
    """The person's tokens that were not revoked, the latest first."""
    return await api_tokens.of(ctx.db, ctx.org_id, ctx.actor.me)


async def create_token(ctx: Writing, body: TokenBody) -> CreatedToken:
    """Create a token. One made with a token may do no more than that token."""
    await require_current(ctx, "tokens:write")
    if body.expires_at is not None and body.expires_at <= ctx.now:
        raise Invalid("expiresAt must lie in the future.", code="token.expired")
    scopes = sorted(set(body.scopes))
    own = ctx.actor.scopes or ("*",)
    # Scopes are compared, not what they allow today: a role may grow.
    if "*" not in own and not set(scopes or ("*",)) <= set(own):
        raise Forbidden(
            "A token cannot make one that may do more: give it fewer scopes.",
            code="token.beyond_own_scopes",
        )
    until = ctx.actor.until
    if until is not None and (body.expires_at is None or body.expires_at > until):
        raise Forbidden(
            "A token cannot make one that outlives it: give it an earlier end.",
            code="token.beyond_own_end",
        )
    secret = crypto.token(f"rytask_{body.type.lower()}_")
    token = CreatedToken(
        id=TokenId(new_id()),
        name=body.name.strip(),
        type=body.type,
        scopes=cast("list[str]", scopes),
        last_used_at=None,
        expires_at=body.expires_at,
        created_at=ctx.now,
        secret=secret,
    )
    await api_tokens.insert(ctx.db, ctx.org_id, ctx.actor.me, token, crypto.digest(secret))
    ctx.record(
        TokenCreated(
            subject_id=token.id,
            name=token.name,
            type=token.type,
            scopes=token.scopes,
            expires_at=token.expires_at,
        )
    )
    return token


async def revoke_token(ctx: Writing, token_id: TokenId) -> None:
    """Revoke a token of one's own. It stops working within a second."""
    token = await api_tokens.revoke(ctx.db, ctx.org_id, ctx.actor.me, token_id, ctx.now)
    await auth.revoke(ctx.db, token.id)
    ctx.record(TokenRevoked(subject_id=token.id, name=token.name))


def pat_reader(work: Work) -> LookUp:
    """Return the look-up of a personal access token."""

    async def look_up(secret: str) -> Actor | None:
        if not secret.startswith(("rytask_pat_", "rytask_mcp_")) or not crypto.token_ok(secret):
            return None
        now = work.clock()
        token = await api_tokens.in_use(work.database.reader, crypto.digest(secret), now)
        if token is None:
            return None
        if token.last_used_at is None or token.last_used_at <= now - _LAST_USED_PRECISION:
            with suppress(Unavailable):
                async with work.database.transaction() as tx:
                    await api_tokens.mark_used(tx, token.org_id, token.id, now)
        return _actor_of(token)

    return look_up


def is_zone(name: str) -> bool:
    """Whether it is the name of an IANA time zone."""
    return rules.is_zone(name)


async def people(ctx: Reading, ids: Sequence[UserId]) -> dict[UserId, Person]:
    """These people by id, also those who were removed; who is unknown is missing."""
    found = await accounts.people(ctx.db, ctx.org_id, ids)
    return {person.id: person for person in found}


async def members(ctx: Reading) -> list[Person]:
    """Everybody who was not removed, by name."""
    return await accounts.members(ctx.db, ctx.org_id)


async def memberships(ctx: Reading) -> list[Membership]:
    """Everybody, also who was removed, by name."""
    return [_membership(row) for row in await accounts.memberships(ctx.db, ctx.org_id)]


async def require_current(
    ctx: Writing, permission: str, *user_ids: UserId
) -> dict[UserId, OrgRole]:
    """Require that the actor's present role has a permission, and lock the membership.

    For what gives access to others: a token tells the role of half a second ago, and what it was
    good for would last. Returns the present roles of the actor and of `user_ids`, without whoever
    was removed; nobody changes them until we commit. The system is always permitted.
    """
    me = ctx.actor.user_id
    wanted = user_ids if me is None else (me, *user_ids)
    rows = await accounts.lock_roles(ctx.db, ctx.org_id, wanted) if wanted else []
    roles: dict[UserId, OrgRole] = {row.user_id: row.role for row in rows}
    _permit(ctx.actor, None if me is None else roles.get(me), permission)
    return roles


async def current_role(ctx: Writing, user_id: UserId) -> OrgRole | None:
    """The role of a member, which stays so until we commit; None for who was removed."""
    rows = await accounts.lock_roles(ctx.db, ctx.org_id, [user_id])
    return rows[0].role if rows else None


async def lock_members(
    ctx: Writing, permission: str, *user_ids: UserId
) -> dict[UserId, Membership]:
    """Lock the actor, these members and every owner, unless removed, in order to change them.

    Refuses as `require_current` does. All are locked by one statement, in one order, so that two
    people who change each other do not wait for each other.
    """
    me = ctx.actor.user_id
    wanted = user_ids if me is None else (me, *user_ids)
    rows = await accounts.lock_members(ctx.db, ctx.org_id, wanted)
    members = {row.user_id: _membership(row) for row in rows}
    mine = None if me is None else members.get(me)
    _permit(ctx.actor, mine and mine.role, permission)
    return members


async def has_account(db: Reader, email: str) -> bool:
    """Whether an address signs in to any organization. For operators: it tells who is here."""
    return bool(await credentials.accounts_of(db, email, None, 1))


async def account_of(ctx: Reading, email: str) -> Membership | None:
    """The account with this address in this organization, also of somebody who was removed."""
    row = await accounts.account_of(ctx.db, ctx.org_id, email)
    return None if row is None else _membership(row)


async def create_account(ctx: Writing, newcomer: Newcomer) -> None:
    """Make an account. Raises EmailTaken."""
    try:
        await accounts.insert_user(ctx.db, ctx.org_id, newcomer, ctx.now)
    except Duplicate as duplicate:
        if str(duplicate) == "users_email":
            raise EmailTaken("This e-mail address has an account already: sign in.") from None
        raise
    ctx.record(UserRegistered(subject_id=newcomer.id, role=newcomer.role))


async def reactivate(ctx: Writing, newcomer: Newcomer) -> None:
    """Let somebody who had been removed in again, with a new password. Raises EmailTaken."""
    if not await accounts.reactivate(ctx.db, ctx.org_id, newcomer, ctx.now):
        raise EmailTaken("This e-mail address has an account already: sign in.")
    ctx.record(MemberReturned(subject_id=newcomer.id, role=newcomer.role))


async def set_role(ctx: Writing, user_id: UserId, was: OrgRole, role: OrgRole) -> None:
    """Change a role. Access tokens with the old one stop working within a second."""
    await accounts.set_role(ctx.db, ctx.org_id, user_id, role)
    await auth.revoke(ctx.db, user_id)
    ctx.record(RoleChanged(subject_id=user_id, was=was, role=role))


async def remove(ctx: Writing, user_id: UserId) -> None:
    """Remove a member: their sessions and tokens stop working within a second."""
    await accounts.deactivate(ctx.db, ctx.org_id, user_id, ctx.now)
    await credentials.end_sessions(ctx.db, ctx.org_id, user_id, ctx.now)
    await api_tokens.revoke_all(ctx.db, ctx.org_id, user_id, ctx.now)
    await auth.revoke(ctx.db, user_id)
    ctx.record(MemberRemoved(subject_id=user_id))


async def close_accounts(ctx: Writing) -> None:
    """Close every account of the organization. Nothing of theirs works after a second."""
    await accounts.close_accounts(ctx.db, ctx.org_id, ctx.now)
    await auth.revoke(ctx.db, ctx.org_id)


def _permit(actor: Actor, role: OrgRole | None, permission: str) -> None:
    if actor.user_id is None:
        return
    if role is None or permission not in permissions(role, actor.scopes):
        raise NotPermitted(
            "Your role was changed or taken away, and does not allow this. Ask an admin."
        )


def _actor_of(token: TokenInUse) -> Actor:
    scopes = tuple(token.scopes)
    return Actor(
        org_id=token.org_id,
        user_id=token.user_id,
        role=token.role,
        permissions=permissions(token.role, scopes),
        scopes=scopes,
        workspace_id=token.workspace_id,
        token_id=token.id,
        until=token.expires_at,
        source="MCP" if token.type == "MCP" else "API",
    )


def _membership(row: accounts.MemberRow) -> Membership:
    user = User(row.user_id, row.email, row.name, row.email_verified)
    return Membership(row.user_id, user, row.role, row.deactivated_at)

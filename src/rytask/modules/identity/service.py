"""Signing in and out, passwords, personal access tokens, and the people of an organization."""

from collections.abc import Sequence
from contextlib import suppress
from datetime import datetime, timedelta
from math import ceil
from typing import cast
from uuid import UUID

from msgspec import UNSET, structs

from rytask.modules.identity import queries, rules
from rytask.modules.identity.events import (
    EmailVerified,
    LockedOut,
    MemberRemoved,
    MemberReturned,
    PasswordChanged,
    ProfileChanged,
    RefreshReused,
    RoleChanged,
    SessionsEnded,
    SessionStarted,
    TokenCreated,
    TokenRevoked,
    UserRegistered,
)
from rytask.modules.identity.model import (
    ApiToken,
    AuthResult,
    CreatedToken,
    Door,
    Knock,
    Membership,
    Newcomer,
    Person,
    Profile,
    Purpose,
    Session,
    SessionId,
    Standing,
    TokenId,
    TokenInUse,
    User,
)
from rytask.modules.identity.schemas import ProfileBody, TokenBody
from rytask.platform import auth, crypto
from rytask.platform.auth import PERMISSIONS_OF, Bearers, LookUp, permissions
from rytask.platform.crypto import Passwords
from rytask.platform.db import Dangling, Duplicate
from rytask.platform.errors import (
    Conflict,
    Forbidden,
    Gone,
    Invalid,
    NotFound,
    TooMany,
    Unauthenticated,
    Unavailable,
)
from rytask.platform.http import Request
from rytask.platform.ids import OrgId, UserId, new_id
from rytask.platform.settings import Settings
from rytask.platform.work import Actor, OrgRole, Reading, Work, Writing, system

_NOWHERE = OrgId(UUID(int=0))
_PREFIX: dict[Purpose, str] = {"EMAIL_VERIFY": "rytask_ver_", "PASSWORD_RESET": "rytask_rst_"}
_GOOD_FOR: dict[Purpose, timedelta] = {
    "EMAIL_VERIFY": timedelta(hours=48),
    "PASSWORD_RESET": timedelta(hours=1),
}
_LINKS, _LINKS_WINDOW = 5, timedelta(minutes=15)
_USED_AGAIN = timedelta(minutes=1)


class EmailTaken(Conflict):
    code = "user.email_taken"


class WrongCredentials(Unauthenticated):
    code = "auth.invalid_credentials"


# Passwords are hashed and compared while no connection is held: it takes 20 ms or more.


async def sign_in(
    work: Work,
    passwords: Passwords,
    door: Door,
    *,
    email: str,
    password: str,
) -> AuthResult:
    """Start a session with a password.

    A wrong password and an unknown address look alike and take as long. After too many failures
    for one e-mail from one address, nothing is accepted for that pair for a while.
    """
    knock = await _admit(work, passwords, door, email=email, password=password)
    better = None
    if passwords.needs_rehash(cast("str", knock.password_hash)):
        better = await passwords.hash(password)
    async with work.writing(_by(knock)) as ctx:
        locked_until = await queries.forget_tries(ctx.db, email, door.ip)
        if locked_until and locked_until > ctx.now:
            raise _locked(locked_until, ctx.now)
        standing = await queries.standing(ctx.db, ctx.org_id, ctx.actor.me)
        if standing is None or standing.password_hash != knock.password_hash:
            raise _wrong()
        result = await _start(ctx, standing, door)
    if better:
        # Apart: the session's transaction shares its lock on the person with other sign-ins.
        async with work.database.transaction() as tx:
            await queries.replace_password(
                tx, ctx.org_id, ctx.actor.me, knock.password_hash, better
            )
    return result


def door(bearers: Bearers, settings: Settings, request: Request) -> Door:
    """The door that a request stands before."""
    agent = request.header(b"user-agent")
    return Door(bearers, settings, request.ip, agent[:200] if agent else None)


async def start_session(ctx: Writing, user_id: UserId, door: Door) -> AuthResult:
    """Start a session for somebody who has just proved who they are."""
    standing = await queries.standing(ctx.db, ctx.org_id, user_id)
    if standing is None:
        raise _wrong()
    return await _start(ctx, standing, door)


async def refresh(work: Work, door: Door, token: str) -> AuthResult:
    """Exchange a refresh token for its successor and a new access token.

    Presented again within ten seconds (or at the same time), it gives the same successor. Later,
    somebody else has it too: the whole session is ended.
    """
    known = None
    if crypto.token_ok(token):
        known = await queries.session(work.database.reader, crypto.digest(token))
    if known is None:
        raise _over()
    result = None
    async with work.writing(_acting(known.org_id, known.user_id)) as ctx:
        standing = await queries.standing(ctx.db, ctx.org_id, known.user_id)
        session = await queries.lock_session(ctx.db, ctx.org_id, known.id)
        verdict = rules.judge(session, ctx.now)
        if standing is None or verdict == "over":
            raise _over()
        if verdict == "reused":
            await _end_sessions(ctx, known.user_id, only=session.family_id)
            ctx.record(RefreshReused(subject_id=known.user_id, session_id=session.family_id))
        else:
            following = crypto.successor(door.settings.signing_secret, token)
            if verdict == "rotate":
                await queries.mark_rotated(ctx.db, ctx.org_id, session.id, ctx.now)
                await _keep(ctx, known.user_id, session.family_id, following, door)
            result = _result(ctx, standing, session.family_id, following, door)
    if result is None:
        raise Unauthenticated(
            "This refresh token was used before, so its session was ended. Sign in again.",
            code="auth.refresh_reused",
        )
    return result


async def sign_out(ctx: Writing) -> None:
    """End all sessions of the person. Their access tokens stop working within a second."""
    await _end_sessions(ctx, ctx.actor.me)


async def sessions(ctx: Reading) -> list[Session]:
    """Where the person is signed in, the latest first."""
    return await queries.sessions(ctx.db, ctx.org_id, ctx.actor.me, ctx.actor.session_id, ctx.now)


async def end_session(ctx: Writing, session_id: SessionId) -> None:
    """End one session of the person. Raises NotFound when it is over, or somebody else's."""
    if not await _end_sessions(ctx, ctx.actor.me, only=session_id):
        raise NotFound("You have no such session, or it is over already.")


async def profile(ctx: Reading) -> Profile:
    return await queries.profile(ctx.db, ctx.org_id, ctx.actor.me)


async def change_profile(ctx: Writing, body: ProfileBody) -> Profile:
    """Change what is given."""
    before = await queries.profile(ctx.db, ctx.org_id, ctx.actor.me)
    given = {name: value for name, value in structs.asdict(body).items() if value is not UNSET}
    if "name" in given:
        given["name"] = given["name"].strip()
    if given.get("timezone") and not rules.is_zone(given["timezone"]):
        raise Invalid(
            "There is no such time zone: use a name such as Europe/Berlin.",
            code="user.unknown_timezone",
        )
    changed = [name for name, value in given.items() if getattr(before, name) != value]
    if not changed:
        return before
    after = structs.replace(before, **given)
    await queries.update_profile(ctx.db, ctx.org_id, after)
    ctx.record(ProfileChanged(subject_id=after.id, fields=changed))
    return after


async def set_active_workspace(ctx: Writing, workspace_id: UUID) -> None:
    """Work in this workspace from now on. Access tokens have to be refreshed to follow."""
    try:
        await queries.set_active_workspace(ctx.db, ctx.org_id, ctx.actor.me, workspace_id)
    except Dangling:
        raise NotFound("There is no such workspace.") from None
    await auth.revoke(ctx.db, ctx.actor.me)


async def change_password(
    ctx: Reading,
    work: Work,
    passwords: Passwords,
    door: Door,
    *,
    current: str,
    new: str,
) -> None:
    """Set a new password, given the current one, and end the person's other sessions."""
    me = await queries.profile(ctx.db, ctx.org_id, ctx.actor.me)
    knock = await _admit(work, passwords, door, email=me.email, password=current)
    hashed = await passwords.hash(new)
    async with work.writing(ctx.actor) as writing:
        if not await queries.replace_password(
            writing.db, ctx.org_id, me.id, knock.password_hash, hashed
        ):
            raise _wrong()
        await queries.forget_tries(writing.db, me.email, door.ip)
        await _end_sessions(writing, me.id, but=ctx.actor.session_id)
        writing.record(PasswordChanged(subject_id=me.id, how="CHANGED"))


async def request_link(work: Work, settings: Settings, email: str, purpose: Purpose) -> None:
    """Mail a link to whom an address belongs, at most five in a quarter of an hour.

    For a stranger the same is written, so the time it takes does not tell who has an account.
    """
    email = email.strip()
    addressee = await queries.addressee(work.database.reader, email)
    async with work.writing(system(addressee.org_id if addressee else _NOWHERE)) as ctx:
        tried = await queries.count_try(
            ctx.db, email, purpose, ctx.now, most=_LINKS, window=_LINKS_WINDOW
        )
        if addressee is None or tried.times > _LINKS:
            return
        if purpose == "PASSWORD_RESET" or not addressee.email_verified:
            await send_link(ctx, settings, addressee.user_id, purpose)


async def send_link(ctx: Writing, settings: Settings, user_id: UserId, purpose: Purpose) -> None:
    """Mail a one-time link to a person."""
    link_id = new_id()
    await queries.insert_link(
        ctx.db,
        ctx.org_id,
        link_id,
        user_id,
        purpose,
        crypto.digest(secret_of(settings, link_id, purpose)),
        ctx.now,
        _GOOD_FOR[purpose],
    )
    ctx.enqueue("identity.send_link", link_id)


def secret_of(settings: Settings, link_id: UUID, purpose: Purpose) -> str:
    """A link's secret: derived from its id, so it is kept nowhere, and a retry mails the same."""
    return crypto.successor(settings.signing_secret, f"{_PREFIX[purpose]}{link_id}")


async def verify_email(work: Work, token: str) -> None:
    """Mark the address that a link was mailed to as verified. Raises Gone."""
    link = await queries.link_by(
        work.database.reader, crypto.digest(token), "EMAIL_VERIFY", work.clock()
    )
    if link is None:
        raise _gone()
    async with work.writing(_acting(link.org_id, link.user_id)) as ctx:
        if not await queries.consume(ctx.db, link, ctx.now):
            raise _gone()
        if await queries.verify_email(ctx.db, ctx.org_id, link.user_id, ctx.now):
            ctx.record(EmailVerified(subject_id=link.user_id))


async def reset_password(work: Work, passwords: Passwords, token: str, new: str) -> None:
    """Set a new password by a mailed link, and end all sessions. Raises Gone."""
    link = await queries.link_by(
        work.database.reader, crypto.digest(token), "PASSWORD_RESET", work.clock()
    )
    if link is None:
        raise _gone()
    hashed = await passwords.hash(new)
    async with work.writing(_acting(link.org_id, link.user_id)) as ctx:
        if not await queries.consume(ctx.db, link, ctx.now):
            raise _gone()
        email = await queries.reset_password(ctx.db, ctx.org_id, link.user_id, hashed, ctx.now)
        if email is None:
            raise _gone()
        await queries.forget_all_tries(ctx.db, email)
        await _end_sessions(ctx, link.user_id)
        ctx.record(PasswordChanged(subject_id=link.user_id, how="RESET"))


async def tokens(ctx: Reading) -> list[ApiToken]:
    """The person's tokens that were not revoked, the latest first."""
    return await queries.tokens(ctx.db, ctx.org_id, ctx.actor.me)


async def create_token(ctx: Writing, body: TokenBody) -> CreatedToken:
    """Create a token. One made with a token may do no more than that token."""
    if body.expires_at is not None and body.expires_at <= ctx.now:
        raise Invalid("expiresAt must lie in the future.", code="token.expired")
    scopes = sorted(set(body.scopes))
    if not permissions(ctx.actor.role, tuple(scopes)) <= ctx.actor.permissions:
        raise Forbidden(
            "A token cannot make one that may do more: give it fewer scopes.",
            code="token.beyond_own_scopes",
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
    await queries.insert_token(ctx.db, ctx.org_id, ctx.actor.me, token, crypto.digest(secret))
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
    token = await queries.revoke_token(ctx.db, ctx.org_id, ctx.actor.me, token_id, ctx.now)
    await auth.revoke(ctx.db, token.id)
    ctx.record(TokenRevoked(subject_id=token.id, name=token.name))


def pat_reader(work: Work) -> LookUp:
    """How the owner of a personal access token is found."""

    async def look_up(secret: str) -> Actor | None:
        if not secret.startswith(("rytask_pat_", "rytask_mcp_")) or not crypto.token_ok(secret):
            return None
        now = work.clock()
        token = await queries.token_in_use(work.database.reader, crypto.digest(secret), now)
        if token is None:
            return None
        if token.last_used_at is None or token.last_used_at <= now - _USED_AGAIN:
            with suppress(Unavailable):
                async with work.database.transaction() as tx:
                    await queries.mark_used(tx, token.org_id, token.id, now)
        return _bearer_of(token)

    return look_up


def is_zone(name: str) -> bool:
    """Whether it is the name of an IANA time zone."""
    return rules.is_zone(name)


async def people(ctx: Reading, ids: Sequence[UserId]) -> dict[UserId, Person]:
    """These people by id, also those who were removed; who is unknown is missing."""
    found = await queries.people(ctx.db, ctx.org_id, ids)
    return {person.id: person for person in found}


async def members(ctx: Reading) -> list[Person]:
    """Everybody who was not removed, by name."""
    return await queries.members(ctx.db, ctx.org_id)


async def memberships(ctx: Reading) -> list[Membership]:
    """Everybody, also who was removed, by name."""
    return [_membership(row) for row in await queries.memberships(ctx.db, ctx.org_id)]


async def lock_members(ctx: Writing, *user_ids: UserId) -> dict[UserId, Membership]:
    """These members and every owner, unless removed: nobody else changes them until we commit."""
    rows = await queries.lock_members(ctx.db, ctx.org_id, user_ids)
    return {row.user_id: _membership(row) for row in rows}


async def account_of(ctx: Reading, email: str) -> Membership | None:
    """The account with this address in this organization, also of somebody who was removed."""
    row = await queries.account_of(ctx.db, ctx.org_id, email)
    return None if row is None else _membership(row)


async def join(ctx: Writing, newcomer: Newcomer) -> None:
    """Make an account. Raises EmailTaken."""
    try:
        await queries.insert_user(ctx.db, ctx.org_id, newcomer, ctx.now)
    except Duplicate as duplicate:
        if str(duplicate) == "users_email":
            raise EmailTaken("This e-mail address has an account already: sign in.") from None
        raise
    ctx.record(UserRegistered(subject_id=newcomer.id, role=newcomer.role))


async def come_back(ctx: Writing, newcomer: Newcomer) -> None:
    """Let somebody who had been removed in again, with a new password. Raises EmailTaken."""
    if not await queries.reopen(ctx.db, ctx.org_id, newcomer, ctx.now):
        raise EmailTaken("This e-mail address has an account already: sign in.")
    ctx.record(MemberReturned(subject_id=newcomer.id, role=newcomer.role))


async def set_role(ctx: Writing, user_id: UserId, was: OrgRole, role: OrgRole) -> None:
    """Change a role. Access tokens with the old one stop working within a second."""
    await queries.set_role(ctx.db, ctx.org_id, user_id, role)
    await auth.revoke(ctx.db, user_id)
    ctx.record(RoleChanged(subject_id=user_id, was=was, role=role))


async def remove(ctx: Writing, user_id: UserId) -> None:
    """Remove a member: their sessions and tokens stop working within a second."""
    await queries.deactivate(ctx.db, ctx.org_id, user_id, ctx.now)
    await queries.end_sessions(ctx.db, ctx.org_id, user_id, ctx.now)
    await queries.revoke_tokens(ctx.db, ctx.org_id, user_id, ctx.now)
    await auth.revoke(ctx.db, user_id)
    ctx.record(MemberRemoved(subject_id=user_id))


async def close_accounts(ctx: Writing) -> None:
    """Close every account of the organization. Nothing of theirs works after a second."""
    await queries.close_accounts(ctx.db, ctx.org_id, ctx.now)
    await auth.revoke(ctx.db, ctx.org_id)


async def _admit(
    work: Work,
    passwords: Passwords,
    door: Door,
    *,
    email: str,
    password: str,
) -> Knock:
    """Whose password it is. Counts failures, and refuses while too many were counted."""
    email = email.strip()
    knock = await queries.knock(work.database.reader, email, door.ip)
    if knock.locked_until and knock.locked_until > work.clock():
        raise _locked(knock.locked_until, work.clock())
    if await passwords.verify(knock.password_hash, password):
        return knock
    async with work.writing(system(knock.org_id or _NOWHERE)) as ctx:
        tried = await queries.count_try(
            ctx.db,
            email,
            door.ip,
            ctx.now,
            most=door.settings.login_max_failures,
            window=timedelta(seconds=door.settings.login_lockout_seconds),
        )
        if knock.user_id and tried.locked_until and tried.times == door.settings.login_max_failures:
            ctx.record(
                LockedOut(subject_id=knock.user_id, address=door.ip, until=tried.locked_until)
            )
    raise _wrong()


async def _start(ctx: Writing, standing: Standing, door: Door) -> AuthResult:
    family_id, token = SessionId(new_id()), crypto.token("rytask_ref_")
    await _keep(ctx, standing.id, family_id, token, door)
    ctx.record(SessionStarted(subject_id=standing.id, session_id=family_id))
    return _result(ctx, standing, family_id, token, door)


async def _keep(
    ctx: Writing,
    user_id: UserId,
    family_id: SessionId,
    token: str,
    door: Door,
) -> None:
    await queries.insert_session(
        ctx.db,
        ctx.org_id,
        user_id,
        family_id,
        crypto.digest(token),
        door,
        ctx.now,
        timedelta(seconds=door.settings.refresh_token_ttl_seconds),
    )


def _result(
    ctx: Writing,
    standing: Standing,
    family_id: SessionId,
    token: str,
    door: Door,
) -> AuthResult:
    """The answer. Its access token is made before the commit, so a removal that waits for our lock
    on the membership takes its time after it, and covers it.
    """
    actor = Actor(
        org_id=ctx.org_id,
        user_id=standing.id,
        role=standing.role,
        permissions=PERMISSIONS_OF[standing.role],
        workspace_id=standing.workspace_id,
        session_id=family_id,
        source="WEB",
    )
    user = User(standing.id, standing.email, standing.name, standing.email_verified)
    return AuthResult(
        door.bearers.issue(actor), token, door.settings.access_token_ttl_seconds, user
    )


async def _end_sessions(
    ctx: Writing, user_id: UserId, *, only: UUID | None = None, but: UUID | None = None
) -> list[SessionId]:
    ended = await queries.end_sessions(ctx.db, ctx.org_id, user_id, ctx.now, only=only, but=but)
    if ended:
        await auth.revoke(ctx.db, *ended)
        ctx.record(SessionsEnded(subject_id=user_id, session_ids=list(ended)))
    return ended


def _bearer_of(token: TokenInUse) -> Actor:
    scopes = tuple(token.scopes)
    return Actor(
        org_id=token.org_id,
        user_id=token.user_id,
        role=token.role,
        permissions=permissions(token.role, scopes),
        scopes=scopes,
        workspace_id=token.workspace_id,
        token_id=token.id,
        source="MCP" if token.type == "MCP" else "API",
    )


def _membership(row: queries.MemberRow) -> Membership:
    user = User(row.user_id, row.email, row.name, row.email_verified)
    return Membership(row.user_id, user, row.role, row.deactivated_at)


def _acting(org_id: OrgId, user_id: UserId) -> Actor:
    """Somebody at the door: known, but not let in yet."""
    return Actor(org_id=org_id, user_id=user_id, role="GUEST", permissions=frozenset())


def _by(knock: Knock) -> Actor:
    return _acting(cast("OrgId", knock.org_id), cast("UserId", knock.user_id))


def _locked(until: datetime, now: datetime) -> TooMany:
    seconds = ceil((until - now).total_seconds())
    return TooMany(
        f"Too many wrong passwords: try again in {ceil(seconds / 60)} minutes.",
        retry_after=seconds,
        code="auth.locked",
    )


def _wrong() -> WrongCredentials:
    return WrongCredentials("This e-mail address and password do not go together.")


def _over() -> Unauthenticated:
    return Unauthenticated("This session is over. Sign in again.", code="auth.refresh_invalid")


def _gone() -> Gone:
    return Gone("This link was used, is too old, or never was: ask for a new one.")

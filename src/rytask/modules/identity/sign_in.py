"""Signing in and out, passwords, and the links that are mailed to prove an address.

Passwords are hashed and compared while no connection is held: it takes 20 ms or more.
"""

from datetime import datetime, timedelta
from math import ceil
from typing import cast
from uuid import UUID

from rytask.modules.identity import rules
from rytask.modules.identity.events import (
    EmailVerified,
    LockedOut,
    PasswordChanged,
    RefreshReused,
    SessionsEnded,
    SessionStarted,
    TokenRevoked,
)
from rytask.modules.identity.model import (
    AuthResult,
    Door,
    Knock,
    Link,
    Purpose,
    Session,
    SessionId,
    Standing,
    User,
)
from rytask.modules.identity.queries import accounts, api_tokens, credentials
from rytask.platform import auth, crypto
from rytask.platform.auth import PERMISSIONS_OF, Bearers
from rytask.platform.crypto import Passwords
from rytask.platform.errors import (
    Gone,
    NotFound,
    TooMany,
    Unauthenticated,
)
from rytask.platform.http import Request
from rytask.platform.ids import OrgId, UserId, new_id
from rytask.platform.settings import Settings
from rytask.platform.work import Actor, Reading, Work, Writing, system

_NOWHERE = OrgId(UUID(int=0))
_PREFIX: dict[Purpose, str] = {"EMAIL_VERIFY": "rytask_ver_", "PASSWORD_RESET": "rytask_rst_"}
_GOOD_FOR: dict[Purpose, timedelta] = {
    "EMAIL_VERIFY": timedelta(hours=48),
    "PASSWORD_RESET": timedelta(hours=1),
}
_LINKS, _LINKS_WINDOW = 5, timedelta(minutes=15)


class WrongCredentials(Unauthenticated):
    code = "auth.invalid_credentials"


def door(bearers: Bearers, settings: Settings, request: Request) -> Door:
    """The door that a request stands before."""
    agent = request.header(b"user-agent")
    return Door(bearers, settings, request.ip, request.network, agent[:200] if agent else None)


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
    email = email.strip()
    knock = await _admit(work, passwords, door, email=email, password=password)
    better = None
    if passwords.needs_rehash(cast("str", knock.password_hash)):
        better = await passwords.hash(password)
    async with work.writing(_by(knock)) as ctx:
        locked_until = await credentials.forget_tries(ctx.db, email, door.network)
        if locked_until and locked_until > ctx.now:
            raise _locked(locked_until, ctx.now)
        standing = await credentials.standing(ctx.db, ctx.org_id, ctx.actor.me)
        if standing is None or standing.password_hash != knock.password_hash:
            raise _wrong()
        result = await _start(ctx, standing, door)
    if better:
        # Apart: the session's transaction shares its lock on the person with other sign-ins.
        async with work.database.transaction() as tx:
            await credentials.replace_password(
                tx, ctx.org_id, ctx.actor.me, knock.password_hash, better
            )
    return result


async def start_session(ctx: Writing, user_id: UserId, door: Door) -> AuthResult:
    """Start a session for somebody who has just proved who they are."""
    standing = await credentials.standing(ctx.db, ctx.org_id, user_id)
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
        known = await credentials.session(work.database.reader, crypto.digest(token))
    if known is None:
        raise _over()
    result = None
    async with work.writing(_acting(known.org_id, known.user_id)) as ctx:
        standing = await credentials.standing(ctx.db, ctx.org_id, known.user_id)
        session = await credentials.lock_session(ctx.db, ctx.org_id, known.id)
        verdict = rules.judge(session, ctx.now)
        if standing is None or verdict == "over":
            raise _over()
        if verdict == "reused":
            await _end_sessions(ctx, known.user_id, only=session.family_id)
            ctx.record(RefreshReused(subject_id=known.user_id, session_id=session.family_id))
        else:
            following = crypto.successor(door.settings.signing_secret, token)
            if verdict == "rotate":
                await credentials.mark_rotated(ctx.db, ctx.org_id, session.id, ctx.now)
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
    return await credentials.sessions(
        ctx.db, ctx.org_id, ctx.actor.me, ctx.actor.session_id, ctx.now
    )


async def end_session(ctx: Writing, session_id: SessionId) -> None:
    """End one session of the person. Raises NotFound when it is over, or somebody else's."""
    if not await _end_sessions(ctx, ctx.actor.me, only=session_id):
        raise NotFound("You have no such session, or it is over already.")


async def change_password(
    ctx: Reading,
    work: Work,
    passwords: Passwords,
    door: Door,
    *,
    current: str,
    new: str,
    revoke_tokens: bool,
) -> None:
    """Set a new password, given the current one, and end the person's other sessions."""
    me = await accounts.profile(ctx.db, ctx.org_id, ctx.actor.me)
    knock = await _admit(work, passwords, door, email=me.email, password=current)
    hashed = await passwords.hash(new)
    async with work.writing(ctx.actor) as writing:
        if not await credentials.replace_password(
            writing.db, ctx.org_id, me.id, knock.password_hash, hashed
        ):
            raise _wrong()
        await credentials.forget_tries(writing.db, me.email, door.network)
        await _end_sessions(writing, me.id, but=ctx.actor.session_id)
        if revoke_tokens:
            await _revoke_tokens(writing, me.id)
        writing.record(PasswordChanged(subject_id=me.id, how="CHANGED"))


async def request_link(work: Work, settings: Settings, email: str, purpose: Purpose) -> None:
    """Mail a link to whom an address belongs, at most five in a quarter of an hour.

    For a stranger the same is written, so the time it takes does not tell who has an account.
    """
    email = email.strip()
    addressee = await credentials.addressee(work.database.reader, email)
    async with work.writing(system(addressee.org_id if addressee else _NOWHERE)) as ctx:
        tried = await credentials.count_try(
            ctx.db, email, purpose, ctx.now, most=_LINKS, window=_LINKS_WINDOW
        )
        if addressee is None or tried.times > _LINKS:
            return
        if purpose == "PASSWORD_RESET" or not addressee.email_verified:
            await send_link(ctx, settings, addressee.user_id, purpose)


async def send_link(ctx: Writing, settings: Settings, user_id: UserId, purpose: Purpose) -> None:
    """Mail a one-time link to a person."""
    link_id = new_id()
    await credentials.insert_link(
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
    link = await _link(work, token, "EMAIL_VERIFY")
    async with work.writing(_acting(link.org_id, link.user_id)) as ctx:
        if not await credentials.consume(ctx.db, link, ctx.now):
            raise _gone()
        if await credentials.verify_email(ctx.db, ctx.org_id, link.user_id, ctx.now):
            ctx.record(EmailVerified(subject_id=link.user_id))


async def reset_password(
    work: Work, passwords: Passwords, token: str, new: str, *, revoke_tokens: bool
) -> None:
    """Set a new password by a mailed link, and end all sessions. Raises Gone."""
    link = await _link(work, token, "PASSWORD_RESET")
    hashed = await passwords.hash(new)
    async with work.writing(_acting(link.org_id, link.user_id)) as ctx:
        if not await credentials.consume(ctx.db, link, ctx.now):
            raise _gone()
        email = await credentials.reset_password(ctx.db, ctx.org_id, link.user_id, hashed, ctx.now)
        if email is None:
            raise _gone()
        await credentials.forget_all_tries(ctx.db, email)
        await _end_sessions(ctx, link.user_id)
        if revoke_tokens:
            await _revoke_tokens(ctx, link.user_id)
        ctx.record(PasswordChanged(subject_id=link.user_id, how="RESET"))


async def _link(work: Work, token: str, purpose: Purpose) -> Link:
    link = None
    if crypto.token_ok(token):
        link = await credentials.link_by(
            work.database.reader, crypto.digest(token), purpose, work.clock()
        )
    if link is None:
        raise _gone()
    return link


async def _admit(
    work: Work,
    passwords: Passwords,
    door: Door,
    *,
    email: str,
    password: str,
) -> Knock:
    """Whose password it is. Counts failures, and refuses while too many were counted."""
    knock = await credentials.knock(work.database.reader, email, door.network)
    if knock.locked_until and knock.locked_until > work.clock():
        raise _locked(knock.locked_until, work.clock())
    if await passwords.verify(knock.password_hash, password):
        return knock
    async with work.writing(system(knock.org_id or _NOWHERE)) as ctx:
        tried = await credentials.count_try(
            ctx.db,
            email,
            door.network,
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
    await credentials.insert_session(
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
    ended = await credentials.end_sessions(ctx.db, ctx.org_id, user_id, ctx.now, only=only, but=but)
    if ended:
        await auth.revoke(ctx.db, *ended)
        ctx.record(SessionsEnded(subject_id=user_id, session_ids=list(ended)))
    return ended


async def _revoke_tokens(ctx: Writing, user_id: UserId) -> None:
    revoked = await api_tokens.revoke_all(ctx.db, ctx.org_id, user_id, ctx.now)
    await auth.revoke(ctx.db, *(token.id for token in revoked))
    for token in revoked:
        ctx.record(TokenRevoked(subject_id=token.id, name=token.name))


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

"""Signing in and out, sessions and passwords.

Passwords are hashed and compared while no connection is held: it takes 20 ms or more. Only a
change of password, which is rare, holds one.
"""

import asyncio
from datetime import datetime, timedelta
from itertools import chain, islice, repeat
from math import ceil
from typing import cast
from uuid import UUID
from weakref import WeakValueDictionary

from rytask.modules.identity import rules
from rytask.modules.identity.events import (
    LockedOut,
    PasswordChanged,
    RefreshReused,
    SessionsEnded,
    SessionStarted,
    TokenRevoked,
)
from rytask.modules.identity.model import (
    ActiveMember,
    AuthResult,
    Session,
    SessionContext,
    SessionId,
    StoredCredentials,
    User,
)
from rytask.modules.identity.queries import accounts, api_tokens, credentials
from rytask.platform import auth, crypto
from rytask.platform.auth import PERMISSIONS_OF, Bearers
from rytask.platform.crypto import Passwords
from rytask.platform.db import Reader
from rytask.platform.errors import (
    NotFound,
    TooMany,
    Unauthenticated,
)
from rytask.platform.ids import OrgId, UserId, new_id
from rytask.platform.operations import Client
from rytask.platform.settings import Settings
from rytask.platform.work import Actor, Reading, Work, Writing, system

# In this process one attempt at a time for an address from one network: a burst of sign-ins with
# the right password does not lock itself out. Between processes, PostgreSQL counts.
_turns: WeakValueDictionary[tuple[str, str], asyncio.Lock] = WeakValueDictionary()


class WrongCredentials(Unauthenticated):
    code = "auth.invalid_credentials"


def session_context(bearers: Bearers, settings: Settings, client: Client) -> SessionContext:
    """Gather what a session of this client needs."""
    return SessionContext(bearers, settings, client.ip, client.network, client.user_agent)


async def sign_in(
    work: Work,
    passwords: Passwords,
    session_context: SessionContext,
    *,
    email: str,
    password: str,
    org_id: OrgId | None = None,
    checks: int = 1,
) -> AuthResult:
    """Start a session with a password, in one organization or in whichever it fits.

    A wrong password and an unknown address look alike and take as long: as many comparisons as
    `checks`. After too many failures for one e-mail from one address, nothing is accepted for that
    pair for a while.
    """
    email = email.strip()
    accounts = await credentials.accounts_of(work.database.reader, email, org_id, checks)
    stored = await _check_password(
        work,
        passwords,
        session_context,
        accounts,
        checks,
        email=email,
        password=password,
        counter=work.database.writer,
    )
    new_hash = None
    if passwords.needs_rehash(cast("str", stored.password_hash)):
        new_hash = await passwords.hash(password)
    async with work.writing(actor_signing_in(stored.org_id, stored.user_id)) as ctx:
        member = await credentials.lock_active_member(ctx.db, ctx.org_id, ctx.actor.me)
        if member is None or member.password_hash != stored.password_hash:
            raise _wrong_credentials()
        result = await _new_session(ctx, member, session_context)
    if new_hash:
        # Apart: the session's transaction shares its lock on the person with other sign-ins.
        async with work.database.transaction() as tx:
            await credentials.replace_password(
                tx, ctx.org_id, ctx.actor.me, stored.password_hash, new_hash
            )
    return result


async def start_session(
    ctx: Writing, user_id: UserId, session_context: SessionContext
) -> AuthResult:
    """Start a session for somebody who has just proved who they are."""
    member = await credentials.lock_active_member(ctx.db, ctx.org_id, user_id)
    if member is None:
        raise _wrong_credentials()
    return await _new_session(ctx, member, session_context)


async def refresh(work: Work, session_context: SessionContext, token: str) -> AuthResult:
    """Exchange a refresh token for its successor and a new access token.

    Presented again within ten seconds (or at the same time), it gives the same successor. Later,
    somebody else has it too: the whole session is ended.
    """
    stored = None
    if crypto.token_ok(token):
        stored = await credentials.session(work.database.reader, crypto.digest(token))
    if stored is None:
        raise _session_over()
    async with work.writing(actor_signing_in(stored.org_id, stored.user_id)) as ctx:
        member = await credentials.lock_active_member(ctx.db, ctx.org_id, stored.user_id)
        session = await credentials.lock_session(ctx.db, ctx.org_id, stored.id)
        verdict = rules.judge_refresh(session, ctx.now)
        if member is None or verdict == "over":
            raise _session_over()
        if verdict != "reused":
            following = crypto.successor(session_context.settings.signing_secret, token)
            if verdict == "rotate":
                await credentials.mark_rotated(ctx.db, ctx.org_id, session.id, ctx.now)
                await _store_session(
                    ctx, stored.user_id, session.family_id, following, session_context
                )
            return _auth_result(ctx, member, session.family_id, following, session_context)
    # Apart: two who find this at once would each wait for the other's lock on the person.
    async with work.writing(actor_signing_in(stored.org_id, stored.user_id)) as ctx:
        if await end_sessions(ctx, stored.user_id, only=stored.family_id):
            ctx.record(RefreshReused(subject_id=stored.user_id, session_id=stored.family_id))
    raise Unauthenticated(
        "This refresh token was used before, so its session was ended. Sign in again.",
        code="auth.refresh_reused",
    )


async def sign_out(ctx: Writing) -> None:
    """End all sessions of the person. Their access tokens stop working within a second."""
    await end_sessions(ctx, ctx.actor.me)


async def sessions(ctx: Reading) -> list[Session]:
    """List the person's sessions, the latest first."""
    return await credentials.sessions(
        ctx.db, ctx.org_id, ctx.actor.me, ctx.actor.session_id, ctx.now
    )


async def end_session(ctx: Writing, session_id: SessionId) -> None:
    """End one session of the person. Raises NotFound when it is over, or somebody else's."""
    if not await end_sessions(ctx, ctx.actor.me, only=session_id):
        raise NotFound("You have no such session, or it is over already.")


async def change_password(
    ctx: Writing,
    work: Work,
    passwords: Passwords,
    session_context: SessionContext,
    *,
    current: str,
    new: str,
    revoke_tokens: bool,
) -> None:
    """Set a new password, given the current one, and end the person's other sessions.

    Its transaction is open while passwords are hashed, because an idempotency key is claimed in
    it; no row is locked by then.
    """
    me = await accounts.profile(ctx.db, ctx.org_id, ctx.actor.me)
    mine = await credentials.accounts_of(ctx.db, me.email, ctx.org_id, 1)
    stored = await _check_password(
        work,
        passwords,
        session_context,
        mine,
        1,
        email=me.email,
        password=current,
        counter=ctx.db.autocommit,
    )
    hashed = await passwords.hash(new)
    if not await credentials.replace_password(
        ctx.db, ctx.org_id, me.id, stored.password_hash, hashed
    ):
        raise _wrong_credentials()
    await end_sessions(ctx, me.id, but=ctx.actor.session_id)
    if revoke_tokens:
        await revoke_tokens_of(ctx, me.id)
    ctx.record(PasswordChanged(subject_id=me.id, how="CHANGED"))


async def _check_password(
    work: Work,
    passwords: Passwords,
    session_context: SessionContext,
    accounts: list[StoredCredentials],
    checks: int,
    *,
    email: str,
    password: str,
    counter: Reader,
) -> StoredCredentials:
    """Find the account that a password fits.

    Every attempt is counted before its password is compared, so that those made at once are too;
    the right password is taken back. `counter` commits each of these by itself. Refuses while too
    many were counted.
    """
    network, settings = session_context.network, session_context.settings
    async with _turns.setdefault((email.lower(), network), asyncio.Lock()):
        now = work.clock()
        attempt = await credentials.count_attempt(
            counter,
            email,
            network,
            now,
            most=settings.login_max_failures,
            window=timedelta(seconds=settings.login_lockout_seconds),
        )
        if attempt is None:
            until = await credentials.locked_until(work.database.reader, email, network)
            raise _locked(until or now, now)
        for stored in islice(chain(accounts, repeat(None)), checks):
            fits = await passwords.verify(stored and stored.password_hash, password)
            if stored is not None and fits:
                await credentials.clear_attempts(counter, email, network)
                return stored
    if attempt.locked_until is not None:
        for stored in accounts:
            async with work.writing(system(stored.org_id)) as ctx:
                ctx.record(
                    LockedOut(
                        subject_id=stored.user_id,
                        address=session_context.ip,
                        until=attempt.locked_until,
                    )
                )
    raise _wrong_credentials()


async def _new_session(
    ctx: Writing, member: ActiveMember, session_context: SessionContext
) -> AuthResult:
    family_id, token = SessionId(new_id()), crypto.token("rytask_ref_")
    await _store_session(ctx, member.id, family_id, token, session_context)
    ctx.record(SessionStarted(subject_id=member.id, session_id=family_id))
    return _auth_result(ctx, member, family_id, token, session_context)


async def _store_session(
    ctx: Writing,
    user_id: UserId,
    family_id: SessionId,
    token: str,
    session_context: SessionContext,
) -> None:
    await credentials.insert_session(
        ctx.db,
        ctx.org_id,
        user_id,
        family_id,
        crypto.digest(token),
        session_context,
        ctx.now,
        timedelta(seconds=session_context.settings.refresh_token_ttl_seconds),
    )


def _auth_result(
    ctx: Writing,
    member: ActiveMember,
    family_id: SessionId,
    token: str,
    session_context: SessionContext,
) -> AuthResult:
    """The answer. Its access token is made before the commit, so a removal that waits for our lock
    on the membership takes its time after it, and covers it.
    """
    actor = Actor(
        org_id=ctx.org_id,
        user_id=member.id,
        role=member.role,
        permissions=PERMISSIONS_OF[member.role],
        workspace_id=member.workspace_id,
        session_id=family_id,
        source="WEB",
    )
    user = User(member.id, member.email, member.name, member.email_verified)
    return AuthResult(
        session_context.bearers.issue(actor),
        token,
        session_context.settings.access_token_ttl_seconds,
        user,
    )


async def end_sessions(
    ctx: Writing, user_id: UserId, *, only: UUID | None = None, but: UUID | None = None
) -> list[SessionId]:
    """End sessions of a person: all, only one, or all but one.

    A refresh under way is waited for, by a statement before the one that ends: the successor that
    it leaves was not there yet for a statement that began before.
    """
    await credentials.lock_user(ctx.db, ctx.org_id, user_id)
    ended = await credentials.end_sessions(ctx.db, ctx.org_id, user_id, ctx.now, only=only, but=but)
    if ended:
        await auth.revoke(ctx.db, *ended)
        ctx.record(SessionsEnded(subject_id=user_id, session_ids=list(ended)))
    return ended


async def revoke_tokens_of(ctx: Writing, user_id: UserId) -> None:
    revoked = await api_tokens.revoke_all(ctx.db, ctx.org_id, user_id, ctx.now)
    await auth.revoke(ctx.db, *(token.id for token in revoked))
    for token in revoked:
        ctx.record(TokenRevoked(subject_id=token.id, name=token.name))


def actor_signing_in(org_id: OrgId, user_id: UserId) -> Actor:
    """Somebody at the door: known, but not let in yet."""
    return Actor(org_id=org_id, user_id=user_id, role="GUEST", permissions=frozenset())


def _locked(until: datetime, now: datetime) -> TooMany:
    seconds = max(1, ceil((until - now).total_seconds()))
    return TooMany(
        f"Too many wrong passwords: try again in {ceil(seconds / 60)} minutes.",
        retry_after=seconds,
        code="auth.locked",
    )


def _wrong_credentials() -> WrongCredentials:
    return WrongCredentials("This e-mail address and password do not go together.")


def _session_over() -> Unauthenticated:
    return Unauthenticated("This session is over. Sign in again.", code="auth.refresh_invalid")

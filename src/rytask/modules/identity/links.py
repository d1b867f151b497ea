"""Links that are mailed to prove an address, or to choose a new password."""

from datetime import timedelta
from uuid import UUID

from rytask.modules.identity.events import EmailVerified, PasswordChanged
from rytask.modules.identity.model import Link, Purpose
from rytask.modules.identity.queries import credentials
from rytask.modules.identity.sign_in import actor_signing_in, end_sessions, revoke_tokens_of
from rytask.platform import crypto
from rytask.platform.crypto import Passwords
from rytask.platform.errors import Gone
from rytask.platform.ids import UserId, new_id
from rytask.platform.settings import Settings
from rytask.platform.work import Work, Writing

_PREFIX: dict[Purpose, str] = {"EMAIL_VERIFY": "rytask_ver_", "PASSWORD_RESET": "rytask_rst_"}
_LINK_LIFETIME: dict[Purpose, timedelta] = {
    "EMAIL_VERIFY": timedelta(hours=48),
    "PASSWORD_RESET": timedelta(hours=1),
}
_MAX_LINKS, _LINKS_WINDOW = 5, timedelta(minutes=15)


async def request_link(work: Work, email: str, purpose: Purpose) -> None:
    """Ask for links to whom an address belongs, at most five times in a quarter of an hour.

    It is one statement that does not look whether anybody has the address, so that the time it
    takes does not tell; the job looks.
    """
    asked = await credentials.request_links(
        work.database.writer,
        email.strip(),
        purpose,
        work.clock(),
        most=_MAX_LINKS,
        window=_LINKS_WINDOW,
    )
    if asked:
        work.notify_workers()


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
        _LINK_LIFETIME[purpose],
    )
    ctx.enqueue("identity.send_link", link_id)


def secret_of(settings: Settings, link_id: UUID, purpose: Purpose) -> str:
    """Derive a link's secret from its id: it is kept nowhere, and a retry mails the same."""
    return crypto.successor(settings.signing_secret, f"{_PREFIX[purpose]}{link_id}")


async def verify_email(work: Work, token: str) -> None:
    """Mark the address that a link was mailed to as verified. Raises Gone."""
    link = await _link(work, token, "EMAIL_VERIFY")
    async with work.writing(actor_signing_in(link.org_id, link.user_id)) as ctx:
        if not await credentials.consume(ctx.db, link, ctx.now):
            raise _gone()
        if await credentials.verify_email(ctx.db, ctx.org_id, link.user_id, ctx.now):
            ctx.record(EmailVerified(subject_id=link.user_id))


async def reset_password(
    work: Work, passwords: Passwords, token: str, new: str, *, revoke_tokens: bool
) -> None:
    """Set a new password by a mailed link, and end all sessions. Raises Gone.

    Where the address is proved by that for the first time, tokens end in any case: whoever made
    them did not own it.
    """
    link = await _link(work, token, "PASSWORD_RESET")
    hashed = await passwords.hash(new)
    async with work.writing(actor_signing_in(link.org_id, link.user_id)) as ctx:
        if not await credentials.consume(ctx.db, link, ctx.now):
            raise _gone()
        first_proof = await credentials.verify_email(ctx.db, ctx.org_id, link.user_id, ctx.now)
        email = await credentials.reset_password(ctx.db, ctx.org_id, link.user_id, hashed)
        if email is None:
            raise _gone()
        await credentials.clear_all_attempts(ctx.db, email)
        await end_sessions(ctx, link.user_id)
        if revoke_tokens or first_proof:
            await revoke_tokens_of(ctx, link.user_id)
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


def _gone() -> Gone:
    return Gone("This link was used, is too old, or never was: ask for a new one.")

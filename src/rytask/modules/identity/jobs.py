"""Mail for people, and the sweeping up after them."""

from datetime import timedelta
from typing import cast
from uuid import UUID

from rytask.modules.identity import links
from rytask.modules.identity.model import Purpose
from rytask.modules.identity.queries import credentials
from rytask.platform.ids import OrgId
from rytask.platform.jobs import Tools, every, installation_job, job
from rytask.platform.link_mail import LinkMail, send_link_mail
from rytask.platform.pruning import prune

_MAX_ACCOUNTS = 3


@installation_job("identity.send_links", attempts=10)
async def send_links(tools: Tools, request: str) -> None:
    """Mail a link to each account of an address: `request` is the purpose and the address."""
    purpose, _, email = request.partition(" ")
    for account in await credentials.addressees(tools.work.database.reader, email, _MAX_ACCOUNTS):
        if purpose == "PASSWORD_RESET" or not account.email_verified:
            async with tools.transaction(account.org_id) as ctx:
                await links.send_link(
                    ctx, tools.settings, account.user_id, cast("Purpose", purpose)
                )


@job("identity.send_link", attempts=10)
async def send_link(tools: Tools, org_id: OrgId, link_id: UUID) -> None:
    """Mail a one-time link. Sent twice, it is the same mail with the same link."""
    work = tools.work
    link = await credentials.link(work.database.reader, org_id, link_id, work.clock())
    if link is None:
        return
    token = links.secret_of(tools.settings, link.id, link.purpose)
    if link.purpose == "EMAIL_VERIFY":
        subject, path = "Confirm your e-mail address", "verify-email"
        text = "please confirm that this is your e-mail address (within two days):"
    else:
        subject, path = "Choose a new password", "reset"
        text = (
            "somebody asked for a new password for your account. If it was you, choose one within"
            " an hour. If not, there is nothing to do:"
        )
    await send_link_mail(
        tools,
        LinkMail(
            id=link.id,
            to=link.email,
            subject=f"{subject} for RyTask",
            text=f"Hello {link.name},\n\n{text}",
            link=f"{tools.settings.app_base_url}/{path}?token={token}",
        ),
    )


@every(timedelta(hours=1), "identity.purge")
async def purge(tools: Tools) -> None:
    """Delete sessions, links and counts that no one can use any more."""
    now = tools.work.clock()
    await prune(tools.work.database, lambda tx: credentials.purge(tx, now))

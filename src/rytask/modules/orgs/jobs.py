"""Mail for people who are invited."""

from datetime import timedelta
from uuid import UUID

from rytask.modules.orgs import joining, queries
from rytask.modules.orgs.model import InviteId
from rytask.platform.ids import OrgId
from rytask.platform.jobs import Tools, every, job
from rytask.platform.link_mail import LinkMail, send_link_mail
from rytask.platform.pruning import prune


@job("orgs.send_invite", attempts=10)
async def send_invite(tools: Tools, org_id: OrgId, invite_id: UUID) -> None:
    """Mail an invitation. Sent twice, it is the same mail with the same link."""
    work = tools.work
    invite = await queries.open_invite_by_id(
        work.database.reader, org_id, InviteId(invite_id), work.clock()
    )
    if invite is None or invite.email is None:
        return
    mailed = tools.mailer is not None and invite.mailed_token_hash is not None
    await send_link_mail(
        tools,
        LinkMail(
            id=invite.id,
            to=invite.email,
            subject=f"Join {invite.organization_name} on RyTask",
            text=f"Hello,\n\nyou are invited to join {invite.organization_name} on RyTask:",
            link=joining.link_of(tools.settings, invite.id, mailed=mailed),
        ),
    )


@every(timedelta(days=1), "orgs.purge")
async def purge(tools: Tools) -> None:
    """Delete invitations that lapsed a month ago."""
    now = tools.work.clock()
    await prune(tools.work.database, lambda tx: queries.purge_invites(tx, now))

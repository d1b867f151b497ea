"""What follows for Slack from what happens elsewhere."""

from rytask.modules.identity.events import EmailVerified, UserRegistered
from rytask.modules.slack import queries
from rytask.platform.events import Recorded
from rytask.platform.ids import UserId
from rytask.platform.reactions import on
from rytask.platform.work import Writing


@on(EmailVerified)
async def recognise(ctx: Writing, recorded: Recorded, fact: EmailVerified) -> None:
    """Whoever has in Slack the address that was just verified is that member."""
    await queries.map_verified(ctx.db, ctx.org_id, UserId(fact.subject_id))


@on(UserRegistered)
async def recognise_newcomer(ctx: Writing, recorded: Recorded, fact: UserRegistered) -> None:
    """The same for somebody who comes with a verified address, such as the invited."""
    await queries.map_verified(ctx.db, ctx.org_id, UserId(fact.subject_id))

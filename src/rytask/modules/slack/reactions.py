"""Reactions of Slack to facts of other modules."""

from rytask.modules.identity.events import EmailVerified, UserRegistered
from rytask.modules.notifications import service as notifications
from rytask.modules.orgs.events import OrgDeleted
from rytask.modules.slack import service
from rytask.modules.slack.events import SlackDisconnected
from rytask.modules.slack.queries import people
from rytask.platform.events import RecordedFact
from rytask.platform.ids import UserId
from rytask.platform.reactions import on
from rytask.platform.work import Writing


@on(EmailVerified)
async def recognise(ctx: Writing, recorded: RecordedFact, fact: EmailVerified) -> None:
    """Map Slack users with the address that was just verified to its owner."""
    await people.map_verified(ctx.db, ctx.org_id, UserId(fact.subject_id))


@on(UserRegistered)
async def recognise_newcomer(ctx: Writing, recorded: RecordedFact, fact: UserRegistered) -> None:
    """The same for somebody who comes with a verified address, such as the invited."""
    await people.map_verified(ctx.db, ctx.org_id, UserId(fact.subject_id))


@on(OrgDeleted)
async def disconnect(ctx: Writing, recorded: RecordedFact, fact: OrgDeleted) -> None:
    """A deleted organization gives its Slack workspace free."""
    await service.disconnect_if_connected(ctx)


@on(SlackDisconnected)
async def notify_admins(ctx: Writing, recorded: RecordedFact, fact: SlackDisconnected) -> None:
    """Tell the admins when Slack ended the connection: only they can connect it again."""
    if fact.reason == "REVOKED":
        await notifications.notify_admins(
            ctx,
            "SLACK",
            fact,
            entity_type="slack_connection",
            entity_id=fact.subject_id,
            key=f"slack.disconnected:{recorded.seq}",
        )

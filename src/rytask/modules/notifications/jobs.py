"""The scan that notifies people of what is due, in the morning of their own zones; and pruning."""

from datetime import timedelta
from uuid import UUID

from rytask.modules.notifications import queries, rules
from rytask.modules.notifications.model import ItemPayload, Notice
from rytask.platform.jobs import Tools, every, transactional
from rytask.platform.pruning import prune
from rytask.platform.work import Writing

_PERSONS = 100


@every(timedelta(minutes=5), "notifications.due_scan")
async def due_scan(tools: Tools) -> None:
    """Ask for a scan of each organization in which somebody's hour has come."""
    work = tools.work
    now = rules.local_times(work.clock())
    for org_id in await queries.orgs_to_scan(work.database.reader, now):
        async with tools.transaction(org_id) as ctx:
            ctx.enqueue("notifications.scan", org_id)


@transactional("notifications.scan", attempts=10)
async def scan(ctx: Writing, org_id: UUID) -> None:
    """Notify people of one organization of what is due soon or overdue.

    Each person is notified once per local day, in the transaction that says so, even if several
    workers scan at the same time. Those left over are notified by another such job.
    """
    persons = await queries.claim_scans(ctx.db, ctx.org_id, rules.local_times(ctx.now), _PERSONS)
    if not persons:
        return
    notices = [_notice(due) for due in await queries.due(ctx.db, ctx.org_id, persons)]
    if notices:
        await queries.insert_notices(ctx.db, ctx.org_id, notices, ctx.now)
    if len(persons) == _PERSONS:
        ctx.enqueue("notifications.scan", org_id)


def _notice(due: queries.Due) -> Notice:
    return Notice(
        recipient_id=due.recipient_id,
        kind=due.kind,
        entity_type="work_item",
        entity_id=due.item_id,
        project_id=due.project_id,
        payload=ItemPayload(
            key=due.key,
            title=due.title,
            project_id=due.project_id,
            project_name=due.project_name,
            due_date=due.due_date,
        ),
        key=due.notice_key,
    )


@every(timedelta(hours=1), "notifications.purge")
async def purge(tools: Tools) -> None:
    """Delete notifications that are older than the settings keep them."""
    now, settings = tools.work.clock(), tools.settings
    seen = now - timedelta(days=settings.retention_read_notification_days)
    unseen = now - timedelta(days=settings.retention_unread_notification_days)
    await prune(tools.work.database, lambda tx: queries.purge(tx, seen, seen=True))
    await prune(tools.work.database, lambda tx: queries.purge(tx, unseen, seen=False))

"""What is done for Slack after the answer."""

from datetime import timedelta
from uuid import UUID

import structlog

from rytask.modules.slack import messages, service, web
from rytask.modules.slack.model import CaptureId, Connection, ConnectionId, News
from rytask.modules.slack.queries import captures, connections, people
from rytask.platform.crypto import Unsealable
from rytask.platform.errors import Refused
from rytask.platform.ids import OrgId
from rytask.platform.jobs import Tools, every, job, transactional
from rytask.platform.work import Writing

log = structlog.get_logger("slack")
_SYNC_ATTEMPTS = 10


async def _refuse(ctx: Writing, capture_id: UUID, refusal: Refused) -> None:
    await service.refuse(ctx, CaptureId(capture_id), refusal)


@transactional("slack.capture", attempts=captures.ATTEMPTS, otherwise=_refuse)
async def capture(ctx: Writing, capture_id: UUID) -> None:
    """Make the work item of a capture, or note why there is none."""
    await service.carry_out(ctx, CaptureId(capture_id))


@job("slack.confirm", attempts=25)
async def confirm(tools: Tools, org_id: OrgId, capture_id: UUID) -> None:
    """Tell the capturer what became of it. Told twice, it is seen once."""
    news = await captures.news(tools.work.database.reader, org_id, CaptureId(capture_id))
    if news is not None:
        await _tell(tools, org_id, news)
        await captures.settle(tools.work.database.writer, org_id, news.id, news.state)


async def _tell(tools: Tools, org_id: OrgId, news: News) -> None:
    message = messages.told(news, tools.settings.app_base_url)
    if news.response_url is not None:
        url = service.unseal_url(tools.settings, news.id, news.response_url)
        if await web.respond(tools.http, url, message):
            return
    if news.bot_token is None:
        log.warning("slack.not_confirmed", capture=str(news.id), why="disconnected")
        return
    token = service.unseal_token(tools.settings, news.connection_id, news.bot_token)
    client = web.client(tools.settings, token, http=tools.http)
    await captures.begin_posting(tools.work.database.writer, org_id, news.id)
    try:
        await web.post_directly(
            client,
            news.slack_user_id,
            message,
            f"{news.id}/{news.state}",
            look_first=news.begun_before,
        )
    except web.Disconnected:
        await _lost(tools, org_id, news.connection_id)
    except web.Declined as declined:
        log.warning("slack.not_confirmed", capture=str(news.id), why=str(declined))


@job("slack.sync_users", attempts=_SYNC_ATTEMPTS)
async def sync_users(tools: Tools, org_id: OrgId, connection_id: UUID) -> None:
    """Read one page of the people of a team, and ask for the next."""
    found = await _standing(tools, org_id, ConnectionId(connection_id))
    if found is None or found[0].sync_cursor is None:
        return
    connection, token = found
    try:
        strangers, following = await web.people(
            web.client(tools.settings, token, http=tools.http), connection.sync_cursor or ""
        )
    except web.Disconnected:
        return await _lost(tools, org_id, connection.id)
    except web.Declined as declined:
        log.warning("slack.people_not_read", why=str(declined))
        strangers, following = [], None
    async with tools.transaction(org_id) as ctx:
        at = connection.sync_cursor or ""
        if await people.advance_sync(ctx.db, org_id, connection.id, at, following):
            await people.know(ctx.db, org_id, connection.id, strangers)
            if following is not None:
                ctx.enqueue("slack.sync_users", connection.id)


@job("slack.look_up", attempts=10)
async def look_up(tools: Tools, org_id: OrgId, capture_id: UUID) -> None:
    """Ask Slack who it was that captured."""
    whose = await captures.captured_by(tools.work.database.reader, org_id, CaptureId(capture_id))
    found = whose and await _standing(tools, org_id, whose.connection_id)
    if not whose or not found:
        return
    _, token = found
    try:
        person = await web.person(
            web.client(tools.settings, token, http=tools.http), whose.slack_user_id
        )
    except web.Disconnected:
        return await _lost(tools, org_id, whose.connection_id)
    except web.Declined as declined:
        return log.warning("slack.person_not_found", why=str(declined))
    await people.know(tools.work.database.writer, org_id, whose.connection_id, [person])


@job("slack.revoke", attempts=10)
async def revoke(tools: Tools, org_id: OrgId, connection_id: UUID) -> None:
    """Give the token of an ended connection back to Slack, and forget it."""
    id = ConnectionId(connection_id)
    found = await connections.connection(tools.work.database.reader, org_id, id)
    if found is None or found.revoked_at is None or found.bot_token is None:
        return
    try:
        token = service.unseal_token(tools.settings, id, found.bot_token)
        with web.asking():
            await web.client(tools.settings, token, http=tools.http).auth_revoke()
    except (web.Disconnected, web.Declined, Unsealable) as error:
        log.info("slack.token_was_gone", why=str(error))
    await connections.wipe_token(tools.work.database.writer, org_id, id, found.bot_token)


@every(timedelta(days=1), "slack.sync_all")
async def sync_all(tools: Tools) -> None:
    """Look at the people of every team again: some came, some have another address now."""
    async with tools.work.database.transaction() as tx:
        await people.begin_syncs(tx, _SYNC_ATTEMPTS)


@every(timedelta(hours=1), "slack.purge")
async def purge(tools: Tools) -> None:
    """Forget what is kept no longer."""
    async with tools.work.database.transaction() as tx:
        await captures.purge(tx, tools.work.clock())


async def _standing(
    tools: Tools, org_id: OrgId, connection_id: ConnectionId
) -> tuple[Connection, str] | None:
    """A connection that stands, and its token."""
    found = await connections.connection(tools.work.database.reader, org_id, connection_id)
    if found is None or found.revoked_at is not None:
        return None
    token = service.token(tools.settings, found)
    return None if token is None else (found, token)


async def _lost(tools: Tools, org_id: OrgId, connection_id: ConnectionId) -> None:
    async with tools.transaction(org_id) as ctx:
        await service.lost(ctx, connection_id)

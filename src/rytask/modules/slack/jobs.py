"""Jobs for Slack, done after the answer."""

from datetime import timedelta
from uuid import UUID

import structlog

from rytask.modules.slack import messages, service, web
from rytask.modules.slack.model import CaptureId, Connection, ConnectionId, PendingConfirmation
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
    await service.create_item(ctx, CaptureId(capture_id))


@job("slack.confirm", attempts=25)
async def confirm(tools: Tools, org_id: OrgId, capture_id: UUID) -> None:
    """Tell the capturer what became of it. Told twice, it is seen once."""
    confirmation = await captures.pending_confirmation(
        tools.work.database.reader, org_id, CaptureId(capture_id)
    )
    if confirmation is not None:
        await _send_confirmation(tools, org_id, confirmation)
        await captures.mark_confirmed(
            tools.work.database.writer, org_id, confirmation.id, confirmation.state
        )


async def _send_confirmation(
    tools: Tools, org_id: OrgId, confirmation: PendingConfirmation
) -> None:
    message = messages.confirmation_message(confirmation, tools.settings.app_base_url)
    if confirmation.response_url is not None:
        url = service.unseal_url(tools.settings, confirmation.id, confirmation.response_url)
        if await web.respond(tools.http, url, message):
            return
    if confirmation.bot_token is None:
        log.warning("slack.not_confirmed", capture=str(confirmation.id), why="disconnected")
        return
    token = service.unseal_token(tools.settings, confirmation.connection_id, confirmation.bot_token)
    client = web.client(tools.settings, token, http=tools.http)
    await captures.begin_posting(tools.work.database.writer, org_id, confirmation.id)
    try:
        await web.post_directly(
            client,
            confirmation.slack_user_id,
            message,
            f"{confirmation.id}/{confirmation.state}",
            look_first=confirmation.posting_started,
        )
    except web.Disconnected:
        await _mark_token_revoked(tools, org_id, confirmation.connection_id)
    except web.Declined as declined:
        log.warning("slack.not_confirmed", capture=str(confirmation.id), why=str(declined))


@job("slack.sync_users", attempts=_SYNC_ATTEMPTS)
async def sync_users(tools: Tools, org_id: OrgId, connection_id: UUID) -> None:
    """Read one page of the people of a team, and ask for the next."""
    found = await _active_connection(tools, org_id, ConnectionId(connection_id))
    if found is None or found[0].sync_cursor is None:
        return
    connection, token = found
    try:
        profiles, following = await web.people(
            web.client(tools.settings, token, http=tools.http), connection.sync_cursor or ""
        )
    except web.Disconnected:
        return await _mark_token_revoked(tools, org_id, connection.id)
    except web.Declined as declined:
        log.warning("slack.people_not_read", why=str(declined))
        profiles, following = [], None
    async with tools.transaction(org_id) as ctx:
        at = connection.sync_cursor or ""
        if await people.advance_sync(ctx.db, org_id, connection.id, at, following):
            await people.upsert_profiles(ctx.db, org_id, connection.id, profiles)
            if following is not None:
                ctx.enqueue("slack.sync_users", connection.id)


@job("slack.look_up", attempts=10)
async def look_up(tools: Tools, org_id: OrgId, capture_id: UUID) -> None:
    """Ask Slack who it was that captured."""
    whose = await captures.captured_by(tools.work.database.reader, org_id, CaptureId(capture_id))
    found = whose and await _active_connection(tools, org_id, whose.connection_id)
    if not whose or not found:
        return
    _, token = found
    try:
        person = await web.person(
            web.client(tools.settings, token, http=tools.http), whose.slack_user_id
        )
    except web.Disconnected:
        return await _mark_token_revoked(tools, org_id, whose.connection_id)
    except web.Declined as declined:
        return log.warning("slack.person_not_found", why=str(declined))
    await people.upsert_profiles(tools.work.database.writer, org_id, whose.connection_id, [person])


@job("slack.revoke", attempts=10)
async def revoke(tools: Tools, org_id: OrgId, connection_id: UUID) -> None:
    """Give the token of an ended connection back to Slack, and forget it."""
    id = ConnectionId(connection_id)
    found = await connections.connection(tools.work.database.reader, org_id, id)
    if found is None or found.revoked_at is None or found.bot_token is None:
        return
    try:
        token = service.unseal_token(tools.settings, id, found.bot_token)
        with web.translated_errors():
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


async def _active_connection(
    tools: Tools, org_id: OrgId, connection_id: ConnectionId
) -> tuple[Connection, str] | None:
    """A connection that stands, and its token."""
    found = await connections.connection(tools.work.database.reader, org_id, connection_id)
    if found is None or found.revoked_at is not None:
        return None
    token = service.token(tools.settings, found)
    return None if token is None else (found, token)


async def _mark_token_revoked(tools: Tools, org_id: OrgId, connection_id: ConnectionId) -> None:
    async with tools.transaction(org_id) as ctx:
        await service.mark_token_revoked(ctx, connection_id)

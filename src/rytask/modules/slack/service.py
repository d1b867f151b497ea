"""Connecting Slack, taking captures from it, carrying them out, and undoing them."""

from functools import cache
from typing import Literal
from urllib.parse import urlencode

import msgspec
import structlog
from msgspec.structs import replace

from rytask.modules.identity import service as identity
from rytask.modules.projects import service as projects
from rytask.modules.slack import messages, rules, web
from rytask.modules.slack.events import (
    SlackConnected,
    SlackDisconnected,
    SlackRouted,
    SlackUserMapped,
)
from rytask.modules.slack.model import (
    CaptureId,
    CaptureRequest,
    Channel,
    Connection,
    ConnectionId,
    Delivery,
    Grant,
    Install,
    InstallStart,
    Integration,
    LockedCapture,
    Outcome,
    SlackUser,
    State,
    Team,
    UnresolvedToken,
)
from rytask.modules.slack.queries import captures, connections, people
from rytask.modules.work_items import service as work_items
from rytask.modules.work_items.schemas import NewItem
from rytask.platform import auth
from rytask.platform.auth import permissions
from rytask.platform.crypto import Sealer, Unsealable
from rytask.platform.db import Duplicate, Reader
from rytask.platform.errors import Conflict, Forbidden, Invalid, NotFound, Refused
from rytask.platform.ids import ProjectId, UserId, new_id
from rytask.platform.jobs import TryAgain
from rytask.platform.settings import Settings
from rytask.platform.work import Actor, Reading, Work, Writing, system

log = structlog.get_logger("slack")

SCOPES = (
    "commands",
    "chat:write",
    "users:read",
    "users:read.email",
    "team:read",
    "im:write",
    "im:history",
)
"""The last two find the conversation with a person, and our own message in it, before repeating."""


async def accept(work: Work, settings: Settings, delivery: Delivery) -> bool:
    """Keep a capture for good, whatever dies from here on; False when its team is not connected.

    Costs one statement. A delivery that was kept before, however long ago, changes nothing.
    """
    capture_id = CaptureId(new_id())
    sealed = None
    if delivery.response_url is not None:
        sealed = sealer(settings).seal(
            delivery.response_url.encode(), _url_associated_data(capture_id)
        )
    kept = await captures.accept(work.database.writer, capture_id, delivery, sealed, work.clock())
    if kept:
        work.notify_workers()
    return kept


async def create_item(ctx: Writing, capture_id: CaptureId) -> None:
    """Make the work item of a capture, and ask for the confirmation. Raises what refuses it."""
    capture = await captures.lock_capture(ctx.db, ctx.org_id, capture_id)
    if capture is None or capture.state != "accepted":
        return
    request = await _capture_request(ctx, capture)
    text = await _readable(ctx, capture.connection_id, request)
    line, title, rest = rules.split_title(text)
    parts = (rest, request.description, request.permalink)
    new_item = NewItem(
        project_id=capture.project_id,
        quick_add=line,
        title=title,
        description="\n\n".join(filter(None, parts)) or None,
        priority=request.priority,
        due_date=request.due_date,
    )
    with ctx.acting_as(_capturer(ctx, capture)):
        created = await work_items.create(
            ctx,
            new_item,
            source="SLACK",
            capture_id=capture.id,
            reporter_id=capture.reporter_id,
            confined=capture.reporter_id is None,
        )
    item = created.data
    outcome = Outcome(
        key=item.key,
        title=item.title,
        priority=item.priority,
        due_date=item.due_date,
        estimate_value=item.estimate_value,
        unresolved=[UnresolvedToken(token.token, token.kind) for token in created.meta.unresolved],
        linked=capture.reporter_id is not None,
    )
    await captures.decide(ctx.db, ctx.org_id, capture_id, "captured", outcome, item.id)
    ctx.enqueue("slack.confirm", capture_id)


async def refuse(ctx: Writing, capture_id: CaptureId, refusal: Refused) -> None:
    """Store why a capture made no work item, and ask to confirm that."""
    capture = await captures.lock_capture(ctx.db, ctx.org_id, capture_id)
    if capture is None or capture.state != "accepted":
        return
    request = await _capture_request(ctx, capture)
    reason = messages.refusal_reason(refusal)
    outcome = Outcome(text=request.text, refusal=reason)
    await captures.decide(ctx.db, ctx.org_id, capture_id, "refused", outcome, None)
    ctx.enqueue("slack.confirm", capture_id)


def _capturer(ctx: Writing, capture: LockedCapture) -> Actor:
    """Return who acts: a member with the rights they have now, else the organization itself.

    Somebody without an account may capture into the project of the channel and take that back: the
    caller keeps them to it. Raises Forbidden for a role that may not change items.
    """
    if capture.reporter_id is None or capture.reporter_role is None:
        return system(ctx.org_id, "SLACK")
    granted = permissions(capture.reporter_role, ())
    if "work:write" not in granted:
        raise Forbidden(
            f"your role, {capture.reporter_role}, cannot create or change items",
            code="slack.role_too_low",
        )
    return Actor(
        org_id=ctx.org_id,
        user_id=capture.reporter_id,
        role=capture.reporter_role,
        permissions=granted,
        source="SLACK",
    )


async def _capture_request(ctx: Writing, capture: LockedCapture) -> CaptureRequest:
    """Read the request. First-time capturers are recorded."""
    request = msgspec.json.decode(capture.request, type=CaptureRequest)
    if not capture.capturer_recorded:
        name = request.user_name or capture.slack_user_id
        await people.insert_user(
            ctx.db, ctx.org_id, capture.connection_id, capture.slack_user_id, name
        )
        ctx.enqueue("slack.look_up", capture.id)
    return request


async def _readable(ctx: Writing, connection_id: ConnectionId, request: CaptureRequest) -> str:
    if not request.markup:
        return request.text
    ids = rules.mentions(request.text)
    mentioned = await people.mentioned(ctx.db, ctx.org_id, connection_id, ids) if ids else []
    named = {person.slack_user_id: (person.name, person.handle) for person in mentioned}
    return rules.readable(request.text, rules.mention(named))


async def undo(
    work: Work,
    settings: Settings,
    *,
    team_id: str,
    slack_user_id: str,
    capture_id: CaptureId,
    response_url: str | None,
) -> bool:
    """Put the item of a capture into the trash; False for anybody but its capturer.

    Undoing twice changes nothing. After a day, or when the capturer may not change the item any
    more, the confirmation is sent again and says so.
    """
    found = await captures.capturer(work.database.reader, team_id, capture_id)
    if found is None or found.slack_user_id != slack_user_id:
        return False
    async with work.writing(system(found.org_id, "SLACK")) as ctx:
        capture = await captures.lock_capture(ctx.db, ctx.org_id, capture_id)
        if capture is None or capture.state != "captured" or capture.item_id is None:
            return True
        state, outcome = await _take_back(ctx, capture)
        sealed = None
        if response_url is not None:
            sealed = sealer(settings).seal(response_url.encode(), _url_associated_data(capture_id))
        await captures.confirm_again(ctx.db, ctx.org_id, capture_id, state, outcome, sealed)
        ctx.enqueue("slack.confirm", capture_id)
    return True


async def _take_back(ctx: Writing, capture: LockedCapture) -> tuple[State, Outcome]:
    outcome = msgspec.json.decode(capture.outcome, type=Outcome) if capture.outcome else Outcome()
    if ctx.now - capture.created_at > rules.UNDO_LIFETIME:
        return "captured", replace(outcome, note=messages.UNDO_TOO_LATE)
    if capture.item_trashed or capture.item_id is None:
        return "undone", outcome
    try:
        with ctx.acting_as(_capturer(ctx, capture)):
            await work_items.trash(ctx, capture.item_id)
    except (Forbidden, NotFound, Conflict):
        return "captured", replace(outcome, note=messages.UNDO_REFUSED)
    return "undone", outcome


async def integration(ctx: Reading, settings: Settings) -> Integration:
    """Whether the organization is connected."""
    found = await connections.connection_of_org(ctx.db, ctx.org_id)
    if found is None:
        return Integration("not_connected", settings.slack)
    return Integration(
        "connected",
        settings.slack,
        Team(found.team_id, found.team_name),
        found.connected_at,
        found.default_project_id,
    )


def begin_install(actor: Actor, work: Work, settings: Settings) -> Install:
    """Return the address where an admin consents in Slack."""
    require_configured(settings)
    by = actor.session_id or actor.token_id or actor.me
    install_start = InstallStart(actor.org_id, actor.me, by, work.clock())
    parameters = {
        "client_id": settings.slack_client_id,
        "scope": ",".join(SCOPES),
        "redirect_uri": settings.slack_oauth_callback_url,
        "state": rules.make_state(settings.signing_secret, install_start),
    }
    return Install(f"{rules.consent_url(settings.slack_api_base_url)}?{urlencode(parameters)}")


class NotInstalled(Exception):
    """Slack was not connected; `reason` is what the web app explains."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


async def finish_install(work: Work, settings: Settings, *, code: str, state: str) -> None:
    """Connect the team that agreed to the organization whose admin began. Raises NotInstalled.

    The admin must still be one, and still signed in as when they began. A state is good for one
    attempt, whatever comes of it.
    """
    install_start = await use_state(work, settings, state)
    org_id, user_id, db = install_start.org_id, install_start.user_id, work.database.reader
    role = await connections.role_of(db, org_id, user_id)
    out = await auth.revoked(db, install_start.at, org_id, user_id, install_start.credential_id)
    if out or role not in ("OWNER", "ADMIN"):
        raise NotInstalled("not_allowed")
    try:
        grant = await web.exchange(settings, code)
    except (TryAgain, web.Declined, web.Disconnected) as error:
        log.warning("slack.not_installed", why=str(error))
        raise NotInstalled("exchange_failed") from error
    if grant is None:
        raise NotInstalled("enterprise_install")
    actor = Actor(org_id=org_id, user_id=user_id, role=role, permissions=frozenset(), source="WEB")
    try:
        async with work.writing(actor) as ctx:
            await identity.require_current(ctx, "org:settings:write")
            await _connect(ctx, settings, grant, install_start)
    except identity.NotPermitted as refusal:
        raise NotInstalled("not_allowed") from refusal
    except Duplicate as taken:
        other_org = str(taken) == "slack_connections_team"
        raise NotInstalled("team_taken" if other_org else "other_team_connected") from taken


async def use_state(work: Work, settings: Settings, state: str) -> InstallStart:
    """Use up a state that Slack hands back. Raises NotInstalled when it is not good."""
    try:
        install_start = rules.read_state(settings.signing_secret, state, work.clock())
    except rules.BadState as bad:
        raise NotInstalled(bad.reason) from bad
    if not await auth.use_up(work.database.writer, rules.state_id(install_start)):
        raise NotInstalled("state_used")
    return install_start


async def _connect(
    ctx: Writing, settings: Settings, grant: Grant, install_start: InstallStart
) -> None:
    earlier = await connections.lock_earlier(ctx.db, ctx.org_id, grant.team.id)
    if await connections.connected_since(ctx.db, ctx.org_id, install_start.at):
        raise NotInstalled("state_used")
    connection_id = earlier or ConnectionId(new_id())
    sealed = sealer(settings).seal(grant.bot_token.encode(), _token_associated_data(connection_id))
    await connections.connect(
        ctx.db, ctx.org_id, connection_id, grant, sealed, install_start.user_id, ctx.now
    )
    ctx.record(
        SlackConnected(subject_id=connection_id, team_id=grant.team.id, team_name=grant.team.name)
    )
    ctx.enqueue("slack.sync_users", connection_id)


async def disconnect(ctx: Writing) -> None:
    """End the connection. What was accepted before is still carried out."""
    if not await disconnect_if_connected(ctx):
        raise _NOT_CONNECTED


async def disconnect_if_connected(ctx: Writing) -> bool:
    """The same, for who does not know whether there is a connection; False if there is none."""
    found = await connections.connection_of_org(ctx.db, ctx.org_id)
    if found is None:
        return False
    if await connections.disconnect(ctx.db, ctx.org_id, found.id, ctx.now, wipe=False):
        _disconnected(ctx, found, "ADMIN")
        ctx.enqueue("slack.revoke", found.id)
    return True


async def mark_token_revoked(ctx: Writing, connection_id: ConnectionId) -> None:
    """Slack does not know our token any more: the connection is over, and the admins hear of it."""
    found = await connections.connection(ctx.db, ctx.org_id, connection_id)
    if found and await connections.disconnect(ctx.db, ctx.org_id, found.id, ctx.now, wipe=True):
        _disconnected(ctx, found, "REVOKED")


def _disconnected(
    ctx: Writing, connection: Connection, reason: Literal["ADMIN", "REVOKED"]
) -> None:
    ctx.record(
        SlackDisconnected(
            subject_id=connection.id,
            team_id=connection.team_id,
            team_name=connection.team_name,
            reason=reason,
        )
    )


async def set_default_project(ctx: Writing, project_id: ProjectId | None) -> None:
    """Set the project for channels without one of their own."""
    found = await _connected(ctx)
    if project_id is not None:
        await projects.require(ctx, project_id)
    await connections.set_default_project(ctx.db, ctx.org_id, found.id, project_id)
    ctx.record(SlackRouted(subject_id=found.id, channel_id=None, target_id=project_id))


async def channels(ctx: Reading) -> list[Channel]:
    """The channels that have a project of their own."""
    found = await _connected(ctx)
    return await connections.channels(ctx.db, ctx.org_id, found.id)


async def set_channel(ctx: Writing, channel_id: str, project_id: ProjectId) -> Channel:
    """Send the captures of a channel to a project."""
    found = await _connected(ctx)
    await projects.require(ctx, project_id)
    await connections.set_channel(ctx.db, ctx.org_id, found.id, channel_id, project_id)
    ctx.record(SlackRouted(subject_id=found.id, channel_id=channel_id, target_id=project_id))
    return Channel(channel_id, project_id)


async def delete_channel(ctx: Writing, channel_id: str) -> None:
    """Send the captures of a channel where all the others go."""
    found = await _connected(ctx)
    if not await connections.delete_channel(ctx.db, ctx.org_id, found.id, channel_id):
        raise NotFound("This channel has no project of its own.")
    ctx.record(SlackRouted(subject_id=found.id, channel_id=channel_id, target_id=None))


async def users(ctx: Reading) -> list[SlackUser]:
    """The people of the connected team, as far as they are known."""
    found = await connections.connection_of_org(ctx.db, ctx.org_id)
    return await people.users(ctx.db, ctx.org_id, found.id) if found else []


async def map_user(ctx: Writing, slack_user_id: str, user_id: UserId | None) -> SlackUser:
    """Say who somebody in Slack is (None: nobody here), whatever the e-mail addresses say."""
    found = await _connected(ctx)
    wanted = () if user_id is None else (user_id,)
    roles = await identity.require_current(ctx, "org:settings:write", *wanted)
    if user_id is not None and user_id not in roles:
        raise Invalid("There is no such member.", code="slack.unknown_member")
    mapped = await people.map_user(ctx.db, ctx.org_id, found.id, slack_user_id, user_id)
    if mapped is None:
        raise NotFound("Nobody with this id is known in the connected Slack workspace.")
    ctx.record(SlackUserMapped(subject_id=found.id, slack_user_id=slack_user_id, user_id=user_id))
    return mapped


async def token_of_team(work: Work, settings: Settings, team_id: str) -> str | None:
    """The token to call Slack with for a team; None when it is not connected."""
    found = await connections.connection_of_team(work.database.reader, team_id)
    return None if found is None else token(settings, found)


def token(settings: Settings, connection: Connection) -> str | None:
    """The token of a connection that still has one."""
    if connection.bot_token is None:
        return None
    return unseal_token(settings, connection.id, connection.bot_token)


def unseal_token(settings: Settings, connection_id: ConnectionId, sealed: bytes) -> str:
    return sealer(settings).unseal(sealed, _token_associated_data(connection_id)).decode()


def unseal_url(settings: Settings, capture_id: CaptureId, sealed: bytes) -> str:
    return sealer(settings).unseal(sealed, _url_associated_data(capture_id)).decode()


async def every_connection(db: Reader) -> list[Connection]:
    """Every connection of every organization, also those that ended."""
    return await connections.connections(db)


async def connection_problem(
    settings: Settings, connection: Connection, *, online: bool
) -> str | None:
    """Return the problem of an existing connection, if any; `online` asks Slack, too."""
    try:
        opened = token(settings, connection)
    except Unsealable:
        return "SLACK_TOKEN_ENC_KEY does not open its token"
    if online and opened:
        try:
            await web.try_token(settings, opened)
        except web.Disconnected as ended:
            return f"Slack does not take its token any more ({ended})"
        except (web.Declined, TryAgain) as error:
            return str(error)
    return None


def require_configured(settings: Settings) -> None:
    if not settings.slack:
        raise NotFound(
            "Slack is not set up on this server: set SLACK_CLIENT_ID, SLACK_CLIENT_SECRET,"
            " SLACK_SIGNING_SECRET and SLACK_TOKEN_ENC_KEY, and start it again.",
            code="slack.not_configured",
        )


def sealer(settings: Settings) -> Sealer:
    return _sealer(settings.slack_token_enc_key)


@cache
def _sealer(key: str) -> Sealer:
    return Sealer.read(key)


def _token_associated_data(connection_id: ConnectionId) -> bytes:
    return b"slack_connections/" + connection_id.bytes


def _url_associated_data(capture_id: CaptureId) -> bytes:
    return b"slack_captures/" + capture_id.bytes


async def _connected(ctx: Reading) -> Connection:
    found = await connections.connection_of_org(ctx.db, ctx.org_id)
    if found is None:
        raise _NOT_CONNECTED
    return found


_NOT_CONNECTED = Conflict("Slack is not connected: connect it first.", code="slack.not_connected")
_NO_PROJECT = Invalid("There is no such project.", code="slack.unknown_project")

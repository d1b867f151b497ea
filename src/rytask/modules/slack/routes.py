"""Slack over HTTP: its settings for admins, and the doors that Slack itself knocks at."""

from contextlib import suppress
from urllib.parse import parse_qsl, urlencode
from uuid import UUID

import msgspec

from rytask.modules.slack import messages, rules, schemas, service, web
from rytask.modules.slack.model import (
    CaptureId,
    CaptureRequest,
    Channel,
    Delivery,
    Install,
    Integration,
    SlackUser,
)
from rytask.modules.slack.schemas import (
    CallbackQuery,
    ChannelBody,
    ChannelId,
    Command,
    IntegrationChanges,
    Interaction,
    MapBody,
    SlackUserId,
)
from rytask.platform.errors import Malformed, Unauthenticated, Unavailable
from rytask.platform.http import Answer, Data, Request, Routes
from rytask.platform.settings import Settings
from rytask.platform.work import Reading, Work, Writing

routes = Routes("slack")
callback = Routes("slack", prefix="")
_MAX_BODY = 2**20


@routes.route(
    "GET", "/integrations/slack", permission="org:read", operation_id="get_slack_integration"
)
async def get_slack_integration(ctx: Reading, settings: Settings) -> Integration:
    """Say whether Slack is connected, and where captures go."""
    return await service.integration(ctx, settings)


@routes.route(
    "PATCH",
    "/integrations/slack",
    permission="org:settings:write",
    operation_id="update_slack_integration",
)
async def update_slack_integration(
    ctx: Writing, settings: Settings, data: IntegrationChanges
) -> Integration:
    """Choose the project of captures whose channel has none of its own."""
    if data.default_project_id is not msgspec.UNSET:
        await service.set_default_project(ctx, data.default_project_id)
    return await service.integration(ctx, settings)


@routes.route(
    "DELETE",
    "/integrations/slack",
    permission="org:settings:write",
    operation_id="disconnect_slack",
)
async def disconnect_slack(ctx: Writing) -> None:
    """Disconnect Slack. What was captured before stays, and is still confirmed."""
    await service.disconnect(ctx)


@routes.route(
    "GET",
    "/integrations/slack/install",
    permission="org:settings:write",
    operation_id="get_slack_install",
)
async def get_slack_install(ctx: Reading, work: Work, settings: Settings) -> Install:
    """Get the page at Slack where you agree to connect it. It is good for ten minutes."""
    return service.begin_install(ctx.actor, work, settings)


@callback.route(
    "GET",
    "/integrations/slack/oauth/callback",
    public=True,
    operation_id="finish_slack_install",
    status=302,
)
async def finish_slack_install(work: Work, settings: Settings, query: CallbackQuery) -> Answer:
    """Slack sends the browser here; it is sent on to the settings, with what came of it."""
    service.require_configured(settings)
    outcome = {"connected": "1"}
    if query.error:
        outcome = {"error": "access_denied" if query.error == "access_denied" else "slack_refused"}
        with suppress(service.NotInstalled):
            await service.use_state(work, settings, query.state)
    else:
        try:
            await service.finish_install(work, settings, code=query.code, state=query.state)
        except service.NotInstalled as failure:
            outcome = {"error": failure.reason}
    to = f"{settings.app_base_url}/settings/integrations?{urlencode(outcome)}"
    return Answer(status=302, headers=[(b"location", to.encode())])


@routes.route(
    "GET",
    "/integrations/slack/users",
    permission="org:settings:write",
    operation_id="list_slack_users",
)
async def list_slack_users(ctx: Reading) -> list[SlackUser]:
    """List the people of the connected Slack workspace, and who they are here."""
    return await service.users(ctx)


@routes.route(
    "POST",
    "/integrations/slack/users/{slack_user_id}/map",
    permission="org:settings:write",
    operation_id="map_slack_user",
)
async def map_slack_user(ctx: Writing, slack_user_id: SlackUserId, data: MapBody) -> SlackUser:
    """Say which member somebody in Slack is."""
    return await service.map_user(ctx, slack_user_id, data.user_id)


@routes.route(
    "DELETE",
    "/integrations/slack/users/{slack_user_id}/map",
    permission="org:settings:write",
    operation_id="unmap_slack_user",
)
async def unmap_slack_user(ctx: Writing, slack_user_id: SlackUserId) -> None:
    """Say that somebody in Slack is no member, even if an e-mail address suggests it."""
    await service.map_user(ctx, slack_user_id, None)


@routes.route(
    "GET",
    "/integrations/slack/channels",
    permission="org:settings:write",
    operation_id="list_slack_channels",
)
async def list_slack_channels(ctx: Reading) -> Data[list[Channel]]:
    """List the channels whose captures go to a project of their own."""
    return Data(await service.channels(ctx))


@routes.route(
    "PUT",
    "/integrations/slack/channels/{channel_id}",
    permission="org:settings:write",
    operation_id="set_slack_channel",
)
async def set_slack_channel(
    ctx: Writing, channel_id: ChannelId, data: ChannelBody
) -> Data[Channel]:
    """Send what is captured in a channel to a project."""
    return Data(await service.set_channel(ctx, channel_id, data.project_id))


@routes.route(
    "DELETE",
    "/integrations/slack/channels/{channel_id}",
    permission="org:settings:write",
    operation_id="unset_slack_channel",
)
async def unset_slack_channel(ctx: Writing, channel_id: ChannelId) -> None:
    """Send what is captured in a channel to the default project again."""
    await service.delete_channel(ctx, channel_id)


@routes.route(
    "POST",
    "/integrations/slack/commands",
    public=True,
    operation_id="receive_slack_command",
    status=200,
    throttle="none",
    max_body=_MAX_BODY,
)
async def receive_slack_command(work: Work, settings: Settings, request: Request) -> Answer:
    """Take `/task …` from Slack: signed by Slack, urlencoded.

    Answered as soon as it is kept. The same delivery again is answered the same, and makes nothing.
    """
    form = await _signed_form(work, settings, request)
    if "ssl_check" in form:
        return Answer()
    try:
        command = schemas.command(form)
    except msgspec.ValidationError as error:
        raise Malformed(f"This is no slash command: {error}.") from None
    text = rules.clean(command.text)
    if text == "help":
        return Answer.json(messages.usage(command.command))
    if not text:
        return await _open_modal_for_command(work, settings, command)
    if len(text) > rules.MAX_TEXT:
        return Answer.json(messages.ephemeral(messages.TOO_LONG))
    kept = await service.accept(work, settings, _delivery(command, text, settings))
    return _ON_IT if kept else _NOT_CONNECTED


@routes.route(
    "POST",
    "/integrations/slack/interactivity",
    public=True,
    operation_id="receive_slack_interaction",
    status=200,
    throttle="none",
    max_body=_MAX_BODY,
)
async def receive_slack_interaction(work: Work, settings: Settings, request: Request) -> Answer:
    """Take submitted forms, message shortcuts and pressed buttons from Slack, signed by Slack."""
    form = await _signed_form(work, settings, request)
    try:
        asked = schemas.interaction.decode(form.get("payload", ""))
    except (msgspec.MsgspecError, UnicodeEncodeError, RecursionError) as error:
        raise Malformed(f"This is no interaction: {str(error)[:200]}.") from None
    if asked.type == "view_submission" and asked.view and asked.view.callback_id == messages.MODAL:
        return await _submit(work, settings, asked, asked.view)
    if asked.type in ("message_action", "shortcut") and asked.callback_id in _SHORTCUTS:
        return await _open_modal_for_message(work, settings, asked)
    if asked.type == "block_actions":
        return await _handle_buttons(work, settings, asked)
    return Answer()


_SHORTCUTS = (messages.SHORTCUT, messages.MODAL)
_ON_IT = Answer.json(messages.ephemeral(messages.ON_IT))
_NOT_CONNECTED = Answer.json(messages.ephemeral(messages.NOT_CONNECTED))


async def _signed_form(work: Work, settings: Settings, request: Request) -> dict[str, str]:
    service.require_configured(settings)
    body = await request.body(_MAX_BODY)
    if not rules.is_signed(
        settings.slack_signing_secret,
        body=body,
        timestamp=request.header(b"x-slack-request-timestamp"),
        signature=request.header(b"x-slack-signature"),
        now=work.clock(),
    ):
        raise Unauthenticated(
            "This is not signed by Slack, or not within the last five minutes.",
            code="slack.bad_signature",
        )
    try:
        return dict(parse_qsl(body.decode(), keep_blank_values=True, max_num_fields=100))
    except ValueError:
        raise Malformed("The body is no form that can be read.") from None


def _delivery(command: Command, text: str, settings: Settings) -> Delivery:
    return Delivery(
        team_id=command.team_id,
        kind="slash",
        trigger=command.trigger_id,
        slack_user_id=command.user_id,
        channel_id=command.channel_id or None,
        request=CaptureRequest(
            text=text, markup=True, user_name=rules.clean(command.user_name)[:80] or None
        ),
        response_url=rules.safe_response_url(command.response_url, settings.slack_api_base_url),
    )


async def _open_modal_for_command(work: Work, settings: Settings, command: Command) -> Answer:
    token = await service.token_of_team(work, settings, command.team_id)
    if token is None:
        return _NOT_CONNECTED
    view = messages.modal(schemas.ModalOrigin(channel=command.channel_id))
    if await web.open_view(settings, token, command.trigger_id, view):
        return Answer()
    return Answer.json(messages.ephemeral(messages.NO_MODAL))


async def _open_modal_for_message(work: Work, settings: Settings, asked: Interaction) -> Answer:
    token = await service.token_of_team(work, settings, _team(asked))
    if token is None:
        return Answer()
    if await web.open_view(settings, token, asked.trigger_id, messages.message_modal(asked)):
        return Answer()
    # The one way to tell the person: Slack says that the app did not manage.
    raise Unavailable(messages.NO_MODAL)


async def _submit(work: Work, settings: Settings, asked: Interaction, view: schemas.View) -> Answer:
    try:
        origin = schemas.origin.decode(view.private_metadata or "{}")
    except msgspec.MsgspecError:
        raise Malformed("This form was not opened by us.") from None
    capture_request = messages.capture_request(view, origin, asked.user.name or asked.user.username)
    if not capture_request.text:
        return Answer.json(messages.form_error("A title is needed."))
    delivery = Delivery(
        team_id=_team(asked),
        kind="shortcut" if origin.permalink else "modal",
        trigger=view.id,
        slack_user_id=asked.user.id,
        channel_id=origin.channel or None,
        request=capture_request,
    )
    if await service.accept(work, settings, delivery):
        return Answer()
    return Answer.json(messages.form_error(messages.NOT_CONNECTED))


async def _handle_buttons(work: Work, settings: Settings, asked: Interaction) -> Answer:
    for action in asked.actions:
        if action.action_id == messages.UNDO:
            try:
                capture_id = CaptureId(UUID(action.value or ""))
            except ValueError:
                raise Malformed("This button is not ours.") from None
            theirs = await service.undo(
                work,
                settings,
                team_id=_team(asked),
                slack_user_id=asked.user.id,
                capture_id=capture_id,
                response_url=rules.safe_response_url(
                    asked.response_url, settings.slack_api_base_url
                ),
            )
            if not theirs:
                return Answer.json(messages.ephemeral(messages.NOT_YOURS))
    return Answer()


def _team(asked: Interaction) -> str:
    return asked.team.id if asked.team else ""

"""Calling Slack, and what its refusals mean."""

import logging
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, cast

from slack_sdk.errors import SlackApiError

from rytask.modules.slack.model import Grant, Json, SlackProfile, Team
from rytask.platform.jobs import TryAgain
from rytask.platform.settings import Settings

if TYPE_CHECKING:
    import aiohttp
    from slack_sdk.web.async_client import AsyncWebClient
    from slack_sdk.web.async_slack_response import AsyncSlackResponse

# The SDK formats every request for its log unless the level says that nobody reads it.
_log = logging.getLogger("slack")
_log.setLevel(logging.INFO)


class Disconnected(Exception):
    """Slack does not accept our token any more, and will not again."""


class Declined(Exception):
    """Slack understood, and will never do it; `str()` is Slack's code."""


def client(
    settings: Settings,
    token: str | None = None,
    *,
    http: "aiohttp.ClientSession | None" = None,
    timeout: int = 8,
) -> "AsyncWebClient":
    """A client that never repeats a call by itself: whether that is right, only we know."""
    # Here, because it costs 0.2 s and 10 MiB (2026-11), and most API processes never call Slack.
    from slack_sdk.web.async_client import AsyncWebClient

    return AsyncWebClient(
        token=token,
        base_url=settings.slack_api_base_url,
        session=http,
        timeout=timeout,
        retry_handlers=[],
        logger=_log,
    )


@contextmanager
def translated_errors() -> Iterator[None]:
    """Turn what may go wrong into Disconnected, Declined or TryAgain."""
    import aiohttp

    try:
        yield
    except SlackApiError as error:
        response = error.response
        status = getattr(response, "status_code", None) or getattr(response, "status", 0)
        code = response.get("error") if isinstance(getattr(response, "data", None), dict) else None
        if status == 429 or code == "ratelimited":
            after = retry_after(response.headers)
            raise TryAgain("Slack asks us to slow down", after=after) from error
        if code in _TOKEN_GONE_CODES:
            raise Disconnected(code) from error
        if code is None or status >= 500 or code in _TRANSIENT_CODES:
            raise TryAgain(f"Slack answered {status} {code or ''}") from error
        raise Declined(code) from error
    except (aiohttp.ClientError, TimeoutError) as error:
        raise TryAgain(f"Slack cannot be reached: {type(error).__name__}") from error


_TOKEN_GONE_CODES = frozenset(
    {
        "token_revoked",
        "token_expired",
        "account_inactive",
        "invalid_auth",
        "not_authed",
        "team_access_not_granted",
    }
)
_TRANSIENT_CODES = frozenset(
    {"internal_error", "fatal_error", "service_unavailable", "request_timeout", "team_added_to_org"}
)
_MAX_WAIT = 900.0


def retry_after(headers: Mapping[str, str]) -> float:
    """The seconds that Slack asks us to wait."""
    try:
        return min(max(float(headers.get("Retry-After", "1")), 0.0), _MAX_WAIT)
    except ValueError:
        return 1.0


async def exchange(settings: Settings, code: str) -> Grant | None:
    """Fetch an installation's grant. None for a whole enterprise, which has no one team."""
    with translated_errors():
        # Not by `oauth_v2_access`: it needs a part of aiohttp that is deprecated.
        answer = _content(
            await client(settings).api_call(
                "oauth.v2.access",
                data={
                    "client_id": settings.slack_client_id,
                    "client_secret": settings.slack_client_secret,
                    "code": code,
                    "redirect_uri": settings.slack_oauth_callback_url,
                },
            )
        )
    team: Json | None = answer["team"]
    if not team or answer.get("is_enterprise_install"):
        return None
    return Grant(
        team=Team(team["id"], team.get("name") or team["id"]),
        bot_user_id=answer["bot_user_id"],
        bot_token=answer["access_token"],
        scopes=answer["scope"].split(","),
    )


async def try_token(settings: Settings, token: str) -> None:
    """Ask Slack whether it takes the token. Raises Disconnected, Declined or TryAgain."""
    with translated_errors():
        await client(settings, token).auth_test()


async def open_view(settings: Settings, token: str, trigger_id: str, view: Json) -> bool:
    """Open a modal for somebody who waits; False when Slack did not, in its three seconds."""
    try:
        with translated_errors():
            await client(settings, token, timeout=2).views_open(trigger_id=trigger_id, view=view)
    except (TryAgain, Declined, Disconnected) as error:
        _log.warning("slack.modal_not_opened: %s", error)
        return False
    return True


async def post_directly(
    web: "AsyncWebClient", slack_user_id: str, message: Json, mark: str, *, look_first: bool
) -> None:
    """Write to somebody, once: `look_first` looks for a message with this mark before."""
    try:
        with translated_errors():
            opened = _content(await web.conversations_open(users=slack_user_id))
        conversation = opened["channel"]["id"]
        if look_first and await _is_there(web, conversation, mark):
            return
    except Declined as declined:
        if str(declined) != "missing_scope":
            raise
        # An app installed with fewer permissions can still write, but not look.
        conversation = slack_user_id
    with translated_errors():
        await web.chat_postMessage(
            channel=conversation,
            metadata={"event_type": _EVENT, "event_payload": {"capture": mark}},
            **message,
        )


async def _is_there(web: "AsyncWebClient", conversation: str, mark: str) -> bool:
    with translated_errors():
        answer = _content(
            await web.conversations_history(
                channel=conversation, limit=100, include_all_metadata=True
            )
        )
    return any(
        (message.get("metadata") or {}).get("event_payload", {}).get("capture") == mark
        for message in answer["messages"]
    )


_EVENT = "rytask_capture"


async def respond(http: "aiohttp.ClientSession", url: str, message: Json) -> bool:
    """Replace what a response URL shows, so that a repeat shows once. False: it is of no use.

    Raises TryAgain.
    """
    body = {"response_type": "ephemeral", "replace_original": True, **message}
    with translated_errors():
        async with http.post(url, json=body, allow_redirects=False) as answer:
            said = (await answer.content.read(200)).decode("utf-8", "replace")
    if answer.status == 429:
        raise TryAgain("Slack asks us to slow down", after=retry_after(answer.headers))
    if answer.status >= 500 or answer.status == 408:
        raise TryAgain(f"Slack's response URL answered {answer.status} {said}")
    return answer.status < 300


async def people(web: "AsyncWebClient", cursor: str) -> tuple[list[SlackProfile], str | None]:
    """A page of the people of a team, and where the next one begins."""
    with translated_errors():
        answer = _content(await web.users_list(cursor=cursor or None, limit=200))
    following = (answer.get("response_metadata") or {}).get("next_cursor")
    found = [_profile(member) for member in answer["members"] if _is_human(member)]
    return found, following or None


async def person(web: "AsyncWebClient", slack_user_id: str) -> SlackProfile:
    """Somebody by their id."""
    with translated_errors():
        answer = _content(await web.users_info(user=slack_user_id))
    return _profile(answer["user"])


def _content(answer: "AsyncSlackResponse") -> Json:
    return cast("Json", answer.data)


def _is_human(member: Json) -> bool:
    return not (member.get("deleted") or member.get("is_bot") or member["id"] == "USLACKBOT")


def _profile(member: Json) -> SlackProfile:
    profile = member.get("profile") or {}
    name = profile.get("display_name") or member.get("name") or profile.get("real_name")
    confirmed = member.get("is_email_confirmed", True)
    return SlackProfile(
        member["id"], name or member["id"], (profile.get("email") or None) if confirmed else None
    )

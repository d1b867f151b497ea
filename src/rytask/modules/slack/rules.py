"""Decisions about what Slack sends: whose signature, which text, and who began an installation."""

import base64
import binascii
import hashlib
import hmac
import re
import struct
from collections.abc import Callable, Iterable, Mapping
from datetime import UTC, datetime, timedelta
from urllib.parse import urlsplit
from uuid import UUID

from slack_sdk.signature import Clock, SignatureVerifier

from rytask.modules.slack.model import InstallStart
from rytask.platform.ids import OrgId, UserId

MAX_TEXT = 10_000
MAX_TITLE = 500
STATE_LIFETIME = timedelta(minutes=10)
UNDO_LIFETIME = timedelta(hours=24)


class _At(Clock):
    """A clock that stands still."""

    def __init__(self, now: datetime) -> None:
        self._now = now.timestamp()

    def now(self) -> float:
        return self._now


def is_signed(
    secrets: Iterable[str],
    *,
    body: bytes,
    timestamp: str | None,
    signature: str | None,
    now: datetime,
) -> bool:
    """Whether Slack signed these very bytes, with one of our secrets, in the last 300 seconds."""
    if timestamp is None or not _DIGITS.fullmatch(timestamp):
        return False
    if signature is None or not _SIGNATURE.fullmatch(signature):
        return False
    try:
        return any(
            [
                SignatureVerifier(secret, _At(now)).is_valid(body, timestamp, signature)
                for secret in secrets
            ]
        )
    except UnicodeDecodeError:
        return False


_DIGITS = re.compile("[0-9]{1,12}", re.ASCII)
_SIGNATURE = re.compile("v0=[0-9a-f]{64}")


def readable(text: str, person: Callable[[str, str], str]) -> str:
    """Slack's markup as a person would type it. `person` names a mention by its id and label.

    https://docs.slack.dev/messaging/formatting-message-text#retrieving-messages
    """

    def plain(found: re.Match[str]) -> str:
        target, _, label = found[1].partition("|")
        if target.startswith("@"):
            return person(target[1:], label)
        if target.startswith("#"):
            return f"#{label}" if label else f"\\{target}"
        if target.startswith("!"):
            called = label.removeprefix("@") or target[1:].partition("^")[0]
            return called if target.startswith("!date") else f"\\@{called}"
        address = target.removeprefix("mailto:").removeprefix("tel:")
        return target if not label else label if label in address else f"{label} ({target})"

    text = _MARKUP.sub(plain, text)
    return text.replace("&lt;", "<").replace("&gt;", ">").replace("&amp;", "&")


def mentions(text: str) -> list[str]:
    """The ids of the people whom a text in Slack's markup names."""
    return sorted({found[1] for found in _MENTION.finditer(text)})


_MARKUP = re.compile(r"<([@#!]?[^<>\s][^<>]*)>")
_MENTION = re.compile(r"<@([UW][A-Z0-9]+)(?:\|[^<>]*)?>")


def clean(text: str) -> str:
    """Text that can be stored, without white space around it."""
    return text.replace("\x00", " ").strip()


def split_title(text: str) -> tuple[str, str | None, str | None]:
    """The line to read, the title if the line is too long to be one, and the rest.

    What is cut off a title is in the rest: nothing that was typed is lost.
    """
    line, _, rest = text.strip().partition("\n")
    line, rest = line.strip(), rest.strip()
    if len(line) <= MAX_TITLE:
        return line, None, rest or None
    cut = line.rfind(" ", MAX_TITLE // 2, MAX_TITLE - 1)
    return line, line[: cut if cut > 0 else MAX_TITLE - 1] + "…", text.strip()


def permalink(domain: str, channel: str, ts: str, thread_ts: str = "") -> str | None:
    """Return the link to a message: https://docs.slack.dev/reference/methods/chat.getPermalink

    Made without asking Slack, because a shortcut has three seconds. None for what is no message.
    """
    if not _DOMAIN.fullmatch(domain) or not _CHANNEL.fullmatch(channel) or not _TS.fullmatch(ts):
        return None
    link = f"https://{domain}.slack.com/archives/{channel}/p{ts.replace('.', '')}"
    if _TS.fullmatch(thread_ts) and thread_ts != ts:
        link += f"?thread_ts={thread_ts}&cid={channel}"
    return link


_DOMAIN = re.compile(r"[A-Za-z0-9][A-Za-z0-9-]{0,62}")
_CHANNEL = re.compile("[CDG][A-Z0-9]{1,31}")
_TS = re.compile(r"[0-9]{10}\.[0-9]{6}")


def safe_response_url(response_url: str, api_base_url: str) -> str | None:
    """A response URL that we may post to: one of Slack's own, or as plain as another API is."""
    api = urlsplit(api_base_url)
    slack = f".{api.hostname}".endswith(_SLACKS)
    found = _URL.fullmatch(response_url)
    if found is None or len(response_url) > 2048:
        return None
    if slack:
        fits = found["s"] and not found["port"] and f".{found['host'].lower()}".endswith(_SLACKS)
    else:
        fits = found["s"] or api.scheme == "http"
    return response_url if fits else None


_SLACKS = (".slack.com", ".slack-gov.com")
_URL = re.compile(r"http(?P<s>s?)://(?P<host>[A-Za-z0-9.-]+)(?P<port>:[0-9]{1,5})?/[!-~]*")


def consent_url(api_base_url: str) -> str:
    """The page where an admin agrees: beside the API."""
    parts = urlsplit(api_base_url)
    return f"{parts.scheme}://{parts.netloc}/oauth/v2/authorize"


def make_state(secret: str, start: InstallStart) -> str:
    """Sign what Slack hands back to us: it proves who began, signed in how, and when."""
    content = _content(start)
    return base64.urlsafe_b64encode(content + _proof(secret, content)).decode().rstrip("=")


class BadState(Exception):
    """Not made by us, changed, or (`expired`) too old."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


def read_state(secret: str, state: str, now: datetime) -> InstallStart:
    """Verify a state. Raises BadState."""
    try:
        raw = base64.b64decode(state + "=" * (-len(state) % 4), altchars=b"-_", validate=True)
    except (binascii.Error, ValueError):
        raise BadState("state_invalid") from None
    content, proof = raw[:-32], raw[-32:]
    if len(content) != 56 or not hmac.compare_digest(proof, _proof(secret, content)):
        raise BadState("state_invalid")
    org_id, user_id, credential_id = (UUID(bytes=content[at : at + 16]) for at in (0, 16, 32))
    (seconds,) = struct.unpack(">d", content[48:])
    start = InstallStart(
        OrgId(org_id), UserId(user_id), credential_id, datetime.fromtimestamp(seconds, UTC)
    )
    if start.at + STATE_LIFETIME < now:
        raise BadState("state_expired")
    return start


def state_id(start: InstallStart) -> UUID:
    """The id under which a state is used up, however it is spelled."""
    return UUID(bytes=hashlib.sha256(_content(start)).digest()[:16])


def _content(start: InstallStart) -> bytes:
    ids = start.org_id.bytes + start.user_id.bytes + start.credential_id.bytes
    return ids + struct.pack(">d", start.at.timestamp())


def _proof(secret: str, content: bytes) -> bytes:
    return hmac.digest(secret.encode(), b"slack/state/" + content, "sha256")


def mention(named: Mapping[str, tuple[str, str | None]]) -> Callable[[str, str], str]:
    """Return the writer of mentions: by the handle in the grammar, else by the name in Slack."""

    def write(slack_user_id: str, label: str) -> str:
        name, handle = named.get(slack_user_id, (label or slack_user_id, None))
        return f"@{handle or name.replace(' ', '.')}"

    return write

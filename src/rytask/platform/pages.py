"""Pages of a list: a cursor is where the last one ended, in a form that nobody should read."""

import hashlib
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Callable
from typing import TypeVar

import msgspec

from rytask.platform.errors import Malformed
from rytask.platform.http import Page, PageInfo

T = TypeVar("T")
_CHECK = 6


def encode(*values: object) -> str:
    """A cursor that holds these values."""
    packed = msgspec.msgpack.encode(values)
    return urlsafe_b64encode(_check(packed) + packed).rstrip(b"=").decode()


def decode(cursor: str, kind: type[T]) -> T:
    """The values of a cursor, as a tuple type says. Raises Malformed if it is not one of ours."""
    try:
        raw = urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4))
        check, packed = raw[:_CHECK], raw[_CHECK:]
        if check != _check(packed):
            raise bad_cursor()
        return msgspec.msgpack.decode(packed, type=kind)
    except (ValueError, msgspec.MsgspecError):
        raise bad_cursor() from None


def page(rows: list[T], limit: int, cursor: Callable[[T], str]) -> Page[T]:
    """The first `limit` of rows, of which one more was asked for to see whether there is more."""
    shown = rows[:limit]
    more = len(rows) > limit
    return Page(shown, PageInfo(cursor(shown[-1]) if more else None, more))


def bad_cursor() -> Malformed:
    """The refusal of a cursor that does not belong here."""
    return Malformed(
        "This cursor is not one of ours, or belongs to another list. Start without one.",
        code="request.bad_cursor",
    )


def _check(packed: bytes) -> bytes:
    """Tells a cursor from garbage. It keeps no secret: a cursor shows nobody more than the list."""
    return hashlib.blake2b(packed, digest_size=_CHECK, person=b"rytask pages").digest()

"""Decisions about sessions, tokens and time zones."""

from datetime import datetime, timedelta
from functools import cache
from typing import Literal
from zoneinfo import available_timezones

from rytask.modules.identity.model import StoredSession

GRACE = timedelta(seconds=10)
"""A client that lost the answer to a refresh may ask again within this, and gets the same one."""


def judge_refresh(
    session: StoredSession, now: datetime
) -> Literal["rotate", "repeat", "reused", "over"]:
    """Decide about a refresh token that was presented."""
    if session.revoked_at is not None or session.expires_at <= now:
        return "over"
    if session.rotated_at is None:
        return "rotate"
    return "repeat" if now - session.rotated_at <= GRACE else "reused"


def is_zone(name: str) -> bool:
    """Whether it is the name of an IANA time zone."""
    return name in _zones()


@cache
def _zones() -> frozenset[str]:
    return frozenset(available_timezones() - {"localtime"})  # the server's own, under Debian

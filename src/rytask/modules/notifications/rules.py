"""Decisions about time: buckets of notices, the clocks of the world, and the state of a notice."""

from datetime import datetime, timedelta
from functools import cache
from zoneinfo import ZoneInfo, available_timezones

from msgspec import UNSET, structs

from rytask.modules.notifications.model import Notification
from rytask.modules.notifications.schemas import NotificationChanges

BUCKET = timedelta(minutes=10)
"""News of one kind about one thing within a bucket are one notice, which shows the latest."""


def bucket(at: datetime) -> int:
    """The number of the bucket, counted from the epoch."""
    return int(at.timestamp() // BUCKET.total_seconds())


def local_times(now: datetime) -> dict[str, datetime]:
    """Return the local time in every time zone, by its name."""
    return {name: now.astimezone(zone).replace(tzinfo=None) for name, zone in _zones().items()}


def changed(
    notification: Notification, changes: NotificationChanges, now: datetime
) -> Notification:
    """A notification as its recipient wants it. What is read or archived already keeps its time."""
    read_at, archived_at = notification.read_at, notification.archived_at
    if changes.read is not UNSET:
        read_at = (read_at or now) if changes.read else None
    if changes.archived is not UNSET:
        archived_at = (archived_at or now) if changes.archived else None
    return structs.replace(
        notification,
        read_at=read_at,
        archived_at=archived_at,
        snoozed_until=(
            notification.snoozed_until if changes.snoozed_until is UNSET else changes.snoozed_until
        ),
    )


@cache
def _zones() -> dict[str, ZoneInfo]:
    return {name: ZoneInfo(name) for name in available_timezones()}

"""Buckets of news, the clocks of the world, and what people make of a notification."""

from datetime import UTC, datetime, timedelta
from uuid import uuid4

import msgspec
import pytest

from rytask.modules.notifications import rules
from rytask.modules.notifications.model import Notification, NotificationId
from rytask.modules.notifications.schemas import NotificationChanges
from rytask.platform.ids import UserId

NOON = datetime(2026, 7, 1, 12, tzinfo=UTC)
EARLIER = NOON - timedelta(days=1)


@pytest.mark.parametrize(
    ("zone", "shown"),
    [
        ("UTC", "12:00"),
        ("Asia/Kolkata", "17:30"),
        ("Pacific/Auckland", "00:00"),
        ("America/Los_Angeles", "05:00"),
    ],
)
def test_every_zone_has_its_own_clock(zone: str, shown: str) -> None:
    assert f"{rules.local_times(NOON)[zone]:%H:%M}" == shown


def test_a_name_that_is_no_zone_has_no_clock() -> None:
    assert "Mars/Olympus_Mons" not in rules.local_times(NOON)


def test_news_within_a_bucket_belong_together() -> None:
    assert rules.bucket(NOON) == rules.bucket(NOON + rules.BUCKET - timedelta(seconds=1))
    assert rules.bucket(NOON) + 1 == rules.bucket(NOON + rules.BUCKET)


def notification(**state: datetime | None) -> Notification:
    return Notification(
        **{
            "id": NotificationId(uuid4()),
            "recipient_id": UserId(uuid4()),
            "type": "ASSIGNED",
            "entity_type": "work_item",
            "entity_id": uuid4(),
            "actor_id": None,
            "payload": msgspec.Raw(b"{}"),
            "read_at": None,
            "snoozed_until": None,
            "archived_at": None,
            "created_at": EARLIER,
            **state,
        }
    )


@pytest.mark.parametrize(
    ("before", "changes", "after"),
    [
        ({}, NotificationChanges(), {}),
        ({}, NotificationChanges(read=True), {"read_at": NOON}),
        ({"read_at": EARLIER}, NotificationChanges(read=True), {"read_at": EARLIER}),
        ({"read_at": EARLIER}, NotificationChanges(read=False), {"read_at": None}),
        ({}, NotificationChanges(archived=True), {"archived_at": NOON}),
        ({"archived_at": EARLIER}, NotificationChanges(archived=True), {"archived_at": EARLIER}),
        ({"archived_at": EARLIER}, NotificationChanges(archived=False), {"archived_at": None}),
        ({}, NotificationChanges(snoozed_until=NOON), {"snoozed_until": NOON}),
        ({"snoozed_until": NOON}, NotificationChanges(snoozed_until=None), {"snoozed_until": None}),
        ({"snoozed_until": NOON}, NotificationChanges(read=True), {"read_at": NOON}),
    ],
)
def test_a_notification_changes_as_asked_and_keeps_the_rest(
    before: dict[str, datetime],
    changes: NotificationChanges,
    after: dict[str, datetime | None],
) -> None:
    given = notification(**before)
    assert rules.changed(given, changes, NOON) == msgspec.structs.replace(given, **after)

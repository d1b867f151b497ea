"""Notifications, and the inbox that holds them."""

from datetime import date, datetime
from typing import Literal, NewType
from uuid import UUID

import msgspec

from rytask.platform.ids import ProjectId, UserId

NotificationId = NewType("NotificationId", UUID)
Kind = Literal[
    "ASSIGNED", "MENTIONED", "COMMENTED", "STATUS_CHANGED", "DUE_SOON", "OVERDUE", "SLACK"
]
State = Literal["unread", "all", "snoozed", "archived"]


class Notification(msgspec.Struct, frozen=True, rename="camel"):
    """`payload` has what it takes to show it, as of the time of the event."""

    id: NotificationId
    recipient_id: UserId
    type: Kind
    entity_type: str
    entity_id: UUID
    actor_id: UserId | None
    payload: msgspec.Raw
    read_at: datetime | None
    snoozed_until: datetime | None
    archived_at: datetime | None
    created_at: datetime


class Count(msgspec.Struct, frozen=True):
    count: int


class Named(msgspec.Struct, frozen=True):
    id: UUID
    name: str | None


class ItemPayload(msgspec.Struct, frozen=True, kw_only=True, rename="camel", omit_defaults=True):
    """The payload of what concerns a work item. `from` and `to` are statuses."""

    key: str
    title: str
    project_id: ProjectId
    project_name: str
    due_date: date | None = None
    actor_name: str | None = None
    before: Named | None = msgspec.field(default=None, name="from")
    after: Named | None = msgspec.field(default=None, name="to")


class Notice(msgspec.Struct, frozen=True, kw_only=True):
    """A notification to create. `key` names its subject and its bucket of time.

    Repeated under the same key, it is the same notice: with a later `seq` it is made new, and
    unread; without one, or with an earlier one, nothing happens.
    """

    recipient_id: UserId
    kind: Kind
    entity_type: str
    entity_id: UUID
    payload: object
    key: str
    project_id: ProjectId | None = None
    actor_id: UserId | None = None
    seq: int | None = None

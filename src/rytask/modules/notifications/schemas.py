"""Request bodies about the inbox."""

from datetime import datetime
from typing import Annotated

from msgspec import UNSET, Meta, UnsetType

from rytask.modules.notifications.model import State
from rytask.platform.http import Body, Query


class InboxQuery(Query):
    state: Annotated[
        State,
        Meta(
            description="`unread` leaves out what is snoozed; `all` is everything that is not"
            " archived."
        ),
    ] = "unread"
    cursor: (
        Annotated[str, Meta(max_length=1000, description="`nextCursor` of the page before.")] | None
    ) = None
    limit: Annotated[int, Meta(ge=1, le=200)] = 50


class NotificationChanges(Body):
    read: bool | UnsetType = UNSET
    snoozed_until: (
        Annotated[datetime, Meta(tz=True, description="Not among the unread until then.")]
        | UnsetType
        | None
    ) = UNSET
    archived: bool | UnsetType = UNSET

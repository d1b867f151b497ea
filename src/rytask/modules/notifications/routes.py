"""The HTTP routes of the inbox. Everybody has their own only."""

from rytask.modules.notifications import service
from rytask.modules.notifications.model import Count, Notification, NotificationId
from rytask.modules.notifications.schemas import InboxQuery, NotificationChanges
from rytask.platform.http import Data, Page, Routes
from rytask.platform.work import Reading, Writing

routes = Routes("notifications")


@routes.route("GET", "/notifications", permission="self", operation_id="list_notifications")
async def list_notifications(ctx: Reading, query: InboxQuery) -> Page[Notification]:
    """List your notifications, the newest first."""
    return await service.inbox(ctx, query)


@routes.route("GET", "/notifications/unread-count", permission="self", operation_id="count_unread")
async def count_unread(ctx: Reading) -> Data[Count]:
    """Count your unread notifications that are not snoozed, up to 1,000."""
    return Data(await service.unread_count(ctx))


@routes.route(
    "POST",
    "/notifications/read-all",
    permission="self",
    operation_id="read_all_notifications",
    status=200,
)
async def read_all_notifications(ctx: Writing) -> Data[Count]:
    """Mark all your unread notifications as read, except those that are snoozed.

    The answer says how many there were.
    """
    return Data(await service.read_all(ctx))


@routes.route("PATCH", "/notifications/{id}", permission="self", operation_id="update_notification")
async def update_notification(
    ctx: Writing, id: NotificationId, data: NotificationChanges
) -> Data[Notification]:
    """Mark one of your notifications as read, snooze it, or archive it; or take that back."""
    return Data(await service.change(ctx, id, data))

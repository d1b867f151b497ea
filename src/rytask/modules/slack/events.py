"""Facts about an organization's connection with Slack. The subject is the connection."""

from typing import ClassVar, Literal

from rytask.platform.events import Fact
from rytask.platform.ids import ProjectId, UserId


class SlackConnected(Fact, frozen=True, kw_only=True):
    kind: ClassVar[str] = "slack.connected"
    team_id: str
    team_name: str


class SlackDisconnected(Fact, frozen=True, kw_only=True):
    """An admin disconnected it, or Slack reported that our token was revoked."""

    kind: ClassVar[str] = "slack.disconnected"
    team_id: str
    team_name: str
    reason: Literal["ADMIN", "REVOKED"]


class SlackRouted(Fact, frozen=True, kw_only=True):
    """A destination of captures: of a channel, or, with no channel, of all the others."""

    kind: ClassVar[str] = "slack.routed"
    channel_id: str | None
    target_id: ProjectId | None


class SlackUserMapped(Fact, frozen=True, kw_only=True):
    """An admin said who somebody in Slack is, or (null) that they are nobody here."""

    kind: ClassVar[str] = "slack.user_mapped"
    slack_user_id: str
    user_id: UserId | None

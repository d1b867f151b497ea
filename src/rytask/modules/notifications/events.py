"""Facts about people's inboxes."""

from typing import ClassVar

from rytask.platform.events import Audience, Fact


class InboxChanged(Fact, frozen=True, kw_only=True):
    """Somebody read, snoozed or archived notifications of theirs. The subject is the person."""

    kind: ClassVar[str] = "inbox.changed"
    audience: ClassVar[Audience] = "person"

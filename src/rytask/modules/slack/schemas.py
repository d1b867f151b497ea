"""Requests of our own clients, and of Slack (which adds fields whenever it likes)."""

from datetime import date
from typing import Annotated, Any

import msgspec
from msgspec import UNSET, Meta, Struct, UnsetType

from rytask.modules.slack.model import Priority
from rytask.platform.http import Body, Query
from rytask.platform.ids import ProjectId, UserId

ChannelId = Annotated[str, Meta(pattern=r"^[CDG][A-Z0-9]{1,31}$(?!\n)", examples=["C024BE91L"])]
SlackUserId = Annotated[str, Meta(pattern=r"^[UW][A-Z0-9]{1,31}$(?!\n)", examples=["U024BE7LH"])]
Key = Annotated[str, Meta(min_length=1, max_length=255)]


class IntegrationChanges(Body):
    default_project_id: ProjectId | UnsetType | None = UNSET


class MapBody(Body):
    user_id: UserId


class ChannelBody(Body):
    project_id: ProjectId


class CallbackQuery(Query, forbid_unknown_fields=False):
    """The query of Slack's redirect."""

    code: Annotated[str, Meta(max_length=512)] = ""
    state: Annotated[str, Meta(max_length=512)] = ""
    error: Annotated[str, Meta(max_length=512)] = ""


class Command(Struct, kw_only=True):
    """A slash command: https://docs.slack.dev/interactivity/implementing-slash-commands"""

    team_id: Key
    user_id: Key
    trigger_id: Key
    user_name: str = ""
    channel_id: str = ""
    command: str = "/task"
    text: str = ""
    response_url: str = ""


class Who(Struct):
    id: Key
    name: str = ""
    username: str = ""
    domain: str = ""


class SourceMessage(Struct):
    ts: str = ""
    thread_ts: str = ""
    text: str = ""


class Option(Struct):
    value: Priority


class Value(Struct):
    """One input of a modal, whichever kind it is."""

    value: str | None = None
    selected_option: Option | None = None
    selected_date: date | None = None


class ViewState(Struct):
    values: dict[str, dict[str, Value]] = {}


class View(Struct):
    id: Key
    callback_id: str = ""
    private_metadata: str = ""
    state: ViewState = msgspec.field(default_factory=ViewState)

    def input(self, name: str) -> Value:
        """An input by the name of its block, which is also that of its action."""
        return self.state.values.get(name, {}).get(name, Value())


class Action(Struct):
    action_id: str
    value: str | None = None


class Interaction(Struct, kw_only=True):
    """A shortcut, a submitted modal or a pressed button."""

    type: str
    user: Who
    team: Who | None = None
    callback_id: str = ""
    trigger_id: str = ""
    response_url: str = ""
    channel: Who | None = None
    message: SourceMessage | None = None
    view: View | None = None
    actions: list[Action] = []


class ModalOrigin(Struct, frozen=True, omit_defaults=True):
    """The place where a modal was opened."""

    channel: str = ""
    permalink: str = ""


interaction: msgspec.json.Decoder[Interaction] = msgspec.json.Decoder(Interaction)
origin: msgspec.json.Decoder[ModalOrigin] = msgspec.json.Decoder(ModalOrigin)


def command(form: dict[str, Any]) -> Command:
    """Read a slash command. Raises msgspec.ValidationError."""
    return msgspec.convert(form, Command)

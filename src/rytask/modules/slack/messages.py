"""Views and messages in Slack: the modal, and the confirmations of captures.

https://docs.slack.dev/reference/block-kit
"""

from datetime import date

import msgspec

from rytask.modules.slack import rules
from rytask.modules.slack.model import CaptureRequest, Json, Outcome, PendingConfirmation
from rytask.modules.slack.schemas import Interaction, ModalOrigin, View
from rytask.platform.errors import Refused

MODAL = "capture"
SHORTCUT = "capture_message"
UNDO = "undo_capture"

ON_IT = ":hourglass_flowing_sand: On it - capturing..."
NOT_CONNECTED = (
    "This Slack workspace isn't connected to RyTask. An admin can connect it in RyTask, under"
    " Settings → Integrations."
)
TOO_LONG = (
    f"That is too long for one task: {rules.MAX_TEXT:,} characters are the most. Nothing was"
    " captured."
)
NO_MODAL = "Slack did not open the form in time. Try again, or type the task behind the command."
NOT_YOURS = "Only whoever captured it can undo it, within 24 hours."
UNDO_TOO_LATE = (
    "An undo is possible for 24 hours. Open the item to delete it: it stays in the trash for you."
)
UNDO_REFUSED = (
    "This cannot be undone from here: you may not change the item any more. Somebody who may can"
    " delete it in RyTask."
)
NO_PROJECT = (
    "nobody has chosen a project for this channel yet. An admin can, in RyTask under Settings →"
    " Integrations → Slack"
)
_NOT_IN_PROJECT = (
    "you are not in the project that captures from this channel go to. An owner or admin of your"
    " organization can add you, in RyTask under Projects → Members"
)
_ROLE_HELP = (
    "An owner or admin of your organization can change it, in RyTask under Settings → Members"
)
_HELP = """*{command} Fix login @sam ~2h #bug !high ^friday* makes a work item. In any order:
• `@sam` whom it is for, `#bug` a label, `!high` a priority (urgent, high, medium, low)
• `^friday` when it is due, `~2h` how long it takes
• `+OPS` the project, `>RY-4` the item it is a part of
A backslash keeps a word as it is: `\\#1`. Further lines become the description.
*{command}* alone opens a form; *Create task from message* is in the menu of every message."""

_PRIORITIES = {"URGENT": "Urgent", "HIGH": "High", "MEDIUM": "Medium", "LOW": "Low"}
_SHOWN = 10


def ephemeral(text: str) -> Json:
    """An answer that only the person who asked sees."""
    return {"response_type": "ephemeral", "text": text}


def usage(command: str) -> Json:
    """Build the help."""
    return ephemeral(_HELP.format(command=command if command.startswith("/") else "/task"))


def modal(origin: ModalOrigin, message: str = "") -> Json:
    """The form. `message` is the text of the message that it is made from."""
    line, title, description = rules.split_title(message)
    return {
        "type": "modal",
        "callback_id": MODAL,
        "private_metadata": msgspec.json.encode(origin).decode(),
        "title": _plain("New task"),
        "submit": _plain("Create"),
        "close": _plain("Cancel"),
        "blocks": [
            _input(
                "title",
                "Title",
                {
                    "type": "plain_text_input",
                    "max_length": rules.MAX_TITLE,
                    "initial_value": title or line,
                },
                hint="@sam ~2h #bug !high ^friday work here too.",
                optional=False,
            ),
            _input(
                "description",
                "Description",
                {
                    "type": "plain_text_input",
                    "multiline": True,
                    "max_length": 3000,
                    "initial_value": (description or "")[:3000],
                },
            ),
            _input(
                "priority",
                "Priority",
                {
                    "type": "static_select",
                    "options": [
                        {"text": _plain(name), "value": value}
                        for value, name in _PRIORITIES.items()
                    ],
                },
            ),
            _input("due", "Due", {"type": "datepicker"}),
        ],
    }


def message_modal(asked: Interaction) -> Json:
    """The form, filled from a message, which it remembers."""
    message, channel = asked.message, asked.channel
    if message is None or channel is None:
        return modal(ModalOrigin())
    domain = asked.team.domain if asked.team else ""
    link = rules.permalink(domain, channel.id, message.ts, message.thread_ts) or ""
    text = rules.readable(message.text, rules.mention({}))
    return modal(ModalOrigin(channel=channel.id, permalink=link), text)


def capture_request(view: View, origin: ModalOrigin, user_name: str) -> CaptureRequest:
    """Read a submitted form."""
    chosen = view.input("priority").selected_option
    return CaptureRequest(
        text=rules.clean(view.input("title").value or ""),
        description=rules.clean(view.input("description").value or "") or None,
        priority=chosen.value if chosen else None,
        due_date=view.input("due").selected_date,
        permalink=origin.permalink or None,
        user_name=rules.clean(user_name)[:80] or None,
    )


def form_error(text: str) -> Json:
    """The form stays open and says why."""
    return {"response_action": "errors", "errors": {"title": text}}


def confirmation_message(confirmation: PendingConfirmation, base_url: str) -> Json:
    """Build a capture's confirmation: the text, and blocks for clients that show them."""
    outcome = msgspec.json.decode(confirmation.outcome, type=Outcome)
    if confirmation.state == "refused":
        return _refused(outcome)
    link = f"<{base_url}/work-items/{confirmation.item_id}|{_escaped(outcome.key)}>"
    title = _escaped(outcome.title)
    if confirmation.state == "undone":
        undone = f":leftwards_arrow_with_hook: Undone: *{link}* {title} is in the trash."
        return {"text": f"Undone: {outcome.key} {title}", "blocks": [_section(undone)]}
    blocks = [_section(f":white_check_mark: *{link}* {title}")]
    details = _details(outcome, confirmation.assignee)
    if details:
        blocks.append(_context(" · ".join(details)))
    if outcome.unresolved:
        hint = ""
        if any(unknown.kind == "assignee" for unknown in outcome.unresolved):
            hint = " Only members of the project can be assigned."
        said = f":warning: I did not know {_unresolved_words(outcome)}: still in the title.{hint}"
        blocks.append(_context(said))
    if not outcome.linked:
        blocks.append(
            _context(
                f"Your Slack account is not linked to RyTask yet, so this has no reporter. "
                f"<{base_url}/settings/integrations|Link your account>, or ask an admin to."
            )
        )
    if outcome.note:
        blocks.append(_context(f":warning: {outcome.note}"))
    blocks.append({"type": "actions", "elements": _buttons(confirmation, outcome, base_url)})
    return {"text": f"{outcome.key} {title}", "blocks": blocks}


def _buttons(confirmation: PendingConfirmation, outcome: Outcome, base_url: str) -> list[Json]:
    link = f"{base_url}/work-items/{confirmation.item_id}"
    opens = {"type": "button", "action_id": "open_item", "text": _plain("Open"), "url": link}
    if outcome.note:
        return [opens]
    value = str(confirmation.id)
    return [opens, {"type": "button", "action_id": UNDO, "text": _plain("Undo"), "value": value}]


def refusal_reason(refusal: Refused) -> str:
    """Say why nothing was captured, and who can help."""
    match refusal.code:
        case "work_item.no_project":
            return NO_PROJECT
        case "not_found":
            return _NOT_IN_PROJECT
        case "slack.role_too_low" | "project.role_too_low":
            return f"{refusal.message.rstrip('.')}. {_ROLE_HELP}"
        case _:
            return refusal.message


def _refused(outcome: Outcome) -> Json:
    """The typed text comes along, so that it can be copied: nothing that was typed is lost."""
    reason = (outcome.refusal or "").rstrip(".")
    said = f":x: Not captured: {_escaped(reason)}."
    quoted = _escaped(outcome.text[:2000]).replace("\n", "\n>")
    return {"text": said, "blocks": [_section(said), _section(f">{quoted}")]}


def _details(outcome: Outcome, assignee: str | None) -> list[str]:
    details = []
    if assignee:
        details.append(f"for {_escaped(assignee)}")
    if outcome.due_date:
        details.append(f"due {_day(outcome.due_date)}")
    if outcome.estimate_value:
        details.append(f"{outcome.estimate_value:g} h")
    if outcome.priority in _PRIORITIES:
        details.append(_PRIORITIES[outcome.priority])
    return details


def _day(day: date) -> str:
    return f"{day:%a} {day.day} {day:%b %Y}"


def _unresolved_words(outcome: Outcome) -> str:
    tokens = [f"`{_escaped(unknown.token[:80])}`" for unknown in outcome.unresolved]
    more = len(tokens) - _SHOWN
    return ", ".join(tokens[:_SHOWN]) + (f" and {more} more" if more > 0 else "")


def _input(
    name: str, label: str, element: Json, *, hint: str | None = None, optional: bool = True
) -> Json:
    element = {key: value for key, value in element.items() if value != ""}
    block: Json = {
        "type": "input",
        "block_id": name,
        "label": _plain(label),
        "optional": optional,
        "element": {**element, "action_id": name},
    }
    return {**block, "hint": _plain(hint)} if hint else block


def _section(text: str) -> Json:
    return {"type": "section", "text": {"type": "mrkdwn", "text": text}}


def _context(text: str) -> Json:
    return {"type": "context", "elements": [{"type": "mrkdwn", "text": text}]}


def _plain(text: str) -> Json:
    return {"type": "plain_text", "text": text}


def _escaped(text: str) -> str:
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")

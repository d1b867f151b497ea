"""One line of text becomes a work item: `Fix login @sam ~2h #bug !high ^friday`.

Pure: no clock and no database, so the web app, Slack and MCP cannot read a line differently.
docs/reference/capture.md documents the grammar; tests/work_items/capture_cases.json is its
law, for every program that reads such lines.
"""

import re
from collections.abc import Collection
from datetime import date
from typing import Any, Literal

import msgspec

from rytask.modules.work_items import dates

Kind = Literal["assignee", "label", "priority", "date", "estimate", "project", "parent"]
Priority = Literal["URGENT", "HIGH", "MEDIUM", "LOW", "NONE"]

MAX_LABEL = 60
MAX_NAMES = 20
"""The most distinct handles, and the most distinct labels, in a line."""
MAX_HOURS = 10_000
HOURS_A_DAY = 8


class Token(msgspec.Struct, frozen=True):
    """A marker that was understood: `token` is what was typed, `value` what it says."""

    token: str
    kind: Kind
    value: str | float | date


class Unresolved(msgspec.Struct, frozen=True):
    """Text like a token that is not understood. It stays in the title, so nothing is lost."""

    token: str
    kind: Kind


class Captured(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """A parsed line. Of a thing said twice the last counts; labels add up.

    `assignee` is a handle as typed, `project` a key prefix and `parent` an item key in capitals,
    `estimate_value` a number of hours. Whether those and the labels exist only the caller knows.
    """

    title: str
    assignee: str | None = None
    labels: tuple[str, ...] = ()
    priority: Priority | None = None
    due_date: date | None = None
    estimate_value: float | None = None
    project: str | None = None
    parent: str | None = None
    tokens: tuple[Token, ...] = ()
    unresolved: tuple[Unresolved, ...] = ()


def parse(text: str, today: date, unknown: Collection[str] = ()) -> Captured:
    """Read a line, with `today` as it is where the person who typed it sits. Never raises.

    Names need a second look: read the line, look up every name in `tokens`, and if some mean
    nothing, read the line again with those as `unknown` (as typed: `@sam`). They then stay in the
    title and are reported, and of two assignees the one who exists counts.
    """
    words = _WORD.findall(text)
    title: list[str] = []
    tokens: list[Token] = []
    names: dict[Kind, set[str]] = {"assignee": set(), "label": set()}
    unresolved: list[Unresolved] = []
    at = 0
    while at < len(words):
        marker = _MARKER.match(words[at])
        if marker is None:
            title.append(_unescaped(words[at]))
            at += 1
            continue
        kind = _KINDS[marker[0]]
        count, value = _value(kind, words[at : at + dates.MAX_WORDS], today)
        written = " ".join(words[at : at + count])
        token = written.rstrip(dates.SENTENCE_END)
        too_many = kind in names and value is not None and _is_one_too_many(names[kind], value)
        if value is None or too_many or token in unknown:
            title.append(written)
            unresolved.append(Unresolved(token, kind))
        else:
            tokens.append(Token(token, kind, value))
        at += count
    last: dict[Kind, Any] = {token.kind: token.value for token in tokens}
    return Captured(
        title=" ".join(title),
        assignee=last.get("assignee"),
        labels=_labels(tokens),
        priority=last.get("priority"),
        due_date=last.get("date"),
        estimate_value=last.get("estimate"),
        project=last.get("project"),
        parent=last.get("parent"),
        tokens=tuple(tokens),
        unresolved=tuple(dict.fromkeys(unresolved)),
    )


def _is_one_too_many(names: set[str], value: object) -> bool:
    """Whether a line has named enough others of this kind before. Each name counts once."""
    name = str(value).lower()
    if name not in names and len(names) == MAX_NAMES:
        return True
    names.add(name)
    return False


def escape(title: str) -> str:
    """The line that reads as this title and says nothing else."""
    return " ".join(
        f"\\{word}" if _ESCAPABLE.match(word) else word for word in _WORD.findall(title)
    )


def _unescaped(word: str) -> str:
    return word[1:] if word[0] == "\\" and _ESCAPABLE.match(word) else word


def _value(kind: Kind, words: list[str], today: date) -> tuple[int, str | float | date | None]:
    """Read a token: its number of words, and its value, None if that cannot be understood."""
    if kind == "date":
        return dates.read([words[0][1:], *words[1:]], today) or (1, None)
    body = words[0][1:].rstrip(dates.SENTENCE_END)
    if kind == "priority":
        return 1, _PRIORITIES.get(body.lower())
    if kind == "estimate":
        return 1, _hours(body.lower())
    if not _NAMES[kind].fullmatch(body):
        return 1, None
    return 1, body.upper() if kind in ("project", "parent") else body


def _hours(amount: str) -> float | None:
    found = _ESTIMATE.fullmatch(amount)
    if found is None:
        return None
    days, hours, more, minutes = (float((part or "0").replace(",", ".")) for part in found.groups())
    total = round(days * HOURS_A_DAY + hours + (more + minutes) / 60, 4)
    return total if 0 < total <= MAX_HOURS else None


def _labels(tokens: list[Token]) -> tuple[str, ...]:
    """Each label once, as it was first spelled."""
    spelled: dict[str, str] = {}
    for token in tokens:
        if token.kind == "label":
            spelled.setdefault(str(token.value).lower(), str(token.value))
    return tuple(spelled.values())


# PostgreSQL refuses NUL and UTF-8 refuses lone surrogates, so they part words like white space.
_WORD = re.compile(r"[^\s\x00-\x1f\x7f-\x9f\u200b\ufeff\ud800-\udfff]+")

# A letter or a digit must follow, so that `C -> D`, `!!` and `^_^` stay text. `#42` is a number
# somebody refers to, `+1` a vote and `>5` a comparison: those three markers need a letter.
_LETTER, _LETTER_OR_DIGIT = r"[^\W\d_]", r"[^\W_]"
_MARKER = re.compile(
    rf"[@!~^](?={_LETTER_OR_DIGIT})|\^(?=\+[0-9])"
    rf"|#(?={_LETTER_OR_DIGIT})(?=.*{_LETTER})|[+>](?={_LETTER})"
)
_ESCAPABLE = re.compile(r"\\*[@#!^~+>]")

_KINDS: dict[str, Kind] = {
    "@": "assignee",
    "#": "label",
    "!": "priority",
    "^": "date",
    "~": "estimate",
    "+": "project",
    ">": "parent",
}
_PRIORITIES: dict[str, Priority] = {
    "urgent": "URGENT",
    "high": "HIGH",
    "medium": "MEDIUM",
    "low": "LOW",
    "none": "NONE",
}
_NAME = r"[^@#<>()\[\]{}\",;`\\]"
_NAMES: dict[Kind, re.Pattern[str]] = {
    "assignee": re.compile(f"{_NAME}+"),
    "label": re.compile(f"{_NAME}{{1,{MAX_LABEL}}}"),
    "project": re.compile("[A-Za-z][A-Za-z0-9]{1,9}"),
    "parent": re.compile("[A-Za-z][A-Za-z0-9]{1,9}-[1-9][0-9]{0,8}"),
}
_AMOUNT = "([0-9]{1,5}(?:[.,][0-9]{1,3})?)"
_ESTIMATE = re.compile(
    f"(?:{_AMOUNT}d)?(?:{_AMOUNT}h(?:([0-9]{{1,2}})m?)?|([0-9]{{1,6}})m(?:in)?)?"
)

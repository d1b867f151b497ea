import json
import unicodedata
from datetime import date
from functools import cache
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from rytask.modules.work_items.capture import Captured, escape, parse

CASES = json.loads(Path(__file__).with_name("capture_cases.json").read_text(encoding="utf-8"))
SAYS_NOTHING = {
    "assignee": None,
    "labels": [],
    "priority": None,
    "dueDate": None,
    "estimateValue": None,
    "project": None,
    "parent": None,
    "unresolved": [],
}
# A busy machine is no defect of the grammar.
patiently = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])

TODAY = date(2026, 11, 24)

# Pieces that mean something, mean nearly something, or hurt parsers.
PIECES = st.one_of(
    st.sampled_from(
        ["@sam", "@Sam,", "@nobody", "@a/@b", "\\@sam", "a.b@c", "@", "é", "漢字", "🎉"]
    ),
    st.sampled_from(
        ["#bug", "#BUG.", "#42", "#a#b", "#c++", "\\\\#bug", "C#", "#", "\x00", "\u200b"]
    ),
    st.sampled_from(
        ["!high", "!HIGH!", "!soon,", "!", "\\", "\ud800", ".", ",", "a", "x", "99999999"]
    ),
    st.sampled_from(
        ["~2h", "~1h30", "~1.5d;", "~soon", "~0h", "~", "+shop", "+web-shop", "+1", "+"]
    ),
    st.sampled_from([">OPS-12", ">ops-1:", ">OPS", ">5", ">", "->"]),
    st.sampled_from(["^friday", "^3d", "^+2w", "^2026-02-30", "^2026-11-27", "^3/4", "^31st", "^"]),
    st.sampled_from(["^in", "^next", "^the", "^27", "^nov", "^30", "^feb", "^mon", "^a", "^by"]),
    st.sampled_from(["in", "3", "days", "next", "week", "the", "end", "of", "month", "nov,"]),
    st.sampled_from(
        ["27", "27th", "27.", "november", "2027", "1800", "friday.", "by", "on", "feb"]
    ),
)
LINES = st.lists(PIECES | st.text(max_size=8), max_size=12).map(" ".join)
DAYS = st.dates()
ANY_TEXT = st.text() | st.text(alphabet=st.characters(exclude_categories=())) | LINES


def shown(captured: Captured) -> dict[str, Any]:
    """What is read, as another language's client would hold it."""
    everything = json.loads(msgspec.json.encode(captured))
    del everything["tokens"]
    return everything


def words(text: str) -> list[str]:
    """The words a person sees."""
    return "".join(
        " " if char in "\u200b\ufeff" or unicodedata.category(char) in ("Cc", "Cs") else char
        for char in text
    ).split()


def accounts_for(captured: Captured, typed: list[str]) -> bool:
    """Whether title and tokens, each in order, are the words typed and nothing else."""
    title, tokens = captured.title.split(), [token.token.split() for token in captured.tokens]

    @cache
    def rest(at: int, titled: int, taken: int) -> bool:
        if at == len(typed):
            return (titled, taken) == (len(title), len(tokens))
        if titled < len(title) and typed[at] in (title[titled], f"\\{title[titled]}"):
            return rest(at + 1, titled + 1, taken) or takes(at, titled, taken)
        return takes(at, titled, taken)

    def takes(at: int, titled: int, taken: int) -> bool:
        if taken == len(tokens):
            return False
        end = at + len(tokens[taken])
        found, token = " ".join(typed[at:end]), " ".join(tokens[taken])
        return found.rstrip(".,;:!?…") == token and rest(end, titled, taken + 1)

    return rest(0, 0, 0)


@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case['text'][:60]!a} {case['today']}")
def test_a_line_is_read_as_the_table_says(case: dict[str, Any]) -> None:
    today = date.fromisoformat(case["today"])
    captured = parse(case["text"], today, case.get("unknown", ()))
    assert shown(captured) == SAYS_NOTHING | case["expect"]


def test_the_table_says_everything_once() -> None:
    asked = [(case["text"], case["today"], *case.get("unknown", ())) for case in CASES]
    assert len(set(asked)) == len(asked) >= 180


@patiently
@given(ANY_TEXT, DAYS)
def test_any_text_on_any_day_can_be_read_and_stored(text: str, today: date) -> None:
    captured = parse(text, today)
    assert captured.title == " ".join(captured.title.split())
    assert "\x00" not in captured.title
    captured.title.encode()
    assert captured.due_date is None or 1970 <= captured.due_date.year <= 2200


@patiently
@given(ANY_TEXT, DAYS)
def test_every_word_is_in_the_title_or_in_a_token_in_the_order_it_was_typed(
    text: str, today: date
) -> None:
    assert accounts_for(parse(text, today), words(text))


@patiently
@given(ANY_TEXT, DAYS)
def test_what_is_not_understood_stays_in_the_title_as_it_was_typed(text: str, today: date) -> None:
    captured = parse(text, today)
    for unresolved in captured.unresolved:
        assert unresolved.token in captured.title


@patiently
@given(ANY_TEXT, DAYS)
def test_escaped_text_is_a_title_and_says_nothing_else(text: str, today: date) -> None:
    assert parse(escape(text), today) == Captured(title=" ".join(words(text)))


@patiently
@given(ANY_TEXT, DAYS)
def test_a_title_that_was_read_reads_the_same_when_escaped(text: str, today: date) -> None:
    title = parse(text, today).title
    assert parse(escape(title), today) == Captured(title=title)


@patiently
@given(st.lists(st.tuples(st.from_regex(r"\A[a-z(]{1,5}\Z"), PIECES), max_size=8))
def test_a_marker_inside_a_word_is_text(pairs: list[tuple[str, str]]) -> None:
    captured = parse(" ".join(before + piece for before, piece in pairs), TODAY)
    assert not captured.tokens
    assert not captured.unresolved


@patiently
@given(LINES)
def test_names_that_nobody_has_are_told_and_the_rest_is_read_as_before(line: str) -> None:
    captured = parse(line, TODAY)
    names = {token.token for token in captured.tokens if token.kind in ("assignee", "label")}
    again = parse(line, TODAY, unknown=names)
    assert again.assignee is None
    assert again.labels == ()
    assert names <= {unresolved.token for unresolved in again.unresolved}
    assert (again.priority, again.due_date, again.estimate_value, again.project, again.parent) == (
        captured.priority,
        captured.due_date,
        captured.estimate_value,
        captured.project,
        captured.parent,
    )


@pytest.mark.parametrize("piece", ["^in 3 ", "^", "\\", "#1", "~1", "@a ", "word ", " ", ">A"])
def test_ten_thousand_characters_of_the_same_are_read(piece: str) -> None:
    text = (piece * 10_000)[:10_000]
    captured = parse(text, TODAY)
    assert len(captured.title) <= len(text)

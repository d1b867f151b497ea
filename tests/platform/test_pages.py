from datetime import UTC, date, datetime
from uuid import UUID, uuid4

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rytask.platform import pages
from rytask.platform.errors import Malformed


def test_a_cursor_gives_back_what_was_put_in() -> None:
    values = (
        "-due_date",
        [3, None, date(2026, 1, 2), datetime(2026, 1, 2, 3, 4, 5, 6, UTC)],
        uuid4(),
    )
    kind = tuple[str, tuple[int, date | None, date, datetime], UUID]
    text, inner, item_id = pages.decode(pages.encode(*values), kind)
    assert (text, list(inner), item_id) == values


@given(st.text(max_size=80))
def test_garbage_is_no_cursor(text: str) -> None:
    with pytest.raises(Malformed) as refused:
        pages.decode(text, tuple[int])
    assert refused.value.code == "request.bad_cursor"


@given(st.data())
def test_a_cursor_that_was_touched_is_refused(data: st.DataObject) -> None:
    cursor = pages.encode(5, "five")
    at = data.draw(st.integers(0, len(cursor) - 2))
    letter = data.draw(st.sampled_from("abcXYZ019-_"))
    touched = cursor[:at] + letter + cursor[at + 1 :]
    if touched != cursor:
        with pytest.raises(Malformed):
            pages.decode(touched, tuple[int, str])


def test_a_cursor_of_another_list_is_refused() -> None:
    with pytest.raises(Malformed):
        pages.decode(pages.encode("name"), tuple[int])

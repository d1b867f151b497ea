"""Days in plain English: the small grammar behind `^friday`.

Our own, because a general date parser costs 20 ms a phrase and guesses at what is ambiguous.
"""

import calendar
import re
from collections.abc import Callable, Sequence
from datetime import date, timedelta
from itertools import takewhile

MAX_WORDS = 4
FIRST_YEAR, LAST_YEAR = 1970, 2200
SENTENCE_END = ".,;:!?…"


def read(words: Sequence[str], today: date) -> tuple[int, date | None] | None:
    """Read a day from up to four words: the count, and the day.

    The longest phrase that reads like a date is the one that was meant: if the calendar has no
    such day (`30 feb`), or it lies outside 1970 to 2200, the day is None.
    """
    terms = [word.lower() for word in takewhile(_TERM.fullmatch, words[:MAX_WORDS])]
    for count in range(len(terms), 0, -1):
        phrase = " ".join(terms[:count]).rstrip(SENTENCE_END)
        try:
            day = _day(phrase.removeprefix("by ").removeprefix("on "), today)
        except (ValueError, OverflowError):
            return count, None
        if day is not None:
            return count, day if FIRST_YEAR <= day.year <= LAST_YEAR else None
    return None


def _day(phrase: str, today: date) -> date | None:
    """None if it does not read like a date; raises, as `date` does, if there is no such day."""
    if phrase in _NEAR:
        return today + timedelta(days=_NEAR[phrase])
    for pattern, meaning in _SHAPES:
        if found := pattern.fullmatch(phrase):
            return meaning(found, today)
    return None


def _weekday(found: re.Match[str], today: date) -> date:
    wanted = _WEEKDAYS[found["weekday"]]
    if found["next"] or found["next_week"]:
        return _monday(today) + timedelta(days=7 + wanted)
    ahead = (wanted - today.weekday()) % 7
    if ahead == 0 and not found["this"]:
        ahead = 7
    return today + timedelta(days=ahead)


def _ahead(found: re.Match[str], today: date) -> date:
    amount = _AMOUNTS.get(found["amount"]) or int(found["amount"])
    unit = found["unit"]
    if unit.startswith("d"):
        return today + timedelta(days=amount)
    if unit.startswith("w"):
        return today + timedelta(weeks=amount)
    first = _month_start(today, amount if unit.startswith("m") else 12 * amount)
    return first.replace(day=min(today.day, _month_end(first).day))


def _next_period(found: re.Match[str], today: date) -> date:
    match found["period"]:
        case "week":
            return _monday(today) + timedelta(days=7)
        case "month":
            return _month_start(today, 1)
        case _:
            return date(today.year + 1, 1, 1)


def _period_end(found: re.Match[str], today: date) -> date:
    """A week ends on its Friday: on a weekend, this week is the coming one."""
    later = found["next"] is not None
    match found["period"] or found["short"]:
        case "week" | "w":
            if later:
                return _monday(today) + timedelta(days=7 + calendar.FRIDAY)
            return today + timedelta(days=(calendar.FRIDAY - today.weekday()) % 7)
        case "month" | "m":
            return _month_end(_month_start(today, int(later)))
        case _:
            return date(today.year + later, 12, 31)


def _year_first(found: re.Match[str], today: date) -> date:
    return date(int(found["year"]), int(found["month"]), int(found["day"]))


def _dotted(found: re.Match[str], today: date) -> date:
    day, month, year = int(found["day"]), int(found["month"]), found["year"]
    if year is None:
        return _coming(day, month, today)
    return date(int(year) + (2000 if len(year) == 2 else 0), month, day)


def _either_order(found: re.Match[str], today: date) -> date:
    """Day and month in either order, if only one order makes sense: `3/4` names no day."""
    month, day = sorted((int(found["one"]), int(found["other"])))
    if day <= 12 and day != month:
        raise ValueError
    return date(int(found["year"]), month, day) if found["year"] else _coming(day, month, today)


def _named_month(found: re.Match[str], today: date) -> date:
    day, month, year = int(found["day"]), _MONTHS[found["month"]], found["year"]
    named = date(int(year), month, day) if year else _coming(day, month, today)
    if found["weekday"] and _WEEKDAYS[found["weekday"]] != named.weekday():
        raise ValueError
    return named


def _ordinal(found: re.Match[str], today: date) -> date:
    """The next month that has such a day, this month if it has not passed."""
    day = int(found["day"])
    start = today if today.day <= day else _month_start(today, 1)
    while 1 <= day <= 31 and _month_end(start).day < day:
        start = _month_start(start, 1)
    return start.replace(day=day)


def _coming(day: int, month: int, today: date) -> date:
    """That day this year if it has not passed, else in the first year that has it."""
    start = today.year if (month, day) >= (today.month, today.day) else today.year + 1
    if (month, day) == (2, 29):
        while not calendar.isleap(start):
            start += 1
    return date(start, month, day)


def _monday(day: date) -> date:
    return day - timedelta(days=day.weekday())


def _month_start(day: date, months: int) -> date:
    year, month = divmod(day.year * 12 + day.month - 1 + months, 12)
    return date(year, month + 1, 1)


def _month_end(day: date) -> date:
    return day.replace(day=calendar.monthrange(day.year, day.month)[1])


def _numbered(names: str, start: int) -> dict[str, int]:
    """Each name's number: those of one number stand together, numbers are divided by commas."""
    return {
        name: number
        for number, synonyms in enumerate(names.split(","), start)
        for name in synonyms.split()
    }


_NEAR = {
    "today": 0,
    "tonight": 0,
    "tomorrow": 1,
    "tmr": 1,
    "day after tomorrow": 2,
    "the day after tomorrow": 2,
    "yesterday": -1,
}
_WEEKDAYS = _numbered(
    "mon monday, tue tues tuesday, wed weds wednesday, thu thur thurs thursday, fri friday,"
    "sat saturday weekend, sun sunday",
    start=calendar.MONDAY,
)
_MONTHS = _numbered(
    "jan january, feb february, mar march, apr april, may, jun june, jul july, aug august,"
    "sep sept september, oct october, nov november, dec december",
    start=1,
)
_AMOUNTS = _numbered(
    "a an one, two, three, four, five, six, seven, eight, nine, ten, eleven, twelve", start=1
)

_WEEKDAY = f"(?P<weekday>{'|'.join(_WEEKDAYS)})"
_MONTH = f"(?P<month>{'|'.join(_MONTHS)})"
_AMOUNT = f"(?P<amount>[0-9]{{1,4}}|{'|'.join(_AMOUNTS)})"
_UNIT = "(?P<unit>d|days?|w|wks?|weeks?|mo|months?|y|years?)"
_NN = "[0-9]{1,2}"
_DAY = f"(?:the )?(?P<day>{_NN})"
_NTH = "(?:st|nd|rd|th)"
_YEAR = "(?P<year>[0-9]{4})"
_PERIOD = "(?P<period>week|month|year)"

# What phrases are made of: a word that follows a date is mostly none of it, and costs a look here.
_TERMS = (*_WEEKDAYS, *_MONTHS, *_AMOUNTS, *" ".join(_NEAR).split())
_OTHER_TERMS = "by|on|in|of|this|next|end|from|now|week|month|year|eow|eom|eoy"
_TERM = re.compile(
    rf"(?:\+?[0-9][-0-9a-z/.]{{0,9}}|{_UNIT}|{'|'.join(_TERMS)}|{_OTHER_TERMS})[{SENTENCE_END}]*",
    re.IGNORECASE,
)

_SHAPES: list[tuple[re.Pattern[str], Callable[[re.Match[str], date], date]]] = [
    (re.compile(pattern), meaning)
    for pattern, meaning in (
        (f"(?:(?P<this>this )|(?P<next>next ))?{_WEEKDAY}(?P<next_week> next week)?", _weekday),
        (rf"(?:in )?\+?{_AMOUNT} ?{_UNIT}(?: from now)?", _ahead),
        (f"next {_PERIOD}", _next_period),
        (
            f"(?:(?:the )?end of (?:the |this |(?P<next>next ))?|this ){_PERIOD}"
            "|eo(?P<short>[wmy])",
            _period_end,
        ),
        (rf"{_YEAR}(?P<sign>[-/.])(?P<month>{_NN})(?P=sign)(?P<day>{_NN})", _year_first),
        (rf"(?P<day>{_NN})\.(?P<month>{_NN})(?:\.(?P<year>(?:[0-9][0-9]){{1,2}}))?", _dotted),
        (rf"(?P<one>{_NN})(?P<sign>[-/])(?P<other>{_NN})(?:(?P=sign){_YEAR})?", _either_order),
        (
            rf"(?:{_WEEKDAY},? )?{_DAY}(?:{_NTH}|\.)? (?:of )?{_MONTH}(?:,? {_YEAR})?",
            _named_month,
        ),
        (rf"(?:{_WEEKDAY},? )?{_MONTH}\.? {_DAY}{_NTH}?(?:,? {_YEAR})?", _named_month),
        (f"{_DAY}{_NTH}", _ordinal),
    )
]

"""The facts that the feed will show: what each is, who may read it, and how it may change."""

from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from types import UnionType
from typing import Any, Literal, NewType, Union, get_args, get_origin, get_type_hints
from uuid import UUID

import msgspec
import pytest

from rytask import app  # noqa: F401 - with every module, and so every fact
from rytask.platform.events import Fact, RecordedFact
from rytask.platform.ids import OrgId

PAGE = Path(__file__).parents[1] / "docs/reference/facts.md"
COLUMNS = {"subjectId", "projectId", "itemId"}


def kinds(of: type[Fact] = Fact) -> Iterator[type[Fact]]:
    for fact in of.__subclasses__():
        if "kind" in vars(fact) and fact.__module__.startswith("rytask."):
            yield fact
        yield from kinds(fact)


FACTS = sorted(kinds(), key=lambda fact: fact.kind)


def members(fact: type[Fact]) -> list[str]:
    return [name for name in fact.__struct_encode_fields__ if name not in COLUMNS]


def row(fact: type[Fact]) -> str:
    payload = ", ".join(f"`{name}`" for name in members(fact)) or "–"
    return f"| `{fact.kind}` | {fact.audience} | {payload} |"


def sample(kind: Any) -> Any:
    """A value of a type, as JSON has it."""
    while isinstance(kind, NewType):
        kind = kind.__supertype__
    origin, arguments = get_origin(kind), get_args(kind)
    if origin in (Union, UnionType):
        return None if type(None) in arguments else sample(arguments[0])
    if origin is Literal:
        return arguments[0]
    if isinstance(kind, type) and issubclass(kind, msgspec.Struct):
        hints = get_type_hints(kind)
        names = zip(kind.__struct_fields__, kind.__struct_encode_fields__, strict=True)
        return {public: sample(hints[name]) for name, public in names}
    if origin in (list, tuple):
        return [sample(arguments[0])]
    simple = {
        str: "text",
        int: 1,
        float: 1.5,
        bool: True,
        UUID: str(UUID(int=1)),
        datetime: datetime(2026, 11, 24, tzinfo=UTC).isoformat(),
        Any: "anything",
    }
    return simple[kind]


def recorded(fact: type[Fact], payload: dict[str, Any]) -> RecordedFact:
    return RecordedFact(
        org_id=OrgId(UUID(int=1)),
        seq=1,
        kind=fact.kind,
        project_id=None,
        subject_id=UUID(int=2),
        item_id=None,
        actor_id=None,
        source="API",
        payload=msgspec.Raw(msgspec.json.encode(payload)),
        at=datetime(2026, 11, 24, tzinfo=UTC),
    )


def test_the_page_lists_every_kind_its_readers_and_its_payload() -> None:
    """A member that is missing here was removed or renamed: readers of old facts need it."""
    rows = [line for line in PAGE.read_text("utf-8").splitlines() if line.startswith("| `")]
    assert rows == [row(fact) for fact in FACTS]


def test_kinds_are_unique() -> None:
    assert len({fact.kind for fact in FACTS}) == len(FACTS)


@pytest.mark.parametrize("fact", FACTS, ids=lambda fact: fact.kind)
def test_a_fact_is_read_whatever_members_a_later_version_has_added(fact: type[Fact]) -> None:
    payload = {name: value for name, value in sample(fact).items() if name not in COLUMNS}
    read = recorded(fact, {**payload, "addedLater": [1]}).fact(fact)
    assert msgspec.to_builtins(read)["subjectId"] == str(UUID(int=2))
    given = {public: msgspec.to_builtins(value) for public, value in read.payload().items()}
    assert given.keys() == payload.keys()


@pytest.mark.parametrize("fact", FACTS, ids=lambda fact: fact.kind)
def test_security_facts_are_not_for_everybody(fact: type[Fact]) -> None:
    security = fact.kind.startswith(("token.", "session.", "password.", "user.", "invite."))
    assert not (security and fact.audience in ("project", "organization"))

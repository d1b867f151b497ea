"""Decoding of requests into the values that the operation's function takes.

Decoding is validation: what does not have the promised shape is refused, with the place named.
"""

import json
import re
from typing import Any
from urllib.parse import parse_qsl

import msgspec

from rytask.platform.errors import Malformed
from rytask.platform.operations import Operation

_PLAIN = {
    "Invalid RFC3339 encoded date": "not a day as in 2026-11-30",
    "Invalid RFC3339 encoded datetime": "not a time as in 2026-11-30T09:00:00Z",
    "Invalid UUID": "not an id",
}


def path(operation: Operation, values: list[str]) -> dict[str, Any]:
    """The parameters of a path, by name."""
    names = operation.path_type.__struct_encode_fields__
    try:
        found = msgspec.convert(
            dict(zip(names, values, strict=True)), operation.path_type, strict=False
        )
    except msgspec.ValidationError as error:
        name = _located(str(error)).partition(":")[0]
        raise Malformed(f"{name}: this is not an id.", problems=[f"{name}: not an id"]) from None
    return {name: getattr(found, name) for name in operation.path_names}


def query(raw: bytes, wanted: Any) -> Any:
    """A query string. A parameter given twice is refused, as a member of a body is."""
    values: dict[str, str] = {}
    if raw:
        try:
            pairs = parse_qsl(
                raw.decode("ascii"), keep_blank_values=True, errors="strict", max_num_fields=50
            )
        except ValueError:
            raise Malformed("The query string cannot be read.") from None
        for name, value in pairs:
            if name in values:
                raise _problems(f"{_cut(name)}: given twice")
            if "\x00" in value:
                raise _problems(f"{_cut(name)}: has a NUL character", code="request.nul")
            values[name] = value
    try:
        return msgspec.convert(values, wanted, strict=False)
    except msgspec.ValidationError as error:
        raise _problems(_located(str(error), whole="query")) from None


def body(decoder: "msgspec.json.Decoder[Any]", sent: bytes) -> Any:
    """A body of JSON."""
    try:
        json.loads(sent, object_pairs_hook=_unique)
        if b"\\u0000" in sent and re.search(rb"(?<!\\)(?:\\\\)*\\u0000", sent):
            raise _problems("text has a NUL character", code="request.nul")
        return decoder.decode(sent)
    except msgspec.ValidationError as error:
        raise _problems(_located(str(error))) from None
    except (ValueError, RecursionError) as error:
        raise Malformed(
            f"The body is not JSON that we can read: {_short(error)}.", code="request.bad_json"
        ) from None


def arguments(operation: Operation, sent: bytes) -> dict[str, Any]:
    """The arguments of a call that is no request: one JSON object of all of them, by name.

    Members of the path, of the query and of the body stand side by side, and are decoded strictly.
    """
    given: dict[str, msgspec.Raw] = body(_members, sent)
    found: dict[str, Any] = {}
    if operation.path_names:
        path = _taken(given, operation.path_type)
        found = {name: getattr(path, name) for name in operation.path_names}
    if operation.query_type is not None:
        found["query"] = _taken(given, operation.query_type)
    if operation.body_decoder is not None:
        found["data"] = body(operation.body_decoder, msgspec.json.encode(given))
    elif given:
        raise _problems(f"{_cut(next(iter(given)))}: there is no such argument")
    return found


_members = msgspec.json.Decoder(dict[str, msgspec.Raw])


def _taken(given: dict[str, msgspec.Raw], wanted: type[msgspec.Struct]) -> Any:
    """Take the members of a struct out of what was given."""
    members = {name: given.pop(name) for name in wanted.__struct_encode_fields__ if name in given}
    try:
        return msgspec.json.decode(msgspec.json.encode(members), type=wanted)
    except msgspec.ValidationError as error:
        raise _problems(_located(str(error), whole="arguments")) from None


def _unique(pairs: list[tuple[str, object]]) -> None:
    """A member named twice is refused: two readers would understand it in two ways."""
    names = [name for name, _ in pairs]
    if len(set(names)) != len(names):
        raise ValueError("a member is given twice")


def _short(error: Exception) -> str:
    return str(error)[:200].rstrip(".") if isinstance(error, ValueError) else "nested too deeply"


def _located(message: str, whole: str = "body") -> str:
    """msgspec's "what - at `$.path`" as "path: what"."""
    what, _, where = message.partition(" - at `$")
    path = where.rstrip("`").lstrip(".")
    return f"{_cut(path) or whole}: {_PLAIN.get(what) or _cut(what)}"


def _cut(text: str) -> str:
    """Shorten what a caller sent, to quote it."""
    return text if len(text) <= 200 else text[:200] + "…"


def _problems(problem: str, code: str | None = None) -> Malformed:
    return Malformed(problem, code=code, problems=[problem])

"""A partial change: what a caller sent of a thing, and what is different about it afterwards."""

from typing import Any

import msgspec


def sent_fields(body: msgspec.Struct) -> dict[str, Any]:
    """The fields that a caller sent. A name is kept without the space around it."""
    fields = {
        field: value
        for field in body.__struct_fields__
        if (value := getattr(body, field)) is not msgspec.UNSET
    }
    if "name" in fields:
        fields["name"] = fields["name"].strip()
    return fields


def changed_fields(before: msgspec.Struct, after: msgspec.Struct) -> list[str]:
    """The public names of the fields in which two values of one kind differ."""
    return [
        public
        for name, public in zip(
            after.__struct_fields__, after.__struct_encode_fields__, strict=True
        )
        if getattr(before, name) != getattr(after, name)
    ]

"""Identifiers. Every id is a UUIDv7: unique anywhere, and ordered by when it was made."""

from typing import NewType
from uuid import UUID

from uuid_utils.compat import uuid7

OrgId = NewType("OrgId", UUID)
UserId = NewType("UserId", UUID)
ProjectId = NewType("ProjectId", UUID)


def new_id() -> UUID:
    """A fresh id. Ids made later sort after ids made earlier, to the millisecond."""
    return uuid7()

"""Decisions about names and roles."""

import re
import unicodedata

from rytask.platform.auth import RANK
from rytask.platform.work import OrgRole


def slug(name: str, otherwise: str) -> str:
    """A name as part of an address: `Zoë & Co.` is zoe-co."""
    plain = unicodedata.normalize("NFKD", name).encode("ascii", "ignore").decode().lower()
    return re.sub(r"[^a-z0-9]+", "-", plain)[:60].strip("-") or otherwise


def may_grant(own: OrgRole, role: OrgRole) -> bool:
    """Whether somebody may give this role, or change somebody who has it: none above their own."""
    return RANK[role] <= RANK[own]


def roles_above(role: OrgRole) -> list[OrgRole]:
    return [other for other, rank in RANK.items() if rank > RANK[role]]

"""Decisions about names and roles."""

import re
import unicodedata

from rytask.platform.auth import PERMISSIONS_OF, RANK
from rytask.platform.work import OrgRole


def slug(name: str, otherwise: str) -> str:
    """A name as part of an address: `Zoë & Co.` is zoe-co."""
    plain = unicodedata.normalize("NFKD", name).encode("ascii", "ignore").decode().lower()
    return re.sub(r"[^a-z0-9]+", "-", plain)[:60].strip("-") or otherwise


def may_grant(own: OrgRole, role: OrgRole) -> bool:
    """Whether somebody may give this role, or change somebody who has it: none above their own."""
    return RANK[role] <= RANK[own]


def may_invite(own: OrgRole | None, role: OrgRole) -> bool:
    """Whether somebody (None: who was removed) may invite to this role."""
    return own is not None and "members:invite" in PERMISSIONS_OF[own] and may_grant(own, role)


def not_invited_by(own: OrgRole) -> list[OrgRole]:
    """The roles that somebody may not invite to."""
    return [role for role in RANK if not may_invite(own, role)]

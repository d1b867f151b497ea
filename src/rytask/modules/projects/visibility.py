"""Visibility of projects: the one place that puts it into SQL, for every module's statements."""

from typing import LiteralString

from rytask.platform.work import Actor

MEMBER_SEES: LiteralString = (
    "(m.deactivated_at IS NULL AND (m.role IN ('OWNER', 'ADMIN') OR EXISTS ("
    "  SELECT FROM project_members pm"
    "   WHERE pm.org_id = m.org_id AND pm.project_id = p.id AND pm.user_id = m.user_id)))"
)
"""Whether a membership `m` sees a project `p`, which must not be deleted."""

_MEMBER: LiteralString = (
    "EXISTS (SELECT FROM project_members pm"
    "  WHERE pm.org_id = $1 AND pm.project_id = p.id AND pm.user_id = $2)"
)


def visible_to(actor: Actor) -> LiteralString:
    """Whether the actor sees a project `p`. The statement has their ids as `$1` and `$2`:
    the organization's and their own."""
    return "p.deleted_at IS NULL" if actor.is_admin else f"p.deleted_at IS NULL AND {_MEMBER}"

"""What the SQL of work items has in common.

What tells the day takes the organization, a user and the time as `$1`, `$2`, `$3`.
"""

from typing import LiteralString

from rytask.modules.work_items.filters import OVERDUE
from rytask.platform.work import Actor

# The day where the user is: their own zone, else the organization's.
TODAY: LiteralString = (
    "today AS MATERIALIZED ("
    "  SELECT z.zone, ($3::timestamptz AT TIME ZONE z.zone)::date AS day"
    "    FROM (SELECT coalesce(u.timezone, o.settings ->> 'timezone', 'UTC') AS zone"
    "            FROM organizations o"
    "            LEFT JOIN users u ON u.org_id = o.id AND u.id = $2::uuid"
    "           WHERE o.id = $1::uuid) z)"
)
ITEM: LiteralString = (
    "w.id, w.key, w.number, w.project_id, w.title, w.description, w.status_id, w.priority,"
    " w.source, w.assignee_id, w.reporter_id, w.parent_id, w.estimate_value, w.start_date,"
    f" w.end_date, w.due_date, {OVERDUE} AS overdue, w.position, w.version, w.completed_at,"
    " w.created_at, w.updated_at, w.label_ids, w.child_count"
)
IN_PROJECT: LiteralString = (
    " JOIN projects p ON p.org_id = w.org_id AND p.id = w.project_id AND p.deleted_at IS NULL"
)
MY_ROLE: LiteralString = (
    " LEFT JOIN project_members m   ON m.org_id = $1 AND m.project_id = p.id AND m.user_id = "
)
_MEMBER: LiteralString = (
    "EXISTS (SELECT FROM project_members m"
    "  WHERE m.org_id = $1 AND m.project_id = p.id AND m.user_id = $2)"
)


def visible(actor: Actor) -> LiteralString:
    """Which projects `p` the actor may see."""
    return "p.deleted_at IS NULL" if actor.is_admin else f"p.deleted_at IS NULL AND {_MEMBER}"

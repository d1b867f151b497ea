"""SQL that statements on work items share.

Expressions of the day take the organization, a user and the time as `$1`, `$2`, `$3`.
"""

from typing import LiteralString

# A sub-select that stands for itself is run at most once, and not at all without a due date.
_OVERDUE: LiteralString = (
    "CASE WHEN w.due_date IS NULL OR w.closed_at IS NOT NULL THEN false"
    " ELSE w.due_date < (SELECT day FROM today) END"
)
# The day where the user is: their own zone, else the organization's.
TODAY: LiteralString = (
    "today AS MATERIALIZED ("
    "  SELECT z.zone, ($3::timestamptz AT TIME ZONE z.zone)::date AS day"
    "    FROM (SELECT coalesce(u.timezone, o.settings ->> 'timezone', 'UTC') AS zone"
    "            FROM organizations o"
    "            LEFT JOIN users u ON u.org_id = o.id AND u.id = $2::uuid"
    "           WHERE o.id = $1::uuid) z)"
)
_ROW: LiteralString = (
    "w.id, w.key, w.number, w.project_id, w.title, w.description, {status_id} AS status_id,"
    " w.priority, w.source, w.assignee_id, w.reporter_id, w.parent_id, w.estimate_value,"
    f" w.start_date, w.end_date, w.due_date, {_OVERDUE} AS overdue, w.position, w.version,"
    " w.completed_at, w.created_at, w.updated_at, {label_ids} AS label_ids, w.child_count"
)
ROW: LiteralString = _ROW.replace("{status_id}", "w.status_id").replace(
    "{label_ids}", "w.label_ids"
)
"""An item as its row is, in order to change it."""

# It is asked once per statement whether anything is going on, and mostly not.
_GOING_ON: LiteralString = (
    "(SELECT EXISTS (SELECT FROM bulk_operations b  WHERE b.org_id = $1 AND b.finished_at IS NULL))"
)
ITEM: LiteralString = _ROW.replace(
    "{status_id}",
    f"CASE WHEN {_GOING_ON} THEN shown_status(w.org_id, w.project_id, w.status_id)"
    " ELSE w.status_id END",
).replace(
    "{label_ids}",
    f"CASE WHEN {_GOING_ON} THEN shown_labels(w.org_id, w.label_ids) ELSE w.label_ids END",
)
"""An item as it is shown: a status or a label that was deleted is what takes its place already."""

IN_PROJECT: LiteralString = (
    " JOIN projects p ON p.org_id = w.org_id AND p.id = w.project_id AND p.deleted_at IS NULL"
)
MY_ROLE: LiteralString = (
    " LEFT JOIN project_members m   ON m.org_id = $1 AND m.project_id = p.id AND m.user_id = "
)

"""What an item refers to, checked and locked."""

from collections.abc import Sequence
from datetime import datetime
from typing import LiteralString
from uuid import UUID

from rytask.modules.work_items.model import ItemReferences
from rytask.modules.work_items.queries.fragments import MY_ROLE, TODAY
from rytask.platform.db import Tx, Where
from rytask.platform.ids import ProjectId, UserId
from rytask.platform.work import Actor

_ASSIGNABLE: LiteralString = (
    "EXISTS (SELECT FROM memberships o"
    "  LEFT JOIN project_members a"
    "    ON a.org_id = o.org_id AND a.project_id = $4 AND a.user_id = o.user_id"
    " WHERE o.org_id = $1 AND o.user_id = $7 AND o.deactivated_at IS NULL"
    "   AND (o.role IN ('OWNER', 'ADMIN') OR a.user_id IS NOT NULL))"
)


def _family(parent: LiteralString, item: LiteralString) -> LiteralString:
    """CTEs: the parent with its ancestors, the item with all below it, and the parent locked."""
    return (
        ", lineage AS ("
        "  SELECT id, parent_id, 1 AS level FROM work_items"
        f"  WHERE org_id = $1 AND project_id = $4 AND id = {parent} AND deleted_at IS NULL"
        "  UNION ALL"
        "  SELECT w.id, w.parent_id, lineage.level + 1 FROM lineage"
        "    JOIN work_items w ON w.org_id = $1 AND w.id = lineage.parent_id"
        "   WHERE lineage.level < 100"
        "), tree AS ("
        f" SELECT id, 1 AS level FROM work_items WHERE org_id = $1 AND id = {item}"
        "  UNION ALL"
        "  SELECT w.id, tree.level + 1 FROM tree"
        "    JOIN work_items w ON w.org_id = $1 AND w.parent_id = tree.id WHERE tree.level < 100"
        "), locked AS MATERIALIZED ("
        f" SELECT id FROM work_items WHERE org_id = $1 AND id = {parent} FOR NO KEY UPDATE"
        ")"
    )


async def resolve_references(
    tx: Tx,
    actor: Actor,
    now: datetime,
    *,
    item_id: UUID,
    project_id: ProjectId,
    status_id: UUID | None = None,
    assignee_id: UserId | None = None,
    label_ids: Sequence[UUID] = (),
    parent_id: UUID | None = None,
    day_of: UserId | None = None,
    dated: bool = False,
) -> ItemReferences | None:
    """Look up all that an item is to refer to, and hold it until we commit.

    Without a status: the one that new items get. `dated` asks for the day, where `day_of` is. With
    a parent the tree must be locked.
    """
    where = Where(
        actor.org_id, day_of, now, project_id, actor.user_id, dated, assignee_id, list(label_ids)
    )
    chosen: LiteralString = "ORDER BY s.category <> 'UNSTARTED', s.position, s.id LIMIT 1"
    if status_id is not None:
        chosen = "AND s.id = " + where.param(status_id)
    family: LiteralString = ""
    lineage: LiteralString = "'{}'::uuid[] AS lineage, 1 AS height"
    if parent_id is not None:
        family = _family(where.param(parent_id), where.param(item_id))
        lineage = (
            "ARRAY(SELECT id FROM lineage WHERE EXISTS (SELECT FROM locked) ORDER BY level)"
            " AS lineage,"
            " coalesce((SELECT max(level) FROM tree), 1) AS height"
        )
    return await tx.maybe(
        ItemReferences,
        f"WITH RECURSIVE {TODAY}{family}"
        " SELECT p.workspace_id, p.key_prefix, p.archived_at IS NOT NULL AS archived, m.role,"
        "  CASE WHEN $6 THEN (SELECT day FROM today) END AS today,"
        "  s.id AS status_id, s.name AS status_name, s.category,"
        f" $7::uuid IS NULL OR {_ASSIGNABLE} AS assignable,"
        "  cardinality($8::uuid[]) = (SELECT count(*) FROM ("
        "    SELECT FROM labels l WHERE l.org_id = $1 AND l.workspace_id = p.workspace_id"
        "     AND l.id = ANY ($8) AND l.deleted_at IS NULL FOR KEY SHARE) l) AS labels_exist,"
        f" {lineage}"
        f" FROM projects p{MY_ROLE}$5"
        "  LEFT JOIN LATERAL (SELECT s.id, s.name, s.category FROM statuses s"
        "     WHERE s.org_id = $1 AND s.project_id = p.id AND s.deleted_at IS NULL"
        f"    {chosen} FOR SHARE) s ON true"
        " WHERE p.org_id = $1 AND p.id = $4 AND p.deleted_at IS NULL",
        *where.args,
    )

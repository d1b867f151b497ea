"""References of an item, checked and locked."""

from typing import LiteralString

from rytask.modules.work_items.model import ItemReferences, WantedReferences
from rytask.modules.work_items.queries.fragments import MY_ROLE, TODAY
from rytask.platform.db import Where
from rytask.platform.work import Writing

# What an item does not refer to is left out of the statement: each part costs PostgreSQL something
# in every create, even when it finds nothing to do.


async def resolve_references(ctx: Writing, wanted: WantedReferences) -> ItemReferences | None:
    """Look up all that an item is to refer to, and lock it until we commit.

    None if there is no such project. With a parent the tree must be locked.
    """
    where = Where(ctx.org_id)
    if wanted.dated:
        where = Where(ctx.org_id, wanted.reporter_id, ctx.now)
    project, actor = where.param(wanted.project_id), where.param(ctx.actor.user_id)
    ctes: list[LiteralString] = []
    today: LiteralString = "NULL::date"
    assignable: LiteralString = "true"
    labels_exist: LiteralString = "true"
    lineage: LiteralString = "'{}'::uuid[] AS lineage, 1 AS height"
    if wanted.dated:
        ctes.append(TODAY)
        today = "(SELECT day FROM today)"
    if wanted.assignee_id is not None:
        assignable = _assignable(project, where.param(wanted.assignee_id))
    if wanted.label_ids:
        labels_exist = _labels_exist(where.param(wanted.label_ids))
    if wanted.parent_id is not None:
        ctes.append(_family(project, where.param(wanted.parent_id), where.param(wanted.item_id)))
        lineage = _LINEAGE
    status = _FIRST_STATUS
    if wanted.status_id is not None:
        status = "AND s.id = " + where.param(wanted.status_id)
    with_ctes: LiteralString = "WITH RECURSIVE " + ", ".join(ctes) if ctes else ""
    return await ctx.db.maybe(
        ItemReferences,
        f"{with_ctes} SELECT p.workspace_id, p.key_prefix, p.archived_at IS NOT NULL AS archived,"
        f"  m.role, {today} AS today, s.id AS status_id, s.name AS status_name, s.category,"
        f"  {assignable} AS assignable, {labels_exist} AS labels_exist, {lineage}"
        f" FROM projects p{MY_ROLE}{actor}"
        "  LEFT JOIN LATERAL (SELECT s.id, s.name, s.category FROM statuses s"
        "    WHERE s.org_id = $1 AND s.project_id = p.id AND s.deleted_at IS NULL"
        f"     {status} FOR SHARE) s ON true"
        f" WHERE p.org_id = $1 AND p.id = {project} AND p.deleted_at IS NULL",
        *where.args,
    )


_FIRST_STATUS: LiteralString = "ORDER BY s.category <> 'UNSTARTED', s.position, s.id LIMIT 1"
_LINEAGE: LiteralString = (
    "ARRAY(SELECT id FROM lineage WHERE EXISTS (SELECT FROM locked) ORDER BY level) AS lineage,"
    " coalesce((SELECT max(level) FROM tree), 1) AS height"
)


def _assignable(project: LiteralString, assignee: LiteralString) -> LiteralString:
    """Whether somebody is in the project, or an admin of the organization."""
    return (
        "EXISTS (SELECT FROM memberships o LEFT JOIN project_members a"
        f"    ON a.org_id = o.org_id AND a.project_id = {project} AND a.user_id = o.user_id"
        f" WHERE o.org_id = $1 AND o.user_id = {assignee} AND o.deactivated_at IS NULL"
        "   AND (o.role IN ('OWNER', 'ADMIN') OR a.user_id IS NOT NULL))"
    )


def _labels_exist(labels: LiteralString) -> LiteralString:
    """Whether the workspace has all of these labels, which nobody can delete from now on."""
    return (
        f"cardinality({labels}::uuid[]) = (SELECT count(*) FROM ("
        "  SELECT FROM labels l WHERE l.org_id = $1 AND l.workspace_id = p.workspace_id"
        f"    AND l.id = ANY ({labels}) AND l.deleted_at IS NULL FOR KEY SHARE) l)"
    )


def _family(project: LiteralString, parent: LiteralString, item: LiteralString) -> LiteralString:
    """CTEs: the parent with its ancestors, the item with all below it, and the parent locked."""
    return (
        "lineage AS ("
        "  SELECT id, parent_id, 1 AS level FROM work_items"
        f"  WHERE org_id = $1 AND project_id = {project} AND id = {parent} AND deleted_at IS NULL"
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
        f" SELECT id FROM work_items WHERE org_id = $1 AND id = {parent} FOR NO KEY UPDATE)"
    )

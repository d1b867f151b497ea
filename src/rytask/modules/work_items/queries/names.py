"""Look-ups of names in captured lines."""

from datetime import datetime
from typing import LiteralString

from rytask.modules.identity.model import MAILBOX
from rytask.modules.work_items.model import LineNames, Mentions
from rytask.modules.work_items.queries.fragments import MY_ROLE, TODAY
from rytask.modules.work_items.rules import MAX_DEPTH
from rytask.platform.db import Tx
from rytask.platform.ids import ProjectId, UserId
from rytask.platform.work import Actor

# Every part takes these: $1 the organization, $2 whose day it is, $3 now, $4 who asks, $5 the given
# project, $6 the key prefix that is named, $7 whether every project may be named, $8 handles,
# $9 labels, $10 the key of the parent, $11 how deep sub-tasks nest.

_TARGET: LiteralString = (
    "target AS MATERIALIZED ("
    "  SELECT p.id, p.workspace_id, p.key_prefix, p.key_prefix = $6 AS named"
    f"   FROM projects p{MY_ROLE}$4"
    "   WHERE p.org_id = $1 AND p.deleted_at IS NULL AND (p.id = $5"
    "      OR p.key_prefix = $6 AND p.archived_at IS NULL"
    "         AND ($7 OR m.role IN ('ADMIN', 'MEMBER')))"
    "   ORDER BY p.key_prefix = $6 DESC NULLS LAST LIMIT 1)"
)
# A handle may be any of a person's three names; what is more particular goes first.
_HANDLES: LiteralString = (
    "handles AS MATERIALIZED ("
    "  SELECT h.n, k.nearness, k.name FROM unnest($8::text[]) WITH ORDINALITY AS h (handle, n)"
    "   CROSS JOIN LATERAL (VALUES (1, lower(h.handle)),"
    "     (2, translate(lower(h.handle), ' .-_', '')), (3, lower(h.handle))) k (nearness, name))"
)
_PEOPLE: LiteralString = (
    "people AS MATERIALIZED ("
    f"  SELECT u.id, {MAILBOX} AS mailbox, translate(lower(u.name), ' .-_', '') AS name,"
    "         lower(split_part(u.name, ' ', 1)) AS first_name"
    "    FROM target JOIN memberships o ON o.org_id = $1 AND o.deactivated_at IS NULL"
    "    JOIN users u ON u.org_id = $1 AND u.id = o.user_id"
    "    LEFT JOIN project_members a"
    "      ON a.org_id = $1 AND a.project_id = target.id AND a.user_id = o.user_id"
    "   WHERE cardinality($8) > 0 AND (o.role IN ('OWNER', 'ADMIN') OR a.user_id IS NOT NULL))"
)
# IN is looked up in a hash table whatever the planner believes about the sizes, so a line of many
# handles reads every member once. Only those who answer to one are joined.
_ANSWERS: LiteralString = (
    "answers AS MATERIALIZED ("
    "  SELECT n, CASE WHEN count(*) = 1 THEN (array_agg(id))[1] END AS id FROM ("
    "    SELECT h.n, p.id, rank() OVER (PARTITION BY h.n ORDER BY h.nearness) AS rank"
    "      FROM (SELECT * FROM people"
    "             WHERE mailbox IN (SELECT name FROM handles)"
    "                OR name IN (SELECT name FROM handles)"
    "                OR first_name IN (SELECT name FROM handles) OFFSET 0) p"
    "     CROSS JOIN LATERAL (VALUES (1, p.mailbox), (2, p.name), (3, p.first_name))"
    "        k (nearness, name)"
    "      JOIN handles h ON h.name = k.name AND h.nearness = k.nearness) a"
    "   WHERE rank = 1 GROUP BY n)"
)
_ASSIGNEES: LiteralString = (
    "ARRAY(SELECT a.id FROM handles h LEFT JOIN answers a ON a.n = h.n"
    "       WHERE h.nearness = 1 ORDER BY h.n)"
)
_LABELS: LiteralString = (
    "ARRAY(SELECT (SELECT l.id FROM labels l WHERE l.org_id = $1"
    "                 AND l.workspace_id = target.workspace_id AND lower(l.name) = lower(n.name)"
    "                 AND l.deleted_at IS NULL)"
    "  FROM unnest($9::text[]) WITH ORDINALITY AS n (name, n) ORDER BY n.n)"
)
_LINEAGE: LiteralString = (
    "lineage AS ("
    "  SELECT w.id, w.parent_id, 1 AS level FROM target JOIN work_items w"
    "      ON w.org_id = $1 AND w.project_id = target.id AND w.deleted_at IS NULL"
    "     AND target.key_prefix = split_part($10::text, '-', 1)"
    "     AND w.number = nullif(split_part($10, '-', 2), '')::int"
    "  UNION ALL"
    "  SELECT w.id, w.parent_id, lineage.level + 1 FROM lineage"
    "    JOIN work_items w ON w.org_id = $1 AND w.id = lineage.parent_id"
    "   WHERE lineage.level < 100)"
)
_PARENT: LiteralString = (
    "(SELECT id FROM lineage WHERE level = 1 AND (SELECT max(level) FROM lineage) < $11)"
)


async def resolve_names(
    tx: Tx,
    actor: Actor,
    now: datetime,
    mentions: Mentions,
    *,
    project_id: ProjectId | None,
    day_of: UserId | None,
    confined: bool,
) -> LineNames:
    """Look up what the names in a captured line mean, and the day where `day_of` is.

    A project that is named must be one that the actor may add to, or with `confined` the given
    one; else the line goes to the given one. A
    handle is the first part of an e-mail address, a name or a first name, if one person who could
    get the item answers to it.
    """
    return await tx.one(
        LineNames,
        f"WITH RECURSIVE {TODAY}, {_TARGET}, {_HANDLES}, {_PEOPLE}, {_ANSWERS}, {_LINEAGE}"
        " SELECT (SELECT day FROM today) AS today, target.id AS project_id, target.workspace_id,"
        f" coalesce(target.named, false) AS project_named, {_ASSIGNEES} AS assignee_ids,"
        f" {_LABELS} AS label_ids, {_PARENT} AS parent_id"
        " FROM (SELECT) one LEFT JOIN target ON true",
        actor.org_id,
        day_of,
        now,
        actor.user_id,
        project_id,
        mentions.key_prefix,
        actor.is_admin and not confined,
        mentions.handles,
        mentions.labels,
        mentions.parent_key,
        MAX_DEPTH,
    )

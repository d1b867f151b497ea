"""The SQL of work items.

What tells the day takes the organization, a user and the time as `$1`, `$2`, `$3`.
"""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, LiteralString
from uuid import UUID

import msgspec

from rytask.modules.projects.model import Category
from rytask.modules.work_items.filters import OVERDUE, compile_filter
from rytask.modules.work_items.model import (
    Ground,
    Group,
    Held,
    Names,
    Watcher,
    WatchReason,
    WorkItem,
)
from rytask.modules.work_items.rules import MAX_DEPTH, STEP
from rytask.modules.work_items.schemas import GroupBy, ItemsQuery, Smart
from rytask.modules.work_items.sorting import Key, after, order_by
from rytask.platform.db import Reader, Tx, Where
from rytask.platform.events import Recorded
from rytask.platform.ids import OrgId, ProjectId, UserId
from rytask.platform.work import Actor, Reading

# The day where the user is: their own zone, else the organization's.
_TODAY: LiteralString = (
    "today AS MATERIALIZED ("
    "  SELECT z.zone, ($3::timestamptz AT TIME ZONE z.zone)::date AS day"
    "    FROM (SELECT coalesce(u.timezone, o.settings ->> 'timezone', 'UTC') AS zone"
    "            FROM organizations o"
    "            LEFT JOIN users u ON u.org_id = o.id AND u.id = $2::uuid"
    "           WHERE o.id = $1::uuid) z)"
)
_ITEM: LiteralString = (
    "w.id, w.key, w.number, w.project_id, w.title, w.description, w.status_id, w.priority,"
    " w.source, w.assignee_id, w.reporter_id, w.parent_id, w.estimate_value, w.start_date,"
    f" w.end_date, w.due_date, {OVERDUE} AS overdue, w.position, w.version, w.completed_at,"
    " w.created_at, w.updated_at, w.label_ids, w.child_count"
)
_IN_PROJECT: LiteralString = (
    " JOIN projects p ON p.org_id = w.org_id AND p.id = w.project_id AND p.deleted_at IS NULL"
)
_MY_ROLE: LiteralString = (
    " LEFT JOIN project_members m   ON m.org_id = $1 AND m.project_id = p.id AND m.user_id = "
)
_MEMBER: LiteralString = (
    "EXISTS (SELECT FROM project_members m"
    "  WHERE m.org_id = $1 AND m.project_id = p.id AND m.user_id = $2)"
)


def _visible(actor: Actor) -> LiteralString:
    """Which projects `p` the actor may see."""
    return "p.deleted_at IS NULL" if actor.is_admin else f"p.deleted_at IS NULL AND {_MEMBER}"


# Reading -----------------------------------------------------------------------------------------


async def item(ctx: Reading, item_id: UUID) -> WorkItem | None:
    """An item that the actor may see and that is not in the trash."""
    return await ctx.db.maybe(
        WorkItem,
        f"WITH {_TODAY} SELECT {_ITEM} FROM work_items w{_IN_PROJECT}"
        " WHERE w.org_id = $1 AND w.id = $4 AND w.deleted_at IS NULL"
        f" AND {_visible(ctx.actor)}",
        ctx.org_id,
        ctx.actor.user_id,
        ctx.now,
        item_id,
    )


async def item_by_key(ctx: Reading, key_prefix: str, number: int) -> WorkItem | None:
    """The same by what people call it."""
    return await ctx.db.maybe(
        WorkItem,
        f"WITH {_TODAY} SELECT {_ITEM} FROM work_items w{_IN_PROJECT}"
        " WHERE w.org_id = $1 AND p.org_id = $1 AND p.key_prefix = $4 AND w.number = $5"
        f" AND w.deleted_at IS NULL AND {_visible(ctx.actor)}",
        ctx.org_id,
        ctx.actor.user_id,
        ctx.now,
        key_prefix,
        number,
    )


async def item_by_capture(ctx: Reading, capture_id: UUID) -> WorkItem | None:
    """The item that a capture became, in the trash or not."""
    return await ctx.db.maybe(
        WorkItem,
        f"WITH {_TODAY} SELECT {_ITEM} FROM work_items w WHERE w.org_id = $1 AND w.capture_id = $4",
        ctx.org_id,
        ctx.actor.user_id,
        ctx.now,
        capture_id,
    )


async def items(ctx: Reading, query: ItemsQuery, keys: Sequence[Key]) -> list[WorkItem]:
    """One item more than `limit`."""
    where, source = _source(ctx, query)
    if query.cursor is not None:
        after(query.cursor, keys, where)
    ordered: LiteralString = " ORDER BY " + order_by(keys)
    limit: LiteralString = " LIMIT " + where.param(query.limit + 1)
    if query.project_id is None and query.filter is None and query.smart in (None, "urgent"):
        # Each project's index has its items in order: the first of each, merged. One index over
        # all projects would cost every write, and serve a person who sees few of them badly.
        return await ctx.db.all(
            WorkItem,
            f"WITH {_TODAY} SELECT {_ITEM} FROM projects p CROSS JOIN LATERAL ("
            f"  SELECT w.* FROM work_items w WHERE w.project_id = p.id AND {where.sql}"
            f"  {ordered}{limit}) w"
            f" WHERE p.org_id = $1 AND {_visible(ctx.actor)}{ordered}{limit}",
            *where.args,
        )
    return await ctx.db.all(
        WorkItem,
        f"WITH {_TODAY} SELECT {_ITEM} FROM work_items w WHERE {source} AND {where.sql}"
        f"{ordered}{limit}",
        *where.args,
    )


async def groups(ctx: Reading, query: ItemsQuery, by: GroupBy) -> list[Group]:
    """How many of the items that a query finds there are of each kind."""
    where, source = _source(ctx, query)
    column = _GROUPED[by]
    return await ctx.db.all(
        Group,
        f"WITH {_TODAY} SELECT {column}::text AS key, count(*) AS count FROM work_items w"
        f" WHERE {source} AND {where.sql} GROUP BY {column} ORDER BY count(*) DESC, {column}",
        *where.args,
    )


_GROUPED: Mapping[GroupBy, LiteralString] = {
    "status": "w.status_id",
    "assignee": "w.assignee_id",
    "priority": "w.priority",
    "project": "w.project_id",
}
_SMART: Mapping[Smart, LiteralString] = {
    "my-issues": "w.assignee_id = $2",
    "my-work": "w.assignee_id = $2",
    "due-soon": "w.closed_at IS NULL AND w.due_date BETWEEN (SELECT day FROM today)"
    " AND (SELECT day FROM today) + 7",
    "overdue": "w.closed_at IS NULL AND w.due_date < (SELECT day FROM today)",
    "urgent": "w.closed_at IS NULL AND w.priority = 'URGENT'",
}


def _source(ctx: Reading, query: ItemsQuery) -> tuple[Where, LiteralString]:
    """What a query asks for, and the projects it is to be found in."""
    where = Where(ctx.org_id, ctx.actor.user_id, ctx.now)
    where.add("w.org_id = $1 AND w.deleted_at IS NULL")
    source: LiteralString = (
        "w.project_id IN"
        f" (SELECT p.id FROM projects p WHERE p.org_id = $1 AND {_visible(ctx.actor)})"
    )
    if query.project_id is not None:
        project = where.param(query.project_id)
        where.add("w.project_id = " + project)
        source = (
            f"EXISTS (SELECT FROM projects p WHERE p.org_id = $1 AND p.id = {project}"
            f" AND {_visible(ctx.actor)})"
        )
    if query.smart is not None:
        where.add(_SMART[query.smart])
    if query.filter is not None:
        where.add(compile_filter(query.filter, where, ctx.actor.user_id))
    return where, source


async def subtasks(
    ctx: Reading, parent_id: UUID, after_number: int | None, limit: int
) -> list[WorkItem]:
    """One sub-task more than `limit`, by number."""
    where = Where(ctx.org_id, ctx.actor.user_id, ctx.now, parent_id)
    where.add("w.org_id = $1 AND w.parent_id = $4 AND w.deleted_at IS NULL")
    if after_number is not None:
        where.add("w.number > {}", after_number)
    return await ctx.db.all(
        WorkItem,
        f"WITH {_TODAY} SELECT {_ITEM} FROM work_items w{_IN_PROJECT}"
        f" WHERE {where.sql} AND {_visible(ctx.actor)}"
        f" ORDER BY w.number LIMIT {where.param(limit + 1)}",
        *where.args,
    )


async def facts(
    db: Reader, org_id: OrgId, item_id: UUID, since: int, limit: int | None
) -> list[Recorded]:
    """What happened to an item, oldest first, from a place in the feed on."""
    return await db.all(
        Recorded,
        "SELECT org_id, seq, kind, project_id, subject_id, actor_id, source, payload, at"
        "  FROM events WHERE org_id = $1 AND subject_id = $2 AND seq >= $3"
        " ORDER BY seq LIMIT $4",
        org_id,
        item_id,
        since,
        limit,
    )


async def watchers(db: Reader, org_id: OrgId, item_id: UUID) -> list[Watcher]:
    return await db.all(
        Watcher,
        "SELECT v.user_id, u.name, v.reason FROM work_item_watchers v"
        "  JOIN users u ON u.org_id = v.org_id AND u.id = v.user_id"
        " WHERE v.org_id = $1 AND v.item_id = $2 ORDER BY v.user_id",
        org_id,
        item_id,
    )


# Locks: first the tree or the column, then items, then the counter -------------------------------


async def lock_tree(tx: Tx, org_id: OrgId, project_id: ProjectId) -> None:
    """Let nobody else change who is whose sub-task in a project until we commit."""
    await tx.execute(
        "SELECT pg_advisory_xact_lock(hashtextextended('tree ' || $1::uuid || $2::uuid, 0))",
        org_id,
        project_id,
    )


async def lock_tree_of(tx: Tx, org_id: OrgId, item_id: UUID) -> None:
    """The same for the project of an item."""
    await tx.execute(
        "SELECT pg_advisory_xact_lock(hashtextextended('tree ' || org_id || project_id, 0))"
        "  FROM work_items WHERE org_id = $1 AND id = $2",
        org_id,
        item_id,
    )


async def lock_column(tx: Tx, org_id: OrgId, item_id: UUID, status_id: UUID | None) -> UUID | None:
    """Let nobody else move items within a status until we commit; which status that is.

    The status that is asked for, else the one the item is in. None: there is no such item.
    """
    return await tx.value(
        "SELECT s.id, pg_advisory_xact_lock(hashtextextended('column ' || s.id, 0)) FROM ("
        "  SELECT coalesce($3, status_id) AS id FROM work_items WHERE org_id = $1 AND id = $2"
        "  OFFSET 0) s",
        org_id,
        item_id,
        status_id,
    )


async def lock_statuses(tx: Tx, status_ids: Sequence[UUID]) -> None:
    """The same for whole statuses."""
    await tx.execute(
        "SELECT pg_advisory_xact_lock(hashtextextended('column ' || id, 0))"
        "  FROM (SELECT id FROM unnest($1::uuid[]) AS s (id) ORDER BY id) s",
        status_ids,
    )


async def hold(
    tx: Tx,
    actor: Actor,
    now: datetime,
    item_id: UUID,
    *,
    status_id: UUID | None = None,
    trashed: bool = False,
) -> Held | None:
    """An item, locked: nobody else can change it until we commit. `status_id`: where it may go."""
    in_trash: LiteralString = "IS NOT NULL" if trashed else "IS NULL"
    return await tx.maybe(
        Held,
        f"WITH {_TODAY} SELECT {_ITEM}, w.closed_at, p.workspace_id,"
        "  p.archived_at IS NOT NULL AS archived, m.role, (SELECT day FROM today) AS today,"
        "  t.category AS target_category, t.name AS target_name"
        f" FROM work_items w{_IN_PROJECT}{_MY_ROLE}$2"
        "  LEFT JOIN LATERAL (SELECT s.category, s.name FROM statuses s WHERE s.org_id = $1"
        "    AND s.project_id = w.project_id AND s.id = $5 FOR SHARE) t ON true"
        f" WHERE w.org_id = $1 AND w.id = $4 AND w.deleted_at {in_trash}"
        " FOR NO KEY UPDATE OF w",
        actor.org_id,
        actor.user_id,
        now,
        item_id,
        status_id,
    )


# Writing -----------------------------------------------------------------------------------------

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
        ", line AS ("
        "  SELECT id, parent_id, 1 AS level FROM work_items"
        f"  WHERE org_id = $1 AND project_id = $4 AND id = {parent} AND deleted_at IS NULL"
        "  UNION ALL"
        "  SELECT w.id, w.parent_id, line.level + 1 FROM line"
        "    JOIN work_items w ON w.org_id = $1 AND w.id = line.parent_id"
        "   WHERE line.level < 100"
        "), tree AS ("
        f" SELECT id, 1 AS level FROM work_items WHERE org_id = $1 AND id = {item}"
        "  UNION ALL"
        "  SELECT w.id, tree.level + 1 FROM tree"
        "    JOIN work_items w ON w.org_id = $1 AND w.parent_id = tree.id WHERE tree.level < 100"
        "), held AS MATERIALIZED ("
        f" SELECT id FROM work_items WHERE org_id = $1 AND id = {parent} FOR NO KEY UPDATE"
        ")"
    )


async def ground(
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
) -> Ground | None:
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
    line: LiteralString = "'{}'::uuid[] AS line, 1 AS height"
    if parent_id is not None:
        family = _family(where.param(parent_id), where.param(item_id))
        line = (
            "ARRAY(SELECT id FROM line WHERE EXISTS (SELECT FROM held) ORDER BY level) AS line,"
            " coalesce((SELECT max(level) FROM tree), 1) AS height"
        )
    return await tx.maybe(
        Ground,
        f"WITH RECURSIVE {_TODAY}{family}"
        " SELECT p.workspace_id, p.key_prefix, p.archived_at IS NOT NULL AS archived, m.role,"
        "  CASE WHEN $6 THEN (SELECT day FROM today) END AS today,"
        "  s.id AS status_id, s.category,"
        f" $7::uuid IS NULL OR {_ASSIGNABLE} AS assignable,"
        "  cardinality($8::uuid[]) = (SELECT count(*) FROM ("
        "    SELECT FROM labels l WHERE l.org_id = $1 AND l.workspace_id = p.workspace_id"
        "     AND l.id = ANY ($8) FOR KEY SHARE) l) AS labelled,"
        f" {line}"
        f" FROM projects p{_MY_ROLE}$5"
        "  LEFT JOIN LATERAL (SELECT s.id, s.category FROM statuses s"
        f"    WHERE s.org_id = $1 AND s.project_id = p.id {chosen} FOR SHARE) s ON true"
        " WHERE p.org_id = $1 AND p.id = $4 AND p.deleted_at IS NULL",
        *where.args,
    )


class Place(msgspec.Struct, frozen=True):
    number: int
    position: float


async def next_place(tx: Tx, org_id: OrgId, project_id: ProjectId) -> Place:
    """The next number of a project, and the end of its order. Nobody else gets them.

    Committed apart, so that those who add to a project do not wait for each other's commits: with
    a transaction that fails a number is lost, and no number comes twice.
    """
    return await tx.apart.one(
        Place,
        "UPDATE project_counters"
        "   SET last_number = last_number + 1, last_position = last_position + $3"
        " WHERE org_id = $1 AND project_id = $2"
        " RETURNING last_number AS number, last_position AS position",
        org_id,
        project_id,
        STEP,
    )


async def insert(
    tx: Tx,
    org_id: OrgId,
    item: WorkItem,
    closed_at: datetime | None,
    capture_id: UUID | None,
    watching: Sequence[tuple[UserId, WatchReason]],
) -> None:
    """Add an item, with those who watch it from the start."""
    await tx.execute(
        "WITH item AS ("
        "  INSERT INTO work_items (org_id, project_id, id, number, key, position, title,"
        "    description, status_id, priority, source, assignee_id, reporter_id, parent_id,"
        "    capture_id, label_ids, estimate_value, start_date, end_date, due_date, completed_at,"
        "    closed_at, created_at, updated_at)"
        "  VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10::text::priority, $11, $12, $13, $14,"
        "    $15, $16, $17, $18, $19, $20, $21, $22, $23, $23)"
        "), parent AS ("
        "  UPDATE work_items SET child_count = child_count + 1 WHERE org_id = $1 AND id = $14"
        ")"
        " INSERT INTO work_item_watchers (org_id, item_id, user_id, reason)"
        " SELECT $1, $3, v.user_id, v.reason"
        "   FROM unnest($24::uuid[], $25::text[]) AS v (user_id, reason)",
        org_id,
        item.project_id,
        item.id,
        item.number,
        item.key,
        item.position,
        item.title,
        item.description,
        item.status_id,
        item.priority,
        item.source,
        item.assignee_id,
        item.reporter_id,
        item.parent_id,
        capture_id,
        item.label_ids,
        item.estimate_value,
        item.start_date,
        item.end_date,
        item.due_date,
        item.completed_at,
        closed_at,
        item.created_at,
        [user_id for user_id, _ in watching],
        [reason for _, reason in watching],
    )


async def names(
    tx: Tx,
    actor: Actor,
    now: datetime,
    *,
    day_of: UserId | None,
    project_id: ProjectId | None,
    key_prefix: str | None,
    handles: Sequence[str],
    labels: Sequence[str],
    parent_key: str | None,
) -> Names:
    """What the names in a captured line mean, and the day where the capturer is.

    A project that is named must be one that the actor may add to; else it is the given one. A
    handle is the first part of an e-mail address, a name or a first name, if one person who could
    get the item answers to it.
    """
    return await tx.one(
        Names,
        f"WITH RECURSIVE {_TODAY}, place AS MATERIALIZED ("
        "  SELECT p.id, p.workspace_id, p.key_prefix, p.key_prefix = $6 AS named"
        f"   FROM projects p{_MY_ROLE}$4"
        "   WHERE p.org_id = $1 AND p.deleted_at IS NULL AND (p.id = $5"
        "      OR p.key_prefix = $6 AND p.archived_at IS NULL"
        "         AND ($10 OR m.role IN ('ADMIN', 'MEMBER')))"
        "   ORDER BY p.key_prefix = $6 DESC NULLS LAST LIMIT 1"
        "), people AS ("
        "  SELECT u.id, lower(split_part(u.email, '@', 1)) AS mailbox,"
        "         translate(lower(u.name), ' .-_', '') AS name,"
        "         lower(split_part(u.name, ' ', 1)) AS first_name"
        "    FROM place JOIN memberships o ON o.org_id = $1 AND o.deactivated_at IS NULL"
        "    JOIN users u ON u.org_id = $1 AND u.id = o.user_id"
        "    LEFT JOIN project_members a"
        "      ON a.org_id = $1 AND a.project_id = place.id AND a.user_id = o.user_id"
        "   WHERE cardinality($7::text[]) > 0"
        "     AND (o.role IN ('OWNER', 'ADMIN') OR a.user_id IS NOT NULL)"
        "), up AS ("
        "  SELECT w.id, w.parent_id, 1 AS level FROM place JOIN work_items w"
        "      ON w.org_id = $1 AND w.project_id = place.id AND w.deleted_at IS NULL"
        "     AND place.key_prefix = split_part($9::text, '-', 1)"
        "     AND w.number = nullif(split_part($9, '-', 2), '')::int"
        "  UNION ALL"
        "  SELECT w.id, w.parent_id, up.level + 1 FROM up"
        "    JOIN work_items w ON w.org_id = $1 AND w.id = up.parent_id WHERE up.level < 100"
        ")"
        " SELECT (SELECT day FROM today) AS today, place.id AS project_id, place.workspace_id,"
        "  coalesce(place.named, false) AS named,"
        "  ARRAY(SELECT ("
        "    SELECT CASE WHEN count(*) = 1 THEN (array_agg(best.id))[1] END FROM ("
        "      SELECT x.id, rank() OVER (ORDER BY x.nearness) AS place FROM ("
        "        SELECT id, CASE h.handle WHEN mailbox THEN 1"
        "                   ELSE CASE WHEN translate(h.handle, ' .-_', '') = name THEN 2"
        "                             WHEN h.handle = first_name THEN 3 END END AS nearness"
        "          FROM people) x"
        "       WHERE x.nearness IS NOT NULL) best"
        "     WHERE best.place = 1)"
        "    FROM unnest($7::text[]) WITH ORDINALITY AS h (handle, n) ORDER BY h.n"
        "  ) AS assignee_ids,"
        "  ARRAY(SELECT (SELECT l.id FROM labels l WHERE l.org_id = $1"
        "                   AND l.workspace_id = place.workspace_id AND lower(l.name) = n.name)"
        "    FROM unnest($8::text[]) WITH ORDINALITY AS n (name, n) ORDER BY n.n"
        "  ) AS label_ids,"
        "  (SELECT up.id FROM up WHERE up.level = 1 AND"
        "    (SELECT max(level) FROM up) < $11) AS parent_id"
        " FROM (SELECT) one LEFT JOIN place ON true",
        actor.org_id,
        day_of,
        now,
        actor.user_id,
        project_id,
        key_prefix,
        handles,
        labels,
        parent_key,
        actor.is_admin,
        MAX_DEPTH,
    )


_COLUMNS: Mapping[str, LiteralString] = {
    "title": "title = {}",
    "description": "description = {}",
    "status_id": "status_id = {}",
    "priority": "priority = {}::text::priority",
    "assignee_id": "assignee_id = {}",
    "parent_id": "parent_id = {}",
    "estimate_value": "estimate_value = {}",
    "start_date": "start_date = {}",
    "end_date": "end_date = {}",
    "due_date": "due_date = {}",
    "label_ids": "label_ids = {}",
    "position": "position = {}",
    "completed_at": "completed_at = {}",
    "closed_at": "closed_at = {}",
}


async def update(
    tx: Tx,
    item: WorkItem,
    org_id: OrgId,
    now: datetime,
    changes: Mapping[str, Any],
    *,
    to_end: bool = False,
) -> float:
    """Change columns of an item; its position. `to_end`: it goes behind all others.

    A new assignee watches it from now on, and sub-tasks of its old and new parent are counted.
    """
    values = Where(org_id, item.id, now)
    also: list[LiteralString] = []
    sets: list[LiteralString] = ["version = version + 1", "updated_at = $3"]
    for name, value in changes.items():
        sets.append(_COLUMNS[name].replace("{}", values.param(value)))
    if to_end:
        counter, step = values.param(item.project_id), values.param(STEP)
        also.append(
            f"counter AS (UPDATE project_counters SET last_position = last_position + {step}"
            f" WHERE org_id = $1 AND project_id = {counter} RETURNING last_position)"
        )
        sets.append("position = (SELECT last_position FROM counter)")
    if changes.get("assignee_id") is not None:
        also.append(
            "watching AS (INSERT INTO work_item_watchers (org_id, item_id, user_id, reason)"
            f" VALUES ($1, $2, {values.param(changes['assignee_id'])}, 'ASSIGNEE')"
            " ON CONFLICT DO NOTHING)"
        )
    if "parent_id" in changes:
        more, fewer = values.param(changes["parent_id"]), values.param(item.parent_id)
        also.append(
            "parents AS (UPDATE work_items SET child_count = child_count"
            f" + CASE WHEN id = {more} THEN 1 ELSE -1 END"
            f" WHERE org_id = $1 AND id IN ({more}, {fewer}))"
        )
    ctes: LiteralString = "WITH " + ", ".join(also) if also else ""
    return await tx.value(
        f"{ctes} UPDATE work_items SET {', '.join(sets)} WHERE org_id = $1 AND id = $2"
        " RETURNING position",
        *values.args,
    )


async def set_trashed(
    tx: Tx, org_id: OrgId, item: Held, now: datetime, deleted_at: datetime | None
) -> None:
    """Put an item into the trash or take it out, and count its parent's sub-tasks."""
    await tx.execute(
        "WITH parent AS ("
        "  UPDATE work_items SET child_count = child_count + $6 WHERE org_id = $1 AND id = $3)"
        " UPDATE work_items SET deleted_at = $5, updated_at = $4, version = version + 1"
        "  WHERE org_id = $1 AND id = $2",
        org_id,
        item.id,
        item.parent_id,
        now,
        deleted_at,
        -1 if deleted_at else 1,
    )


class Neighbour(msgspec.Struct, frozen=True):
    id: UUID
    position: float


async def beside(
    tx: Tx,
    org_id: OrgId,
    item: WorkItem,
    status_id: UUID,
    anchor_id: UUID,
    *,
    before: bool,
    count: int,
) -> list[Neighbour]:
    """An item of a status and those next to it, nearest first, without the one that moves.

    Empty when the anchor is not in the status, or is the one that moves.
    """
    side: LiteralString = "<" if before else ">"
    direction: LiteralString = " DESC" if before else ""
    return await tx.all(
        Neighbour,
        "WITH anchor AS MATERIALIZED ("
        "  SELECT id, position FROM work_items WHERE org_id = $1 AND project_id = $2"
        "    AND status_id = $3 AND id = $4 AND id <> $5 AND deleted_at IS NULL)"
        " SELECT id, position FROM anchor UNION ALL"
        # LATERAL, so that the index gives the order and only a few entries are read.
        " SELECT n.id, n.position FROM anchor a CROSS JOIN LATERAL ("
        "  SELECT w.id, w.position FROM work_items w"
        "   WHERE w.org_id = $1 AND w.project_id = $2 AND w.status_id = $3"
        f"    AND w.deleted_at IS NULL AND w.position {side}= a.position"
        f"    AND (w.position, w.id) {side} (a.position, a.id) AND w.id <> $5"
        f"  ORDER BY w.position{direction}, w.id{direction} LIMIT $6) n",
        org_id,
        item.project_id,
        status_id,
        anchor_id,
        item.id,
        count,
    )


async def place(
    tx: Tx,
    org_id: OrgId,
    project_id: ProjectId,
    status_id: UUID,
    ids: Sequence[UUID],
    positions: Sequence[float],
) -> None:
    """Give items of a status new positions. What is appended later still comes behind them."""
    await tx.execute(
        "WITH placed AS ("
        "  UPDATE work_items w SET position = n.position"
        "    FROM unnest($4::uuid[], $5::float8[]) AS n (id, position)"
        "   WHERE w.org_id = $1 AND w.id = n.id AND w.status_id = $3)"
        " UPDATE project_counters SET last_position = $6"
        "  WHERE org_id = $1 AND project_id = $2 AND last_position < $6",
        org_id,
        project_id,
        status_id,
        ids,
        positions,
        max(positions),
    )


async def watch(tx: Tx, org_id: OrgId, item_id: UUID, user_id: UserId, reason: WatchReason) -> None:
    await tx.execute(
        "INSERT INTO work_item_watchers (org_id, item_id, user_id, reason)"
        " VALUES ($1, $2, $3, $4) ON CONFLICT DO NOTHING",
        org_id,
        item_id,
        user_id,
        reason,
    )


async def unwatch(tx: Tx, org_id: OrgId, item_id: UUID, user_id: UserId) -> bool:
    return bool(
        await tx.execute(
            "DELETE FROM work_item_watchers WHERE org_id = $1 AND item_id = $2 AND user_id = $3",
            org_id,
            item_id,
            user_id,
        )
    )


async def relabel(
    tx: Tx, org_id: OrgId, item_id: UUID, now: datetime, label_ids: Sequence[UUID]
) -> None:
    await tx.execute(
        "UPDATE work_items SET label_ids = $4, updated_at = $3 WHERE org_id = $1 AND id = $2",
        org_id,
        item_id,
        now,
        label_ids,
    )


async def drop_label(tx: Tx, org_id: OrgId, label_id: UUID, into_id: UUID | None) -> None:
    """Take a label off every item that has it; with `into_id`, put that one on instead."""
    await tx.execute(
        "UPDATE work_items SET label_ids = CASE WHEN $3 = ANY (label_ids) OR $3::uuid IS NULL"
        "   THEN array_remove(label_ids, $2) ELSE array_replace(label_ids, $2, $3) END"
        " WHERE org_id = $1 AND label_ids @> ARRAY[$2::uuid]",
        org_id,
        label_id,
        into_id,
    )


async def settle(
    tx: Tx, org_id: OrgId, project_id: ProjectId, status_id: UUID, category: Category, now: datetime
) -> None:
    """Complete, close or reopen the items of a status whose category has changed."""
    await tx.execute(
        "UPDATE work_items SET completed_at = CASE WHEN $4 = 'COMPLETED'"
        "   THEN coalesce(completed_at, $5) END,"
        "  closed_at = CASE WHEN $4 IN ('COMPLETED', 'CANCELLED') THEN coalesce(closed_at, $5) END"
        " WHERE org_id = $1 AND project_id = $2 AND status_id = $3"
        "  AND (completed_at IS NOT NULL <> ($4 = 'COMPLETED')"
        "       OR closed_at IS NOT NULL <> ($4 IN ('COMPLETED', 'CANCELLED')))",
        org_id,
        project_id,
        status_id,
        category,
        now,
    )


async def reassign(
    tx: Tx,
    org_id: OrgId,
    project_id: ProjectId,
    from_id: UUID,
    to_id: UUID,
    category: Category,
    now: datetime,
    *,
    trashed_only: bool,
) -> None:
    """Move all items of one status to the end of another, in their order."""
    which: LiteralString = " AND deleted_at IS NOT NULL" if trashed_only else ""
    await tx.execute(
        "WITH ordered AS MATERIALIZED ("
        "  SELECT id, row_number() OVER (ORDER BY position, id) AS n FROM work_items"
        f"  WHERE org_id = $1 AND project_id = $2 AND status_id = $3{which}"
        "), counter AS MATERIALIZED ("
        "  UPDATE project_counters"
        "     SET last_position = last_position + $7 * (SELECT count(*) FROM ordered)"
        "   WHERE org_id = $1 AND project_id = $2"
        "  RETURNING last_position - $7 * (SELECT count(*) FROM ordered) AS start"
        ")"
        " UPDATE work_items w SET status_id = $4, position = counter.start + $7 * ordered.n,"
        "   completed_at = CASE WHEN $5 = 'COMPLETED' THEN coalesce(completed_at, $6) END,"
        "   closed_at = CASE WHEN $5 IN ('COMPLETED', 'CANCELLED')"
        "     THEN coalesce(closed_at, $6) END,"
        "   version = version + 1, updated_at = $6"
        "  FROM ordered, counter WHERE w.org_id = $1 AND w.id = ordered.id",
        org_id,
        project_id,
        from_id,
        to_id,
        category,
        now,
        STEP,
    )


async def erase(tx: Tx, org_id: OrgId, project_id: ProjectId, batch: int) -> int:
    """Remove a batch of a deleted project's items, the youngest first; how many."""
    return await tx.execute(
        "DELETE FROM work_items WHERE org_id = $1 AND id IN ("
        "  SELECT w.id FROM work_items w JOIN projects p ON p.org_id = w.org_id"
        "     AND p.id = w.project_id AND p.deleted_at IS NOT NULL"
        "   WHERE w.org_id = $1 AND w.project_id = $2 ORDER BY w.number DESC LIMIT $3)",
        org_id,
        project_id,
        batch,
    )

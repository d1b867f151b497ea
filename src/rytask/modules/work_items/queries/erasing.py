"""Erasing what has been in the trash for too long."""

from collections.abc import Sequence
from datetime import datetime
from uuid import UUID

import msgspec

from rytask.platform.db import Reader, Tx
from rytask.platform.ids import OrgId, ProjectId

_BATCH = 100


class TrashedItem(msgspec.Struct, frozen=True):
    id: UUID
    key: str
    title: str


class Orphan(msgspec.Struct, frozen=True):
    """A sub-task whose parent is erased."""

    id: UUID
    key: str
    title: str
    parent_id: UUID


async def orgs_to_purge(db: Reader, before: datetime) -> list[OrgId]:
    """The organizations with items that were put into the trash before."""
    return await db.values("SELECT DISTINCT org_id FROM work_items WHERE deleted_at < $1", before)


async def next_project(tx: Tx, org_id: OrgId, before: datetime) -> ProjectId | None:
    """The project of the item that has been in the trash longest, if it was put there before."""
    return await tx.value(
        "SELECT project_id FROM work_items WHERE org_id = $1 AND deleted_at < $2"
        " ORDER BY deleted_at LIMIT 1",
        org_id,
        before,
    )


async def lock_trash(
    tx: Tx, org_id: OrgId, project_id: ProjectId, before: datetime
) -> list[TrashedItem]:
    """A batch of a project's items that were put into the trash before, the oldest of them.

    Nothing is restored meanwhile: the project's tree is locked.
    """
    return await tx.all(
        TrashedItem,
        "SELECT id, key, title FROM work_items WHERE org_id = $1 AND id = ANY (ARRAY("
        "   SELECT id FROM work_items WHERE org_id = $1 AND project_id = $2 AND deleted_at < $3"
        "    ORDER BY deleted_at LIMIT $4))"
        " ORDER BY id FOR UPDATE",
        org_id,
        project_id,
        before,
        _BATCH,
    )


async def orphan(tx: Tx, org_id: OrgId, parents: Sequence[UUID], now: datetime) -> list[Orphan]:
    """Take the sub-tasks off items that are not erased with them; these sub-tasks."""
    return await tx.all(
        Orphan,
        "WITH children AS MATERIALIZED (SELECT id, parent_id FROM work_items"
        "   WHERE org_id = $1 AND parent_id = ANY ($2::uuid[]) AND id <> ALL ($2::uuid[])"
        "   ORDER BY id FOR UPDATE)"
        " UPDATE work_items w SET parent_id = NULL, version = version + 1, updated_at = $3"
        "  FROM children WHERE w.org_id = $1 AND w.id = children.id"
        " RETURNING w.id, w.key, w.title, children.parent_id",
        org_id,
        parents,
        now,
    )


async def erase(tx: Tx, org_id: OrgId, ids: Sequence[UUID]) -> None:
    """Delete items for good, with what hangs on them. Their numbers are not used again."""
    await tx.execute(
        "DELETE FROM work_items WHERE org_id = $1 AND id = ANY ($2::uuid[])", org_id, ids
    )

"""The use cases of projects, their members and their statuses."""

from collections.abc import Sequence
from uuid import UUID

from msgspec.structs import replace

from rytask.modules.identity import service as identity
from rytask.modules.projects import queries
from rytask.modules.projects.events import (
    ProjectChanged,
    ProjectCreated,
    ProjectDeleted,
    ProjectMemberSet,
    StatusChanged,
    StatusCreated,
    StatusDeleted,
    StatusesReordered,
)
from rytask.modules.projects.labels import create_label as create_label
from rytask.modules.projects.labels import ensure_labels as ensure_labels
from rytask.modules.projects.labels import erase_label as erase_label
from rytask.modules.projects.labels import hide_label as hide_label
from rytask.modules.projects.labels import list_labels as list_labels
from rytask.modules.projects.labels import replacement_of_label as replacement_of_label
from rytask.modules.projects.labels import require_label as require_label
from rytask.modules.projects.labels import require_other_label as require_other_label
from rytask.modules.projects.labels import update_label as update_label
from rytask.modules.projects.model import (
    Category,
    Member,
    Membership,
    Project,
    ProjectRole,
    ProjectWithRole,
    Status,
)
from rytask.modules.projects.schemas import (
    NewMember,
    NewProject,
    NewStatus,
    PageQuery,
    ProjectChanges,
    ProjectsQuery,
    StatusChanges,
    StatusOrder,
)
from rytask.platform import pages, patch
from rytask.platform.db import Duplicate
from rytask.platform.errors import Conflict, Forbidden, Invalid, NotFound
from rytask.platform.http import Page
from rytask.platform.ids import ProjectId, UserId, new_id
from rytask.platform.work import Actor, OrgRole, Reading, Writing

STARTING_STATUSES: tuple[tuple[str, Category, str], ...] = (
    ("Backlog", "BACKLOG", "#94A3B8"),
    ("To Do", "UNSTARTED", "#64748B"),
    ("In Progress", "STARTED", "#3B82F6"),
    ("Review", "STARTED", "#A855F7"),
    ("Done", "COMPLETED", "#22C55E"),
    ("Cancelled", "CANCELLED", "#EF4444"),
)
_RANK: dict[ProjectRole, int] = {"VIEWER": 0, "MEMBER": 1, "ADMIN": 2}


def require_role(actor: Actor, role: ProjectRole | None, need: ProjectRole) -> None:
    """Let an actor with this role in a project through, or refuse.

    Owners and admins of the organization pass. Raises NotFound for who may not see the project,
    and Forbidden for who may see it, but not do this.
    """
    if actor.is_admin:
        return
    if role is None:
        raise not_found()
    if _RANK[role] < _RANK[need]:
        raise Forbidden(
            f"This needs the role {need} in the project; yours is {role}.",
            code="project.role_too_low",
        )


def not_found() -> NotFound:
    return NotFound("There is no such project, or it is not shared with you.")


async def require(
    ctx: Reading, project_id: ProjectId, need: ProjectRole = "VIEWER"
) -> ProjectWithRole:
    """The project, if the actor may enter it in this role. Refuses as `require_role` does."""
    return _require_project_role(
        ctx,
        await queries.project_with_role(ctx.db, ctx.org_id, project_id, ctx.actor.user_id),
        need,
    )


async def list_projects(ctx: Reading, query: ProjectsQuery) -> Page[Project]:
    """The projects that the actor may see, in the order of their making."""
    after = None if query.cursor is None else pages.decode(query.cursor, tuple[UUID])[0]
    rows = await queries.projects(ctx.db, ctx.actor, after, query.limit, query.include_archived)
    return pages.page(rows, query.limit, lambda project: pages.encode(project.id))


async def get_project(ctx: Reading, project_id: ProjectId) -> Project:
    return _public(await require(ctx, project_id))


async def create_project(
    ctx: Writing,
    new: NewProject,
    *,
    project_id: ProjectId | None = None,
    status_ids: Sequence[UUID] | None = None,
    workspace_id: UUID | None = None,
    admin_id: UserId | None = None,
) -> Project:
    """Make a project with six statuses; whoever makes it administers it.

    The demo seed gives ids of its own. `admin_id` administers it when the system makes it.
    """
    admin_id = admin_id or ctx.actor.user_id
    await _check_lead(ctx, new.lead_id)
    project = Project(
        id=project_id or ProjectId(new_id()),
        name=new.name.strip(),
        key_prefix=new.key_prefix,
        description=new.description,
        icon=new.icon,
        color=new.color,
        lead_id=new.lead_id,
        archived_at=None,
        created_at=ctx.now,
    )
    ids = status_ids or [new_id() for _ in STARTING_STATUSES]
    statuses = [
        Status(id, name, category, color, position)
        for position, (id, (name, category, color)) in enumerate(
            zip(ids, STARTING_STATUSES, strict=True)
        )
    ]
    place = await queries.workspace(ctx.db, ctx.org_id, workspace_id or ctx.actor.workspace_id)
    try:
        await queries.insert_project(ctx.db, ctx.org_id, place, project, statuses, admin_id)
    except Duplicate as error:
        raise Conflict(
            f"Another project has the key prefix {new.key_prefix}. Choose another one.",
            code="project.key_taken",
        ) from error
    ctx.record(
        ProjectCreated(
            subject_id=project.id,
            project_id=project.id,
            name=project.name,
            key_prefix=project.key_prefix,
        )
    )
    return project


async def update_project(ctx: Writing, project_id: ProjectId, changes: ProjectChanges) -> Project:
    """Change a project. Items of an archived project can be read, not changed."""
    before = _public(await _lock_project(ctx, project_id))
    wanted = patch.sent_fields(changes)
    archived = wanted.pop("archived", before.archived_at is not None)
    if wanted.get("lead_id") not in (None, before.lead_id):
        await _check_lead(ctx, wanted["lead_id"])
    after = replace(
        before, **wanted, archived_at=(before.archived_at or ctx.now) if archived else None
    )
    fields = patch.changed_fields(before, after)
    if fields:
        await queries.update_project(ctx.db, ctx.org_id, after, ctx.now)
        ctx.record(ProjectChanged(subject_id=after.id, project_id=after.id, fields=fields))
    return after


async def delete_project(ctx: Writing, project_id: ProjectId) -> None:
    """Delete a project for good. It is gone at once, and its prefix free for another one."""
    project = await _lock_project(ctx, project_id)
    await queries.hide_project(ctx.db, ctx.org_id, project_id, ctx.now)
    ctx.record(
        ProjectDeleted(
            subject_id=project_id,
            project_id=project_id,
            name=project.name,
            key_prefix=project.key_prefix,
        )
    )


async def erase_project(ctx: Writing, project_id: ProjectId) -> None:
    """Remove what is left of a deleted project once its items are gone. Repeating is harmless."""
    await queries.erase_project(ctx.db, ctx.org_id, project_id)


async def list_members(ctx: Reading, project_id: ProjectId, query: PageQuery) -> Page[Member]:
    after = None if query.cursor is None else pages.decode(query.cursor, tuple[UUID])[0]
    await require(ctx, project_id)
    rows = await queries.members(
        ctx.db, ctx.org_id, project_id, None if after is None else UserId(after), query.limit
    )
    return pages.page(rows, query.limit, lambda member: pages.encode(member.user_id))


async def add_member(ctx: Writing, project_id: ProjectId, new: NewMember) -> Membership:
    """Give a member of the organization a role in the project. Who is in it gets the new role."""
    if new.user_id not in await _lock_members(ctx, project_id, new.user_id):
        raise Invalid("Nobody in your organization has this user id.", code="member.unknown")
    return await _set_member(ctx, project_id, new.user_id, new.role)


async def change_member(
    ctx: Writing, project_id: ProjectId, user_id: UserId, role: ProjectRole
) -> Membership:
    """Change the role of somebody who is in the project."""
    await _lock_members(ctx, project_id)
    if not await queries.is_member(ctx.db, ctx.org_id, project_id, user_id):
        raise _no_member()
    return await _set_member(ctx, project_id, user_id, role)


async def remove_member(ctx: Writing, project_id: ProjectId, user_id: UserId) -> None:
    """Take somebody out of the project. Everybody may leave; they keep what is assigned to them."""
    leaving = user_id == ctx.actor.user_id
    await _lock_project(ctx, project_id, "VIEWER" if leaving else "ADMIN")
    if not await queries.remove_member(ctx.db, ctx.org_id, project_id, user_id):
        raise _no_member()
    ctx.record(
        ProjectMemberSet(subject_id=project_id, project_id=project_id, user_id=user_id, role=None)
    )


async def list_statuses(ctx: Reading, project_id: ProjectId) -> list[Status]:
    await require(ctx, project_id)
    return await queries.statuses(ctx.db, ctx.org_id, project_id)


async def create_status(ctx: Writing, project_id: ProjectId, new: NewStatus) -> Status:
    """Add a status at `position`, or at the end."""
    await _lock_project(ctx, project_id)
    status = Status(new_id(), new.name.strip(), new.category, new.color, 0)
    try:
        status = await queries.insert_status(ctx.db, ctx.org_id, project_id, status, new.position)
    except Duplicate as error:
        raise _status_name_taken(status.name) from error
    ctx.record(
        StatusCreated(
            subject_id=status.id,
            project_id=project_id,
            name=status.name,
            category=status.category,
        )
    )
    return status


async def reorder_statuses(ctx: Writing, project_id: ProjectId, order: StatusOrder) -> list[Status]:
    """Put the statuses of a project in this order. It must name each of them once."""
    await _lock_project(ctx, project_id)
    statuses = {s.id: s for s in await queries.statuses(ctx.db, ctx.org_id, project_id)}
    if sorted(order.ordered_ids) != sorted(statuses):
        raise Invalid(
            "List each status of the project exactly once.", code="status.incomplete_order"
        )
    if order.ordered_ids != list(statuses):
        await queries.order_statuses(ctx.db, ctx.org_id, project_id, order.ordered_ids)
        ctx.record(
            StatusesReordered(
                subject_id=project_id, project_id=project_id, ordered_ids=order.ordered_ids
            )
        )
    return [replace(statuses[id], position=n) for n, id in enumerate(order.ordered_ids)]


async def require_status(ctx: Writing, status_id: UUID) -> queries.StatusWithRole:
    """A status that the actor may change, held until we commit: no item gets or leaves it."""
    found = await queries.status_with_role(ctx.db, ctx.org_id, status_id, ctx.actor.user_id)
    if found is None or (found.role is None and not ctx.actor.is_admin):
        raise NotFound("There is no such status, or its project is not shared with you.")
    require_role(ctx.actor, found.role, "ADMIN")
    return found


async def update_status(
    ctx: Writing, entered: queries.StatusWithRole, changes: StatusChanges
) -> Status:
    """Change a status that `require_status` gave. The caller settles its items."""
    before = _status(entered)
    after = replace(before, **patch.sent_fields(changes))
    fields = patch.changed_fields(before, after)
    if fields:
        try:
            await queries.update_status(ctx.db, ctx.org_id, after)
        except Duplicate as error:
            raise _status_name_taken(after.name) from error
        ctx.record(StatusChanged(subject_id=after.id, project_id=entered.project_id, fields=fields))
    return after


async def hide_status(
    ctx: Writing, entered: queries.StatusWithRole, target_id: UUID, reassigned_to: UUID | None
) -> None:
    """Delete a status that `require_status` gave: nobody sees it, its name is free.

    The caller moves its items to the target, then calls `erase_status`.
    """
    await queries.hide_status(
        ctx.db, ctx.org_id, entered.project_id, entered.id, target_id, ctx.now
    )
    ctx.record(
        StatusDeleted(
            subject_id=entered.id,
            project_id=entered.project_id,
            name=entered.name,
            reassigned_to=reassigned_to,
        )
    )


async def status_of_items(
    ctx: Writing, project_id: ProjectId, status_id: UUID
) -> queries.ItemsStatus | None:
    """Return this status, or the one that replaces it. None: it was erased.

    Statuses of the project stay as they are until we commit.
    """
    return await queries.items_status(ctx.db, ctx.org_id, project_id, status_id)


async def erase_status(ctx: Writing, status_id: UUID) -> None:
    """Remove a deleted status that no item is in any more."""
    await queries.erase_status(ctx.db, ctx.org_id, status_id)


def _require_project_role(
    ctx: Reading, project: ProjectWithRole | None, need: ProjectRole
) -> ProjectWithRole:
    if project is None:
        raise not_found()
    require_role(ctx.actor, project.role, need)
    return project


async def _lock_project(
    ctx: Writing, project_id: ProjectId, need: ProjectRole = "ADMIN"
) -> ProjectWithRole:
    """The project, held until we commit, if the actor may change it."""
    return _require_project_role(
        ctx,
        await queries.project_with_role(
            ctx.db, ctx.org_id, project_id, ctx.actor.user_id, lock=True
        ),
        need,
    )


async def _lock_members(
    ctx: Writing, project_id: ProjectId, *user_ids: UserId
) -> dict[UserId, OrgRole]:
    """Lock a project in order to change who is in it, if the actor may do so now.

    What the actor was allowed is read again under lock, because what they grant would last: the
    role in the organization, and once nobody else changes the project, the role in that. Returns
    the roles in the organization of the actor and of `user_ids`, without whoever was removed.
    """
    await _lock_project(ctx, project_id)
    roles = await identity.require_current(ctx, "work:write", *user_ids)
    me = ctx.actor.user_id
    if me is not None and roles[me] not in ("OWNER", "ADMIN"):
        require_role(
            replace(ctx.actor, role=roles[me]),
            await queries.role_of(ctx.db, ctx.org_id, project_id, me),
            "ADMIN",
        )
    return roles


async def _check_lead(ctx: Writing, lead_id: UserId | None) -> None:
    if lead_id is not None and not await queries.is_active(ctx.db, ctx.org_id, lead_id):
        raise Invalid(
            "The lead must be a member of your organization.", code="project.unknown_lead"
        )


async def _set_member(
    ctx: Writing, project_id: ProjectId, user_id: UserId, role: ProjectRole
) -> Membership:
    if await queries.set_member(ctx.db, ctx.org_id, project_id, user_id, role, ctx.now):
        ctx.record(
            ProjectMemberSet(
                subject_id=project_id, project_id=project_id, user_id=user_id, role=role
            )
        )
    return Membership(user_id, role)


def _public(project: ProjectWithRole) -> Project:
    return Project(*(getattr(project, name) for name in Project.__struct_fields__))


def _status(entered: queries.StatusWithRole) -> Status:
    return Status(*(getattr(entered, name) for name in Status.__struct_fields__))


def _no_member() -> NotFound:
    return NotFound("This person is not in the project.")


def _status_name_taken(name: str) -> Conflict:
    return Conflict(f"The project has a status called {name} already.", code="status.name_taken")

"""Projects, members, statuses and labels over HTTP.

What also touches items (deleting a status, merging labels) is with the work items.
"""

from rytask.modules.projects import labels, service
from rytask.modules.projects.model import Label, Member, Membership, Project, Status
from rytask.modules.projects.schemas import (
    MemberChanges,
    NewLabel,
    NewMember,
    NewProject,
    NewStatus,
    PageQuery,
    ProjectChanges,
    ProjectsQuery,
    StatusOrder,
)
from rytask.platform.http import Data, Page, Routes
from rytask.platform.ids import ProjectId, UserId
from rytask.platform.work import Reading, Writing

routes = Routes("projects")


@routes.route("GET", "/projects", permission="work:read", operation_id="list_projects")
async def list_projects(ctx: Reading, query: ProjectsQuery) -> Page[Project]:
    """List the projects that you may see."""
    return await service.list_projects(ctx, query)


@routes.route("POST", "/projects", permission="work:write", operation_id="create_project")
async def create_project(ctx: Writing, data: NewProject) -> Data[Project]:
    """Create a project with six statuses; you administer it."""
    return Data(await service.create_project(ctx, data))


@routes.route("GET", "/projects/{id}", permission="work:read", operation_id="get_project")
async def get_project(ctx: Reading, id: ProjectId) -> Data[Project]:
    """Get a project."""
    return Data(await service.get_project(ctx, id))


@routes.route("PATCH", "/projects/{id}", permission="work:write", operation_id="update_project")
async def update_project(ctx: Writing, id: ProjectId, data: ProjectChanges) -> Data[Project]:
    """Change, archive or unarchive a project."""
    return Data(await service.update_project(ctx, id, data))


@routes.route("DELETE", "/projects/{id}", permission="work:write", operation_id="delete_project")
async def delete_project(ctx: Writing, id: ProjectId) -> None:
    """Delete a project with everything in it, for good.

    It is gone at once; its rows are erased in the background.
    """
    await service.delete_project(ctx, id)


@routes.route(
    "GET", "/projects/{id}/members", permission="work:read", operation_id="list_project_members"
)
async def list_members(ctx: Reading, id: ProjectId, query: PageQuery) -> Page[Member]:
    """List who is in a project."""
    return await service.list_members(ctx, id, query)


@routes.route(
    "POST", "/projects/{id}/members", permission="work:write", operation_id="add_project_member"
)
async def add_member(ctx: Writing, id: ProjectId, data: NewMember) -> Data[Membership]:
    """Add somebody to a project, or give them another role."""
    return Data(await service.add_member(ctx, id, data))


@routes.route(
    "PATCH",
    "/projects/{id}/members/{user_id}",
    permission="work:write",
    operation_id="update_project_member",
)
async def change_member(
    ctx: Writing, id: ProjectId, user_id: UserId, data: MemberChanges
) -> Data[Membership]:
    """Change somebody's role in a project."""
    return Data(await service.change_member(ctx, id, user_id, data.role))


@routes.route(
    "DELETE",
    "/projects/{id}/members/{user_id}",
    permission="work:write",
    operation_id="remove_project_member",
)
async def remove_member(ctx: Writing, id: ProjectId, user_id: UserId) -> None:
    """Take somebody out of a project, or leave it."""
    await service.remove_member(ctx, id, user_id)


@routes.route(
    "GET", "/projects/{id}/statuses", permission="work:read", operation_id="list_statuses"
)
async def list_statuses(ctx: Reading, id: ProjectId) -> Data[list[Status]]:
    """List the statuses of a project, in their order."""
    return Data(await service.list_statuses(ctx, id))


@routes.route(
    "POST", "/projects/{id}/statuses", permission="work:write", operation_id="create_status"
)
async def create_status(ctx: Writing, id: ProjectId, data: NewStatus) -> Data[Status]:
    """Add a status to a project."""
    return Data(await service.create_status(ctx, id, data))


@routes.route(
    "POST",
    "/projects/{id}/statuses/reorder",
    permission="work:write",
    operation_id="reorder_statuses",
    status=200,
)
async def reorder_statuses(ctx: Writing, id: ProjectId, data: StatusOrder) -> Data[list[Status]]:
    """Put the statuses of a project in another order."""
    return Data(await service.reorder_statuses(ctx, id, data))


@routes.route("GET", "/labels", permission="work:read", operation_id="list_labels")
async def list_labels(ctx: Reading) -> Data[list[Label]]:
    """List the labels of your workspace."""
    return Data(await labels.list_labels(ctx))


@routes.route("POST", "/labels", permission="work:write", operation_id="create_label")
async def create_label(ctx: Writing, data: NewLabel) -> Data[Label]:
    """Create a label."""
    return Data(await labels.create_label(ctx, data))

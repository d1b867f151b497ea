"""The first run: an organization, its owner and a project to start with, in one transaction."""

import secrets
from collections.abc import Mapping, Sequence
from uuid import UUID

import msgspec

from rytask.modules.identity import service as identity
from rytask.modules.identity.model import AuthResult
from rytask.modules.identity.schemas import Email, NewPassword, PersonName
from rytask.modules.orgs import service as orgs
from rytask.modules.orgs.model import WorkspaceId
from rytask.modules.orgs.schemas import OrgName
from rytask.modules.projects import service as projects
from rytask.modules.projects.schemas import NewProject
from rytask.platform.auth import Bearers
from rytask.platform.crypto import Passwords
from rytask.platform.errors import CannotRun, Conflict
from rytask.platform.http import Body, Routes
from rytask.platform.ids import OrgId, ProjectId, UserId, new_id
from rytask.platform.operations import Client
from rytask.platform.settings import Settings
from rytask.platform.work import Work, Writing, system

routes = Routes("first run")
_LOCK = 7_239_181_403


class Availability(msgspec.Struct, frozen=True):
    """Whether nobody has set this installation up yet."""

    available: bool


class FirstRun(Body):
    """The first owner, and their organization."""

    organization_name: OrgName
    owner_name: PersonName
    owner_email: Email
    owner_password: NewPassword


class StartingOrganization(msgspec.Struct, frozen=True, kw_only=True):
    """The result of the first run."""

    org_id: OrgId
    workspace_id: UUID
    owner_id: UserId
    project_id: ProjectId
    key_prefix: str
    statuses: Mapping[str, UUID]
    """Ids by name."""


class StartingIds(msgspec.Struct, frozen=True, kw_only=True):
    """Ids given beforehand, so that the demo is the same everywhere."""

    org_id: OrgId
    workspace_id: UUID
    owner_id: UserId
    project_id: ProjectId
    status_ids: Sequence[UUID]


@routes.route("GET", "/setup", public=True, operation_id="get_setup")
async def get_setup(work: Work) -> Availability:
    """Say whether this installation still waits for its first organization."""
    return Availability(not await orgs.any_ever(work.database.reader))


@routes.route("POST", "/setup", public=True, operation_id="create_setup", throttle="auth")
async def create_setup(
    work: Work,
    passwords: Passwords,
    bearers: Bearers,
    settings: Settings,
    client: Client,
    data: FirstRun,
) -> AuthResult:
    """Make the first organization, its owner and a project. Open until somebody has done it."""
    if await orgs.any_ever(work.database.reader):
        raise _taken()
    password_hash = await passwords.hash(data.owner_password)
    async with work.writing(system(OrgId(new_id()))) as ctx:
        await ctx.db.execute("SELECT pg_advisory_xact_lock($1)", _LOCK)
        if await orgs.any_ever(ctx.db):
            raise _taken()
        start = await create_organization(
            ctx,
            organization_name=data.organization_name,
            owner_name=data.owner_name,
            owner_email=data.owner_email,
            password_hash=password_hash,
        )
        return await identity.start_session(
            ctx, start.owner_id, identity.session_context(bearers, settings, client)
        )


async def set_up(
    work: Work, passwords: Passwords, *, organization: str, owner_name: str, owner_email: str
) -> str:
    """Found one more organization, as only who has the server's shell may; its owner's password."""
    password = secrets.token_urlsafe(12)
    given = {
        "organizationName": organization,
        "ownerName": owner_name,
        "ownerEmail": owner_email,
        "ownerPassword": password,
    }
    try:
        data = msgspec.convert(given, FirstRun)
    except msgspec.ValidationError as error:
        raise CannotRun(f"This cannot be: {error}.") from None
    if await identity.has_account(work.database.reader, data.owner_email):
        # Run again by mistake, it would leave a second organization.
        raise CannotRun(
            f"{data.owner_email} has an account already: sign in with it, or name another owner."
        )
    password_hash = await passwords.hash(password)
    async with work.writing(system(OrgId(new_id()))) as ctx:
        await create_organization(
            ctx,
            organization_name=data.organization_name,
            owner_name=data.owner_name,
            owner_email=data.owner_email,
            password_hash=password_hash,
        )
    return password


async def create_organization(
    ctx: Writing,
    *,
    organization_name: str,
    owner_name: str,
    owner_email: str,
    password_hash: str,
    project_name: str = "Getting started",
    key_prefix: str = "GO",
    slug: str | None = None,
    ids: StartingIds | None = None,
) -> StartingOrganization:
    """Found the organization of `ctx`, with an owner who is verified, and its first project."""
    created = await orgs.create_organization(
        ctx,
        organization_name=organization_name,
        owner_name=owner_name,
        owner_email=owner_email,
        password_hash=password_hash,
        slug=slug,
        workspace_id=WorkspaceId(ids.workspace_id) if ids else None,
        owner_id=ids.owner_id if ids else None,
    )
    project = await projects.create_project(
        ctx,
        NewProject(name=project_name, key_prefix=key_prefix),
        project_id=ids.project_id if ids else None,
        status_ids=ids.status_ids if ids else None,
        workspace_id=created.workspace_id,
        admin_id=created.owner_id,
    )
    statuses = await projects.list_statuses(ctx, project.id)
    return StartingOrganization(
        org_id=created.org_id,
        workspace_id=created.workspace_id,
        owner_id=created.owner_id,
        project_id=project.id,
        key_prefix=project.key_prefix,
        statuses={status.name: status.id for status in statuses},
    )


def _taken() -> Conflict:
    return Conflict("This installation is set up already. Sign in instead.", code="setup.done")

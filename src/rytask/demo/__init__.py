"""The demo: the same small organization everywhere, and as many lived-in items as are asked for."""

from collections.abc import Callable, Iterator, Mapping, Sequence

from rytask import first_run
from rytask.demo import items, organization
from rytask.demo.items import Batch
from rytask.demo.organization import FOUNDER, ORG, PROJECT, STATUSES, WORKSPACE, fixed_id
from rytask.first_run import StartingIds
from rytask.modules.orgs import service as orgs
from rytask.modules.work_items import service as work_items
from rytask.modules.work_items.schemas import NewItem
from rytask.platform.auth import permissions
from rytask.platform.crypto import Passwords
from rytask.platform.errors import CannotRun, NotFound
from rytask.platform.ids import ProjectId
from rytask.platform.work import Actor, Work, system

EMAIL, PASSWORD = "founder@rytask.local", "rytask-dev-password"
BATCH = 2_000

_BACKLOG, _TO_DO, _IN_PROGRESS, *_ = STATUSES
_ITEMS = (
    NewItem(
        project_id=PROJECT,
        title="Set up the project board",
        status_id=_TO_DO,
        priority="MEDIUM",
        assignee_id=FOUNDER,
        estimate_value=8,
    ),
    NewItem(
        project_id=PROJECT,
        title="Capture work in seconds with quick-add",
        status_id=_IN_PROGRESS,
        priority="HIGH",
        assignee_id=FOUNDER,
        estimate_value=2,
    ),
    NewItem(project_id=PROJECT, title="Triage the inbox", status_id=_TO_DO, priority="LOW"),
)


async def load(
    work: Work, passwords: Passwords, *, size: int, advance: Callable[[int], None]
) -> bool:
    """Load the demo unless it is there, and fill it up to `size` items; whether it was new.

    `advance` is called with the number of items there are, and then with those added. Interrupted
    and run again, it goes on. What somebody has deleted since is not made again.
    """
    fresh = not await orgs.exists(work.database.reader, ORG)
    if fresh:
        await _create_organization(work, passwords)
    if size > len(_ITEMS):
        await _fill(work, passwords, size, advance)
    return fresh


async def _create_organization(work: Work, passwords: Passwords) -> None:
    password_hash = await passwords.hash(PASSWORD)
    async with work.writing(system(ORG)) as ctx:
        await first_run.create_organization(
            ctx,
            organization_name="RyTask Demo",
            owner_name="Founder",
            owner_email=EMAIL,
            password_hash=password_hash,
            project_name="RyTask",
            key_prefix="RY",
            slug="demo",
            ids=StartingIds(
                org_id=ORG,
                workspace_id=WORKSPACE,
                owner_id=FOUNDER,
                project_id=PROJECT,
                status_ids=STATUSES,
            ),
        )
    async with work.writing(_founder()) as ctx:
        for number, item in enumerate(_ITEMS, 20):
            await work_items.create(ctx, item, item_id=fixed_id(number))


async def _fill(
    work: Work, passwords: Passwords, size: int, advance: Callable[[int], None]
) -> None:
    ctx = work.reading(system(ORG))
    try:
        await orgs.current(ctx)
    except NotFound:
        raise CannotRun("the organization of the demo was deleted: nothing can be added") from None
    await organization.add_missing(work, passwords, size)
    counts = await work_items.count_items(ctx)
    advance(min(sum(counts.values()), size))
    projects = {project.id: project for project in await organization.projects_to_fill(ctx)}
    if not projects:
        raise CannotRun("the projects of the demo were deleted or archived: nothing can be added")
    for batch in _batches(size, counts, list(projects)):
        async with work.writing(system(ORG)) as writing:
            imported = items.imported(projects[batch.project_id], writing.now, batch)
            await work_items.import_items(writing, batch.project_id, imported)
        advance(batch.added)


def _batches(
    size: int, counts: Mapping[ProjectId, int], projects: Sequence[ProjectId]
) -> Iterator[Batch]:
    """Let the project grow next that is furthest from its target, so that all grow together."""
    missing = size - sum(counts.values())
    elsewhere = sum(there for project, there in counts.items() if project not in projects)
    targets = organization.targets(size - elsewhere, projects)
    there = {project: counts.get(project, 0) for project in projects}
    while missing > 0:
        project = min(projects, key=lambda id: there[id] / max(targets[id], 1))
        added = min(BATCH, missing, targets[project] - there[project])
        yield Batch(project, there[project], added, targets[project])
        there[project] += added
        missing -= added


def _founder() -> Actor:
    return Actor(
        org_id=ORG,
        user_id=FOUNDER,
        role="OWNER",
        permissions=permissions("OWNER", ()),
        workspace_id=WORKSPACE,
        source="WEB",
    )

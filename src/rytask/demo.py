"""The demo: the same small organization everywhere, and as many lived-in items as are asked for."""

import random
from collections.abc import Callable
from datetime import timedelta
from uuid import UUID

from rytask import first_run
from rytask.first_run import StartingIds
from rytask.modules.orgs import service as orgs
from rytask.modules.work_items import service as work_items
from rytask.modules.work_items.schemas import ItemsQuery, NewItem
from rytask.platform.auth import permissions
from rytask.platform.crypto import Passwords
from rytask.platform.ids import OrgId, ProjectId, UserId
from rytask.platform.work import Actor, Work, Writing, system

EMAIL, PASSWORD = "founder@rytask.local", "rytask-dev-password"
_BATCH = 100


def _id(number: int) -> UUID:
    return UUID(f"0193b3a0-0000-7000-8000-{number:012d}")


_ORG, _WORKSPACE = OrgId(_id(1)), _id(2)
_FOUNDER, _PROJECT = UserId(_id(3)), ProjectId(_id(10))
_STATUSES = [_id(number) for number in range(11, 17)]
_BACKLOG, _TO_DO, _IN_PROGRESS, _REVIEW, _DONE, _CANCELLED = _STATUSES

_ITEMS = (
    (
        _id(20),
        NewItem(
            project_id=_PROJECT,
            title="Set up the project board",
            status_id=_TO_DO,
            priority="MEDIUM",
            assignee_id=_FOUNDER,
            estimate_value=8,
        ),
    ),
    (
        _id(21),
        NewItem(
            project_id=_PROJECT,
            title="Capture work in seconds with quick-add",
            status_id=_IN_PROGRESS,
            priority="HIGH",
            assignee_id=_FOUNDER,
            estimate_value=2,
        ),
    ),
    (
        _id(22),
        NewItem(project_id=_PROJECT, title="Triage the inbox", status_id=_TO_DO, priority="LOW"),
    ),
)

_ACTS = ("Fix", "Describe", "Speed up", "Replace", "Test", "Review", "Clean up", "Move", "Undo")
_THINGS = (
    "the sign-in page",
    "the nightly backup",
    "invoices without a date",
    "the search for umlauts",
    "the import of old orders",
    "a flaky check of the cart",
    "the alert that nobody reads",
    "the guide for new colleagues",
    "slow pages on the phone",
    "the rounding of discounts",
)
_LABELS = ("bug", "customer", "docs", "idea", "infra")


async def load(
    work: Work, passwords: Passwords, *, size: int, advance: Callable[[int], None]
) -> bool:
    """Load the demo unless it is there, and fill it up to `size` items; whether it was new.

    `advance` is told how many items were added. Interrupted and run again, it goes on.
    """
    fresh = not await orgs.exists(work.database.reader, _ORG)
    if fresh:
        password_hash = await passwords.hash(PASSWORD)
        async with work.writing(system(_ORG)) as ctx:
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
                    org_id=_ORG,
                    workspace_id=_WORKSPACE,
                    owner_id=_FOUNDER,
                    project_id=_PROJECT,
                    status_ids=_STATUSES,
                ),
            )
        async with work.writing(_founder()) as ctx:
            for item_id, item in _ITEMS:
                await work_items.create(ctx, item, item_id=item_id)
    everything = ItemsQuery(project_id=_PROJECT, group="project", limit=1)
    page = await work_items.list_items(work.reading(_founder()), everything)
    count = sum(group.count for group in page.groups or ())
    advance(count)
    while count < size:
        async with work.writing(_founder()) as ctx:
            added = min(_BATCH, size - count)
            for number in range(count, count + added):
                await _lived_in(ctx, number)
        count += added
        advance(added)
    return fresh


async def _lived_in(ctx: Writing, number: int) -> None:
    """One more item, the same for the same number but for its dates."""
    dice = random.Random(number)  # noqa: S311 - a demo needs no secrets
    line = f"{dice.choice(_ACTS)} {dice.choice(_THINGS)}"
    if dice.random() < 0.5:
        line += f" #{dice.choice(_LABELS)}"
    if dice.random() < 0.6:
        line += f" ~{dice.choice(('30m', '1h', '2h', '4h', '1d'))}"
    status_id = dice.choices(_STATUSES, weights=(20, 25, 10, 5, 35, 5))[0]
    closed = status_id in (_DONE, _CANCELLED)
    due = ctx.now.date() + timedelta(days=dice.randint(-90, -1) if closed else dice.randint(-5, 45))
    await work_items.create(
        ctx,
        NewItem(
            project_id=_PROJECT,
            quick_add=line,
            status_id=status_id,
            priority=dice.choices(
                ("NONE", "LOW", "MEDIUM", "HIGH", "URGENT"), weights=(30, 20, 30, 15, 5)
            )[0],
            assignee_id=_FOUNDER if dice.random() < 0.4 else None,
            due_date=due if dice.random() < 0.5 else None,
        ),
    )


def _founder() -> Actor:
    return Actor(
        org_id=_ORG,
        user_id=_FOUNDER,
        role="OWNER",
        permissions=permissions("OWNER", ()),
        workspace_id=_WORKSPACE,
        source="WEB",
    )

"""The demo's people, projects and labels. The larger the demo, the more there are of them."""

import math
import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from uuid import UUID

from rytask.modules.identity import service as identity
from rytask.modules.identity.model import Newcomer
from rytask.modules.orgs.model import OrgSettings
from rytask.modules.projects import service as projects
from rytask.modules.projects.model import Project, ProjectRole, Status
from rytask.modules.projects.schemas import (
    NewLabel,
    NewMember,
    NewProject,
    PageQuery,
    ProjectsQuery,
)
from rytask.platform import history
from rytask.platform.crypto import Passwords
from rytask.platform.ids import OrgId, ProjectId, UserId
from rytask.platform.work import OrgRole, Reading, Work, Writing, system


def fixed_id(number: int) -> UUID:
    """An id of the demo: the same everywhere."""
    return UUID(f"0193b3a0-0000-7000-8000-{number:012d}")


ORG, WORKSPACE = OrgId(fixed_id(1)), fixed_id(2)
FOUNDER, PROJECT = UserId(fixed_id(3)), ProjectId(fixed_id(10))
STATUSES = [fixed_id(number) for number in range(11, 17)]

_PROJECTS = (
    *(("Website", "WEB"), ("Mobile app", "APP"), ("Payments", "PAY"), ("Operations", "OPS")),
    *(("Customer care", "CARE"), ("Data platform", "DATA"), ("Search", "FIND")),
    *(("Partners", "PART"), ("Security", "SEC"), ("Design system", "DS"), ("Billing", "BILL")),
    *(("Warehouse", "WARE"), ("Onboarding", "ONB"), ("Analytics", "STAT"), ("Handbook", "BOOK")),
    *(
        ("Hardware", "HW"),
        ("Legal", "LEGAL"),
        ("Hiring", "HIRE"),
        ("Events", "SHOW"),
        ("Lab", "LAB"),
    ),
)
_FIRST_NAMES = (
    *("Amara", "Bela", "Carla", "Dilan", "Edda", "Farid", "Greta", "Hugo", "Ines", "Jonas"),
    *("Kaja", "Luca", "Mira", "Noor", "Oskar", "Paula", "Quentin", "Rosa", "Samir", "Tilda"),
    *("Umar", "Vera", "Wanda", "Xenia", "Yusuf", "Zora", "Anton", "Berit", "Cem", "Dora"),
    *("Emil", "Frida", "Goran", "Hanne", "Ivo", "Jana", "Karim", "Lotte", "Malik", "Nele"),
    *("Ole", "Pia", "Rafael", "Selma", "Theo", "Ulla", "Viktor", "Wim", "Yara", "Zeno"),
)
_LAST_NAMES = (
    *("Lindqvist", "Okafor", "Marini", "Haddad", "Novak", "Petersen", "Aydin", "Sousa"),
    *("Kowalski", "Berger", "Dubois"),
)
_LABELS = (
    *("bug", "customer", "docs", "idea", "infra", "design", "speed", "mobile", "security"),
    *("tests", "api", "billing", "urgent fix", "research", "accessibility", "chore", "export"),
    *("import", "mail", "search", "release", "translation", "legal", "training", "hardware"),
    *("experiment", "data", "alerts", "backup", "sales", "quick win", "needs decision"),
    *("blocked by others", "first task", "regression", "upgrade", "privacy", "print"),
    *("workshop", "archive"),
)
_LARGEST = 1_000_000


@dataclass(frozen=True)
class ProjectReferences:
    """The values that items of a project can refer to."""

    id: ProjectId
    statuses: Sequence[Status]
    member_ids: Sequence[UserId]
    assignable_ids: Sequence[UserId]
    label_ids: Sequence[UUID]


def targets(size: int, ids: Sequence[ProjectId]) -> dict[ProjectId, int]:
    """Share items among projects: the demo's first one gets 60 %, the others ever fewer."""
    weights = {id: 1 / nth for nth, id in enumerate((id for id in ids if id != PROJECT), 1)}
    if PROJECT in ids:
        weights[PROJECT] = 1.5 * sum(weights.values()) or 1
    whole = sum(weights.values())
    shares = {id: int(size * weights[id] / whole) for id in ids}
    shares[ids[0]] += size - sum(shares.values())
    return shares


async def add_missing(work: Work, passwords: Passwords, size: int) -> None:
    """Add the projects, people and labels that a demo of this size has, unless it ever had them."""
    wanted_projects = {
        ProjectId(fixed_id(100 + n)): it
        for n, it in enumerate(_PROJECTS[: _count_for(20, size, 0)])
    }
    wanted_people = {
        UserId(fixed_id(200 + n)): _name(n) for n in range(_count_for(len(_FIRST_NAMES), size, 3))
    }
    wanted_labels = {
        fixed_id(300 + n): it for n, it in enumerate(_LABELS[: _count_for(40, size, 5)])
    }
    ids = [*wanted_projects, *wanted_people, *wanted_labels]
    ever = await history.subjects(work.database.reader, ORG, ids)
    if ever.issuperset(ids):
        return
    password_hash = await passwords.hash(secrets.token_urlsafe(24))
    async with work.writing(system(ORG)) as ctx:
        for user_id, name in wanted_people.items():
            if user_id not in ever:
                await _add_person(ctx, user_id, name, password_hash)
        taken = {project.key_prefix for project in await _projects(ctx)}
        for project_id, (name, key_prefix) in wanted_projects.items():
            if project_id not in ever and key_prefix not in taken:
                new = NewProject(name=name, key_prefix=key_prefix)
                await projects.create_project(
                    ctx, new, project_id=project_id, workspace_id=WORKSPACE
                )
        names = {label.name.lower() for label in await projects.list_labels(ctx)}
        for label_id, name in wanted_labels.items():
            if label_id not in ever and name not in names:
                await projects.create_label(ctx, NewLabel(name=name), label_id=label_id)
        await _add_members(ctx, ever)


async def projects_to_fill(ctx: Reading) -> list[ProjectReferences]:
    """The demo's projects that can get items, with all that an item can refer to in each."""
    ids = [PROJECT, *(ProjectId(fixed_id(100 + n)) for n in range(len(_PROJECTS)))]
    there = {project.id: project for project in await _projects(ctx)}
    active = {one.user_id for one in await identity.memberships(ctx) if not one.deactivated_at}
    label_ids = [label.id for label in await projects.list_labels(ctx)]
    found = []
    for id in ids:
        if id not in there or there[id].archived_at:
            continue
        page = await projects.list_members(ctx, id, PageQuery(limit=200))
        members = [member for member in page.data if member.user_id in active]
        found.append(
            ProjectReferences(
                id=id,
                statuses=await projects.list_statuses(ctx, id),
                member_ids=[member.user_id for member in members],
                assignable_ids=[one.user_id for one in members if one.role != "VIEWER"],
                label_ids=label_ids,
            )
        )
    return found


def _count_for(all_: int, size: int, least: int) -> int:
    """Scale a number with the demo's size: all at a million items, few at a hundred."""
    share = math.log10(max(size, 100) / 100) / math.log10(_LARGEST / 100)
    return max(least, round(all_ * min(share, 1)))


def _name(number: int) -> str:
    return f"{_FIRST_NAMES[number]} {_LAST_NAMES[number % len(_LAST_NAMES)]}"


async def _projects(ctx: Reading) -> list[Project]:
    found: list[Project] = []
    cursor = None
    while True:
        query = ProjectsQuery(cursor=cursor, limit=200, include_archived=True)
        page = await projects.list_projects(ctx, query)
        found += page.data
        cursor = page.page_info.next_cursor
        if cursor is None:
            return found


async def _add_person(ctx: Writing, user_id: UserId, name: str, password_hash: str) -> None:
    """Add somebody whose password nobody knows."""
    number = user_id.int - fixed_id(200).int
    newcomer = Newcomer(
        id=user_id,
        email=f"{name.partition(' ')[0].lower()}@rytask.example",
        name=name,
        password_hash=password_hash,
        role=_ORG_ROLES.get(number % 25, "MEMBER"),
        workspace_id=WORKSPACE,
        verified=True,
        notify_at=OrgSettings().notify_at,
    )
    await identity.create_account(ctx, newcomer)


_ORG_ROLES: dict[int, OrgRole] = {4: "ADMIN", 14: "VIEWER", 24: "GUEST"}


async def _add_members(ctx: Writing, ever: set[UUID]) -> None:
    """Put people into projects, where one of the two is new."""
    alive = {project.id for project in await _projects(ctx)}
    active = {one.user_id for one in await identity.memberships(ctx) if not one.deactivated_at}
    for project_number in range(-1, len(_PROJECTS)):
        project_id = ProjectId(fixed_id(100 + project_number)) if project_number >= 0 else PROJECT
        for number in range(len(_FIRST_NAMES)):
            user_id = UserId(fixed_id(200 + number))
            role = _project_role(project_number, number)
            new = project_id not in ever | {PROJECT} or user_id not in ever
            if role and new and project_id in alive and user_id in active:
                await projects.add_member(ctx, project_id, NewMember(user_id=user_id, role=role))


def _project_role(project_number: int, number: int) -> ProjectRole | None:
    """Everybody is in the first project, and a third of the people in each of the others."""
    if project_number >= 0 and (number + project_number) % 3:
        return None
    if number % 12 == 11:
        return "VIEWER"
    return "ADMIN" if number % 9 == 0 else "MEMBER"

"""What somebody grants while they are demoted or removed: each stopped inside the guard."""

import asyncio
from collections.abc import Callable
from typing import LiteralString
from uuid import uuid4

import pytest

from tests.identity.signing import as_, becomes
from tests.locks import held, waiting
from tests.orgs.test_joining import NEW, invited
from tests.world import Person, World

Request = tuple[str, str, dict[str, object]]

_REMOVED: LiteralString = (
    "UPDATE memberships SET deactivated_at = now() WHERE org_id = $1 AND user_id = $2"
)
_DEMOTED: LiteralString = (
    "UPDATE memberships SET role = 'VIEWER' WHERE org_id = $1 AND user_id = $2"
)


def _a_role(world: World, other: Person) -> Request:
    return "PATCH", f"memberships/{other.id}", {"role": "ADMIN"}


def _ownership(world: World, other: Person) -> Request:
    return "POST", "orgs/current/transfer-ownership", {"toUserId": str(other.id)}


def _an_invitation(world: World, other: Person) -> Request:
    return "POST", "invites", {"role": "ADMIN"}


def _open_sign_up(world: World, other: Person) -> Request:
    return "PATCH", "orgs/current", {"allowPublicSignup": True}


def _a_project(world: World, other: Person) -> Request:
    return "POST", f"projects/{world.project.id}/members", {"userId": str(other.id)}


def _a_project_role(world: World, other: Person) -> Request:
    return "PATCH", f"projects/{world.project.id}/members/{other.id}", {"role": "ADMIN"}


def _the_removal_of_somebody(world: World, other: Person) -> Request:
    return "DELETE", f"memberships/{other.id}", {}


def _the_end_of_everything(world: World, other: Person) -> Request:
    return "DELETE", "orgs/current", {}


def _a_token(world: World, other: Person) -> Request:
    return "POST", "api-tokens", {"name": "x"}


@pytest.mark.parametrize("change", [_REMOVED, _DEMOTED], ids=["removed", "demoted"])
@pytest.mark.parametrize(
    "grant",
    [
        _a_role,
        _ownership,
        _an_invitation,
        _open_sign_up,
        _a_project,
        _a_project_role,
        _the_removal_of_somebody,
        _the_end_of_everything,
    ],
)
async def test_nobody_grants_by_a_role_that_is_being_taken_from_them(
    world: World, change: LiteralString, grant: Callable[[World, Person], Request]
) -> None:
    person, other = await world.person("OWNER", project_role="VIEWER"), await world.person()
    method, path, body = grant(world, other)
    facts = "SELECT count(*) FROM events WHERE org_id = $1"
    before = await world.database.reader.value(facts, world.org_id)
    async with held(world.database, change, world.org_id, person.id):
        granting = asyncio.create_task(
            person.api.request(method, f"/api/v1/{path}", json=body or None)
        )
        await waiting(world.database, 1)
    answer = await granting
    assert (answer.status_code, answer.json()["status"]) == (403, 403), answer.text
    assert await world.database.reader.value(facts, world.org_id) == before


async def test_a_removed_member_makes_no_token_and_none_of_theirs_wakes_up(world: World) -> None:
    person = await world.person()
    async with held(world.database, _REMOVED, world.org_id, person.id):
        making = asyncio.create_task(person.api.post("/api/v1/api-tokens", json={"name": "x"}))
        await waiting(world.database, 1)
    assert (await making).status_code == 403


async def test_a_token_made_just_before_its_owner_is_removed_does_not_wake_up(
    world: World,
) -> None:
    person = await world.person("ADMIN")
    async with held(world.database, "LOCK TABLE api_tokens IN SHARE MODE"):
        making = asyncio.create_task(person.api.post("/api/v1/api-tokens", json={"name": "x"}))
        await waiting(world.database, 1)
        removal = asyncio.create_task(world.owner.api.delete(f"/api/v1/memberships/{person.id}"))
        await waiting(world.database, 2)
    token = await making
    assert (token.status_code, (await removal).status_code) == (201, 204)
    _, link = await invited(world.owner, email=person.email)
    answer = await world.anonymous.post(f"/api/v1/invites/{link}/accept", json=NEW)
    assert answer.status_code == 200, answer.text
    script = as_(world, token.json()["secret"])
    await becomes(401, lambda: script.get("/api/v1/auth/whoami"))
    alive = await world.database.reader.value(
        "SELECT count(*) FROM api_tokens WHERE org_id = $1 AND revoked_at IS NULL", world.org_id
    )
    assert alive == 0


async def test_a_project_admin_who_is_being_taken_out_lets_nobody_in(world: World) -> None:
    admin, other = await world.person(project_role="ADMIN"), await world.person(project_role=None)
    async with held(
        world.database,
        "SELECT FROM projects WHERE org_id = $1 AND id = $2 FOR NO KEY UPDATE",
        world.org_id,
        world.project.id,
    ) as tx:
        granting = asyncio.create_task(
            admin.api.post(
                f"/api/v1/projects/{world.project.id}/members", json={"userId": str(other.id)}
            )
        )
        await waiting(world.database, 1)
        await tx.execute(
            "DELETE FROM project_members WHERE org_id = $1 AND user_id = $2",
            world.org_id,
            admin.id,
        )
    assert (await granting).status_code == 404


@pytest.mark.parametrize("change", [_REMOVED, _DEMOTED], ids=["removed", "demoted"])
async def test_an_invitation_is_not_accepted_while_its_sender_loses_the_role(
    world: World, change: LiteralString
) -> None:
    admin = await world.person("ADMIN")
    _, link = await invited(admin, role="ADMIN")
    body = {**NEW, "email": f"{uuid4().hex}@example.com"}
    async with held(world.database, change, world.org_id, admin.id):
        accepting = asyncio.create_task(
            world.anonymous.post(f"/api/v1/invites/{link}/accept", json=body)
        )
        await waiting(world.database, 1)
    answer = await accepting
    assert (answer.status_code, answer.json()["code"]) == (410, "invite.inviter_gone")
    joined = await world.database.reader.value(
        "SELECT count(*) FROM users WHERE org_id = $1 AND email = $2", world.org_id, body["email"]
    )
    assert joined == 0


async def test_a_demotion_waits_for_an_acceptance_that_was_there_first(world: World) -> None:
    admin = await world.person("ADMIN")
    invite, link = await invited(admin, role="ADMIN")
    body = {**NEW, "email": f"{uuid4().hex}@example.com"}
    async with held(
        world.database,
        "SELECT FROM invitations WHERE org_id = $1 AND id = $2 FOR UPDATE",
        world.org_id,
        invite["id"],
    ):
        accepting = asyncio.create_task(
            world.anonymous.post(f"/api/v1/invites/{link}/accept", json=body)
        )
        await waiting(world.database, 1)
        demotion = asyncio.create_task(
            world.owner.api.patch(f"/api/v1/memberships/{admin.id}", json={"role": "GUEST"})
        )
        await waiting(world.database, 2)
    assert ((await accepting).status_code, (await demotion).status_code) == (200, 200)

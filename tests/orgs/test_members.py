"""Roles, removal and ownership."""

import asyncio
from uuid import uuid4

import pytest

from rytask.modules.identity import service as identity
from rytask.modules.orgs import rules
from rytask.platform.work import OrgRole, system
from tests.identity.signing import as_, kinds, refreshed, refused, signed_in
from tests.world import World


async def roles(world: World) -> dict[str, str]:
    """Everybody's role who was not removed."""
    members = (await world.owner.api.get("/api/v1/memberships")).json()
    return {m["userId"]: m["role"] for m in members if m["deactivatedAt"] is None}


async def test_everybody_is_listed_by_name(world: World) -> None:
    person = await world.person("VIEWER", name="Ada Zimmer")
    members = (await person.api.get("/api/v1/memberships")).json()
    assert [member["user"]["name"] for member in members] == ["Ada Zimmer", "Olive Owner"]
    assert members[0] == {
        "userId": str(person.id),
        "user": {
            "id": str(person.id),
            "email": person.email,
            "name": "Ada Zimmer",
            "emailVerified": True,
        },
        "role": "VIEWER",
        "deactivatedAt": None,
    }


async def test_a_removed_member_s_sessions_and_tokens_end(world: World) -> None:
    person = await world.person("ADMIN")
    session = await signed_in(world, person.email)
    pat = (await person.api.post("/api/v1/api-tokens", json={"name": "x"})).json()["secret"]
    invite = (await person.api.post("/api/v1/invites", json={"role": "GUEST"})).json()
    script = as_(world, pat)
    assert (await script.get("/api/v1/auth/whoami")).status_code == 200
    answer = await world.owner.api.delete(f"/api/v1/memberships/{person.id}")
    assert answer.status_code == 204
    await refused(as_(world, session["accessToken"]))
    await refused(script)
    assert (await refreshed(world, session["refreshToken"])).status_code == 401
    answer = await world.anonymous.post(
        "/api/v1/auth/login", json={"email": person.email, "password": person.password}
    )
    assert answer.json()["code"] == "auth.invalid_credentials"
    token = invite["acceptUrl"].rpartition("/")[2]
    assert (await world.anonymous.get(f"/api/v1/invites/{token}")).status_code == 410
    members = (await world.owner.api.get("/api/v1/memberships")).json()
    assert {m["userId"]: m["deactivatedAt"] is not None for m in members}[str(person.id)]
    assert (await kinds(world, person.id))[-1] == "member.removed"


async def test_a_removed_member_is_no_member_to_change_or_to_mention(world: World) -> None:
    person = await world.person("MEMBER")
    path = f"/api/v1/memberships/{person.id}"
    assert (await world.owner.api.delete(path)).status_code == 204
    assert (await world.owner.api.delete(path)).status_code == 404
    assert (await world.owner.api.patch(path, json={"role": "ADMIN"})).status_code == 404
    ctx = world.work.reading(system(world.org_id))
    assert [member.id for member in await identity.members(ctx)] == [world.owner.id]
    assert set(await identity.people(ctx, [person.id, world.owner.id])) == {
        person.id,
        world.owner.id,
    }


async def test_a_refresh_that_races_with_the_removal_leaves_nothing_that_works(
    world: World,
) -> None:
    for _ in range(5):
        person = await world.person("MEMBER")
        session = await signed_in(world, person.email)
        refreshes = [refreshed(world, session["refreshToken"]) for _ in range(3)]
        answers = await asyncio.gather(
            *refreshes, world.owner.api.delete(f"/api/v1/memberships/{person.id}")
        )
        assert answers[-1].status_code == 204
        for answer in answers[:-1]:
            if answer.status_code == 200:
                await refused(as_(world, answer.json()["accessToken"]))
                again = await refreshed(world, answer.json()["refreshToken"])
                assert again.status_code == 401


@pytest.mark.parametrize(
    ("own", "target", "role", "status"),
    [
        ("OWNER", "MEMBER", "OWNER", 200),
        ("OWNER", "ADMIN", "GUEST", 200),
        ("ADMIN", "MEMBER", "ADMIN", 200),
        ("ADMIN", "ADMIN", "VIEWER", 200),
        ("ADMIN", "MEMBER", "OWNER", 403),
        ("ADMIN", "OWNER", "MEMBER", 403),
        ("MEMBER", "GUEST", "VIEWER", 403),
    ],
)
async def test_nobody_gives_a_role_above_their_own_or_takes_one(
    world: World, own: OrgRole, target: OrgRole, role: OrgRole, status: int
) -> None:
    me, other = await world.person(own), await world.person(target)
    answer = await me.api.patch(f"/api/v1/memberships/{other.id}", json={"role": role})
    assert answer.status_code == status
    assert (await roles(world))[str(other.id)] == (role if status == 200 else target)
    if status == 200:
        assert answer.json()["role"] == role
        assert await kinds(world, other.id) == ["member.role_changed"]


async def test_an_admin_cannot_remove_an_owner(world: World) -> None:
    admin = await world.person("ADMIN")
    answer = await admin.api.delete(f"/api/v1/memberships/{world.owner.id}")
    assert answer.status_code == 403
    assert answer.json()["code"] == "member.role_above_own"


async def test_the_last_owner_stays(world: World) -> None:
    path = f"/api/v1/memberships/{world.owner.id}"
    for answer in (
        await world.owner.api.delete(path),
        await world.owner.api.patch(path, json={"role": "ADMIN"}),
    ):
        assert answer.status_code == 409
        assert answer.json()["code"] == "org.last_owner"


async def test_two_owners_who_remove_each_other_at_once_leave_one(world: World) -> None:
    other = await world.person("OWNER")
    answers = await asyncio.gather(
        world.owner.api.delete(f"/api/v1/memberships/{other.id}"),
        other.api.delete(f"/api/v1/memberships/{world.owner.id}"),
    )
    assert sorted(answer.status_code for answer in answers) == [204, 403]
    owners = await world.database.reader.value(
        "SELECT count(*) FROM memberships"
        " WHERE org_id = $1 AND role = 'OWNER' AND deactivated_at IS NULL",
        world.org_id,
    )
    assert owners == 1


async def test_ownership_is_shared_or_handed_over(world: World) -> None:
    heir = await world.person("MEMBER")
    path = "/api/v1/orgs/current/transfer-ownership"
    session = await signed_in(world, world.owner.email)
    owner = as_(world, session["accessToken"])
    answer = await owner.post(path, json={"toUserId": str(heir.id)})
    assert answer.status_code == 204
    assert await roles(world) == {str(world.owner.id): "OWNER", str(heir.id): "OWNER"}
    answer = await owner.post(path, json={"toUserId": str(heir.id), "demoteSelfTo": "MEMBER"})
    assert answer.status_code == 204
    await refused(owner)
    session = (await refreshed(world, session["refreshToken"])).json()
    assert (
        await world.database.reader.value(
            "SELECT role FROM memberships WHERE org_id = $1 AND user_id = $2",
            world.org_id,
            world.owner.id,
        )
        == "MEMBER"
    )
    me = as_(world, session["accessToken"])
    assert (await me.post(path, json={"toUserId": str(heir.id)})).status_code == 403


async def test_ownership_goes_to_a_member_and_not_to_oneself(world: World) -> None:
    path = "/api/v1/orgs/current/transfer-ownership"
    stranger = await world.stranger()
    removed = await world.person("MEMBER")
    await world.owner.api.delete(f"/api/v1/memberships/{removed.id}")
    statuses = [
        (await world.owner.api.post(path, json={"toUserId": str(user_id)})).status_code
        for user_id in (world.owner.id, stranger.id, removed.id, uuid4())
    ]
    assert statuses == [409, 404, 404, 404]


async def test_the_invitations_of_a_demoted_admin_are_withdrawn(
    world: World,
) -> None:
    admin = await world.person("ADMIN")
    urls = [
        (await admin.api.post("/api/v1/invites", json={"role": role})).json()["acceptUrl"]
        for role in ("ADMIN", "MEMBER")
    ]
    await world.owner.api.patch(f"/api/v1/memberships/{admin.id}", json={"role": "MEMBER"})
    statuses = [
        (await world.anonymous.get(f"/api/v1/invites/{url.rpartition('/')[2]}")).status_code
        for url in urls
    ]
    assert statuses == [410, 410]


@pytest.mark.parametrize(
    ("own", "role", "may"),
    [
        ("OWNER", "OWNER", True),
        ("ADMIN", "OWNER", False),
        ("ADMIN", "ADMIN", True),
        ("MEMBER", "ADMIN", False),
        ("GUEST", "GUEST", True),
        ("GUEST", "VIEWER", False),
    ],
)
def test_who_may_give_which_role(own: OrgRole, role: OrgRole, may: bool) -> None:
    assert rules.may_grant(own, role) is may

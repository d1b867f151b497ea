"""Invitations and signing up."""

import asyncio
import re
from datetime import timedelta
from uuid import uuid4

import pytest

from rytask.platform import crypto
from tests.identity.signing import Json, as_, kinds, mailed, signed_in
from tests.world import Person, World

PASSWORD = "a password of my own"
NEW: Json = {"name": "Nora New", "password": PASSWORD}


def fresh() -> str:
    return f"nora.{uuid4().hex}@example.com"


async def invited(person: Person, **body: object) -> tuple[Json, str]:
    """A new invitation, and the token of its link."""
    answer = await person.api.post("/api/v1/invites", json={"role": "MEMBER", **body})
    assert answer.status_code == 201, answer.text
    return answer.json(), answer.json()["acceptUrl"].rpartition("/")[2]


async def test_somebody_new_joins_by_a_mailed_invitation(world: World) -> None:
    email = fresh()
    invite, token = await invited(world.owner, email=email)
    assert invite["acceptUrl"] == f"http://rytask.test/invite/{token}"
    assert invite["invitedByUserId"] == str(world.owner.id)
    (mail,) = await mailed(world, email)
    assert token not in mail
    (token,) = re.findall(r"/invite/(\S+)", mail)
    shown = (await world.anonymous.get(f"/api/v1/invites/{token}")).json()
    org = (await world.owner.api.get("/api/v1/orgs/current")).json()
    assert shown == {"organizationName": org["name"], "role": "MEMBER", "email": email}

    answer = await world.anonymous.post(f"/api/v1/invites/{token}/accept", json=NEW)
    assert answer.status_code == 200, answer.text
    user = answer.json()["user"]
    assert (user["email"], user["name"], user["emailVerified"]) == (email, "Nora New", True)
    me = (await as_(world, answer.json()["accessToken"]).get("/api/v1/auth/whoami")).json()
    assert (me["organizationId"], me["role"]) == (str(world.org_id), "MEMBER")
    await signed_in(world, email, PASSWORD)
    assert await kinds(world, invite["id"]) == ["invite.created", "invite.accepted"]
    assert (await world.owner.api.get("/api/v1/invites")).json() == []


async def test_the_link_that_its_sender_sees_proves_no_address(world: World) -> None:
    email = fresh()
    _, token = await invited(world.owner, email=email)
    answer = await world.anonymous.post(f"/api/v1/invites/{token}/accept", json=NEW)
    assert answer.json()["user"]["emailVerified"] is False
    assert "verify-email" in (await mailed(world, email))[-1]


async def test_an_account_that_comes_back_by_the_link_its_sender_sees_is_not_proven_any_more(
    world: World,
) -> None:
    person = await world.person()
    await world.owner.api.delete(f"/api/v1/memberships/{person.id}")
    _, token = await invited(world.owner, email=person.email)
    answer = await world.anonymous.post(f"/api/v1/invites/{token}/accept", json=NEW)
    user = answer.json()["user"]
    assert (user["id"], user["emailVerified"]) == (str(person.id), False)


async def test_a_link_without_an_address_lets_somebody_new_in_who_then_verifies_theirs(
    world: World,
) -> None:
    _, token = await invited(world.owner, role="VIEWER")
    email = fresh()
    answer = await world.anonymous.post(
        f"/api/v1/invites/{token}/accept", json={**NEW, "email": email}
    )
    assert answer.status_code == 200, answer.text
    assert answer.json()["user"]["emailVerified"] is False
    (mail,) = await mailed(world, email)
    assert "verify-email" in mail


async def test_an_invitation_is_good_once_however_many_try_at_once(world: World) -> None:
    _, token = await invited(world.owner)
    answers = await asyncio.gather(
        *(
            world.anonymous.post(f"/api/v1/invites/{token}/accept", json={**NEW, "email": fresh()})
            for _ in range(4)
        )
    )
    assert sorted(answer.status_code for answer in answers) == [200, 410, 410, 410]
    members = await world.database.reader.value(
        "SELECT count(*) FROM memberships WHERE org_id = $1", world.org_id
    )
    assert members == 2


async def test_an_invitation_that_was_used_revoked_or_is_too_old_is_gone(world: World) -> None:
    _, used = await invited(world.owner, email=fresh())
    invite, revoked = await invited(world.owner)
    _, old = await invited(world.owner, expiresInHours=1)
    await world.anonymous.post(f"/api/v1/invites/{used}/accept", json=NEW)
    path = f"/api/v1/invites/{invite['id']}/_revoke"
    assert (await world.owner.api.delete(path)).status_code == 204
    assert (await world.owner.api.delete(path)).status_code == 404
    world.clock.advance(timedelta(hours=1, seconds=1))
    never = crypto.token("rytask_inv_")
    for token in (used, revoked, old, never, "nonsense"):
        shown = await world.anonymous.get(f"/api/v1/invites/{token}")
        accepted = await world.anonymous.post(
            f"/api/v1/invites/{token}/accept", json={**NEW, "email": fresh()}
        )
        assert [shown.status_code, accepted.status_code] == [410, 410]
        assert shown.json()["code"] == "invite.gone"
    assert (await world.owner.api.get("/api/v1/invites")).json() == []


async def test_open_invitations_are_listed_without_their_links(world: World) -> None:
    invite, _ = await invited(world.owner, email=fresh(), role="GUEST")
    listed = (await world.owner.api.get("/api/v1/invites")).json()
    assert listed == [{name: value for name, value in invite.items() if name != "acceptUrl"}]


async def test_the_link_is_kept_as_a_digest_only(world: World) -> None:
    _, token = await invited(world.owner, email=fresh())
    kept = await world.database.reader.value(
        "SELECT token_hash FROM invitations WHERE org_id = $1", world.org_id
    )
    assert kept == crypto.digest(token)


@pytest.mark.parametrize(
    "body", [{}, {"name": "Nora"}, {"password": PASSWORD}, NEW], ids=["no", "name", "pass", "mail"]
)
async def test_somebody_new_has_to_say_who_they_are(world: World, body: Json) -> None:
    _, token = await invited(world.owner)
    answer = await world.anonymous.post(f"/api/v1/invites/{token}/accept", json=body)
    assert answer.status_code == 400
    assert (await world.anonymous.get(f"/api/v1/invites/{token}")).status_code == 200


async def test_an_invitation_for_one_address_is_not_for_another(world: World) -> None:
    email = fresh()
    _, token = await invited(world.owner, email=email)
    path = f"/api/v1/invites/{token}/accept"
    answer = await world.anonymous.post(path, json={**NEW, "email": fresh()})
    assert answer.status_code == 422
    answer = await world.anonymous.post(path, json={**NEW, "email": email.upper()})
    assert answer.status_code == 200


async def test_an_address_with_an_account_cannot_join_again(world: World) -> None:
    _, token = await invited(world.owner)
    answer = await world.anonymous.post(
        f"/api/v1/invites/{token}/accept", json={**NEW, "email": world.owner.email.upper()}
    )
    assert answer.status_code == 409
    assert answer.json()["code"] == "user.email_taken"
    assert (await world.anonymous.get(f"/api/v1/invites/{token}")).status_code == 200


async def test_a_member_cannot_be_invited_again(world: World) -> None:
    person = await world.person()
    answer = await world.owner.api.post(
        "/api/v1/invites", json={"role": "ADMIN", "email": person.email.upper()}
    )
    assert answer.status_code == 409


async def test_who_is_signed_in_has_an_organization_already(world: World) -> None:
    _, token = await invited(world.owner)
    member, stranger = await world.person(), await world.stranger()
    codes = [
        (await person.api.post(f"/api/v1/invites/{token}/accept", json={})).json()["code"]
        for person in (member, stranger)
    ]
    assert codes == ["invite.already_member", "invite.other_organization"]


async def test_somebody_who_was_removed_comes_back_by_an_invitation_in_their_name(
    world: World,
) -> None:
    person = await world.person("ADMIN")
    await world.owner.api.delete(f"/api/v1/memberships/{person.id}")
    _, nameless = await invited(world.owner)
    answer = await world.anonymous.post(
        f"/api/v1/invites/{nameless}/accept", json={**NEW, "email": person.email}
    )
    assert answer.status_code == 409
    _, token = await invited(world.owner, email=person.email, role="VIEWER")
    answer = await world.anonymous.post(f"/api/v1/invites/{token}/accept", json=NEW)
    assert answer.status_code == 200, answer.text
    assert answer.json()["user"]["id"] == str(person.id)
    me = (await as_(world, answer.json()["accessToken"]).get("/api/v1/auth/whoami")).json()
    assert (me["role"], me["user"]["name"]) == ("VIEWER", "Nora New")
    await signed_in(world, person.email, PASSWORD)
    assert "member.returned" in await kinds(world, person.id)


async def test_somebody_who_comes_back_has_no_roles_in_projects_from_before(
    world: World,
) -> None:
    person = await world.person("ADMIN", project_role="ADMIN")
    await world.owner.api.delete(f"/api/v1/memberships/{person.id}")
    assert await world.run_jobs() == []
    _, token = await invited(world.owner, email=person.email, role="MEMBER")
    answer = await world.anonymous.post(f"/api/v1/invites/{token}/accept", json=NEW)
    back = as_(world, answer.json()["accessToken"])
    path = f"/api/v1/projects/{world.project.id}"
    assert (await back.get(path)).status_code == 404
    answer = await world.owner.api.post(f"{path}/members", json={"userId": str(person.id)})
    assert answer.status_code == 201
    assert (await back.get(path)).status_code == 200
    assert (await kinds(world, world.project.id))[-2:] == ["project.member_set"] * 2


async def test_what_somebody_is_given_after_they_came_back_stays(world: World) -> None:
    person = await world.person("MEMBER")
    await world.owner.api.delete(f"/api/v1/memberships/{person.id}")
    _, token = await invited(world.owner, email=person.email, role="MEMBER")
    answer = await world.anonymous.post(f"/api/v1/invites/{token}/accept", json=NEW)
    back = as_(world, answer.json()["accessToken"])
    made = await back.post("/api/v1/projects", json={"name": "Mine", "keyPrefix": "MINE"})
    assert await world.run_jobs() == []
    assert (await back.get(f"/api/v1/projects/{made.json()['data']['id']}")).status_code == 200
    assert (await back.get(f"/api/v1/projects/{world.project.id}")).status_code == 404


async def test_nobody_invites_to_a_role_above_their_own(world: World) -> None:
    admin = await world.person("ADMIN")
    answer = await admin.api.post("/api/v1/invites", json={"role": "OWNER"})
    assert answer.status_code == 403
    assert answer.json()["code"] == "member.role_above_own"
    await invited(admin, role="ADMIN")
    await invited(world.owner, role="OWNER")


async def test_an_invitation_leads_to_its_workspace(world: World) -> None:
    made = (await world.owner.api.post("/api/v1/workspaces", json={"name": "Lab"})).json()
    _, token = await invited(world.owner, workspaceId=made["id"], email=fresh())
    answer = await world.anonymous.post(f"/api/v1/invites/{token}/accept", json=NEW)
    me = (await as_(world, answer.json()["accessToken"]).get("/api/v1/auth/whoami")).json()
    assert me["activeWorkspaceId"] == made["id"]


async def test_an_invitation_cannot_lead_to_another_organization_s_workspace(
    world: World,
) -> None:
    other = await world.elsewhere()
    answer = await world.owner.api.post(
        "/api/v1/invites", json={"role": "MEMBER", "workspaceId": str(other.workspace_id)}
    )
    assert answer.status_code == 422


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"role": "KING"},
        {"role": "MEMBER", "email": "nobody"},
        {"role": "MEMBER", "expiresInHours": 0},
        {"role": "MEMBER", "expiresInHours": 8761},
        {"role": "MEMBER", "workspaceId": "here"},
    ],
)
async def test_an_invitation_refuses_what_it_does_not_know(world: World, body: Json) -> None:
    assert (await world.owner.api.post("/api/v1/invites", json=body)).status_code == 400


async def test_an_invitation_repeated_with_one_key_is_one_invitation(world: World) -> None:
    email = fresh()
    answers = [
        await world.owner.api.post(
            "/api/v1/invites",
            json={"role": "MEMBER", "email": email},
            headers={"Idempotency-Key": "once"},
        )
        for _ in range(2)
    ]
    assert answers[0].json() == answers[1].json()
    assert len(await mailed(world, email)) == 1


async def slug(world: World) -> str:
    return (await world.owner.api.get("/api/v1/orgs/current")).json()["slug"]


async def test_signing_up_is_closed_unless_the_organization_opens_it(world: World) -> None:
    body = {"name": "Nora", "email": fresh(), "password": PASSWORD}
    for organization in (await slug(world), "nobody-has-this-slug", None):
        answer = await world.anonymous.post(
            "/api/v1/auth/register", json={**body, "organization": organization}
        )
        assert answer.status_code == 403
        assert answer.json()["code"] == "signup.closed"


async def test_whoever_signs_up_is_a_member_and_verifies_their_address(world: World) -> None:
    await world.owner.api.patch(
        "/api/v1/orgs/current", json={"allowPublicSignup": True, "notifyAt": "10:15"}
    )
    email = fresh()
    body = {
        "name": "Nora",
        "email": f" {email} ",
        "password": PASSWORD,
        "organization": await slug(world),
    }
    answer = await world.anonymous.post("/api/v1/auth/register", json=body)
    assert answer.status_code == 201, answer.text
    assert answer.json()["user"]["email"] == email
    assert answer.json()["user"]["emailVerified"] is False
    client = as_(world, answer.json()["accessToken"])
    assert (await client.get("/api/v1/auth/whoami")).json()["role"] == "MEMBER"
    assert (await client.get("/api/v1/auth/profile")).json()["notifyAt"] == "10:15"
    assert len(await mailed(world, email)) == 1
    again = await world.anonymous.post("/api/v1/auth/register", json=body)
    assert again.status_code == 409
    assert again.json()["code"] == "user.email_taken"


@pytest.mark.parametrize("password", ["short", "x" * 201, ""])
async def test_a_password_has_8_to_200_characters(world: World, password: str) -> None:
    _, token = await invited(world.owner, email=fresh())
    answer = await world.anonymous.post(
        f"/api/v1/invites/{token}/accept", json={"name": "Nora", "password": password}
    )
    assert answer.status_code == 400


async def test_invitations_that_lapsed_a_month_ago_are_purged(world: World) -> None:
    await invited(world.owner, expiresInHours=1)
    async with world.database.transaction() as tx:
        await tx.execute(
            "UPDATE invitations SET expires_at = now() - interval '31 days' WHERE org_id = $1",
            world.org_id,
        )
    await invited(world.owner)
    assert await world.run_job("orgs.purge") == []
    left = await world.database.reader.value(
        "SELECT count(*) FROM invitations WHERE org_id = $1", world.org_id
    )
    assert left == 1

"""Personal access tokens."""

from datetime import timedelta
from typing import Any

import pytest

from rytask.platform import crypto
from tests.identity.signing import Json, as_, becomes, kinds, refused
from tests.world import Person, World


async def made(person: Person, **body: Any) -> Json:
    answer = await person.api.post("/api/v1/api-tokens", json={"name": "a script", **body})
    assert answer.status_code == 201, answer.text
    return answer.json()


async def test_a_token_does_what_its_owner_may(world: World) -> None:
    person = await world.person("MEMBER")
    token = await made(person)
    assert token["secret"].startswith("rytask_pat_")
    assert crypto.token_ok(token["secret"])
    me = (await as_(world, token["secret"]).get("/api/v1/auth/whoami")).json()
    assert me["user"]["id"] == str(person.id)
    assert me["role"] == "MEMBER"
    assert me["activeWorkspaceId"] == str(world.workspace_id)


async def test_a_secret_is_shown_once_and_kept_as_a_digest(world: World) -> None:
    token = await made(world.owner, type="MCP", scopes=["work:read", "self"])
    assert token["secret"].startswith("rytask_mcp_")
    (listed,) = (await world.owner.api.get("/api/v1/api-tokens")).json()
    assert listed == {name: value for name, value in token.items() if name != "secret"}
    assert listed["scopes"] == ["self", "work:read"]
    kept = await world.database.reader.value(
        "SELECT token_hash FROM api_tokens WHERE org_id = $1", world.org_id
    )
    assert kept == crypto.digest(token["secret"])
    payload = await world.database.reader.value(
        "SELECT payload::text FROM events WHERE org_id = $1 AND kind = 'token.created'",
        world.org_id,
    )
    assert token["secret"] not in payload


async def test_scopes_narrow_what_a_token_may(world: World) -> None:
    token = await made(world.owner, scopes=["self", "org:read"])
    client = as_(world, token["secret"])
    me = (await client.get("/api/v1/auth/whoami")).json()
    assert me["scopes"] == ["org:read", "self"]
    assert (await client.get("/api/v1/orgs/current")).status_code == 200
    assert (await client.get("/api/v1/memberships")).status_code == 403


async def test_scopes_never_widen_the_role(world: World) -> None:
    person = await world.person("VIEWER")
    token = await made(person, scopes=["org:delete", "members:write", "self"])
    client = as_(world, token["secret"])
    assert (await client.get("/api/v1/auth/whoami")).json()["scopes"] == ["self"]
    assert (await client.delete("/api/v1/orgs/current")).status_code == 403


async def test_a_token_cannot_make_one_that_may_do_more(world: World) -> None:
    narrow = await made(world.owner, scopes=["tokens:write", "work:read"])
    client = as_(world, narrow["secret"])
    for scopes in ([], ["*"], ["work:read", "work:write"]):
        answer = await client.post("/api/v1/api-tokens", json={"name": "more", "scopes": scopes})
        assert answer.status_code == 403
        assert answer.json()["code"] == "token.beyond_own_scopes"
    answer = await client.post("/api/v1/api-tokens", json={"name": "x", "scopes": ["work:read"]})
    assert answer.status_code == 201


async def test_a_token_ends_at_its_time(world: World) -> None:
    end = world.clock.now + timedelta(hours=1)
    token = await made(world.owner, expiresAt=end.isoformat())
    client = as_(world, token["secret"])
    assert (await client.get("/api/v1/auth/whoami")).status_code == 200
    world.clock.advance(timedelta(hours=1, minutes=1))
    assert (await client.get("/api/v1/auth/whoami")).status_code == 401


async def test_a_token_cannot_end_before_it_begins(world: World) -> None:
    answer = await world.owner.api.post(
        "/api/v1/api-tokens", json={"name": "x", "expiresAt": "2020-01-01T00:00:00Z"}
    )
    assert answer.status_code == 422


async def test_a_revoked_token_stops_working_and_is_not_listed(world: World) -> None:
    token = await made(world.owner)
    client = as_(world, token["secret"])
    assert (await client.get("/api/v1/auth/whoami")).status_code == 200
    path = f"/api/v1/api-tokens/{token['id']}"
    assert (await world.owner.api.delete(path)).status_code == 204
    await refused(client)
    assert (await world.owner.api.delete(path)).status_code == 404
    assert (await world.owner.api.get("/api/v1/api-tokens")).json() == []
    assert await kinds(world, token["id"]) == ["token.created", "token.revoked"]


async def test_nobody_sees_or_revokes_the_token_of_somebody_else(world: World) -> None:
    person = await world.person("ADMIN")
    token = await made(person)
    assert (await world.owner.api.get("/api/v1/api-tokens")).json() == []
    answer = await world.owner.api.delete(f"/api/v1/api-tokens/{token['id']}")
    assert answer.status_code == 404
    assert (await as_(world, token["secret"]).get("/api/v1/auth/whoami")).status_code == 200


async def test_one_sees_when_a_token_was_used_to_the_minute(world: World) -> None:
    token = await made(world.owner)
    client = as_(world, token["secret"])

    async def used() -> str:
        await client.get("/api/v1/auth/whoami")
        (listed,) = (await world.owner.api.get("/api/v1/api-tokens")).json()
        return listed["lastUsedAt"]

    first = await used()
    assert first is not None
    world.clock.advance(timedelta(seconds=30))
    assert await used() == first
    world.clock.advance(timedelta(seconds=40))
    assert await used() > first


async def test_a_token_follows_its_owner_s_role(world: World) -> None:
    person = await world.person("MEMBER")
    token = await made(person)
    client = as_(world, token["secret"])
    assert (await client.get("/api/v1/memberships")).status_code == 200
    await world.owner.api.patch(f"/api/v1/memberships/{person.id}", json={"role": "GUEST"})
    await becomes(403, lambda: client.get("/api/v1/memberships"))
    assert (await client.get("/api/v1/auth/whoami")).json()["role"] == "GUEST"


@pytest.mark.parametrize(
    "secret",
    [
        "rytask_pat_",
        "rytask_pat_wrongchecksum",
        crypto.token("rytask_pat_"),
        crypto.token("rytask_ref_"),
        "x",
    ],
    ids=["prefix", "bad check sum", "good check sum", "another kind", "nonsense"],
)
async def test_a_token_that_was_never_given_is_refused(world: World, secret: str) -> None:
    assert (await as_(world, secret).get("/api/v1/auth/whoami")).status_code == 401


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"name": ""},
        {"name": "x", "type": "GOD"},
        {"name": "x", "scopes": ["everything"]},
        {"name": "x", "expiresAt": "tomorrow"},
        {"name": "x", "expiresAt": "2030-01-01T00:00:00"},
        {"name": "x", "extra": 1},
    ],
)
async def test_a_token_refuses_what_it_does_not_know(world: World, body: Json) -> None:
    assert (await world.owner.api.post("/api/v1/api-tokens", json=body)).status_code == 400


async def test_a_token_made_twice_with_one_key_is_one_token(world: World) -> None:
    answers = [
        await world.owner.api.post(
            "/api/v1/api-tokens", json={"name": "x"}, headers={"Idempotency-Key": "k"}
        )
        for _ in range(2)
    ]
    assert answers[0].json() == answers[1].json()
    assert len((await world.owner.api.get("/api/v1/api-tokens")).json()) == 1

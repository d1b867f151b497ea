"""Signing in, refreshing and signing out."""

import asyncio
from datetime import UTC, datetime, timedelta
from uuid import uuid4

import pytest

from rytask.modules.identity import rules
from rytask.modules.identity.model import SessionId, StoredSession
from rytask.platform import crypto
from rytask.platform.ids import OrgId, UserId
from tests.identity.signing import as_, kinds, refreshed, refused, signed_in
from tests.world import World


async def test_signing_in_gives_a_session_that_works(world: World) -> None:
    result = await signed_in(world, world.owner.email)
    assert result["user"] == {
        "id": str(world.owner.id),
        "email": world.owner.email,
        "name": "Olive Owner",
        "emailVerified": True,
    }
    assert result["expiresIn"] == 900
    assert crypto.token_ok(result["refreshToken"])
    answer = await as_(world, result["accessToken"]).get("/api/v1/auth/whoami")
    assert answer.json()["user"]["id"] == str(world.owner.id)
    assert "session.started" in await kinds(world, world.owner.id)


async def test_upper_case_and_spaces_around_an_address_do_not_matter(world: World) -> None:
    await signed_in(world, f"  {world.owner.email.upper()} ")


async def test_a_wrong_password_and_an_unknown_address_look_alike(world: World) -> None:
    answers = [
        await world.anonymous.post(
            "/api/v1/auth/login", json={"email": email, "password": "not the password"}
        )
        for email in (world.owner.email, f"{uuid4().hex}@example.com")
    ]
    first, second = ({**answer.json(), "requestId": ""} for answer in answers)
    assert first == second
    assert first["status"] == 401
    assert first["code"] == "auth.invalid_credentials"


@pytest.mark.parametrize("email", ["", "no at sign", "a@b@c", "@b", "a@", "a b@c", "a@b\n,c@d"])
async def test_what_is_no_address_is_refused_before_anything_else(world: World, email: str) -> None:
    answer = await world.anonymous.post(
        "/api/v1/auth/login", json={"email": email, "password": "whatever it is"}
    )
    assert answer.status_code == 400


async def test_refreshing_gives_a_new_pair_and_uses_the_old_token_up(world: World) -> None:
    first = await signed_in(world, world.owner.email)
    second = (await refreshed(world, first["refreshToken"])).json()
    assert second["refreshToken"] != first["refreshToken"]
    assert second["user"] == first["user"]
    third = await refreshed(world, second["refreshToken"])
    assert third.status_code == 200


async def test_a_lost_answer_can_be_asked_for_again_for_ten_seconds(world: World) -> None:
    first = await signed_in(world, world.owner.email)
    second = (await refreshed(world, first["refreshToken"])).json()
    world.clock.advance(timedelta(seconds=8))
    again = (await refreshed(world, first["refreshToken"])).json()
    assert again["refreshToken"] == second["refreshToken"]


async def test_refreshing_many_times_at_once_gives_one_successor(world: World) -> None:
    first = await signed_in(world, world.owner.email)
    answers = await asyncio.gather(*(refreshed(world, first["refreshToken"]) for _ in range(8)))
    assert {answer.status_code for answer in answers} == {200}
    assert len({answer.json()["refreshToken"] for answer in answers}) == 1
    kept = await world.database.reader.value(
        "SELECT count(*) FROM sessions WHERE org_id = $1", world.org_id
    )
    assert kept == 2


async def test_a_refresh_token_used_twice_ends_its_session_and_only_that(world: World) -> None:
    stolen = await signed_in(world, world.owner.email)
    other = await signed_in(world, world.owner.email)
    thief = (await refreshed(world, stolen["refreshToken"])).json()
    world.clock.advance(timedelta(seconds=11))
    answer = await refreshed(world, stolen["refreshToken"])
    assert answer.status_code == 401
    assert answer.json()["code"] == "auth.refresh_reused"
    assert (await refreshed(world, thief["refreshToken"])).json()["code"] == "auth.refresh_invalid"
    assert (await refreshed(world, other["refreshToken"])).status_code == 200
    assert "session.reuse_detected" in await kinds(world, world.owner.id)


async def test_a_stolen_session_s_access_token_stops_working_when_it_is_noticed(
    world: World,
) -> None:
    stolen = await signed_in(world, world.owner.email)
    thief = (await refreshed(world, stolen["refreshToken"])).json()
    async with world.database.transaction() as tx:
        await tx.execute(
            "UPDATE sessions SET rotated_at = rotated_at - interval '1 minute' WHERE org_id = $1",
            world.org_id,
        )
    assert (await refreshed(world, stolen["refreshToken"])).status_code == 401
    await refused(as_(world, thief["accessToken"]))


async def test_a_session_that_is_not_used_ends(world: World) -> None:
    first = await signed_in(world, world.owner.email)
    world.clock.advance(timedelta(days=30, seconds=1))
    assert (await refreshed(world, first["refreshToken"])).json()["code"] == "auth.refresh_invalid"


@pytest.mark.parametrize(
    "token",
    ["", "rytask_ref_x", "nonsense", crypto.token("rytask_ref_")],
    ids=["empty", "bad check sum", "nonsense", "good check sum"],
)
async def test_a_refresh_token_that_was_never_given_is_refused(world: World, token: str) -> None:
    answer = await refreshed(world, token)
    assert answer.status_code == 401
    assert answer.json()["code"] == "auth.refresh_invalid"


async def test_refresh_tokens_are_kept_as_digests_only(world: World) -> None:
    first = await signed_in(world, world.owner.email)
    second = (await refreshed(world, first["refreshToken"])).json()
    kept = await world.database.reader.values(
        "SELECT refresh_token_hash FROM sessions WHERE org_id = $1 ORDER BY created_at",
        world.org_id,
    )
    assert kept == [crypto.digest(r["refreshToken"]) for r in (first, second)]


async def test_signing_out_ends_every_session_and_every_access_token(world: World) -> None:
    person = await world.person()
    first, second = [await signed_in(world, person.email) for _ in range(2)]
    here, there = as_(world, first["accessToken"]), as_(world, second["accessToken"])
    assert (await there.get("/api/v1/auth/whoami")).status_code == 200
    assert (await here.post("/api/v1/auth/logout")).status_code == 204
    for result in (first, second):
        assert (await refreshed(world, result["refreshToken"])).status_code == 401
    await refused(here)
    await refused(there)
    assert (await world.owner.api.get("/api/v1/auth/whoami")).status_code == 200
    await signed_in(world, person.email)


async def test_one_sees_where_one_is_signed_in_and_ends_one_of_them(world: World) -> None:
    person = await world.person()
    here = await signed_in(world, person.email)
    there = await signed_in(world, person.email)
    there = (await refreshed(world, there["refreshToken"])).json()
    client = as_(world, here["accessToken"])
    sessions = (await client.get("/api/v1/auth/sessions")).json()
    assert [session["current"] for session in sessions] == [False, True]
    assert sessions[0]["lastUsedAt"] > sessions[0]["createdAt"]
    answer = await client.delete(f"/api/v1/auth/sessions/{sessions[0]['id']}")
    assert answer.status_code == 204
    assert (await refreshed(world, there["refreshToken"])).status_code == 401
    await refused(as_(world, there["accessToken"]))
    assert (await client.get("/api/v1/auth/whoami")).status_code == 200
    assert [s["current"] for s in (await client.get("/api/v1/auth/sessions")).json()] == [True]
    assert (await client.delete(f"/api/v1/auth/sessions/{sessions[0]['id']}")).status_code == 404


async def test_nobody_ends_the_session_of_somebody_else(world: World) -> None:
    person = await world.person()
    result = await signed_in(world, person.email)
    (session,) = (await as_(world, result["accessToken"]).get("/api/v1/auth/sessions")).json()
    answer = await world.owner.api.delete(f"/api/v1/auth/sessions/{session['id']}")
    assert answer.status_code == 404
    assert (await refreshed(world, result["refreshToken"])).status_code == 200


async def test_after_five_wrong_passwords_the_right_one_has_to_wait(world: World) -> None:
    email = world.owner.email

    async def attempt(password: str) -> int:
        answer = await world.anonymous.post(
            "/api/v1/auth/login", json={"email": email.title(), "password": password}
        )
        if answer.status_code == 429:
            assert 0 < int(answer.headers["retry-after"]) <= 900
            assert answer.json()["code"] == "auth.locked"
        return answer.status_code

    assert [await attempt("wrong password") for _ in range(6)] == [401] * 5 + [429]
    assert await attempt(world.owner.password) == 429
    world.clock.advance(timedelta(minutes=15, seconds=1))
    assert await attempt("wrong password") == 401
    assert await attempt(world.owner.password) == 200
    assert (await kinds(world, world.owner.id)).count("user.locked_out") == 1


async def test_signing_in_clears_the_count_of_failures(world: World) -> None:
    answers = [
        await world.anonymous.post(
            "/api/v1/auth/login", json={"email": world.owner.email, "password": password}
        )
        for password in (["wrong password"] * 4 + [world.owner.password]) * 2
    ]
    assert answers[-1].status_code == 200


async def test_an_unknown_address_is_locked_like_a_known_one(world: World) -> None:
    email = f"{uuid4().hex}@example.com"
    answers = [
        await world.anonymous.post(
            "/api/v1/auth/login", json={"email": email, "password": "wrong password"}
        )
        for _ in range(6)
    ]
    assert [answer.status_code for answer in answers] == [401] * 5 + [429]


async def test_guesses_made_at_once_are_all_counted(world: World) -> None:
    answers = await asyncio.gather(
        *(
            world.anonymous.post(
                "/api/v1/auth/login",
                json={"email": world.owner.email, "password": "wrong password"},
            )
            for _ in range(8)
        )
    )
    assert sorted(answer.status_code for answer in answers) == [401] * 5 + [429] * 3
    answer = await world.anonymous.post(
        "/api/v1/auth/login",
        json={"email": world.owner.email, "password": world.owner.password},
    )
    assert answer.status_code == 429


async def test_a_password_hashed_with_other_costs_is_hashed_anew(world: World) -> None:
    weak = crypto.Passwords(memory_cost=8192, time_cost=1)
    hashed = await weak.hash(world.owner.password)
    weak.close()
    async with world.database.transaction() as tx:
        await tx.execute(
            "UPDATE users SET password_hash = $2 WHERE id = $1", world.owner.id, hashed
        )
    await signed_in(world, world.owner.email)
    kept = await world.database.reader.value(
        "SELECT password_hash FROM users WHERE id = $1", world.owner.id
    )
    assert kept != hashed
    await signed_in(world, world.owner.email)


async def test_a_new_role_comes_with_the_next_refresh_and_the_old_access_token_ends(
    world: World,
) -> None:
    person = await world.person("MEMBER")
    result = await signed_in(world, person.email)
    client = as_(world, result["accessToken"])
    answer = await world.owner.api.patch(
        f"/api/v1/memberships/{person.id}", json={"role": "VIEWER"}
    )
    assert answer.status_code == 200
    await refused(client)
    result = (await refreshed(world, result["refreshToken"])).json()
    me = (await as_(world, result["accessToken"]).get("/api/v1/auth/whoami")).json()
    assert me["role"] == "VIEWER"
    assert "work:write" not in me["scopes"]


NOW = datetime(2026, 5, 4, 12, tzinfo=UTC)


def kept(**changes: object) -> StoredSession:
    values: dict[str, object] = {
        "id": uuid4(),
        "org_id": OrgId(uuid4()),
        "user_id": UserId(uuid4()),
        "family_id": SessionId(uuid4()),
        "expires_at": NOW + timedelta(days=1),
        "rotated_at": None,
        "revoked_at": None,
    }
    return StoredSession(**{**values, **changes})  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("changes", "verdict"),
    [
        ({}, "rotate"),
        ({"expires_at": NOW}, "over"),
        ({"revoked_at": NOW}, "over"),
        ({"rotated_at": NOW}, "repeat"),
        ({"rotated_at": NOW + timedelta(seconds=2)}, "repeat"),
        ({"rotated_at": NOW - timedelta(seconds=10)}, "repeat"),
        ({"rotated_at": NOW - timedelta(seconds=11)}, "reused"),
        ({"rotated_at": NOW - timedelta(seconds=11), "revoked_at": NOW}, "over"),
        ({"rotated_at": NOW - timedelta(days=2), "expires_at": NOW}, "over"),
    ],
)
def test_what_happens_to_a_refresh_token(changes: dict[str, datetime], verdict: str) -> None:
    assert rules.judge_refresh(kept(**changes), NOW) == verdict

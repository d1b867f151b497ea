"""Passwords, verified addresses and the profile."""

import re
from datetime import timedelta
from uuid import uuid4

import httpx
import msgspec
import pytest

from tests.identity.signing import as_, kinds, mailed, refreshed, refused, signed_in
from tests.world import World

NEW = "a new password for me"


class Counts(msgspec.Struct, frozen=True):
    jobs: int
    attempts: int
    links: int


def token_in(mail: str) -> str:
    """The token of the link in a mail."""
    return re.findall(r"token=3D(\w+)", mail)[0]


async def test_a_new_password_replaces_the_old_one_and_ends_the_other_sessions(
    world: World,
) -> None:
    person = await world.person()
    here, there = [await signed_in(world, person.email) for _ in range(2)]
    client = as_(world, here["accessToken"])
    answer = await client.post(
        "/api/v1/auth/change-password",
        json={"currentPassword": person.password, "newPassword": NEW},
    )
    assert answer.status_code == 204
    assert (await refreshed(world, there["refreshToken"])).status_code == 401
    await refused(as_(world, there["accessToken"]))
    assert (await client.get("/api/v1/auth/whoami")).status_code == 200
    assert (await refreshed(world, here["refreshToken"])).status_code == 200
    await signed_in(world, person.email, NEW)
    assert "password.changed" in await kinds(world, person.id)


async def test_a_password_changed_twice_with_one_key_is_changed_once(world: World) -> None:
    person = await world.person()
    answers = [
        await person.api.post(
            "/api/v1/auth/change-password",
            json={"currentPassword": person.password, "newPassword": NEW},
            headers={"Idempotency-Key": "once"},
        )
        for _ in range(2)
    ]
    assert [answer.status_code for answer in answers] == [204, 204]
    assert answers[1].headers["idempotent-replayed"] == "true"
    assert (await kinds(world, person.id)).count("password.changed") == 1


async def test_the_current_password_is_needed_and_guesses_are_counted(world: World) -> None:
    person = await world.person()
    answers = [
        await person.api.post(
            "/api/v1/auth/change-password",
            json={"currentPassword": "not the password", "newPassword": NEW},
        )
        for _ in range(6)
    ]
    assert [answer.status_code for answer in answers] == [401] * 5 + [429]


async def test_a_forgotten_password_is_replaced_by_a_mailed_link(world: World) -> None:
    person = await world.person()
    result = await signed_in(world, person.email)
    answer = await world.anonymous.post(
        "/api/v1/auth/request-password-reset", json={"email": person.email.upper()}
    )
    assert answer.status_code == 202
    (mail,) = await mailed(world, person.email)
    token = token_in(mail)
    for status in (204, 410):
        answer = await world.anonymous.post(
            "/api/v1/auth/confirm-password-reset", json={"token": token, "newPassword": NEW}
        )
        assert answer.status_code == status
    assert (await refreshed(world, result["refreshToken"])).status_code == 401
    await refused(as_(world, result["accessToken"]))
    await signed_in(world, person.email, NEW)


async def test_a_reset_lets_in_who_was_locked_out(world: World) -> None:
    person = await world.person()
    answers = [
        await world.anonymous.post(
            "/api/v1/auth/login", json={"email": person.email, "password": "wrong password"}
        )
        for _ in range(6)
    ]
    assert answers[-1].status_code == 429
    await world.anonymous.post("/api/v1/auth/request-password-reset", json={"email": person.email})
    (mail,) = await mailed(world, person.email)
    await world.anonymous.post(
        "/api/v1/auth/confirm-password-reset", json={"token": token_in(mail), "newPassword": NEW}
    )
    await signed_in(world, person.email, NEW)


@pytest.mark.parametrize("revoked", [False, True])
async def test_personal_access_tokens_outlive_a_password_unless_told_not_to(
    world: World, revoked: bool
) -> None:
    person = await world.person()

    async def script() -> tuple[str, httpx.AsyncClient]:
        made = (await person.api.post("/api/v1/api-tokens", json={"name": "a script"})).json()
        client = as_(world, made["secret"])
        assert (await client.get("/api/v1/auth/whoami")).status_code == 200
        return made["id"], client

    async def outlives(token_id: str, client: httpx.AsyncClient) -> None:
        if revoked:
            await refused(client)
        else:
            assert (await client.get("/api/v1/auth/whoami")).status_code == 200
        assert ("token.revoked" in await kinds(world, token_id)) == revoked

    token = await script()
    changed = {"currentPassword": person.password, "newPassword": NEW, "revokeTokens": revoked}
    answer = await person.api.post("/api/v1/auth/change-password", json=changed)
    assert answer.status_code == 204, answer.text
    await outlives(*token)
    assert (await person.api.get("/api/v1/auth/whoami")).status_code == 200

    token = await script()
    await world.anonymous.post("/api/v1/auth/request-password-reset", json={"email": person.email})
    (mail,) = await mailed(world, person.email)
    reset = {"token": token_in(mail), "newPassword": NEW, "revokeTokens": revoked}
    answer = await world.anonymous.post("/api/v1/auth/confirm-password-reset", json=reset)
    assert answer.status_code == 204, answer.text
    await outlives(*token)


async def test_a_reset_link_is_good_for_an_hour(world: World) -> None:
    await world.anonymous.post(
        "/api/v1/auth/request-password-reset", json={"email": world.owner.email}
    )
    (mail,) = await mailed(world, world.owner.email)
    world.clock.advance(timedelta(hours=1, seconds=1))
    answer = await world.anonymous.post(
        "/api/v1/auth/confirm-password-reset", json={"token": token_in(mail), "newPassword": NEW}
    )
    assert answer.status_code == 410
    assert answer.json()["code"] == "link.gone"


@pytest.mark.parametrize("path", ["request-password-reset", "request-verification"])
async def test_asking_for_a_link_does_not_tell_who_has_an_account(world: World, path: str) -> None:
    person = await world.person()
    async with world.database.transaction() as tx:
        await tx.execute("UPDATE users SET email_verified_at = NULL WHERE id = $1", person.id)
    emails = (person.email, f"{uuid4().hex}@example.com")
    answers = [
        await world.anonymous.post(f"/api/v1/auth/{path}", json={"email": email})
        for email in emails
    ]
    assert {(answer.status_code, answer.text) for answer in answers} == {(202, "")}
    assert [len(await mailed(world, email)) for email in emails] == [1, 0]


@pytest.mark.parametrize("path", ["request-password-reset", "request-verification"])
async def test_asking_for_a_link_does_the_same_work_whoever_has_the_address(
    world: World, path: str
) -> None:
    counts = (
        "SELECT (SELECT count(*) FROM jobs) AS jobs,"
        "       (SELECT count(*) FROM login_failures) AS attempts,"
        "       (SELECT count(*) FROM one_time_tokens) AS links"
    )
    unproven = await world.person()
    async with world.database.transaction() as tx:
        await tx.execute("UPDATE users SET email_verified_at = NULL WHERE id = $1", unproven.id)
    changes = []
    for email in (world.owner.email, unproven.email, f"{uuid4().hex}@example.com"):
        before = await world.database.reader.one(Counts, counts)
        await world.anonymous.post(f"/api/v1/auth/{path}", json={"email": email})
        after = await world.database.reader.one(Counts, counts)
        changes.append(
            (after.jobs - before.jobs, after.attempts - before.attempts, after.links - before.links)
        )
    assert changes == [(1, 1, 0)] * 3


async def test_a_reset_that_proves_an_address_ends_what_was_made_before(world: World) -> None:
    person = await world.person()
    async with world.database.transaction() as tx:
        await tx.execute("UPDATE users SET email_verified_at = NULL WHERE id = $1", person.id)
    made = await person.api.post("/api/v1/api-tokens", json={"name": "of whoever signed up"})
    await world.anonymous.post("/api/v1/auth/request-password-reset", json={"email": person.email})
    (mail,) = await mailed(world, person.email)
    answer = await world.anonymous.post(
        "/api/v1/auth/confirm-password-reset",
        json={"token": token_in(mail), "newPassword": NEW},
    )
    assert answer.status_code == 204
    await refused(as_(world, made.json()["secret"]))
    assert (await signed_in(world, person.email, NEW))["user"]["emailVerified"]


async def test_nobody_s_mailbox_is_flooded_with_links(world: World) -> None:
    for _ in range(8):
        answer = await world.anonymous.post(
            "/api/v1/auth/request-password-reset", json={"email": world.owner.email}
        )
        assert answer.status_code == 202
    assert len(await mailed(world, world.owner.email)) == 5
    world.clock.advance(timedelta(minutes=15, seconds=1))
    await world.anonymous.post(
        "/api/v1/auth/request-password-reset", json={"email": world.owner.email}
    )
    assert len(await mailed(world, world.owner.email)) == 6


async def test_the_latest_reset_uses_the_earlier_links_up(world: World) -> None:
    for _ in range(2):
        await world.anonymous.post(
            "/api/v1/auth/request-password-reset", json={"email": world.owner.email}
        )
    first, second = map(token_in, await mailed(world, world.owner.email))
    assert first != second
    statuses = [
        (
            await world.anonymous.post(
                "/api/v1/auth/confirm-password-reset", json={"token": token, "newPassword": NEW}
            )
        ).status_code
        for token in (second, first)
    ]
    assert statuses == [204, 410]


async def test_an_address_is_verified_by_a_mailed_link(world: World) -> None:
    person = await world.person()
    async with world.database.transaction() as tx:
        await tx.execute("UPDATE users SET email_verified_at = NULL WHERE id = $1", person.id)
    await world.anonymous.post("/api/v1/auth/request-verification", json={"email": person.email})
    (mail,) = await mailed(world, person.email)
    token = token_in(mail)
    for status in (204, 410):
        answer = await world.anonymous.post("/api/v1/auth/verify-email", json={"token": token})
        assert answer.status_code == status
    profile = (await person.api.get("/api/v1/auth/profile")).json()
    assert profile["emailVerified"] is True
    assert await kinds(world, person.id) == ["user.email_verified"]


async def test_a_link_is_good_for_its_own_purpose_only(world: World) -> None:
    await world.anonymous.post(
        "/api/v1/auth/request-password-reset", json={"email": world.owner.email}
    )
    (mail,) = await mailed(world, world.owner.email)
    token = token_in(mail)
    answer = await world.anonymous.post("/api/v1/auth/verify-email", json={"token": token})
    assert answer.status_code == 410


async def test_a_verified_address_gets_no_other_link(world: World) -> None:
    await world.anonymous.post(
        "/api/v1/auth/request-verification", json={"email": world.owner.email}
    )
    assert await mailed(world, world.owner.email) == []


@pytest.mark.parametrize("token", ["", "nonsense", "rytask_rst_ü", "\x7f"])
async def test_a_token_that_was_never_given_is_gone(world: World, token: str) -> None:
    answer = await world.anonymous.post(
        "/api/v1/auth/confirm-password-reset", json={"token": token, "newPassword": NEW}
    )
    assert answer.status_code == 410


async def test_one_changes_one_s_own_profile(world: World) -> None:
    person = await world.person(name="Sam Doe")
    answer = await person.api.patch(
        "/api/v1/auth/profile",
        json={"name": " Sam D. ", "timezone": "Asia/Kolkata", "notifyAt": "08:30"},
    )
    assert answer.status_code == 200
    profile = answer.json()
    assert (profile["name"], profile["timezone"], profile["notifyAt"]) == (
        "Sam D.",
        "Asia/Kolkata",
        "08:30",
    )
    assert (await person.api.get("/api/v1/auth/profile")).json() == profile
    answer = await person.api.patch("/api/v1/auth/profile", json={"timezone": None})
    assert answer.json()["timezone"] is None
    assert answer.json()["notifyAt"] == "08:30"
    assert await kinds(world, person.id) == ["user.profile_changed"] * 2


async def test_changing_nothing_records_nothing(world: World) -> None:
    person = await world.person(name="Sam Doe")
    answer = await person.api.patch("/api/v1/auth/profile", json={"name": "Sam Doe"})
    assert answer.status_code == 200
    assert await kinds(world, person.id) == []


@pytest.mark.parametrize(
    ("body", "status"),
    [
        ({"timezone": "Mars/Olympus"}, 422),
        ({"timezone": "../../etc/passwd"}, 422),
        ({"timezone": ""}, 422),
        ({"notifyAt": "24:00"}, 400),
        ({"notifyAt": "9:00"}, 400),
        ({"notifyAt": None}, 400),
        ({"name": "   "}, 400),
        ({"name": "two\nlines"}, 400),
        ({"name": "x" * 121}, 400),
        ({"email": "new@example.com"}, 400),
    ],
)
async def test_a_profile_refuses_what_cannot_be(
    world: World, body: dict[str, str], status: int
) -> None:
    assert (await world.owner.api.patch("/api/v1/auth/profile", json=body)).status_code == status


async def test_what_nobody_can_use_any_more_is_purged(world: World) -> None:
    await signed_in(world, world.owner.email)
    await world.anonymous.post(
        "/api/v1/auth/request-password-reset", json={"email": world.owner.email}
    )
    await world.run_jobs()
    async with world.database.transaction() as tx:
        await tx.execute(
            "UPDATE sessions SET expires_at = now() - interval '3 hours' WHERE org_id = $1",
            world.org_id,
        )
        await tx.execute(
            "UPDATE one_time_tokens SET expires_at = now() - interval '3 hours' WHERE org_id = $1",
            world.org_id,
        )
    kept = await signed_in(world, world.owner.email)
    assert await world.run_job("identity.purge") == []
    for table in ("sessions", "one_time_tokens"):
        left = await world.database.reader.value(
            f"SELECT count(*) FROM {table} WHERE org_id = $1", world.org_id
        )
        assert left == (1 if table == "sessions" else 0)
    assert (await refreshed(world, kept["refreshToken"])).status_code == 200

"""Signing in while the password or the membership changes, stopped between two statements."""

import asyncio

import httpx
import pytest

from rytask.modules.identity import sign_in
from rytask.platform.crypto import Passwords
from tests.identity.signing import refreshed
from tests.locks import held, waiting
from tests.world import Person, World


class NoTurns:
    """A lock of its own for everybody."""

    def setdefault(self, key: object, lock: asyncio.Lock) -> asyncio.Lock:
        return lock


async def login(world: World, person: Person) -> httpx.Response:
    return await world.anonymous.post(
        "/api/v1/auth/login", json={"email": person.email, "password": person.password}
    )


async def test_guesses_are_counted_before_they_are_compared(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As two processes do it: neither waits for the other's comparison."""
    person, go_on = await world.person(), asyncio.Event()

    async def slowly(self: Passwords, kept: str | None, password: str) -> bool:
        await go_on.wait()
        return False

    monkeypatch.setattr(Passwords, "verify", slowly)
    monkeypatch.setattr(sign_in, "_turns", NoTurns())
    guesses = [asyncio.create_task(login(world, person)) for _ in range(9)]
    async with asyncio.timeout(10):
        refused: set[asyncio.Task[httpx.Response]] = set()
        while len(refused) < 4:
            refused, _ = await asyncio.wait(guesses, timeout=0.01)
    assert {guess.result().status_code for guess in refused} == {429}
    go_on.set()
    statuses = [(await guess).status_code for guess in guesses]
    assert sorted(statuses) == [401] * 5 + [429] * 4


async def test_a_burst_with_the_right_password_does_not_lock_itself_out(world: World) -> None:
    person = await world.person()
    answers = await asyncio.gather(*(login(world, person) for _ in range(8)))
    assert [answer.status_code for answer in answers] == [200] * 8


async def test_a_password_that_is_replaced_while_it_is_checked_opens_nothing(world: World) -> None:
    person = await world.person()
    async with held(
        world.database,
        "UPDATE users SET password_hash = 'another' WHERE org_id = $1 AND id = $2",
        world.org_id,
        person.id,
    ):
        signing_in = asyncio.create_task(login(world, person))
        await waiting(world.database, 1)
    answer = await signing_in
    assert (answer.status_code, answer.json()["code"]) == (401, "auth.invalid_credentials")


async def test_a_member_who_is_removed_while_they_sign_in_is_not_signed_in(world: World) -> None:
    person = await world.person()
    async with held(
        world.database,
        "UPDATE memberships SET deactivated_at = now() WHERE org_id = $1 AND user_id = $2",
        world.org_id,
        person.id,
    ):
        signing_in = asyncio.create_task(login(world, person))
        await waiting(world.database, 1)
    answer = await signing_in
    assert (answer.status_code, answer.json()["code"]) == (401, "auth.invalid_credentials")


async def test_nobody_is_removed_between_the_look_at_their_membership_and_their_session(
    world: World,
) -> None:
    person = await world.person()
    async with held(world.database, "LOCK TABLE sessions IN SHARE MODE"):
        signing_in = asyncio.create_task(login(world, person))
        await waiting(world.database, 1)
        # As the removal does, but without waiting: it finds the membership locked.
        free = await world.database.writer.values(
            "SELECT m.user_id FROM memberships m JOIN users u ON u.id = m.user_id"
            " WHERE m.org_id = $1 AND m.user_id = $2 FOR NO KEY UPDATE OF m SKIP LOCKED",
            world.org_id,
            person.id,
        )
        assert free == []
        removal = asyncio.create_task(world.owner.api.delete(f"/api/v1/memberships/{person.id}"))
        await waiting(world.database, 2)
    session = await signing_in
    assert (await removal).status_code == 204
    assert session.status_code == 200
    assert (await refreshed(world, session.json()["refreshToken"])).status_code == 401
    alive = await world.database.reader.value(
        "SELECT count(*) FROM sessions WHERE org_id = $1 AND revoked_at IS NULL", world.org_id
    )
    assert alive == 0

"""Sessions that end while they are refreshed, each stopped between two statements."""

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any

import httpx
import pytest

from tests.identity.signing import Json, as_, refreshed, refused, signed_in
from tests.locks import held, waiting
from tests.world import Person, World

_LATEST = (
    "SELECT FROM sessions WHERE org_id = $1 AND user_id = $2 AND rotated_at IS NULL FOR UPDATE"
)

End = Callable[[], Coroutine[Any, Any, httpx.Response]]


async def _by_signing_out(world: World, person: Person) -> tuple[Json, End, int]:
    session = await signed_in(world, person.email)
    me = as_(world, session["accessToken"])
    return session, lambda: me.post("/api/v1/auth/logout"), 204


async def _by_ending_it(world: World, person: Person) -> tuple[Json, End, int]:
    session = await signed_in(world, person.email)
    me = as_(world, session["accessToken"])
    (listed,) = (await me.get("/api/v1/auth/sessions")).json()
    return session, lambda: me.delete(f"/api/v1/auth/sessions/{listed['id']}"), 204


async def _by_using_an_old_token(world: World, person: Person) -> tuple[Json, End, int]:
    first = await signed_in(world, person.email)
    session = (await refreshed(world, first["refreshToken"])).json()
    async with world.database.transaction() as tx:
        await tx.execute(
            "UPDATE sessions SET rotated_at = rotated_at - interval '1 minute'"
            " WHERE org_id = $1 AND user_id = $2 AND rotated_at IS NOT NULL",
            world.org_id,
            person.id,
        )
    return session, lambda: refreshed(world, first["refreshToken"]), 401


WAYS = pytest.mark.parametrize("way", [_by_signing_out, _by_ending_it, _by_using_an_old_token])


async def _ended(world: World, person: Person) -> None:
    alive = await world.database.reader.value(
        "SELECT count(*) FROM sessions WHERE org_id = $1 AND user_id = $2 AND revoked_at IS NULL",
        world.org_id,
        person.id,
    )
    assert alive == 0


@WAYS
async def test_a_refresh_that_was_under_way_does_not_outlive_the_end_of_its_session(
    world: World, way: Callable[[World, Person], Awaitable[tuple[Json, End, int]]]
) -> None:
    person = await world.person()
    session, end, status = await way(world, person)
    async with held(world.database, _LATEST, world.org_id, person.id):
        refresh = asyncio.create_task(refreshed(world, session["refreshToken"]))
        await waiting(world.database, 1)
        ending = asyncio.create_task(end())
        await waiting(world.database, 2)
    successor = await refresh
    assert (await ending).status_code == status
    assert successor.status_code == 200
    await _ended(world, person)
    assert (await refreshed(world, successor.json()["refreshToken"])).status_code == 401
    await refused(as_(world, successor.json()["accessToken"]))


@WAYS
async def test_a_refresh_finds_the_end_of_its_session_that_was_under_way(
    world: World, way: Callable[[World, Person], Awaitable[tuple[Json, End, int]]]
) -> None:
    person = await world.person()
    session, end, status = await way(world, person)
    async with held(world.database, _LATEST, world.org_id, person.id):
        ending = asyncio.create_task(end())
        await waiting(world.database, 1)
        refresh = asyncio.create_task(refreshed(world, session["refreshToken"]))
        await waiting(world.database, 2)
    assert (await ending).status_code == status
    assert (await refresh).json()["code"] == "auth.refresh_invalid"
    await _ended(world, person)

"""Revocations that are under way while somebody looks: each is a transaction that is not over."""

import asyncio

import pytest

from rytask import app
from rytask.modules.identity import service as identity
from rytask.platform import auth
from rytask.platform.auth import Bearers
from rytask.platform.errors import Unauthenticated
from rytask.platform.work import Actor
from tests.identity.signing import Json, as_
from tests.world import World


def bearers(world: World) -> Bearers:
    """Another process of the same installation: it remembers nothing yet."""
    return Bearers(app._keys(world.settings), identity.pat_reader(world.work), world.clock)


async def used(world: World) -> Json:
    """A token whose use was noted just now, which is not noted again for a minute."""
    token = (await world.owner.api.post("/api/v1/api-tokens", json={"name": "x"})).json()
    assert (await as_(world, token["secret"]).get("/api/v1/auth/whoami")).status_code == 200
    return token


async def test_a_token_that_is_looked_up_while_it_is_revoked_is_not_remembered(
    world: World,
) -> None:
    token, other = await used(world), bearers(world)
    async with world.database.transaction() as tx:
        await tx.execute("UPDATE api_tokens SET revoked_at = now() WHERE id = $1", token["id"])
        await auth.revoke(tx, token["id"])
        assert (await other.authenticate(token["secret"])).me == world.owner.id
    await other._refresh(world.database, None)
    with pytest.raises(Unauthenticated):
        await other.authenticate(token["secret"])


async def test_a_token_whose_revocation_was_read_during_its_look_up_is_not_remembered(
    world: World,
) -> None:
    token, read, go_on = await used(world), asyncio.Event(), asyncio.Event()
    look_up = identity.pat_reader(world.work)

    async def slowly(secret: str) -> Actor | None:
        actor = await look_up(secret)
        read.set()
        await go_on.wait()
        return actor

    other = Bearers(app._keys(world.settings), slowly, world.clock)
    request = asyncio.create_task(other.authenticate(token["secret"]))
    await read.wait()
    answer = await world.owner.api.delete(f"/api/v1/api-tokens/{token['id']}")
    assert answer.status_code == 204
    await other._refresh(world.database, None)
    go_on.set()
    assert (await request).me == world.owner.id  # the request was there before the revocation
    with pytest.raises(Unauthenticated):
        await other.authenticate(token["secret"])


async def test_a_revocation_is_read_though_a_later_one_was_committed_before_it(
    world: World,
) -> None:
    first, second = await world.person(), await world.person()
    other = bearers(world)
    async with world.database.transaction() as slow:
        await auth.revoke(slow, first.id)
        async with world.database.transaction() as fast:
            await auth.revoke(fast, second.id)
        last = await other._refresh(world.database, None)
        with pytest.raises(Unauthenticated):
            await other.authenticate(second.token)
        assert (await other.authenticate(first.token)).me == first.id
    await other._refresh(world.database, last)
    with pytest.raises(Unauthenticated):
        await other.authenticate(first.token)

"""Signing in, as the tests of identity and organizations do it."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any
from uuid import UUID

import httpx

from tests.world import PASSWORD, World

Json = dict[str, Any]


async def signed_in(world: World, email: str, password: str = PASSWORD) -> Json:
    """What signing in answers."""
    answer = await world.anonymous.post(
        "/api/v1/auth/login", json={"email": email, "password": password}
    )
    assert answer.status_code == 200, answer.text
    return answer.json()


def as_(world: World, token: str) -> httpx.AsyncClient:
    """A client that bears a token."""
    client = httpx.AsyncClient(
        transport=world.worlds.transport,
        base_url="http://test",
        headers={"authorization": f"Bearer {token}"},
    )
    world.clients.append(client)
    return client


async def refreshed(world: World, token: str) -> httpx.Response:
    return await world.anonymous.post("/api/v1/auth/refresh", json={"refreshToken": token})


async def mailed(world: World, email: str) -> list[str]:
    """What was mailed to an address, after all jobs ran."""
    assert await world.run_jobs() == []
    return [mail.content.replace("=\r\n", "") for mail in world.mails if mail.to == email]


async def becomes(status: int, ask: Callable[[], Awaitable[httpx.Response]]) -> None:
    """Ask until the answer has this status: revocations are read twice a second."""
    while (await ask()).status_code != status:
        await asyncio.sleep(0.02)


async def refused(client: httpx.AsyncClient) -> None:
    """Until the client's token is refused."""
    await becomes(401, lambda: client.get("/api/v1/auth/whoami"))


async def kinds(world: World, subject_id: UUID | str) -> list[str]:
    """The facts that were recorded about something, in their order."""
    return await world.database.reader.values(
        "SELECT kind FROM events WHERE org_id = $1 AND subject_id = $2 ORDER BY seq",
        world.org_id,
        UUID(str(subject_id)),
    )

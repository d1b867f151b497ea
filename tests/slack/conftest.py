"""The application, connected to a stand-in for Slack."""

import json
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qs, urlencode, urlsplit
from uuid import uuid4

import httpx
import pytest

from tests.fake_slack import FakeSlack, Message, signed
from tests.world import Person, World, Worlds

Json = dict[str, Any]
COMMANDS = "/api/v1/integrations/slack/commands"
INTERACTIVITY = "/api/v1/integrations/slack/interactivity"


@pytest.fixture(scope="session")
async def stand_in() -> AsyncIterator[FakeSlack]:
    async with FakeSlack.running() as fake:
        yield fake


@pytest.fixture(scope="session")
async def worlds(database_url: str, redis_url: str, stand_in: FakeSlack) -> AsyncIterator[Worlds]:
    async with Worlds.running(
        database_url, redis_url, SLACK_API_BASE_URL=stand_in.api_base_url
    ) as worlds:
        yield worlds


@dataclass
class Slack:
    """A Slack workspace of one test: what is done there, and what is seen."""

    world: World
    fake: FakeSlack

    async def connect(self, admin: Person | None = None) -> str:
        """Install the app as an admin does; where the browser ends up."""
        return await self.return_from_slack(state=await self.begin(admin))

    async def begin(self, admin: Person | None = None) -> str:
        """Begin to install the app; the state that Slack will hand back."""
        api = (admin or self.world.owner).api
        url = (await api.get("/api/v1/integrations/slack/install")).json()["url"]
        return parse_qs(urlsplit(url).query)["state"][0]

    async def return_from_slack(self, **query: str) -> str:
        """Slack sends the browser back; where it is sent from there."""
        code = uuid4().hex
        self.fake.codes.add(code)
        answer = await self.world.anonymous.get(
            "/integrations/slack/oauth/callback", params={"code": code, **query}
        )
        assert answer.status_code == 302
        return answer.headers["location"]

    async def type(self, text: str, **more: str) -> httpx.Response:
        """Type `/task text`."""
        return await self.send(COMMANDS, self.fake.command(text, **more))

    async def interact(self, type: str, **more: Any) -> httpx.Response:
        """Press, submit or choose something."""
        payload = {
            "type": type,
            "user": {"id": "U1", "name": "sam"},
            "team": self.fake.team,
            **more,
        }
        return await self.send(INTERACTIVITY, urlencode({"payload": json.dumps(payload)}).encode())

    async def press(self, message: Json, button: str, user: str = "U1") -> httpx.Response:
        """Press a button of a message that is seen."""
        for block in message["blocks"]:
            for element in block.get("elements", []):
                if element.get("action_id") == button:
                    return await self.interact(
                        "block_actions",
                        user={"id": user},
                        actions=[{"action_id": button, "value": element.get("value")}],
                        response_url=self.fake.response_url(message),
                    )
        raise AssertionError(f"there is no button {button}")

    async def submit(self, view: Json, user: str = "U1", **inputs: Json) -> httpx.Response:
        """Submit an open form."""
        values = {name: {name: {"type": "input", **value}} for name, value in inputs.items()}
        return await self.interact(
            "view_submission",
            user={"id": user, "name": "sam"},
            view={**view, "state": {"values": values}},
        )

    async def send(self, path: str, body: bytes, **headers: str) -> httpx.Response:
        """Send a signed body."""
        secret = self.world.settings.slack_signing_secret[0]
        return await self.world.anonymous.post(
            path,
            content=body,
            headers={**signed(secret, body, self.world.clock.now.timestamp()), **headers},
        )

    async def run_all_jobs(self) -> list[str]:
        """Run jobs, and those that wait for another try, until there are none; the errors."""
        errors = await self.world.run_jobs()
        while await self._hurry():
            errors += await self.world.run_jobs()
        return errors

    async def _hurry(self) -> int:
        async with self.world.database.transaction() as tx:
            return await tx.execute(
                "UPDATE jobs SET due_at = now() WHERE org_id = $1 AND state = 'waiting'",
                self.world.org_id,
            )

    async def items(self) -> list[Json]:
        """Every work item of the organization."""
        answer = await self.world.owner.api.get("/api/v1/work-items")
        assert answer.status_code == 200
        return answer.json()["data"]

    def shown(self) -> Message:
        """The only message that is seen."""
        (message,) = self.fake.seen
        return message

    def said(self) -> str:
        """All the words of the only message that is seen."""
        return json.dumps(self.shown().message, ensure_ascii=False)


@pytest.fixture
async def unconnected(world: World, stand_in: FakeSlack) -> Slack:
    """A Slack workspace that is not connected yet."""
    stand_in.reset(f"T{uuid4().hex[:12].upper()}")
    return Slack(world, stand_in)


@pytest.fixture
async def slack(unconnected: Slack) -> Slack:
    """A connected Slack workspace, whose people are known."""
    assert (await unconnected.connect()).endswith("?connected=1")
    await unconnected.run_all_jobs()
    return unconnected

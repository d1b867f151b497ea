"""The OpenAPI document against the real server, over HTTP: what is promised is what is done.

Schemathesis makes requests from the document, good ones and bad ones, and checks every answer:
never a 5xx, no status, media type, header or shape that the document does not name. It runs from a
fixed seed. RYTASK_CONTRACT_CASES asks for a long run: about so many requests of each operation, and
every boundary of every field as well.
"""

import asyncio
import os
import socket
import threading
from collections.abc import Iterator
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Any

import pytest
import schemathesis
from granian.constants import HTTPModes, Interfaces
from granian.server.embed import Server
from hypothesis import HealthCheck, Phase, settings
from schemathesis.config import SchemathesisConfig
from schemathesis.core.parameters import ParameterLocation

from rytask import app
from rytask.platform.http import Route
from tests.test_every_route import ROUTES, Things
from tests.world import Person, World, Worlds

CASES = int(os.environ.get("RYTASK_CONTRACT_CASES", "0"))
CONFIG = SchemathesisConfig.from_dict(
    {
        "seed": 7,
        "phases": {"coverage": {"enabled": CASES > 0}},
        "checks": {
            "positive_data_acceptance": {
                # Which 400 are meant is said below, by their codes.
                "expected-statuses": [
                    "2xx",
                    "302",
                    "400",
                    "401",
                    "403",
                    "404",
                    "409",
                    "410",
                    "422",
                    "429",
                ]
            }
        },
    }
)
SCHEMA = schemathesis.openapi.from_dict(app.document("contract"), config=CONFIG)
BEYOND_SCHEMA = {
    # A cursor, a filter and an order are written in languages of their own.
    *("request.bad_cursor", "filter.malformed", "sort.malformed"),
    # Of several fields, one is needed.
    *("work_item.no_project", "work_item.no_label", "invite.who_are_you"),
    # A text without NUL, a day within reason.
    *("request.nul", "work_item.bad_day"),
    # White space around a title does not count.
    *("work_item.no_title", "work_item.title_too_long"),
}
"""Refusals of shapes that JSON Schema cannot describe. All others must be in the document."""

BY_NAME = {(route.method, route.path): route for route in ROUTES}


@dataclass
class RunningServer:
    """Where the server is, and the loop in which it runs."""

    url: str
    worlds: Worlds
    loop: asyncio.AbstractEventLoop

    def do(self, coroutine: Any) -> Any:
        return asyncio.run_coroutine_threadsafe(coroutine, self.loop).result()


@pytest.fixture(scope="module")
def server(anyio_backend: object, database_url: str, redis_url: str) -> Iterator[RunningServer]:
    """The application behind Granian on a loopback port, in a thread of its own."""
    ready: Future[tuple[RunningServer, asyncio.Event]] = Future()

    async def run() -> None:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        over = asyncio.Event()
        async with Worlds.running(database_url, redis_url) as worlds:
            server = Server(
                worlds.api.application,
                port=port,
                interface=Interfaces.ASGINL,
                http=HTTPModes.http1,
                websockets=False,
                log_enabled=False,
            )
            serving = asyncio.create_task(server.serve())
            url = f"http://127.0.0.1:{port}"
            while True:
                try:
                    _, writer = await asyncio.open_connection("127.0.0.1", port)
                except OSError:
                    await asyncio.sleep(0.01)
                else:
                    writer.close()
                    break
            ready.set_result((RunningServer(url, worlds, asyncio.get_running_loop()), over))
            await over.wait()
            server.stop()
            await serving

    thread = threading.Thread(target=asyncio.run, args=[run()])
    thread.start()
    server, over = ready.result(30)
    yield server
    server.loop.call_soon_threadsafe(over.set)
    thread.join()


class Tenant:
    """An organization of an operation's own, with one of everything, and who asks."""

    def __init__(self, server: RunningServer, route: Route) -> None:
        self.server, self.route = server, route
        self.world: World = server.do(World.made(server.worlds))
        self.things = server.do(Things(self.world).made())
        self.viewer: Person = server.do(self.world.person("VIEWER", project_role="VIEWER"))
        self.asked = 0

    def close(self) -> None:
        for client in self.world.clients:
            self.server.do(client.aclose())

    def send(self, case: schemathesis.Case) -> None:
        """Ask as the owner, every fifth time as a viewer, every other time for what there is."""
        self.asked += 1
        who = self.viewer if self.asked % 5 == 0 else self.world.owner
        if self.asked % 2:
            self._point(case)
        case.headers["Authorization"] = f"Bearer {who.token}"
        answer = case.call_and_validate(base_url=self.server.url)
        if answer.status_code == 400 and case.meta and case.meta.generation.mode.is_positive:
            problem = answer.json()
            # To JSON Schema 1.0 is an integer; here it is not.
            fraction = problem["detail"].endswith("got `float`")
            assert fraction or problem["code"] in BEYOND_SCHEMA, problem

    def _point(self, case: schemathesis.Case) -> None:
        """Put ids that exist into what is meant well."""
        parts = case.meta.components if case.meta else {}
        path, body = parts.get(ParameterLocation.PATH), parts.get(ParameterLocation.BODY)
        if path is not None and path.mode.is_positive:
            case.path_parameters.update(self.things.named(self.route))
        if body is not None and body.mode.is_positive and isinstance(case.body, dict):
            for name, known in self.things.references().items():
                if case.body.get(name) is not None:
                    case.body[name] = known


@pytest.fixture
def tenant(server: RunningServer, request: pytest.FixtureRequest) -> Iterator[Tenant]:
    name = request.node.name.partition("[")[2].rstrip("]")
    method, _, path = name.partition(" ")
    tenant = Tenant(server, BY_NAME[(method, path)])
    yield tenant
    tenant.close()


@SCHEMA.parametrize()
@settings(
    max_examples=CASES or 4,
    derandomize=True,
    deadline=None,
    database=None,
    suppress_health_check=[
        HealthCheck.too_slow,
        HealthCheck.filter_too_much,
        HealthCheck.function_scoped_fixture,
        HealthCheck.data_too_large,
    ],
    phases=[Phase.explicit, Phase.generate],
)
def test_every_answer_is_one_that_the_document_promises(
    case: schemathesis.Case, tenant: Tenant
) -> None:
    tenant.send(case)

"""The requests that are measured, one at a time, the ceilings' beside the application's."""

import itertools
import json
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import Literal
from uuid import UUID, uuid4

from tests.fake_slack import FakeSlack

from bench import captures, ceiling, rig
from bench.load import Request, closed, request

_ITEMS = "/api/v1/work-items"
_JSON = {"content-type": "application/json"}
_WARM_UP = 0.3


Side = Literal["app", "replay", "insert"]
"""The application, or a ceiling: its statements replayed, or one bare INSERT."""


@dataclass(frozen=True)
class Case:
    """A request, and its likes for the ceilings."""

    name: str
    ask: Request
    ceilings: Mapping[Side, Request] = field(default_factory=dict)
    writes: bool = False


@dataclass(frozen=True, kw_only=True)
class Round:
    """One look at one server. CPU is in µs a request, latencies in ms."""

    case: str
    items: int
    side: Side
    cpu: float
    postgres_cpu: float | None
    """None where PostgreSQL runs on another machine."""
    rate: float
    p50: float
    p99: float
    failed: int


@dataclass(frozen=True)
class Servers:
    """What answers: the application, the ceilings, and the PostgreSQL of both."""

    api: rig.Process
    bare: rig.Process
    postgres: rig.PostgresServer


def cases(dataset: rig.Dataset, token: str, slack: FakeSlack) -> list[Case]:
    """Every request that is measured."""
    jwt = {"authorization": f"Bearer {token}"}
    pat = {"authorization": f"Bearer {dataset.pat}"}
    login = json.dumps({"email": rig.EMAIL, "password": rig.PASSWORD}).encode()
    titled, full = new_items(dataset)

    def create(body: bytes, nth: int) -> Case:
        ceilings: dict[Side, Request] = {
            "replay": _same("POST", f"{ceiling.ITEMS}/{nth}", _JSON, body),
            "insert": _same("POST", f"{ceiling.INSERT}/{nth}", _JSON, body),
        }
        ask = _same("POST", _ITEMS, {**jwt, **_JSON}, body)
        return Case(CREATES[nth], ask, ceilings, writes=True)

    def create_keyed() -> bytes:
        return request("POST", _ITEMS, {**jwt, **_JSON, "idempotency-key": uuid4().hex}, full)

    return [
        Case("health", _same("GET", "/healthz"), {"replay": _same("GET", ceiling.HEALTH)}),
        Case(
            "get item, JWT",
            _each(dataset.item_ids, _ITEMS, jwt),
            {"replay": _each(dataset.item_ids, ceiling.ITEMS)},
        ),
        Case("get item, PAT", _each(dataset.item_ids, _ITEMS, pat)),
        Case(
            "list of 50",
            _same("GET", f"{_ITEMS}?projectId={dataset.project_id}&limit=50", jwt),
            {"replay": _same("GET", ceiling.ITEMS)},
        ),
        create(titled, 0),
        create(full, 1),
        Case("create with key", create_keyed, writes=True),
        Case("login", _same("POST", "/api/v1/auth/login", _JSON, login)),
        Case("Slack acknowledgement", captures.commands(slack), writes=True),
    ]


CREATES = ("create, title", "create, all fields")
NAMES = (
    *("health", "get item, JWT", "get item, PAT", "list of 50", *CREATES, "create with key"),
    *("login", "Slack acknowledgement"),
)


def new_items(dataset: rig.Dataset) -> tuple[bytes, bytes]:
    """What is sent to create an item: the least, and all that people usually say."""
    least = {"projectId": str(dataset.project_id), "title": "Fix login when the clock is wrong"}
    more = {
        "description": "It fails after an hour and says nothing about why. " * 4,
        "priority": "HIGH",
        "assigneeId": str(dataset.user_id),
        "labelIds": [str(dataset.label_id)],
        "estimateValue": 2,
        "dueDate": "2030-01-31",
    }
    return json.dumps(least).encode(), json.dumps({**least, **more}).encode()


def _same(
    method: str, path: str, headers: dict[str, str] | None = None, body: bytes = b""
) -> Request:
    asked = request(method, path, headers, body)
    return lambda: asked


def _each(ids: Sequence[UUID], path: str, headers: Mapping[str, str] | None = None) -> Request:
    turn = itertools.cycle([request("GET", f"{path}/{id}", headers) for id in ids])
    return lambda: next(turn)


async def measure(
    dataset: rig.Dataset,
    case: Case,
    servers: Servers,
    *,
    rounds: int,
    seconds: float,
) -> list[Round]:
    """Look at the ceilings and at the application in turn."""
    sides: dict[Side, Request] = {**case.ceilings, "app": case.ask}
    return [
        await _measure_side(dataset, case, side, servers, ask, seconds)
        for _ in range(rounds)
        for side, ask in sides.items()
    ]


async def _measure_side(
    dataset: rig.Dataset, case: Case, side: Side, servers: Servers, ask: Request, seconds: float
) -> Round:
    server = servers.api if side == "app" else servers.bare
    await closed(server.port, ask, seconds=_WARM_UP)
    before, postgres_before = server.cpu, servers.postgres.cpu
    seen = await closed(server.port, ask, seconds=seconds)
    cpu, postgres_cpu = server.cpu - before, servers.postgres.cpu_since(postgres_before)
    if case.writes:
        await dataset.delete_new_rows()
    return Round(
        case=case.name,
        items=dataset.items,
        side=side,
        cpu=cpu / seen.count * 1e6,
        postgres_cpu=None if postgres_cpu is None else postgres_cpu / seen.count * 1e6,
        rate=seen.rate,
        p50=seen.percentile(0.5) * 1e3,
        p99=seen.percentile(0.99) * 1e3,
        failed=seen.count - seen.good,
    )


def ceiling_of(dataset: rig.Dataset, stack: ExitStack) -> rig.Process:
    """Run the ceilings on the same ground."""
    port = rig.free_port()
    bodies = [argument for body in new_items(dataset) for argument in ("--body", body.decode())]
    return stack.enter_context(
        rig.process(
            "bench.ceiling",
            *("--port", str(port)),
            *("--org-id", str(dataset.org_id)),
            *("--user-id", str(dataset.user_id)),
            *("--item-id", str(dataset.item_ids[0])),
            *bodies,
            env={"DATABASE_URL": dataset.database_url},
            port=port,
        )
    )

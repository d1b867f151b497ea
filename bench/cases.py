"""The requests that are measured, one at a time, the ceiling's beside the application's."""

import itertools
import json
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from uuid import UUID, uuid4

from tests.fake_slack import FakeSlack

from bench import captures, ceiling, rig
from bench.load import Request, closed, request

_ITEMS = "/api/v1/work-items"
_JSON = {"content-type": "application/json"}
_WARM_UP = 0.3


@dataclass(frozen=True)
class Case:
    """A request, and its like for the ceiling."""

    name: str
    ask: Request
    bare: Request | None = None
    writes: bool = False


@dataclass(frozen=True, kw_only=True)
class Round:
    """One look at one server. CPU is in µs a request, latencies in ms."""

    case: str
    items: int
    side: str
    cpu: float
    rate: float
    p50: float
    p99: float
    failed: int


def cases(ground: rig.Ground, token: str, slack: FakeSlack) -> list[Case]:
    """Every request that is measured."""
    jwt = {"authorization": f"Bearer {token}"}
    pat = {"authorization": f"Bearer {ground.pat}"}
    login = json.dumps({"email": rig.EMAIL, "password": rig.PASSWORD}).encode()
    new = new_item(ground)

    def create_keyed() -> bytes:
        return request("POST", _ITEMS, {**jwt, **_JSON, "idempotency-key": uuid4().hex}, new)

    return [
        Case("health", _same("GET", "/healthz"), _same("GET", ceiling.HEALTH)),
        Case(
            "get item, JWT",
            _each(ground.item_ids, _ITEMS, jwt),
            _each(ground.item_ids, ceiling.ITEMS),
        ),
        Case("get item, PAT", _each(ground.item_ids, _ITEMS, pat)),
        Case(
            "list of 50",
            _same("GET", f"{_ITEMS}?projectId={ground.project_id}&limit=50", jwt),
            _same("GET", ceiling.ITEMS),
        ),
        Case(
            "create",
            _same("POST", _ITEMS, {**jwt, **_JSON}, new),
            _same("POST", ceiling.ITEMS, _JSON, new),
            writes=True,
        ),
        Case("create with key", create_keyed, writes=True),
        Case("login", _same("POST", "/api/v1/auth/login", _JSON, login)),
        Case("Slack acknowledgement", captures.commands(slack), writes=True),
    ]


def new_item(ground: rig.Ground) -> bytes:
    """What is sent to create an item such as people make."""
    return json.dumps(
        {
            "projectId": str(ground.project_id),
            "title": "Fix login when the clock is wrong",
            "description": "It fails after an hour and says nothing about why. " * 4,
            "priority": "HIGH",
            "assigneeId": str(ground.user_id),
            "labelIds": [str(ground.label_id)],
            "estimateValue": 2,
            "dueDate": "2030-01-31",
        }
    ).encode()


def _same(
    method: str, path: str, headers: dict[str, str] | None = None, body: bytes = b""
) -> Request:
    asked = request(method, path, headers, body)
    return lambda: asked


def _each(ids: Sequence[UUID], path: str, headers: Mapping[str, str] | None = None) -> Request:
    turn = itertools.cycle([request("GET", f"{path}/{id}", headers) for id in ids])
    return lambda: next(turn)


async def measure(
    ground: rig.Ground,
    case: Case,
    api: rig.Process,
    bare: rig.Process,
    *,
    rounds: int,
    seconds: float,
) -> list[Round]:
    """Look at the ceiling and at the application in turn."""
    seen = []
    for _ in range(rounds):
        if case.bare is not None:
            seen.append(await _look(ground, case, "ceiling", bare, case.bare, seconds))
        seen.append(await _look(ground, case, "app", api, case.ask, seconds))
    return seen


async def _look(
    ground: rig.Ground, case: Case, side: str, server: rig.Process, ask: Request, seconds: float
) -> Round:
    await closed(server.port, ask, seconds=_WARM_UP)
    before = server.cpu
    seen = await closed(server.port, ask, seconds=seconds)
    cpu = server.cpu - before
    if case.writes:
        await ground.sweep()
    return Round(
        case=case.name,
        items=ground.items,
        side=side,
        cpu=cpu / seen.count * 1e6,
        rate=seen.rate,
        p50=seen.percentile(0.5) * 1e3,
        p99=seen.percentile(0.99) * 1e3,
        failed=seen.count - seen.good,
    )


def ceiling_of(ground: rig.Ground, stack: ExitStack) -> rig.Process:
    """Run the ceiling on the same ground."""
    port = rig.free_port()
    return stack.enter_context(
        rig.process(
            "bench.ceiling",
            *("--port", str(port)),
            *("--org-id", str(ground.org_id)),
            *("--user-id", str(ground.user_id)),
            *("--item-id", str(ground.item_ids[0])),
            *("--body", new_item(ground).decode()),
            env={"DATABASE_URL": ground.database_url},
            port=port,
        )
    )

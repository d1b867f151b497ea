"""Every operation with every role, by the executor and without HTTP: who may, and who may not."""

import copy
from typing import Any

import msgspec
import pytest

from rytask.app import ROUTES
from rytask.platform.auth import PERMISSIONS_OF
from rytask.platform.errors import Forbidden, Unauthenticated
from rytask.platform.operations import Operation
from rytask.platform.work import Actor
from tests.test_every_route import ROLES
from tests.world import World


class Reached(Exception):
    """The use case has begun."""


async def reach(**_: Any) -> None:
    raise Reached


def named(operation: Operation) -> str:
    return operation.operation_id


async def end_of(world: World, operation: Operation, actor: Actor | None) -> type[Exception]:
    """How a call ends. The operation is the real one, but that its function only notes the call."""
    noted = copy.copy(operation)
    noted.run = reach
    with pytest.raises((Reached, Forbidden, Unauthenticated)) as end:
        await world.worlds.api.executor.execute(noted, actor, {})
    return end.type


@pytest.mark.parametrize("operation", ROUTES, ids=named)
async def test_each_role_reaches_what_the_table_says(world: World, operation: Operation) -> None:
    needed = operation.permission
    for role in ROLES:
        actor = world.owner.actor
        actor = msgspec.structs.replace(actor, role=role, permissions=PERMISSIONS_OF[role])
        may = needed is None or needed in PERMISSIONS_OF[role]
        assert await end_of(world, operation, actor) is (Reached if may else Forbidden), role
    anybody = Reached if needed is None else Unauthenticated
    assert await end_of(world, operation, None) is anybody


@pytest.mark.parametrize("operation", ROUTES, ids=named)
async def test_a_token_reaches_only_what_its_scopes_say(world: World, operation: Operation) -> None:
    actor = msgspec.structs.replace(world.owner.actor, permissions=frozenset({"work:read"}))
    may = operation.permission in (None, "work:read")
    assert await end_of(world, operation, actor) is (Reached if may else Forbidden)


async def test_a_guest_who_comes_in_by_no_route_changes_nothing(world: World) -> None:
    guest, execute = await world.person("GUEST"), world.worlds.api.executor.execute_json
    calls = {
        "delete_org": "{}",
        "update_org_settings": '{"name": "Mine now"}',
        "create_workspace": '{"name": "Mine"}',
        "rename_workspace": f'{{"id": "{world.workspace_id}", "name": "Mine now"}}',
        "remove_member": f'{{"userId": "{world.owner.id}"}}',
        "set_member_role": f'{{"userId": "{guest.id}", "role": "OWNER"}}',
    }
    for name, sent in calls.items():
        with pytest.raises(Forbidden):
            await execute(name, guest.actor, sent.encode())
    settings = (await world.owner.api.get("/api/v1/orgs/current")).json()
    assert settings["name"].startswith("Org ")
    workspaces = (await world.owner.api.get("/api/v1/workspaces")).json()
    assert [workspace["name"] for workspace in workspaces] == ["Default"]
    members = (await world.owner.api.get("/api/v1/memberships")).json()
    assert {member["role"] for member in members} == {"OWNER", "GUEST"}

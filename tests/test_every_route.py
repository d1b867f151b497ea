"""Every route, derived from the application: with every role, as nobody, and with foreign ids."""

import re
from typing import Any

import httpx
import pytest

from rytask.app import MODULES
from rytask.platform.auth import PERMISSIONS_OF
from rytask.platform.http import Route
from rytask.platform.ids import new_id
from rytask.platform.work import OrgRole
from tests.world import World

OPEN = {
    *("get_health", "get_readiness", "get_metrics", "get_openapi", "get_docs", "get_style"),
    *("get_home", "get_setup", "create_setup", "login", "refresh", "register"),
    *("request_verification", "verify_email", "request_password_reset", "confirm_password_reset"),
    *("get_invite", "accept_invite", "finish_slack_install"),
    # These carry Slack's signature instead of a token.
    *("receive_slack_command", "receive_slack_interaction"),
}

ROUTES = [route for module in MODULES for route in module.routes]
GUARDED = [route for route in ROUTES if route.permission is not None]
# What Slack's paths name belongs to the caller's own connection.
WITH_IDS = [route for route in GUARDED if "{" in route.path and "/slack/" not in route.path]
IN_PROJECTS = [
    route
    for route in WITH_IDS
    if route.path.startswith(("/api/v1/projects", "/api/v1/work-items", "/api/v1/statuses"))
]
ROLES: tuple[OrgRole, ...] = ("OWNER", "ADMIN", "MEMBER", "VIEWER", "GUEST")


def named(route: Route) -> str:
    return route.operation_id


def filled(route: Route) -> str:
    """The path with ids that nothing has."""
    return re.sub(r"{\w+}", lambda _: str(new_id()), route.path)


def test_every_operation_has_a_name_of_its_own_and_a_sentence() -> None:
    names = [route.operation_id for route in ROUTES]
    assert len(set(names)) == len(names)
    assert [route.operation_id for route in ROUTES if not route.doc] == []


def test_what_is_open_to_everybody_is_a_short_list() -> None:
    assert {route.operation_id for route in ROUTES if route.permission is None} == OPEN


@pytest.mark.parametrize("route", GUARDED, ids=named)
async def test_nobody_comes_in_without_a_token(world: World, route: Route) -> None:
    answer = await world.anonymous.request(route.method, filled(route))
    assert (answer.status_code, answer.json()["code"]) == (401, "auth.required")


@pytest.mark.parametrize("route", GUARDED, ids=named)
async def test_each_role_may_do_what_the_table_says(world: World, route: Route) -> None:
    for role in ROLES:
        person = world.owner if role == "OWNER" else await world.person(role)
        # A body that cannot be read stops whoever has come past the door.
        body = b"{" if "data" in route.parameters else None
        answer = await person.api.request(route.method, filled(route), content=body)
        assert answer.status_code < 500, answer.text
        refused = answer.status_code == 403 and answer.json()["code"] == "auth.forbidden"
        assert refused == (route.permission not in PERMISSIONS_OF[role]), (role, answer.text)


class Things:
    """One of everything that an organization has, by the name of its path parameter."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.ids: dict[str, str] = {}

    async def made(self) -> "Things":
        world, owner = self.world, self.world.owner
        colleague = await world.person()
        item = await _made(
            owner.api,
            "/work-items",
            projectId=str(world.project.id),
            quickAdd="Fix the door #bug",
            assigneeId=str(colleague.id),
        )
        await world.run_jobs()
        notifications = (await colleague.api.get("/api/v1/notifications")).json()["data"]
        signed_in = await world.anonymous.post(
            "/api/v1/auth/login", json={"email": owner.email, "password": owner.password}
        )
        token = {"authorization": f"Bearer {signed_in.json()['accessToken']}"}
        sessions = (await world.anonymous.get("/api/v1/auth/sessions", headers=token)).json()
        self.ids = {
            "/auth/sessions": sessions[0]["id"],
            "/api-tokens": (await _made(owner.api, "/api-tokens", name="mine"))["id"],
            "/workspaces": str(world.workspace_id),
            "/memberships": str(colleague.id),
            "/invites": (await _made(owner.api, "/invites", role="MEMBER"))["id"],
            "/projects": str(world.project.id),
            "/labels": item["labelIds"][0],
            "/work-items": item["id"],
            "/statuses": str(world.project.statuses["To Do"]),
            "/notifications": notifications[0]["id"],
            "/bulk-operations": await _bulk_operation(world),
            "user_id": str(colleague.id),
            "label_id": item["labelIds"][0],
            "/integrations/slack/users": "U024BE7LH",
            "/integrations/slack/channels": "C024BE91L",
        }
        return self

    def named(self, route: Route) -> dict[str, str]:
        """Our ids for the path's parameters. The first is named by what stands before it."""
        first = route.path.partition("/{")[0]
        return {
            name: self.ids[
                first.removeprefix("/api/v1") if f"{first}/{{{name}}}" in route.path else name
            ]
            for name in re.findall(r"{(\w+)}", route.path)
        }

    def path(self, route: Route) -> str:
        """The route's path with our ids."""
        return route.path.format(**self.named(route))

    def references(self) -> dict[str, Any]:
        """Our ids by the names that bodies give them."""
        ids = self.ids
        return {
            "projectId": ids["/projects"],
            "defaultProjectId": ids["/projects"],
            "statusId": ids["/statuses"],
            "assigneeId": ids["user_id"],
            "leadId": ids["user_id"],
            "userId": ids["user_id"],
            "toUserId": ids["user_id"],
            "labelId": ids["label_id"],
            "intoId": ids["label_id"],
            "labelIds": [ids["label_id"]],
            "parentId": ids["/work-items"],
            "beforeId": ids["/work-items"],
            "afterId": ids["/work-items"],
            "workspaceId": ids["/workspaces"],
            "orderedIds": [ids["/statuses"]],
        }

    def body(self, route: Route) -> dict[str, Any] | None:
        """What such a request sends when it is meant well."""
        if "data" not in route.parameters:
            return None
        ids = self.ids
        bodies: dict[str, dict[str, Any]] = {
            "rename_workspace": {"name": "Mine now"},
            "set_member_role": {"role": "VIEWER"},
            "update_project": {"name": "Mine now"},
            "add_project_member": {"userId": ids["user_id"]},
            "update_project_member": {"role": "VIEWER"},
            "create_status": {"name": "Mine", "category": "STARTED"},
            "reorder_statuses": {"orderedIds": [ids["/statuses"]]},
            "update_label": {"name": "mine"},
            "merge_label": {"intoId": ids["label_id"]},
            "update_issue": {"version": 1, "title": "Mine now"},
            "move_issue": {"version": 1},
            "add_subtask": {"title": "Mine"},
            "add_label_to_issue": {"labelId": ids["label_id"]},
            "watch_issue": {},
            "update_status": {"name": "Mine"},
            "update_notification": {"read": True},
        }
        return bodies[route.operation_id]


async def _bulk_operation(world: World) -> str:
    """One that is going on in the starter project."""
    async with world.database.transaction() as tx:
        return str(
            await tx.value(
                "INSERT INTO bulk_operations (id, org_id, kind, project_id, subject_id, source,"
                "    first_seq, started_at)"
                " VALUES (gen_random_uuid(), $1, 'STATUS_CATEGORY', $2, $3, 'WEB', 0, now())"
                " RETURNING id",
                world.org_id,
                world.project.id,
                world.project.statuses["Done"],
            )
        )


async def _made(api: httpx.AsyncClient, path: str, **body: Any) -> dict[str, Any]:
    answer = await api.post(f"/api/v1{path}", json=body)
    assert answer.status_code == 201, answer.text
    made = answer.json()
    return made.get("data", made)


@pytest.mark.parametrize("route", WITH_IDS, ids=named)
async def test_what_belongs_to_others_is_not_there(world: World, route: Route) -> None:
    things = await Things(world).made()
    stranger = await world.stranger()
    answer = await stranger.api.request(route.method, things.path(route), json=things.body(route))
    assert answer.status_code == 404, answer.text


@pytest.mark.parametrize("route", IN_PROJECTS, ids=named)
async def test_what_one_may_not_see_in_ones_own_organization_is_not_there(
    world: World, route: Route
) -> None:
    things = await Things(world).made()
    outsider = await world.person("MEMBER", project_role=None)
    answer = await outsider.api.request(route.method, things.path(route), json=things.body(route))
    assert answer.status_code == 404, answer.text

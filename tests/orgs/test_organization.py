"""The organization, its settings and workspaces."""

import pytest

from rytask.modules.orgs import rules, service
from rytask.modules.orgs.model import OrgSettings
from rytask.platform.work import system
from tests.identity.signing import Json, as_, kinds, mailed, refreshed, refused, signed_in
from tests.world import World


async def test_an_organization_starts_with_sane_settings(world: World) -> None:
    org = (await world.owner.api.get("/api/v1/orgs/current")).json()
    assert org["id"] == str(world.org_id)
    assert org["settings"] == {
        "timezone": "UTC",
        "locale": "en",
        "weekStart": "MONDAY",
        "workingDays": [1, 2, 3, 4, 5],
        "workingHours": {"start": "09:00", "end": "17:00"},
        "logoUrl": None,
        "allowPublicSignup": False,
        "notifyAt": "09:00",
    }


async def test_settings_change_one_by_one_and_stay(world: World) -> None:
    changes: list[Json] = [
        {"timezone": "America/New_York"},
        {"locale": "de-CH", "weekStart": "SUNDAY"},
        {"workingHours": {"start": "08:00", "end": "16:30"}},
        {"logoUrl": "https://example.com/logo.svg", "notifyAt": "07:45"},
        {"logoUrl": None, "allowPublicSignup": True},
    ]
    expected: Json = {"workingDays": [1, 2, 4]}
    answer = await world.owner.api.patch(
        "/api/v1/orgs/current", json={"workingDays": [4, 1, 2, 2], "name": "Zoë & Co."}
    )
    for change in changes:
        answer = await world.owner.api.patch("/api/v1/orgs/current", json=change)
        assert answer.status_code == 200, answer.text
        expected |= change
    org = (await world.owner.api.get("/api/v1/orgs/current")).json()
    assert org == answer.json()
    assert org["name"] == "Zoë & Co."
    assert org["settings"] == expected
    assert (await kinds(world, world.org_id)).count("org.settings_changed") == 6


async def test_changing_nothing_records_nothing(world: World) -> None:
    await world.owner.api.patch("/api/v1/orgs/current", json={"weekStart": "MONDAY"})
    await world.owner.api.patch("/api/v1/orgs/current", json={})
    assert "org.settings_changed" not in await kinds(world, world.org_id)


@pytest.mark.parametrize(
    ("body", "status"),
    [
        ({"timezone": "Nowhere/Land"}, 422),
        ({"timezone": "localtime"}, 422),
        ({"timezone": None}, 400),
        ({"locale": "english please"}, 400),
        ({"weekStart": "FRIDAY"}, 400),
        ({"workingDays": []}, 400),
        ({"workingDays": [7]}, 400),
        ({"workingDays": [-1]}, 400),
        ({"workingHours": {"start": "17:00", "end": "09:00"}}, 422),
        ({"workingHours": {"start": "09:00", "end": "09:00"}}, 422),
        ({"workingHours": {"start": "9", "end": "17:00"}}, 400),
        ({"workingHours": {"start": "09:00"}}, 400),
        ({"logoUrl": "javascript:alert(1)"}, 400),
        ({"allowPublicSignup": "yes"}, 400),
        ({"notifyAt": "25:00"}, 400),
        ({"name": ""}, 400),
        ({"slug": "mine"}, 400),
    ],
)
async def test_settings_refuse_what_cannot_be(world: World, body: Json, status: int) -> None:
    answer = await world.owner.api.patch("/api/v1/orgs/current", json=body)
    assert answer.status_code == status


async def test_settings_written_by_an_older_version_get_their_defaults(world: World) -> None:
    async with world.database.transaction() as tx:
        await tx.execute(
            "UPDATE organizations SET settings = settings || $2 WHERE id = $1",
            world.org_id,
            {"locale": "fr", "removedLongAgo": 1},
        )
    settings = await service.settings_of(world.work.reading(system(world.org_id)))
    assert settings == OrgSettings(locale="fr")


async def test_a_person_s_day_is_their_own_zone_s_or_else_the_organization_s(world: World) -> None:
    person = await world.person()
    ctx = world.work.reading(system(world.org_id))
    assert (await service.zone_of(ctx, person.id)).key == "UTC"
    await world.owner.api.patch("/api/v1/orgs/current", json={"timezone": "Asia/Tokyo"})
    assert (await service.zone_of(ctx, person.id)).key == "Asia/Tokyo"
    await person.api.patch("/api/v1/auth/profile", json={"timezone": "Europe/Paris"})
    assert (await service.zone_of(ctx, person.id)).key == "Europe/Paris"
    assert (await service.zone_of(ctx, None)).key == "Asia/Tokyo"


async def test_a_deleted_organization_lets_nobody_in(world: World) -> None:
    person = await world.person("MEMBER")
    session = await signed_in(world, person.email)
    pat = (await person.api.post("/api/v1/api-tokens", json={"name": "x"})).json()["secret"]
    invite = (await world.owner.api.post("/api/v1/invites", json={"role": "GUEST"})).json()
    script = as_(world, pat)
    assert (await script.get("/api/v1/auth/whoami")).status_code == 200
    assert (await world.owner.api.delete("/api/v1/orgs/current")).status_code == 204
    for client in (world.owner.api, person.api, script, as_(world, session["accessToken"])):
        await refused(client)
    assert (await refreshed(world, session["refreshToken"])).status_code == 401
    answer = await world.anonymous.post(
        "/api/v1/auth/login", json={"email": person.email, "password": person.password}
    )
    assert answer.status_code == 401
    token = invite["acceptUrl"].rpartition("/")[2]
    assert (await world.anonymous.get(f"/api/v1/invites/{token}")).status_code == 410
    await world.anonymous.post("/api/v1/auth/request-password-reset", json={"email": person.email})
    assert await mailed(world, person.email) == []
    assert "org.deleted" in await kinds(world, world.org_id)


async def test_a_deleted_organization_frees_its_addresses(world: World) -> None:
    other = await world.elsewhere()
    await world.owner.api.delete("/api/v1/orgs/current")
    invite = await other.owner.api.post(
        "/api/v1/invites", json={"role": "MEMBER", "email": world.owner.email}
    )
    token = invite.json()["acceptUrl"].rpartition("/")[2]
    answer = await world.anonymous.post(
        f"/api/v1/invites/{token}/accept",
        json={"name": "Olive again", "password": "another password"},
    )
    assert answer.status_code == 200
    result = await signed_in(world, world.owner.email, "another password")
    assert result["user"]["name"] == "Olive again"


@pytest.mark.parametrize("break_", ["\n", "\x1f", "\x7f", "\x85", "\u2028", "\u2029"])
async def test_a_name_is_one_line(world: World, break_: str) -> None:
    name = f"Acme{break_}Inc."
    project = f"/api/v1/projects/{world.project.id}"
    for method, path, body in (
        ("PATCH", "/api/v1/orgs/current", {}),
        ("POST", "/api/v1/workspaces", {}),
        ("PATCH", "/api/v1/auth/profile", {}),
        ("POST", "/api/v1/api-tokens", {}),
        ("PATCH", project, {}),
        ("POST", f"{project}/statuses", {"category": "STARTED"}),
        ("POST", "/api/v1/labels", {}),
    ):
        answer = await world.owner.api.request(method, path, json={**body, "name": name})
        assert answer.status_code == 400, path


async def test_mail_arrives_from_an_organization_whose_name_has_line_separators(
    world: World,
) -> None:
    async with world.database.transaction() as tx:  # as it could be named before
        await tx.execute(
            "UPDATE organizations SET name = $2 WHERE id = $1", world.org_id, "Acme\u2028Inc.\x85"
        )
    await world.owner.api.post("/api/v1/invites", json={"role": "MEMBER", "email": "n@example.com"})
    (mail,) = await mailed(world, "n@example.com")
    assert "Subject: Join Acme Inc.  on RyTask" in mail


async def test_workspaces_are_made_renamed_and_entered(world: World) -> None:
    person = await world.person("MEMBER")
    (first,) = (await person.api.get("/api/v1/workspaces")).json()
    assert first == {"id": str(world.workspace_id), "name": "Default", "slug": "default"}
    made = [
        (await world.owner.api.post("/api/v1/workspaces", json={"name": " Field Work "})).json()
        for _ in range(2)
    ]
    assert made[0]["slug"] == "field-work"
    assert made[1]["slug"].startswith("field-work-")
    path = f"/api/v1/workspaces/{made[0]['id']}"
    renamed = (await world.owner.api.patch(path, json={"name": "Outside"})).json()
    assert renamed == {"id": made[0]["id"], "name": "Outside", "slug": "field-work"}
    assert (await person.api.get(path)).json() == renamed
    assert await kinds(world, made[0]["id"]) == ["workspace.created", "workspace.renamed"]

    session = await signed_in(world, person.email)
    client = as_(world, session["accessToken"])
    answer = await client.post("/api/v1/auth/active-workspace", json={"workspaceId": made[0]["id"]})
    assert answer.status_code == 204
    await refused(client)
    session = (await refreshed(world, session["refreshToken"])).json()
    me = (await as_(world, session["accessToken"]).get("/api/v1/auth/whoami")).json()
    assert me["activeWorkspaceId"] == made[0]["id"]
    assert len(me["workspaces"]) == 3


async def test_nobody_enters_or_sees_the_workspace_of_another_organization(world: World) -> None:
    other = await world.elsewhere()
    answers = [
        await world.owner.api.get(f"/api/v1/workspaces/{other.workspace_id}"),
        await world.owner.api.patch(
            f"/api/v1/workspaces/{other.workspace_id}", json={"name": "Mine"}
        ),
        await world.owner.api.post(
            "/api/v1/auth/active-workspace", json={"workspaceId": str(other.workspace_id)}
        ),
    ]
    assert [answer.status_code for answer in answers] == [404] * 3


@pytest.mark.parametrize(
    ("name", "slug"),
    [
        ("RyTask Demo", "rytask-demo"),
        ("  Zoë & Co.  ", "zoe-co"),
        ("東京", "organization"),
        ("---", "organization"),
        ("a" * 100, "a" * 60),
        ("Ünïcödé 2", "unicode-2"),
    ],
)
def test_a_name_becomes_part_of_an_address(name: str, slug: str) -> None:
    assert rules.slug(name, "organization") == slug


async def test_two_organizations_of_one_name_differ_in_their_slug(world: World) -> None:
    other = await world.elsewhere()
    name = (await world.owner.api.get("/api/v1/orgs/current")).json()["name"]
    await other.owner.api.patch("/api/v1/orgs/current", json={"name": name})
    slugs = [
        (await person.api.get("/api/v1/orgs/current")).json()["slug"]
        for person in (world.owner, other.owner)
    ]
    assert len(set(slugs)) == 2

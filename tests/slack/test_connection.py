"""Connecting Slack, its people and channels, and losing it again."""

import asyncio
import json
import sys
import urllib.request
from datetime import timedelta
from typing import Any
from urllib.parse import parse_qs, urlencode, urlsplit
from uuid import uuid4

import httpx
import pytest

from rytask import app
from rytask.platform.settings import Settings
from tests.fake_slack import FakeSlack, signed
from tests.locks import held, waiting
from tests.slack.conftest import Slack
from tests.world import World, environ

INTEGRATION = "/api/v1/integrations/slack"
SETTINGS = "http://rytask.test/settings/integrations"
_DEMOTED = "UPDATE memberships SET role = 'MEMBER' WHERE org_id = $1 AND user_id = $2"


async def facts(world: World, kind: str) -> list[Any]:
    payloads = await world.database.reader.values(
        "SELECT payload::text FROM events WHERE org_id = $1 AND kind = $2 ORDER BY seq",
        world.org_id,
        kind,
    )
    return [json.loads(payload) for payload in payloads]


async def test_an_admin_connects_a_team(unconnected: Slack) -> None:
    api = unconnected.world.owner.api
    before = (await api.get(INTEGRATION)).json()
    assert before == {
        "status": "not_connected",
        "configured": True,
        "team": None,
        "connectedAt": None,
        "defaultProjectId": None,
    }
    url = urlsplit((await api.get(f"{INTEGRATION}/install")).json()["url"])
    asked = parse_qs(url.query)
    assert url.path == "/oauth/v2/authorize"
    assert asked["redirect_uri"] == ["http://rytask.test/integrations/slack/oauth/callback"]
    scopes = {"commands", "chat:write", "users:read", "users:read.email", "team:read"}
    assert scopes <= set(asked["scope"][0].split(","))

    assert await unconnected.return_from_slack(state=asked["state"][0]) == f"{SETTINGS}?connected=1"
    after = (await api.get(INTEGRATION)).json()
    assert after["status"] == "connected"
    assert after["team"] == {"id": unconnected.fake.team["id"], "name": "Acme"}
    assert after["defaultProjectId"] == str(unconnected.world.project.id)
    (fact,) = await facts(unconnected.world, "slack.connected")
    assert fact["teamName"] == "Acme"


async def test_the_token_is_not_kept_in_clear(slack: Slack) -> None:
    (sealed,) = await slack.world.database.reader.values(
        "SELECT bot_token FROM slack_connections WHERE org_id = $1", slack.world.org_id
    )
    assert b"xoxb" not in sealed


async def test_a_declined_installation_is_said(unconnected: Slack) -> None:
    assert await unconnected.return_from_slack(error="access_denied") == (
        f"{SETTINGS}?error=access_denied"
    )
    assert (
        await unconnected.return_from_slack(error="\r\nx: y") == f"{SETTINGS}?error=slack_refused"
    )


async def test_a_forged_or_old_state_connects_nothing(unconnected: Slack) -> None:
    state = await unconnected.begin()
    for forged in ("", "x", state[:-4], "B" + state[1:], "ÿ"):
        assert (
            await unconnected.return_from_slack(state=forged) == f"{SETTINGS}?error=state_invalid"
        )
    unconnected.world.clock.advance(timedelta(minutes=11))
    assert await unconnected.return_from_slack(state=state) == f"{SETTINGS}?error=state_expired"
    answer = await unconnected.world.owner.api.get(INTEGRATION)
    assert answer.json()["status"] == "not_connected"


async def test_who_is_no_admin_any_more_connects_nothing(unconnected: Slack) -> None:
    admin = await unconnected.world.person("ADMIN")
    state = await unconnected.begin(admin)
    answer = await unconnected.world.owner.api.patch(
        f"/api/v1/memberships/{admin.id}", json={"role": "MEMBER"}
    )
    assert answer.status_code == 200
    assert await unconnected.return_from_slack(state=state) == f"{SETTINGS}?error=not_allowed"


async def test_who_has_signed_out_since_connects_nothing(unconnected: Slack) -> None:
    world = unconnected.world
    account = {"email": world.owner.email, "password": world.owner.password}
    signed_in = (await world.anonymous.post("/api/v1/auth/login", json=account)).json()
    made = (await world.owner.api.post("/api/v1/api-tokens", json={"name": "a script"})).json()
    for secret, out in (
        (made["secret"], f"/api/v1/api-tokens/{made['id']}"),
        (signed_in["accessToken"], "/api/v1/auth/logout"),
    ):
        bearer = {"authorization": f"Bearer {secret}"}
        began = await world.anonymous.get(f"{INTEGRATION}/install", headers=bearer)
        state = parse_qs(urlsplit(began.json()["url"]).query)["state"][0]
        method = "POST" if out.endswith("logout") else "DELETE"
        assert (await world.anonymous.request(method, out, headers=bearer)).status_code == 204
        assert await unconnected.return_from_slack(state=state) == f"{SETTINGS}?error=not_allowed"


async def test_an_admin_who_is_being_demoted_connects_nothing(unconnected: Slack) -> None:
    admin = await unconnected.world.person("ADMIN")
    state = await unconnected.begin(admin)
    async with held(unconnected.world.database, _DEMOTED, admin.actor.org_id, admin.id):
        connecting = asyncio.create_task(unconnected.return_from_slack(state=state))
        await waiting(unconnected.world.database, 1)
    assert await connecting == f"{SETTINGS}?error=not_allowed"


async def test_an_admin_who_is_being_demoted_maps_nobody(slack: Slack) -> None:
    admin, other = await slack.world.person("ADMIN"), await slack.world.person()
    async with held(slack.world.database, _DEMOTED, admin.actor.org_id, admin.id):
        path = f"{INTEGRATION}/users/U1/map"
        mapping = asyncio.create_task(admin.api.post(path, json={"userId": str(other.id)}))
        await waiting(slack.world.database, 1)
    assert (await mapping).status_code == 403


async def test_a_state_connects_once(unconnected: Slack) -> None:
    state, another = await unconnected.begin(), await unconnected.begin()
    assert await unconnected.return_from_slack(state=state) == f"{SETTINGS}?connected=1"
    assert (await unconnected.world.owner.api.delete(INTEGRATION)).status_code == 204
    for used in (state, another):
        assert await unconnected.return_from_slack(state=used) == f"{SETTINGS}?error=state_used"
    assert await unconnected.connect() == f"{SETTINGS}?connected=1"


async def test_a_code_that_slack_does_not_know_connects_nothing(unconnected: Slack) -> None:
    state = await unconnected.begin()
    assert await unconnected.return_from_slack(state=state, code="wrong") == (
        f"{SETTINGS}?error=exchange_failed"
    )
    unconnected.fake.faults.broken = 1.0
    assert await unconnected.connect() == f"{SETTINGS}?error=exchange_failed"


@pytest.mark.parametrize("failed", [{"code": "wrong"}, {"error": "access_denied"}])
async def test_a_state_that_failed_is_used_up_however_it_is_spelled(
    unconnected: Slack, failed: dict[str, str]
) -> None:
    state = await unconnected.begin()
    outcome = await unconnected.return_from_slack(state=state, **failed)
    assert outcome.startswith(f"{SETTINGS}?error=")
    for spelled in (state, state + "=="):
        again = await unconnected.return_from_slack(state=spelled)
        assert again in (f"{SETTINGS}?error=state_used", f"{SETTINGS}?error=state_invalid")


async def test_of_two_who_return_with_one_state_at_once_one_connects(unconnected: Slack) -> None:
    state = await unconnected.begin()
    outcomes = await asyncio.gather(*(unconnected.return_from_slack(state=state) for _ in range(4)))
    assert sorted(outcomes) == [f"{SETTINGS}?connected=1", *[f"{SETTINGS}?error=state_used"] * 3]


async def test_a_team_belongs_to_one_organization_at_a_time(slack: Slack) -> None:
    other = Slack(await slack.world.elsewhere(), slack.fake)
    assert await other.connect() == f"{SETTINGS}?error=team_taken"
    assert (await slack.world.owner.api.delete(INTEGRATION)).status_code == 204
    assert await other.connect() == f"{SETTINGS}?connected=1"
    assert await slack.connect() == f"{SETTINGS}?error=team_taken"


async def test_an_organization_has_one_team_at_a_time(slack: Slack) -> None:
    slack.fake.team = {**slack.fake.team, "id": f"T{uuid4().hex[:12].upper()}"}
    assert await slack.connect() == f"{SETTINGS}?error=other_team_connected"


async def test_connecting_again_goes_on_where_it_was(slack: Slack) -> None:
    command = slack.fake.command("Fix login")
    await slack.send(f"{INTEGRATION}/commands", command)
    await slack.world.owner.api.put(
        f"{INTEGRATION}/channels/C5", json={"projectId": str(slack.world.project.id)}
    )
    assert (await slack.world.owner.api.delete(INTEGRATION)).status_code == 204
    assert await slack.run_all_jobs() == []
    assert await slack.connect() == f"{SETTINGS}?connected=1"
    assert await slack.run_all_jobs() == []
    await slack.send(f"{INTEGRATION}/commands", command)
    await slack.type("Fix logout")
    assert await slack.run_all_jobs() == []
    assert sorted(item["title"] for item in await slack.items()) == ["Fix login", "Fix logout"]
    channels = (await slack.world.owner.api.get(f"{INTEGRATION}/channels")).json()["data"]
    assert [channel["channelId"] for channel in channels] == ["C5"]


async def test_disconnecting_gives_the_token_back_and_keeps_what_was_accepted(slack: Slack) -> None:
    await slack.type("Fix login")
    assert (await slack.world.owner.api.delete(INTEGRATION)).status_code == 204
    assert await slack.run_all_jobs() == []
    assert len(slack.fake.method_calls("auth.revoke")) == 1
    assert len(await slack.items()) == 1
    assert "Fix login" in slack.said()
    assert "isn't connected" in (await slack.type("Fix logout")).json()["text"]
    tokens = await slack.world.database.reader.values(
        "SELECT bot_token FROM slack_connections WHERE org_id = $1", slack.world.org_id
    )
    assert tokens == [None]
    answer = await slack.world.owner.api.delete(INTEGRATION)
    assert (answer.status_code, answer.json()["code"]) == (409, "slack.not_connected")
    (fact,) = await facts(slack.world, "slack.disconnected")
    assert fact["reason"] == "ADMIN"


@pytest.mark.parametrize("fault", ["limited", "broken", "hanging"])
async def test_a_token_is_given_back_even_if_slack_fails_at_first(slack: Slack, fault: str) -> None:
    setattr(slack.fake.faults, fault, 1.0)
    await slack.world.owner.api.delete(INTEGRATION)
    assert await slack.world.run_jobs() != []
    setattr(slack.fake.faults, fault, 0.0)
    await slack.run_all_jobs()
    assert slack.fake.faults.revoked != []


async def test_a_revoked_token_ends_the_connection_and_the_admins_are_told(slack: Slack) -> None:
    admin = await slack.world.person("ADMIN")
    member = await slack.world.person("MEMBER")
    slack.fake.faults.revoked = sorted(slack.fake.tokens)
    url = slack.fake.response_url()
    slack.fake.expire(url)
    await slack.type("Fix login", response_url=url)
    assert await slack.run_all_jobs() == []

    assert len(await slack.items()) == 1
    assert (await admin.api.get(INTEGRATION)).json()["status"] == "not_connected"
    (fact,) = await facts(slack.world, "slack.disconnected")
    assert fact["reason"] == "REVOKED"
    for person, notices in ((slack.world.owner, 1), (admin, 1), (member, 0)):
        inbox = (await person.api.get("/api/v1/notifications")).json()["data"]
        assert [notice["type"] for notice in inbox] == ["SLACK"] * notices
    assert await slack.connect() == f"{SETTINGS}?connected=1"


async def test_deleting_the_organization_gives_the_team_free(slack: Slack) -> None:
    other = Slack(await slack.world.elsewhere(), slack.fake)
    answer = await slack.world.owner.api.delete("/api/v1/orgs/current")
    assert answer.status_code == 204
    assert await slack.run_all_jobs() == []
    assert await other.connect() == f"{SETTINGS}?connected=1"


async def test_people_are_recognised_by_verified_addresses(slack: Slack) -> None:
    sam = await slack.world.person(name="Sam Field")
    stranger = await slack.world.stranger()
    slack.fake.add_user("U1", "sam", sam.email.upper())
    slack.fake.add_user("U2", "olive", slack.world.owner.email, is_email_confirmed=False)
    slack.fake.add_user("U3", "else", stranger.email)
    slack.fake.add_user("U4", "bot", is_bot=True)
    slack.fake.add_user("U5", "gone", deleted=True)
    slack.fake.add_user("U6", "nobody")
    assert await slack.world.run_job("slack.sync_all") == []
    people = (await slack.world.owner.api.get(f"{INTEGRATION}/users")).json()
    assert [(one["slackUserName"], one["mappedUserId"]) for one in people] == [
        ("else", None),
        ("nobody", None),
        ("olive", None),
        ("sam", str(sam.id)),
    ]
    assert people[3] == {
        "slackUserId": "U1",
        "slackUserName": "sam",
        "slackUserEmail": sam.email.upper(),
        "mappedUserId": str(sam.id),
        "mappedManually": False,
    }


async def test_all_people_of_a_large_team_are_read_however_slack_slows_down(slack: Slack) -> None:
    for n in range(450):
        slack.fake.add_user(f"U{n}", f"person{n:03}")
    slack.fake.faults.limited = 0.5
    await slack.world.run_job("slack.sync_all")
    await slack.run_all_jobs()
    people = (await slack.world.owner.api.get(f"{INTEGRATION}/users")).json()
    assert len(people) == 450


async def test_mapping_by_hand_wins_over_addresses(slack: Slack) -> None:
    sam = await slack.world.person(name="Sam Field")
    slack.fake.add_user("U1", "sam", sam.email)
    await slack.world.run_job("slack.sync_all")
    api, path = slack.world.owner.api, f"{INTEGRATION}/users/U1/map"

    answer = await api.post(path, json={"userId": str(slack.world.owner.id)})
    assert answer.status_code == 201
    assert answer.json()["mappedUserId"] == str(slack.world.owner.id)
    await slack.world.run_job("slack.sync_all")
    await slack.type("Of Olive")
    await slack.run_all_jobs()

    assert (await api.delete(path)).status_code == 204
    await slack.world.run_job("slack.sync_all")
    await slack.type("Of nobody")
    await slack.run_all_jobs()
    reporters = {item["title"]: item["reporterId"] for item in await slack.items()}
    assert reporters == {"Of Olive": str(slack.world.owner.id), "Of nobody": None}
    mapped = [fact["userId"] for fact in await facts(slack.world, "slack.user_mapped")]
    assert mapped == [str(slack.world.owner.id), None]


async def test_only_members_can_be_mapped(slack: Slack) -> None:
    slack.fake.add_user("U1", "sam")
    await slack.world.run_job("slack.sync_all")
    stranger = await slack.world.stranger()
    api = slack.world.owner.api
    for user_id in (str(stranger.id), str(uuid4())):
        answer = await api.post(f"{INTEGRATION}/users/U1/map", json={"userId": user_id})
        assert (answer.status_code, answer.json()["code"]) == (422, "slack.unknown_member")
    body = {"userId": str(slack.world.owner.id)}
    assert (await api.post(f"{INTEGRATION}/users/U404/map", json=body)).status_code == 404
    assert (await api.post(f"{INTEGRATION}/users/sam/map", json=body)).status_code == 400


async def test_a_removed_member_reports_nothing(slack: Slack) -> None:
    sam = await slack.world.person()
    slack.fake.add_user("U1", "sam", sam.email)
    await slack.world.run_job("slack.sync_all")
    await slack.world.owner.api.delete(f"/api/v1/memberships/{sam.id}")
    await slack.type("Fix login")
    await slack.run_all_jobs()
    (item,) = await slack.items()
    assert item["reporterId"] is None


async def test_who_captures_unknown_is_looked_up(slack: Slack) -> None:
    slack.fake.add_user("U1", "olive", slack.world.owner.email)
    await slack.type("The first")
    await slack.run_all_jobs()
    await slack.type("The second")
    await slack.run_all_jobs()
    first, second = await slack.items()
    assert (first["reporterId"], second["reporterId"]) == (None, str(slack.world.owner.id))
    assert len(slack.fake.method_calls("users.info")) == 1


async def test_an_unknown_or_foreign_project_is_refused(slack: Slack) -> None:
    other = await slack.world.elsewhere()
    for project_id in (str(other.project.id), str(uuid4())):
        for answer in (
            await slack.world.owner.api.patch(INTEGRATION, json={"defaultProjectId": project_id}),
            await slack.world.owner.api.put(
                f"{INTEGRATION}/channels/C1", json={"projectId": project_id}
            ),
        ):
            assert answer.status_code == 404


async def test_a_channel_can_go_back_to_the_default(slack: Slack) -> None:
    api, path = slack.world.owner.api, f"{INTEGRATION}/channels/C1"
    await api.put(path, json={"projectId": str(slack.world.project.id)})
    assert (await api.delete(path)).status_code == 204
    assert (await api.delete(path)).status_code == 404
    assert (await api.put(f"{INTEGRATION}/channels/general", json={})).status_code == 400


async def test_members_look_and_admins_change(slack: Slack) -> None:
    member = await slack.world.person()
    assert (await member.api.get(INTEGRATION)).status_code == 200
    for answer in (
        await member.api.get(f"{INTEGRATION}/install"),
        await member.api.get(f"{INTEGRATION}/users"),
        await member.api.delete(INTEGRATION),
        await member.api.patch(INTEGRATION, json={}),
    ):
        assert answer.status_code == 403


async def test_response_urls_are_forgotten_and_old_deliveries_too(slack: Slack) -> None:
    slack.fake.faults.broken = 1.0
    await slack.type("Fix login")
    await slack.world.run_jobs()
    kept = "SELECT count(*) FROM slack_captures WHERE org_id = $1"
    for days, response_urls, captures in ((0, 1, 1), (1, 0, 1), (90, 0, 0)):
        slack.world.clock.advance(timedelta(days=days, minutes=1))
        await slack.world.run_job("slack.purge")
        count = slack.world.database.reader.value
        assert await count(kept, slack.world.org_id) == captures
        assert (
            await count(f"{kept} AND response_url IS NOT NULL", slack.world.org_id) == response_urls
        )
    slack.fake.faults.broken = 0.0
    await slack.run_all_jobs()


async def test_a_server_without_a_slack_app_says_so(database_url: str, redis_url: str) -> None:
    variables = environ(database_url, redis_url, 9)
    bare = {name: value for name, value in variables.items() if not name.startswith("SLACK_")}
    async with app.api(Settings.read(bare)) as api:
        transport = httpx.ASGITransport(api.application)
        async with httpx.AsyncClient(transport=transport, base_url="http://test") as client:
            for answer in (
                await client.post(f"{INTEGRATION}/commands"),
                await client.post(f"{INTEGRATION}/interactivity"),
                await client.get("/integrations/slack/oauth/callback"),
            ):
                assert (answer.status_code, answer.json()["code"]) == (404, "slack.not_configured")


async def test_without_the_database_nothing_is_accepted_and_slack_is_told(redis_url: str) -> None:
    settings = Settings.read(environ("postgresql://nobody@127.0.0.1:9/none", redis_url, 9))
    body = FakeSlack().command("Fix login")
    async with app.api(settings) as api:
        transport = httpx.ASGITransport(api.application)
        async with httpx.AsyncClient(transport=transport, base_url="http://test") as client:
            answer = await client.post(
                f"{INTEGRATION}/commands",
                content=body,
                headers=signed(settings.slack_signing_secret[0], body),
            )
    assert answer.status_code == 503
    assert int(answer.headers["retry-after"]) >= 1


async def test_the_stand_in_runs_alone() -> None:
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "tests.fake_slack", stdout=asyncio.subprocess.PIPE
    )
    assert process.stdout is not None
    url = (await process.stdout.readline()).decode().strip()

    def call(path: str, body: bytes | None = None) -> Any:
        with urllib.request.urlopen(f"{url}{path}", body, timeout=5) as answer:  # noqa: S310
            return json.load(answer)

    try:
        faults = await asyncio.to_thread(call, "/_faults", b'{"limited": 0.5}')
        assert faults["limited"] == 0.5
        await asyncio.to_thread(call, "/_faults", b'{"limited": 0}')
        answer = await asyncio.to_thread(call, "/response/T1/1", b'{"text": "hello"}')
        assert answer == {"ok": True}
        seen = await asyncio.to_thread(call, "/_seen")
        assert [message["message"]["text"] for message in seen["messages"]] == ["hello"]
        form = urlencode({"limit": "1"}).encode()
        assert (await asyncio.to_thread(call, "/api/users.list", form))["error"] == "invalid_auth"
    finally:
        process.terminate()
        assert await process.wait() == 0

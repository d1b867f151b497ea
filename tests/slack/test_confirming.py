"""Confirmations and mappings while something else happens."""

from typing import Any

import asyncpg
import pytest
from aiohttp import web

from rytask.modules.identity.events import EmailVerified
from rytask.modules.slack import messages
from tests.slack.conftest import Slack

INTEGRATION = "/api/v1/integrations/slack"


async def test_an_undo_while_its_confirmation_is_being_sent_is_confirmed_too(
    slack: Slack, monkeypatch: pytest.MonkeyPatch
) -> None:
    deliver, pressed = slack.fake._maybe, []

    async def deliver_and_undo(
        request: web.Request, name: str, sent: Any, effect: Any
    ) -> web.StreamResponse:
        """The capturer presses Undo after Slack has shown the message, before it says so."""
        answer = await deliver(request, name, sent, effect)
        if name == "response_url" and not pressed:
            pressed.append(await slack.press(slack.shown().message, messages.UNDO))
        return answer

    monkeypatch.setattr(slack.fake, "_maybe", deliver_and_undo)
    await slack.type("Fix login")
    assert await slack.run_all_jobs() == []
    assert [answer.status_code for answer in pressed] == [200]
    assert await slack.items() == []
    assert "Undone: " in slack.said()
    assert messages.UNDO not in slack.said()


async def test_a_response_url_that_redirects_is_not_followed(
    slack: Slack, monkeypatch: pytest.MonkeyPatch
) -> None:
    elsewhere = slack.fake.response_url()
    used: list[str] = []

    def redirect(id: str, sent: Any) -> web.Response:
        used.append(id)
        return web.Response(status=307, headers={"Location": elsewhere})

    monkeypatch.setattr(slack.fake, "_use", redirect)
    await slack.type("Fix login")
    assert await slack.run_all_jobs() == []
    assert len(used) == 1
    assert not elsewhere.endswith(used[0])
    assert slack.shown().where == "D1", "a direct message instead"


async def test_a_verified_address_does_not_change_what_an_admin_has_said(slack: Slack) -> None:
    sam, kim = await slack.world.person(name="Sam Field"), await slack.world.person(name="Kim")
    api = slack.world.owner.api
    for n, person in enumerate((sam, kim)):
        slack.fake.add_user(f"U{n}", person.name, person.email)
    await slack.world.run_job("slack.sync_all")
    body = {"userId": str(slack.world.owner.id)}
    assert (await api.post(f"{INTEGRATION}/users/U0/map", json=body)).status_code == 201
    assert (await api.delete(f"{INTEGRATION}/users/U1/map")).status_code == 204
    async with slack.world.work.writing(slack.world.owner.actor) as ctx:
        ctx.record(EmailVerified(subject_id=sam.id))
        ctx.record(EmailVerified(subject_id=kim.id))
    assert await slack.world.run_jobs() == []
    people = (await api.get(f"{INTEGRATION}/users")).json()
    assert {one["slackUserId"]: one["mappedUserId"] for one in people} == {
        "U0": str(slack.world.owner.id),
        "U1": None,
    }


async def test_a_capture_that_had_to_wait_too_long_is_tried_again(slack: Slack) -> None:
    holder = await asyncpg.connect(slack.world.settings.database_url)
    held = holder.transaction()
    await held.start()
    await holder.execute(
        "SELECT FROM project_counters WHERE project_id = $1 FOR UPDATE", slack.world.project.id
    )
    try:
        await slack.type("Fix login")
        (error,) = await slack.world.run_jobs()
        assert "Unavailable" in error
    finally:
        await held.rollback()
        await holder.close()
    assert await slack.run_all_jobs() == []
    assert [item["title"] for item in await slack.items()] == ["Fix login"]
    assert "Fix login" in slack.said()

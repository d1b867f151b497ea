"""From a line typed in Slack to one work item and one confirmation."""

import asyncio
from datetime import timedelta
from typing import Any
from urllib.parse import urlencode
from uuid import uuid4

import pytest

from rytask.modules.slack import messages
from tests.fake_slack import signed
from tests.slack.conftest import COMMANDS, INTERACTIVITY, Slack

ON_IT = {
    "response_type": "ephemeral",
    "text": ":hourglass_flowing_sand: On it - capturing...",
}


async def test_a_line_becomes_one_item_and_one_confirmation(slack: Slack) -> None:
    sam = await slack.world.person(name="Sam Field")
    slack.fake.add_user("U1", "olive", slack.world.owner.email)

    answer = await slack.type("Fix login @sam ~2h #bug !high ^2031-05-09")
    assert (answer.status_code, answer.json()) == (200, ON_IT)
    assert await slack.run_all_jobs() == []

    (item,) = await slack.items()
    assert item["title"] == "Fix login"
    assert item["assigneeId"] == str(sam.id)
    assert (item["estimateValue"], item["priority"]) == (2.0, "HIGH")
    assert (item["dueDate"], item["source"]) == ("2031-05-09", "SLACK")
    said = slack.said()
    link = f"<http://rytask.test/work-items/{item['id']}|{item['key']}>"
    assert link in said
    assert "for Sam Field · due Fri 9 May 2031 · 2 h · High" in said
    assert "I did not know" not in said
    assert slack.shown().message["response_type"] == "ephemeral"


async def test_a_delivery_repeated_before_and_after_completion_makes_nothing(slack: Slack) -> None:
    command = slack.fake.command("Fix login", trigger="13345224609.738474920.8088930838d88f")
    answers = await asyncio.gather(*(slack.send(COMMANDS, command) for _ in range(5)))
    await slack.run_all_jobs()
    slack.world.clock.advance(timedelta(days=30))
    await slack.world.run_job("slack.purge")
    answers.append(await slack.send(COMMANDS, command, **signed_now(slack, command)))
    await slack.run_all_jobs()

    assert [answer.json() for answer in answers] == [ON_IT] * 6
    assert len(await slack.items()) == 1
    assert slack.shown().times == 1


def signed_now(slack: Slack, body: bytes) -> dict[str, str]:
    secret = slack.world.settings.slack_signing_secret[0]
    return signed(secret, body, slack.world.clock.now.timestamp())


@pytest.mark.parametrize("late", [0.0, 1.0])
@pytest.mark.parametrize("fault", ["limited", "broken", "hanging"])
async def test_a_slack_that_fails_shows_one_confirmation_all_the_same(
    slack: Slack, fault: str, late: float
) -> None:
    setattr(slack.fake.faults, fault, 1.0)
    slack.fake.faults.late = late
    await slack.type("Fix login")
    assert any("TryAgain" in error for error in await slack.world.run_jobs())
    setattr(slack.fake.faults, fault, 0.0)
    await slack.run_all_jobs()

    assert len(await slack.items()) == 1
    assert "Fix login" in slack.said()


async def test_a_third_of_the_calls_failing_shows_each_confirmation_once(slack: Slack) -> None:
    faults = slack.fake.faults
    faults.limited, faults.broken, faults.hanging, faults.late = 0.1, 0.1, 0.1, 0.5
    for n in range(20):
        await slack.type(f"Task number {n}", user=f"U{n % 3}")
        await slack.submit(form(), title={"value": f"Form number {n}"})
    await slack.run_all_jobs()

    items = await slack.items()
    assert len(items) == 40
    shown = [message.message["text"] for message in slack.fake.seen]
    assert sorted(shown) == sorted(f"{item['key']} {item['title']}" for item in items)


def form(**more: str) -> dict[str, Any]:
    """A form as Slack sends it back."""
    return {
        "id": f"V{uuid4().hex[:10].upper()}",
        "callback_id": messages.MODAL,
        "private_metadata": "{}",
        **more,
    }


async def test_slack_is_asked_again_only_when_it_wants_to(slack: Slack) -> None:
    slack.fake.faults.limited, slack.fake.faults.retry_after = 1.0, 77
    await slack.type("Fix login")
    await slack.world.run_jobs()
    wait = await slack.world.database.reader.value(
        "SELECT extract(epoch FROM due_at - now())::float8 FROM jobs"
        " WHERE org_id = $1 AND name = 'slack.confirm'",
        slack.world.org_id,
    )
    assert 70 < wait < 79
    slack.fake.faults.limited = 0.0
    await slack.run_all_jobs()


async def test_unknown_names_do_not_fail_a_capture_and_are_told(slack: Slack) -> None:
    await slack.type("Fix login @nobody ^fryday")
    await slack.run_all_jobs()
    (item,) = await slack.items()
    assert item["title"] == "Fix login @nobody ^fryday"
    assert "I did not know `@nobody`, `^fryday`: still in the title. Only members" in slack.said()


async def test_a_mention_assigns_whoever_is_meant(slack: Slack) -> None:
    dana = await slack.world.person(name="Dana Scully")
    slack.fake.add_user("U7", "spooky", dana.email.upper())
    await slack.world.run_job("slack.sync_all")
    await slack.type("Review &lt;this&gt; <@U7|spooky> in <#C2|ops> &amp; <https://a.test|a.test>")
    await slack.run_all_jobs()
    (item,) = await slack.items()
    assert item["assigneeId"] == str(dana.id)
    assert item["title"] == "Review <this> in & https://a.test".replace("https://a.test", "a.test")


async def test_who_is_linked_is_the_reporter_and_who_is_not_is_told(slack: Slack) -> None:
    slack.fake.add_user("U1", "olive", slack.world.owner.email)
    await slack.world.run_job("slack.sync_all")
    await slack.type("Mine", user="U1")
    await slack.type("Whose", user="U2")
    await slack.run_all_jobs()
    mine, whose = await slack.items()
    assert (mine["reporterId"], whose["reporterId"]) == (str(slack.world.owner.id), None)
    hints = ["not linked" in str(message.message) for message in slack.fake.seen]
    assert sorted(hints) == [False, True]


async def test_a_capture_goes_to_the_project_of_its_channel(slack: Slack) -> None:
    slack.fake.add_user("U1", "olive", slack.world.owner.email)
    await slack.world.run_job("slack.sync_all")
    made = await slack.world.owner.api.post(
        "/api/v1/projects", json={"name": "Operations", "keyPrefix": "OPS"}
    )
    ops = made.json()["data"]["id"]
    path = "/api/v1/integrations/slack/channels/C77"
    answer = await slack.world.owner.api.put(path, json={"projectId": ops})
    assert answer.json() == {"data": {"channelId": "C77", "projectId": ops}}
    await slack.type("There", channel="C77")
    await slack.type("Here", channel="C78")
    await slack.type("There too +OPS", channel="C78")
    await slack.run_all_jobs()
    assert [item["key"].split("-")[0] for item in await slack.items()].count("OPS") == 2


async def test_without_a_project_the_capturer_hears_who_must_choose(slack: Slack) -> None:
    await slack.world.owner.api.patch("/api/v1/integrations/slack", json={"defaultProjectId": None})
    await slack.type("Fix login & more")
    assert await slack.run_all_jobs() == []
    assert await slack.items() == []
    said = slack.said()
    assert "Not captured: nobody has chosen a project" in said
    assert ">Fix login" in said


async def test_only_markers_are_refused_and_the_capturer_hears_why(slack: Slack) -> None:
    await slack.type("#bug !high")
    assert await slack.run_all_jobs() == []
    assert await slack.items() == []
    assert (await slack.world.owner.api.get("/api/v1/labels")).json()["data"] == []
    assert "an item needs a title" in slack.said()


async def test_an_archived_project_is_refused_and_the_capturer_hears_why(slack: Slack) -> None:
    path = f"/api/v1/projects/{slack.world.project.id}"
    answer = await slack.world.owner.api.patch(path, json={"archived": True})
    assert answer.status_code == 200
    await slack.type("Fix login")
    assert await slack.run_all_jobs() == []
    assert "archived" in slack.said()


async def test_what_is_too_long_for_a_title_is_in_the_description(slack: Slack) -> None:
    line = "word " * 150 + "!urgent"
    await slack.type(f"{line}\nand more")
    await slack.run_all_jobs()
    (item,) = await slack.items()
    assert len(item["title"]) <= 500
    assert item["priority"] == "URGENT"
    assert item["description"] == f"{line}\nand more"


async def test_what_is_far_too_long_is_refused_at_once(slack: Slack) -> None:
    answer = await slack.type("x" * 10_001)
    assert "too long" in answer.json()["text"]
    await slack.run_all_jobs()
    assert await slack.items() == []


async def test_an_expired_response_url_is_replaced_by_a_direct_message(slack: Slack) -> None:
    url = slack.fake.response_url()
    slack.fake.expire(url)
    await slack.type("Fix login", response_url=url)
    await slack.run_all_jobs()
    assert slack.shown().where == "D1"
    assert "Fix login" in slack.said()


async def test_a_response_url_that_is_no_proper_one_is_not_called(slack: Slack) -> None:
    await slack.type("Fix login", response_url="file:///etc/passwd")
    await slack.run_all_jobs()
    assert slack.shown().where == "D1"


async def test_an_app_without_the_permission_to_look_still_confirms(slack: Slack) -> None:
    slack.fake.faults.scopes_missing = ["conversations.open"]
    await slack.submit(form(), title={"value": "Fix login"})
    await slack.run_all_jobs()
    assert slack.shown().where == "U1"


async def test_help_is_whispered(slack: Slack) -> None:
    answer = await slack.type("help")
    assert answer.json()["response_type"] == "ephemeral"
    assert "@sam" in answer.json()["text"]
    await slack.run_all_jobs()
    assert await slack.items() == []


async def test_a_command_without_text_opens_the_form(slack: Slack) -> None:
    answer = await slack.type("  ", channel="C9")
    assert (answer.status_code, answer.content) == (200, b"")
    (view,) = slack.fake.views
    answer = await slack.submit(
        view,
        title={"value": "Fix login ~2h"},
        description={"value": "It fails."},
        priority={"selected_option": {"value": "HIGH"}},
        due={"selected_date": "2031-05-09"},
    )
    assert (answer.status_code, answer.content) == (200, b"")
    await slack.submit(view, title={"value": "Fix login ~2h"})
    await slack.run_all_jobs()
    (item,) = await slack.items()
    assert (item["title"], item["description"]) == ("Fix login", "It fails.")
    assert (item["priority"], item["dueDate"]) == ("HIGH", "2031-05-09")
    assert item["estimateValue"] == 2.0
    assert slack.shown().where == "D1"


async def test_a_form_that_slack_does_not_open_is_told(slack: Slack) -> None:
    answer = await slack.type("", trigger="expired")
    assert answer.json()["text"].startswith("Slack did not open the form in time")


async def test_a_form_without_a_title_stays_open(slack: Slack) -> None:
    answer = await slack.submit(form(), title={"value": " \t"})
    assert answer.json() == {
        "response_action": "errors",
        "errors": {"title": "A title is needed."},
    }


async def test_a_message_becomes_an_item_that_links_to_it(slack: Slack) -> None:
    answer = await slack.interact(
        "message_action",
        callback_id="capture_message",
        trigger_id="t1",
        response_url=slack.fake.response_url(),
        channel={"id": "C5", "name": "general"},
        message={
            "ts": "1700000000.000100",
            "text": "Login &amp; logout fail\nfor <https://a.test|everybody>",
        },
    )
    assert (answer.status_code, answer.content) == (200, b"")
    (view,) = slack.fake.views
    inputs = {block["block_id"]: block["element"] for block in view["blocks"]}
    assert inputs["title"]["initial_value"] == "Login & logout fail"
    assert inputs["description"]["initial_value"] == "for everybody (https://a.test)"
    await slack.submit(
        view,
        title={"value": inputs["title"]["initial_value"]},
        description={"value": inputs["description"]["initial_value"]},
    )
    await slack.run_all_jobs()
    (item,) = await slack.items()
    assert item["title"] == "Login & logout fail"
    assert item["description"] == (
        "for everybody (https://a.test)\n\nhttps://acme.slack.com/archives/C5/p1700000000000100"
    )


async def test_a_shortcut_that_slack_does_not_open_fails_visibly(slack: Slack) -> None:
    answer = await slack.interact(
        "message_action", callback_id="capture_message", trigger_id="expired"
    )
    assert answer.status_code == 503


async def test_the_capturer_undoes_and_nobody_else(slack: Slack) -> None:
    await slack.type("Fix login", user="U1")
    await slack.run_all_jobs()
    shown = slack.shown().message
    answer = await slack.press(shown, messages.UNDO, user="U2")
    assert "Only whoever captured it" in answer.json()["text"]
    await slack.run_all_jobs()
    assert len(await slack.items()) == 1

    for _ in range(2):
        answer = await slack.press(shown, messages.UNDO, user="U1")
        assert (answer.status_code, answer.content) == (200, b"")
    assert await slack.run_all_jobs() == []
    assert await slack.items() == []
    assert "Undone: " in slack.said()
    assert messages.UNDO not in slack.said()


async def test_undoing_what_somebody_deleted_is_no_error(slack: Slack) -> None:
    await slack.type("Fix login")
    await slack.run_all_jobs()
    (item,) = await slack.items()
    await slack.world.owner.api.delete(f"/api/v1/work-items/{item['id']}")
    await slack.press(slack.shown().message, messages.UNDO)
    assert await slack.run_all_jobs() == []
    assert "Undone: " in slack.said()


async def test_an_undo_from_another_team_is_refused(slack: Slack) -> None:
    await slack.type("Fix login")
    await slack.run_all_jobs()
    shown, team = slack.shown().message, slack.fake.team
    slack.fake.team = {**team, "id": "TOTHER"}
    answer = await slack.press(shown, messages.UNDO)
    assert "Only whoever" in answer.json()["text"]
    assert len(await slack.items()) == 1


async def test_other_buttons_and_interactions_are_ignored(slack: Slack) -> None:
    await slack.type("Fix login")
    await slack.run_all_jobs()
    for answer in (
        await slack.press(slack.shown().message, "open_item"),
        await slack.interact("view_closed"),
        await slack.interact("view_submission", view={"id": "V1", "callback_id": "another"}),
        await slack.interact("message_action", callback_id="another"),
    ):
        assert (answer.status_code, answer.content) == (200, b"")
    assert len(await slack.items()) == 1


async def test_a_team_that_is_not_connected_is_told_so(unconnected: Slack) -> None:
    for text in ("Fix login", ""):
        answer = await unconnected.type(text)
        assert answer.status_code == 200
        assert "isn't connected" in answer.json()["text"]
    answer = await unconnected.submit(form(), title={"value": "Fix login"})
    assert "isn't connected" in answer.json()["errors"]["title"]
    assert await unconnected.items() == []


async def test_forged_and_stale_deliveries_are_refused(slack: Slack) -> None:
    body = slack.fake.command("Fix login")
    secret, previous = slack.world.settings.slack_signing_secret
    now = slack.world.clock.now.timestamp()
    for path in (COMMANDS, INTERACTIVITY):
        for headers in (
            {},
            signed("another secret", body),
            signed(secret, body, now - 301),
            signed(secret, body, now + 400),  # far enough for a slow test
            signed(secret, b"x" + body),
        ):
            answer = await slack.world.anonymous.post(path, content=body, headers=headers)
            assert answer.status_code == 401
            assert answer.json()["code"] == "slack.bad_signature"
    answer = await slack.world.anonymous.post(
        COMMANDS, content=body, headers=signed(previous, body)
    )
    assert answer.json() == ON_IT
    await slack.run_all_jobs()
    assert len(await slack.items()) == 1


@pytest.mark.parametrize(
    ("path", "body"),
    [
        (COMMANDS, b""),
        (COMMANDS, b"text=Fix"),
        (COMMANDS, urlencode({"team_id": "T", "user_id": "U", "trigger_id": "x" * 256}).encode()),
        (COMMANDS, b"&".join(b"a=1" for _ in range(200))),
        (INTERACTIVITY, b""),
        (INTERACTIVITY, b"payload=nothing"),
        (INTERACTIVITY, b"payload=[]"),
        (INTERACTIVITY, urlencode({"payload": "[" * 50_000}).encode()),
        (INTERACTIVITY, urlencode({"payload": '{"type":"block_actions"}'}).encode()),
        (
            INTERACTIVITY,
            urlencode(
                {
                    "payload": '{"type":"view_submission","user":{"id":"U1"},'
                    '"view":{"id":"V1","callback_id":"capture","private_metadata":"no"}}'
                }
            ).encode(),
        ),
        (
            INTERACTIVITY,
            urlencode(
                {
                    "payload": '{"type":"block_actions","user":{"id":"U1"},'
                    '"actions":[{"action_id":"undo_capture","value":"42"}]}'
                }
            ).encode(),
        ),
    ],
)
async def test_what_is_signed_and_makes_no_sense_is_a_clear_refusal(
    slack: Slack, path: str, body: bytes
) -> None:
    answer = await slack.send(path, body)
    assert answer.status_code == 400, answer.text
    assert answer.headers["content-type"] == "application/problem+json"


async def test_a_body_over_a_mebibyte_is_refused(slack: Slack) -> None:
    answer = await slack.send(COMMANDS, b"text=" + b"x" * 2**20)
    assert answer.status_code == 413


async def test_ugly_text_is_captured(slack: Slack) -> None:
    for ugly in ("Fix\x00login", "Fix \ud83d\ude80 login", "Fix %ED%A0%80", "Ｆｉｘ ‮login"):
        text = ugly.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
        answer = await slack.type(text, user_name="s\x00m")
        assert answer.json() == ON_IT, ugly
    assert await slack.run_all_jobs() == []
    assert len(await slack.items()) == 4

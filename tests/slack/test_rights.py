"""What somebody may do through Slack: what they may do here, and without an account hardly more."""

from datetime import timedelta
from typing import Any
from uuid import UUID

import pytest

from rytask.modules.slack import messages
from tests.slack.conftest import Slack
from tests.world import Person

SECRET = "SECRET"


@pytest.fixture
async def private(slack: Slack) -> UUID:
    """A project that only the owner and admins see, with one item."""
    api = slack.world.owner.api
    made = await api.post("/api/v1/projects", json={"name": "Private", "keyPrefix": SECRET})
    project_id = made.json()["data"]["id"]
    await api.post("/api/v1/work-items", json={"projectId": project_id, "title": "Hush"})
    return UUID(project_id)


async def linked(slack: Slack, slack_user_id: str, person: Person) -> None:
    """Somebody in Slack is known to be a member."""
    slack.fake.add_user(slack_user_id, person.name.lower(), person.email)
    await slack.world.run_job("slack.sync_all")


async def captured(slack: Slack, text: str, **more: str) -> dict[str, Any]:
    """The item that a line became."""
    before = {item["id"] for item in await slack.items()}
    await slack.type(text, **more)
    assert await slack.run_all_jobs() == []
    (item,) = [item for item in await slack.items() if item["id"] not in before]
    return item


async def test_a_guest_is_refused_and_told_who_can_help(slack: Slack, private: UUID) -> None:
    await linked(slack, "U7", await slack.world.person("GUEST"))
    before = len(await slack.items())
    await slack.type("x +SECRET >SECRET-1 @olive #new", user="U7")
    await slack.type("y", user="U7")
    assert await slack.run_all_jobs() == []
    assert len(await slack.items()) == before
    assert (await slack.world.owner.api.get("/api/v1/labels")).json()["data"] == []
    for message in slack.fake.seen:
        assert "Not captured: your role, GUEST," in message.message["text"]
        assert "admin of your organization" in message.message["text"]


async def test_without_an_account_a_line_stays_in_the_project_of_its_channel(
    slack: Slack, private: UUID
) -> None:
    item = await captured(slack, "x +SECRET >SECRET-1 @olive #new", user="U9")
    assert item["projectId"] == str(slack.world.project.id)
    assert item["title"] == "x +SECRET >SECRET-1"
    assert (item["parentId"], item["reporterId"]) == (None, None)
    assert item["assigneeId"] == str(slack.world.owner.id)


async def test_without_an_account_the_names_of_the_own_project_count(slack: Slack) -> None:
    prefix = slack.world.project.key_prefix
    parent = await captured(slack, "Parent", user="U9")
    item = await captured(slack, f"Child +{prefix} >{parent['key']}", user="U9")
    assert (item["title"], item["parentId"]) == ("Child", parent["id"])


async def test_a_confirmation_does_not_tell_which_prefixes_exist(
    slack: Slack, private: UUID
) -> None:
    await linked(slack, "U7", await slack.world.person("MEMBER"))
    said = []
    for user in ("U7", "U9"):
        for prefix in ("SECRET", "NOSUCH"):
            slack.fake.seen.clear()
            item = await captured(slack, f"x +{prefix} >{prefix}-1", user=user)
            said.append(_anonymous(slack, prefix, item["key"], item["id"]))
    assert said[0] == said[1]
    assert said[2] == said[3]


def _anonymous(slack: Slack, *names: str) -> str:
    """What is said, without these names and the id of the capture."""
    said = slack.said()
    for block in slack.shown().message["blocks"]:
        for element in block.get("elements", []):
            said = said.replace(str(element.get("value")), "")
    for name in names:
        said = said.replace(name, "")
    return said


async def test_a_member_captures_into_the_projects_that_are_theirs(
    slack: Slack, private: UUID
) -> None:
    person = await slack.world.person("MEMBER")
    await linked(slack, "U7", person)
    member = {"userId": str(person.id), "role": "MEMBER"}
    await slack.world.owner.api.post(f"/api/v1/projects/{private}/members", json=member)
    item = await captured(slack, "x +SECRET >SECRET-1", user="U7")
    assert (item["projectId"], item["reporterId"]) == (str(private), str(person.id))


async def test_a_member_outside_of_the_channels_project_is_refused_kindly(
    slack: Slack, private: UUID
) -> None:
    await linked(slack, "U7", await slack.world.person("MEMBER"))
    await slack.world.owner.api.put(
        "/api/v1/integrations/slack/channels/C5", json={"projectId": str(private)}
    )
    before = len(await slack.items())
    await slack.type("x", user="U7", channel="C5")
    assert await slack.run_all_jobs() == []
    assert len(await slack.items()) == before
    assert "Not captured: you are not in the project" in slack.shown().message["text"]


async def test_a_viewer_of_the_project_is_refused_kindly(slack: Slack) -> None:
    await linked(slack, "U7", await slack.world.person("MEMBER", project_role="VIEWER"))
    await slack.type("x", user="U7")
    assert await slack.run_all_jobs() == []
    assert await slack.items() == []
    assert "yours is VIEWER" in slack.shown().message["text"]


async def test_an_undo_needs_the_rights_that_the_capturer_has_now(slack: Slack) -> None:
    person = await slack.world.person("MEMBER")
    await linked(slack, "U7", person)
    await captured(slack, "x", user="U7")
    await slack.world.owner.api.delete(
        f"/api/v1/projects/{slack.world.project.id}/members/{person.id}"
    )
    answer = await slack.press(slack.shown().message, messages.UNDO, user="U7")
    assert answer.status_code == 200
    assert await slack.run_all_jobs() == []
    assert len(await slack.items()) == 1
    assert "cannot be undone from here" in slack.said()
    assert messages.UNDO not in slack.said()


async def test_an_undo_by_somebody_without_an_account_takes_their_item_back(slack: Slack) -> None:
    await captured(slack, "x", user="U9")
    await slack.press(slack.shown().message, messages.UNDO, user="U9")
    assert await slack.run_all_jobs() == []
    assert await slack.items() == []


async def test_after_a_day_an_undo_says_where_the_item_can_be_deleted(slack: Slack) -> None:
    await captured(slack, "x", user="U9")
    shown = slack.shown().message
    slack.world.clock.advance(timedelta(hours=25))
    answer = await slack.press(shown, messages.UNDO, user="U9")
    assert answer.status_code == 200, answer.text
    assert await slack.run_all_jobs() == []
    assert len(await slack.items()) == 1
    assert "24 hours" in slack.said()
    assert messages.UNDO not in slack.said()


async def test_an_undo_within_a_day_still_works(slack: Slack) -> None:
    await captured(slack, "x", user="U9")
    slack.world.clock.advance(timedelta(hours=23))
    await slack.press(slack.shown().message, messages.UNDO, user="U9")
    assert await slack.run_all_jobs() == []
    assert await slack.items() == []

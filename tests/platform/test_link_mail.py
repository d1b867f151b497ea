"""Letters, with and without a mail server."""

from dataclasses import replace
from uuid import uuid4

import msgspec
import pytest
from structlog.testing import capture_logs
from tests.world import World

from rytask.platform.jobs import TryAgain
from rytask.platform.link_mail import LinkMail, send_link_mail
from rytask.platform.mail import Mailer

LETTER = LinkMail(
    id=uuid4(), to="ada@example.com", subject="Hi", text="Look:", link="http://rytask.test/secret"
)


@pytest.mark.parametrize("allowed", [False, True])
async def test_without_a_mail_server_the_link_is_logged_only_where_that_is_allowed(
    world: World, allowed: bool
) -> None:
    settings = msgspec.structs.replace(world.settings, log_mail_links=allowed)
    with capture_logs() as logs:
        await send_link_mail(replace(world.tools, mailer=None, settings=settings), LETTER)
    (line,) = logs
    assert (line["event"], line["to"]) == ("mail.not_configured", "ada@example.com")
    assert ("secret" in str(line)) is allowed


async def test_a_mail_server_that_is_away_is_asked_again(world: World) -> None:
    mailer = Mailer.read("smtp://127.0.0.1:9?starttls=never", "rytask@rytask.test")
    with pytest.raises(TryAgain):
        await send_link_mail(replace(world.tools, mailer=mailer), LETTER)


async def test_a_letter_arrives_with_its_link(world: World) -> None:
    letter = msgspec.structs.replace(LETTER, to=f"{uuid4().hex}@example.com")
    await send_link_mail(world.tools, letter)
    (mail,) = [mail for mail in world.mails if mail.to == letter.to]
    assert letter.link in mail.content

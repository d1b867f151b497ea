from rytask.modules.slack import service
from rytask.modules.slack.model import Connection
from tests.slack.conftest import Slack


async def connection_of(slack: Slack) -> Connection:
    (own,) = [
        connection
        for connection in await service.every_connection(slack.world.database.reader)
        if connection.org_id == slack.world.org_id
    ]
    return own


async def test_a_connection_whose_token_slack_takes_has_no_trouble(slack: Slack) -> None:
    await slack.connect()
    connection = await connection_of(slack)
    assert await service.connection_problem(slack.world.settings, connection, online=True) is None


async def test_a_token_that_slack_has_revoked_is_seen_when_slack_is_asked(slack: Slack) -> None:
    await slack.connect()
    connection = await connection_of(slack)
    slack.fake.faults.revoked += slack.fake.tokens
    settings = slack.world.settings
    assert await service.connection_problem(settings, connection, online=False) is None
    said = await service.connection_problem(settings, connection, online=True)
    assert said == "Slack does not take its token any more (token_revoked)"

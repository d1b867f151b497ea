"""The storm in its shortest form, as part of every test run: right or wrong, at any speed."""

from tests.chaos import storm
from tests.chaos.installation import Installation
from tests.chaos.report import Report


async def test_each_accepted_command_makes_one_item_and_one_confirmation_whatever_dies() -> None:
    report = Report()
    async with Installation.running() as installation:
        await storm.prove(report, installation, storm.SHORT, timed=False)
    assert report.broken == []

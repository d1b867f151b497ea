"""People are told what is due: each once, in the morning of their own zone, on working days."""

import asyncio
import random
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from typing import NamedTuple
from uuid import UUID
from zoneinfo import ZoneInfo

import msgspec
import pytest
from tests.notifications.inboxes import (
    change_item,
    inbox,
    live_in,
    notified_kinds,
    put_item,
    unread,
    work_on,
)
from tests.world import Person, World

from rytask.modules.notifications import jobs, queries, rules
from rytask.platform.ids import UserId

# 2026: 1 June is a Monday.
MONDAY = date(2026, 6, 1)
EVERY_DAY = range(7)


def at(day: date, clock: str = "09:00", zone: str = "UTC") -> datetime:
    return datetime.combine(day, time.fromisoformat(clock), ZoneInfo(zone))


def june(day: int) -> date:
    return date(2026, 6, day)


async def scan_at(world: World, moment: datetime) -> None:
    world.clock.set(moment)
    async with world.tools.transaction(world.org_id) as ctx:
        await jobs.scan(ctx, world.org_id)


async def test_the_assignee_and_the_watchers_are_told_what_is_due_soon(world: World) -> None:
    sam, wendy, other = [await world.person() for _ in range(3)]
    item = await put_item(world, due=june(3), assignee=sam, watchers=[wendy])
    await scan_at(world, at(MONDAY))
    for person in (sam, wendy):
        [notice] = await inbox(person)
        assert (notice["type"], notice["entityId"]) == ("DUE_SOON", str(item))
        assert notice["payload"]["dueDate"] == "2026-06-03"
        assert notice["payload"]["title"] == "Water the plants"
        assert notice["payload"]["key"].startswith(world.project.key_prefix)
        assert notice["payload"]["projectId"] == str(world.project.id)
        assert notice["payload"]["projectName"]
    assert await notified_kinds(other) == []


async def test_whoever_is_assignee_and_watcher_is_told_once(world: World) -> None:
    sam = await world.person()
    await put_item(world, due=june(2), assignee=sam, watchers=[sam])
    await scan_at(world, at(MONDAY))
    assert await notified_kinds(sam) == ["DUE_SOON"]


@pytest.mark.parametrize(
    ("due", "kinds"),
    [
        (june(4), []),
        (june(3), ["DUE_SOON"]),
        (june(1), ["DUE_SOON"]),
        (date(2026, 5, 31), ["OVERDUE"]),
        (date(2024, 5, 31), ["OVERDUE"]),
        (None, []),
    ],
)
async def test_soon_is_within_two_days_and_the_day_itself_is_not_over(
    world: World, due: date | None, kinds: list[str]
) -> None:
    sam = await world.person()
    await put_item(world, due=due, assignee=sam)
    await scan_at(world, at(MONDAY))
    assert await notified_kinds(sam) == kinds


async def test_what_is_overdue_is_said_every_seven_days_until_it_is_done(world: World) -> None:
    await work_on(world, EVERY_DAY)
    sam = await world.person()
    item = await put_item(world, due=june(1), assignee=sam)
    days = []
    for day in range(1, 27):
        if day == 20:
            await change_item(world, item, closed_at=at(june(20)))
        before = len(await inbox(sam))
        await scan_at(world, at(june(day), "09:05"))
        if len(await inbox(sam)) > before:
            days.append(day)
    assert days == [1, 2, 9, 16]
    assert Counter(await notified_kinds(sam)) == {"DUE_SOON": 1, "OVERDUE": 3}


async def test_a_new_due_date_is_told_anew(world: World) -> None:
    sam = await world.person()
    item = await put_item(world, due=june(2), assignee=sam)
    await scan_at(world, at(june(1)))
    await change_item(world, item, due_date=june(4))
    await scan_at(world, at(june(2)))
    await scan_at(world, at(june(3)))
    assert await notified_kinds(sam) == ["DUE_SOON", "DUE_SOON"]


@pytest.mark.parametrize(
    "gone", [{"closed_at": at(MONDAY)}, {"deleted_at": at(MONDAY)}, {"assignee_id": None}]
)
async def test_nothing_is_said_that_is_not_true_any_more(
    world: World, gone: Mapping[str, object]
) -> None:
    sam = await world.person()
    item = await put_item(world, due=june(1), assignee=sam)
    await change_item(world, item, **gone)
    await scan_at(world, at(MONDAY))
    assert await notified_kinds(sam) == []


async def test_only_who_can_see_the_project_is_told(world: World) -> None:
    outsider = await world.person(project_role=None)
    admin = await world.person("ADMIN", project_role=None)
    await put_item(world, due=june(1), assignee=outsider, watchers=[admin])
    await scan_at(world, at(MONDAY))
    assert await notified_kinds(outsider) == []
    assert await notified_kinds(admin) == ["DUE_SOON"]


async def test_who_was_removed_is_not_told(world: World) -> None:
    sam = await world.person()
    await put_item(world, due=june(1), assignee=sam)
    async with world.database.transaction() as tx:
        await tx.execute(
            "UPDATE memberships SET deactivated_at = now() WHERE org_id = $1 AND user_id = $2",
            world.org_id,
            sam.id,
        )
    await scan_at(world, at(MONDAY))
    assert await notified_kinds(sam) == []


async def test_archived_projects_are_quiet(world: World) -> None:
    sam = await world.person()
    await put_item(world, due=june(1), assignee=sam)
    async with world.database.transaction() as tx:
        await tx.execute(
            "UPDATE projects SET archived_at = now() WHERE org_id = $1 AND id = $2",
            world.org_id,
            world.project.id,
        )
    await scan_at(world, at(MONDAY))
    assert await notified_kinds(sam) == []


async def test_nobody_is_told_before_their_own_hour(world: World) -> None:
    early, late = await world.person(), await world.person()
    await live_in(world, early, "Asia/Kolkata", "07:15")
    await live_in(world, late, "America/Los_Angeles")
    await put_item(world, due=june(2), assignee=early, watchers=[late])
    await scan_at(world, at(MONDAY, "07:14", "Asia/Kolkata"))
    assert await notified_kinds(early) == []
    await scan_at(world, at(MONDAY, "07:15", "Asia/Kolkata"))
    assert await notified_kinds(early) == ["DUE_SOON"]
    await scan_at(world, at(MONDAY, "08:59", "America/Los_Angeles"))
    assert await notified_kinds(late) == []
    await scan_at(world, at(MONDAY, "09:00", "America/Los_Angeles"))
    assert await notified_kinds(late) == ["DUE_SOON"]


async def test_a_person_without_a_zone_lives_in_that_of_the_organization(world: World) -> None:
    sam = await world.person()
    await work_on(world, EVERY_DAY, "Pacific/Auckland")
    await put_item(world, due=june(2), assignee=sam)
    await scan_at(world, at(MONDAY, "08:59", "Pacific/Auckland"))
    assert await notified_kinds(sam) == []
    await scan_at(world, at(MONDAY, "09:01", "Pacific/Auckland"))
    assert await notified_kinds(sam) == ["DUE_SOON"]


async def test_a_zone_that_does_not_exist_stops_nobody(world: World) -> None:
    lost, sam = await world.person(), await world.person()
    await work_on(world, EVERY_DAY, "Atlantis/Capital")
    await live_in(world, lost, "Mars/Olympus_Mons")
    await put_item(world, due=june(2), assignee=lost, watchers=[sam])
    await scan_at(world, at(MONDAY, "09:00"))
    assert (await notified_kinds(lost), await notified_kinds(sam)) == (["DUE_SOON"], ["DUE_SOON"])


async def test_on_a_free_day_news_wait_for_the_next_working_day(world: World) -> None:
    sam = await world.person()
    await put_item(world, due=june(5), assignee=sam, watchers=[])
    await put_item(world, due=june(8), assignee=sam)
    for day in (6, 7):
        await scan_at(world, at(june(day), "12:00"))
        assert await notified_kinds(sam) == []
    await scan_at(world, at(june(8)))
    assert sorted(await notified_kinds(sam)) == ["DUE_SOON", "OVERDUE"]


async def test_a_missed_scan_is_caught_up_once(world: World) -> None:
    await work_on(world, EVERY_DAY)
    sam = await world.person()
    await put_item(world, due=june(1), assignee=sam)
    await scan_at(world, at(june(1)))
    assert await notified_kinds(sam) == ["DUE_SOON"]
    await scan_at(world, at(june(25), "17:40"))
    assert await notified_kinds(sam) == ["OVERDUE", "DUE_SOON"]
    await scan_at(world, at(june(25), "17:45"))
    await scan_at(world, at(june(26), "08:00"))
    assert await notified_kinds(sam) == ["OVERDUE", "DUE_SOON"]


async def test_an_hour_just_before_midnight_is_not_missed(world: World) -> None:
    owl = await world.person()
    await live_in(world, owl, "Europe/Berlin", "23:59")
    await put_item(world, due=june(2), assignee=owl)
    await scan_at(world, at(MONDAY, "23:55", "Europe/Berlin"))
    assert await notified_kinds(owl) == []
    await scan_at(world, at(june(2), "00:04", "Europe/Berlin"))
    assert await notified_kinds(owl) == ["DUE_SOON"]
    assert await scanned_on(world, owl) == MONDAY


async def scanned_on(world: World, person: Person) -> date | None:
    return await world.database.reader.value(
        "SELECT scanned_on FROM notification_scans WHERE org_id = $1 AND user_id = $2",
        world.org_id,
        person.id,
    )


@pytest.mark.parametrize(
    ("first", "hour"),
    [
        pytest.param(date(2027, 3, 27), "02:30", id="an hour that does not exist"),
        pytest.param(date(2026, 10, 24), "02:30", id="an hour that comes twice"),
    ],
)
async def test_every_day_has_one_hour_when_the_clocks_change(
    world: World, first: date, hour: str
) -> None:
    await work_on(world, EVERY_DAY)
    sam = await world.person()
    await live_in(world, sam, "Europe/Berlin", hour)
    moment, days = at(first, "00:00", "Europe/Berlin").astimezone(UTC), Counter[date]()
    for _ in range(3 * 24 * 6):
        moment += timedelta(minutes=10)
        async with world.database.transaction() as tx:
            for scanned in await queries.claim_scans(
                tx, world.org_id, rules.local_times(moment), limit=100
            ):
                if scanned.user_id == sam.id:
                    assert moment.astimezone(ZoneInfo("Europe/Berlin")).date() == scanned.today
                    days[scanned.today] += 1
    assert days == {first + timedelta(days=n): 1 for n in range(3)}


async def test_the_scheduled_job_scans_every_organization_where_it_is_time(world: World) -> None:
    sam = await world.person()
    await put_item(world, due=june(1), assignee=sam)
    world.clock.set(at(MONDAY, "09:30"))
    assert await world.run_job("notifications.due_scan") == []
    assert await unread(sam) == 1
    assert await world.run_job("notifications.due_scan") == []
    assert await unread(sam) == 1


async def test_more_people_than_fit_into_one_scan_are_told_by_several(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(jobs, "_PERSONS", 2)
    people = [await world.person() for _ in range(5)]
    await put_item(world, due=june(1), watchers=people)
    await scan_at(world, at(MONDAY))
    await world.run_jobs()
    assert [await unread(person) for person in people] == [1] * 5


_ROWS_READ = (
    "SELECT seq_tup_read + idx_tup_fetch FROM pg_stat_xact_user_tables"
    " WHERE relname IN ('work_items', 'work_item_watchers') ORDER BY relname"
)


async def test_the_scan_reads_what_is_due_and_not_every_open_item(world: World) -> None:
    sam = await world.person()
    async with world.database.transaction() as tx:
        await tx.execute(
            "INSERT INTO work_items (id, org_id, project_id, number, key, title, status_id, source,"
            "   assignee_id, due_date, position, created_at, updated_at)"
            " SELECT gen_random_uuid(), $1, $2, n, 'GO-' || n, 'Far away', $3, 'WEB', $4,"
            "   CASE WHEN n % 1000 = 0 THEN date '2026-06-01' ELSE date '2028-01-01' END, n,"
            "   now(), now() FROM generate_series(1, 5000) AS n",
            world.org_id,
            world.project.id,
            world.project.statuses["To Do"],
            sam.id,
        )
        await tx.execute(
            "INSERT INTO work_item_watchers (org_id, item_id, user_id, reason)"
            " SELECT org_id, id, $2, 'MANUAL' FROM work_items WHERE org_id = $1",
            world.org_id,
            sam.id,
        )
        await tx.execute("ANALYZE work_items, work_item_watchers")
    world.clock.set(at(MONDAY))
    async with world.tools.transaction(world.org_id) as ctx:
        await ctx.db.execute("SET LOCAL plan_cache_mode = force_generic_plan")  # the worst case
        before = await ctx.db.values(_ROWS_READ)  # by transactions before, and not yet reported
        await jobs.scan(ctx, world.org_id)
        after = await ctx.db.values(_ROWS_READ)
    assert await unread(sam) == 5
    assert max(a - b for a, b in zip(after, before, strict=True)) < 100


ZONES = ("Pacific/Auckland", "Asia/Kolkata", "Europe/Berlin", "America/Los_Angeles")
# The clocks of Berlin go back on the Sunday of this week.
WEEK = [date(2026, 10, 22) + timedelta(days=n) for n in range(8)]


class Told(NamedTuple):
    person: UserId
    item: UUID
    kind: str
    on: date


@dataclass
class Item:
    id: UUID
    due: date
    concerns: set[UserId]
    open: bool = True


class Reckoning:
    """Who has to be told what on which day, worked out from the rules by plain counting."""

    def __init__(self, zones: Mapping[UserId, ZoneInfo]) -> None:
        self._zones = zones
        self._mornings: set[tuple[UserId, date]] = set()
        self._said: set[tuple[object, ...]] = set()
        self.expected: Counter[Told] = Counter()

    def look(self, moment: datetime, items: Sequence[Item]) -> None:
        for person, zone in self._zones.items():
            local = moment.astimezone(zone)
            morning = (person, local.date())
            if local.hour >= 9 and local.isoweekday() <= 5 and morning not in self._mornings:
                self._mornings.add(morning)
                for item in items:
                    if item.open and person in item.concerns:
                        self._tell(person, item, local.date())

    def _tell(self, person: UserId, item: Item, today: date) -> None:
        late = (today - item.due).days
        notice = (person, item.id, item.due, (late - 1) // 7 if late > 0 else "soon")
        if late >= -2 and notice not in self._said:
            self._said.add(notice)
            kind = "OVERDUE" if late > 0 else "DUE_SOON"
            self.expected[Told(person, item.id, kind, today)] += 1


async def test_three_racing_scanners_tell_everything_once_in_a_week_of_mornings(
    world: World,
) -> None:
    """Scanners are cut off in the middle, items are closed and put off in between."""
    chance = random.Random(20261022)
    people = [await world.person() for _ in range(2 * len(ZONES))]
    zones = {person.id: ZoneInfo(zone) for person, zone in zip(people, 2 * ZONES, strict=True)}
    for person in people:
        await live_in(world, person, zones[person.id].key)
    items = []
    for day in range(-10, 12):
        concerns = chance.sample(people, 4)
        due = WEEK[0] + timedelta(days=day)
        item_id = await put_item(world, due=due, assignee=concerns[0], watchers=concerns[1:])
        items.append(Item(item_id, due, {person.id for person in concerns}))

    reckoning = Reckoning(zones)
    for moment in moments(chance):
        world.clock.set(moment)
        if chance.random() < 0.2:
            await meddle(world, chance, chance.choice(items))
        reckoning.look(moment, items)
        await race(world, chance)

    found: Counter[Told] = Counter()
    for row in await world.database.reader.all(
        _Row,
        "SELECT recipient_id, entity_id, type, created_at FROM notifications WHERE org_id = $1",
        world.org_id,
    ):
        local = row.created_at.astimezone(zones[row.recipient_id])
        assert time(9) <= local.time()
        assert local.time() < time(9, 30) or local.date() <= WEEK[0]
        found[Told(row.recipient_id, row.entity_id, row.type, local.date())] += 1
    assert found == reckoning.expected
    assert len(found) > 100


class _Row(msgspec.Struct):
    recipient_id: UserId
    entity_id: UUID
    type: str
    created_at: datetime


def moments(chance: random.Random) -> list[datetime]:
    """Steps of 5 to 15 minutes around nine o'clock, in each zone on each day."""
    steps = []
    for day in WEEK:
        for zone in ZONES:
            moment = at(day, "08:45", zone)
            while moment < at(day, "09:29", zone):
                steps.append(moment.astimezone(UTC))
                moment += timedelta(minutes=chance.randint(5, 15))
    return sorted(steps)


async def meddle(world: World, chance: random.Random, item: Item) -> None:
    """Close, reopen or put off an item."""
    if chance.random() < 0.5:
        item.open = not item.open
        await change_item(world, item.id, closed_at=None if item.open else world.clock.now)
    else:
        item.due = chance.choice(WEEK)
        await change_item(world, item.id, due_date=item.due)


async def race(world: World, chance: random.Random) -> None:
    """Let three scan at once, one of which may be cut off, and then one more."""

    async def scan() -> None:
        async with world.tools.transaction(world.org_id) as ctx:
            await jobs.scan(ctx, world.org_id)

    scanners = [asyncio.create_task(scan()) for _ in range(3)]
    if chance.random() < 0.3:
        for _ in range(chance.randint(1, 30)):
            await asyncio.sleep(0)
        scanners[0].cancel()
    await asyncio.gather(*scanners, return_exceptions=True)
    await scan()

"""Old notifications are deleted, and jobs that failed for good."""

from tests.world import World

from rytask.platform import outbox


async def test_notifications_are_kept_as_long_as_the_settings_say(world: World) -> None:
    async with world.database.transaction() as tx:
        await tx.execute(
            "INSERT INTO notifications (id, org_id, recipient_id, type, entity_type, entity_id,"
            "   payload, dedupe_key, read_at, archived_at, created_at)"
            " SELECT gen_random_uuid(), $1, $2, 'SLACK', 'slack', gen_random_uuid(), '{}', name,"
            "   CASE WHEN name LIKE 'read%' THEN now() END,"
            "   CASE WHEN name LIKE 'archived%' THEN now() END, now() - make_interval(days => age)"
            "  FROM (VALUES ('read 89', 89), ('read 91', 91), ('archived 89', 89),"
            "   ('archived 91', 91), ('unread 364', 364), ('unread 366', 366)) AS v (name, age)",
            world.org_id,
            world.owner.id,
        )
    assert await world.run_job("notifications.purge") == []
    assert await world.database.reader.values(
        "SELECT dedupe_key FROM notifications WHERE org_id = $1 ORDER BY 1", world.org_id
    ) == ["archived 89", "read 89", "unread 364"]


async def test_jobs_that_died_long_ago_are_deleted(world: World) -> None:
    async with world.database.transaction() as tx:
        await tx.execute(
            "INSERT INTO jobs (org_id, name, arg, max_attempts, state, due_at)"
            " SELECT $1, 'test.old', to_jsonb(state || age), 1, state,"
            "   now() - make_interval(days => age)"
            "  FROM (VALUES ('dead', 29), ('dead', 31), ('waiting', 31)) AS v (state, age)",
            world.org_id,
        )
    assert await world.run_job("platform.purge") == []
    left = await outbox.jobs(world.database.reader, name="test.old")
    assert sorted(bytes(job.arg) for job in left) == [b'"dead29"', b'"waiting31"']
    async with world.database.transaction() as tx:
        await tx.execute("DELETE FROM jobs WHERE name = 'test.old'")

-- What is deleted by its age is found by its age.
CREATE INDEX notifications_seen_age ON notifications (created_at)
    WHERE read_at IS NOT NULL OR archived_at IS NOT NULL;
CREATE INDEX notifications_unseen_age ON notifications (created_at)
    WHERE read_at IS NULL AND archived_at IS NULL;
CREATE INDEX jobs_dead_age ON jobs (due_at) WHERE state = 'dead';
CREATE INDEX work_items_trash ON work_items (org_id, deleted_at) WHERE deleted_at IS NOT NULL;

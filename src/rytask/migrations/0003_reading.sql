-- one by one

-- Reading at a million items. The indexes are built while the application writes; a statement that
-- was interrupted leaves an invalid index behind, so each is dropped before it is made.

-- Orders of the lists of a project: the key, then the number.
DROP INDEX CONCURRENTLY IF EXISTS work_items_priority;
CREATE INDEX CONCURRENTLY work_items_priority ON work_items (org_id, project_id, priority, number)
    WHERE deleted_at IS NULL;
DROP INDEX CONCURRENTLY IF EXISTS work_items_priority_due;
CREATE INDEX CONCURRENTLY work_items_priority_due
    ON work_items (org_id, project_id, priority, due_date, number) WHERE deleted_at IS NULL;
DROP INDEX CONCURRENTLY IF EXISTS work_items_due_date;
CREATE INDEX CONCURRENTLY work_items_due_date ON work_items (org_id, project_id, due_date, number)
    WHERE deleted_at IS NULL AND due_date IS NOT NULL;
DROP INDEX CONCURRENTLY IF EXISTS work_items_start_date;
CREATE INDEX CONCURRENTLY work_items_start_date
    ON work_items (org_id, project_id, start_date, number)
    WHERE deleted_at IS NULL AND start_date IS NOT NULL;
DROP INDEX CONCURRENTLY IF EXISTS work_items_end_date;
CREATE INDEX CONCURRENTLY work_items_end_date ON work_items (org_id, project_id, end_date, number)
    WHERE deleted_at IS NULL AND end_date IS NOT NULL;
DROP INDEX CONCURRENTLY IF EXISTS work_items_created_at;
CREATE INDEX CONCURRENTLY work_items_created_at
    ON work_items (org_id, project_id, created_at, number) WHERE deleted_at IS NULL;
DROP INDEX CONCURRENTLY IF EXISTS work_items_updated_at;
CREATE INDEX CONCURRENTLY work_items_updated_at
    ON work_items (org_id, project_id, updated_at, number) WHERE deleted_at IS NULL;
DROP INDEX CONCURRENTLY IF EXISTS work_items_created;
DROP INDEX CONCURRENTLY IF EXISTS work_items_updated;

-- The order of a filtered list of all projects.
DROP INDEX CONCURRENTLY IF EXISTS work_items_number;
CREATE INDEX CONCURRENTLY work_items_number ON work_items (org_id, number, id)
    WHERE deleted_at IS NULL;

-- Groups are counted from this index alone. Its entries are so much alike that it stays small.
DROP INDEX CONCURRENTLY IF EXISTS work_items_groups;
CREATE INDEX CONCURRENTLY work_items_groups
    ON work_items (org_id, project_id, status_id, priority, assignee_id) WHERE deleted_at IS NULL;

DROP INDEX CONCURRENTLY IF EXISTS slack_captures_response_url;
CREATE INDEX CONCURRENTLY slack_captures_response_url ON slack_captures (created_at)
    WHERE response_url IS NOT NULL;

-- The planner knows how common the 5,000 most common words are, not 1,000.
ALTER TABLE work_items ALTER COLUMN search SET STATISTICS 500;

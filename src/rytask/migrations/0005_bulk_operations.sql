-- A status or a label that is deleted is hidden at once; its row goes when the last item has left
-- it. `replaced_by` is where its items go.
ALTER TABLE statuses ADD COLUMN deleted_at timestamptz, ADD COLUMN replaced_by uuid;
ALTER TABLE labels ADD COLUMN deleted_at timestamptz, ADD COLUMN replaced_by uuid;
CREATE INDEX statuses_deleted ON statuses (org_id) WHERE deleted_at IS NOT NULL;
CREATE INDEX labels_deleted ON labels (org_id) WHERE deleted_at IS NOT NULL;

-- Without a WHERE, so that the trash and the foreign key of a status find its items by it, too.
DROP INDEX work_items_column;
CREATE INDEX work_items_column ON work_items (org_id, project_id, status_id, position);

-- Changes of many items, made by jobs in batches. Batches go on behind `after_position`.
CREATE TABLE bulk_operations (
    id              uuid PRIMARY KEY,
    org_id          uuid NOT NULL REFERENCES organizations ON DELETE CASCADE,
    kind            text NOT NULL,
    project_id      uuid,
    subject_id      uuid NOT NULL,
    target_id       uuid,
    from_category   text,
    actor_id        uuid,
    source          text NOT NULL,
    first_seq       bigint NOT NULL,
    after_position  double precision,
    total           int,
    done            int NOT NULL DEFAULT 0,
    started_at      timestamptz NOT NULL,
    finished_at     timestamptz
);
CREATE INDEX bulk_operations_of_org ON bulk_operations (org_id, id);
CREATE INDEX bulk_operations_finished ON bulk_operations (finished_at);

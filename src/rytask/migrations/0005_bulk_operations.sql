-- A status or a label that is deleted is hidden at once; its row goes when the last item has left
-- it. `replaced_by` is where its items go.
ALTER TABLE statuses ADD COLUMN deleted_at timestamptz, ADD COLUMN replaced_by uuid;
ALTER TABLE labels ADD COLUMN deleted_at timestamptz, ADD COLUMN replaced_by uuid;

-- What an item shows in place of a status or labels that were deleted. They are functions so that a
-- statement that need not call them does not even open the tables.
CREATE FUNCTION shown_status(uuid, uuid, uuid) RETURNS uuid STABLE LANGUAGE plpgsql AS $$
BEGIN
    RETURN coalesce((SELECT s.replaced_by FROM statuses s
        WHERE s.org_id = $1 AND s.project_id = $2 AND s.id = $3 AND s.deleted_at IS NOT NULL), $3);
END $$;

CREATE FUNCTION shown_labels(uuid, uuid[]) RETURNS uuid[] STABLE LANGUAGE plpgsql AS $$
BEGIN
    RETURN ARRAY(SELECT x.id FROM (
        SELECT coalesce(l.replaced_by, i.id) AS id, min(i.n) AS n
          FROM unnest($2) WITH ORDINALITY AS i (id, n)
          LEFT JOIN labels l ON l.org_id = $1 AND l.id = i.id AND l.deleted_at IS NOT NULL
         WHERE l.id IS NULL OR l.replaced_by IS NOT NULL GROUP BY 1) x ORDER BY x.n);
END $$;

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
CREATE INDEX bulk_operations_going_on ON bulk_operations (org_id) WHERE finished_at IS NULL;
CREATE INDEX bulk_operations_finished ON bulk_operations (finished_at);

-- A fact about a part of a work item (a comment, a time entry) belongs to the item, too.

ALTER TABLE events ADD COLUMN item_id uuid; -- null: it is the subject, or there is none
CREATE INDEX events_of_item ON events (org_id, coalesce(item_id, subject_id), seq);
DROP INDEX events_of_subject;

-- An address may have one account in each organization. The unique index keeps its name: by it the
-- version before tells that an address is taken.
DROP INDEX users_email;
CREATE UNIQUE INDEX users_email ON users (org_id, lower(email)) WHERE deactivated_at IS NULL;
CREATE INDEX users_of_address ON users (lower(email)) WHERE deactivated_at IS NULL;

-- The secret in the mail of an invitation proves the address; the one that its sender sees does not.
ALTER TABLE invitations ADD COLUMN mailed_token_hash bytea UNIQUE;

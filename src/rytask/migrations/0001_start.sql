-- Every tenant's row carries its organization, and the organization leads every index.

CREATE EXTENSION IF NOT EXISTS pg_trgm;

CREATE TYPE priority AS ENUM ('NONE', 'LOW', 'MEDIUM', 'HIGH', 'URGENT');

-- platform ------------------------------------------------------------------------------------

CREATE TABLE organizations (
    id          uuid PRIMARY KEY,
    name        text NOT NULL,
    slug        text NOT NULL UNIQUE,
    settings    jsonb NOT NULL DEFAULT '{}',
    created_at  timestamptz NOT NULL DEFAULT now(),
    updated_at  timestamptz NOT NULL DEFAULT now(),
    deleted_at  timestamptz
);

CREATE SEQUENCE events_seq;
SELECT nextval('events_seq'); -- last_value of a fresh sequence is a number not yet drawn

-- Facts up to here are all visible to the next snapshot: no writer can still bring a lower number.
-- Why, and what it costs: docs/adr/0002.
CREATE FUNCTION feed_horizon() RETURNS bigint LANGUAGE plpgsql AS $$
DECLARE top bigint;
BEGIN
    SELECT last_value INTO top FROM events_seq;
    RETURN least(top, (SELECT min(classid::bigint << 32 | objid::bigint) FROM pg_locks
        WHERE locktype = 'advisory' AND mode = 'ShareLock' AND objsubid = 1
          AND database = (SELECT oid FROM pg_database WHERE datname = current_database())));
END $$;

CREATE TABLE events (
    org_id      uuid NOT NULL REFERENCES organizations ON DELETE CASCADE,
    seq         bigint NOT NULL,
    kind        text NOT NULL,
    project_id  uuid,
    subject_id  uuid NOT NULL,
    actor_id    uuid,
    source      text NOT NULL,
    payload     jsonb NOT NULL,
    at          timestamptz NOT NULL,
    PRIMARY KEY (org_id, seq)
);
CREATE INDEX events_of_subject ON events (org_id, subject_id, seq);

-- The outbox of jobs. A row lives until its job is done; what failed for good stays as 'dead'.
-- `due_at` is when it may be pushed, and for pushed and running jobs the end of the lease.
CREATE TABLE jobs (
    id            bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    org_id        uuid REFERENCES organizations ON DELETE CASCADE,
    name          text NOT NULL,
    arg           jsonb NOT NULL,
    state         text NOT NULL DEFAULT 'waiting'
                  CHECK (state IN ('waiting', 'queued', 'running', 'dead')),
    attempts      int NOT NULL DEFAULT 0,
    max_attempts  int NOT NULL,
    due_at        timestamptz NOT NULL DEFAULT now(),
    last_error    text,
    created_at    timestamptz NOT NULL DEFAULT now()
) WITH (fillfactor = 70, autovacuum_vacuum_scale_factor = 0.0, autovacuum_vacuum_threshold = 2000);
CREATE INDEX jobs_due ON jobs (name, due_at) WHERE state <> 'dead';
CREATE INDEX jobs_dead ON jobs (id) WHERE state = 'dead';
CREATE INDEX jobs_of_org ON jobs (org_id);

CREATE TABLE schedules (
    name     text PRIMARY KEY,
    next_at  timestamptz NOT NULL
);

CREATE TABLE idempotency_keys (
    org_id        uuid NOT NULL REFERENCES organizations ON DELETE CASCADE,
    principal_id  uuid NOT NULL,
    route         text NOT NULL,
    key           text NOT NULL,
    fingerprint   bytea NOT NULL,
    status        smallint NOT NULL,
    body          bytea NOT NULL,
    created_at    timestamptz NOT NULL,
    PRIMARY KEY (org_id, principal_id, route, key)
);
CREATE INDEX idempotency_keys_age ON idempotency_keys (created_at);

-- identity ------------------------------------------------------------------------------------

CREATE TABLE workspaces (
    id          uuid PRIMARY KEY,
    org_id      uuid NOT NULL REFERENCES organizations ON DELETE CASCADE,
    name        text NOT NULL,
    slug        text NOT NULL,
    created_at  timestamptz NOT NULL DEFAULT now(),
    UNIQUE (org_id, slug),
    UNIQUE (org_id, id)
);

CREATE TABLE users (
    id                 uuid PRIMARY KEY,
    org_id             uuid NOT NULL REFERENCES organizations ON DELETE CASCADE,
    email              text NOT NULL,
    name               text NOT NULL,
    password_hash      text,
    timezone           text,
    notify_at          time NOT NULL DEFAULT '09:00',
    email_verified_at  timestamptz,
    deactivated_at     timestamptz,
    created_at         timestamptz NOT NULL DEFAULT now(),
    UNIQUE (org_id, id)
);
CREATE UNIQUE INDEX users_email ON users (lower(email)) WHERE deactivated_at IS NULL;

CREATE TABLE memberships (
    org_id          uuid NOT NULL,
    user_id         uuid NOT NULL,
    role            text NOT NULL CHECK (role IN ('OWNER', 'ADMIN', 'MEMBER', 'VIEWER', 'GUEST')),
    workspace_id    uuid NOT NULL,
    deactivated_at  timestamptz,
    created_at      timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (org_id, user_id),
    FOREIGN KEY (org_id, user_id) REFERENCES users (org_id, id) ON DELETE CASCADE,
    FOREIGN KEY (org_id, workspace_id) REFERENCES workspaces (org_id, id)
);

CREATE TABLE sessions (
    id                  uuid PRIMARY KEY,
    org_id              uuid NOT NULL,
    user_id             uuid NOT NULL,
    family_id           uuid NOT NULL,
    refresh_token_hash  bytea NOT NULL UNIQUE,
    user_agent          text,
    ip                  text,
    expires_at          timestamptz NOT NULL,
    rotated_at          timestamptz,
    revoked_at          timestamptz,
    created_at          timestamptz NOT NULL DEFAULT now(),
    FOREIGN KEY (org_id, user_id) REFERENCES users (org_id, id) ON DELETE CASCADE
);
CREATE INDEX sessions_of_user ON sessions (org_id, user_id);
CREATE INDEX sessions_family ON sessions (family_id);
CREATE INDEX sessions_expiry ON sessions (expires_at);

CREATE TABLE api_tokens (
    id            uuid PRIMARY KEY,
    org_id        uuid NOT NULL,
    user_id       uuid NOT NULL,
    type          text NOT NULL CHECK (type IN ('PAT', 'MCP')),
    name          text NOT NULL,
    token_hash    bytea NOT NULL UNIQUE,
    scopes        text[] NOT NULL,
    last_used_at  timestamptz,
    expires_at    timestamptz,
    revoked_at    timestamptz,
    created_at    timestamptz NOT NULL DEFAULT now(),
    FOREIGN KEY (org_id, user_id) REFERENCES users (org_id, id) ON DELETE CASCADE
);
CREATE INDEX api_tokens_of_user ON api_tokens (org_id, user_id);

CREATE TABLE invitations (
    id                  uuid PRIMARY KEY,
    org_id              uuid NOT NULL REFERENCES organizations ON DELETE CASCADE,
    workspace_id        uuid,
    email               text,
    role                text NOT NULL CHECK (role IN ('OWNER', 'ADMIN', 'MEMBER', 'VIEWER', 'GUEST')),
    token_hash          bytea NOT NULL UNIQUE,
    invited_by_user_id  uuid NOT NULL,
    expires_at          timestamptz NOT NULL,
    accepted_at         timestamptz,
    revoked_at          timestamptz,
    created_at          timestamptz NOT NULL DEFAULT now(),
    FOREIGN KEY (org_id, workspace_id) REFERENCES workspaces (org_id, id) ON DELETE CASCADE,
    FOREIGN KEY (org_id, invited_by_user_id) REFERENCES users (org_id, id) ON DELETE CASCADE
);
CREATE INDEX invitations_of_org ON invitations (org_id);

CREATE TABLE one_time_tokens (
    id           uuid PRIMARY KEY,
    org_id       uuid NOT NULL,
    user_id      uuid NOT NULL,
    purpose      text NOT NULL CHECK (purpose IN ('EMAIL_VERIFY', 'PASSWORD_RESET')),
    token_hash   bytea NOT NULL UNIQUE,
    expires_at   timestamptz NOT NULL,
    consumed_at  timestamptz,
    created_at   timestamptz NOT NULL DEFAULT now(),
    FOREIGN KEY (org_id, user_id) REFERENCES users (org_id, id) ON DELETE CASCADE
);
CREATE INDEX one_time_tokens_of_user ON one_time_tokens (org_id, user_id);

-- Tokens that name one of these and were made until `at` are refused; rows outlive every token.
CREATE TABLE revocations (
    subject_id  uuid PRIMARY KEY,
    at          timestamptz NOT NULL
);
CREATE INDEX revocations_at ON revocations (at);

CREATE TABLE login_failures (
    email         text NOT NULL,
    address       text NOT NULL,
    failures      int NOT NULL,
    first_at      timestamptz NOT NULL,
    locked_until  timestamptz,
    PRIMARY KEY (email, address)
);

-- projects ------------------------------------------------------------------------------------

CREATE TABLE projects (
    id            uuid PRIMARY KEY,
    org_id        uuid NOT NULL REFERENCES organizations ON DELETE CASCADE,
    workspace_id  uuid NOT NULL,
    name          text NOT NULL,
    key_prefix    text NOT NULL,
    description   text,
    icon          text,
    color         text,
    lead_id       uuid,
    archived_at   timestamptz,
    deleted_at    timestamptz,
    created_at    timestamptz NOT NULL DEFAULT now(),
    updated_at    timestamptz NOT NULL DEFAULT now(),
    UNIQUE (org_id, id),
    FOREIGN KEY (org_id, workspace_id) REFERENCES workspaces (org_id, id),
    FOREIGN KEY (org_id, lead_id) REFERENCES users (org_id, id)
);
CREATE UNIQUE INDEX projects_key_prefix ON projects (org_id, key_prefix) WHERE deleted_at IS NULL;

-- The next number and the end of the order, apart from the project so that creating an item
-- rewrites a narrow row.
CREATE TABLE project_counters (
    org_id         uuid NOT NULL,
    project_id     uuid PRIMARY KEY,
    last_number    int NOT NULL DEFAULT 0,
    last_position  double precision NOT NULL DEFAULT 0,
    FOREIGN KEY (org_id, project_id) REFERENCES projects (org_id, id) ON DELETE CASCADE
) WITH (fillfactor = 20);

CREATE TABLE project_members (
    org_id      uuid NOT NULL,
    project_id  uuid NOT NULL,
    user_id     uuid NOT NULL,
    role        text NOT NULL CHECK (role IN ('ADMIN', 'MEMBER', 'VIEWER')),
    created_at  timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (org_id, project_id, user_id),
    FOREIGN KEY (org_id, project_id) REFERENCES projects (org_id, id) ON DELETE CASCADE,
    FOREIGN KEY (org_id, user_id) REFERENCES users (org_id, id) ON DELETE CASCADE
);
CREATE INDEX project_members_of_user ON project_members (org_id, user_id);

CREATE TABLE statuses (
    id          uuid PRIMARY KEY,
    org_id      uuid NOT NULL,
    project_id  uuid NOT NULL,
    name        text NOT NULL,
    category    text NOT NULL
                CHECK (category IN ('BACKLOG', 'UNSTARTED', 'STARTED', 'COMPLETED', 'CANCELLED')),
    color       text,
    position    int NOT NULL,
    created_at  timestamptz NOT NULL DEFAULT now(),
    UNIQUE (org_id, project_id, id),
    FOREIGN KEY (org_id, project_id) REFERENCES projects (org_id, id) ON DELETE CASCADE
);
CREATE UNIQUE INDEX statuses_name ON statuses (org_id, project_id, lower(name));

CREATE TABLE labels (
    id            uuid PRIMARY KEY,
    org_id        uuid NOT NULL,
    workspace_id  uuid NOT NULL,
    name          text NOT NULL,
    color         text,
    created_at    timestamptz NOT NULL DEFAULT now(),
    UNIQUE (org_id, id),
    FOREIGN KEY (org_id, workspace_id) REFERENCES workspaces (org_id, id) ON DELETE CASCADE
);
CREATE UNIQUE INDEX labels_name ON labels (org_id, workspace_id, lower(name));

-- work items ----------------------------------------------------------------------------------

CREATE TABLE work_items (
    id              uuid PRIMARY KEY,
    org_id          uuid NOT NULL,
    project_id      uuid NOT NULL,
    number          int NOT NULL,
    key             text NOT NULL,
    title           text NOT NULL,
    description     text,
    status_id       uuid NOT NULL,
    priority        priority NOT NULL DEFAULT 'NONE',
    source          text NOT NULL CHECK (source IN ('WEB', 'SLACK', 'MCP', 'API')),
    assignee_id     uuid,
    reporter_id     uuid,
    parent_id       uuid,
    capture_id      uuid UNIQUE,
    label_ids       uuid[] NOT NULL DEFAULT '{}',
    child_count     int NOT NULL DEFAULT 0,
    estimate_value  double precision CHECK (estimate_value >= 0 AND estimate_value <= 100000),
    start_date      date,
    end_date        date,
    due_date        date,
    position        double precision NOT NULL,
    version         int NOT NULL DEFAULT 1,
    completed_at    timestamptz,
    closed_at       timestamptz,
    deleted_at      timestamptz,
    created_at      timestamptz NOT NULL,
    updated_at      timestamptz NOT NULL,
    search          tsvector GENERATED ALWAYS AS (
                        setweight(to_tsvector('english', title), 'A')
                        || setweight(to_tsvector('english', coalesce(description, '')), 'B')
                    ) STORED,
    UNIQUE (org_id, project_id, number),
    UNIQUE (org_id, id),
    CHECK (end_date >= start_date),
    FOREIGN KEY (org_id, project_id) REFERENCES projects (org_id, id) ON DELETE CASCADE,
    FOREIGN KEY (org_id, project_id, status_id) REFERENCES statuses (org_id, project_id, id),
    FOREIGN KEY (org_id, assignee_id) REFERENCES users (org_id, id),
    FOREIGN KEY (org_id, reporter_id) REFERENCES users (org_id, id),
    FOREIGN KEY (org_id, parent_id) REFERENCES work_items (org_id, id) ON DELETE SET NULL (parent_id)
) WITH (fillfactor = 85);
CREATE INDEX work_items_column ON work_items (org_id, project_id, status_id, position)
    WHERE deleted_at IS NULL;
CREATE INDEX work_items_assignee ON work_items (org_id, assignee_id, number)
    WHERE deleted_at IS NULL AND assignee_id IS NOT NULL;
CREATE INDEX work_items_parent ON work_items (org_id, parent_id) WHERE parent_id IS NOT NULL;
CREATE INDEX work_items_due ON work_items (org_id, due_date)
    WHERE deleted_at IS NULL AND closed_at IS NULL AND due_date IS NOT NULL;
CREATE INDEX work_items_urgent ON work_items (org_id, project_id, number)
    WHERE priority = 'URGENT' AND closed_at IS NULL AND deleted_at IS NULL;
CREATE INDEX work_items_created ON work_items (org_id, project_id, created_at)
    WHERE deleted_at IS NULL;
CREATE INDEX work_items_updated ON work_items (org_id, project_id, updated_at)
    WHERE deleted_at IS NULL;
CREATE INDEX work_items_labels ON work_items USING gin (label_ids);
CREATE INDEX work_items_search ON work_items USING gin (search);

CREATE TABLE work_item_watchers (
    org_id   uuid NOT NULL,
    item_id  uuid NOT NULL,
    user_id  uuid NOT NULL,
    reason   text NOT NULL CHECK (reason IN ('ASSIGNEE', 'AUTHOR', 'MENTIONED', 'MANUAL')),
    PRIMARY KEY (org_id, item_id, user_id),
    FOREIGN KEY (org_id, item_id) REFERENCES work_items (org_id, id) ON DELETE CASCADE,
    FOREIGN KEY (org_id, user_id) REFERENCES users (org_id, id) ON DELETE CASCADE
);
CREATE INDEX work_item_watchers_of_user ON work_item_watchers (org_id, user_id);

-- notifications -------------------------------------------------------------------------------

-- What somebody is told once: `dedupe_key` says what about and in which bucket of time. `seq` is
-- the newest fact that the row tells of, so that an older one, late, does not overwrite it.
CREATE TABLE notifications (
    id             uuid PRIMARY KEY,
    org_id         uuid NOT NULL,
    recipient_id   uuid NOT NULL,
    type           text NOT NULL CHECK (type IN ('ASSIGNED', 'MENTIONED', 'COMMENTED',
                                                 'STATUS_CHANGED', 'DUE_SOON', 'OVERDUE', 'SLACK')),
    entity_type    text NOT NULL,
    entity_id      uuid NOT NULL,
    project_id     uuid,
    actor_id       uuid,
    payload        jsonb NOT NULL,
    dedupe_key     text NOT NULL,
    seq            bigint,
    read_at        timestamptz,
    snoozed_until  timestamptz,
    archived_at    timestamptz,
    created_at     timestamptz NOT NULL,
    UNIQUE (org_id, recipient_id, dedupe_key),
    FOREIGN KEY (org_id, recipient_id) REFERENCES users (org_id, id) ON DELETE CASCADE,
    FOREIGN KEY (org_id, project_id) REFERENCES projects (org_id, id) ON DELETE CASCADE
);
CREATE INDEX notifications_inbox ON notifications (org_id, recipient_id, created_at, id);
CREATE INDEX notifications_unread ON notifications (org_id, recipient_id, created_at, id)
    WHERE read_at IS NULL AND archived_at IS NULL;
CREATE INDEX notifications_due ON notifications (org_id, entity_id)
    WHERE read_at IS NULL AND archived_at IS NULL AND type IN ('DUE_SOON', 'OVERDUE');
CREATE INDEX notifications_project ON notifications (org_id, project_id);

-- The last local day on which somebody was told what is due: once per day and person.
CREATE TABLE notification_scans (
    org_id      uuid NOT NULL,
    user_id     uuid NOT NULL,
    scanned_on  date NOT NULL,
    PRIMARY KEY (org_id, user_id),
    FOREIGN KEY (org_id, user_id) REFERENCES users (org_id, id) ON DELETE CASCADE
);

-- Slack ---------------------------------------------------------------------------------------

CREATE TABLE slack_connections (
    id                  uuid PRIMARY KEY,
    org_id              uuid NOT NULL REFERENCES organizations ON DELETE CASCADE,
    team_id             text NOT NULL,
    team_name           text NOT NULL,
    bot_user_id         text NOT NULL,
    bot_token           bytea, -- sealed; kept after a disconnection until Slack has forgotten it
    scopes              text[] NOT NULL,
    default_project_id  uuid,
    installed_by        uuid NOT NULL,
    sync_cursor         text, -- where the reading of its people goes on; null: nowhere
    connected_at        timestamptz NOT NULL,
    revoked_at          timestamptz,
    UNIQUE (org_id, id),
    UNIQUE (org_id, team_id),
    FOREIGN KEY (org_id, default_project_id) REFERENCES projects (org_id, id)
        ON DELETE SET NULL (default_project_id),
    FOREIGN KEY (org_id, installed_by) REFERENCES users (org_id, id)
);
CREATE UNIQUE INDEX slack_connections_team ON slack_connections (team_id) WHERE revoked_at IS NULL;
CREATE UNIQUE INDEX slack_connections_org ON slack_connections (org_id) WHERE revoked_at IS NULL;

CREATE TABLE slack_users (
    org_id           uuid NOT NULL,
    connection_id    uuid NOT NULL,
    slack_user_id    text NOT NULL,
    name             text NOT NULL,
    email            text,
    user_id          uuid,
    mapped_manually  boolean NOT NULL DEFAULT false,
    PRIMARY KEY (org_id, connection_id, slack_user_id),
    FOREIGN KEY (org_id, connection_id) REFERENCES slack_connections (org_id, id) ON DELETE CASCADE,
    FOREIGN KEY (org_id, user_id) REFERENCES users (org_id, id) ON DELETE SET NULL (user_id)
);

CREATE TABLE slack_channels (
    org_id         uuid NOT NULL,
    connection_id  uuid NOT NULL,
    channel_id     text NOT NULL,
    project_id     uuid NOT NULL,
    PRIMARY KEY (org_id, connection_id, channel_id),
    FOREIGN KEY (org_id, connection_id) REFERENCES slack_connections (org_id, id) ON DELETE CASCADE,
    FOREIGN KEY (org_id, project_id) REFERENCES projects (org_id, id) ON DELETE CASCADE
);

-- What Slack was told is accepted. A delivery is known by its team, kind and trigger: a second
-- one finds the first.
CREATE TABLE slack_captures (
    id             uuid PRIMARY KEY,
    org_id         uuid NOT NULL,
    connection_id  uuid NOT NULL,
    kind           text NOT NULL CHECK (kind IN ('slash', 'modal', 'shortcut')),
    trigger        text NOT NULL,
    slack_user_id  text NOT NULL,
    channel_id     text,
    request        jsonb NOT NULL,
    response_url   bytea, -- sealed, and wiped once it was used
    state          text NOT NULL DEFAULT 'accepted'
                   CHECK (state IN ('accepted', 'captured', 'refused', 'undone')),
    outcome        jsonb,
    item_id        uuid,
    posting_at     timestamptz, -- the confirmation was begun, and may have been seen
    posted_at      timestamptz,
    created_at     timestamptz NOT NULL,
    UNIQUE (connection_id, kind, trigger),
    UNIQUE (org_id, id),
    FOREIGN KEY (org_id, connection_id) REFERENCES slack_connections (org_id, id) ON DELETE CASCADE
);
CREATE INDEX slack_captures_age ON slack_captures (created_at);

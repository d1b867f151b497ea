CREATE EXTENSION IF NOT EXISTS pg_trgm WITH SCHEMA public;
COMMENT ON EXTENSION pg_trgm IS 'text similarity measurement and index searching based on trigrams';
CREATE TYPE public.priority AS ENUM (
    'NONE',
    'LOW',
    'MEDIUM',
    'HIGH',
    'URGENT'
);
CREATE FUNCTION public.feed_horizon() RETURNS bigint
    LANGUAGE plpgsql
    AS $$
DECLARE top bigint;
BEGIN
    SELECT last_value INTO top FROM events_seq;
    RETURN least(top, (SELECT min(classid::bigint << 32 | objid::bigint) FROM pg_locks
        WHERE locktype = 'advisory' AND mode = 'ShareLock' AND objsubid = 1
          AND database = (SELECT oid FROM pg_database WHERE datname = current_database())));
END $$;
CREATE FUNCTION public.shown_labels(uuid, uuid[]) RETURNS uuid[]
    LANGUAGE plpgsql STABLE
    AS $_$
BEGIN
    RETURN ARRAY(SELECT x.id FROM (
        SELECT coalesce(l.replaced_by, i.id) AS id, min(i.n) AS n
          FROM unnest($2) WITH ORDINALITY AS i (id, n)
          LEFT JOIN labels l ON l.org_id = $1 AND l.id = i.id AND l.deleted_at IS NOT NULL
         WHERE l.id IS NULL OR l.replaced_by IS NOT NULL GROUP BY 1) x ORDER BY x.n);
END $_$;
CREATE FUNCTION public.shown_status(uuid, uuid, uuid) RETURNS uuid
    LANGUAGE plpgsql STABLE
    AS $_$
BEGIN
    RETURN coalesce((SELECT s.replaced_by FROM statuses s
        WHERE s.org_id = $1 AND s.project_id = $2 AND s.id = $3 AND s.deleted_at IS NOT NULL), $3);
END $_$;
CREATE TABLE public.api_tokens (
    id uuid NOT NULL,
    org_id uuid NOT NULL,
    user_id uuid NOT NULL,
    type text NOT NULL,
    name text NOT NULL,
    token_hash bytea NOT NULL,
    scopes text[] NOT NULL,
    last_used_at timestamp with time zone,
    expires_at timestamp with time zone,
    revoked_at timestamp with time zone,
    created_at timestamp with time zone DEFAULT now() NOT NULL,
    CONSTRAINT api_tokens_type_check CHECK ((type = ANY (ARRAY['PAT'::text, 'MCP'::text])))
);
CREATE TABLE public.bulk_operations (
    id uuid NOT NULL,
    org_id uuid NOT NULL,
    kind text NOT NULL,
    project_id uuid,
    subject_id uuid NOT NULL,
    target_id uuid,
    from_category text,
    actor_id uuid,
    source text NOT NULL,
    first_seq bigint NOT NULL,
    after_position double precision,
    total integer,
    done integer DEFAULT 0 NOT NULL,
    started_at timestamp with time zone NOT NULL,
    finished_at timestamp with time zone
);
CREATE TABLE public.events (
    org_id uuid NOT NULL,
    seq bigint NOT NULL,
    kind text NOT NULL,
    project_id uuid,
    subject_id uuid NOT NULL,
    actor_id uuid,
    source text NOT NULL,
    payload jsonb NOT NULL,
    at timestamp with time zone NOT NULL,
    item_id uuid
);
CREATE SEQUENCE public.events_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1;
CREATE TABLE public.idempotency_keys (
    org_id uuid NOT NULL,
    principal_id uuid NOT NULL,
    route text NOT NULL,
    key text NOT NULL,
    fingerprint bytea NOT NULL,
    status smallint NOT NULL,
    body bytea NOT NULL,
    created_at timestamp with time zone NOT NULL
);
CREATE TABLE public.invitations (
    id uuid NOT NULL,
    org_id uuid NOT NULL,
    workspace_id uuid,
    email text,
    role text NOT NULL,
    token_hash bytea NOT NULL,
    invited_by_user_id uuid NOT NULL,
    expires_at timestamp with time zone NOT NULL,
    accepted_at timestamp with time zone,
    revoked_at timestamp with time zone,
    created_at timestamp with time zone DEFAULT now() NOT NULL,
    mailed_token_hash bytea,
    CONSTRAINT invitations_role_check CHECK ((role = ANY (ARRAY['OWNER'::text, 'ADMIN'::text, 'MEMBER'::text, 'VIEWER'::text, 'GUEST'::text])))
);
CREATE TABLE public.jobs (
    id bigint NOT NULL,
    org_id uuid,
    name text NOT NULL,
    arg jsonb NOT NULL,
    state text DEFAULT 'waiting'::text NOT NULL,
    attempts integer DEFAULT 0 NOT NULL,
    max_attempts integer NOT NULL,
    due_at timestamp with time zone DEFAULT now() NOT NULL,
    last_error text,
    created_at timestamp with time zone DEFAULT now() NOT NULL,
    CONSTRAINT jobs_state_check CHECK ((state = ANY (ARRAY['waiting'::text, 'queued'::text, 'running'::text, 'dead'::text])))
)
WITH (fillfactor='70', autovacuum_vacuum_scale_factor='0.0', autovacuum_vacuum_threshold='2000');
ALTER TABLE public.jobs ALTER COLUMN id ADD GENERATED ALWAYS AS IDENTITY (
    SEQUENCE NAME public.jobs_id_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1
);
CREATE TABLE public.labels (
    id uuid NOT NULL,
    org_id uuid NOT NULL,
    workspace_id uuid NOT NULL,
    name text NOT NULL,
    color text,
    created_at timestamp with time zone DEFAULT now() NOT NULL,
    deleted_at timestamp with time zone,
    replaced_by uuid
);
CREATE TABLE public.login_failures (
    email text NOT NULL,
    address text NOT NULL,
    failures integer NOT NULL,
    first_at timestamp with time zone NOT NULL,
    locked_until timestamp with time zone
);
CREATE TABLE public.memberships (
    org_id uuid NOT NULL,
    user_id uuid NOT NULL,
    role text NOT NULL,
    workspace_id uuid NOT NULL,
    deactivated_at timestamp with time zone,
    created_at timestamp with time zone DEFAULT now() NOT NULL,
    CONSTRAINT memberships_role_check CHECK ((role = ANY (ARRAY['OWNER'::text, 'ADMIN'::text, 'MEMBER'::text, 'VIEWER'::text, 'GUEST'::text])))
);
CREATE TABLE public.notification_scans (
    org_id uuid NOT NULL,
    user_id uuid NOT NULL,
    scanned_on date NOT NULL
);
CREATE TABLE public.notifications (
    id uuid NOT NULL,
    org_id uuid NOT NULL,
    recipient_id uuid NOT NULL,
    type text NOT NULL,
    entity_type text NOT NULL,
    entity_id uuid NOT NULL,
    project_id uuid,
    actor_id uuid,
    payload jsonb NOT NULL,
    dedupe_key text NOT NULL,
    seq bigint,
    read_at timestamp with time zone,
    snoozed_until timestamp with time zone,
    archived_at timestamp with time zone,
    created_at timestamp with time zone NOT NULL,
    CONSTRAINT notifications_type_check CHECK ((type = ANY (ARRAY['ASSIGNED'::text, 'MENTIONED'::text, 'COMMENTED'::text, 'STATUS_CHANGED'::text, 'DUE_SOON'::text, 'OVERDUE'::text, 'SLACK'::text])))
);
CREATE TABLE public.one_time_tokens (
    id uuid NOT NULL,
    org_id uuid NOT NULL,
    user_id uuid NOT NULL,
    purpose text NOT NULL,
    token_hash bytea NOT NULL,
    expires_at timestamp with time zone NOT NULL,
    consumed_at timestamp with time zone,
    created_at timestamp with time zone DEFAULT now() NOT NULL,
    CONSTRAINT one_time_tokens_purpose_check CHECK ((purpose = ANY (ARRAY['EMAIL_VERIFY'::text, 'PASSWORD_RESET'::text])))
);
CREATE TABLE public.organizations (
    id uuid NOT NULL,
    name text NOT NULL,
    slug text NOT NULL,
    settings jsonb DEFAULT '{}'::jsonb NOT NULL,
    created_at timestamp with time zone DEFAULT now() NOT NULL,
    updated_at timestamp with time zone DEFAULT now() NOT NULL,
    deleted_at timestamp with time zone
);
CREATE TABLE public.project_counters (
    org_id uuid NOT NULL,
    project_id uuid NOT NULL,
    last_number integer DEFAULT 0 NOT NULL,
    last_position double precision DEFAULT 0 NOT NULL
)
WITH (fillfactor='20');
CREATE TABLE public.project_members (
    org_id uuid NOT NULL,
    project_id uuid NOT NULL,
    user_id uuid NOT NULL,
    role text NOT NULL,
    created_at timestamp with time zone DEFAULT now() NOT NULL,
    CONSTRAINT project_members_role_check CHECK ((role = ANY (ARRAY['ADMIN'::text, 'MEMBER'::text, 'VIEWER'::text])))
);
CREATE TABLE public.projects (
    id uuid NOT NULL,
    org_id uuid NOT NULL,
    workspace_id uuid NOT NULL,
    name text NOT NULL,
    key_prefix text NOT NULL,
    description text,
    icon text,
    color text,
    lead_id uuid,
    archived_at timestamp with time zone,
    deleted_at timestamp with time zone,
    created_at timestamp with time zone DEFAULT now() NOT NULL,
    updated_at timestamp with time zone DEFAULT now() NOT NULL
);
CREATE TABLE public.revocations (
    subject_id uuid NOT NULL,
    at timestamp with time zone NOT NULL
);
CREATE TABLE public.schedules (
    name text NOT NULL,
    next_at timestamp with time zone NOT NULL
);
CREATE TABLE public.schema_migrations (
    version integer NOT NULL,
    name text NOT NULL,
    checksum text NOT NULL,
    applied_at timestamp with time zone DEFAULT now() NOT NULL
);
CREATE TABLE public.sessions (
    id uuid NOT NULL,
    org_id uuid NOT NULL,
    user_id uuid NOT NULL,
    family_id uuid NOT NULL,
    refresh_token_hash bytea NOT NULL,
    user_agent text,
    ip text,
    expires_at timestamp with time zone NOT NULL,
    rotated_at timestamp with time zone,
    revoked_at timestamp with time zone,
    created_at timestamp with time zone DEFAULT now() NOT NULL
);
CREATE TABLE public.slack_captures (
    id uuid NOT NULL,
    org_id uuid NOT NULL,
    connection_id uuid NOT NULL,
    kind text NOT NULL,
    trigger text NOT NULL,
    slack_user_id text NOT NULL,
    channel_id text,
    request jsonb NOT NULL,
    response_url bytea,
    state text DEFAULT 'accepted'::text NOT NULL,
    outcome jsonb,
    item_id uuid,
    posting_at timestamp with time zone,
    posted_at timestamp with time zone,
    created_at timestamp with time zone NOT NULL,
    CONSTRAINT slack_captures_kind_check CHECK ((kind = ANY (ARRAY['slash'::text, 'modal'::text, 'shortcut'::text]))),
    CONSTRAINT slack_captures_state_check CHECK ((state = ANY (ARRAY['accepted'::text, 'captured'::text, 'refused'::text, 'undone'::text])))
);
CREATE TABLE public.slack_channels (
    org_id uuid NOT NULL,
    connection_id uuid NOT NULL,
    channel_id text NOT NULL,
    project_id uuid NOT NULL
);
CREATE TABLE public.slack_connections (
    id uuid NOT NULL,
    org_id uuid NOT NULL,
    team_id text NOT NULL,
    team_name text NOT NULL,
    bot_user_id text NOT NULL,
    bot_token bytea,
    scopes text[] NOT NULL,
    default_project_id uuid,
    installed_by uuid NOT NULL,
    sync_cursor text,
    connected_at timestamp with time zone NOT NULL,
    revoked_at timestamp with time zone
);
CREATE TABLE public.slack_users (
    org_id uuid NOT NULL,
    connection_id uuid NOT NULL,
    slack_user_id text NOT NULL,
    name text NOT NULL,
    email text,
    user_id uuid,
    mapped_manually boolean DEFAULT false NOT NULL
);
CREATE TABLE public.statuses (
    id uuid NOT NULL,
    org_id uuid NOT NULL,
    project_id uuid NOT NULL,
    name text NOT NULL,
    category text NOT NULL,
    color text,
    "position" integer NOT NULL,
    created_at timestamp with time zone DEFAULT now() NOT NULL,
    deleted_at timestamp with time zone,
    replaced_by uuid,
    CONSTRAINT statuses_category_check CHECK ((category = ANY (ARRAY['BACKLOG'::text, 'UNSTARTED'::text, 'STARTED'::text, 'COMPLETED'::text, 'CANCELLED'::text])))
);
CREATE TABLE public.users (
    id uuid NOT NULL,
    org_id uuid NOT NULL,
    email text NOT NULL,
    name text NOT NULL,
    password_hash text,
    timezone text,
    notify_at time without time zone DEFAULT '09:00:00'::time without time zone NOT NULL,
    email_verified_at timestamp with time zone,
    deactivated_at timestamp with time zone,
    created_at timestamp with time zone DEFAULT now() NOT NULL
);
CREATE TABLE public.work_item_watchers (
    org_id uuid NOT NULL,
    item_id uuid NOT NULL,
    user_id uuid NOT NULL,
    reason text NOT NULL,
    CONSTRAINT work_item_watchers_reason_check CHECK ((reason = ANY (ARRAY['ASSIGNEE'::text, 'AUTHOR'::text, 'MENTIONED'::text, 'MANUAL'::text])))
);
CREATE TABLE public.work_items (
    id uuid NOT NULL,
    org_id uuid NOT NULL,
    project_id uuid NOT NULL,
    number integer NOT NULL,
    key text NOT NULL,
    title text NOT NULL,
    description text,
    status_id uuid NOT NULL,
    priority public.priority DEFAULT 'NONE'::public.priority NOT NULL,
    source text NOT NULL,
    assignee_id uuid,
    reporter_id uuid,
    parent_id uuid,
    capture_id uuid,
    label_ids uuid[] DEFAULT '{}'::uuid[] NOT NULL,
    child_count integer DEFAULT 0 NOT NULL,
    estimate_value double precision,
    start_date date,
    end_date date,
    due_date date,
    "position" double precision NOT NULL,
    version integer DEFAULT 1 NOT NULL,
    completed_at timestamp with time zone,
    closed_at timestamp with time zone,
    deleted_at timestamp with time zone,
    created_at timestamp with time zone NOT NULL,
    updated_at timestamp with time zone NOT NULL,
    search tsvector GENERATED ALWAYS AS ((setweight(to_tsvector('english'::regconfig, title), 'A'::"char") || setweight(to_tsvector('english'::regconfig, COALESCE(description, ''::text)), 'B'::"char"))) STORED,
    CONSTRAINT work_items_check CHECK ((end_date >= start_date)),
    CONSTRAINT work_items_estimate_value_check CHECK (((estimate_value >= (0)::double precision) AND (estimate_value <= (100000)::double precision))),
    CONSTRAINT work_items_source_check CHECK ((source = ANY (ARRAY['WEB'::text, 'SLACK'::text, 'MCP'::text, 'API'::text])))
)
WITH (fillfactor='85');
ALTER TABLE ONLY public.work_items ALTER COLUMN search SET STATISTICS 500;
CREATE TABLE public.workspaces (
    id uuid NOT NULL,
    org_id uuid NOT NULL,
    name text NOT NULL,
    slug text NOT NULL,
    created_at timestamp with time zone DEFAULT now() NOT NULL
);
ALTER TABLE ONLY public.api_tokens
    ADD CONSTRAINT api_tokens_pkey PRIMARY KEY (id);
ALTER TABLE ONLY public.api_tokens
    ADD CONSTRAINT api_tokens_token_hash_key UNIQUE (token_hash);
ALTER TABLE ONLY public.bulk_operations
    ADD CONSTRAINT bulk_operations_pkey PRIMARY KEY (id);
ALTER TABLE ONLY public.events
    ADD CONSTRAINT events_pkey PRIMARY KEY (org_id, seq);
ALTER TABLE ONLY public.idempotency_keys
    ADD CONSTRAINT idempotency_keys_pkey PRIMARY KEY (org_id, principal_id, route, key);
ALTER TABLE ONLY public.invitations
    ADD CONSTRAINT invitations_mailed_token_hash_key UNIQUE (mailed_token_hash);
ALTER TABLE ONLY public.invitations
    ADD CONSTRAINT invitations_pkey PRIMARY KEY (id);
ALTER TABLE ONLY public.invitations
    ADD CONSTRAINT invitations_token_hash_key UNIQUE (token_hash);
ALTER TABLE ONLY public.jobs
    ADD CONSTRAINT jobs_pkey PRIMARY KEY (id);
ALTER TABLE ONLY public.labels
    ADD CONSTRAINT labels_org_id_id_key UNIQUE (org_id, id);
ALTER TABLE ONLY public.labels
    ADD CONSTRAINT labels_pkey PRIMARY KEY (id);
ALTER TABLE ONLY public.login_failures
    ADD CONSTRAINT login_failures_pkey PRIMARY KEY (email, address);
ALTER TABLE ONLY public.memberships
    ADD CONSTRAINT memberships_pkey PRIMARY KEY (org_id, user_id);
ALTER TABLE ONLY public.notification_scans
    ADD CONSTRAINT notification_scans_pkey PRIMARY KEY (org_id, user_id);
ALTER TABLE ONLY public.notifications
    ADD CONSTRAINT notifications_org_id_recipient_id_dedupe_key_key UNIQUE (org_id, recipient_id, dedupe_key);
ALTER TABLE ONLY public.notifications
    ADD CONSTRAINT notifications_pkey PRIMARY KEY (id);
ALTER TABLE ONLY public.one_time_tokens
    ADD CONSTRAINT one_time_tokens_pkey PRIMARY KEY (id);
ALTER TABLE ONLY public.one_time_tokens
    ADD CONSTRAINT one_time_tokens_token_hash_key UNIQUE (token_hash);
ALTER TABLE ONLY public.organizations
    ADD CONSTRAINT organizations_pkey PRIMARY KEY (id);
ALTER TABLE ONLY public.organizations
    ADD CONSTRAINT organizations_slug_key UNIQUE (slug);
ALTER TABLE ONLY public.project_counters
    ADD CONSTRAINT project_counters_pkey PRIMARY KEY (project_id);
ALTER TABLE ONLY public.project_members
    ADD CONSTRAINT project_members_pkey PRIMARY KEY (org_id, project_id, user_id);
ALTER TABLE ONLY public.projects
    ADD CONSTRAINT projects_org_id_id_key UNIQUE (org_id, id);
ALTER TABLE ONLY public.projects
    ADD CONSTRAINT projects_pkey PRIMARY KEY (id);
ALTER TABLE ONLY public.revocations
    ADD CONSTRAINT revocations_pkey PRIMARY KEY (subject_id);
ALTER TABLE ONLY public.schedules
    ADD CONSTRAINT schedules_pkey PRIMARY KEY (name);
ALTER TABLE ONLY public.schema_migrations
    ADD CONSTRAINT schema_migrations_pkey PRIMARY KEY (version);
ALTER TABLE ONLY public.sessions
    ADD CONSTRAINT sessions_pkey PRIMARY KEY (id);
ALTER TABLE ONLY public.sessions
    ADD CONSTRAINT sessions_refresh_token_hash_key UNIQUE (refresh_token_hash);
ALTER TABLE ONLY public.slack_captures
    ADD CONSTRAINT slack_captures_connection_id_kind_trigger_key UNIQUE (connection_id, kind, trigger);
ALTER TABLE ONLY public.slack_captures
    ADD CONSTRAINT slack_captures_org_id_id_key UNIQUE (org_id, id);
ALTER TABLE ONLY public.slack_captures
    ADD CONSTRAINT slack_captures_pkey PRIMARY KEY (id);
ALTER TABLE ONLY public.slack_channels
    ADD CONSTRAINT slack_channels_pkey PRIMARY KEY (org_id, connection_id, channel_id);
ALTER TABLE ONLY public.slack_connections
    ADD CONSTRAINT slack_connections_org_id_id_key UNIQUE (org_id, id);
ALTER TABLE ONLY public.slack_connections
    ADD CONSTRAINT slack_connections_org_id_team_id_key UNIQUE (org_id, team_id);
ALTER TABLE ONLY public.slack_connections
    ADD CONSTRAINT slack_connections_pkey PRIMARY KEY (id);
ALTER TABLE ONLY public.slack_users
    ADD CONSTRAINT slack_users_pkey PRIMARY KEY (org_id, connection_id, slack_user_id);
ALTER TABLE ONLY public.statuses
    ADD CONSTRAINT statuses_org_id_project_id_id_key UNIQUE (org_id, project_id, id);
ALTER TABLE ONLY public.statuses
    ADD CONSTRAINT statuses_pkey PRIMARY KEY (id);
ALTER TABLE ONLY public.users
    ADD CONSTRAINT users_org_id_id_key UNIQUE (org_id, id);
ALTER TABLE ONLY public.users
    ADD CONSTRAINT users_pkey PRIMARY KEY (id);
ALTER TABLE ONLY public.work_item_watchers
    ADD CONSTRAINT work_item_watchers_pkey PRIMARY KEY (org_id, item_id, user_id);
ALTER TABLE ONLY public.work_items
    ADD CONSTRAINT work_items_capture_id_key UNIQUE (capture_id);
ALTER TABLE ONLY public.work_items
    ADD CONSTRAINT work_items_org_id_id_key UNIQUE (org_id, id);
ALTER TABLE ONLY public.work_items
    ADD CONSTRAINT work_items_org_id_project_id_number_key UNIQUE (org_id, project_id, number);
ALTER TABLE ONLY public.work_items
    ADD CONSTRAINT work_items_pkey PRIMARY KEY (id);
ALTER TABLE ONLY public.workspaces
    ADD CONSTRAINT workspaces_org_id_id_key UNIQUE (org_id, id);
ALTER TABLE ONLY public.workspaces
    ADD CONSTRAINT workspaces_org_id_slug_key UNIQUE (org_id, slug);
ALTER TABLE ONLY public.workspaces
    ADD CONSTRAINT workspaces_pkey PRIMARY KEY (id);
CREATE INDEX api_tokens_of_user ON public.api_tokens USING btree (org_id, user_id);
CREATE INDEX bulk_operations_finished ON public.bulk_operations USING btree (finished_at);
CREATE INDEX bulk_operations_going_on ON public.bulk_operations USING btree (org_id) WHERE (finished_at IS NULL);
CREATE INDEX bulk_operations_of_org ON public.bulk_operations USING btree (org_id, id);
CREATE INDEX events_of_item ON public.events USING btree (org_id, COALESCE(item_id, subject_id), seq);
CREATE INDEX idempotency_keys_age ON public.idempotency_keys USING btree (created_at);
CREATE INDEX invitations_of_org ON public.invitations USING btree (org_id);
CREATE INDEX jobs_dead ON public.jobs USING btree (id) WHERE (state = 'dead'::text);
CREATE INDEX jobs_dead_age ON public.jobs USING btree (due_at) WHERE (state = 'dead'::text);
CREATE INDEX jobs_due ON public.jobs USING btree (name, due_at) WHERE (state <> 'dead'::text);
CREATE INDEX jobs_of_org ON public.jobs USING btree (org_id);
CREATE UNIQUE INDEX labels_name ON public.labels USING btree (org_id, workspace_id, lower(name));
CREATE INDEX notifications_due ON public.notifications USING btree (org_id, entity_id) WHERE ((read_at IS NULL) AND (archived_at IS NULL) AND (type = ANY (ARRAY['DUE_SOON'::text, 'OVERDUE'::text])));
CREATE INDEX notifications_inbox ON public.notifications USING btree (org_id, recipient_id, created_at, id);
CREATE INDEX notifications_project ON public.notifications USING btree (org_id, project_id);
CREATE INDEX notifications_seen_age ON public.notifications USING btree (created_at) WHERE ((read_at IS NOT NULL) OR (archived_at IS NOT NULL));
CREATE INDEX notifications_unread ON public.notifications USING btree (org_id, recipient_id, created_at, id) WHERE ((read_at IS NULL) AND (archived_at IS NULL));
CREATE INDEX notifications_unseen_age ON public.notifications USING btree (created_at) WHERE ((read_at IS NULL) AND (archived_at IS NULL));
CREATE INDEX one_time_tokens_of_user ON public.one_time_tokens USING btree (org_id, user_id);
CREATE INDEX project_members_of_user ON public.project_members USING btree (org_id, user_id);
CREATE UNIQUE INDEX projects_key_prefix ON public.projects USING btree (org_id, key_prefix) WHERE (deleted_at IS NULL);
CREATE INDEX revocations_at ON public.revocations USING btree (at);
CREATE INDEX sessions_expiry ON public.sessions USING btree (expires_at);
CREATE INDEX sessions_family ON public.sessions USING btree (family_id);
CREATE INDEX sessions_of_user ON public.sessions USING btree (org_id, user_id);
CREATE INDEX slack_captures_age ON public.slack_captures USING btree (created_at);
CREATE INDEX slack_captures_response_url ON public.slack_captures USING btree (created_at) WHERE (response_url IS NOT NULL);
CREATE UNIQUE INDEX slack_connections_org ON public.slack_connections USING btree (org_id) WHERE (revoked_at IS NULL);
CREATE UNIQUE INDEX slack_connections_team ON public.slack_connections USING btree (team_id) WHERE (revoked_at IS NULL);
CREATE UNIQUE INDEX statuses_name ON public.statuses USING btree (org_id, project_id, lower(name));
CREATE UNIQUE INDEX users_email ON public.users USING btree (org_id, lower(email)) WHERE (deactivated_at IS NULL);
CREATE INDEX users_of_address ON public.users USING btree (lower(email)) WHERE (deactivated_at IS NULL);
CREATE INDEX work_item_watchers_of_user ON public.work_item_watchers USING btree (org_id, user_id);
CREATE INDEX work_items_assignee ON public.work_items USING btree (org_id, assignee_id, number) WHERE ((deleted_at IS NULL) AND (assignee_id IS NOT NULL));
CREATE INDEX work_items_column ON public.work_items USING btree (org_id, project_id, status_id, "position");
CREATE INDEX work_items_created_at ON public.work_items USING btree (org_id, project_id, created_at, number) WHERE (deleted_at IS NULL);
CREATE INDEX work_items_due ON public.work_items USING btree (org_id, due_date) WHERE ((deleted_at IS NULL) AND (closed_at IS NULL) AND (due_date IS NOT NULL));
CREATE INDEX work_items_due_date ON public.work_items USING btree (org_id, project_id, due_date, number) WHERE ((deleted_at IS NULL) AND (due_date IS NOT NULL));
CREATE INDEX work_items_end_date ON public.work_items USING btree (org_id, project_id, end_date, number) WHERE ((deleted_at IS NULL) AND (end_date IS NOT NULL));
CREATE INDEX work_items_groups ON public.work_items USING btree (org_id, project_id, status_id, priority, assignee_id) WHERE (deleted_at IS NULL);
CREATE INDEX work_items_labels ON public.work_items USING gin (label_ids);
CREATE INDEX work_items_number ON public.work_items USING btree (org_id, number, id) WHERE (deleted_at IS NULL);
CREATE INDEX work_items_parent ON public.work_items USING btree (org_id, parent_id) WHERE (parent_id IS NOT NULL);
CREATE INDEX work_items_priority ON public.work_items USING btree (org_id, project_id, priority, number) WHERE (deleted_at IS NULL);
CREATE INDEX work_items_priority_due ON public.work_items USING btree (org_id, project_id, priority, due_date, number) WHERE (deleted_at IS NULL);
CREATE INDEX work_items_search ON public.work_items USING gin (search);
CREATE INDEX work_items_start_date ON public.work_items USING btree (org_id, project_id, start_date, number) WHERE ((deleted_at IS NULL) AND (start_date IS NOT NULL));
CREATE INDEX work_items_trash ON public.work_items USING btree (org_id, deleted_at) WHERE (deleted_at IS NOT NULL);
CREATE INDEX work_items_updated_at ON public.work_items USING btree (org_id, project_id, updated_at, number) WHERE (deleted_at IS NULL);
CREATE INDEX work_items_urgent ON public.work_items USING btree (org_id, project_id, number) WHERE ((priority = 'URGENT'::public.priority) AND (closed_at IS NULL) AND (deleted_at IS NULL));
ALTER TABLE ONLY public.api_tokens
    ADD CONSTRAINT api_tokens_org_id_user_id_fkey FOREIGN KEY (org_id, user_id) REFERENCES public.users(org_id, id) ON DELETE CASCADE;
ALTER TABLE ONLY public.bulk_operations
    ADD CONSTRAINT bulk_operations_org_id_fkey FOREIGN KEY (org_id) REFERENCES public.organizations(id) ON DELETE CASCADE;
ALTER TABLE ONLY public.events
    ADD CONSTRAINT events_org_id_fkey FOREIGN KEY (org_id) REFERENCES public.organizations(id) ON DELETE CASCADE;
ALTER TABLE ONLY public.idempotency_keys
    ADD CONSTRAINT idempotency_keys_org_id_fkey FOREIGN KEY (org_id) REFERENCES public.organizations(id) ON DELETE CASCADE;
ALTER TABLE ONLY public.invitations
    ADD CONSTRAINT invitations_org_id_fkey FOREIGN KEY (org_id) REFERENCES public.organizations(id) ON DELETE CASCADE;
ALTER TABLE ONLY public.invitations
    ADD CONSTRAINT invitations_org_id_invited_by_user_id_fkey FOREIGN KEY (org_id, invited_by_user_id) REFERENCES public.users(org_id, id) ON DELETE CASCADE;
ALTER TABLE ONLY public.invitations
    ADD CONSTRAINT invitations_org_id_workspace_id_fkey FOREIGN KEY (org_id, workspace_id) REFERENCES public.workspaces(org_id, id) ON DELETE CASCADE;
ALTER TABLE ONLY public.jobs
    ADD CONSTRAINT jobs_org_id_fkey FOREIGN KEY (org_id) REFERENCES public.organizations(id) ON DELETE CASCADE;
ALTER TABLE ONLY public.labels
    ADD CONSTRAINT labels_org_id_workspace_id_fkey FOREIGN KEY (org_id, workspace_id) REFERENCES public.workspaces(org_id, id) ON DELETE CASCADE;
ALTER TABLE ONLY public.memberships
    ADD CONSTRAINT memberships_org_id_user_id_fkey FOREIGN KEY (org_id, user_id) REFERENCES public.users(org_id, id) ON DELETE CASCADE;
ALTER TABLE ONLY public.memberships
    ADD CONSTRAINT memberships_org_id_workspace_id_fkey FOREIGN KEY (org_id, workspace_id) REFERENCES public.workspaces(org_id, id);
ALTER TABLE ONLY public.notification_scans
    ADD CONSTRAINT notification_scans_org_id_user_id_fkey FOREIGN KEY (org_id, user_id) REFERENCES public.users(org_id, id) ON DELETE CASCADE;
ALTER TABLE ONLY public.notifications
    ADD CONSTRAINT notifications_org_id_project_id_fkey FOREIGN KEY (org_id, project_id) REFERENCES public.projects(org_id, id) ON DELETE CASCADE;
ALTER TABLE ONLY public.notifications
    ADD CONSTRAINT notifications_org_id_recipient_id_fkey FOREIGN KEY (org_id, recipient_id) REFERENCES public.users(org_id, id) ON DELETE CASCADE;
ALTER TABLE ONLY public.one_time_tokens
    ADD CONSTRAINT one_time_tokens_org_id_user_id_fkey FOREIGN KEY (org_id, user_id) REFERENCES public.users(org_id, id) ON DELETE CASCADE;
ALTER TABLE ONLY public.project_counters
    ADD CONSTRAINT project_counters_org_id_project_id_fkey FOREIGN KEY (org_id, project_id) REFERENCES public.projects(org_id, id) ON DELETE CASCADE;
ALTER TABLE ONLY public.project_members
    ADD CONSTRAINT project_members_org_id_project_id_fkey FOREIGN KEY (org_id, project_id) REFERENCES public.projects(org_id, id) ON DELETE CASCADE;
ALTER TABLE ONLY public.project_members
    ADD CONSTRAINT project_members_org_id_user_id_fkey FOREIGN KEY (org_id, user_id) REFERENCES public.users(org_id, id) ON DELETE CASCADE;
ALTER TABLE ONLY public.projects
    ADD CONSTRAINT projects_org_id_fkey FOREIGN KEY (org_id) REFERENCES public.organizations(id) ON DELETE CASCADE;
ALTER TABLE ONLY public.projects
    ADD CONSTRAINT projects_org_id_lead_id_fkey FOREIGN KEY (org_id, lead_id) REFERENCES public.users(org_id, id);
ALTER TABLE ONLY public.projects
    ADD CONSTRAINT projects_org_id_workspace_id_fkey FOREIGN KEY (org_id, workspace_id) REFERENCES public.workspaces(org_id, id);
ALTER TABLE ONLY public.sessions
    ADD CONSTRAINT sessions_org_id_user_id_fkey FOREIGN KEY (org_id, user_id) REFERENCES public.users(org_id, id) ON DELETE CASCADE;
ALTER TABLE ONLY public.slack_captures
    ADD CONSTRAINT slack_captures_org_id_connection_id_fkey FOREIGN KEY (org_id, connection_id) REFERENCES public.slack_connections(org_id, id) ON DELETE CASCADE;
ALTER TABLE ONLY public.slack_channels
    ADD CONSTRAINT slack_channels_org_id_connection_id_fkey FOREIGN KEY (org_id, connection_id) REFERENCES public.slack_connections(org_id, id) ON DELETE CASCADE;
ALTER TABLE ONLY public.slack_channels
    ADD CONSTRAINT slack_channels_org_id_project_id_fkey FOREIGN KEY (org_id, project_id) REFERENCES public.projects(org_id, id) ON DELETE CASCADE;
ALTER TABLE ONLY public.slack_connections
    ADD CONSTRAINT slack_connections_org_id_default_project_id_fkey FOREIGN KEY (org_id, default_project_id) REFERENCES public.projects(org_id, id) ON DELETE SET NULL (default_project_id);
ALTER TABLE ONLY public.slack_connections
    ADD CONSTRAINT slack_connections_org_id_fkey FOREIGN KEY (org_id) REFERENCES public.organizations(id) ON DELETE CASCADE;
ALTER TABLE ONLY public.slack_connections
    ADD CONSTRAINT slack_connections_org_id_installed_by_fkey FOREIGN KEY (org_id, installed_by) REFERENCES public.users(org_id, id);
ALTER TABLE ONLY public.slack_users
    ADD CONSTRAINT slack_users_org_id_connection_id_fkey FOREIGN KEY (org_id, connection_id) REFERENCES public.slack_connections(org_id, id) ON DELETE CASCADE;
ALTER TABLE ONLY public.slack_users
    ADD CONSTRAINT slack_users_org_id_user_id_fkey FOREIGN KEY (org_id, user_id) REFERENCES public.users(org_id, id) ON DELETE SET NULL (user_id);
ALTER TABLE ONLY public.statuses
    ADD CONSTRAINT statuses_org_id_project_id_fkey FOREIGN KEY (org_id, project_id) REFERENCES public.projects(org_id, id) ON DELETE CASCADE;
ALTER TABLE ONLY public.users
    ADD CONSTRAINT users_org_id_fkey FOREIGN KEY (org_id) REFERENCES public.organizations(id) ON DELETE CASCADE;
ALTER TABLE ONLY public.work_item_watchers
    ADD CONSTRAINT work_item_watchers_org_id_item_id_fkey FOREIGN KEY (org_id, item_id) REFERENCES public.work_items(org_id, id) ON DELETE CASCADE;
ALTER TABLE ONLY public.work_item_watchers
    ADD CONSTRAINT work_item_watchers_org_id_user_id_fkey FOREIGN KEY (org_id, user_id) REFERENCES public.users(org_id, id) ON DELETE CASCADE;
ALTER TABLE ONLY public.work_items
    ADD CONSTRAINT work_items_org_id_assignee_id_fkey FOREIGN KEY (org_id, assignee_id) REFERENCES public.users(org_id, id);
ALTER TABLE ONLY public.work_items
    ADD CONSTRAINT work_items_org_id_parent_id_fkey FOREIGN KEY (org_id, parent_id) REFERENCES public.work_items(org_id, id) ON DELETE SET NULL (parent_id);
ALTER TABLE ONLY public.work_items
    ADD CONSTRAINT work_items_org_id_project_id_fkey FOREIGN KEY (org_id, project_id) REFERENCES public.projects(org_id, id) ON DELETE CASCADE;
ALTER TABLE ONLY public.work_items
    ADD CONSTRAINT work_items_org_id_project_id_status_id_fkey FOREIGN KEY (org_id, project_id, status_id) REFERENCES public.statuses(org_id, project_id, id);
ALTER TABLE ONLY public.work_items
    ADD CONSTRAINT work_items_org_id_reporter_id_fkey FOREIGN KEY (org_id, reporter_id) REFERENCES public.users(org_id, id);
ALTER TABLE ONLY public.workspaces
    ADD CONSTRAINT workspaces_org_id_fkey FOREIGN KEY (org_id) REFERENCES public.organizations(id) ON DELETE CASCADE;

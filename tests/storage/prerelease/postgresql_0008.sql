CREATE TABLE public.alembic_version (
    version_num character varying(32) NOT NULL
);
CREATE TABLE public.caller_secrets (
    key_id text NOT NULL,
    caller text NOT NULL,
    ordinal integer NOT NULL,
    digest bytea NOT NULL,
    created_at timestamp with time zone NOT NULL,
    expires_at timestamp with time zone
);
CREATE TABLE public.callers (
    name text NOT NULL,
    policy json NOT NULL,
    disabled_at timestamp with time zone,
    created_at timestamp with time zone NOT NULL
);
CREATE TABLE public.channels (
    arn text NOT NULL,
    playback_url text,
    authorized boolean NOT NULL,
    checked_at timestamp with time zone NOT NULL,
    version bigint NOT NULL
);
CREATE TABLE public.denials (
    digest bytea NOT NULL,
    channel text NOT NULL,
    denied_until bigint NOT NULL,
    minimum_version bigint NOT NULL,
    over_at bigint NOT NULL,
    caller text NOT NULL,
    reason text NOT NULL,
    created_at double precision NOT NULL,
    number bigint NOT NULL,
    id text,
    minimum_lead bigint DEFAULT '0'::bigint NOT NULL
);
CREATE TABLE public.deployment (
    singleton integer NOT NULL,
    id text NOT NULL,
    control_plane text,
    account text,
    max_ttl_seconds integer NOT NULL,
    passphrase_salt bytea NOT NULL,
    key_lead_seconds double precision DEFAULT '30'::double precision NOT NULL,
    key_max_age_seconds double precision,
    key_standby boolean DEFAULT true NOT NULL,
    subject_keys_made integer DEFAULT 0 NOT NULL,
    CONSTRAINT ck_deployment_one_row CHECK ((singleton = 1))
);
CREATE TABLE public.idempotency_keys (
    caller text NOT NULL,
    key text NOT NULL,
    body_digest bytea NOT NULL,
    answer json NOT NULL,
    used_at double precision NOT NULL
);
CREATE TABLE public.key_journal (
    id integer NOT NULL,
    kind text NOT NULL,
    key_id text NOT NULL,
    region text NOT NULL,
    why text NOT NULL,
    begun_at timestamp with time zone NOT NULL,
    ended_at timestamp with time zone,
    outcome text
);
CREATE SEQUENCE public.key_journal_id_seq
    AS integer
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1;
ALTER SEQUENCE public.key_journal_id_seq OWNED BY public.key_journal.id;
CREATE TABLE public.key_pairs (
    id text NOT NULL,
    fingerprint text NOT NULL,
    public_der bytea NOT NULL,
    created_at timestamp with time zone NOT NULL,
    compromised_at timestamp with time zone,
    longest_ttl_seconds integer DEFAULT 0 NOT NULL
);
CREATE TABLE public.key_places (
    key_id text NOT NULL,
    account text NOT NULL,
    region text NOT NULL,
    state text NOT NULL,
    arn text NOT NULL,
    imported_at timestamp with time zone NOT NULL,
    activated_at timestamp with time zone,
    retiring_at timestamp with time zone,
    retired_at timestamp with time zone,
    longest_ttl_seconds integer NOT NULL,
    compromised_at timestamp with time zone,
    deleting_at timestamp with time zone,
    fingerprint_differs boolean DEFAULT false NOT NULL
);
CREATE TABLE public.key_rotations (
    id text NOT NULL,
    requested_at timestamp with time zone NOT NULL,
    replaces json NOT NULL,
    requested_by text NOT NULL
);
CREATE TABLE public.leases (
    name text NOT NULL,
    holder text NOT NULL,
    expires_at double precision NOT NULL
);
CREATE TABLE public.private_keys (
    key_id text NOT NULL,
    wrapped text NOT NULL
);
CREATE TABLE public.revocation_entries (
    id bigint NOT NULL,
    digest bytea NOT NULL,
    account text NOT NULL,
    region text NOT NULL,
    channel_arn text NOT NULL,
    viewer_id text NOT NULL,
    version bigint NOT NULL,
    lane smallint NOT NULL,
    caller text NOT NULL,
    state text NOT NULL,
    attempts integer NOT NULL,
    queued_at double precision NOT NULL,
    due_at double precision NOT NULL,
    ended_at double precision,
    code text NOT NULL,
    message text NOT NULL,
    CONSTRAINT ck_revocation_entries_queued_until_it_ends CHECK (((state = 'queued'::text) = (ended_at IS NULL)))
);
CREATE TABLE public.revocation_targets (
    revocation bigint NOT NULL,
    entry bigint NOT NULL,
    version bigint NOT NULL,
    cancelled boolean NOT NULL
);
CREATE TABLE public.revocations (
    number bigint NOT NULL,
    id text NOT NULL,
    caller text NOT NULL,
    reason text NOT NULL,
    accepted_at double precision NOT NULL,
    readmit_after bigint NOT NULL
);
CREATE TABLE public.subject_keys (
    version integer NOT NULL,
    wrapped bytea NOT NULL,
    created_at timestamp with time zone NOT NULL
);
CREATE TABLE public.version_history (
    name text NOT NULL,
    slot integer NOT NULL,
    n bigint NOT NULL,
    tag text NOT NULL
);
CREATE TABLE public.versions (
    name text NOT NULL,
    n bigint NOT NULL,
    tag text DEFAULT ''::text NOT NULL
);
CREATE TABLE public.workers (
    worker_id text NOT NULL,
    host text NOT NULL,
    pid integer NOT NULL,
    lease_seconds double precision NOT NULL,
    keys_version bigint NOT NULL,
    deployment_version bigint NOT NULL,
    unopened json NOT NULL,
    trouble json NOT NULL,
    regions json NOT NULL,
    started_at double precision NOT NULL,
    beat_at double precision NOT NULL,
    store_timeout_seconds double precision DEFAULT '60'::double precision NOT NULL,
    keys_tag text DEFAULT ''::text NOT NULL,
    deployment_tag text DEFAULT ''::text NOT NULL,
    signer text DEFAULT ''::text NOT NULL,
    why_not_faster text DEFAULT ''::text NOT NULL
);
CREATE TABLE public.wrapping_keys (
    name text NOT NULL,
    check_value bytea
);
ALTER TABLE ONLY public.key_journal ALTER COLUMN id SET DEFAULT nextval('public.key_journal_id_seq'::regclass);
INSERT INTO public.alembic_version VALUES ('0008');
INSERT INTO public.deployment VALUES (1, '00000000-0000-4000-8000-000000000000', NULL, NULL, 3600, '\x0000000000000000000000000000000000000000000000000000000000000000', 30, NULL, true, 0);
INSERT INTO public.version_history VALUES ('deployment', 0, 0, '0123456789abcdef');
INSERT INTO public.version_history VALUES ('keys', 0, 0, '0123456789abcdef');
INSERT INTO public.version_history VALUES ('callers', 0, 0, '0123456789abcdef');
INSERT INTO public.version_history VALUES ('channels', 0, 0, '0123456789abcdef');
INSERT INTO public.version_history VALUES ('denials', 0, 0, '0123456789abcdef');
INSERT INTO public.versions VALUES ('deployment', 0, '0123456789abcdef');
INSERT INTO public.versions VALUES ('keys', 0, '0123456789abcdef');
INSERT INTO public.versions VALUES ('callers', 0, '0123456789abcdef');
INSERT INTO public.versions VALUES ('channels', 0, '0123456789abcdef');
INSERT INTO public.versions VALUES ('denials', 0, '0123456789abcdef');
INSERT INTO public.versions VALUES ('revocations', 0, '0123456789abcdef');
SELECT pg_catalog.setval('public.key_journal_id_seq', 1, false);
ALTER TABLE ONLY public.alembic_version
    ADD CONSTRAINT alembic_version_pkc PRIMARY KEY (version_num);
ALTER TABLE ONLY public.caller_secrets
    ADD CONSTRAINT pk_caller_secrets PRIMARY KEY (key_id);
ALTER TABLE ONLY public.callers
    ADD CONSTRAINT pk_callers PRIMARY KEY (name);
ALTER TABLE ONLY public.channels
    ADD CONSTRAINT pk_channels PRIMARY KEY (arn);
ALTER TABLE ONLY public.denials
    ADD CONSTRAINT pk_denials PRIMARY KEY (digest);
ALTER TABLE ONLY public.deployment
    ADD CONSTRAINT pk_deployment PRIMARY KEY (singleton);
ALTER TABLE ONLY public.idempotency_keys
    ADD CONSTRAINT pk_idempotency_keys PRIMARY KEY (caller, key);
ALTER TABLE ONLY public.key_journal
    ADD CONSTRAINT pk_key_journal PRIMARY KEY (id);
ALTER TABLE ONLY public.key_pairs
    ADD CONSTRAINT pk_key_pairs PRIMARY KEY (id);
ALTER TABLE ONLY public.key_places
    ADD CONSTRAINT pk_key_places PRIMARY KEY (key_id, account, region);
ALTER TABLE ONLY public.key_rotations
    ADD CONSTRAINT pk_key_rotations PRIMARY KEY (id);
ALTER TABLE ONLY public.leases
    ADD CONSTRAINT pk_leases PRIMARY KEY (name);
ALTER TABLE ONLY public.private_keys
    ADD CONSTRAINT pk_private_keys PRIMARY KEY (key_id);
ALTER TABLE ONLY public.revocation_entries
    ADD CONSTRAINT pk_revocation_entries PRIMARY KEY (id);
ALTER TABLE ONLY public.revocation_targets
    ADD CONSTRAINT pk_revocation_targets PRIMARY KEY (revocation, entry);
ALTER TABLE ONLY public.revocations
    ADD CONSTRAINT pk_revocations PRIMARY KEY (number);
ALTER TABLE ONLY public.subject_keys
    ADD CONSTRAINT pk_subject_keys PRIMARY KEY (version);
ALTER TABLE ONLY public.version_history
    ADD CONSTRAINT pk_version_history PRIMARY KEY (name, slot);
ALTER TABLE ONLY public.versions
    ADD CONSTRAINT pk_versions PRIMARY KEY (name);
ALTER TABLE ONLY public.workers
    ADD CONSTRAINT pk_workers PRIMARY KEY (worker_id);
ALTER TABLE ONLY public.wrapping_keys
    ADD CONSTRAINT pk_wrapping_keys PRIMARY KEY (name);
ALTER TABLE ONLY public.caller_secrets
    ADD CONSTRAINT uq_caller_secrets_caller_ordinal UNIQUE (caller, ordinal);
ALTER TABLE ONLY public.key_pairs
    ADD CONSTRAINT uq_key_pairs_public_der UNIQUE (public_der);
ALTER TABLE ONLY public.key_places
    ADD CONSTRAINT uq_key_places_arn UNIQUE (arn);
ALTER TABLE ONLY public.revocations
    ADD CONSTRAINT uq_revocations_id UNIQUE (id);
CREATE INDEX denials_in_order ON public.denials USING btree (number, id);
CREATE INDEX ix_channels_checked_at ON public.channels USING btree (checked_at);
CREATE INDEX ix_channels_version ON public.channels USING btree (version);
CREATE INDEX ix_denials_over_at ON public.denials USING btree (over_at);
CREATE INDEX ix_idempotency_keys_used_at ON public.idempotency_keys USING btree (used_at);
CREATE INDEX ix_key_journal_ended_at ON public.key_journal USING btree (ended_at);
CREATE INDEX ix_key_journal_key_id ON public.key_journal USING btree (key_id);
CREATE INDEX ix_key_rotations_requested_at ON public.key_rotations USING btree (requested_at);
CREATE INDEX ix_revocation_targets_entry ON public.revocation_targets USING btree (entry);
CREATE UNIQUE INDEX one_active_key_per_place ON public.key_places USING btree (account, region) WHERE (state = 'active'::text);
CREATE UNIQUE INDEX one_denial_of_an_id ON public.denials USING btree (id);
CREATE UNIQUE INDEX one_open_step_of_a_kind ON public.key_journal USING btree (kind, key_id, region) WHERE (ended_at IS NULL);
CREATE UNIQUE INDEX one_queued_entry_per_viewer ON public.revocation_entries USING btree (digest) WHERE (ended_at IS NULL);
CREATE INDEX revocation_entries_due ON public.revocation_entries USING btree (account, region, lane, id, due_at) WHERE (state = 'queued'::text);
CREATE INDEX revocation_entries_ended ON public.revocation_entries USING btree (ended_at) WHERE (ended_at IS NOT NULL);
ALTER TABLE ONLY public.caller_secrets
    ADD CONSTRAINT fk_caller_secrets_caller FOREIGN KEY (caller) REFERENCES public.callers(name);
ALTER TABLE ONLY public.key_places
    ADD CONSTRAINT fk_key_places_key_id FOREIGN KEY (key_id) REFERENCES public.key_pairs(id);
ALTER TABLE ONLY public.revocation_targets
    ADD CONSTRAINT fk_revocation_targets_entry FOREIGN KEY (entry) REFERENCES public.revocation_entries(id);
ALTER TABLE ONLY public.revocation_targets
    ADD CONSTRAINT fk_revocation_targets_revocation FOREIGN KEY (revocation) REFERENCES public.revocations(number);

BEGIN TRANSACTION;
CREATE TABLE alembic_version (
	version_num VARCHAR(32) NOT NULL,
	CONSTRAINT alembic_version_pkc PRIMARY KEY (version_num)
);
INSERT INTO "alembic_version" VALUES('0008');
CREATE TABLE caller_secrets (
	key_id TEXT NOT NULL,
	caller TEXT NOT NULL,
	ordinal INTEGER NOT NULL,
	digest BLOB NOT NULL,
	created_at DATETIME NOT NULL,
	expires_at DATETIME,
	CONSTRAINT pk_caller_secrets PRIMARY KEY (key_id),
	CONSTRAINT uq_caller_secrets_caller_ordinal UNIQUE (caller, ordinal),
	CONSTRAINT fk_caller_secrets_caller FOREIGN KEY(caller) REFERENCES callers (name)
);
CREATE TABLE callers (
	name TEXT NOT NULL,
	policy JSON NOT NULL,
	disabled_at DATETIME,
	created_at DATETIME NOT NULL,
	CONSTRAINT pk_callers PRIMARY KEY (name)
);
CREATE TABLE channels (
	arn TEXT NOT NULL,
	playback_url TEXT,
	authorized BOOLEAN NOT NULL,
	checked_at DATETIME NOT NULL,
	version BIGINT NOT NULL,
	CONSTRAINT pk_channels PRIMARY KEY (arn)
);
CREATE TABLE denials (
	digest BLOB NOT NULL,
	channel TEXT NOT NULL,
	denied_until BIGINT NOT NULL,
	minimum_version BIGINT NOT NULL,
	over_at BIGINT NOT NULL,
	caller TEXT NOT NULL,
	reason TEXT NOT NULL,
	created_at DOUBLE NOT NULL,
	number BIGINT NOT NULL, id TEXT, minimum_lead BIGINT DEFAULT '0' NOT NULL,
	CONSTRAINT pk_denials PRIMARY KEY (digest)
);
CREATE TABLE deployment (
	singleton INTEGER NOT NULL,
	id TEXT NOT NULL,
	control_plane TEXT,
	account TEXT,
	max_ttl_seconds INTEGER NOT NULL,
	passphrase_salt BLOB NOT NULL, key_lead_seconds DOUBLE DEFAULT '30' NOT NULL, key_max_age_seconds DOUBLE, key_standby BOOLEAN DEFAULT 1 NOT NULL, subject_keys_made INTEGER DEFAULT '0' NOT NULL,
	CONSTRAINT pk_deployment PRIMARY KEY (singleton),
	CONSTRAINT ck_deployment_one_row CHECK (singleton = 1)
);
INSERT INTO "deployment" VALUES(1,'00000000-0000-4000-8000-000000000000',NULL,NULL,3600,X'0000000000000000000000000000000000000000000000000000000000000000',30.0,NULL,1,0);
CREATE TABLE idempotency_keys (
	caller TEXT NOT NULL,
	"key" TEXT NOT NULL,
	body_digest BLOB NOT NULL,
	answer JSON NOT NULL,
	used_at DOUBLE NOT NULL,
	CONSTRAINT pk_idempotency_keys PRIMARY KEY (caller, "key")
);
CREATE TABLE key_journal (
	id INTEGER NOT NULL,
	kind TEXT NOT NULL,
	key_id TEXT NOT NULL,
	region TEXT NOT NULL,
	why TEXT NOT NULL,
	begun_at DATETIME NOT NULL,
	ended_at DATETIME,
	outcome TEXT,
	CONSTRAINT pk_key_journal PRIMARY KEY (id)
);
CREATE TABLE key_pairs (
	id TEXT NOT NULL,
	fingerprint TEXT NOT NULL,
	public_der BLOB NOT NULL,
	created_at DATETIME NOT NULL, compromised_at DATETIME, longest_ttl_seconds INTEGER DEFAULT '0' NOT NULL,
	CONSTRAINT pk_key_pairs PRIMARY KEY (id),
	CONSTRAINT uq_key_pairs_public_der UNIQUE (public_der)
);
CREATE TABLE key_places (
	key_id TEXT NOT NULL,
	account TEXT NOT NULL,
	region TEXT NOT NULL,
	state TEXT NOT NULL,
	arn TEXT NOT NULL,
	imported_at DATETIME NOT NULL,
	activated_at DATETIME,
	retiring_at DATETIME,
	retired_at DATETIME,
	longest_ttl_seconds INTEGER NOT NULL, compromised_at DATETIME, deleting_at DATETIME, fingerprint_differs BOOLEAN DEFAULT 0 NOT NULL,
	CONSTRAINT pk_key_places PRIMARY KEY (key_id, account, region),
	CONSTRAINT fk_key_places_key_id FOREIGN KEY(key_id) REFERENCES key_pairs (id),
	CONSTRAINT uq_key_places_arn UNIQUE (arn)
);
CREATE TABLE key_rotations (
	id TEXT NOT NULL,
	requested_at DATETIME NOT NULL,
	replaces JSON NOT NULL,
	requested_by TEXT NOT NULL,
	CONSTRAINT pk_key_rotations PRIMARY KEY (id)
);
CREATE TABLE leases (
	name TEXT NOT NULL,
	holder TEXT NOT NULL,
	expires_at DOUBLE NOT NULL,
	CONSTRAINT pk_leases PRIMARY KEY (name)
);
CREATE TABLE private_keys (
	key_id TEXT NOT NULL,
	wrapped TEXT NOT NULL,
	CONSTRAINT pk_private_keys PRIMARY KEY (key_id)
);
CREATE TABLE revocation_entries (
	id BIGINT NOT NULL,
	digest BLOB NOT NULL,
	account TEXT NOT NULL,
	region TEXT NOT NULL,
	channel_arn TEXT NOT NULL,
	viewer_id TEXT NOT NULL,
	version BIGINT NOT NULL,
	lane SMALLINT NOT NULL,
	caller TEXT NOT NULL,
	state TEXT NOT NULL,
	attempts INTEGER NOT NULL,
	queued_at DOUBLE NOT NULL,
	due_at DOUBLE NOT NULL,
	ended_at DOUBLE,
	code TEXT NOT NULL,
	message TEXT NOT NULL,
	CONSTRAINT pk_revocation_entries PRIMARY KEY (id),
	CONSTRAINT ck_revocation_entries_queued_until_it_ends CHECK ((state = 'queued') = (ended_at IS NULL))
);
CREATE TABLE revocation_targets (
	revocation BIGINT NOT NULL,
	entry BIGINT NOT NULL,
	version BIGINT NOT NULL,
	cancelled BOOLEAN NOT NULL,
	CONSTRAINT pk_revocation_targets PRIMARY KEY (revocation, entry),
	CONSTRAINT fk_revocation_targets_revocation FOREIGN KEY(revocation) REFERENCES revocations (number),
	CONSTRAINT fk_revocation_targets_entry FOREIGN KEY(entry) REFERENCES revocation_entries (id)
);
CREATE TABLE revocations (
	number BIGINT NOT NULL,
	id TEXT NOT NULL,
	caller TEXT NOT NULL,
	reason TEXT NOT NULL,
	accepted_at DOUBLE NOT NULL,
	readmit_after BIGINT NOT NULL,
	CONSTRAINT pk_revocations PRIMARY KEY (number),
	CONSTRAINT uq_revocations_id UNIQUE (id)
);
CREATE TABLE subject_keys (
	version INTEGER NOT NULL,
	wrapped BLOB NOT NULL,
	created_at DATETIME NOT NULL,
	CONSTRAINT pk_subject_keys PRIMARY KEY (version)
);
CREATE TABLE version_history (
	name TEXT NOT NULL,
	slot INTEGER NOT NULL,
	n BIGINT NOT NULL,
	tag TEXT NOT NULL,
	CONSTRAINT pk_version_history PRIMARY KEY (name, slot)
);
INSERT INTO "version_history" VALUES('deployment',0,0,'0123456789abcdef');
INSERT INTO "version_history" VALUES('keys',0,0,'0123456789abcdef');
INSERT INTO "version_history" VALUES('callers',0,0,'0123456789abcdef');
INSERT INTO "version_history" VALUES('channels',0,0,'0123456789abcdef');
INSERT INTO "version_history" VALUES('denials',0,0,'0123456789abcdef');
CREATE TABLE versions (
	name TEXT NOT NULL,
	n BIGINT NOT NULL, tag TEXT DEFAULT '' NOT NULL,
	CONSTRAINT pk_versions PRIMARY KEY (name)
);
INSERT INTO "versions" VALUES('deployment',0,'0123456789abcdef');
INSERT INTO "versions" VALUES('keys',0,'0123456789abcdef');
INSERT INTO "versions" VALUES('callers',0,'0123456789abcdef');
INSERT INTO "versions" VALUES('channels',0,'0123456789abcdef');
INSERT INTO "versions" VALUES('denials',0,'0123456789abcdef');
INSERT INTO "versions" VALUES('revocations',0,'0123456789abcdef');
CREATE TABLE workers (
	worker_id TEXT NOT NULL,
	host TEXT NOT NULL,
	pid INTEGER NOT NULL,
	lease_seconds DOUBLE NOT NULL,
	keys_version BIGINT NOT NULL,
	deployment_version BIGINT NOT NULL,
	unopened JSON NOT NULL,
	trouble JSON NOT NULL,
	regions JSON NOT NULL,
	started_at DOUBLE NOT NULL,
	beat_at DOUBLE NOT NULL, store_timeout_seconds DOUBLE DEFAULT '60' NOT NULL, keys_tag TEXT DEFAULT '' NOT NULL, deployment_tag TEXT DEFAULT '' NOT NULL, signer TEXT DEFAULT '' NOT NULL, why_not_faster TEXT DEFAULT '' NOT NULL,
	CONSTRAINT pk_workers PRIMARY KEY (worker_id)
);
CREATE TABLE wrapping_keys (
	name TEXT NOT NULL,
	check_value BLOB,
	CONSTRAINT pk_wrapping_keys PRIMARY KEY (name)
);
CREATE UNIQUE INDEX one_active_key_per_place ON key_places (account, region) WHERE state = 'active';
CREATE INDEX ix_channels_checked_at ON channels (checked_at);
CREATE INDEX ix_channels_version ON channels (version);
CREATE INDEX ix_key_journal_key_id ON key_journal (key_id);
CREATE INDEX ix_key_journal_ended_at ON key_journal (ended_at);
CREATE UNIQUE INDEX one_open_step_of_a_kind ON key_journal (kind, key_id, region) WHERE ended_at IS NULL;
CREATE INDEX ix_key_rotations_requested_at ON key_rotations (requested_at);
CREATE INDEX ix_denials_over_at ON denials (over_at);
CREATE INDEX revocation_entries_due ON revocation_entries (account, region, lane, id, due_at) WHERE state = 'queued';
CREATE UNIQUE INDEX one_queued_entry_per_viewer ON revocation_entries (digest) WHERE ended_at IS NULL;
CREATE INDEX revocation_entries_ended ON revocation_entries (ended_at) WHERE ended_at IS NOT NULL;
CREATE INDEX ix_revocation_targets_entry ON revocation_targets (entry);
CREATE INDEX ix_idempotency_keys_used_at ON idempotency_keys (used_at);
CREATE INDEX denials_in_order ON denials (number, id);
CREATE UNIQUE INDEX one_denial_of_an_id ON denials (id);
COMMIT;

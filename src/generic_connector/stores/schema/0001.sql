-- The ledger, the vault and the registry. Times are milliseconds since 1970, UTC.
-- Portable on purpose: primary keys that start with time or with the instance, no sequences, no triggers.

CREATE TABLE installation (id TEXT PRIMARY KEY, created_at_ms INTEGER NOT NULL) STRICT;

-- Keys, wrapped by the KEK that `kek_id` names. `seals` counts what is reserved, not what is used.
CREATE TABLE key (
    id INTEGER PRIMARY KEY,
    purpose TEXT NOT NULL,
    wrapped BLOB NOT NULL,
    kek_id TEXT NOT NULL,
    is_active INTEGER NOT NULL,
    created_at_ms INTEGER NOT NULL,
    seals INTEGER NOT NULL DEFAULT 0
) STRICT;

CREATE TABLE instance (
    id INTEGER PRIMARY KEY,
    unique_name TEXT NOT NULL UNIQUE,
    username TEXT NOT NULL UNIQUE,
    mode TEXT NOT NULL,
    allow TEXT NOT NULL,
    processor TEXT NOT NULL,
    dialect TEXT NOT NULL,
    enabled INTEGER NOT NULL,
    require_cvv INTEGER NOT NULL,
    save_card_on_charge INTEGER NOT NULL,
    rate_per_s REAL,
    created_at_ms INTEGER NOT NULL
) STRICT;

CREATE TABLE credential (
    instance_id INTEGER NOT NULL REFERENCES instance (id),
    kind TEXT NOT NULL,
    hash BLOB NOT NULL,
    key_id INTEGER NOT NULL,
    created_at_ms INTEGER NOT NULL,
    PRIMARY KEY (instance_id, kind, hash)
) STRICT, WITHOUT ROWID;

CREATE TABLE access_token (
    id TEXT PRIMARY KEY,
    instance_id INTEGER NOT NULL REFERENCES instance (id),
    scopes TEXT NOT NULL,
    issued_at_ms INTEGER NOT NULL,
    expires_at_ms INTEGER NOT NULL,
    revoked_at_ms INTEGER
) STRICT, WITHOUT ROWID;

-- Administrative acts (PCI DSS 10.2.2). Written in the transaction of the act itself.
CREATE TABLE act (
    at_ms INTEGER NOT NULL,
    actor TEXT NOT NULL,
    action TEXT NOT NULL,
    target TEXT NOT NULL,
    result TEXT NOT NULL
) STRICT;

-- One row a transaction; `ledger.py` has its life. `id` is the charge id or token id, and sorts by time. The carrier's ids are
-- random: their index is the one that is not appended to, so the table keeps a rowid and the index stays small.
CREATE TABLE ledger (
    id TEXT NOT NULL,
    instance_id INTEGER NOT NULL,
    transaction_id TEXT NOT NULL,
    method TEXT NOT NULL,
    state TEXT NOT NULL,
    digest BLOB NOT NULL,
    digest_key_id INTEGER NOT NULL,
    owner TEXT NOT NULL,
    fence INTEGER NOT NULL,
    lease_until_ms INTEGER NOT NULL,
    processor TEXT NOT NULL,
    idempotency_key TEXT NOT NULL,
    kind TEXT NOT NULL,
    brand TEXT,
    bin TEXT NOT NULL,
    last4 TEXT NOT NULL,
    fingerprint BLOB NOT NULL,
    fingerprint_key_id INTEGER NOT NULL,
    amount_minor INTEGER,
    currency TEXT,
    reference TEXT,
    confirmation_number TEXT,
    token_id TEXT,
    request_id TEXT NOT NULL,
    claimed_at_ms INTEGER NOT NULL,
    sent_at_ms INTEGER,
    recorded_at_ms INTEGER,
    possible_duplicate_of TEXT,
    authorization_code TEXT,
    processor_reference TEXT,
    error_code TEXT,
    settled_by TEXT,
    reply_status INTEGER,
    reply_body BLOB
) STRICT;
CREATE UNIQUE INDEX ledger_id ON ledger (id);
CREATE UNIQUE INDEX ledger_transaction ON ledger (instance_id, transaction_id);
-- Small while all is well: what is running or in doubt, for recovery, `reconcile` and the warning about a second charge.
CREATE INDEX ledger_unsettled ON ledger (state, instance_id, fingerprint) WHERE state IN ('running', 'in_doubt');

CREATE TABLE note (
    row_id TEXT NOT NULL,
    at_ms INTEGER NOT NULL,
    event TEXT NOT NULL,
    request_id TEXT NOT NULL
) STRICT;
CREATE INDEX note_row ON note (row_id);

CREATE TABLE vault (
    token_id TEXT PRIMARY KEY,
    instance_id INTEGER NOT NULL,
    is_active INTEGER NOT NULL,
    kind TEXT NOT NULL,
    brand TEXT,
    bin TEXT NOT NULL,
    last4 TEXT NOT NULL,
    sealed BLOB NOT NULL,
    key_id INTEGER NOT NULL,
    fingerprint BLOB NOT NULL,
    fingerprint_key_id INTEGER NOT NULL,
    created_at_ms INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

-- The sandbox's book. Times are milliseconds since 1970, UTC.
-- No card number, no CVV, no account number and no metadata is ever in it.

-- One row for each purchase that was answered, in the order in which they happened. `state` is `captured`, or `declined`.
-- Whoever asks about a key that is dark never gets an answer.
CREATE TABLE purchase (
    place INTEGER PRIMARY KEY,
    idempotency_key TEXT NOT NULL,
    transaction_id TEXT NOT NULL,
    instance TEXT NOT NULL,
    amount_minor INTEGER NOT NULL,
    currency TEXT NOT NULL,
    state TEXT NOT NULL,
    decline_code TEXT,
    authorization_code TEXT,
    processor_reference TEXT,
    avs_result TEXT,
    cvv_result TEXT,
    is_dark INTEGER NOT NULL,
    entered_at_ms INTEGER NOT NULL
) STRICT;
CREATE UNIQUE INDEX purchase_key ON purchase (idempotency_key);

-- Keys whose first send was lost before the capture: that happens once.
CREATE TABLE lost (idempotency_key TEXT PRIMARY KEY) STRICT, WITHOUT ROWID;

-- One fault of each kind. AUTOINCREMENT: an id must not come back, or a send under way would use up the next fault's count.
CREATE TABLE fault (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    kind TEXT NOT NULL UNIQUE,
    argument TEXT,
    remaining INTEGER
) STRICT;

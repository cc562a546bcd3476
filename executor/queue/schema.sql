-- Schema of queue.sqlite3. Each "-- version N" section takes a database from version N-1 to N (pragma user_version).

-- version 1

-- What waits or runs. `number` is JSON text, so that 3, 3.0, 1e400 and NaN come back as they were given;
-- `at_head` marks jobs that a crash or a stop put back: they go first. Secrets of extra_data never get here.
CREATE TABLE queue (
    row        INTEGER PRIMARY KEY AUTOINCREMENT,
    id         TEXT NOT NULL,
    number     TEXT NOT NULL,
    prompt     BLOB NOT NULL,
    targets    TEXT NOT NULL,
    extra      BLOB NOT NULL,
    client_id  TEXT,
    state      TEXT NOT NULL CHECK (state IN ('pending', 'running')),
    attempts   INTEGER NOT NULL DEFAULT 0,
    at_head    INTEGER NOT NULL DEFAULT 0,
    worker     TEXT,
    created_ms INTEGER NOT NULL,
    started_ms INTEGER
);

-- Pending jobs are cancelled by the client's id, which may be used several times.
CREATE INDEX queue_id ON queue (id);

-- What ended. `rank` is the order of completion; an id that is used again keeps its rank and gets the new result.
CREATE TABLE history (
    rank       INTEGER PRIMARY KEY AUTOINCREMENT,
    id         TEXT NOT NULL UNIQUE,
    number     TEXT NOT NULL,
    prompt     BLOB NOT NULL,
    targets    TEXT NOT NULL,
    extra      BLOB NOT NULL,
    client_id  TEXT,
    state      TEXT NOT NULL CHECK (state IN ('succeeded', 'failed', 'interrupted')),
    attempts   INTEGER NOT NULL,
    worker     TEXT,
    created_ms INTEGER NOT NULL,
    started_ms INTEGER,
    ended_ms   INTEGER NOT NULL,
    outputs    BLOB NOT NULL,
    meta       BLOB NOT NULL,
    messages   BLOB NOT NULL
);

-- version 2

-- The id of the front end's workflow that a prompt was made from: lists of jobs are filtered by it.
ALTER TABLE queue ADD COLUMN workflow_id TEXT;
ALTER TABLE history ADD COLUMN workflow_id TEXT;

-- All that a sorted list of jobs needs, so that listing reads no graphs.
CREATE INDEX history_jobs ON history (state, created_ms, started_ms, ended_ms, workflow_id, id);

-- version 3

-- What tells a repeated request from a new one: the digest of its body, where it named an id or a key; and what of
-- its answer the row does not hold.
ALTER TABLE queue ADD COLUMN digest TEXT;
ALTER TABLE queue ADD COLUMN node_errors BLOB NOT NULL DEFAULT '{}';

-- Requests that came with an Idempotency-Key: the same key and body get the same answer until the key is forgotten.
CREATE TABLE idempotency (
    key        TEXT PRIMARY KEY,
    digest     TEXT NOT NULL,
    id         TEXT NOT NULL,
    answer     BLOB NOT NULL,
    created_ms INTEGER NOT NULL
) WITHOUT ROWID;
CREATE INDEX idempotency_created ON idempotency (created_ms);

-- version 4

-- Whose prompt it is where keys separate (--isolate-keys): the name of the key that submitted it, '' for nobody's.
-- Each owner has ids and Idempotency-Keys of its own, so both tables are made anew with the owner in their keys.
ALTER TABLE queue ADD COLUMN owner TEXT NOT NULL DEFAULT '';

CREATE TABLE owned_history (
    rank        INTEGER PRIMARY KEY AUTOINCREMENT,
    owner       TEXT NOT NULL DEFAULT '',
    id          TEXT NOT NULL,
    number      TEXT NOT NULL,
    prompt      BLOB NOT NULL,
    targets     TEXT NOT NULL,
    extra       BLOB NOT NULL,
    client_id   TEXT,
    workflow_id TEXT,
    state       TEXT NOT NULL CHECK (state IN ('succeeded', 'failed', 'interrupted')),
    attempts    INTEGER NOT NULL,
    worker      TEXT,
    created_ms  INTEGER NOT NULL,
    started_ms  INTEGER,
    ended_ms    INTEGER NOT NULL,
    outputs     BLOB NOT NULL,
    meta        BLOB NOT NULL,
    messages    BLOB NOT NULL,
    UNIQUE (owner, id)
);
INSERT INTO owned_history (rank, id, number, prompt, targets, extra, client_id, workflow_id, state, attempts, worker,
    created_ms, started_ms, ended_ms, outputs, meta, messages)
SELECT rank, id, number, prompt, targets, extra, client_id, workflow_id, state, attempts, worker,
    created_ms, started_ms, ended_ms, outputs, meta, messages
FROM history ORDER BY rank;
DROP TABLE history;
ALTER TABLE owned_history RENAME TO history;

-- An operator asks by the id alone.
CREATE INDEX history_id ON history (id);
CREATE INDEX history_jobs ON history (state, created_ms, started_ms, ended_ms, workflow_id, id, owner);

CREATE TABLE owned_keys (
    owner      TEXT NOT NULL DEFAULT '',
    key        TEXT NOT NULL,
    digest     TEXT NOT NULL,
    id         TEXT NOT NULL,
    answer     BLOB NOT NULL,
    created_ms INTEGER NOT NULL,
    PRIMARY KEY (owner, key)
) WITHOUT ROWID;
INSERT INTO owned_keys (key, digest, id, answer, created_ms) SELECT key, digest, id, answer, created_ms
FROM idempotency;
DROP TABLE idempotency;
ALTER TABLE owned_keys RENAME TO idempotency;
CREATE INDEX idempotency_created ON idempotency (created_ms);

-- version 5

-- Where the end of a prompt is told: JSON of the address and the wished events. Its secret never gets here.
ALTER TABLE queue ADD COLUMN hook TEXT;

-- What is told of ends, until the receiver has it or nobody tries any more; the body goes when it is over.
CREATE TABLE deliveries (
    id         TEXT PRIMARY KEY,
    owner      TEXT NOT NULL,
    prompt_id  TEXT NOT NULL,
    url        TEXT NOT NULL,
    own_secret INTEGER NOT NULL,
    event      TEXT NOT NULL,
    body       BLOB NOT NULL,
    state      TEXT NOT NULL CHECK (state IN ('waiting', 'delivered', 'given_up')),
    tries      INTEGER NOT NULL DEFAULT 0,
    next_ms    INTEGER NOT NULL,
    status     INTEGER,
    reason     TEXT,
    created_ms INTEGER NOT NULL
) WITHOUT ROWID;
CREATE INDEX deliveries_created ON deliveries (created_ms);

-- The ledger's database. Times are milliseconds since the Unix epoch; ids are 16 bytes, digests 32.

CREATE TABLE meta (
    name TEXT PRIMARY KEY,
    value ANY NOT NULL
) STRICT, WITHOUT ROWID;

-- Whoever has an entry, once. `hash_part` is what stands for it in `hash`, which former and present holders of a user's name share.
CREATE TABLE owners (
    id INTEGER PRIMARY KEY,
    digest BLOB NOT NULL UNIQUE,
    hash_part TEXT NOT NULL,
    user TEXT,
    access_key TEXT,
    sub TEXT NOT NULL
) STRICT;
CREATE INDEX owners_by_hash_part ON owners (hash_part);

-- Whatever holds files, and how many. What the server serves itself has the empty access key.
CREATE TABLE stores (
    id INTEGER PRIMARY KEY,
    backend TEXT NOT NULL,
    access_key TEXT NOT NULL,
    files INTEGER NOT NULL,
    UNIQUE (backend, access_key)
) STRICT;

-- What is stored of a job. The SHA-256 of its original is in two parts: the first, its first eight bytes, is enough for an
-- index. What `files` holds: body.rs.
CREATE TABLE entries (
    seq INTEGER PRIMARY KEY,
    job BLOB NOT NULL UNIQUE,
    owner INTEGER NOT NULL REFERENCES owners (id),
    content_head INTEGER NOT NULL,
    content_tail BLOB NOT NULL,
    ended_at INTEGER NOT NULL,
    expires_at INTEGER,
    is_due_marked INTEGER NOT NULL,
    files BLOB NOT NULL
) STRICT;
CREATE INDEX entries_by_owner ON entries (owner, content_head);
CREATE INDEX entries_due ON entries (expires_at) WHERE is_due_marked;

-- Who is to be told once a job is erased, JSON; what is secret of that is sealed.
CREATE TABLE recipients (
    job BLOB PRIMARY KEY,
    recipient TEXT NOT NULL
) STRICT, WITHOUT ROWID;

-- Orders to erase.
CREATE TABLE erasures (
    id BLOB PRIMARY KEY,
    target BLOB,
    owner BLOB,
    user BLOB,
    created_at INTEGER NOT NULL,
    state TEXT NOT NULL,
    jobs INTEGER NOT NULL,
    deleted INTEGER NOT NULL DEFAULT 0,
    missing INTEGER NOT NULL DEFAULT 0,
    kept INTEGER NOT NULL DEFAULT 0,
    is_versioned INTEGER NOT NULL DEFAULT 0,
    done_at INTEGER,
    purged_at INTEGER
) STRICT, WITHOUT ROWID;

-- Their jobs that are not erased. `places` is what the last try left, JSON.
CREATE TABLE pending (
    erasure BLOB NOT NULL,
    job BLOB NOT NULL,
    due_at INTEGER NOT NULL,
    tries INTEGER NOT NULL,
    places TEXT NOT NULL,
    PRIMARY KEY (erasure, job)
) STRICT, WITHOUT ROWID;

-- What other jobs keep of theirs.
CREATE TABLE kept (
    erasure BLOB NOT NULL,
    location TEXT,
    job BLOB NOT NULL
) STRICT;
CREATE INDEX kept_by_erasure ON kept (erasure);

-- Jobs that are erased.
CREATE TABLE erased (
    job BLOB PRIMARY KEY,
    erased_at INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX erased_by_time ON erased (erased_at);

-- What is told of jobs that are erased, sealed, until somebody has taken it.
CREATE TABLE events (
    job BLOB PRIMARY KEY,
    since INTEGER NOT NULL,
    due_at INTEGER NOT NULL,
    attempts INTEGER NOT NULL,
    sealed TEXT NOT NULL
) STRICT;
CREATE INDEX events_due ON events (due_at);
CREATE INDEX events_by_age ON events (since);

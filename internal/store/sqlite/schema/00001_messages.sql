-- The names of the columns up to created_at are those of the FastAPI service
-- whose files lyftr adopts, so that the same queries read both.
CREATE TABLE messages (
    id          INTEGER PRIMARY KEY, -- the order in which messages were stored
    message_id  TEXT    NOT NULL,
    from_msisdn TEXT    NOT NULL,
    to_msisdn   TEXT    NOT NULL,
    ts          TEXT    NOT NULL,    -- as the sender wrote it
    text        TEXT,
    created_at  TEXT    NOT NULL,    -- when lyftr accepted it, UTC, RFC 3339
    source      TEXT    NOT NULL DEFAULT 'native',
    ts_unix     INTEGER NOT NULL,    -- the instant of ts, whole seconds
    ts_nanos    INTEGER NOT NULL     -- and its fraction, since a fraction of ts may have nine digits
) STRICT;

-- Exactly once: a message is its source and its message_id.
CREATE UNIQUE INDEX messages_identity ON messages (message_id, source);

-- The order of every list, and the filters since and until.
CREATE INDEX messages_by_time ON messages (ts_unix, ts_nanos, message_id, source);

-- The filter from, and the counts by sender.
CREATE INDEX messages_by_sender ON messages (from_msisdn, ts_unix, ts_nanos);

-- Facts about this database: cursor_key signs cursors, probe is written to
-- find out whether the database can be written.
CREATE TABLE meta (
    key   TEXT PRIMARY KEY,
    value BLOB NOT NULL
) STRICT, WITHOUT ROWID;

INSERT INTO meta (key, value) VALUES ('cursor_key', randomblob(32)), ('probe', x'');

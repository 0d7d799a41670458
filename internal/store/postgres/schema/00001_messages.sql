-- +goose Up

-- Every column of text is compared byte by byte, whatever the collation of the
-- database, so that answers are the same everywhere.

CREATE TABLE meta (
    key   text COLLATE "C" PRIMARY KEY,
    value bytea NOT NULL
);

-- The key of the cursors, which is the identity of the database too: 244 random
-- bits.
INSERT INTO meta (key, value)
VALUES ('cursor_key', decode(replace(gen_random_uuid()::text || gen_random_uuid()::text, '-', ''), 'hex'));

-- tx is the number of the transaction that stored the message, n its place in
-- it: the order of the feed. The columns up to created_at have the names that
-- they have in a SQLite file.
CREATE TABLE messages (
    tx          bigint NOT NULL,
    n           integer NOT NULL,
    message_id  text COLLATE "C" NOT NULL,
    from_msisdn text COLLATE "C" NOT NULL,
    to_msisdn   text COLLATE "C" NOT NULL,
    ts          text COLLATE "C" NOT NULL,
    text        text COLLATE "C",
    created_at  timestamptz,
    source      text COLLATE "C" NOT NULL,
    ts_unix     bigint NOT NULL,
    ts_nanos    integer NOT NULL,
    folded      text COLLATE "C",
    PRIMARY KEY (tx, n)
);

CREATE UNIQUE INDEX messages_identity ON messages (message_id, source);
CREATE INDEX messages_by_time ON messages (ts_unix, ts_nanos, message_id, source);
CREATE INDEX messages_by_sender ON messages (from_msisdn, ts_unix, ts_nanos);
CREATE INDEX messages_by_recipient ON messages (to_msisdn, ts_unix, ts_nanos);

-- How many messages there are is the sum: each writer counts in a row of its
-- own, so that they do not wait for each other.
CREATE TABLE counts (
    slot     integer PRIMARY KEY,
    messages bigint NOT NULL
) WITH (fillfactor = 50);

INSERT INTO counts (slot, messages) SELECT slot, 0 FROM generate_series(0, 63) AS slot;

-- How many messages there are of each hour, counted from the year 1, and of each
-- sender, of those that are summed up; see sums.go. None has 0.
CREATE TABLE hours (
    hour     bigint PRIMARY KEY,
    messages bigint NOT NULL
) WITH (fillfactor = 50);

CREATE TABLE senders (
    from_msisdn text COLLATE "C" PRIMARY KEY,
    messages    bigint NOT NULL
) WITH (fillfactor = 80);

-- tx_offset is added to the server's transaction numbers; see useOffset. summed
-- is the number of the first transaction that is not summed up.
CREATE TABLE counters (
    name  text COLLATE "C" PRIMARY KEY,
    value bigint NOT NULL
);

INSERT INTO counters (name, value) VALUES ('tx_offset', 0), ('summed', 0);

-- Hashes of the identities of removed messages.
CREATE TABLE removed (
    identity bytea PRIMARY KEY
);

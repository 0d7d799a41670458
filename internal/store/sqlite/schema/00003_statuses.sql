-- +goose Up

-- What a provider sent, as it sent it. It stands last, so that what leaves it
-- out does not read the pages that a long one goes over.
ALTER TABLE messages ADD COLUMN raw BLOB;

-- What providers reported of messages, which need not be stored.
CREATE TABLE statuses (
    id         INTEGER PRIMARY KEY,
    source     TEXT    NOT NULL,
    message_id TEXT    NOT NULL,
    status     TEXT    NOT NULL,
    recipient  TEXT    NOT NULL, -- empty if it is not known
    ts         INTEGER NOT NULL, -- when it happened, in milliseconds since 1970
    created_at TEXT    NOT NULL, -- when lyftr accepted it, as in messages
    raw        BLOB
) STRICT;

-- Exactly once, the statuses of one message, and the order of a walk.
CREATE UNIQUE INDEX statuses_identity ON statuses (message_id, source, status);

-- Those that are old enough to go. Its key grows, so that it is cheap to write.
CREATE INDEX statuses_by_arrival ON statuses (created_at);

-- The deliveries that were refused last, the newest with the highest id.
CREATE TABLE rejected (
    id         INTEGER PRIMARY KEY,
    at         TEXT    NOT NULL, -- as created_at
    source     TEXT    NOT NULL,
    status     INTEGER NOT NULL,
    result     TEXT    NOT NULL,
    reason     TEXT    NOT NULL,
    size       INTEGER NOT NULL,
    hash       TEXT    NOT NULL,
    request_id TEXT    NOT NULL,
    times      INTEGER NOT NULL
) STRICT;

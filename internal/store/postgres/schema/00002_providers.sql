-- +goose Up

-- What providers report of messages, each once; see statuses.go.
CREATE TABLE statuses (
    source     text COLLATE "C" NOT NULL,
    message_id text COLLATE "C" NOT NULL,
    status     text COLLATE "C" NOT NULL,
    recipient  text COLLATE "C" NOT NULL,
    ts         timestamptz NOT NULL,
    created_at timestamptz NOT NULL,
    raw        bytea
);

CREATE UNIQUE INDEX statuses_identity ON statuses (message_id, source, status);

-- For what has expired. It grows at its end, so that it costs a save little. A
-- BRIN index would cost less still, but has no order to go on in, and is of no
-- use once the space of what was removed is written anew.
--
-- There is none on recipient: every save would pay for what is rarely asked, and
-- an erasure reads them all.
CREATE INDEX statuses_by_arrival ON statuses (created_at);

-- The last deliveries that were refused.
CREATE TABLE rejected (
    id         bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    at         timestamptz NOT NULL,
    source     text COLLATE "C" NOT NULL,
    status     integer NOT NULL,
    result     text COLLATE "C" NOT NULL,
    reason     text COLLATE "C" NOT NULL,
    size       bigint NOT NULL,
    hash       text COLLATE "C" NOT NULL,
    request_id text COLLATE "C" NOT NULL,
    times      integer NOT NULL
);

-- The message as its provider sent it, byte for byte: no type of JSON's keeps it
-- so, and a text takes no NUL. No row is rewritten, but the table is locked: it
-- comes last, so that others who save wait for the commit only.
ALTER TABLE messages ADD COLUMN raw bytea;

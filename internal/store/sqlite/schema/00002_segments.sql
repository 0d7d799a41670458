-- +goose Up

-- Its key is random, so that it wrote a page for each message. Segments serve
-- what it did.
DROP INDEX messages_by_sender;

-- Counters of the table messages. Ids are given out without gaps and never
-- again, so that last id less removed is the number of messages.
CREATE TABLE counters (
    name  TEXT    PRIMARY KEY,
    value INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

INSERT INTO counters (name, value) VALUES
    ('last_id',   0), -- as it was when messages were last removed
    ('removed',   (SELECT coalesce(max(id), 0) - count(*) FROM messages)), -- ids up to the last that no message has
    ('deletions', 0); -- transactions that removed messages

-- What is derived from a range of messages, see package segment. A segment is
-- about whole chunks, of which each is 1024 ids.
CREATE TABLE segments (
    id          INTEGER PRIMARY KEY,
    first_chunk INTEGER NOT NULL,
    chunks      INTEGER NOT NULL,
    header      BLOB    NOT NULL
) STRICT;

-- Part p of segment s has the id s * 2^24 + p.
CREATE TABLE segment_parts (
    id   INTEGER PRIMARY KEY,
    data BLOB    NOT NULL
) STRICT;

-- Numbers of the senders, for the columns of segments.
CREATE TABLE phones (
    id     INTEGER PRIMARY KEY,
    msisdn TEXT    NOT NULL UNIQUE
) STRICT;

-- Senders whose messages were erased: they lose their number as soon as no
-- segment has it.
CREATE TABLE erased_senders (
    msisdn TEXT PRIMARY KEY
) STRICT, WITHOUT ROWID;

-- Messages that were removed after a segment was made of their chunk: bit i,
-- counted from the least significant of byte 0, is of the id chunk * 1024 + i.
CREATE TABLE holes (
    chunk INTEGER PRIMARY KEY,
    bits  BLOB    NOT NULL,
    erase INTEGER NOT NULL -- 1 if the segment may not keep anything of them
) STRICT;

-- Identities of removed messages, so that a late repeat does not bring them
-- back: the first 16 bytes of HMAC-SHA256 of source and message_id.
CREATE TABLE removed (
    identity BLOB PRIMARY KEY
) STRICT, WITHOUT ROWID;

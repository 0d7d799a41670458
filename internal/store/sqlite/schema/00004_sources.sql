-- +goose Up

-- Which messages of 16 chunks are of which source, see package segment. It is
-- made behind the segments, of one chunk after the other, and does not change
-- when messages are removed.
CREATE TABLE chunk_sources (
    id     INTEGER PRIMARY KEY, -- the first chunk / 16
    chunks INTEGER NOT NULL,    -- how many of them it is made of; fewer in the last row only
    data   BLOB    NOT NULL
) STRICT;

-- +goose NO TRANSACTION
-- +goose Up

-- The messages of one source, in list order. Most installations have native ones
-- and hardly any others, or the other way round; those pay nothing for it. What
-- an interrupted attempt left is of no use. Saves go on meanwhile.
DROP INDEX CONCURRENTLY IF EXISTS messages_by_source;
CREATE INDEX CONCURRENTLY messages_by_source ON messages (source, ts_unix, ts_nanos, message_id) WHERE source <> 'native';

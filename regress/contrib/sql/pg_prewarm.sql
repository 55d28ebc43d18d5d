-- pg_prewarm has no suite of its own in PostgreSQL 15. All its modes, over all forks, and what they
-- have loaded is the table.
CREATE EXTENSION pg_prewarm;
CREATE TABLE warm (id int PRIMARY KEY, filler text) WITH (fillfactor = 50);
INSERT INTO warm SELECT i, repeat('x', 200) FROM generate_series(1, 5000) i;
VACUUM (FREEZE) warm;
SELECT pg_relation_size('warm') / 8192 AS blocks \gset
SELECT mode, pg_prewarm('warm', mode) = :blocks AS all_blocks
  FROM unnest(ARRAY['prefetch', 'read', 'buffer']) mode;
SELECT fork, pg_prewarm('warm', 'buffer', fork) = pg_relation_size('warm', fork) / 8192 AS all_blocks
  FROM unnest(ARRAY['main', 'fsm', 'vm']) fork;
SELECT pg_prewarm('warm', 'read', 'main', 10, 19);
SELECT pg_prewarm('warm_pkey') = pg_relation_size('warm_pkey') / 8192 AS all_blocks;
SELECT count(*), sum(id), min(length(filler)) FROM warm;
-- What cannot be.
SELECT pg_prewarm('warm', 'read', 'main', 0, :blocks);
SELECT pg_prewarm('warm', 'read', 'init');
SELECT pg_prewarm('warm', 'sideways');

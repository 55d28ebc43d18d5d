-- A relation that was cut off and grew again shows nothing of what stood there before: not after a
-- restart, not on a branch, not in blocks that were never logged.
CREATE TABLE t (id int, filler text) WITH (autovacuum_enabled = off);
INSERT INTO t SELECT i, repeat('o', 400) FROM generate_series(1, 5000) i;
CREATE INDEX t_id ON t (id);
SELECT pg_relation_size('t') / 8192 > 250 AS many_blocks;
\! node branch truncation_before truncation
-- VACUUM gives the empty tail back.
DELETE FROM t WHERE id > 500;
VACUUM t;
SELECT pg_relation_size('t') / 8192 < 50 AS cut_off;
\! node branch truncation_cut truncation
-- Regrown with few rows, so that many blocks are new.
INSERT INTO t SELECT i, repeat('n', 7000) FROM generate_series(10001, 10300) i;
SELECT count(*), sum(id), sum(length(filler)) FROM t;
SELECT left(filler, 1) AS kind, count(*) FROM t GROUP BY 1 ORDER BY 1;
\! node restart truncation
\c
SELECT count(*), sum(id), sum(length(filler)) FROM t;
SELECT left(filler, 1) AS kind, count(*) FROM t GROUP BY 1 ORDER BY 1;
SELECT check_relation('t');

-- Cut off and grown again within one compute's life and over one, several times.
DELETE FROM t WHERE id > 100;
VACUUM t;
INSERT INTO t SELECT i, repeat('2', 3000) FROM generate_series(20001, 20200) i;
DELETE FROM t WHERE id > 100;
VACUUM t;
\! node restart truncation immediate
\c
SELECT count(*), sum(id) FROM t;
SELECT pg_relation_size('t') / 8192 < 50 AS cut_off;
INSERT INTO t SELECT i, repeat('3', 3000) FROM generate_series(30001, 30050) i;
\! node restart truncation immediate
\c
SELECT count(*), sum(id), sum(length(filler)) FROM t;
SELECT left(filler, 1) AS kind, count(*) FROM t GROUP BY 1 ORDER BY 1;
SELECT check_relation('t');

-- Blocks that were added to the file but whose rows were never written: an aborted bulk insert
-- leaves them; they hold nothing.
BEGIN;
INSERT INTO t SELECT i, repeat('a', 3000) FROM generate_series(40001, 40500) i;
ROLLBACK;
\! node restart truncation immediate
\c
SELECT count(*), sum(id) FROM t;
VACUUM t;
SELECT count(*), sum(id) FROM t;
SELECT check_relation('t');

-- Emptied with TRUNCATE in the transaction that made the table, and the free space map and the
-- visibility map after a cut.
BEGIN;
CREATE TABLE born (id int);
INSERT INTO born SELECT generate_series(1, 1000);
TRUNCATE born;
INSERT INTO born VALUES (1);
COMMIT;
CREATE TABLE mapped (id int, filler text) WITH (autovacuum_enabled = off);
INSERT INTO mapped SELECT i, repeat('x', 500) FROM generate_series(1, 3000) i;
VACUUM mapped;
DELETE FROM mapped WHERE id > 100;
VACUUM mapped;
\! node restart truncation
\c
SELECT * FROM born;
SELECT count(*) FROM pg_check_visible('mapped');
INSERT INTO mapped SELECT i, repeat('y', 500) FROM generate_series(3001, 4000) i;
SELECT count(*), sum(id) FROM mapped;
SELECT count(*) FROM pg_check_visible('mapped');
\! node restart truncation immediate
\c
SELECT count(*), sum(id) FROM mapped;
SELECT count(*) FROM pg_check_visible('mapped');
SELECT pg_truncate_visibility_map('mapped');
VACUUM mapped;
SELECT count(*) FROM pg_check_visible('mapped');
SELECT check_relation('mapped');

-- Hash indexes grow in jumps, over blocks nobody wrote.
CREATE TABLE h (id int, v text);
CREATE INDEX h_v ON h USING hash (v);
INSERT INTO h SELECT i, 'v' || i FROM generate_series(1, 20000) i;
\! node restart truncation
\c
SET enable_seqscan = off;
SELECT count(*) FROM generate_series(1, 20000, 97) i, LATERAL (SELECT id FROM h WHERE v = 'v' || i) x;
INSERT INTO h SELECT i, 'v' || i FROM generate_series(20001, 40000) i;
\! node restart truncation immediate
\c
SET enable_seqscan = off;
SELECT count(*) FROM generate_series(1, 40000, 97) i, LATERAL (SELECT id FROM h WHERE v = 'v' || i) x;
RESET enable_seqscan;
SELECT count(*), sum(id) FROM h;

\! node start truncation_before
\set port_before `node port truncation_before`
\c - - - :port_before
SELECT count(*), sum(id), sum(length(filler)) FROM t;
SELECT check_relation('t');
\! node start truncation_cut
\set port_cut `node port truncation_cut`
\c - - - :port_cut
SELECT count(*), sum(id), sum(length(filler)) FROM t;
INSERT INTO t SELECT i, repeat('c', 7000) FROM generate_series(50001, 50100) i;
SELECT left(filler, 1) AS kind, count(*) FROM t GROUP BY 1 ORDER BY 1;
\! node restart truncation_cut
\c
SELECT left(filler, 1) AS kind, count(*) FROM t GROUP BY 1 ORDER BY 1;
SELECT check_relation('t');

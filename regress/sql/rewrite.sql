-- Commands that give a table new files or fewer blocks: VACUUM, VACUUM FULL, CLUSTER, TRUNCATE,
-- ALTER TABLE; with restarts between, and seen from a branch made before.
CREATE TABLE t (id int PRIMARY KEY, grp int, filler text);
CREATE INDEX t_grp ON t (grp);
INSERT INTO t SELECT i, i % 100, repeat('f', 200) FROM generate_series(1, 20000) i;
CREATE TABLE part (id int, v text) PARTITION BY RANGE (id);
CREATE TABLE part_1 PARTITION OF part FOR VALUES FROM (0) TO (1000);
CREATE TABLE part_2 PARTITION OF part FOR VALUES FROM (1000) TO (2000);
INSERT INTO part SELECT i, 'p' FROM generate_series(0, 1999) i;
\! node branch rewrite_before rewrite

DELETE FROM t WHERE id % 3 = 0;
VACUUM t;
SELECT count(*), sum(id) FROM t;
SELECT count(*) > 0 AS some_all_visible FROM pg_visibility_map('t') WHERE all_visible;
\! node restart rewrite
\c
SELECT count(*), sum(id) FROM t;
SELECT count(*) > 0 AS some_all_visible FROM pg_visibility_map('t') WHERE all_visible;
-- The map tells the truth: no tuple in an all-visible or all-frozen page contradicts it.
SELECT count(*) FROM pg_check_visible('t');
SELECT count(*) FROM pg_check_frozen('t');
SET enable_seqscan = off;
SET enable_bitmapscan = off;
SELECT count(*), sum(id) FROM t WHERE id > 0;
DELETE FROM t WHERE id BETWEEN 5000 AND 6000;
UPDATE t SET grp = grp + 1000 WHERE id < 100;
SELECT count(*), sum(id) FROM t WHERE id > 0;
\! node restart rewrite immediate
\c
SET enable_seqscan = off;
SET enable_bitmapscan = off;
SELECT count(*), sum(id) FROM t WHERE id > 0;
SELECT count(*), sum(grp) FROM t WHERE grp >= 0;
RESET ALL;
SELECT count(*), sum(grp) FROM t;
SELECT count(*) FROM pg_check_visible('t');
VACUUM (FREEZE) t;
SELECT count(*) FROM pg_check_frozen('t');
\! node restart rewrite
\c
SELECT count(*) FROM pg_check_visible('t');
SELECT count(*) FROM pg_check_frozen('t');
SELECT count(*) FILTER (WHERE all_frozen) > 0 AS some_all_frozen FROM pg_visibility_map('t');

CLUSTER t USING t_grp;
SELECT count(*), sum(id) FROM t;
SELECT bool_and(ok) AS in_order FROM (SELECT grp >= lag(grp, 1, -1) OVER () AS ok FROM (SELECT grp FROM t ORDER BY ctid) c) d;
\! node restart rewrite
\c
SELECT count(*), sum(id) FROM t;
SELECT bool_and(ok) AS in_order FROM (SELECT grp >= lag(grp, 1, -1) OVER () AS ok FROM (SELECT grp FROM t ORDER BY ctid) c) d;
VACUUM FULL t;
VACUUM FULL pg_class;
VACUUM FULL pg_attribute;
REINDEX TABLE t;
REINDEX TABLE pg_class;
\! node restart rewrite immediate
\c
SELECT count(*), sum(id) FROM t;
SELECT check_relation('t');
SELECT check_relation('pg_class');
SELECT check_relation('pg_attribute');
-- Shared catalogs and the relation map.
VACUUM FULL pg_database;
REINDEX TABLE pg_authid;
\! node restart rewrite
\c
SELECT check_relation('pg_database');
SELECT check_relation('pg_authid');

-- A rewrite by ALTER TABLE, one of them undone.
ALTER TABLE t ALTER COLUMN id TYPE bigint;
BEGIN;
ALTER TABLE t ALTER COLUMN grp TYPE text USING 'g' || grp;
SELECT min(grp) FROM t;
ROLLBACK;
SELECT count(*), sum(id), sum(grp) FROM t;
\! node restart rewrite
\c
SELECT count(*), sum(id), sum(grp) FROM t;

-- TRUNCATE: committed, undone, twice in a transaction, of partitions.
BEGIN;
TRUNCATE t;
INSERT INTO t VALUES (1, 1, 'undone');
ROLLBACK;
SELECT count(*), sum(id) FROM t;
BEGIN;
TRUNCATE t;
INSERT INTO t VALUES (1, 1, 'first');
TRUNCATE t;
INSERT INTO t VALUES (2, 2, 'second');
COMMIT;
TRUNCATE part_1;
INSERT INTO part VALUES (5, 'new');
\! node restart rewrite
\c
SELECT * FROM t;
SELECT v, count(*), sum(id) FROM part GROUP BY v ORDER BY v;
-- Savepoints: the rows of the rolled back one must not come back, nor its file.
BEGIN;
INSERT INTO t VALUES (3, 3, 'third');
SAVEPOINT s;
TRUNCATE t;
INSERT INTO t VALUES (4, 4, 'fourth');
ROLLBACK TO s;
COMMIT;
\! node restart rewrite immediate
\c
SELECT * FROM t ORDER BY id;
SELECT check_relation('t');

\! node start rewrite_before
\set port_before `node port rewrite_before`
\c - - - :port_before
SELECT count(*), sum(id), sum(grp) FROM t;
SELECT v, count(*), sum(id) FROM part GROUP BY v ORDER BY v;
CLUSTER t USING t_pkey;
VACUUM FULL part_2;
DELETE FROM t WHERE id > 10;
VACUUM t;
\! node restart rewrite_before
\c
SELECT count(*), sum(id), sum(grp) FROM t;
SELECT v, count(*), sum(id) FROM part GROUP BY v ORDER BY v;
SELECT check_relation('t');

-- A transaction sees its own changes, and a cursor does not see later ones, although the table is
-- many times larger than shared_buffers: its pages leave memory and come back while it runs.
-- compute: shared_buffers=256kB temp_buffers=800kB
SHOW shared_buffers;
CREATE TABLE t (id int PRIMARY KEY, n int, filler text);
CREATE INDEX t_n ON t (n);

BEGIN;
INSERT INTO t SELECT i, 0, repeat('f', 100) FROM generate_series(1, 20000) i;
SELECT pg_relation_size('t') > 8 * pg_size_bytes(current_setting('shared_buffers')) AS larger_than_memory;
DECLARE before_update CURSOR FOR SELECT id, n FROM t;
UPDATE t SET n = 1;
DECLARE after_update CURSOR FOR SELECT id, n FROM t;
UPDATE t SET n = 2 WHERE id % 2 = 0;
DELETE FROM t WHERE id % 5 = 0;
INSERT INTO t SELECT i, 3, 'new' FROM generate_series(20001, 25000) i;
SELECT n, count(*), sum(id) FROM t GROUP BY n ORDER BY n;
-- What each cursor sees is what was there when it was declared: command ids, not transactions.
SELECT * FROM drain('before_update');
SELECT * FROM drain('after_update');
CLOSE before_update;
CLOSE after_update;
DECLARE c CURSOR FOR SELECT n FROM t ORDER BY id;
FETCH 2 FROM c;
UPDATE t SET n = n + 10;
FETCH 2 FROM c;
DELETE FROM t;
FETCH 2 FROM c;
SELECT count(*) FROM t;
SELECT * FROM drain('c');
ROLLBACK;
SELECT count(*) FROM t;

-- The same in savepoints, half of them rolled back, and the combo command ids of
-- rows inserted, updated and deleted in one transaction.
BEGIN;
INSERT INTO t SELECT i, 0, repeat('f', 100) FROM generate_series(1, 20000) i;
SAVEPOINT a;
UPDATE t SET n = 1 WHERE id <= 10000;
SAVEPOINT b;
DELETE FROM t WHERE id > 15000;
DECLARE in_b CURSOR WITH HOLD FOR SELECT id FROM t;
UPDATE t SET n = 5 WHERE id <= 100;
SELECT n, count(*), sum(id) FROM t GROUP BY n ORDER BY n;
ROLLBACK TO b;
SELECT n, count(*), sum(id) FROM t GROUP BY n ORDER BY n;
UPDATE t SET n = n + 1;
SELECT n, count(*), sum(id) FROM t GROUP BY n ORDER BY n;
COMMIT;
SELECT n, count(*), sum(id) FROM t GROUP BY n ORDER BY n;

-- A query that changes the table it reads: each row once.
UPDATE t SET id = id + 100000 WHERE id > 0;
SELECT count(*), sum(id) FROM t;
INSERT INTO t SELECT id + 100000, n, filler FROM t;
SELECT count(*), sum(id) FROM t;
WITH moved AS (DELETE FROM t WHERE id % 2 = 0 RETURNING *) INSERT INTO t SELECT -id, n, filler FROM moved;
SELECT count(*), sum(id) FROM t;
-- INSERT ... ON CONFLICT, speculative insertion.
INSERT INTO t SELECT 100000 + i, 77, 'conflict' FROM generate_series(1, 5000) i
    ON CONFLICT (id) DO UPDATE SET n = t.n + 100;
SELECT n, count(*) FROM t GROUP BY n ORDER BY n;

-- A temporary table larger than its buffers.
CREATE TEMPORARY TABLE tmp AS SELECT i AS id, repeat('t', 100) AS v FROM generate_series(1, 20000) i;
UPDATE tmp SET v = 'x' WHERE id % 2 = 0;
BEGIN;
UPDATE tmp SET v = 'y' WHERE id % 3 = 0;
SELECT left(v, 1), count(*) FROM tmp GROUP BY 1 ORDER BY 1;
ROLLBACK;
SELECT left(v, 1), count(*) FROM tmp GROUP BY 1 ORDER BY 1;

-- Another session sees nothing of it before the commit, all of it after.
SELECT open_session('other');
BEGIN;
UPDATE t SET n = -1;
SELECT * FROM dblink('other', 'SELECT count(*) FROM t WHERE n = -1') AS o(seen_by_other bigint);
COMMIT;
SELECT * FROM dblink('other', 'SELECT count(*) FROM t WHERE n = -1') AS o(seen_by_other bigint);

\! node restart own_changes
\c
SHOW shared_buffers;
SELECT count(*), sum(id) FROM t WHERE n = -1;
SELECT * FROM contents('t');
-- From holes: the first statements of a fresh compute, with changes of what is just being read.
SET enable_seqscan = off;
SET enable_sort = off;
BEGIN;
DECLARE c CURSOR FOR SELECT id FROM t WHERE n = -1 ORDER BY id;
MOVE FORWARD 10 FROM c;
UPDATE t SET n = -2;
SELECT * FROM drain('c');
SELECT count(*) FROM t WHERE n = -2;
ROLLBACK;
RESET ALL;
SELECT count(*) FROM t WHERE n = -1;
SELECT check_relation('t');

-- A branch sees the past of its parent and nothing of its future; siblings do not see each other.
CREATE TABLE t (id int PRIMARY KEY, who text);
INSERT INTO t SELECT i, 'root' FROM generate_series(1, 10000) i;

-- Everything committed before the command is in the branch, although the parent is running.
INSERT INTO t VALUES (10001, 'just before');
\! node branch branching_a branching
INSERT INTO t VALUES (10002, 'just after');
UPDATE t SET who = 'changed in root' WHERE id <= 10;
\! node branch branching_b branching
TRUNCATE t;
INSERT INTO t SELECT i, 'after truncate' FROM generate_series(1, 10) i;
SELECT who, count(*), sum(id) FROM t GROUP BY who ORDER BY who;

\! node start branching_a
\! node start branching_b
\set port `node port branching`
\set port_a `node port branching_a`
\set port_b `node port branching_b`

\c - - - :port_a
SELECT who, count(*), sum(id) FROM t GROUP BY who ORDER BY who;
DELETE FROM t WHERE id % 2 = 0;
CREATE TABLE only_in_a AS SELECT 1 AS one;

\c - - - :port_b
SELECT who, count(*), sum(id) FROM t GROUP BY who ORDER BY who;
UPDATE t SET who = 'b' WHERE id > 5000;
SELECT to_regclass('only_in_a');

-- A branch of a branch, and one of that.
\c - - - :port_a
\! node branch branching_a_a branching_a
INSERT INTO t SELECT i, 'later in a' FROM generate_series(20001, 20100) i;
\! node start branching_a_a
\set port_a_a `node port branching_a_a`
\c - - - :port_a_a
SELECT who, count(*), sum(id) FROM t GROUP BY who ORDER BY who;
INSERT INTO t SELECT i, 'grandchild' FROM generate_series(30001, 30100) i;
\! node branch branching_a_a_a branching_a_a
VACUUM FULL t;
\! node start branching_a_a_a
\set port_a_a_a `node port branching_a_a_a`
\c - - - :port_a_a_a
SELECT who, count(*), sum(id) FROM t GROUP BY who ORDER BY who;
SELECT * FROM only_in_a;
DROP TABLE only_in_a;
SELECT check_relation('t');

-- Nobody was changed by the others.
\c - - - :port_a_a
SELECT who, count(*), sum(id) FROM t GROUP BY who ORDER BY who;
SELECT * FROM only_in_a;
\c - - - :port_a
SELECT who, count(*), sum(id) FROM t GROUP BY who ORDER BY who;
\c - - - :port_b
SELECT who, count(*), sum(id) FROM t GROUP BY who ORDER BY who;
\c - - - :port
SELECT who, count(*), sum(id) FROM t GROUP BY who ORDER BY who;

-- After a restart of all of them as well.
\! node restart branching_a_a
\! node restart branching_a
\! node restart branching_b
\! node restart branching
\c - - - :port_a_a
SELECT who, count(*), sum(id) FROM t GROUP BY who ORDER BY who;
SELECT check_relation('t');
\c - - - :port_a
SELECT who, count(*), sum(id) FROM t GROUP BY who ORDER BY who;
\c - - - :port_b
SELECT who, count(*), sum(id) FROM t GROUP BY who ORDER BY who;
SELECT check_relation('t');
\c - - - :port
SELECT who, count(*), sum(id) FROM t GROUP BY who ORDER BY who;

-- A transaction that runs while the branch is made is not in it.
BEGIN;
INSERT INTO t VALUES (77, 'in progress');
SAVEPOINT s;
INSERT INTO t VALUES (78, 'in progress, savepoint');
\! node branch branching_c branching
COMMIT;
\! node start branching_c
\set port_c `node port branching_c`
\c - - - :port_c
SELECT who, count(*), sum(id) FROM t GROUP BY who ORDER BY who;
INSERT INTO t VALUES (77, 'free');
SELECT check_relation('t');
\c - - - :port
SELECT who, count(*), sum(id) FROM t GROUP BY who ORDER BY who;

-- A branch of a branch whose compute is stopped, and of one that never had a compute.
\! node stop branching_b
\! node branch branching_b_b branching_b
\! node branch branching_b_b_b branching_b_b
\! node start branching_b_b_b
\set port_b_b_b `node port branching_b_b_b`
\c - - - :port_b_b_b
SELECT who, count(*), sum(id) FROM t GROUP BY who ORDER BY who;

-- Names: taken, or not allowed, or no such point.
\! node refused branch branching_a main
\! node refused branch ../branching main
\! node refused branch '' main
\! node refused branch ''
\! node refused branch branching_d ''
\! node refused branch -d ''
\! node refused branch branching_d no_such_branch
\! node refused branch branching_d main@0/1
\! node refused branch branching_d main@FFFF/FFFFFFF0
\! node refused branch branching_d main@nonsense

-- A branch has what was committed asynchronously, and needs no database of its parent.
\c - - - :port
ALTER DATABASE postgres RENAME TO not_postgres;
SET synchronous_commit = off;
INSERT INTO t VALUES (40001, 'asynchronous');
\! node branch branching_e branching; node start branching_e
\set port_e `node port branching_e`
\c - - - :port_e
SELECT id, who FROM t WHERE id > 40000;
-- Nor a free walsender.
\! node branch branching_f main; node start branching_f max_wal_senders=1; node branch branching_f_f branching_f

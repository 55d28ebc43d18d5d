-- kill -9 of the page server and of a compute together: all that was acknowledged is there.
CREATE TABLE t (id int PRIMARY KEY, v text);
INSERT INTO t SELECT i, 'first' FROM generate_series(1, 10000) i;
BEGIN;
INSERT INTO t VALUES (0, 'never');
\! node kill crash_both
\! node pageserver kill
\! node pageserver start
\! node start crash_both
\c
SELECT v, count(*), sum(id) FROM t GROUP BY v ORDER BY v;
DELETE FROM t WHERE id % 2 = 0;
CREATE INDEX ON t (v);
INSERT INTO t SELECT -i, 'second' FROM generate_series(1, 1000) i;
-- The other order.
\! node pageserver kill
\! node kill crash_both
\! node pageserver start
\! node start crash_both
\c
SELECT v, count(*), sum(id) FROM t GROUP BY v ORDER BY v;
SELECT check_relation('t');
-- The page server is gone when the compute is asked to start: an error with a hint, then all is well.
\! node stop crash_both immediate
\! node pageserver kill
\! node refused pg start crash_both
\! node pageserver start
\! node start crash_both
\c
SELECT v, count(*), sum(id) FROM t GROUP BY v ORDER BY v;
UPDATE t SET v = 'third';
\! node branch crash_both_branch crash_both
\! node start crash_both_branch
\set port_branch `node port crash_both_branch`
\c - - - :port_branch
SELECT v, count(*), sum(id) FROM t GROUP BY v ORDER BY v;

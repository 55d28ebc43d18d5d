-- kill -9 of a compute, all its processes: what was committed is there afterwards, what was not is
-- not; and again, and on a branch.
CREATE TABLE t (id int PRIMARY KEY, v text);
CREATE INDEX t_v ON t USING gin (to_tsvector('simple', v));
INSERT INTO t SELECT i, 'v' || i % 10 FROM generate_series(1, 5000) i;
BEGIN;
UPDATE t SET v = 'never' WHERE id <= 1000;
CREATE TABLE never (id int);
\! node kill crash_compute
\! node start crash_compute
\c
SELECT count(*), sum(id), count(*) FILTER (WHERE v = 'never') AS never FROM t;
SELECT to_regclass('never');
UPDATE t SET v = 'second' WHERE id <= 100;
CHECKPOINT;
DELETE FROM t WHERE id > 4000;
CREATE TABLE second AS SELECT generate_series(1, 100) AS id;
VACUUM t;
\! node kill crash_compute
\! node start crash_compute
\c
SELECT v, count(*), sum(id) FROM t GROUP BY v ORDER BY v;
SELECT count(*), sum(id) FROM second;
SELECT check_relation('t');

-- Asynchronous commits may be lost, but not in the middle: what is there is a prefix.
SET synchronous_commit = off;
CREATE TABLE async (id int);
DO $$
BEGIN
    FOR i IN 1..500 LOOP
        INSERT INTO async VALUES (i);
        COMMIT;
    END LOOP;
END $$;
SET synchronous_commit = on;
INSERT INTO second VALUES (1000);
INSERT INTO async VALUES (501);
SET synchronous_commit = off;
DO $$
BEGIN
    FOR i IN 502..1000 LOOP
        INSERT INTO async VALUES (i);
        COMMIT;
    END LOOP;
END $$;
\! node kill crash_compute
\! node start crash_compute
\c
SELECT count(*) = max(id) AS prefix, count(*) >= 501 AS with_synchronous FROM async;
SELECT count(*), sum(id) FROM second;

-- Killed during a transaction with everything in it: files it made and dropped, a savepoint, a lock.
BEGIN;
TRUNCATE second;
DROP TABLE async;
CREATE TABLE big AS SELECT i AS id, repeat('b', 1000) AS b FROM generate_series(1, 5000) i;
SAVEPOINT s;
ALTER TABLE t ADD COLUMN w int DEFAULT 5;
CHECKPOINT;
\! node kill crash_compute
\! node branch crash_compute_branch crash_compute
\! node start crash_compute
\! node start crash_compute_branch
\set port_branch `node port crash_compute_branch`
\c
SELECT count(*), sum(id) FROM second;
SELECT count(*) >= 501 AS there FROM async;
SELECT to_regclass('big');
SELECT v, count(*), sum(id) FROM t GROUP BY v ORDER BY v;
-- What the dead compute left undone does not stand in the way.
CREATE TABLE big (id int);
INSERT INTO t SELECT i, 'after' FROM generate_series(5001, 6000) i;
\c - - - :port_branch
SELECT count(*), sum(id) FROM second;
SELECT to_regclass('big');
SELECT v, count(*), sum(id) FROM t GROUP BY v ORDER BY v;
SELECT check_relation('t');

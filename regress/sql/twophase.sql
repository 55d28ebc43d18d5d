-- Prepared transactions outlive restarts and are in branches, to be committed or rolled back there.
CREATE TABLE t (id int PRIMARY KEY, what text);
CREATE SEQUENCE s;
INSERT INTO t VALUES (1, 'committed');

BEGIN;
INSERT INTO t SELECT i, 'will commit' FROM generate_series(10, 19) i;
CREATE TABLE made_by_commit (id int);
INSERT INTO made_by_commit SELECT generate_series(1, 100);
PREPARE TRANSACTION 'twophase_commit';

BEGIN;
INSERT INTO t SELECT i, 'will roll back' FROM generate_series(20, 29) i;
SAVEPOINT inner_one;
UPDATE t SET what = 'changed' WHERE id = 1;
RELEASE inner_one;
CREATE TABLE made_by_rollback (id int);
PREPARE TRANSACTION 'twophase_rollback';

BEGIN;
CREATE TABLE dropped_later AS SELECT generate_series(1, 1000) AS id;
COMMIT;
BEGIN;
DROP TABLE dropped_later;
SAVEPOINT one;
INSERT INTO t VALUES (30, 'subtransaction');
SAVEPOINT two;
INSERT INTO t VALUES (31, 'rolled back subtransaction');
ROLLBACK TO two;
PREPARE TRANSACTION 'twophase_drop';

SELECT gid, owner, database FROM pg_prepared_xacts ORDER BY gid;
SELECT * FROM t ORDER BY id;

\! node branch twophase_before twophase
\! node restart twophase
\c
SELECT gid, owner, database FROM pg_prepared_xacts ORDER BY gid;
SELECT * FROM t ORDER BY id;
-- Their locks are held.
SET lock_timeout = '50ms';
SELECT count(*) FROM dropped_later;
UPDATE t SET what = 'blocked' WHERE id = 1;
INSERT INTO t VALUES (10, 'blocked');
RESET lock_timeout;

COMMIT PREPARED 'twophase_commit';
ROLLBACK PREPARED 'twophase_rollback';
SELECT * FROM t ORDER BY id;
SELECT count(*), sum(id) FROM made_by_commit;
SELECT to_regclass('made_by_rollback');
\! node restart twophase immediate
\c
SELECT gid FROM pg_prepared_xacts ORDER BY gid;
SELECT * FROM t ORDER BY id;
SELECT count(*), sum(id) FROM made_by_commit;
COMMIT PREPARED 'twophase_drop';
SELECT to_regclass('dropped_later');
SELECT * FROM t ORDER BY id;
\! node restart twophase
\c
SELECT gid FROM pg_prepared_xacts ORDER BY gid;
SELECT * FROM t ORDER BY id;
SELECT to_regclass('dropped_later');
SELECT check_relation('t');

-- On the branch taken before, all three are still to be decided, and differently.
\! node start twophase_before
\set port_before `node port twophase_before`
\c - - - :port_before
SELECT gid FROM pg_prepared_xacts ORDER BY gid;
SELECT * FROM t ORDER BY id;
ROLLBACK PREPARED 'twophase_commit';
COMMIT PREPARED 'twophase_rollback';
ROLLBACK PREPARED 'twophase_drop';
SELECT * FROM t ORDER BY id;
SELECT to_regclass('made_by_commit'), to_regclass('made_by_rollback');
SELECT count(*) FROM dropped_later;
\! node restart twophase_before
\c
SELECT gid FROM pg_prepared_xacts ORDER BY gid;
SELECT * FROM t ORDER BY id;
SELECT check_relation('t');

-- Prepared on a branch, large enough to leave the small state file behind.
BEGIN;
CREATE TABLE many (id int, filler text);
INSERT INTO many SELECT i, repeat('m', 50) FROM generate_series(1, 20000) i;
DO $$
BEGIN
    FOR i IN 1..200 LOOP
        BEGIN
            INSERT INTO t VALUES (100 + i, 'subtransaction ' || i);
        EXCEPTION WHEN division_by_zero THEN NULL;
        END;
    END LOOP;
END $$;
PREPARE TRANSACTION 'many subtransactions';
CHECKPOINT;
\! node restart twophase_before immediate
\c
SELECT count(*) FROM t;
COMMIT PREPARED 'many subtransactions';
SELECT count(*), sum(id) FROM t;
\! node restart twophase_before immediate
\c
SELECT count(*), sum(id) FROM t;
SELECT * FROM contents('many');

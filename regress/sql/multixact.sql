-- Rows locked by several transactions at once; their lockers and updaters are known after restarts
-- and on branches.
CREATE TABLE parent (id int PRIMARY KEY, v int);
CREATE TABLE child (id int PRIMARY KEY, parent int REFERENCES parent);
INSERT INTO parent SELECT i, 0 FROM generate_series(1, 200) i;

SELECT open_session('s' || i) FROM generate_series(1, 5) i;
-- Five sessions lock the same rows, each with its savepoints.
SELECT dblink_exec('s' || i, 'BEGIN') FROM generate_series(1, 5) i;
SELECT count(*) FROM generate_series(1, 5) i,
    LATERAL dblink('s' || i, 'SELECT id FROM parent WHERE id <= 100 FOR KEY SHARE') AS l(id int);
SELECT dblink_exec('s' || i, 'SAVEPOINT a') FROM generate_series(1, 5) i;
SELECT count(*) FROM generate_series(1, 5) i,
    LATERAL dblink('s' || i, 'SELECT id FROM parent WHERE id BETWEEN 50 AND 150 FOR SHARE') AS l(id int);
SELECT dblink_exec('s' || i, 'ROLLBACK TO a') FROM generate_series(1, 2) i;
SELECT dblink_exec('s' || i, format('INSERT INTO child SELECT %s * 1000 + i, i FROM generate_series(1, 50) i', i))
  FROM generate_series(1, 5) i;
-- A non-key update of rows that others hold FOR KEY SHARE: the updater is a member, too.
SELECT dblink_exec('s1', 'UPDATE parent SET v = v + 1 WHERE id <= 40');
SELECT count(*) FILTER (WHERE multi) AS multi, count(*) AS locked FROM pgrowlocks('parent');
SELECT dblink_exec('s' || i, CASE WHEN i = 4 THEN 'ROLLBACK' ELSE 'COMMIT' END) FROM generate_series(1, 5) i;

SELECT v, count(*), sum(id) FROM parent GROUP BY v ORDER BY v;
SELECT count(*), sum(parent) FROM child;
SELECT mxid_age(relminmxid) > 0 AS has_multixacts FROM pg_class WHERE relname = 'parent';
\! node branch multixact_early multixact
\! node restart multixact
\c
SELECT v, count(*), sum(id) FROM parent GROUP BY v ORDER BY v;
SELECT count(*), sum(parent) FROM child;
-- Nobody holds these locks any more.
BEGIN;
SELECT count(*) FROM (SELECT 1 FROM parent FOR UPDATE NOWAIT) l;
UPDATE parent SET v = v + 10;
COMMIT;
SELECT v, count(*), sum(id) FROM parent GROUP BY v ORDER BY v;

-- Multixacts of one session: a lock, then an update in a savepoint. Many of them, over pages of members.
DO $$
BEGIN
    FOR i IN 1..3000 LOOP
        PERFORM 1 FROM parent WHERE id = 1 + i % 200 FOR KEY SHARE;
        BEGIN
            UPDATE parent SET v = v + 100 WHERE id = 1 + i % 200;
            IF i % 7 = 0 THEN
                RAISE division_by_zero;
            END IF;
        EXCEPTION WHEN division_by_zero THEN NULL;
        END;
        IF i % 50 = 0 THEN
            COMMIT;
        END IF;
    END LOOP;
END $$;
SELECT count(*), sum(v) FROM parent;

-- Locks of a prepared transaction, shared with another: held over a restart.
BEGIN;
SELECT count(*) FROM (SELECT 1 FROM parent WHERE id <= 10 FOR SHARE) l;
PREPARE TRANSACTION 'multixact_locks';
BEGIN;
SELECT count(*) FROM (SELECT 1 FROM parent WHERE id <= 10 FOR SHARE) l;
SAVEPOINT b;
SELECT count(*) FROM (SELECT 1 FROM parent WHERE id <= 10 FOR KEY SHARE) l;
COMMIT;
\! node restart multixact immediate
\c
SELECT count(*), sum(v) FROM parent;
SELECT id FROM parent WHERE id <= 12 FOR UPDATE SKIP LOCKED;
SELECT count(*) FROM (SELECT 1 FROM parent WHERE id <= 10 FOR SHARE NOWAIT) l;
COMMIT PREPARED 'multixact_locks';
SELECT count(*) FROM (SELECT 1 FROM parent WHERE id <= 12 FOR UPDATE NOWAIT) l;

-- Freezing takes multixacts away; new ones go on from where the numbers were.
VACUUM FREEZE parent;
SELECT mxid_age(relminmxid) AS age FROM pg_class WHERE relname = 'parent';
SELECT open_session('s' || i) FROM generate_series(1, 2) i;
SELECT dblink_exec('s' || i, 'BEGIN') FROM generate_series(1, 2) i;
SELECT count(*) FROM generate_series(1, 2) i,
    LATERAL dblink('s' || i, 'SELECT id FROM parent FOR SHARE') AS l(id int);
SELECT dblink_exec('s' || i, 'COMMIT') FROM generate_series(1, 2) i;
\! node restart multixact
\c
SELECT count(*), sum(v) FROM parent;
SELECT check_relation('parent');
SELECT check_relation('child');

-- The branch of the past.
\! node start multixact_early
\set port_early `node port multixact_early`
\c - - - :port_early
SELECT v, count(*), sum(id) FROM parent GROUP BY v ORDER BY v;
SELECT count(*), sum(parent) FROM child;
SELECT count(*) FROM (SELECT 1 FROM parent FOR UPDATE NOWAIT) l;
DELETE FROM child;
DELETE FROM parent WHERE id > 100;
VACUUM (FREEZE) parent;
SELECT count(*) FROM parent;
SELECT check_relation('parent');

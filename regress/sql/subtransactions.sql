-- Subtransactions: nested, many, some undone; what is committed stays so after restarts, on branches,
-- and when a transaction has more of them than fit in shared memory.
CREATE TABLE t (id int PRIMARY KEY, depth int);
CREATE FUNCTION nest(level int, deepest int) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO t VALUES (level, 0);
    BEGIN
        UPDATE t SET depth = level WHERE id <= level;
        IF level < deepest THEN
            PERFORM nest(level + 1, deepest);
        END IF;
        IF level % 4 = 3 THEN
            RAISE division_by_zero;
        END IF;
    EXCEPTION WHEN division_by_zero THEN NULL;
    END;
END $$;
SELECT nest(1, 30);
SELECT depth, count(*), min(id), max(id) FROM t GROUP BY depth ORDER BY depth;

-- 5000 subtransactions in one transaction, every third undone.
BEGIN;
DO $$
BEGIN
    FOR i IN 1..5000 LOOP
        BEGIN
            INSERT INTO t VALUES (1000 + i, -1);
            IF i % 3 = 0 THEN
                RAISE division_by_zero;
            END IF;
        EXCEPTION WHEN division_by_zero THEN NULL;
        END;
    END LOOP;
END $$;
\! node branch subtransactions_during subtransactions
SELECT count(*), sum(id) FROM t WHERE depth = -1;
COMMIT;
\! node branch subtransactions_after subtransactions
BEGIN;
SAVEPOINT a;
INSERT INTO t VALUES (0, 0);
ROLLBACK TO a;
DELETE FROM t WHERE id = 1002;
SAVEPOINT b;
UPDATE t SET depth = -2 WHERE id > 5500;
RELEASE b;
SAVEPOINT c;
UPDATE t SET depth = -3 WHERE id > 5800;
ROLLBACK TO c;
COMMIT;
SELECT depth, count(*), sum(id) FROM t WHERE depth < 0 GROUP BY depth ORDER BY depth;
\! node restart subtransactions
\c
SELECT depth, count(*), sum(id) FROM t GROUP BY depth ORDER BY depth;
-- A procedure that commits in its loop.
DO $$
BEGIN
    FOR i IN 1..200 LOOP
        INSERT INTO t VALUES (10000 + i, -4);
        IF i % 3 = 0 THEN
            ROLLBACK;
        ELSE
            COMMIT;
        END IF;
    END LOOP;
END $$;
\! node restart subtransactions immediate
\c
SELECT depth, count(*), sum(id) FROM t GROUP BY depth ORDER BY depth;
SELECT check_relation('t');

-- The transaction was running when this branch was made: nothing of it is there, its keys are free.
\! node start subtransactions_during
\set port_during `node port subtransactions_during`
\c - - - :port_during
SELECT count(*) FROM t WHERE depth = -1;
INSERT INTO t SELECT 1000 + i, -9 FROM generate_series(1, 5000) i;
SELECT depth, count(*), sum(id) FROM t WHERE depth < 0 GROUP BY depth ORDER BY depth;
VACUUM t;
SELECT check_relation('t');
\! node start subtransactions_after
\set port_after `node port subtransactions_after`
\c - - - :port_after
SELECT depth, count(*), sum(id) FROM t WHERE depth < 0 GROUP BY depth ORDER BY depth;
SELECT check_relation('t');

-- A branch at an LSN: what was committed by then, whatever came later. LSNs are hexadecimal; one
-- with letters is waited for, because decimal readers of it exist.
CREATE TABLE steps (step int PRIMARY KEY, filler text);
CREATE TABLE other (id int);
-- The current end of WAL, moved on until it has a letter among its digits.
CREATE FUNCTION lsn_with_letter() RETURNS pg_lsn LANGUAGE plpgsql AS $$
BEGIN
    WHILE substr(pg_current_wal_insert_lsn()::text, strpos(pg_current_wal_insert_lsn()::text, '/') + 1)
          !~ '[A-F]'
    LOOP
        PERFORM pg_logical_emit_message(false, 'zenith', 'letter');
    END LOOP;
    RETURN pg_current_wal_insert_lsn();
END $$;

INSERT INTO steps SELECT i, repeat('x', 100) FROM generate_series(1, 1000) i;
SELECT lsn_with_letter() AS lsn_1 \gset
UPDATE steps SET filler = 'second' WHERE step <= 500;
INSERT INTO other SELECT generate_series(1, 100);
CHECKPOINT;
SELECT lsn_with_letter() AS lsn_2 \gset
DELETE FROM steps WHERE step > 900;
VACUUM steps;
DROP TABLE other;
CREATE TABLE other (id int, new_column text DEFAULT 'new');
INSERT INTO other SELECT generate_series(1, 10);
SELECT lsn_with_letter() AS lsn_3 \gset
TRUNCATE steps;
DROP TABLE other;
-- Of the same transaction, a part lies before the LSN: nothing of it may be seen.
BEGIN;
INSERT INTO steps SELECT i, 'half' FROM generate_series(1, 100) i;
SELECT lsn_with_letter() AS lsn_4 \gset
INSERT INTO steps SELECT i, 'other half' FROM generate_series(101, 200) i;
COMMIT;
SELECT lsn_with_letter() AS lsn_5 \gset
-- A commit after it: when it returns, everything before is in the repository.
INSERT INTO steps VALUES (9999, 'later');

SELECT :'lsn_1' ~ '[A-F]' AND :'lsn_2' ~ '[A-F]' AND :'lsn_3' ~ '[A-F]' AND :'lsn_4' ~ '[A-F]' AS letters;

\setenv LSN_1 :lsn_1
\setenv LSN_2 :lsn_2
\setenv LSN_3 :lsn_3
\setenv LSN_4 :lsn_4
\setenv LSN_5 :lsn_5
\! node branch branch_lsn_1 branch_lsn@$LSN_1
\! node branch branch_lsn_2 branch_lsn@$LSN_2
\! node branch branch_lsn_3 branch_lsn@$LSN_3
\! node branch branch_lsn_4 branch_lsn@$LSN_4
\! node branch branch_lsn_5 branch_lsn@$LSN_5

\! node start branch_lsn_1
\set port `node port branch_lsn_1`
\c - - - :port
SELECT left(filler, 10) AS filler, count(*), sum(step) FROM steps GROUP BY 1 ORDER BY 1;
SELECT count(*) FROM other;
SELECT check_relation('steps');
INSERT INTO steps VALUES (5000, 'written on branch 1');
\! node stop branch_lsn_1

\! node start branch_lsn_2
\set port `node port branch_lsn_2`
\c - - - :port
SELECT left(filler, 10) AS filler, count(*), sum(step) FROM steps GROUP BY 1 ORDER BY 1;
SELECT * FROM contents('other');
SELECT check_relation('steps');

\! node start branch_lsn_3
\set port_3 `node port branch_lsn_3`
\c - - - :port_3
SELECT left(filler, 10) AS filler, count(*), sum(step) FROM steps GROUP BY 1 ORDER BY 1;
SELECT * FROM contents('other');
SELECT check_relation('steps');

\! node start branch_lsn_4
\set port_4 `node port branch_lsn_4`
\c - - - :port_4
SELECT count(*) FROM steps;
INSERT INTO steps VALUES (1, 'can be taken');
SELECT check_relation('steps');

\! node start branch_lsn_5
\set port_5 `node port branch_lsn_5`
\c - - - :port_5
SELECT left(filler, 10) AS filler, count(*), sum(step) FROM steps GROUP BY 1 ORDER BY 1;

-- A branch in the past of a branch: a point that lies in its parent's history.
\! node branch branch_lsn_past branch_lsn_5@$LSN_2
\! node start branch_lsn_past
\set port_past `node port branch_lsn_past`
\c - - - :port_past
SELECT left(filler, 10) AS filler, count(*), sum(step) FROM steps GROUP BY 1 ORDER BY 1;
SELECT * FROM contents('other');

-- Branch 1 keeps its own change over a restart.
\! node start branch_lsn_1
\set port `node port branch_lsn_1`
\c - - - :port
SELECT left(filler, 10) AS filler, count(*), sum(step) FROM steps GROUP BY 1 ORDER BY 1;

-- compute: max_prepared_transactions=2
-- What was committed at a moment of the clock, exact to the commit.
CREATE FUNCTION moment(zone interval DEFAULT '0', form text DEFAULT '"T"') RETURNS text LANGUAGE sql VOLATILE
    AS $$ SELECT to_char(clock_timestamp() AT TIME ZONE zone, 'YYYY-MM-DD' || form || 'HH24:MI:SS.US')
              || CASE WHEN zone = '0' THEN 'Z' ELSE '+' || to_char(zone, 'HH24:MI') END $$;
CREATE TABLE steps (n int);
INSERT INTO steps VALUES (1);
SELECT moment() AS t \gset
\setenv T1 :t
INSERT INTO steps VALUES (2);
-- Another zone, and a blank instead of the T.
SELECT moment('5:30', '" "') AS t \gset
\setenv T2 :t
BEGIN;
INSERT INTO steps VALUES (3);
-- Not committed yet.
SELECT moment() AS t \gset
\setenv T3 :t
COMMIT;
BEGIN;
INSERT INTO steps VALUES (4);
PREPARE TRANSACTION 'four';
SELECT moment() AS t \gset
\setenv T4 :t
COMMIT PREPARED 'four';
SELECT moment() AS t \gset
\setenv T5 :t
-- More WAL than lies between two entries of the index.
CREATE TABLE filler AS SELECT repeat('x', 1000) AS x FROM generate_series(1, 2000);
BEGIN;
INSERT INTO steps VALUES (99);
ROLLBACK;
SELECT moment() AS t \gset
\setenv T6 :t
INSERT INTO steps VALUES (5);

\! node branch time_points_1 "time_points@$T1"
\! node branch time_points_2 "time_points@$T2"
\! node branch time_points_3 "time_points@$T3"
\! node branch time_points_4 "time_points@$T4"
\! node tag time_points_tag "time_points@$T5"
\! node branch time_points_5 time_points_tag
\! node branch time_points_6 "time_points@$T6"
\! node branch time_points_now time_points@-0s
\! node refused branch time_points_x time_points@2001-01-01
\! node refused branch time_points_x time_points@2999-01-01T00:00:00Z
\! node refused branch time_points_x time_points@-100d
\! node refused branch time_points_x time_points@-1parsec
\! node start time_points_1
\! node start time_points_2
\! node start time_points_3
\! node start time_points_4
\! node start time_points_5
\! node start time_points_6
\! node start time_points_now
\set port1 `node port time_points_1`
\set port2 `node port time_points_2`
\set port3 `node port time_points_3`
\set port4 `node port time_points_4`
\set port5 `node port time_points_5`
\set port6 `node port time_points_6`
\set port_now `node port time_points_now`
\c - - - :port1
SELECT array_agg(n ORDER BY n) FROM steps;
\c - - - :port2
SELECT array_agg(n ORDER BY n) FROM steps;
\c - - - :port3
SELECT array_agg(n ORDER BY n) FROM steps;
\c - - - :port4
SELECT array_agg(n ORDER BY n) FROM steps;
\c - - - :port5
SELECT array_agg(n ORDER BY n) FROM steps;
\c - - - :port6
SELECT array_agg(n ORDER BY n) FROM steps;
SELECT count(*) FROM filler;
\c - - - :port_now
SELECT array_agg(n ORDER BY n) FROM steps;
-- A moment before the branch began, asked for on the branch.
INSERT INTO steps VALUES (6);
\! node branch time_points_again "time_points_now@$T2"
\! node start time_points_again
\set port_again `node port time_points_again`
\c - - - :port_again
SELECT array_agg(n ORDER BY n) FROM steps;

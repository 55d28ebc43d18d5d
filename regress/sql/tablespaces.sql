-- In-place tablespaces: created, filled, moved into and out of, dropped; over restarts and on a branch.
-- compute: allow_in_place_tablespaces=on
CREATE TABLESPACE space_a LOCATION '';
CREATE TABLESPACE space_b LOCATION '';
CREATE TABLESPACE space_c LOCATION '';
CREATE TABLE in_a (id int PRIMARY KEY USING INDEX TABLESPACE space_b, v text) TABLESPACE space_a;
INSERT INTO in_a SELECT i, repeat('a', i % 100) FROM generate_series(1, 5000) i;
CREATE TABLE moves (id int PRIMARY KEY, v text);
INSERT INTO moves SELECT i, repeat('m', 500) FROM generate_series(1, 5000) i;
CREATE TABLE empty_one (id int) TABLESPACE space_a;
CREATE UNLOGGED TABLE unlogged_one (id int) TABLESPACE space_a;
SELECT * FROM contents('in_a');
SELECT * FROM contents('moves');
\! node restart tablespaces
\c
SELECT * FROM contents('in_a');
-- Moved while its blocks are holes.
ALTER TABLE moves SET TABLESPACE space_a;
ALTER INDEX moves_pkey SET TABLESPACE space_b;
SELECT * FROM contents('moves');
\! node branch tablespaces_branch tablespaces
\! node restart tablespaces immediate
\c
SELECT * FROM contents('in_a');
SELECT * FROM contents('moves');
SELECT check_relation('in_a');
SELECT check_relation('moves');
DELETE FROM moves WHERE id % 2 = 0;
ALTER TABLE moves SET TABLESPACE pg_default;
SELECT count(*), sum(id) FROM moves;

-- A whole database: created in one, moved to another and back.
CREATE DATABASE in_space TABLESPACE space_a STRATEGY wal_log;
\c in_space
CREATE TABLE t (id int PRIMARY KEY, v text);
INSERT INTO t SELECT i, 'in space' FROM generate_series(1, 3000) i;
CREATE TABLE elsewhere TABLESPACE space_c AS SELECT generate_series(1, 100) AS id;
\c regression
ALTER DATABASE in_space SET TABLESPACE space_b;
\c in_space
SELECT count(*), sum(id) FROM t;
SELECT count(*), sum(id) FROM elsewhere;
\! node restart tablespaces
\c
SELECT count(*), sum(id) FROM t;
SELECT count(*), sum(id) FROM elsewhere;
INSERT INTO t SELECT i, 'after the move' FROM generate_series(3001, 3100) i;
\! node restart tablespaces
-- Moved while nothing of it was read.
\c regression
ALTER DATABASE in_space SET TABLESPACE pg_default;
\c in_space
SELECT v, count(*), sum(id) FROM t GROUP BY v ORDER BY v;
\! node restart tablespaces immediate
\c
SELECT v, count(*), sum(id) FROM t GROUP BY v ORDER BY v;
SELECT count(*), sum(id) FROM elsewhere;
CREATE DATABASE copied TEMPLATE template0 TABLESPACE space_a STRATEGY file_copy;
\c copied
CREATE TABLE t AS SELECT 'copied' AS v;
\! node restart tablespaces
\c
SELECT * FROM t;
\c regression

-- Not empty, then empty.
DROP TABLESPACE space_a;
DROP TABLESPACE space_c;
DROP DATABASE copied;
DROP TABLE in_a, empty_one, unlogged_one;
ALTER INDEX moves_pkey SET TABLESPACE pg_default;
DROP TABLESPACE space_a;
DROP TABLESPACE space_b;
SELECT spcname FROM pg_tablespace ORDER BY spcname COLLATE "C";
\! node restart tablespaces
\c
SELECT spcname FROM pg_tablespace ORDER BY spcname COLLATE "C";
SELECT count(*), sum(id) FROM moves;
SELECT check_relation('moves');

-- The branch has both, with their tables where they were.
\! node start tablespaces_branch allow_in_place_tablespaces=on
\set port_branch `node port tablespaces_branch`
\c - - - :port_branch
SELECT spcname FROM pg_tablespace ORDER BY spcname COLLATE "C";
SELECT relname, spcname FROM pg_class c LEFT JOIN pg_tablespace s ON s.oid = c.reltablespace
 WHERE relname IN ('in_a', 'in_a_pkey', 'moves', 'moves_pkey', 'empty_one') ORDER BY relname COLLATE "C";
SELECT * FROM contents('in_a');
SELECT * FROM contents('moves');
INSERT INTO empty_one VALUES (1);
ALTER TABLE in_a SET TABLESPACE space_b;
\! node restart tablespaces_branch
\c
SELECT * FROM contents('in_a');
SELECT * FROM empty_one;
SELECT check_relation('in_a');

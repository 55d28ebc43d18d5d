-- CREATE DATABASE by both strategies, from templates with contents; DROP DATABASE; what a branch and
-- a restarted compute see of them.
CREATE DATABASE template_db;
\c template_db
CREATE TABLE t (id int PRIMARY KEY, v text);
INSERT INTO t SELECT i, 'template' FROM generate_series(1, 3000) i;
CREATE INDEX ON t (v);
CREATE UNLOGGED TABLE u (id int);
INSERT INTO u SELECT generate_series(1, 100);
\c postgres
-- From what this compute itself wrote.
CREATE DATABASE by_log TEMPLATE template_db STRATEGY wal_log;
CREATE DATABASE by_copy TEMPLATE template_db STRATEGY file_copy;
\c by_log
SELECT count(*), sum(id) FROM t;
INSERT INTO t SELECT i, 'by_log' FROM generate_series(5001, 5100) i;
\c by_copy
SELECT count(*), sum(id) FROM t;
INSERT INTO t SELECT i, 'by_copy' FROM generate_series(6001, 6200) i;
\! node restart databases
\c
SELECT v, count(*), sum(id) FROM t GROUP BY v ORDER BY v;
SELECT count(*) FROM u;

-- From holes: a fresh compute has read nothing of the template yet.
\c postgres
CREATE DATABASE by_log_cold TEMPLATE by_log STRATEGY wal_log;
CREATE DATABASE by_copy_cold TEMPLATE by_copy STRATEGY file_copy;
CREATE DATABASE default_cold TEMPLATE template_db;
\c by_log_cold
SELECT v, count(*), sum(id) FROM t GROUP BY v ORDER BY v;
\c by_copy_cold
SELECT v, count(*), sum(id) FROM t GROUP BY v ORDER BY v;
UPDATE t SET v = 'cold' WHERE id <= 10;
\c default_cold
SELECT v, count(*), sum(id) FROM t GROUP BY v ORDER BY v;
\! node branch databases_branch databases
\! node restart databases immediate
\c by_log_cold
SELECT v, count(*), sum(id) FROM t GROUP BY v ORDER BY v;
\c by_copy_cold
SELECT v, count(*), sum(id) FROM t GROUP BY v ORDER BY v;
VACUUM FULL t;
REINDEX TABLE t;
SELECT count(*) FROM u;
INSERT INTO u VALUES (1);

\c postgres
DROP DATABASE by_log;
DROP DATABASE by_copy;
-- Twice the same name is another database.
CREATE DATABASE by_copy TEMPLATE template0 STRATEGY file_copy;
ALTER DATABASE by_log_cold RENAME TO renamed;
SELECT datname FROM pg_database ORDER BY datname COLLATE "C";
\! node restart databases
\c by_copy
SELECT to_regclass('t');
CREATE TABLE t AS SELECT 'new' AS v;
\c renamed
SELECT v, count(*), sum(id) FROM t GROUP BY v ORDER BY v;
\c by_copy_cold
SELECT v, count(*), sum(id) FROM t GROUP BY v ORDER BY v;
\c regression
SELECT datname FROM pg_database ORDER BY datname COLLATE "C";

-- The branch still has what was dropped.
\! node start databases_branch
\set port_branch `node port databases_branch`
\c by_log - - :port_branch
SELECT v, count(*), sum(id) FROM t GROUP BY v ORDER BY v;
\c by_copy
SELECT v, count(*), sum(id) FROM t GROUP BY v ORDER BY v;
\c by_copy_cold
SELECT v, count(*), sum(id) FROM t GROUP BY v ORDER BY v;
\c postgres
DROP DATABASE template_db;
CREATE DATABASE on_branch TEMPLATE by_copy STRATEGY file_copy;
\! node restart databases_branch
\c on_branch
SELECT v, count(*), sum(id) FROM t GROUP BY v ORDER BY v;
SELECT datname FROM pg_database ORDER BY datname COLLATE "C";

-- An encoding and locale of its own, and the shared catalogs after all this.
CREATE DATABASE latin TEMPLATE template0 ENCODING 'LATIN1' LOCALE 'C' STRATEGY file_copy;
\c latin
CREATE TABLE t AS SELECT 'x' AS v;
\! node restart databases_branch
\c
SELECT * FROM t;
SHOW server_encoding;

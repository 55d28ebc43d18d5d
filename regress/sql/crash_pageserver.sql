-- kill -9 of the page server while computes run: nothing acknowledged is lost, and both go on.
CREATE TABLE t (id int PRIMARY KEY, v text);
INSERT INTO t SELECT i, 'before' FROM generate_series(1, 10000) i;
\! node branch crash_pageserver_a crash_pageserver
\! node start crash_pageserver_a
\set port_a `node port crash_pageserver_a`

-- What these statements read of the catalogs is local from here on.
SELECT count(*) FROM t WHERE v = 'before';
INSERT INTO t SELECT i, 'while it was there' FROM generate_series(20001, 20100) i;
\! node pageserver kill
-- Local blocks are read without it; a commit has to wait for it.
BEGIN;
SELECT count(*) FROM t WHERE v = 'before';
INSERT INTO t SELECT i, 'while it was away' FROM generate_series(10001, 10100) i;
\! node pageserver start
COMMIT;
SELECT v, count(*), sum(id) FROM t GROUP BY v ORDER BY v;
\! node pageserver kill
\! node pageserver start
UPDATE t SET v = 'second' WHERE id <= 100;
\! node pageserver kill
\! node pageserver start
-- Twice in a row.
\! node pageserver kill
\! node pageserver start
SELECT v, count(*), sum(id) FROM t GROUP BY v ORDER BY v;
\! node restart crash_pageserver
\c
SELECT v, count(*), sum(id) FROM t GROUP BY v ORDER BY v;
SELECT check_relation('t');

-- A branch made just before, tags and the list of branches survive.
INSERT INTO t VALUES (99999, 'tagged');
\! node tag crash_pageserver_tag crash_pageserver
\! node branch crash_pageserver_b crash_pageserver
\! node pageserver kill
\! node pageserver start
\! zenith branch | grep -o 'crash_pageserver_[ab]' | sort -u
\! zenith tag | grep -o 'crash_pageserver_tag' | sort -u
\! node branch crash_pageserver_c crash_pageserver_tag
\! node start crash_pageserver_b
\! node start crash_pageserver_c
\set port_b `node port crash_pageserver_b`
\set port_c `node port crash_pageserver_c`
\c - - - :port_b
SELECT v, count(*), sum(id) FROM t GROUP BY v ORDER BY v;
\c - - - :port_c
SELECT v, count(*), sum(id) FROM t GROUP BY v ORDER BY v;
-- A compute that was there all the time and has read nothing until now.
\c - - - :port_a
SELECT v, count(*), sum(id) FROM t GROUP BY v ORDER BY v;
SELECT check_relation('t');

-- An orderly restart of the page server: under a running compute, and of everything.
CREATE TABLE t (id int PRIMARY KEY, v text);
INSERT INTO t SELECT i, 'before' FROM generate_series(1, 20000) i;
\! node branch restart_pageserver_a restart_pageserver
\! node start restart_pageserver_a
\set port_a `node port restart_pageserver_a`
\set port `node port restart_pageserver`

-- The compute stays; its sessions go on, its commits wait until the page server is there again.
\! node pageserver restart
INSERT INTO t SELECT i, 'after first' FROM generate_series(20001, 20100) i;
SELECT v, count(*), sum(id) FROM t GROUP BY v ORDER BY v;
BEGIN;
UPDATE t SET v = 'open during restart' WHERE id <= 10;
\! node pageserver restart
UPDATE t SET v = 'open during restart' WHERE id BETWEEN 11 AND 20;
COMMIT;
SELECT v, count(*), sum(id) FROM t GROUP BY v ORDER BY v;

-- A compute that has read next to nothing yet reads its holes from the new page server.
\c - - - :port_a
SELECT v, count(*), sum(id) FROM t GROUP BY v ORDER BY v;
DELETE FROM t WHERE id > 10;
\! node restart restart_pageserver_a
\! node pageserver restart
\c - - - :port_a
SELECT count(*), sum(id) FROM t;
SELECT check_relation('t');

-- Everything, with branches and tags made before and after.
\! node tag restart_pageserver_tag restart_pageserver
\c - - - :port
TRUNCATE t;
\! zenith stop > /dev/null && zenith start > /dev/null
\! node start restart_pageserver
\! node branch restart_pageserver_b restart_pageserver_tag
\! node start restart_pageserver_b
\! node start restart_pageserver_a
\c - - - :port
SELECT count(*) FROM t;
\c - - - :port_a
SELECT count(*), sum(id) FROM t;
\set port_b `node port restart_pageserver_b`
\c - - - :port_b
SELECT v, count(*), sum(id) FROM t GROUP BY v ORDER BY v;
SELECT check_relation('t');

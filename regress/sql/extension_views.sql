-- CREATE EXTENSION zenith: what a compute says of itself.
CREATE EXTENSION zenith;
SELECT mode, term >= 1 AS has_term, pageserver IS NOT NULL AS has_pageserver, pageserver_connection,
       last_error, wal_receiver, start_lsn <= flush_lsn AS flushed, apply_lsn IS NOT NULL AS applied
  FROM zenith_status();
-- The timeline is the branch's, and another one on a branch.
\! zenith branch | grep -w extension_views | grep -oE '[0-9a-f]{32}' | head -1 > $ZENITH_TEST_DIR/extension_views.timeline
\set timeline `cat $ZENITH_TEST_DIR/extension_views.timeline`
SELECT timeline = :'timeline' AS same_timeline FROM zenith_status();

-- What a commit waited for is flushed.
CREATE TABLE t AS SELECT i AS id, repeat('x', 500) AS filler FROM generate_series(1, 5000) i;
SELECT pg_current_wal_flush_lsn() AS lsn \gset
INSERT INTO t VALUES (0, 'one more commit');
SELECT flush_lsn >= :'lsn' AS flushed FROM zenith_status();

\! node restart extension_views
\c
SELECT holes_fetched AS holes, bytes_fetched AS bytes, zero_pages FROM zenith_stat \gset before_
SELECT count(*), sum(id) FROM t;
-- The table was read from the page server, once.
SELECT holes_fetched - :before_holes >= pg_relation_size('t') / 8192 AS fetched,
       bytes_fetched - :before_bytes >= pg_relation_size('t') AS bytes,
       fetch_wait_us > 0 AS waited, errors
  FROM zenith_stat;
SELECT holes_fetched AS holes FROM zenith_stat \gset before_
SELECT count(*), sum(id) FROM t;
SELECT holes_fetched - :before_holes < 20 AS not_again FROM zenith_stat;
SELECT term FROM zenith_status() \gset before_
\! node restart extension_views
\c
SELECT term > :before_term AS term_raised, mode FROM zenith_status();

-- Statistics can be read by everyone.
CREATE ROLE extension_views_reader;
SET ROLE extension_views_reader;
SELECT count(*) FROM zenith_stat;
RESET ROLE;
DROP ROLE extension_views_reader;
\! node branch extension_views_other extension_views
\! node start extension_views_other
\set port_other `node port extension_views_other`
\c - - - :port_other
SELECT timeline = :'timeline' AS same_timeline, mode FROM zenith_status();

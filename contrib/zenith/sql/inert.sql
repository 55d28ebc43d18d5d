-- On a server that is not a compute the extension can be created and says so.
CREATE EXTENSION zenith;
SELECT mode, timeline, start_lsn, term, pageserver, pageserver_connection, wal_receiver
  FROM zenith_status();
SELECT * FROM zenith_stat;
-- Storage works as ever.
CREATE TABLE inert AS SELECT g FROM generate_series(1, 10000) g;
SELECT count(*), sum(g) FROM inert;
DROP TABLE inert;
-- Anybody may look.
CREATE ROLE regress_zenith_reader;
SET ROLE regress_zenith_reader;
SELECT mode FROM zenith_status();
SELECT holes_fetched FROM zenith_stat;
RESET ROLE;
DROP ROLE regress_zenith_reader;
DROP EXTENSION zenith;

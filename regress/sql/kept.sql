-- What a plain server finds again in its files after it was shut down, a compute finds, too: numbers
-- of sequences without gaps, free space maps, statistics, settings. After a crash it does not.
CREATE EXTENSION pg_freespacemap;

-- Sequences.
CREATE SEQUENCE plain;
CREATE SEQUENCE down INCREMENT BY -3 MAXVALUE 100 MINVALUE -1000 START 100;
CREATE SEQUENCE untouched START 7;
CREATE UNLOGGED SEQUENCE unlogged;
CREATE TABLE t (id int GENERATED ALWAYS AS IDENTITY, v text);
SELECT count(nextval('plain')), count(nextval('down')), count(nextval('unlogged')) FROM generate_series(1, 40);
INSERT INTO t (v) SELECT repeat('x', 500) FROM generate_series(1, 20000);
\! node restart kept
\c
SELECT nextval('plain'), nextval('down'), nextval('untouched'), nextval('unlogged');
INSERT INTO t (v) VALUES ('y') RETURNING id;
-- Twice in a row, and with nothing drawn between.
\! node restart kept
\c
SELECT nextval('plain'), nextval('down'), nextval('untouched');
\! node restart kept; node restart kept
\c
SELECT nextval('plain'), nextval('down'), nextval('untouched');
SELECT last_value, log_cnt > 0 AS logged_ahead, is_called FROM plain;
-- A branch from where the compute stopped has them without gaps as well, and both go their own way.
\! node stop kept; node branch kept_branch kept; node start kept; node start kept_branch
\set port_branch `node port kept_branch`
\c
SELECT nextval('plain'), nextval('down');
\c - - - :port_branch
SELECT nextval('plain'), nextval('down');
-- A crash: never a number twice, and at most 32 lost.
\! node kill kept_branch; node start kept_branch
\c
SELECT nextval('plain') BETWEEN 45 AND 45 + 33 AS in_order, nextval('down') BETWEEN -32 - 33 * 3 AND -32 AS in_order;
-- Somebody terminates the worker alone: it comes back, and does its duty at the stop.
\set port `node port kept`
\c - - - :port
\! node terminate_keeper kept
SELECT nextval('plain');
\! node restart kept
\c
SELECT nextval('plain');

-- Free space. Every second row goes; a new compute fills the room instead of extending the table.
DELETE FROM t WHERE id % 2 = 0;
VACUUM t;
SELECT pg_relation_size('t') AS size, sum(avail) > 0 AS room FROM pg_freespace('t') \gset before_
SELECT :before_size > 0 AS table, :'before_room' AS room;
CREATE TEMP TABLE x AS SELECT 1;
SELECT md5(string_agg(blkno || ':' || avail, ',' ORDER BY blkno)) AS map FROM pg_freespace('t') \gset
\! node restart kept
\c
SELECT md5(string_agg(blkno || ':' || avail, ',' ORDER BY blkno)) = :'map' AS same_map FROM pg_freespace('t');
INSERT INTO t (v) SELECT repeat('z', 500) FROM generate_series(1, 8000);
SELECT pg_relation_size('t') - :before_size AS grown_by;
-- The map of a table that was dropped, of one that was truncated, of one in another tablespace.
SET allow_in_place_tablespaces = on;
CREATE TABLESPACE kept_space LOCATION '';
CREATE TABLE in_space (v text) TABLESPACE kept_space;
INSERT INTO in_space SELECT repeat('x', 500) FROM generate_series(1, 2000);
CREATE TABLE gone AS SELECT * FROM in_space;
CREATE TABLE short AS SELECT * FROM in_space;
DELETE FROM in_space WHERE ctid < '(50,0)';
DELETE FROM short WHERE ctid > '(2,0)';
DELETE FROM gone;
VACUUM in_space, short, gone;
DROP TABLE gone;
SELECT sum(avail) FROM pg_freespace('in_space') \gset
SELECT sum(avail) AS short FROM pg_freespace('short') \gset
\! node restart kept
\c
SELECT sum(avail) = :sum AS same FROM pg_freespace('in_space');
SELECT sum(avail) = :short AS same FROM pg_freespace('short');
-- Nothing changed: nothing is written but the statistics.
\! node restart kept; grep -o 'kept [0-9]* sequences and [0-9]* pages of free space maps' $ZENITH_REPO_DIR/computes/kept/postgres.log | tail -1
\c

-- Statistics.
SELECT count(*) FROM t WHERE v < 'a';
SELECT pg_stat_force_next_flush();
SELECT seq_scan, n_tup_ins, n_tup_del, n_live_tup, vacuum_count FROM pg_stat_user_tables WHERE relname = 't' \gset before_
SELECT :before_seq_scan > 0 AS scans, :before_n_tup_ins AS ins, :before_n_tup_del AS del, :before_vacuum_count AS vacuums;
\! node restart kept
\c
SELECT seq_scan = :before_seq_scan AS scans, n_tup_ins = :before_n_tup_ins AS ins, n_tup_del = :before_n_tup_del AS del, n_live_tup = :before_n_live_tup AS live, vacuum_count = :before_vacuum_count AS vacuums FROM pg_stat_user_tables WHERE relname = 't';
-- Of what a session did last before it was ended by the stop, too.
INSERT INTO t (v) SELECT 'last' FROM generate_series(1, 77);
\! node restart kept
\c
SELECT n_tup_ins - :before_n_tup_ins AS since FROM pg_stat_user_tables WHERE relname = 't';
-- A branch of where it stopped has them; a branch of a moment in the middle does not.
INSERT INTO t (v) VALUES ('middle');
SELECT pg_current_wal_insert_lsn() AS middle \gset
INSERT INTO t (v) VALUES ('middle');
\! node stop kept; node branch kept_stopped kept; node start kept_stopped
\set port `node port kept_stopped`
\c - - - :port
SELECT n_tup_ins - :before_n_tup_ins AS since FROM pg_stat_user_tables WHERE relname = 't';
\setenv POINT kept@:middle
\! node branch kept_middle kept@$(echo $POINT | cut -d@ -f2); node start kept_middle
\set port `node port kept_middle`
\c - - - :port
SELECT count(*) FROM pg_stat_user_tables WHERE relname = 't' AND n_tup_ins > 0;
-- After a crash they begin anew, as PostgreSQL's do.
\! node start kept
\set port `node port kept`
\c - - - :port
SELECT n_tup_ins - :before_n_tup_ins AS since FROM pg_stat_user_tables WHERE relname = 't';
INSERT INTO t (v) VALUES ('crash');
\! node kill kept; node start kept
\c
SELECT count(*) FROM pg_stat_user_tables WHERE relname = 't' AND n_tup_ins > 0;

-- Settings.
ALTER SYSTEM SET work_mem = '7MB';
ALTER SYSTEM SET application_name = 'it''s \ kept';
\! node restart kept
\c
SHOW work_mem;
SELECT setting FROM pg_file_settings WHERE name = 'application_name';
\! node restart kept immediate
\c
SHOW work_mem;
ALTER SYSTEM RESET ALL;
\! node restart kept
\c
SHOW work_mem;
-- Who may connect.
\! echo 'host nobody_here all 127.0.0.1/32 reject' >> $ZENITH_REPO_DIR/computes/kept/pgdata/pg_hba.conf; echo 'kept_map here there' >> $ZENITH_REPO_DIR/computes/kept/pgdata/pg_ident.conf
\! node restart kept
\c
SELECT database, auth_method FROM pg_hba_file_rules WHERE 'nobody_here' = ANY (database);
\! node kill kept; node start kept
\c
SELECT database, auth_method FROM pg_hba_file_rules WHERE 'nobody_here' = ANY (database);
SELECT map_name, sys_name, pg_username FROM pg_ident_file_mappings WHERE map_name = 'kept_map';
-- Not the page server: it is let in whatever the file says.
\! sed -i '1i local replication all reject' $ZENITH_REPO_DIR/computes/kept/pgdata/pg_hba.conf
\! node restart kept
\c
INSERT INTO t (v) VALUES ('received');
SELECT check_relation('t');

-- compute: wal_level=logical
-- Logical replication slots outlive their compute, with what was confirmed: after a clean stop to the
-- last change, after a crash with what was confirmed a moment before, as PostgreSQL's do.
CREATE TABLE t (id int PRIMARY KEY, v text);
SELECT count(*) FROM pg_create_logical_replication_slot('first', 'test_decoding');
SELECT count(*) FROM pg_create_logical_replication_slot('unread', 'test_decoding');
INSERT INTO t SELECT i, 'one' FROM generate_series(1, 3) i;
SELECT data FROM pg_logical_slot_get_changes('first', NULL, NULL, 'include-xids', '0');
INSERT INTO t VALUES (4, 'not read yet');
\! node restart slots
\c
SELECT slot_name, plugin, slot_type, database FROM pg_replication_slots ORDER BY 1;
-- Neither again what was confirmed, nor less than was not.
SELECT data FROM pg_logical_slot_get_changes('first', NULL, NULL, 'include-xids', '0');
INSERT INTO t VALUES (5, 'after');
ALTER TABLE t ADD COLUMN w int;
UPDATE t SET w = 1 WHERE id = 5;
SELECT data FROM pg_logical_slot_get_changes('first', NULL, NULL, 'include-xids', '0');

-- More than one segment of WAL that one slot has yet to read, over two restarts, with an abort and
-- a transaction that the stop ended.
SELECT count(pg_switch_wal()) FROM generate_series(1, 1);
INSERT INTO t SELECT i, 'bulk' FROM generate_series(100, 200) i;
SELECT count(pg_switch_wal()) FROM generate_series(1, 1);
BEGIN;
DELETE FROM t;
ROLLBACK;
SELECT open_session('s');
SELECT dblink_exec('s', 'BEGIN');
SELECT dblink_exec('s', 'UPDATE t SET v = ''never''');
\! node restart slots; node restart slots
\c
SELECT count(*) FILTER (WHERE data LIKE '%INSERT%') AS inserts, count(*) FILTER (WHERE data LIKE '%never%' OR data LIKE '%DELETE%') AS never FROM pg_logical_slot_get_changes('first', NULL, NULL);
SELECT count(*) FILTER (WHERE data LIKE '%INSERT%') AS inserts, count(*) FILTER (WHERE data LIKE '%never%' OR data LIKE '%DELETE%') AS never FROM pg_logical_slot_peek_changes('unread', NULL, NULL);

-- A crash: the slots are there. What was confirmed in the last moment may come again.
INSERT INTO t VALUES (6, 'before the crash');
-- As soon as the WAL has a message of the worker, what was confirmed is in it.
CREATE EXTENSION pg_walinspect;
DO $$
DECLARE
    before pg_lsn := pg_current_wal_flush_lsn();
BEGIN
    PERFORM pg_logical_slot_get_changes('first', NULL, NULL);
    WHILE pg_current_wal_flush_lsn() <= before
          OR NOT EXISTS (SELECT FROM pg_get_wal_records_info_till_end_of_wal(before)
                          WHERE resource_manager = 'LogicalMessage') LOOP
        PERFORM pg_sleep(0.01);
    END LOOP;
END $$;
INSERT INTO t VALUES (60, 'after what was confirmed');
\! node kill slots; node start slots
\c
SELECT data FROM pg_logical_slot_get_changes('first', NULL, NULL, 'include-xids', '0');
SELECT count(*) FILTER (WHERE data LIKE '%INSERT%') AS inserts FROM pg_logical_slot_get_changes('unread', NULL, NULL);

-- A branch does not inherit them: who reads them reads this one.
\! node stop slots; node branch slots_branch slots; node start slots_branch wal_level=logical; node start slots
\set port_branch `node port slots_branch`
\c - - - :port_branch
SELECT count(*) FROM pg_replication_slots WHERE slot_type = 'logical';
SELECT count(*) FROM pg_create_logical_replication_slot('of_branch', 'test_decoding');
INSERT INTO t VALUES (7, 'branch');
\! node restart slots_branch
\c
SELECT data FROM pg_logical_slot_get_changes('of_branch', NULL, NULL, 'include-xids', '0');

-- One that was dropped stays dropped; a compute without wal_level = logical gets it with the slots.
\set port `node port slots`
\c - - - :port
SELECT slot_name FROM pg_replication_slots WHERE slot_type = 'logical' ORDER BY 1;
SELECT pg_drop_replication_slot('unread');
\! node stop slots; zenith pg create slots --name slots_other > /dev/null; node start slots_other
\set port `node port slots_other`
\c - - - :port
SHOW wal_level;
SELECT slot_name FROM pg_replication_slots WHERE slot_type = 'logical' ORDER BY 1;
INSERT INTO t VALUES (8, 'other compute');
SELECT data FROM pg_logical_slot_get_changes('first', NULL, NULL, 'include-xids', '0');
SELECT pg_drop_replication_slot('first');
\! node restart slots_other
\c
SHOW wal_level;
SELECT count(*) FROM pg_replication_slots WHERE slot_type = 'logical';

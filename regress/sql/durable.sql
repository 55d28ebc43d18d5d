-- What a plain server keeps on its own disk, a compute keeps at the page server: no setting lets a
-- commit go without it.
SET synchronous_commit = local;
SHOW synchronous_commit;
SET synchronous_commit = remote_write;
SHOW synchronous_commit;
SET synchronous_commit = remote_apply;
SHOW synchronous_commit;
SET synchronous_commit = off;
SHOW synchronous_commit;
RESET synchronous_commit;
\set VERBOSITY default
ALTER SYSTEM SET synchronous_standby_names = '';
\set VERBOSITY terse
ALTER SYSTEM SET synchronous_standby_names = '*';
ALTER SYSTEM SET synchronous_standby_names = 'other';
ALTER SYSTEM SET synchronous_standby_names = 'zenith_pageserver, other';
ALTER SYSTEM SET synchronous_standby_names = 'ANY 1 (zenith_pageserver, other)';
ALTER SYSTEM SET synchronous_standby_names = 'FIRST (';
ALTER SYSTEM SET max_slot_wal_keep_size = '1GB';
ALTER SYSTEM SET max_slot_wal_keep_size = -1;

-- A parallel worker starts with such settings, too.
BEGIN;
SET LOCAL force_parallel_mode = on;
SET LOCAL synchronous_commit = local;
SELECT count(*) > 0 FROM pg_class;
COMMIT;

-- From here on what waits for the page server waits: another one is required that does not exist.
CREATE TABLE t (id int);
CREATE TABLE dropped (id int);
CREATE TABLE truncated AS SELECT 1 AS id;
BEGIN;
INSERT INTO t VALUES (1);
PREPARE TRANSACTION 'durable_commit';
BEGIN;
INSERT INTO t VALUES (-1);
PREPARE TRANSACTION 'durable_rollback';
-- Settings reach a walsender when it gets to them; its priority says that it has.
CREATE FUNCTION reload(priority int) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    PERFORM pg_reload_conf();
    WHILE NOT EXISTS (SELECT FROM pg_stat_replication WHERE sync_priority = priority) LOOP
        PERFORM pg_sleep(0.01), pg_stat_clear_snapshot();
    END LOOP;
END $$;
-- Runs `sql` in a session of its own and says whether it comes back or waits for standbys.
CREATE FUNCTION run(name text, setup text, sql text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
    session int;
BEGIN
    PERFORM open_session(name);
    SELECT pid INTO session FROM dblink(name, 'SELECT pg_backend_pid()') AS (pid int);
    PERFORM dblink_exec(name, setup);
    PERFORM dblink_send_query(name, sql);
    LOOP
        IF dblink_is_busy(name) = 0 THEN
            RETURN 'returns';
        END IF;
        PERFORM pg_stat_clear_snapshot();
        IF EXISTS (SELECT FROM pg_stat_activity WHERE pid = session AND wait_event = 'SyncRep') THEN
            RETURN 'waits';
        END IF;
        PERFORM pg_sleep(0.01);
    END LOOP;
END $$;
-- Its outcome, and what the session has set now.
CREATE FUNCTION outcome(name text, OUT status text, OUT setting text) LANGUAGE plpgsql AS $$
DECLARE
    result text;
BEGIN
    LOOP
        SELECT s INTO result FROM dblink_get_result(name) AS (s text);
        EXIT WHEN NOT FOUND;
        status := concat_ws(', ', status, result);
    END LOOP;
    SELECT s INTO setting FROM dblink(name, 'SHOW synchronous_commit') AS (s text);
END $$;
ALTER SYSTEM SET synchronous_standby_names = 'FIRST 2 (nobody, Zenith_PageServer)';
SELECT reload(2);
SELECT run('on', 'SET synchronous_commit = on', 'INSERT INTO t VALUES (2)');
SELECT run('local', 'SET synchronous_commit = local', 'INSERT INTO t VALUES (3)');
SELECT run('remote_write', 'SET synchronous_commit = remote_write', 'INSERT INTO t VALUES (4)');
SELECT run('off', 'SET synchronous_commit = off', 'INSERT INTO t VALUES (5)');
SELECT run('local_in_block', 'SET synchronous_commit = off',
           'BEGIN; SET LOCAL synchronous_commit = local; INSERT INTO t VALUES (6); COMMIT');
-- Without being asked: prepared transactions, removed files, databases.
SELECT run('prepare', 'SET synchronous_commit = off; BEGIN; INSERT INTO t VALUES (7)',
           'PREPARE TRANSACTION ''durable_new''');
SELECT run('commit', 'SET synchronous_commit = off', 'COMMIT PREPARED ''durable_commit''');
SELECT run('rollback', 'SET synchronous_commit = off', 'ROLLBACK PREPARED ''durable_rollback''');
SELECT run('drop', 'SET synchronous_commit = off', 'DROP TABLE dropped');
SELECT run('truncate', 'SET synchronous_commit = off', 'TRUNCATE truncated');
SELECT run('temp', 'SET synchronous_commit = off; CREATE TEMP TABLE p (id int)', 'DROP TABLE p');
SELECT run('database', 'SET synchronous_commit = off', 'CREATE DATABASE durable_new');
ALTER SYSTEM RESET synchronous_standby_names;
SELECT reload(1);
SELECT name, o.* FROM unnest(ARRAY['on', 'local', 'remote_write', 'off', 'local_in_block',
    'prepare', 'commit', 'rollback', 'drop', 'truncate', 'temp', 'database']) AS name, outcome(name) o;
SELECT array_agg(id ORDER BY id), to_regclass('dropped') FROM t;
SELECT gid FROM pg_prepared_xacts;

-- At the start.
\! zenith pg create durable --name durable_names --set synchronous_standby_names= > /dev/null; node stop durable; zenith pg start durable_names 2>&1 | grep -oE '(FATAL|HINT):  (sync|Leave).*'
\! zenith pg create durable --name durable_senders --set max_wal_senders=0 > /dev/null; zenith pg start durable_senders 2>&1 | grep -oE '(FATAL|HINT):  (a zenith|Set).*'
\! zenith pg create durable --name durable_keep --set max_slot_wal_keep_size=1GB > /dev/null; zenith pg start durable_keep 2>&1 | grep -oE '(FATAL|HINT):  (max|Leave).*'
\! node branch durable_local durable; node start durable_local synchronous_commit=local
\set port `node port durable_local`
\c - - - :port
SHOW synchronous_commit;
SELECT reload(1);
SHOW synchronous_commit;

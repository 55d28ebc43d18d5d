-- compute: wal_level=logical wal_retrieve_retry_interval=200ms logical_decoding_work_mem=64kB
-- Logical replication from compute to compute: whatever stops in between, the subscriber has all that
-- the publisher has, and nothing twice. There is no key on what is only inserted, so twice shows.
CREATE TABLE told (n int, v text);
CREATE TABLE account (id int PRIMARY KEY, balance int, note text);
CREATE TABLE late (id int PRIMARY KEY, v text);
INSERT INTO told SELECT i, 'copied' FROM generate_series(1, 20000) i;
INSERT INTO account SELECT i, 0, repeat(md5(i::text), 200) FROM generate_series(1, 200) i;
INSERT INTO late SELECT i, 'late' FROM generate_series(1, 5000) i;
CREATE PUBLICATION p FOR TABLE told, account;

-- What asks the subscriber, and waits.
\! node branch logical_sub main; node start logical_sub wal_retrieve_retry_interval=200ms
\set port `node port logical`
\set port_sub `node port logical_sub`
CREATE TABLE subscriber (connstr text);
INSERT INTO subscriber VALUES (format('host=127.0.0.1 port=%s dbname=regression user=postgres', :port_sub));
CREATE FUNCTION ask(query text) RETURNS text LANGUAGE sql AS $$
    SELECT answer FROM subscriber, dblink(connstr, query) AS d(answer text)
$$;
CREATE FUNCTION wait_until(condition text) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    met boolean;
    deadline timestamptz := clock_timestamp() + interval '60 s';
BEGIN
    LOOP
        EXECUTE 'SELECT ' || condition INTO met;
        EXIT WHEN met;
        IF clock_timestamp() > deadline THEN
            RAISE EXCEPTION 'not within 60 s: %', condition;
        END IF;
        PERFORM pg_sleep(0.01), pg_stat_clear_snapshot();
    END LOOP;
END $$;
-- When the slot is where the WAL is now: which tables differ?
CREATE FUNCTION different() RETURNS SETOF text LANGUAGE plpgsql AS $$
DECLARE
    name text;
    here text;
    there text;
BEGIN
    PERFORM wait_until(format('confirmed_flush_lsn >= %L FROM pg_replication_slots WHERE slot_name = ''s''',
                              pg_current_wal_flush_lsn()));
    FOR name IN SELECT tablename FROM pg_publication_tables WHERE pubname = 'p' ORDER BY 1 LOOP
        SELECT c::text INTO here FROM contents(name) c;
        there := ask(format('SELECT c::text FROM contents(%L) c', name));
        IF here IS DISTINCT FROM there THEN
            RETURN NEXT format('%s: here %s, there %s', name, here, there);
        END IF;
    END LOOP;
END $$;
-- Reads all there is, so that nothing has to come from a page server that is away.
CREATE EXTENSION pg_prewarm;
CREATE FUNCTION read_all() RETURNS boolean LANGUAGE sql AS $$
    SELECT sum(pg_prewarm(oid, 'buffer', fork)) > 0 FROM pg_class, unnest('{main,fsm,vm}'::text[]) fork
     WHERE relkind IN ('r', 'i', 't') AND relpersistence = 'p' AND pg_relation_size(oid, fork) > 0
$$;
-- Changes of every kind, in small transactions and in one that is streamed before it ends.
CREATE PROCEDURE change(what text) LANGUAGE plpgsql AS $$
BEGIN
    FOR i IN 1..50 LOOP
        INSERT INTO told VALUES (i, what);
        UPDATE account SET balance = balance + i WHERE id % 7 = i % 7;
        COMMIT;
    END LOOP;
    INSERT INTO told SELECT i, what || ' at once' FROM generate_series(1, 3000) i;
    BEGIN
        DELETE FROM account;
        RAISE division_by_zero;
    EXCEPTION WHEN division_by_zero THEN
    END;
    UPDATE account SET note = md5(what) WHERE id % 5 = 0;
    DELETE FROM account WHERE id % 50 = 0;
    INSERT INTO account SELECT i * 50, 0, repeat(md5(what || i), 200) FROM generate_series(1, 4) i;
END $$;
-- A load that goes on until it is told to stop, or the publisher crashes.
CREATE TABLE control (load boolean);
INSERT INTO control VALUES (true);
CREATE PROCEDURE load(what text) LANGUAGE plpgsql AS $$
BEGIN
    FOR i IN 1..1000000 LOOP
        EXIT WHEN NOT (SELECT load FROM control);
        INSERT INTO told VALUES (i, what);
        UPDATE account SET balance = balance + 1 WHERE id = 1 + i % 3;
        COMMIT;
    END LOOP;
END $$;

CREATE PROCEDURE end_load() LANGUAGE plpgsql AS $$
BEGIN
    UPDATE control SET load = false;
    COMMIT;
    PERFORM wait_until('dblink_is_busy(''load'') = 0');
    UPDATE control SET load = true;
    PERFORM dblink_disconnect('load');
END $$;

\c - - - :port_sub
CREATE EXTENSION pg_prewarm;
CREATE FUNCTION read_all() RETURNS boolean LANGUAGE sql AS $$
    SELECT sum(pg_prewarm(oid, 'buffer', fork)) > 0 FROM pg_class, unnest('{main,fsm,vm}'::text[]) fork
     WHERE relkind IN ('r', 'i', 't') AND relpersistence = 'p' AND pg_relation_size(oid, fork) > 0
$$;
CREATE TABLE told (n int, v text);
CREATE TABLE account (id int PRIMARY KEY, balance int, note text);
CREATE TABLE late (id int PRIMARY KEY, v text);
SELECT format('host=127.0.0.1 port=%s dbname=regression user=postgres', :port) AS publisher \gset
CREATE SUBSCRIPTION s CONNECTION :'publisher' PUBLICATION p WITH (streaming = on);

\c - - - :port
-- The initial copy, then changes.
SELECT wait_until($$ask('SELECT bool_and(srsubstate = ''r'') FROM pg_subscription_rel')::bool$$);
SELECT different();
CALL change('first');
SELECT different();
SELECT ask('SELECT count(*) FROM told'), ask('SELECT sum(balance) FROM account');

-- The publisher stops and starts; changes that were not sent are sent then.
\! node stop logical_sub
CALL change('while the subscriber is stopped');
\! node restart logical
\c
CALL change('after the publisher''s stop');
\! node start logical_sub
SELECT different();
CALL change('both again');
SELECT different();

-- The subscriber stops and starts while both work.
\! node restart logical_sub
CALL change('after the subscriber''s stop');
SELECT different();

-- The publisher crashes under load, twice.
SELECT open_session('load');
SELECT dblink_send_query('load', 'CALL load(''publisher crash'')');
SELECT wait_until($$ask('SELECT count(*) > 100 FROM told WHERE v = ''publisher crash''')::bool$$);
\! node kill logical; node start logical
\c
SELECT different();
SELECT open_session('load');
SELECT dblink_send_query('load', 'CALL load(''publisher crash 2'')');
SELECT wait_until($$ask('SELECT count(*) > 100 FROM told WHERE v = ''publisher crash 2''')::bool$$);
\! node kill logical; node start logical
\c
CALL change('after the crashes of the publisher');
SELECT different();
SELECT count(*) > 100 AS something, max(n) = count(*) AS whole FROM told WHERE v LIKE 'publisher crash%' GROUP BY v;

-- The subscriber crashes under load, twice. What it knows of its progress comes from its WAL.
SELECT open_session('load');
SELECT dblink_send_query('load', 'CALL load(''subscriber crash'')');
SELECT wait_until($$ask('SELECT count(*) > 100 FROM told WHERE v = ''subscriber crash''')::bool$$);
\! node kill logical_sub; node start logical_sub
SELECT ask('SELECT count(*) FROM pg_replication_origin_status WHERE remote_lsn > ''0/0''');
SELECT wait_until($$ask('SELECT count(*) > 1000 FROM told WHERE v = ''subscriber crash''')::bool$$);
\! node kill logical_sub; node start logical_sub
CALL end_load();
SELECT different();
CALL change('after the crashes of the subscriber');
SELECT different();

-- Both at once.
SELECT open_session('load');
SELECT dblink_send_query('load', 'CALL load(''both crash'')');
SELECT wait_until($$ask('SELECT count(*) > 100 FROM told WHERE v = ''both crash''')::bool$$);
\! node kill logical & node kill logical_sub; wait; node start logical_sub; node start logical
\c
CALL change('after both crashed');
SELECT different();

-- The page server under both: stopped and killed, under load. Commits wait for it.
SELECT open_session('load');
SELECT dblink_send_query('load', 'CALL load(''page server'')');
SELECT wait_until($$ask('SELECT count(*) > 100 FROM told WHERE v = ''page server''')::bool$$);
\! node pageserver restart
SELECT wait_until($$ask('SELECT count(*) > 500 FROM told WHERE v = ''page server''')::bool$$);
\! node pageserver kill; node pageserver start
SELECT count(*) + 100 AS more FROM told WHERE v = 'page server' \gset
SELECT wait_until(format('ask(%L)::bool', format('SELECT count(*) > %s FROM told WHERE v = %L', :more, 'page server')));
CALL end_load();
CALL change('after the page server');
SELECT different();

-- A crash takes a compute back to what the page server has. What it has not, a publisher must not send...
SELECT read_all(), ask('SELECT read_all()');
\! node pageserver stop
SET synchronous_commit = off;
INSERT INTO told VALUES (1, 'not received');
RESET synchronous_commit;
SELECT wait_until($$ask('SELECT count(*) = 1 FROM told WHERE v = ''not received''')::bool
                    OR EXISTS (SELECT FROM pg_stat_activity WHERE backend_type = 'walsender' AND wait_event = 'SyncRep')$$);
\! node kill logical; node pageserver start; node start logical
\c
SELECT count(*) FROM told WHERE v = 'not received';
CALL change('at the same LSNs');
SELECT different();
-- ...and a subscriber must not confirm, or it would never come again.
SELECT ask('ALTER SUBSCRIPTION s DISABLE');
SELECT wait_until($$NOT active FROM pg_replication_slots WHERE slot_name = 's'$$);
INSERT INTO told VALUES (1, 'confirmed'), (2, 'confirmed');
SELECT pg_current_wal_lsn() AS lsn \gset
SELECT dblink_connect('sub', connstr) FROM subscriber;
SELECT dblink_exec('sub', 'SET synchronous_commit = off');
SELECT read_all(), ask('SELECT read_all()');
\! node pageserver stop
SELECT dblink_exec('sub', 'ALTER SUBSCRIPTION s ENABLE');
SELECT wait_until($$ask('SELECT count(*) = 2 FROM told WHERE v = ''confirmed''')::bool$$);
SELECT wait_until(format($$(SELECT confirmed_flush_lsn >= %L FROM pg_replication_slots WHERE slot_name = 's')
                    OR ask('SELECT count(*) FROM pg_stat_activity WHERE backend_type = ''logical replication worker'' AND wait_event = ''SyncRep''') = '1'$$, :'lsn'));
\! node kill logical_sub; node pageserver start; node start logical_sub
SELECT dblink_disconnect('sub');
SELECT ask('SELECT count(*) FROM told WHERE v = ''confirmed''');
SELECT ask('ALTER SUBSCRIPTION s ENABLE');
SELECT different();
SELECT ask('SELECT count(*) FROM told WHERE v = ''confirmed''');

-- Another table, whose copy is under way (it waits for a lock) when the subscriber crashes.
ALTER PUBLICATION p ADD TABLE late;
SELECT dblink_connect('holder', connstr) FROM subscriber;
SELECT dblink_exec('holder', 'BEGIN; LOCK TABLE late IN SHARE MODE');
SELECT ask('ALTER SUBSCRIPTION s REFRESH PUBLICATION');
SELECT wait_until($$ask('SELECT count(*) > 0 FROM pg_locks WHERE relation = ''late''::regclass AND NOT granted')::bool$$);
UPDATE late SET v = 'changed' WHERE id = 1;
\! node kill logical_sub; node start logical_sub
INSERT INTO late VALUES (0, 'more');
SELECT wait_until($$ask('SELECT count(*) = 3 AND bool_and(srsubstate = ''r'') FROM pg_subscription_rel')::bool$$);
SELECT different();
SELECT ask('SELECT count(*) FROM late');
-- And a clean stop of both afterwards; no slot of a copy is left, and one origin.
\! node stop logical; node stop logical_sub; node start logical_sub; node start logical
\c
TRUNCATE late;
CALL change('last');
SELECT different();
SELECT slot_name, confirmed_flush_lsn <= pg_current_wal_lsn() AS sane FROM pg_replication_slots WHERE slot_type = 'logical';
SELECT ask('SELECT count(*) FROM pg_replication_origin');
SELECT check_relation('told'), check_relation('account');

-- A branch of the subscriber inherits the subscription, but takes nothing from the parent's slot, and
-- does not drop it; with a slot of its own, made before, it gets all that the parent gets.
SELECT pg_create_logical_replication_slot('heir', 'pgoutput') IS NOT NULL;
\! node stop logical_sub; node branch logical_heir logical_sub
\! node start logical_heir wal_retrieve_retry_interval=200ms
\set port_heir `node port logical_heir`
CALL change('for both');
\! node wait_for_log logical_heir 'subscription "s" is inherited from another branch'
\! node start logical_sub
SELECT different();
\c - - - :port_heir
SELECT count(*) FROM told WHERE v LIKE 'for both%';
DROP SUBSCRIPTION s;
ALTER SUBSCRIPTION s SET (slot_name = 'heir');
\c - - - :port
UPDATE subscriber SET connstr = format('host=127.0.0.1 port=%s dbname=regression user=postgres', :port_heir);
SELECT wait_until($$confirmed_flush_lsn >= pg_current_wal_flush_lsn() FROM pg_replication_slots WHERE slot_name = 'heir'$$);
SELECT different();
-- A branch of that one inherits it again.
\! node branch logical_heir2 logical_heir; node start logical_heir2
\! node wait_for_log logical_heir2 'subscription "s" is inherited from another branch'
\! node stop logical_heir2
\c - - - :port_heir
ALTER SUBSCRIPTION s DISABLE;
ALTER SUBSCRIPTION s SET (slot_name = NONE);
DROP SUBSCRIPTION s;
\c - - - :port
SELECT slot_name FROM pg_replication_slots WHERE slot_type = 'logical' ORDER BY 1;
SELECT wait_until($$NOT active FROM pg_replication_slots WHERE slot_name = 'heir'$$);
SELECT pg_drop_replication_slot('heir');
\c - - - :port_sub
SELECT check_relation('told'), check_relation('account');
DROP SUBSCRIPTION s;
\! node restart logical_sub
\c
SELECT count(*) FROM pg_replication_origin;
SELECT count(*) FROM pg_replication_origin_status;
\c - - - :port
SELECT count(*) FROM pg_replication_slots WHERE slot_type = 'logical';

-- The SQL functions, too, show only what the page server has. Who gives up waiting has lost nothing.
CREATE TABLE by_sql (id int);
SELECT count(*) FROM pg_create_logical_replication_slot('by_sql', 'test_decoding');
INSERT INTO by_sql VALUES (1);
SELECT pg_current_wal_insert_lsn() AS between \gset
INSERT INTO by_sql VALUES (2);
SELECT data FROM pg_logical_slot_peek_changes('by_sql', '0/0', NULL, 'include-xids', '0');
SELECT data FROM pg_logical_slot_get_changes('by_sql', :'between', NULL, 'include-xids', '0');
SELECT count(*) FROM pg_logical_slot_get_binary_changes('by_sql', 'FFFFFFFF/FFFFFFFF', NULL);
SET synchronous_commit = off;
\! node pageserver kill
INSERT INTO by_sql VALUES (3);
SELECT wait_until('pg_current_wal_flush_lsn() >= pg_current_wal_insert_lsn()');
SET statement_timeout = '300ms';
SELECT count(*) FROM pg_logical_slot_get_changes('by_sql', NULL, NULL);
SELECT count(*) FROM pg_logical_slot_peek_binary_changes('by_sql', NULL, NULL);
RESET statement_timeout;
\! node pageserver start
SELECT data FROM pg_logical_slot_get_changes('by_sql', NULL, NULL, 'include-xids', '0');
SELECT pg_drop_replication_slot('by_sql');

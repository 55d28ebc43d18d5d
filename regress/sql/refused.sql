-- What cannot work on a compute is an error with a hint (contrib/zenith/README.md has the list).
\set VERBOSITY default
-- Copies of the data directory.
\! pg_basebackup -h 127.0.0.1 -p $PGPORT -D $ZENITH_TEST_DIR/copy -X none 2>&1 | sed 's/^.*FATAL/FATAL/'; ls $ZENITH_TEST_DIR/copy 2>/dev/null
\! psql -X "host=127.0.0.1 port=$PGPORT replication=true" -c IDENTIFY_SYSTEM 2>&1 | sed 's/^.*FATAL/FATAL/'
SELECT pg_backup_start('copy');
-- WAL can be had, and logical replication has no part in this.
\! psql -XAt "host=127.0.0.1 port=$PGPORT replication=true application_name=pg_receivewal" -c IDENTIFY_SYSTEM | wc -l
\! psql -XAt "host=127.0.0.1 port=$PGPORT dbname=regression replication=database" -c IDENTIFY_SYSTEM | wc -l
-- What no hook can refuse meets a file that the server's user cannot open: BASE_BACKUP of such a connection, cp.
\! psql -X "host=127.0.0.1 port=$PGPORT dbname=regression replication=database" -c "BASE_BACKUP (CHECKPOINT 'fast')" 2>&1 > /dev/null | grep ERROR
\! as_owner() { if [ `id -u` = 0 ]; then setpriv --reuid=postgres --regid=postgres --init-groups -- "$@"; else "$@"; fi; }; as_owner cp -a $ZENITH_REPO_DIR/computes/refused/pgdata $ZENITH_TEST_DIR/copied 2>&1 | sed -n 's/.*\(zenith_compute[a-z_]*\).*: \(Perm.*\)/\1: \2/p'; rm -r $ZENITH_TEST_DIR/copied

-- Relation files by their path.
CREATE TABLE t AS SELECT 1 AS id;
SELECT pg_read_binary_file('base/1/1259') IS NULL;
SELECT pg_read_binary_file('./base/../base/1/1259', 0, 10);
DO $$
DECLARE
    t text;
BEGIN
    FOREACH t IN ARRAY ARRAY[pg_relation_filepath('t'), pg_relation_filepath('pg_proc') || '_fsm',
                             '../pgdata/' || pg_relation_filepath('t'),
                             current_setting('data_directory') || '//' || pg_relation_filepath('t')] LOOP
        BEGIN
            PERFORM pg_read_binary_file(t, 0, 10, true);
            RAISE WARNING 'read %', t;
        EXCEPTION WHEN feature_not_supported OR insufficient_privilege THEN
        END;
    END LOOP;
END $$;
SELECT pg_read_file('global/1262');
\set VERBOSITY terse
SELECT lo_import('base/1/1259');
SELECT lo_import('base/1/1259', 1000000);
CREATE FUNCTION read_alias(text) RETURNS text LANGUAGE internal STRICT AS 'pg_read_file_all';
SELECT read_alias('base/1/1259');
\set VERBOSITY default
SELECT length(get_raw_page('t', 0));
-- Other files as ever.
SELECT pg_read_file('PG_VERSION'), pg_read_file('PG_VERSION', 0, 2), pg_read_binary_file('PG_VERSION', 0, 2);
SELECT length(pg_read_binary_file('global/pg_control')), pg_read_file('nowhere', 0, 10, true) IS NULL AS missing;
SELECT pg_read_file(NULL) IS NULL AS strict;
SELECT lo_unlink(lo_import('PG_VERSION'));
SELECT read_alias('PG_VERSION');

-- Tablespaces at a location.
\! mkdir -p $ZENITH_TEST_DIR/space; chmod 777 $ZENITH_TEST_DIR/space
\getenv directory ZENITH_TEST_DIR
SELECT :'directory' || '/space' AS location \gset
\o /dev/null
CREATE TABLESPACE outside LOCATION :'location';
\o

-- The page server's role.
CREATE ROLE refused_admin SUPERUSER;
SET SESSION AUTHORIZATION refused_admin;
ALTER ROLE postgres RENAME TO boss;
ALTER ROLE postgres NOLOGIN;
ALTER ROLE postgres NOSUPERUSER NOREPLICATION;
ALTER ROLE postgres NOREPLICATION PASSWORD 'secret' CONNECTION LIMIT 5 VALID UNTIL '2000-01-01';
ALTER ROLE postgres SET work_mem = '8MB';
ALTER ROLE postgres RESET work_mem;
ALTER ROLE postgres REPLICATION PASSWORD NULL CONNECTION LIMIT -1 VALID UNTIL 'infinity';
RESET SESSION AUTHORIZATION;
DROP ROLE refused_admin;

-- A second compute on a timeline.
\! zenith pg create refused --name refused_second > /dev/null; zenith pg start refused_second 2>&1 | sed 's/timeline [0-9a-f]* at .*/timeline/'; zenith pg destroy refused_second > /dev/null

-- Settings and libraries, at the start.
\! zenith pg create refused --name refused_minimal --set wal_level=minimal --set max_wal_senders=0 > /dev/null; node stop refused; zenith pg start refused_minimal 2>&1 | grep -oE '(FATAL|HINT):  (a zenith|Set wal_level).*'
\! cc -shared -fPIC -isystem `pg_config --includedir-server` -o $ZENITH_TEST_DIR/custom_rmgr.so `dirname \`which node\``/../custom_rmgr.c; chmod 755 $ZENITH_TEST_DIR/custom_rmgr.so; zenith pg create refused --name refused_rmgr --set shared_preload_libraries=$ZENITH_TEST_DIR/custom_rmgr.so > /dev/null; zenith pg start refused_rmgr 2>&1 | grep -oE '(FATAL|HINT):  (a zenith|Remove).*'
-- A data directory that was used before.
\! pg=`dirname \`pg_config --bindir\``/bin; node start refused; node stop refused; cd /; as_owner() { if [ `id -u` = 0 ]; then setpriv --reuid=postgres --regid=postgres --init-groups -- "$@"; else "$@"; fi; }; as_owner $pg/postgres -D $ZENITH_REPO_DIR/computes/refused/pgdata -c shared_preload_libraries=zenith 2>&1 | grep -oE '(FATAL|HINT):  .*'
\! node start refused
\c
SELECT id FROM t;

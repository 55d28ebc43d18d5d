# shellcheck shell=bash
# The workloads of check_pages.sh. Each is a function workload_NAME that starts a server
# (start_compute or start_plain, with its settings), works on it and leaves it running;
# prepare_NAME DATA, if there is one, alters the cluster before it is imported. A workload may set
# `points` (when comparing takes long) and `extra` (options of the comparing program).

ALL_WORKLOADS=(self_test pgbench index_churn freeze multixact multixact_wrap xid_wrap subtransactions two_phase
    databases tablespaces partitions big_relation vm_truncation copy_freeze unlogged messages
    kills branches plain_images plain_hints plain_databases core)

# run_clients N TRANSACTIONS FILE...: pgbench with scripts of its own; its errors are in the log.
run_clients() {
    local clients=$1 transactions=$2 script files=()
    shift 2
    for script in "$@"; do
        files+=(-f "$script")
    done
    pgbench -n -c "$clients" -j 2 -t "$transactions" --max-tries=100 "${files[@]}" postgres \
        >> "$DIR/pgbench.log" 2>&1 || { tail -n 20 "$DIR/pgbench.log" >&2; fail "pgbench"; }
}

# Not what the others are: the comparison must find five damages to the standby, and no more.
workload_self_test() {
    points=1
    start_compute
    sql -c "CREATE TABLE t AS SELECT generate_series(1, 1000)" -c "VACUUM t"
    extra=(--sabotage)
}

workload_pgbench() {
    start_compute
    pgbench -i -q -s 2 postgres > "$DIR/pgbench.log" 2>&1
    pgbench -n -c 4 -t $((500 * FACTOR)) postgres >> "$DIR/pgbench.log" 2>&1
    sql -c "VACUUM" -c "CHECKPOINT"
    pgbench -n -c 4 -t $((500 * FACTOR)) postgres >> "$DIR/pgbench.log" 2>&1
}

# ---- indexes --------------------------------------------------------------------------------------------

# Pages that hold little split, merge and are freed often. Every access method, built both empty and
# full, under inserts, updates, deletes and vacuum by several clients at once.
workload_index_churn() {
    start_compute maintenance_work_mem=1MB work_mem=1MB autovacuum_naptime=1s
    sql <<'SQL'
CREATE EXTENSION bloom;
CREATE EXTENSION btree_gist;
CREATE TABLE churn (id int, n int, t text, a int[], p point, b box, r int4range, i inet, v tsvector)
  WITH (fillfactor = 40, autovacuum_enabled = off);
CREATE INDEX ON churn (id) WITH (fillfactor = 10);
CREATE INDEX ON churn (n, t) WITH (fillfactor = 10, deduplicate_items = off);
CREATE INDEX ON churn (n);
CREATE INDEX ON churn USING hash (t) WITH (fillfactor = 10);
CREATE INDEX ON churn USING hash (n) WITH (fillfactor = 10);
CREATE INDEX ON churn USING gist (p) WITH (fillfactor = 10);
CREATE INDEX ON churn USING gist (r, n) WITH (fillfactor = 10, buffering = on);
CREATE INDEX ON churn USING spgist (p) WITH (fillfactor = 10);
CREATE INDEX ON churn USING spgist (t) WITH (fillfactor = 10);
CREATE INDEX ON churn USING spgist (i);
CREATE INDEX ON churn USING gin (a) WITH (gin_pending_list_limit = 64);
CREATE INDEX ON churn USING gin (v) WITH (fastupdate = off);
CREATE INDEX ON churn USING brin (n) WITH (pages_per_range = 1, autosummarize = on);
CREATE INDEX ON churn USING brin (b box_inclusion_ops) WITH (pages_per_range = 2);
CREATE INDEX ON churn USING brin (id int4_minmax_multi_ops, t text_bloom_ops) WITH (pages_per_range = 1);
CREATE INDEX ON churn USING bloom (id, n);
CREATE FUNCTION fill(first int, rows int) RETURNS void LANGUAGE sql AS $$
  INSERT INTO churn
  SELECT k, (hashint4(k) % 500), repeat(md5(k::text), 1 + abs(hashint4(k)) % 4), ARRAY[k % 7, k % 77, k % 777, k],
         point(hashint4(k) % 1000, hashint4(k + 1) % 1000), box(point(k % 100, 0), point(k % 100 + 1, 1)),
         int4range(k % 1000, k % 1000 + k % 50), ('10.' || k % 256 || '.' || (k / 256) % 256 || '.1')::inet,
         to_tsvector('simple', md5(k::text) || ' ' || k % 100 || ' common')
    FROM generate_series(first, first + rows - 1) k $$;
SELECT fill(1, 3000) \g /dev/null
SQL
    cat > "$DIR/insert.sql" <<'SQL'
\set first random(1, 100000)
SELECT fill(:first, 20);
SQL
    cat > "$DIR/change.sql" <<'SQL'
\set first random(1, 100000)
UPDATE churn SET n = n + 1, p = p + point(1, 1), a = a || :first, i = i + 1
 WHERE ctid IN (SELECT ctid FROM churn TABLESAMPLE system (1) LIMIT 30 FOR UPDATE SKIP LOCKED);
SQL
    cat > "$DIR/delete.sql" <<'SQL'
DELETE FROM churn WHERE ctid IN (SELECT ctid FROM churn TABLESAMPLE system (2) LIMIT 60 FOR UPDATE SKIP LOCKED);
SQL
    local round
    for round in 1 2 3; do
        run_clients 4 $((25 * FACTOR)) "$DIR/insert.sql" "$DIR/change.sql" "$DIR/delete.sql"
        sql -c "VACUUM churn" -c "SELECT gin_clean_pending_list(indexrelid::regclass) FROM pg_index i
                JOIN pg_class c ON c.oid = indexrelid JOIN pg_am a ON a.oid = relam AND amname = 'gin'
                WHERE indrelid = 'churn'::regclass" > /dev/null
    done
    sql <<'SQL'
SELECT brin_desummarize_range(indexrelid::regclass, 3) FROM pg_index i JOIN pg_class c ON c.oid = indexrelid
  JOIN pg_am a ON a.oid = relam AND amname = 'brin' WHERE indrelid = 'churn'::regclass \g /dev/null
DELETE FROM churn WHERE n % 3 <> 0;
VACUUM (INDEX_CLEANUP ON) churn;
SELECT fill(200000, 2000) \g /dev/null
DELETE FROM churn WHERE id < 200000;
VACUUM churn;
SELECT fill(300000, 2000) \g /dev/null
REINDEX TABLE churn;
REINDEX TABLE CONCURRENTLY churn;
CLUSTER churn USING churn_id_idx;
VACUUM FULL churn;
TRUNCATE churn;
SELECT fill(1, 500) \g /dev/null
SQL
}

# ---- transaction ids and multixacts -------------------------------------------------------------------------

# Everything is frozen, so that transaction ids may begin anywhere.
freeze_cluster() {
    local database
    for database in postgres template1; do
        as_server_user "$PG_BINDIR/postgres" --single -D "$1" -c fsync=off "$database" \
            <<< 'VACUUM FREEZE' > "$WORK/log/freeze.log" 2>&1
    done
}

# reset_wal DATA OPTION...: and a clean shutdown afterwards, which sets wal_level again: pg_resetwal
# leaves "minimal" behind, and no standby starts from that.
reset_wal() {
    local data=$1
    shift
    as_server_user "$PG_BINDIR/pg_resetwal" "$@" -D "$data" > "$WORK/log/resetwal.log" 2>&1 \
        || { cat "$WORK/log/resetwal.log" >&2; fail "pg_resetwal"; }
    as_server_user "$PG_BINDIR/postgres" --single -D "$data" -c fsync=off postgres \
        <<< 'SELECT 1' >> "$WORK/log/resetwal.log" 2>&1 \
        || { cat "$WORK/log/resetwal.log" >&2; fail "start after pg_resetwal"; }
}

# slru_segment FILE: 32 pages of zeroes, as pg_resetwal's documentation says to make them.
slru_segment() { as_server_user dd if=/dev/zero of="$1" bs=8192 count=32 status=none; }

# Two million transaction ids and their status pages, then frozen away: pg_xact is truncated.
prepare_freeze() {
    freeze_cluster "$1"
    slru_segment "$1/pg_xact/0001"
    slru_segment "$1/pg_xact/0002"
    reset_wal "$1" -x 3140000
}
workload_freeze() {
    start_compute autovacuum=off
    sql <<'SQL'
CREATE TABLE old AS SELECT g AS id, repeat('x', 50) AS filler FROM generate_series(1, 5000) g;
DO $$ BEGIN
  FOR i IN 1..8000 LOOP
    BEGIN INSERT INTO old VALUES (-i, 'y'); IF i % 3 = 0 THEN RAISE EXCEPTION 'no'; END IF;
    EXCEPTION WHEN raise_exception THEN NULL; END;
  END LOOP; END $$;
UPDATE old SET filler = 'z' WHERE id % 7 = 0;
VACUUM FREEZE old;
UPDATE pg_database SET datallowconn = true WHERE datname = 'template0';
SQL
    vacuumdb --all --freeze --quiet
    sql -c "CHECKPOINT" -c "UPDATE old SET filler = 'w' WHERE id % 5 = 0" -c "VACUUM (FREEZE, DISABLE_PAGE_SKIPPING) old"
    [ "$(sql -c "SELECT count(*) FROM pg_ls_dir('pg_xact')")" = 1 ] || fail "pg_xact was not truncated"
}

# Lockers of the same rows by 20 clients: multixacts of many members, over page borders (1,636
# members and 2,048 multixacts to a page).
lock_rows() {
    sql -c "CREATE TABLE locked (id int PRIMARY KEY, n int); INSERT INTO locked SELECT g, 0 FROM generate_series(1, 20) g" \
        -c "CREATE TABLE child (id int REFERENCES locked, n int)"
    cat > "$DIR/lock.sql" <<'SQL'
\set id random(1, 4)
BEGIN;
SELECT * FROM locked WHERE id = :id FOR KEY SHARE;
SAVEPOINT a;
SELECT * FROM locked WHERE id = :id + 4 FOR SHARE;
RELEASE a;
INSERT INTO child VALUES (:id, 1);
COMMIT;
SQL
    cat > "$DIR/update.sql" <<'SQL'
\set id random(1, 4)
UPDATE locked SET n = n + 1 WHERE id = :id;
SQL
    run_clients 20 $((40 * FACTOR)) "$DIR/lock.sql@4" "$DIR/update.sql"
}
workload_multixact() {
    start_compute autovacuum=off max_connections=50
    lock_rows
    sql <<'SQL'
UPDATE pg_database SET datallowconn = true WHERE datname = 'template0';
SQL
    vacuumdb --all --freeze --quiet
    sql -c "CHECKPOINT"
    run_clients 20 $((40 * FACTOR)) "$DIR/lock.sql@4" "$DIR/update.sql"
}

# Both counters go over 2^32 on the way.
prepare_multixact_wrap() {
    freeze_cluster "$1"
    slru_segment "$1/pg_multixact/offsets/FFFF"
    slru_segment "$1/pg_multixact/members/14078"
    reset_wal "$1" -m 4294967000,4294967000 -O 4294966000
}
workload_multixact_wrap() {
    start_compute autovacuum=off max_connections=50
    lock_rows
    sql -c "CHECKPOINT"
    [ "$(sql -c "SELECT next_multixact_id::text::bigint < 1000000 FROM pg_control_checkpoint()")" = t ] \
        || fail "multixacts did not wrap round"
}

prepare_xid_wrap() {
    freeze_cluster "$1"
    slru_segment "$1/pg_xact/0FFF"
    reset_wal "$1" -x 4294967000 -u 4294960000
}
workload_xid_wrap() {
    start_compute autovacuum=off track_commit_timestamp=on
    sql <<'SQL'
CREATE TABLE wrap (id int, n int);
DO $$ BEGIN
  FOR i IN 1..1500 LOOP
    BEGIN INSERT INTO wrap VALUES (i, i); IF i % 4 = 0 THEN RAISE EXCEPTION 'no'; END IF;
    EXCEPTION WHEN raise_exception THEN NULL; END;
  END LOOP; END $$;
CHECKPOINT;
SQL
    [ "$(sql -c "SELECT pg_current_xact_id()::text::bigint > 4294967296")" = t ] \
        || fail "transaction ids did not wrap round"
}

# More subtransactions than a record of assignments, a backend's cache or a page of pg_xact holds.
workload_subtransactions() {
    start_compute track_commit_timestamp=on
    sql <<'SQL'
CREATE TABLE sub (id int, n int);
CREATE FUNCTION nest(depth int) RETURNS void LANGUAGE plpgsql AS $$ BEGIN
  INSERT INTO sub VALUES (depth, 0);
  BEGIN
    IF depth > 0 THEN PERFORM nest(depth - 1); END IF;
    IF depth % 10 = 5 THEN RAISE EXCEPTION 'no'; END IF;
  EXCEPTION WHEN raise_exception THEN NULL; END; END $$;
SELECT nest(150) \g /dev/null
BEGIN; SELECT nest(70) \g /dev/null
ROLLBACK;
DO $$ BEGIN
  FOR i IN 1..40000 LOOP
    BEGIN INSERT INTO sub VALUES (i, 1); EXCEPTION WHEN raise_exception THEN NULL; END;
  END LOOP; END $$;
SQL
    cat > "$DIR/nest.sql" <<'SQL'
\set depth random(1, 80)
BEGIN;
SAVEPOINT a;
SELECT nest(:depth);
ROLLBACK TO a;
SELECT nest(:depth / 2);
COMMIT;
SQL
    run_clients 8 $((20 * FACTOR)) "$DIR/nest.sql"
}

workload_two_phase() {
    local i
    start_compute max_prepared_transactions=200 track_commit_timestamp=on
    sql -c "CREATE TABLE kept (id int PRIMARY KEY, t text)"
    for i in $(seq $((60 * FACTOR))); do
        cat <<SQL
CREATE TABLE dropped_$i (id int PRIMARY KEY, t text);
INSERT INTO dropped_$i SELECT g, repeat('x', 500) FROM generate_series(1, 50) g;
BEGIN;
INSERT INTO kept VALUES ($i, repeat('y', $((i * 40))));
SAVEPOINT a; INSERT INTO kept VALUES (-$i, 'sub'); RELEASE a;
SAVEPOINT b; INSERT INTO kept VALUES (-$i - 1000, 'sub'); ROLLBACK TO b;
DROP TABLE dropped_$i;
CREATE TABLE made_$i AS SELECT g FROM generate_series(1, 100) g;
PREPARE TRANSACTION 'tx$i';
SQL
        case $((i % 5)) in
            0) ;;  # left prepared
            1) echo "COMMIT PREPARED 'tx$i';" ;;
            2) echo "ROLLBACK PREPARED 'tx$i';" ;;
            3) echo "CHECKPOINT; COMMIT PREPARED 'tx$i';" ;;
            4) echo "CHECKPOINT; ROLLBACK PREPARED 'tx$i';" ;;
        esac
    done | sql_file
    # The prepared ones survive a restart of the compute.
    zenith pg stop main
    zenith pg start main
    sql -c "COMMIT PREPARED 'tx5'" -c "ROLLBACK PREPARED 'tx10'" -c "INSERT INTO kept VALUES (100000, 'end')"
}

# ---- files ----------------------------------------------------------------------------------------------

change_databases() {
    local strategy
    sql -c "CREATE TABLE before (id int PRIMARY KEY); INSERT INTO before SELECT generate_series(1, 20000)" \
        -c "VACUUM before"
    sql -c "SET allow_in_place_tablespaces = on" -c "CREATE TABLESPACE inplace LOCATION ''"
    for strategy in wal_log file_copy; do
        sql -c "CREATE DATABASE copy_$strategy TEMPLATE postgres STRATEGY $strategy"
        PGDATABASE=copy_$strategy sql -c "UPDATE before SET id = -id WHERE id % 3 = 0" \
            -c "CREATE TABLE own AS SELECT * FROM before" -c "VACUUM FULL pg_class" -c "VACUUM"
        sql -c "CREATE DATABASE again_$strategy TEMPLATE copy_$strategy STRATEGY $strategy" \
            -c "CREATE DATABASE there_$strategy TEMPLATE copy_$strategy STRATEGY $strategy TABLESPACE inplace"
        PGDATABASE=there_$strategy sql -c "DELETE FROM before" -c "VACUUM before" -c "CREATE INDEX ON own (id)"
        sql -c "DROP DATABASE copy_$strategy"
    done
    sql -c "SELECT pg_switch_wal()" > /dev/null
    sql -c "ALTER DATABASE again_file_copy RENAME TO renamed" -c "CHECKPOINT" \
        -c "ALTER DATABASE renamed SET TABLESPACE inplace" -c "CREATE DATABASE last TEMPLATE renamed" \
        -c "ALTER DATABASE there_wal_log SET TABLESPACE pg_default" -c "DROP DATABASE there_file_copy"
    PGDATABASE=last sql -c "INSERT INTO before SELECT generate_series(30000, 31000)"
}
workload_databases() {
    start_compute
    change_databases
}
# What a compute does in its own way: copies of files that are really files.
workload_plain_databases() {
    start_plain full_page_writes=on
    change_databases
}

workload_tablespaces() {
    start_compute allow_in_place_tablespaces=on
    sql <<'SQL'
CREATE TABLESPACE one LOCATION '';
CREATE TABLESPACE two LOCATION '';
CREATE TABLE moved (id int PRIMARY KEY, t text) TABLESPACE one;
INSERT INTO moved SELECT g, repeat('x', 100 + g % 3000) FROM generate_series(1, 3000) g;
ALTER TABLE moved SET TABLESPACE two;
ALTER INDEX moved_pkey SET TABLESPACE one;
INSERT INTO moved SELECT g, repeat(md5(g::text), 300) FROM generate_series(3001, 3050) g;
CREATE TABLE parts (id int) PARTITION BY RANGE (id) TABLESPACE one;
CREATE TABLE part1 PARTITION OF parts FOR VALUES FROM (0) TO (10);
CREATE MATERIALIZED VIEW view TABLESPACE two AS SELECT * FROM moved;
REINDEX (TABLESPACE two) TABLE moved;
VACUUM FULL moved;
ALTER TABLE ALL IN TABLESPACE two SET TABLESPACE pg_default;
REFRESH MATERIALIZED VIEW view;
ALTER MATERIALIZED VIEW ALL IN TABLESPACE two SET TABLESPACE one;
ALTER INDEX ALL IN TABLESPACE two SET TABLESPACE pg_default;
DROP TABLESPACE two;
CREATE TABLESPACE three LOCATION '';
CREATE TABLE late TABLESPACE three AS SELECT * FROM moved LIMIT 100;
CREATE UNLOGGED TABLE late2 (id int PRIMARY KEY) TABLESPACE three;
DROP TABLE part1;
SQL
}

workload_partitions() {
    start_compute max_locks_per_transaction=1000
    sql <<'SQL'
CREATE TABLE parts (id int, t text) PARTITION BY RANGE (id);
SELECT format('CREATE TABLE part%s PARTITION OF parts FOR VALUES FROM (%s) TO (%s)', g, g * 10, g * 10 + 10)
  FROM generate_series(0, 999) g \gexec
CREATE INDEX ON parts (id);
INSERT INTO parts SELECT g, 'x' || g FROM generate_series(0, 9999) g;
UPDATE parts SET id = (id + 137) % 10000 WHERE id % 9 = 0;
VACUUM parts;
SELECT format('ALTER TABLE parts DETACH PARTITION part%s', g) FROM generate_series(0, 999, 10) g \gexec
SELECT format('DROP TABLE part%s', g) FROM generate_series(5, 999, 10) g \gexec
TRUNCATE parts;
SQL
}

# One row to a page (a fillfactor of 10 leaves room for no second one): 131,072 pages are a segment.
fill_pages() {
    sql -c "INSERT INTO $1 SELECT g, repeat('x', 600) FROM generate_series($2, $3) g"
}
workload_big_relation() {
    start_compute max_wal_size=4GB
    sql -c "CREATE TABLE big (id int, t text) WITH (fillfactor = 10, autovacuum_enabled = off)" \
        -c "ALTER TABLE big ALTER t SET STORAGE PLAIN"
    fill_pages big 1 131500
    sql -c "CREATE INDEX ON big (id)" -c "VACUUM big" -c "DELETE FROM big WHERE id > 129500" -c "VACUUM (INDEX_CLEANUP ON) big"
    [ "$(sql -c "SELECT pg_relation_size('big') / 8192 BETWEEN 129500 AND 131071")" = t ] \
        || fail "big was not truncated below a segment"
    fill_pages big 131000 133000
    sql -c "DELETE FROM big WHERE id % 1000 = 1" -c "DELETE FROM big WHERE id > 65000" -c "VACUUM (FREEZE, INDEX_CLEANUP ON) big"
    fill_pages big 65001 65100
}

# A page of the visibility map is for 32,672 pages of the table.
workload_vm_truncation() {
    start_compute
    sql -c "CREATE TABLE cut (id int, t text) WITH (fillfactor = 10, autovacuum_enabled = off)" \
        -c "ALTER TABLE cut ALTER t SET STORAGE PLAIN"
    fill_pages cut 1 32900
    sql -c "VACUUM (FREEZE) cut"
    local length
    for length in 32800 32673 32672 32671 32000 9 8; do
        sql -c "DELETE FROM cut WHERE ctid >= '($length,0)'" -c "VACUUM cut"
        [ "$(sql -c "SELECT pg_relation_size('cut') / 8192")" = "$length" ] \
            || fail "cut was not truncated to $length pages"
        fill_pages cut 40001 40010
        sql -c "UPDATE cut SET id = id WHERE ctid = '($((length - 1)),1)'" \
            -c "SELECT FROM cut WHERE ctid = '($((length - 2)),1)' FOR UPDATE"
    done
    sql -c "VACUUM cut" -c "DELETE FROM cut" -c "VACUUM cut" -c "VACUUM (TRUNCATE) cut"
    fill_pages cut 1 3
    sql -c "VACUUM (FREEZE) cut" -c "TRUNCATE cut"
}

workload_copy_freeze() {
    start_compute
    sql -c "COPY (SELECT g, repeat('x', g % 500) FROM generate_series(1, 20000) g) TO '$DIR/copy.data'"
    sql <<SQL
BEGIN;
CREATE TABLE frozen (id int, t text);
COPY frozen FROM '$DIR/copy.data' WITH (FREEZE);
COMMIT;
DELETE FROM frozen WHERE id % 500 = 3;
BEGIN;
TRUNCATE frozen;
COPY frozen FROM '$DIR/copy.data' WITH (FREEZE);
SAVEPOINT a;
COPY frozen FROM '$DIR/copy.data';
ROLLBACK TO a;
COMMIT;
UPDATE frozen SET id = -id WHERE id % 1000 = 7;
SELECT count(*) FROM (SELECT * FROM frozen WHERE id % 1000 = 8 FOR UPDATE) x \g /dev/null
VACUUM frozen;
CREATE MATERIALIZED VIEW frozen_view AS SELECT * FROM frozen WHERE id % 2 = 0;
SQL
}

workload_unlogged() {
    start_compute
    sql <<'SQL'
CREATE UNLOGGED TABLE u (id serial PRIMARY KEY, t text, p point, a int[]);
CREATE INDEX ON u USING hash (t);
CREATE INDEX ON u USING gin (a);
CREATE INDEX ON u USING gist (p);
CREATE INDEX ON u USING spgist (p);
CREATE INDEX ON u USING brin (id);
INSERT INTO u (t, p, a) SELECT g::text, point(g, g), ARRAY[g] FROM generate_series(1, 3000) g;
ALTER TABLE u SET LOGGED;
INSERT INTO u (t, p, a) SELECT g::text, point(g, g), ARRAY[g] FROM generate_series(1, 1000) g;
ALTER TABLE u SET UNLOGGED;
INSERT INTO u (t, p, a) SELECT g::text, point(g, g), ARRAY[g] FROM generate_series(1, 1000) g;
CREATE UNLOGGED TABLE stays (id int PRIMARY KEY);
INSERT INTO stays SELECT generate_series(1, 1000);
CREATE UNLOGGED SEQUENCE useq;
SELECT nextval('useq') \g /dev/null
ALTER SEQUENCE useq SET LOGGED;
SELECT nextval('useq') FROM generate_series(1, 100) \g /dev/null
ALTER TABLE u SET LOGGED;
DELETE FROM u WHERE id % 2 = 0;
VACUUM u;
TRUNCATE stays;
CREATE TEMP TABLE t AS SELECT generate_series(1, 1000);
SQL
}

# What has no pages of its own: messages, origins, commit timestamps, sequences, relation maps.
workload_messages() {
    start_compute track_commit_timestamp=on wal_level=logical
    sql <<'SQL'
CREATE TABLE m (id int PRIMARY KEY, n int) WITH (user_catalog_table = true);
SELECT pg_logical_emit_message(g % 2 = 0, 'check', repeat('x', g * 10)) FROM generate_series(1, 500) g \g /dev/null
SELECT pg_replication_origin_create('origin' || g) FROM generate_series(1, 4) g \g /dev/null
SELECT pg_replication_origin_session_setup('origin1') \g /dev/null
BEGIN;
SELECT pg_replication_origin_xact_setup('0/1234567', '2020-01-01') \g /dev/null
INSERT INTO m VALUES (1, 1);
COMMIT;
SELECT pg_replication_origin_session_reset() \g /dev/null
SELECT pg_replication_origin_advance('origin2', '1/2345678') \g /dev/null
SELECT pg_replication_origin_advance('origin3', '2/2345678') \g /dev/null
SELECT pg_replication_origin_drop('origin3') \g /dev/null
CREATE SEQUENCE s CACHE 5;
SELECT count(nextval('s')) FROM generate_series(1, 500) \g /dev/null
ALTER SEQUENCE s INCREMENT 7;
SELECT setval('s', 10000) \g /dev/null
VACUUM FULL pg_class;
VACUUM FULL pg_proc;
VACUUM FULL pg_database;
REINDEX TABLE pg_class;
SQL
    sql -c "DO \$\$ BEGIN FOR i IN 1..1500 LOOP INSERT INTO m VALUES (i + 10, i); COMMIT; END LOOP; END \$\$"
    sql -c "SELECT nextval('s')" -c "REINDEX INDEX pg_class_oid_index" > /dev/null
    # Switched off and on again: the timestamps are dropped and begin anew.
    zenith pg stop main
    zenith pg destroy main
    start_compute track_commit_timestamp=off
    sql -c "INSERT INTO m VALUES (5001, 1)"
    zenith pg stop main
    zenith pg destroy main
    start_compute track_commit_timestamp=on
    sql -c "DO \$\$ BEGIN FOR i IN 1..100 LOOP INSERT INTO m VALUES (i + 6000, i); COMMIT; END LOOP; END \$\$"
}

# ---- servers ----------------------------------------------------------------------------------------------

# A compute that dies leaves WAL behind that ends anywhere; the next one goes on after it.
workload_kills() {
    local round load
    start_compute
    pgbench -i -q -s 1 postgres > "$DIR/pgbench.log" 2>&1
    for round in 1 2 3 4; do
        pgbench -n -c 4 -T 60 postgres >> "$DIR/pgbench.log" 2>&1 &
        load=$!
        sql -c "CREATE TABLE gone_$round AS SELECT g, repeat('x', 100) FROM generate_series(1, 5000) g"
        zenith pg stop main --mode immediate
        wait "$load" 2> /dev/null || true
        zenith pg start main
        sql -c "VACUUM pgbench_accounts"
    done
}

# Work on main, a branch in the middle of it, more on both; what is compared is the branch, at LSNs
# before and behind the point where it was made.
workload_branches() {
    local child at
    start_compute
    pgbench -i -q -s 1 postgres > "$DIR/pgbench.log" 2>&1
    pgbench -n -c 4 -t 500 postgres >> "$DIR/pgbench.log" 2>&1
    at=$(sql -c "SELECT pg_current_wal_flush_lsn()")
    sql -c "TRUNCATE pgbench_history" -c "UPDATE pgbench_accounts SET abalance = 1 WHERE aid < 3000"
    zenith branch child "main@$at"
    zenith pg stop main
    zenith pg create child --name child --port "$("$REGRESS_DIR/bin/free_port")"
    zenith pg start child
    PGPORT=$(compute_field child port)
    pgbench -n -c 4 -t 500 postgres >> "$DIR/pgbench.log" 2>&1
    sql -c "DELETE FROM pgbench_accounts WHERE aid > 50000" -c "VACUUM"
    parent=$timeline
    branched_at=$at
    timeline=$(ask_pageserver branch_list | sed -n 's/^child|\([0-9a-f]\{32\}\).*/\1/p')
    source_name=child
    extra=(--at "$at")
}

# Images of pages, in every form a server writes them.
workload_plain_images() {
    local compression
    start_plain full_page_writes=on wal_log_hints=off
    pgbench -i -q -s 1 postgres > "$DIR/pgbench.log" 2>&1
    for compression in off pglz lz4 zstd; do
        sql -c "ALTER SYSTEM SET wal_compression = $compression" -c "SELECT pg_reload_conf()" \
            -c "CHECKPOINT" > /dev/null
        pgbench -n -c 4 -t $((200 * FACTOR)) postgres >> "$DIR/pgbench.log" 2>&1
        sql -c "VACUUM FREEZE pgbench_accounts" -c "CREATE TABLE t_$compression AS SELECT * FROM pgbench_tellers" \
            -c "CREATE INDEX ON t_$compression USING gin ((ARRAY[tid]))" \
            -c "CREATE INDEX ON t_$compression USING spgist ((tid::text))" -c "REINDEX TABLE pgbench_accounts"
    done
    # Images that are there to be compared only, not to be applied; the standby compares them, too.
    sql -c "ALTER SYSTEM SET wal_consistency_checking = 'all'" -c "SELECT pg_reload_conf()" > /dev/null
    pgbench -n -c 4 -t $((50 * FACTOR)) postgres >> "$DIR/pgbench.log" 2>&1
    sql -c "DELETE FROM pgbench_accounts WHERE aid % 50 = 0" -c "VACUUM pgbench_accounts" \
        -c "CREATE TABLE t_last AS SELECT * FROM pgbench_tellers" -c "CREATE INDEX ON t_last USING hash (tid)" \
        -c "INSERT INTO t_last SELECT * FROM pgbench_tellers"
}

# With wal_log_hints, setting a page all-visible raises its LSN, here and on the standby, but not in
# the page server, whose redo does without (heap_xlog_visible() of heapam.c): what masks are for.
workload_plain_hints() {
    start_plain full_page_writes=on wal_log_hints=on
    standby_settings=(wal_log_hints=on)
    sql <<'SQL'
CREATE TABLE hints (id int PRIMARY KEY, t text);
INSERT INTO hints SELECT g, 'x' FROM generate_series(1, 20000) g;
CHECKPOINT;
SELECT count(*) FROM hints \g /dev/null
VACUUM hints;
DELETE FROM hints WHERE id % 100 = 0;
CHECKPOINT;
SELECT count(*) FROM hints \g /dev/null
VACUUM hints;
SQL
}

# PostgreSQL's own regression suite, as check_postgres.sh runs it.
workload_core() {
    local library regress total
    start_compute max_prepared_transactions=2
    as_server_user mkdir "$DIR/source" "$DIR/lib" "$DIR/suite" "$DIR/suite/results"
    tar -xf "$("$REGRESS_DIR/get_postgres_source.sh")" -C "$DIR/source" --no-same-owner
    regress=$DIR/source/src/test/regress
    gcc -O2 -w -fPIC -shared -I"$("$PG_CONFIG" --includedir-server)" -o "$DIR/lib/regress.so" \
        "$regress/regress.c"
    for library in autoinc refint; do
        ln -s "$("$PG_CONFIG" --pkglibdir)/$library.so" "$DIR/lib/$library.so"
    done
    if [ "$(id -u)" = 0 ]; then
        chown -R postgres: "$DIR/source" "$DIR/lib"
    fi
    # Paths in results must be short enough for the socket, and it is what the tests connect by.
    PGHOST=$(sql -c 'SHOW unix_socket_directories')
    as_server_user "$PG_REGRESS" --inputdir="$regress" --outputdir="$DIR/suite" \
        --bindir="$PG_BINDIR" --dlpath="$DIR/lib" --max-concurrent-tests=20 \
        --schedule="$regress/parallel_schedule" --host="$PGHOST" --port="$PGPORT" \
        --user=postgres > "$DIR/suite.log" 2>&1 || true
    total=$(find "$DIR/suite/results" -name '*.out' | wc -l)
    [ "$total" -gt 200 ] || { tail -n 30 "$DIR/suite.log" >&2; fail "the suite did not run to its end"; }
}

#!/bin/bash
# A cluster with data checksums: every page of every fork of every relation that a fresh compute
# reads has the right one, on the timeline and on a branch; a damaged page is still found.
set -euo pipefail
. "$(dirname "$0")/lib.sh"

setup_workdir checksums
find_zenith
began=$(milliseconds)
ZENITH_TEST_CHECKSUMS=1
start_repository

# Few buffers, so that pages really are read.
zenith pg create main --name main --port "$("$REGRESS_DIR/bin/free_port")" \
    --set shared_buffers=1MB --set autovacuum=off
zenith pg start main

# sql COMPUTE DATABASE: standard input.
sql() {
    PGOPTIONS='-c client_min_messages=warning' psql -XqAt -v ON_ERROR_STOP=1 -h 127.0.0.1 -p "$(compute_field "$1" port)" -d "$2"
}

[ "$(sql main postgres <<< 'SHOW data_checksums')" = on ] || fail "the compute has no checksums"
sql main postgres > "$WORK/log/workload.log" <<'SQL'
CREATE EXTENSION pg_prewarm;
CREATE TABLE t (id int PRIMARY KEY, k int, words text[], place point, name text, big text)
    WITH (fillfactor = 70);
CREATE INDEX ON t USING hash (k);
CREATE INDEX ON t USING gin (words);
CREATE INDEX ON t USING gist (place);
CREATE INDEX ON t USING spgist (name);
CREATE INDEX ON t USING brin (id);
INSERT INTO t SELECT i, i % 1000, ARRAY['a' || i % 50, 'b' || i % 77], point(i % 100, i / 100),
                     md5(i::text), repeat(md5(i::text), 4)
  FROM generate_series(1, 20000) i;
ALTER TABLE t ALTER big SET STORAGE external;
UPDATE t SET big = repeat(name, 100) WHERE id % 50 = 0;  -- toasted
UPDATE t SET k = k + 1 WHERE id % 3 = 0;
DELETE FROM t WHERE id % 7 = 0 OR id > 19000;
SELECT count(*) FROM t;  -- sets hint bits, which are logged
CHECKPOINT;
SELECT count(*) FROM t WHERE k = 5;
VACUUM t;  -- all-visible pages, and the end is truncated
BEGIN;
UPDATE t SET k = -1 WHERE id % 11 = 0;
ROLLBACK;
SELECT count(*) FROM t;
CREATE UNLOGGED TABLE u (id int PRIMARY KEY, place point);
CREATE INDEX ON u USING gist (place);
CREATE INDEX ON u USING gin ((ARRAY[id]));
INSERT INTO u SELECT i, point(i, i) FROM generate_series(1, 1000) i;
CREATE TABLE f (id int);
INSERT INTO f SELECT generate_series(1, 10000);
VACUUM FREEZE f;
CREATE SEQUENCE s;
SELECT nextval('s') FROM generate_series(1, 100);
CREATE DATABASE by_log STRATEGY wal_log TEMPLATE template1;
CREATE DATABASE by_copy STRATEGY file_copy TEMPLATE template1;
SQL

# read_everything COMPUTE: prints how many pages were read, of all forks of all relations.
read_everything() {
    local database
    for database in postgres by_log by_copy; do
        sql "$1" "$database" <<'SQL'
CREATE EXTENSION IF NOT EXISTS pg_prewarm;
SELECT sum(pg_prewarm(c.oid, 'buffer', fork))
  FROM pg_class c, unnest(ARRAY['main', 'fsm', 'vm', 'init']) fork
 WHERE relkind IN ('r', 'i', 't', 'S', 'm') AND pg_relation_size(c.oid, fork) > 0;
SQL
    done 2> "$WORK/log/read.log" | awk '{ pages += $1 } END { print pages }'
    [ ! -s "$WORK/log/read.log" ] || { cat "$WORK/log/read.log" >&2; fail "reading on $1"; }
}

failures_of() {
    sql "$1" postgres <<< 'SELECT COALESCE(sum(checksum_failures), 0) FROM pg_stat_database'
}

content="SELECT md5(string_agg(t::text, ',' ORDER BY id)) FROM t"
before=$(sql main postgres <<< "$content")
zenith pg stop main
zenith pg start main
zenith branch copy main
zenith pg create copy --name copy --port "$("$REGRESS_DIR/bin/free_port")" --set shared_buffers=1MB
zenith pg start copy
for compute in main copy; do
    pages=$(read_everything "$compute")
    [ "$pages" -gt 4000 ] || fail "only $pages pages were read on $compute"
    [ "$(sql "$compute" postgres <<< "$content")" = "$before" ] || fail "other rows on $compute"
    pg_amcheck --all --install-missing --heapallindexed --parent-check -h 127.0.0.1 \
        -p "$(compute_field "$compute" port)" > "$WORK/log/amcheck.log" 2>&1 \
        || { cat "$WORK/log/amcheck.log" >&2; fail "pg_amcheck on $compute"; }
    [ "$(failures_of "$compute")" = 0 ] || fail "checksum failures on $compute"
    say "$compute: $pages pages read, 0 checksum failures"
done

# One bit of a block that is in the compute's own file, and not in its buffers.
file=$REPO/computes/copy/pgdata/$(sql copy postgres <<< "SELECT pg_relation_filepath('t')")
sql copy postgres > /dev/null <<< "SELECT count(*) FROM t"
offset=$((5 * 8192 + 8000))
byte=$(od -An -tu1 -j "$offset" -N 1 "$file")
printf "\\x$(printf %x $((byte ^ 1)))" \
    | dd of="$file" bs=1 seek="$offset" conv=notrunc status=none
if sql copy postgres > "$WORK/log/damaged.log" 2>&1 <<< "SELECT count(name) FROM t"; then
    fail "a damaged page was read without an error"
fi
grep -q 'invalid page in block 5 of relation' "$WORK/log/damaged.log" \
    || { cat "$WORK/log/damaged.log" >&2; fail "another error than that of a damaged page"; }
zenith stop
say "checksums passed in $((($(milliseconds) - began) / 1000)) s"

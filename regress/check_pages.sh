#!/bin/bash
# make check-pages: after a workload, every page the page server gives equals the one that a plain
# PostgreSQL standby made of the same WAL, at random LSNs of the history and at its end.
#
#   check_pages.sh [WORKLOAD...]     those of check_pages/workloads.sh; default: all
#
#   POINTS=N        random LSNs for each workload (default: 50; those within one record are one point)
#   ZENITH_SEED=N   the LSNs of an earlier run
#   FACTOR=N        N times the work (default 1)
#   CHECK_PAGES=F   the comparing program (default: build/test/check_pages)
#
# How the standby stops and what is compared: regress/README.md.
set -euo pipefail
. "$(dirname "$0")/lib.sh"
. "$REGRESS_DIR/check_pages/workloads.sh"

FACTOR=${FACTOR:-1}
seed=${ZENITH_SEED:-$RANDOM}
workloads=("$@")
if [ ${#workloads[@]} = 0 ]; then
    workloads=("${ALL_WORKLOADS[@]}")
fi
for workload in "${workloads[@]}"; do
    declare -F "workload_$workload" > /dev/null \
        || fail "there is no workload $workload; there are: ${ALL_WORKLOADS[*]}"
done

setup_workdir check-pages
find_zenith
with_page_server_options "--check-redo-percent ${ZENITH_CHECK_REDO_PERCENT:-20}"
began=$(milliseconds)

# ---- programs -----------------------------------------------------------------------------------------

# Copies, because the user of the servers may not reach the source tree.
mkdir -p "$WORK/bin"
cp "${CHECK_PAGES:-$SOURCE_DIR/build/test/check_pages}" "$WORK/bin/check_pages" \
    || fail "build the comparing program with: make build/test/check_pages"
gcc -O2 -Wall -Wextra -Werror -Wno-unused-parameter -fPIC -shared \
    -I"$("$PG_CONFIG" --includedir-server)" \
    -o "$WORK/bin/stepping_standby.so" "$REGRESS_DIR/check_pages/stepping_standby.c"

# Made once and altered for each workload that wants it (prepare_NAME), before it is imported.
import_from "$WORK/cluster"
plain_initdb "$WORK/pristine"
# A compute decides about its settings, so does the standby.
grep -v '^#' "$WORK/pristine/postgresql.conf" > "$WORK/log/postgresql.conf" || true

# ---- one workload ---------------------------------------------------------------------------------------

# For the workloads: psql on the server they work on (PGHOST, PGPORT).
sql() { psql -XAtq -v ON_ERROR_STOP=1 -d "${PGDATABASE:-postgres}" "$@"; }
# In the background or several at once; what fails is in the log, and fails the workload.
sql_file() { sql -f - > /dev/null; }

server_port() { cat "$REPO/pageserver.port"; }
ask_pageserver() { psql -XAt -h 127.0.0.1 -p "$(server_port)" -d postgres -c "$1"; }

start_compute() {
    local setting options=()
    for setting in "$@"; do
        options+=(--set "$setting")
    done
    if [ -z "$(compute_field main port)" ]; then
        zenith pg create main --name main --port "$("$REGRESS_DIR/bin/free_port")" "${options[@]}"
    fi
    zenith pg start main
    PGPORT=$(compute_field main port)
    PGHOST=127.0.0.1
    export PGHOST PGPORT
}

# A plain server on the cluster that was imported, followed by the page server as if it were a
# compute: for WAL that a compute does not write. A read-write base backup makes its term.
start_plain() {
    local term start
    psql -XAt -h 127.0.0.1 -p "$(server_port)" -d postgres -c "basebackup $timeline" \
        > "$DIR/grant.tar"
    tar -xOf "$DIR/grant.tar" zenith.conf > "$DIR/grant.conf"
    rm "$DIR/grant.tar"
    term=$(sed -n "s/^zenith.term = '\([0-9]*\)'.*/\1/p" "$DIR/grant.conf")
    start=$(sed -n "s/^zenith.start_lsn = '\([0-9A-F/]*\)'.*/\1/p" "$DIR/grant.conf")
    as_server_user cp -a "$WORK/cluster" "$DIR/plain"
    plain_start "$DIR/plain" "$DIR/sock" "zenith.timeline=$timeline" "zenith.term=$term" \
        "zenith.start_lsn=$start" wal_keep_size=4GB max_wal_size=8GB "$@"
    export PGHOST=$DIR/sock PGPORT=5432
    sql -c "SELECT pg_create_physical_replication_slot('zenith', true)" > /dev/null
    ask_pageserver "callmemaybe $timeline $term 'host=$PGHOST port=$PGPORT user=postgres'" > /dev/null
}

stop_source() {
    if [ -d "$DIR/plain" ]; then
        # A clean stop waits for the page server to have received everything.
        as_server_user "$PG_BINDIR/pg_ctl" stop -D "$DIR/plain" -m fast -s -w
    else
        zenith pg stop "$source_name"
    fi
}

# Lines "tablespace database relfilenode name" of all databases, for messages.
write_names() {
    local database
    for database in $(sql -c "SELECT datname FROM pg_database WHERE datallowconn"); do
        psql -XAtq -F ' ' -d "$database" -c "
            SELECT CASE WHEN reltablespace = 0 THEN dattablespace ELSE reltablespace END,
                   CASE WHEN relisshared THEN 0 ELSE d.oid END,
                   pg_relation_filenode(c.oid), datname || '.' || c.oid::regclass
              FROM pg_class c, pg_database d
             WHERE datname = current_database() AND pg_relation_filenode(c.oid) IS NOT NULL"
    done > "$DIR/names" 2> "$DIR/names.log" || true
}

start_standby() {
    mkdir "$DIR/pipes"
    mkfifo "$DIR/pipes/commands" "$DIR/pipes/reports"
    touch "$DIR/pipes/pages"
    cp -a "$WORK/cluster" "$DIR/standby"
    if [ -n "$parent" ]; then
        copy_wal "$parent" 0/0 "$DIR/standby"
    fi
    copy_wal "$timeline" "$branched_at" "$DIR/standby"
    touch "$DIR/standby/standby.signal"
    cp "$WORK/log/postgresql.conf" "$DIR/standby/postgresql.conf"
    cat >> "$DIR/standby/postgresql.conf" <<CONF
shared_preload_libraries = '$WORK/bin/stepping_standby.so'
check_pages.directory = '$DIR/pipes'
listen_addresses = ''
unix_socket_directories = '$DIR'
hot_standby = off
fsync = off
# As the redo processes of the page server and the servers that write the WAL have it.
wal_log_hints = off
track_commit_timestamp = off
max_prepared_transactions = 2000
max_replication_slots = 100
allow_in_place_tablespaces = on
# Files are written where it stops, and restart points would remove WAL that is still looked at.
checkpoint_timeout = 1d
max_wal_size = 1000GB
autovacuum = off
CONF
    printf '%s\n' ${standby_settings[@]+"${standby_settings[@]}"} >> "$DIR/standby/postgresql.conf"
    if [ "$(id -u)" = 0 ]; then
        chown -R postgres: "$DIR/pipes" "$DIR/standby"
    fi
    STARTED_DATA_DIRS+=("$DIR/standby")
    # It never accepts connections, so there is nothing for pg_ctl to wait for.
    as_server_user "$PG_BINDIR/pg_ctl" start -D "$DIR/standby" -s -W -l "$WORK/log/standby.log"
}

run_workload() {
    local name=$1 start worked points from status=0
    start=$(milliseconds)
    DIR=$WORK/$name
    REPO=$DIR/.zenith
    export ZENITH_REPO_DIR=$REPO
    as_server_user mkdir "$DIR"
    rm -rf "$WORK/cluster"
    cp -a "$WORK/pristine" "$WORK/cluster"
    if declare -F "prepare_$name" > /dev/null; then
        "prepare_$name" "$WORK/cluster"
    fi
    zenith init --pg-bindir "$WORK/pg_bin"
    zenith start
    timeline=$(ask_pageserver branch_list | sed -n 's/^main|\([0-9a-f]\{32\}\).*/\1/p')
    from=$("$PG_BINDIR/pg_controldata" -D "$WORK/cluster" \
        | sed -n 's/^Latest checkpoint location: *//p')
    points=${POINTS:-50}
    extra=()
    standby_settings=()
    source_name=main
    parent=''
    branched_at=0/0

    "workload_$name"
    # Records behind the last LSN, or the standby would not know that it is there.
    to=$(sql -c "CHECKPOINT" -c "SELECT pg_current_wal_insert_lsn()")
    sql -c "SELECT pg_create_restore_point('end'), pg_create_restore_point('end')" > /dev/null
    write_names
    stop_source
    unset PGHOST PGPORT
    worked=$(milliseconds)

    start_standby
    "$WORK/bin/check_pages" --data "$DIR/standby" --pipes "$DIR/pipes" \
        --server "host=127.0.0.1 port=$(server_port) user=postgres dbname=postgres" \
        --timeline "$timeline" --pg-bindir "$PG_BINDIR" --names "$DIR/names" \
        --from "$from" --to "$to" --points "$points" --seed "$seed" ${extra[@]+"${extra[@]}"} \
        > "$WORK/log/$name.log" 2>&1 || status=$?
    # It ends by itself when the program that drives it does.
    stop_data_directory "$DIR/standby" >> "$WORK/log/standby.log" 2>&1
    if [ "$status" -gt 1 ]; then
        tail -n 20 "$WORK/log/$name.log" "$WORK/log/standby.log" >&2
        fail "workload $name: no comparison (status $status)"
    fi
    say "$name: $(tail -n 1 "$WORK/log/$name.log");" \
        "$((16#${to#*/} - 16#${from#*/} >> 20)) MB of WAL," \
        "work $(((worked - start) / 1000)) s, comparison $((($(milliseconds) - worked) / 1000)) s"
    if [ "$status" != 0 ] || grep -q 'only equal under' "$WORK/log/$name.log"; then
        head -n "${DETAIL_LINES:-60}" "$WORK/log/$name.log"
    fi
    check_redo_checks
    zenith stop
    if [ "$status" != 0 ]; then
        failed+=("$name")
    elif [ -z "${ZENITH_KEEP:-}" ]; then
        rm -rf "$DIR"
    fi
}

failed=()
say "seed $seed, $("$PG_BINDIR/postgres" --version)"
for workload in "${workloads[@]}"; do
    run_workload "$workload"
done
pages=$(sed -n 's/^[0-9]* points, .* \([0-9]*\) relation pages.*/\1/p' "$WORK"/log/*.log \
    | awk '{ sum += $1 } END { printf "%d\n", sum }')
say "${#workloads[@]} workloads, $pages relation pages compared," \
    "$((($(milliseconds) - began) / 1000)) s"
[ ${#failed[@]} = 0 ] || fail "differences in ${failed[*]}"
say "check-pages passed"

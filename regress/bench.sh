#!/bin/bash
# make bench: a compute beside a plain server of the same package on the same machine, in one run.
# The plain server has fsync=on, as a compute's commits wait for an fsync at the page server too.
#
#   ZENITH_BENCH_SCALE=20     pgbench's scale (15 MB each)
#   ZENITH_BENCH_SECONDS=10   length of one pgbench run
#
# Every workload runs on plain, compute, plain, compute; the ratio is compute to plain of the better
# runs: for rates above 1 is better than plain, for times below 1. Absolute numbers are the machine's.
set -euo pipefail
. "$(dirname "$0")/lib.sh"

scale=${ZENITH_BENCH_SCALE:-20}
seconds=${ZENITH_BENCH_SECONDS:-10}
settings=(shared_buffers=128MB max_wal_size=4GB)

setup_workdir bench
find_zenith
plain_initdb "$WORK/plain"
plain_start "$WORK/plain" "$WORK/sock" fsync=on jit=off "${settings[@]}"
start_repository
options=()
for setting in "${settings[@]}"; do
    options+=(--set "$setting")
done
zenith pg create main "${options[@]}"
zenith pg start main
plain_host=$WORK/sock
plain_port=5432
compute_port=$(compute_field main port)
compute_host=$(compute_field main socket_directory)

host_of() { local name=$1_host; printf '%s' "${!name}"; }
port_of() { local name=$1_port; printf '%s' "${!name}"; }
run_sql() { PGOPTIONS='-c client_min_messages=warning' psql -XAtq -v ON_ERROR_STOP=1 -h "$(host_of "$1")" -p "$(port_of "$1")" -d postgres -c "$2"; }

# report NAME UNIT BETTER(high|low) PLAIN1 COMPUTE1 PLAIN2 COMPUTE2
report() {
    awk -v name="$1" -v unit="$2" -v better="$3" -v p1="$4" -v c1="$5" -v p2="$6" -v c2="$7" 'BEGIN {
        if (better == "high") { p = p1 > p2 ? p1 : p2; c = c1 > c2 ? c1 : c2 }
        else { p = p1 < p2 ? p1 : p2; c = c1 < c2 ? c1 : c2 }
        printf "%-34s plain %9.1f %9.1f   compute %9.1f %9.1f %-4s ratio %.2f\n", \
            name, p1, p2, c1, c2, unit, c / p }'
}

# timed SERVER SQL: milliseconds.
timed() {
    local start
    start=$(milliseconds)
    run_sql "$1" "$2" > /dev/null
    printf '%s' $(($(milliseconds) - start))
}

# measure NAME UNIT BETTER FUNCTION ARGS...: FUNCTION SERVER ARGS... prints one number.
measure() {
    local name=$1 unit=$2 better=$3 numbers=() server
    shift 3
    for server in plain compute plain compute; do
        numbers+=("$("$1" "$server" "${@:2}")")
    done
    report "$name" "$unit" "$better" "${numbers[@]}"
}

init_time() {
    local start
    start=$(milliseconds)
    pgbench -i -q -s "$scale" -h "$(host_of "$1")" -p "$(port_of "$1")" postgres > "$WORK/log/init.log" 2>&1 \
        || { cat "$WORK/log/init.log" >&2; fail "pgbench -i"; }
    printf '%s' $(($(milliseconds) - start))
}
rate() {
    local server=$1
    shift
    pgbench -n -T "$seconds" "$@" -h "$(host_of "$server")" -p "$(port_of "$server")" postgres 2>&1 \
        | sed -n 's/^tps = \([0-9.]*\).*/\1/p'
}
bulk_time() {
    timed "$1" "DROP TABLE IF EXISTS bulk;
                CREATE TABLE bulk AS SELECT i, md5(i::text) AS t FROM generate_series(1, 2000000) i;
                CREATE INDEX ON bulk (i);"
}

say "$("$PG_BINDIR/postgres" --version), pgbench scale $scale, $seconds s a run, $(nproc) processors"
measure "pgbench -i" ms low init_time
measure "bulk load and index" ms low bulk_time
measure "TPC-B, 1 client" tps high rate -c 1
measure "TPC-B, 8 clients" tps high rate -c 8 -j 2
measure "simple update, 8 clients" tps high rate -N -c 8 -j 2
measure "select, 1 client" tps high rate -S -c 1
measure "select, 8 clients" tps high rate -S -c 8 -j 2
measure "sequential scan, warm" ms low timed "SELECT count(*) FROM bulk"

# What a new compute pays: everything it reads first comes from the page server.
scan_cold() {
    if [ "$1" = plain ]; then
        as_server_user "$PG_BINDIR/pg_ctl" restart -D "$WORK/plain" -s -w -m fast -l "$WORK/log/plain.log"
    else
        zenith pg stop main
        zenith pg start main
    fi
    timed "$1" "SELECT count(*) FROM bulk"
}
measure "sequential scan after a restart" ms low scan_cold

branch_times=()
query_times=()
for i in 1 2 3 4 5; do
    start=$(milliseconds)
    zenith branch "bench$i"
    branched=$(milliseconds)
    "$ZENITH" psql "bench$i" -- -XAtc 'SELECT 1' > /dev/null
    branch_times+=($((branched - start)))
    query_times+=($(($(milliseconds) - branched)))
done
say "branch of the running compute: ${branch_times[*]} ms; first query on it: ${query_times[*]} ms"
zenith stop
say "bench finished"

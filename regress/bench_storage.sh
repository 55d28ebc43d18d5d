#!/bin/bash
# make bench-storage: what history costs: bytes written, memory, restarts, branches. Loads WAL through
# a compute by pgbench's TPC-B and in bulk, and measures the page server; everything twice, for little
# history and for much, to show that the figures do not grow. A line of verdict for each limit.
#
#   bench_storage.sh [MB...]            MB of WAL in all; default: 100 2048
#   ZENITH_BENCH_TPCB_MB=256            at most so many of them by TPC-B with waiting commits, which is slow
#   ZENITH_BENCH_BRANCHES=1000
#
# Bytes written: what the page server and its redo processes hand to files (count_writes.c), to the end
# of a clean stop. Beside it what /proc/PID/io calls write_bytes, whole blocks of the page cache: a
# commit that waits for a sync writes the last block of the WAL again each time, as in any PostgreSQL. It is
# no limit: the kernel counts a whole large folio (32 kB and more) where reading made one and a write of 600
# bytes touches it, though the device gets one or two blocks (measured: 40 kB counted, 8 kB written).
set -euo pipefail
. "$(dirname "$0")/lib.sh"

if [ $# = 0 ]; then
    set -- 100 2048
fi
tpcb_limit=${ZENITH_BENCH_TPCB_MB:-256}
branch_count=${ZENITH_BENCH_BRANCHES:-1000}
mb=$((1024 * 1024))

setup_workdir bench-storage
find_zenith
g++ -std=c++20 -O2 -Wall -Wextra -o "$WORK/storage_probe" "$REGRESS_DIR/storage_probe.cpp"
gcc -O2 -Wall -Wextra -shared -fPIC -o "$WORK/count_writes.so" "$REGRESS_DIR/count_writes.c"
chmod 755 "$WORK/storage_probe" "$WORK/count_writes.so"

failures=0
# verdict NAME VALUE LIMIT UNIT
verdict() {
    if awk -v value="$2" -v limit="$3" 'BEGIN { exit !(value + 0 <= limit + 0) }'; then
        printf '  ok      %-44s %10s %s (limit %s)\n' "$1" "$2" "$4" "$3"
    else
        printf '  FAILED  %-44s %10s %s (limit %s)\n' "$1" "$2" "$4" "$3"
        failures=$((failures + 1))
    fi
}
ratio() { awk -v a="$1" -v b="$2" 'BEGIN { printf "%.2f", b == 0 ? 0 : a / b }'; }
# Of the numbers in the arguments.
median() { printf '%s\n' "$@" | sort -n | sed -n "$((($# + 1) / 2))p"; }
percentile() { local part=$1; shift; printf '%s\n' "$@" | sort -n | sed -n "$((($# * part + 99) / 100))p"; }

sql() { psql -XAtq -v ON_ERROR_STOP=1 -h "$compute_host" -p "$compute_port" -d postgres "$@"; }
wal_position() { sql -c "SELECT pg_current_wal_lsn() - '0/0'"; }
page_server_pid() { local pid; read -r pid < "$REPO/pageserver.pid"; printf '%s' "$pid"; }
memory_peak_kb() { sed -n 's/^VmHWM:[[:space:]]*\([0-9]*\) kB/\1/p' "/proc/$(page_server_pid)/status"; }
counted_bytes() { od -An -t d8 "$WORK/written" | tr -d ' '; }
# Of the page server and its redo processes that live.
blocks_written() {
    local pid sum=0 process
    pid=$(page_server_pid)
    for process in "$pid" $(cat "/proc/$pid/task/"*/children 2>/dev/null); do
        sum=$((sum + $(sed -n 's/^write_bytes: //p' "/proc/$process/io")))
    done
    printf '%s' "$sum"
}

# Ends the page server that runs and starts one by the probe: kill or stop. Prints milliseconds.
restart() {
    local pid
    pid=$(page_server_pid)
    if [ "$1" = kill ]; then
        kill -9 "$pid"
        while [ -e "/proc/$pid/exe" ]; do sleep 0.01; done
    else
        zenith pageserver stop
    fi
    start_by_probe
}
start_by_probe() {
    as_server_user env LD_PRELOAD="$WORK/count_writes.so" ZENITH_COUNT_WRITES="$WORK/written" \
        "$WORK/storage_probe" start "$socket" "$REPO/pageserver.log" "$timeline" "$relation" 0 \
        "$(dirname "$ZENITH")/pageserver" --repo-dir "$REPO"
}

note_memory() {
    local now
    now=$(memory_peak_kb)
    if [ "$now" -gt "$memory_peak" ]; then
        memory_peak=$now
    fi
}

# Runs pgbench in the background until WAL position $1, with the other arguments.
tpcb_until() {
    local end=$1
    shift
    while [ "$(wal_position)" -lt "$end" ]; do
        pgbench -n -c 16 -j 2 -T 5 "$@" -h "$compute_host" -p "$compute_port" postgres \
            > "$WORK/log/pgbench.log" 2>&1 || { cat "$WORK/log/pgbench.log" >&2; fail "pgbench"; }
    done
}

# load_bulk NUMBER: about 65 MB of WAL: a table, two indexes, and the table copied in again.
load_bulk() {
    sql <<SQL
CREATE TABLE bulk$1 AS SELECT i, md5(i::text) AS t, i % 1000 AS k FROM generate_series(1, 250000) i;
CREATE INDEX ON bulk$1 (i);
CREATE INDEX ON bulk$1 (t);
INSERT INTO bulk$1 SELECT i + 250000, t, k FROM bulk$1 WHERE i % 2 = 0;
SQL
    sql -c "COPY (SELECT * FROM bulk$1 WHERE i <= 50000) TO STDOUT" | sql -c "COPY bulk$1 FROM STDIN"
}

# What is written from begin_writes to report_writes NAME, against the WAL of that time.
begin_writes() {
    writes_at=$(counted_bytes)
    blocks_at=$(blocks_written)
    wal_at=$(wal_position)
    started=$(milliseconds)
}
report_writes() {
    local seconds=$((($(milliseconds) - started) / 1000)) blocks wal
    note_memory
    blocks=$(($(blocks_written) - blocks_at))
    # What is still in memory belongs to it as well.
    zenith pg stop main
    restart stop > "$WORK/log/restart.log"
    zenith pg start main
    compute_port=$(compute_field main port)
    wal=$(($(wal_position) - wal_at))
    verdict "$1: bytes written / WAL ($((wal / mb)) MB, $seconds s)" \
        "$(ratio $(($(counted_bytes) - writes_at)) "$wal")" 2.0 ""
    say "          in whole blocks: $(ratio "$blocks" "$wal")"
}

# ---- one amount of history ------------------------------------------------------------------------

measure() {
    local amount=$(($1 * mb)) scale=$2 tpcb=$3 begin number
    say "== $1 MB of WAL: TPC-B of scale $scale"
    REPO=$WORK/repo-$1/.zenith
    as_server_user mkdir -p "$WORK/repo-$1"
    export ZENITH_REPO_DIR=$REPO
    zenith init
    as_server_user truncate -s 0 "$WORK/written"
    as_server_user truncate -s 8 "$WORK/written"
    LD_PRELOAD="$WORK/count_writes.so" ZENITH_COUNT_WRITES="$WORK/written" zenith start
    zenith pg create main --set shared_buffers=128MB --set max_wal_size=4GB --set wal_buffers=16MB
    zenith pg start main
    compute_port=$(compute_field main port)
    compute_host=$(compute_field main socket_directory)
    socket=$compute_host/.s.PGSQL.6400
    [ -S "$socket" ] || fail "the page server's socket is not $socket"
    timeline=$(sql -c 'SHOW zenith.timeline')
    memory_peak=0

    begin_writes
    begin=$(wal_position)
    pgbench -i -q -s "$scale" -h "$compute_host" -p "$compute_port" postgres > "$WORK/log/pgbench-init.log" 2>&1 \
        || { cat "$WORK/log/pgbench-init.log" >&2; fail "pgbench -i"; }
    sql -c "CREATE TABLE marks (n int)"
    for ((number = 1; $(wal_position) - begin < amount - tpcb; number++)); do
        load_bulk "$number"
    done
    note_memory
    relation=$(sql -c "SELECT '1663/' || d.oid || '/' || pg_relation_filenode('pgbench_accounts')
                         FROM pg_database d WHERE datname = 'postgres'")
    report_writes bulk
    begin_writes
    begin=$(wal_position)
    tpcb_until $((begin + tpcb / 20 * 19))
    for ((number = 1; number <= 20; number++)); do
        sql -c "INSERT INTO marks VALUES ($number)"
        marks[number]=$(sql -c 'SELECT pg_current_wal_insert_lsn()')
        tpcb_until $((begin + tpcb / 20 * 19 + tpcb / 400 * number))
    done
    report_writes TPC-B

    measure_restarts
    measure_memory
    measure_branches
    measure_chain
    zenith stop
}

measure_restarts() {
    local i times=() load
    for i in 1 2 3 4 5; do
        pgbench -n -c 8 -j 2 -T 60 -h "$compute_host" -p "$compute_port" postgres > "$WORK/log/pgbench.log" 2>&1 &
        load=$!
        sql -c 'SELECT pg_sleep(2)' > /dev/null
        note_memory
        times+=("$(restart kill)")
        kill "$load" 2>/dev/null || true
        wait "$load" 2>/dev/null || true
    done
    say "          first page after kill -9: ${times[*]} ms"
    verdict "first page after kill -9 (median of 5)" "$(median "${times[@]}")" 100 ms
    zenith pg stop main
    times=()
    for i in 1 2 3 4 5; do
        times+=("$(restart stop)")
    done
    say "          first page after a clean stop: ${times[*]} ms"
    verdict "first page after a clean stop (median of 5)" "$(median "${times[@]}")" 100 ms
}

# A compute reads everything once, so that rebuilding pages counts as well.
measure_memory() {
    zenith pg start main
    compute_port=$(compute_field main port)
    [ "$(sql -c 'SELECT sum(abalance) = (SELECT sum(delta) FROM pgbench_history) FROM pgbench_accounts')" = t ] \
        || fail "pgbench's balances do not add up"
    note_memory
    zenith pg stop main
    verdict "memory of the page server, peak" $((memory_peak / 1024)) 256 MB
}

measure_branches() {
    local points=() number times=() start figures name
    for ((number = 1; number <= 20; number++)); do
        points+=("main@${marks[number]}")
    done
    touch "$WORK/before_branches"
    figures=$("$WORK/storage_probe" branches "$socket" "$branch_count" b "${points[@]}")
    say "          $branch_count branches by branch_create: p50, p99, max, mean: $figures ms"
    verdict "branch_create, 99th percentile" "$(cut -d' ' -f2 <<< "$figures")" 5 ms
    # Their directories and names, with what these have in them.
    verdict "bytes on disk for a branch" \
        $(($(find "$REPO"/timelines/* "$REPO"/refs/branches/* -maxdepth 0 -newer "$WORK/before_branches" \
            ! -path "*/$timeline" -exec du -csB1 {} + | awk '$2 == "total" { sum += $1 } END { printf "%d", sum }') \
            / branch_count)) 20000 bytes
    for ((number = 1; number <= 100; number++)); do
        start=${EPOCHREALTIME/[.,]/}
        "$ZENITH" branch "c$number" main > "$WORK/log/branch.log" 2>&1 || fail "zenith branch c$number"
        times+=($((${EPOCHREALTIME/[.,]/} - start)))
    done
    say "          the command \"zenith branch\", process and all: p50 $(percentile 50 "${times[@]}")," \
        "p99 $(percentile 99 "${times[@]}") us"
    for ((number = 0; number < 20; number++)); do
        name=b$((RANDOM % branch_count + 1))
        local expected=$(((${name#b} - 1) % 20 + 1)) found
        found=$("$ZENITH" psql "$name" -- -XAtc "
            SELECT max(n), (SELECT sum(abalance) FROM pgbench_accounts) = (SELECT sum(delta) FROM pgbench_history)
              FROM marks" 2> "$WORK/log/psql.log") || { cat "$WORK/log/psql.log" >&2; fail "compute on $name"; }
        [ "$found" = "$expected|t" ] || fail "branch $name (at ${marks[expected]}) has $found, not $expected|t"
        "$ZENITH" pg stop "$("$ZENITH" pg list --json | tr -d '\n' | sed 's/}/}\n/g' \
            | grep "\"branch\": *\"$name\"" | sed -n 's/.*"name": *"\([^"]*\)".*/\1/p')" > "$WORK/log/stop.log" 2>&1
    done
    verdict "wrong answers of 20 random branches" 0 0 ""
}

# Reads through 100 ancestors against reads of the first. Each side three times in turn, with a fresh
# page server, so that nothing is in its cache.
measure_chain() {
    local blocks one=() hundred=() first last i figures
    figures=$("$WORK/storage_probe" chain "$socket" 100 chain main)
    verdict "branch_create in a chain of 100, 99th percentile" "$(cut -d' ' -f2 <<< "$figures")" 5 ms
    first=$(timeline_of chain1)
    last=$(timeline_of chain100)
    blocks=$((scale_pages))
    for i in 1 2 3; do
        restart stop > "$WORK/log/restart.log"
        one+=("$(read_time "$first" "$blocks" "$i")")
        restart stop > "$WORK/log/restart.log"
        hundred+=("$(read_time "$last" "$blocks" "$i")")
    done
    say "          random pages: ${one[*]} us of one branch, ${hundred[*]} us through 100"
    verdict "reading through 100 branches / one" \
        "$(ratio "$(median "${hundred[@]}")" "$(median "${one[@]}")")" 2.0 ""
}
timeline_of() {
    psql -XAtq -h "$compute_host" -p 6400 -d zenith -c branch_list | sed -n "s/^$1|\([0-9a-f]\{32\}\).*/\1/p"
}
# The mean; the first reads load the timelines and are not counted.
read_time() {
    "$WORK/storage_probe" reads "$socket" "$1" "$relation" "$2" 20 1000 > "$WORK/log/reads.log"
    "$WORK/storage_probe" reads "$socket" "$1" "$relation" "$2" 2000 "$3" | cut -d' ' -f4
}

declare -a marks
say "$("$PG_BINDIR/postgres" --version), $(nproc) processors"
for amount in "$@"; do
    # A sixth of the amount is the initial load of pgbench, at most scale 50.
    scale=$((amount / 40 < 1 ? 1 : amount / 40))
    scale=$((scale > 50 ? 50 : scale))
    scale_pages=$((scale * 1640))
    tpcb=$((amount / 4 < tpcb_limit ? amount / 4 : tpcb_limit))
    measure "$amount" "$scale" $((tpcb * mb))
done
[ "$failures" = 0 ] || fail "$failures limits are not kept"
say "bench-storage passed"

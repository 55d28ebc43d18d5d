#!/bin/bash
# kill -9 under load: pgbench runs on main and on a branch of it, the page server, a compute or both
# are killed at a random moment, everything is started again, and the databases must hold every
# transaction that a client was told is committed, and none by halves. Layers are small and history is
# kept for a second, so that the moments fall into flushes, merges and garbage collection as well.
#
#   crash_rounds.sh [ROUNDS]      default 20; ZENITH_SEED repeats the choices of an earlier run
#
# What a client was told: pgbench logs each finished transaction (-l). Every transaction writes its
# client and its number, counted up from 1, beside TPC-B's own changes; a client that logged k
# transactions must find the numbers 1..k, and may find k+1 (committed, but the answer got lost).
set -euo pipefail
. "$(dirname "$0")/lib.sh"

rounds=${1:-${ZENITH_CRASH_ROUNDS:-20}}
seed=${ZENITH_SEED:-$RANDOM}
RANDOM=$seed
clients=4

setup_workdir crash-rounds
find_zenith
with_page_server_options "--layer-wal-mb 1 --check-redo-percent ${ZENITH_CHECK_REDO_PERCENT:-20}"
say "$rounds rounds of kill -9 under load, ZENITH_SEED=$seed"
start_repository
use_node

# Removed as soon as it may be: what is left of the past is what the branch and the tag need.
zenith retention --pitr-interval 1s --retain-bytes 0
node start main
pgbench -i -q -s 1 -h 127.0.0.1 -p "$(compute_field main port)" postgres > "$WORK/log/pgbench-init.log" 2>&1 \
    || { cat "$WORK/log/pgbench-init.log" >&2; fail "pgbench -i"; }
sql main -c "CREATE TABLE told (round int, client int, n int, PRIMARY KEY (round, client, n))"
node branch other main
node start other
computes=(main other)

cat > "$WORK/transaction.pgbench" <<'SCRIPT'
\set n :n + 1
\set aid random(1, 100000)
\set bid random(1, 1)
\set tid random(1, 10)
\set delta random(-5000, 5000)
BEGIN;
UPDATE pgbench_accounts SET abalance = abalance + :delta WHERE aid = :aid;
INSERT INTO told VALUES (:round, :client_id, :n);
SELECT abalance FROM pgbench_accounts WHERE aid = :aid;
UPDATE pgbench_tellers SET tbalance = tbalance + :delta WHERE tid = :tid;
UPDATE pgbench_branches SET bbalance = bbalance + :delta WHERE bid = :bid;
INSERT INTO pgbench_history (tid, bid, aid, delta, mtime) VALUES (:tid, :bid, :aid, :delta, CURRENT_TIMESTAMP);
END;
SCRIPT

# start_load ROUND COMPUTE: runs in the background as job ${load[COMPUTE]} until the compute ends.
declare -A load
start_load() {
    local directory=$WORK/load-$1-$2
    mkdir "$directory"
    (
        cd "$directory"
        # exec: the job is pgbench itself. It fails when its server goes; that is the point.
        exec pgbench -n -c "$clients" -T 600 -l -D round="$1" -D n=0 -f "$WORK/transaction.pgbench" \
            -h 127.0.0.1 -p "${port[$2]}" postgres
    ) > "$WORK/log/pgbench-$2.log" 2>&1 &
    load[$2]=$!
}

committed_so_far() { sql "$1" -c "SELECT count(*) FROM told WHERE round = $2"; }

# verify ROUND COMPUTE: in one query, for there are many rounds. Prints how many commits were told.
verify() {
    local round=$1 compute=$2 directory=$WORK/load-$1-$2 client logged answer clauses='' total=0
    for ((client = 0; client < clients; client++)); do
        logged=$(cat "$directory"/pgbench_log.* 2>/dev/null | grep -c "^$client " || true)
        total=$((total + logged))
        # All of 1..logged, at most one more, none twice (primary key).
        clauses+=",
            (SELECT CASE WHEN count(*) FILTER (WHERE n <= $logged) <> $logged OR max(n) > $logged + 1
                 THEN 'client $client was told of $logged commits, of these there are '
                      || count(*) FILTER (WHERE n <= $logged) || ', the last is ' || coalesce(max(n), 0) END
               FROM told WHERE round = $round AND client = $client)"
    done
    answer=$(sql "$compute" -c "
        SELECT concat_ws('; ',
            CASE WHEN (SELECT sum(abalance) FROM pgbench_accounts) <> h.sum
                   OR (SELECT sum(tbalance) FROM pgbench_tellers) <> h.sum
                   OR (SELECT sum(bbalance) FROM pgbench_branches) <> h.sum
                   OR (SELECT count(*) FROM told) <> h.count THEN 'the balances do not add up' END $clauses)
          FROM (SELECT coalesce(sum(delta), 0) AS sum, count(*) AS count FROM pgbench_history) h")
    [ -z "$answer" ] || fail "round $round, $compute: $answer"
    rm -rf "$directory"
    printf '%s\n' "$total" > "$WORK/told-$compute"
}

declare -A port
for compute in "${computes[@]}"; do
    port[$compute]=$(compute_field "$compute" port)
done
collect_garbage &
collector=$!

acknowledged=0
began=$(milliseconds)
kinds=(compute pageserver both pageserver-first)
for ((round = 1; round <= rounds; round++)); do
    kind=${kinds[RANDOM % ${#kinds[@]}]}
    victim=${computes[RANDOM % 2]}
    pause=$(printf '0.%03d' $((RANDOM % 1000)))
    for compute in "${computes[@]}"; do
        start_load "$round" "$compute"
    done
    # The load is on when both have committed something.
    for compute in "${computes[@]}"; do
        while [ "$(committed_so_far "$compute" "$round")" = 0 ]; do
            kill -0 "${load[$compute]}" 2>/dev/null \
                || fail "pgbench on $compute ended: $(cat "$WORK/log/pgbench-$compute.log")"
            sleep 0.05
        done
    done
    sleep "$pause"
    case $kind in
        compute) node kill "$victim" ;;
        pageserver) node pageserver kill ;;
        both)
            node kill "$victim"
            node pageserver kill
            ;;
        pageserver-first)
            node pageserver kill
            node kill "$victim"
            ;;
    esac
    if [ "$kind" != compute ]; then
        # Before anything is loaded, which removes what is below it.
        node pageserver start
    fi
    for compute in "${computes[@]}"; do
        if [ "$compute" != "$victim" ] || [ "$kind" = pageserver ]; then
            # With the new page server its load goes on for a moment.
            sleep "0.$((RANDOM % 5))"
            node stop "$compute" immediate
        fi
        wait "${load[$compute]}" || true
    done
    # What counts is what the repository holds: all computes start from it, at the same time.
    jobs=()
    for compute in "${computes[@]}"; do
        (
            node start "$compute"
            verify "$round" "$compute"
        ) &
        jobs+=($!)
    done
    for job in "${jobs[@]}"; do
        wait "$job" || fail "round $round: killed $kind ($victim) after $pause s"
    done
    for compute in "${computes[@]}"; do
        port[$compute]=$(compute_field "$compute" port)
        acknowledged=$((acknowledged + $(cat "$WORK/told-$compute")))
    done
    check_leftovers "round $round" -not -path '*/layers/*'
    # Branches come and go; each keeps a point of main for a while.
    if [ $((round % 5)) = 0 ]; then
        node branch "round$round" main
        if [ -e "$REPO/refs/branches/round$((round - 10))" ]; then
            node drop_branch "round$((round - 10))"
        fi
    fi
    if [ "$rounds" -le 20 ] || [ $((round % 10)) = 0 ]; then
        say "round $round: killed $kind ($victim) after $pause s; $acknowledged commits acknowledged so far," \
            "all there; $((($(milliseconds) - began) / round)) ms a round"
    fi
done
touch "$WORK/stop-gc"
wait "$collector" || true

[ "$acknowledged" -gt $((rounds * 10)) ] || fail "only $acknowledged commits in $rounds rounds: no load"
node branch final other
node start final
for compute in main other final; do
    pg_amcheck -d postgres --install-missing --heapallindexed --parent-check -h 127.0.0.1 \
        -p "$(compute_field "$compute" port)" > "$WORK/log/amcheck-$compute.log" 2>&1 \
        || { cat "$WORK/log/amcheck-$compute.log" >&2; fail "pg_amcheck on $compute"; }
done
[ "$(sql final -c 'SELECT count(*), sum(delta) FROM pgbench_history')" \
    = "$(sql other -c 'SELECT count(*), sum(delta) FROM pgbench_history')" ] || fail "the branch differs"
check_redo_checks
zenith stop
check_leftovers "at the end"
check_repository
say "crash rounds passed: $rounds rounds, $acknowledged acknowledged commits, none missing," \
    "$((($(milliseconds) - began) / 1000)) s"

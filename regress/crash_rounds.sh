#!/bin/bash
# kill -9 under load: pgbench runs on main and on a branch of it, the page server, a compute or both
# are killed at a random moment, everything is started again, and the databases must hold every
# transaction that a client was told is committed, and none by halves.
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
say "$rounds rounds of kill -9 under load, ZENITH_SEED=$seed"
start_repository
ZENITH_TEST_DIR=$WORK/scratch
as_server_user mkdir "$ZENITH_TEST_DIR"
export ZENITH_TEST_DIR
node() { "$REGRESS_DIR/bin/node" "$@"; }

sql() {
    local compute=$1
    shift
    psql -XAtq -v ON_ERROR_STOP=1 -h 127.0.0.1 -p "$(compute_field "$compute" port)" -d postgres "$@"
}

node start main
pgbench -i -q -s 2 -h 127.0.0.1 -p "$(compute_field main port)" postgres > "$WORK/log/pgbench-init.log" 2>&1 \
    || { cat "$WORK/log/pgbench-init.log" >&2; fail "pgbench -i"; }
sql main -c "CREATE TABLE told (round int, client int, n int, PRIMARY KEY (round, client, n))"
node branch other main
node start other
computes=(main other)

cat > "$WORK/transaction.pgbench" <<'SCRIPT'
\set n :n + 1
\set aid random(1, 100000 * :scale)
\set bid random(1, 1 * :scale)
\set tid random(1, 10 * :scale)
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

# start_load ROUND COMPUTE SECONDS: runs in the background as job ${load[COMPUTE]}.
declare -A load
start_load() {
    local directory=$WORK/load-$1-$2
    mkdir "$directory"
    (
        cd "$directory"
        # exec: the job is pgbench itself. It fails when its server goes; that is the point.
        exec pgbench -n -c "$clients" -T "$3" -l -D round="$1" -D n=0 -s 2 -f "$WORK/transaction.pgbench" \
            -h 127.0.0.1 -p "$(compute_field "$2" port)" postgres
    ) > "$WORK/log/pgbench-$1-$2.log" 2>&1 &
    load[$2]=$!
}

committed_so_far() { sql "$1" -c "SELECT count(*) FROM told WHERE round = $2"; }

# verify ROUND COMPUTE
verify() {
    local round=$1 compute=$2 directory=$WORK/load-$1-$2 client logged answer problems=0 total=0
    for ((client = 0; client < clients; client++)); do
        logged=$(cat "$directory"/pgbench_log.* 2>/dev/null | grep -c "^$client " || true)
        total=$((total + logged))
        # All of 1..logged, at most one more, none twice (primary key).
        answer=$(sql "$compute" -c "
            SELECT count(*) FILTER (WHERE n <= $logged) || ' ' || count(*) FILTER (WHERE n > $logged + 1)
              FROM told WHERE round = $round AND client = $client")
        if [ "$answer" != "$logged 0" ]; then
            say "round $round, $compute, client $client: told of $logged commits;" \
                "found of these and beyond: $answer"
            problems=1
        fi
    done
    answer=$(sql "$compute" -c "
        SELECT (SELECT sum(abalance) FROM pgbench_accounts) = (SELECT coalesce(sum(delta), 0) FROM pgbench_history)
           AND (SELECT sum(tbalance) FROM pgbench_tellers) = (SELECT coalesce(sum(delta), 0) FROM pgbench_history)
           AND (SELECT sum(bbalance) FROM pgbench_branches) = (SELECT coalesce(sum(delta), 0) FROM pgbench_history)
           AND (SELECT count(*) FROM pgbench_history) = (SELECT count(*) FROM told)")
    if [ "$answer" != t ]; then
        say "round $round, $compute: the balances do not add up"
        problems=1
    fi
    [ "$problems" = 0 ] || fail "round $round: committed transactions are missing on $compute"
    acknowledged=$((acknowledged + total))
}

acknowledged=0
kinds=(compute pageserver both pageserver-first)
for ((round = 1; round <= rounds; round++)); do
    kind=${kinds[(round - 1) % ${#kinds[@]}]}
    victim=${computes[RANDOM % 2]}
    pause=$(printf '%d.%03d' $((RANDOM % 2)) $((RANDOM % 1000)))
    for compute in "${computes[@]}"; do
        start_load "$round" "$compute" 4
    done
    # The load is on when both have committed something.
    for compute in "${computes[@]}"; do
        while [ "$(committed_so_far "$compute" "$round")" = 0 ]; do
            kill -0 "${load[$compute]}" 2>/dev/null || fail "pgbench ended: $WORK/log/pgbench-$round-$compute.log"
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
        node pageserver start
    fi
    # The load on the others goes on with the new page server until its time is over.
    for compute in "${computes[@]}"; do
        wait "${load[$compute]}" || true
    done
    # What counts is what the repository holds: all computes start from it.
    for compute in "${computes[@]}"; do
        if [ "$compute" != "$victim" ] || [ "$kind" = pageserver ]; then
            node stop "$compute" immediate
        fi
        node start "$compute"
        verify "$round" "$compute"
    done
    say "round $round: killed $kind ($victim) after $pause s; $acknowledged commits acknowledged so far, all there"
done

[ "$acknowledged" -gt $((rounds * 20)) ] || fail "only $acknowledged commits in $rounds rounds: no load"
node branch final other
node start final
for compute in main other final; do
    pg_amcheck -d postgres --install-missing --heapallindexed --parent-check -h 127.0.0.1 \
        -p "$(compute_field "$compute" port)" > "$WORK/log/amcheck-$compute.log" 2>&1 \
        || { cat "$WORK/log/amcheck-$compute.log" >&2; fail "pg_amcheck on $compute"; }
done
[ "$(sql final -c 'SELECT count(*), sum(delta) FROM pgbench_history')" \
    = "$(sql other -c 'SELECT count(*), sum(delta) FROM pgbench_history')" ] || fail "the branch differs"
zenith stop
say "crash rounds passed: $rounds rounds, $acknowledged acknowledged commits, none missing"

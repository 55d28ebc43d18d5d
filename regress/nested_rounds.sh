#!/bin/bash
# make check-rounds ROUNDS=1000: rounds of start, work, stop or kill on nested branches. Each round starts
# a compute on one branch of a tree that grows and shrinks, or on two at once, compares all it holds
# with a model, works there with two clients, and ends it: clean, or by kill -9 of one process, of the
# compute, of the page server or of both. Layers are small, history is kept for three seconds, and
# garbage is collected all the time.
#
#   nested_rounds.sh [ROUNDS]     default 1000; ZENITH_SEED repeats the choices of an earlier run
#   ZENITH_TEST_SETTINGS, ZENITH_TEST_CHECKSUMS   as in crash_rounds.sh
#
# The model of a branch (nested_rounds/model.awk) knows every transaction that a client was told of, those
# whose answer got lost, prepared ones, and the highest ids that were given. A new branch inherits the
# model as of the point where it starts: the tip, between rounds or in the middle of the work, or a
# point that was noted while nobody worked, by LSN, time or tag. What must hold on a new compute: see
# nested_rounds/check.sql, and that no id is given again.
set -euo pipefail
. "$(dirname "$0")/lib.sh"
. "$REGRESS_DIR/nested_rounds/work.sh"
. "$REGRESS_DIR/nested_rounds/tree.sh"

rounds=${1:-${ZENITH_NESTED_ROUNDS:-1000}}
seed=${ZENITH_SEED:-$RANDOM}
RANDOM=$seed
# How many branches there are, and how deep at most.
fewest=5 most=12 deepest=12
pitr_seconds=3

setup_workdir nested-rounds
find_zenith
with_page_server_options "--layer-wal-mb 1 --check-redo-percent ${ZENITH_CHECK_REDO_PERCENT:-20}"
say "$rounds rounds of start, work, stop or kill on nested branches, ZENITH_SEED=$seed"
start_repository
use_node
zenith retention --pitr-interval "${pitr_seconds}s" --retain-bytes 0

round=0 action=none
picked=(main)
broken() {
    fail "round $round (${picked[*]}; $action; ZENITH_SEED=$seed): $*"
}
set -E
trap 'printf "in round %s (%s; %s; ZENITH_SEED=%s):\n" "$round" "${picked[*]}" "$action" "$seed" >&2' ERR
step() { node "$@" || broken "node $*"; }

# ---- models ---------------------------------------------------------------------------------------------

# model/BRANCH: floor and rows (see model.awk), port, depth, rested (when nobody worked there any more,
# in milliseconds), points/N (floor, rows, lsn, time, noted).
model() { printf '%s/model/%s' "$WORK" "$1"; }
mkdir "$WORK/model" "$WORK/tags" "$WORK/events"

# fold BRANCH OPTION... -- EVENTS...: adds what clients were told.
fold() {
    local directory options=()
    directory=$(model "$1")
    shift
    while [ "$1" != -- ]; do
        options+=(-v "$1")
        shift
    done
    shift
    awk "${options[@]}" -v mode=fold -v out="$directory" -f "$REGRESS_DIR/nested_rounds/model.awk" \
        "$directory/floor" "$directory/rows" "$@"
}

# psql_on BRANCH ARGUMENTS...
psql_on() { psql -XAtq -h 127.0.0.1 -p "$(cat "$(model "$1")/port")" -d postgres "${@:2}"; }

# check_compute BRANCH: a compute that has just been started, against the model.
check_compute() {
    local branch=$1 directory differences
    directory=$(model "$branch")
    psql_on "$branch" -f "$REGRESS_DIR/nested_rounds/check.sql" > "$directory/found" 2>&1 \
        || broken "$branch could not be checked: $(grep -v '^[LP] ' "$directory/found")"
    differences=$(awk -v mode=check -v out="$directory" -f "$REGRESS_DIR/nested_rounds/model.awk" \
        "$directory/floor" "$directory/rows" "$directory/found")
    [ -z "$differences" ] || broken "$branch: $differences"
}

start_compute() {
    local port
    port=$(model "$1")/port
    step start "$1"
    [ -e "$port" ] || node port "$1" > "$port"
    check_compute "$1"
}

# What never is in the log of a healthy compute, even if the page server and its own processes are killed.
check_log() {
    local bad
    bad=$(grep -hE 'PANIC: |TRAP: |invalid page in block|page verification failed|unexpected data beyond EOF|could not (read|write|extend|truncate) (block|file "(base|global)/)' \
        "$REPO/computes/$1/"postgres.log* || true)
    [ -z "$bad" ] || broken "$1 has in its log: $bad"
}

# Reads what is prepared into the array that work.sh expects.
read_prepared() { mapfile -t prepared < <(awk '$3 == "P" { print $1, $2 }' "$(model "$1")/rows" | sort); }

# run_client BRANCH NAME: in the background $! is psql itself. What it was told is in the file line by
# line, also while it runs.
run_client() {
    exec stdbuf -oL psql -XAtq -h 127.0.0.1 -p "$(cat "$(model "$1")/port")" -d postgres \
        -f "$WORK/events/$1.$2.sql" > "$WORK/events/$1.$2" 2> "$WORK/events/$1.$2.err"
}

# Work that nobody disturbs; then the state of the branch is a point that can be gone back to.
quiet_work() {
    local branch=$1 events=$WORK/events/$1.quiet safe=1 prepared key="r${round}a" told lsn time directory
    read_prepared "$branch"
    {
        work "$key" 0 $((1 + RANDOM % 4))
        if [ $((RANDOM % 30)) = 0 ]; then
            databases "${key}_database"
        fi
        # The last one was waited for.
        begin_transaction
        commit_transaction "${key}_last"
        cat <<'SQL'
SELECT pg_current_wal_insert_lsn() AS lsn, to_char(clock_timestamp() AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"') AS time \gset
\echo point :lsn :time
SQL
    } > "$events.sql"
    (run_client "$branch" quiet) || broken "work on $branch: $(cat "$events.err")"
    [ ! -s "$events.err" ] || ! grep -v 'NOTICE: ' "$events.err" > /dev/null || broken "work on $branch: $(cat "$events.err")"
    fold "$branch" -- "$events"
    read -r _ lsn time < <(grep '^point ' "$events")
    directory=$(model "$branch")/points/$round
    mkdir -p "$directory"
    cp "$(model "$branch")/"{floor,rows} "$directory"
    printf '%s\n' "$lsn" > "$directory/lsn"
    printf '%s\n' "$time" > "$directory/time"
    milliseconds > "$directory/noted"
    ls -rv "$(model "$branch")/points" | tail -n +4 | while read -r told; do
        rm -r "$(model "$branch")/points/${told:?}"
    done
}

# ---- the tree -------------------------------------------------------------------------------------------

branches=(main)
next_branch=1
mkdir -p "$(model main)/points"
echo 0 0 0 > "$(model main)/floor"
: > "$(model main)/rows"
echo 0 > "$(model main)/depth"
depth_seen=0 gone=0 points_used=0 deleted=0

# ---- a round --------------------------------------------------------------------------------------------

# kill_process BRANCH NUMBER: one of those that every compute has for all its life.
kill_process() {
    local postmaster child pids=()
    read -r postmaster < "$REPO/computes/$1/pgdata/postmaster.pid"
    # shellcheck disable=SC2013
    for child in $(cat "/proc/$postmaster/task/$postmaster/children"); do
        case $({ tr '\0' ' ' < "/proc/$child/cmdline"; } 2> /dev/null) in
            *checkpointer* | *"background writer"* | *walwriter* | *"autovacuum launcher"* | *walsender*) pids+=("$child") ;;
        esac
    done
    kill -9 "${pids[$2 % ${#pids[@]}]}"
}

# kill_backend BRANCH: a client's, in the middle of its work; at its end it sleeps.
kill_backend() {
    local pid
    pid=$(sed -n 's/^pid - //p' "$WORK/events/$1.0")
    kill -9 "$pid" || broken "no backend on $1: $(cat "$WORK/events/$1.0.err")"
}

# after_action ACTION: what it leaves of a compute: "up" is what the supervisor has started again.
after_action() {
    case $1 in
        fast | smart | immediate | kill | both | both-turned) echo stopped ;;
        postmaster | backend | process) echo up ;;
        *) echo working ;;
    esac
}
# act_on BRANCH ACTION NUMBER: what is done to its compute while it works.
act_on() {
    local branch=$1 action=$2 restarts
    case $action in
        fast | immediate) step stop "$branch" "$action" ;;
        smart)
            # Not by zenith; its supervisor sees that it was shut down.
            as_server_user "$PG_BINDIR/pg_ctl" stop -D "$REPO/computes/$branch/pgdata" -m smart -s -t 60 \
                || broken "pg_ctl stop -m smart on $branch"
            ;;
        kill | both | both-turned) step kill "$branch" ;;
        postmaster | backend | process)
            restarts=$(node field "$branch" restarts)
            case $action in
                postmaster) kill -9 "$(head -1 "$REPO/computes/$branch/pgdata/postmaster.pid")" ;;
                backend) kill_backend "$branch" ;;
                process) kill_process "$branch" "$3" ;;
            esac
            step restarted "$branch" $((restarts + 1))
            ;;
        supervisor) step kill_supervisor "$branch" ;;
    esac
}

# What a client may hear when it is cut off.
expected_messages='FATAL:  (terminating connection|the database system is|could not connect)|WARNING:  (terminating connection|canceling the wait for synchronous replication)'

actions=(fast fast smart immediate kill kill postmaster backend process pageserver pageserver pageserver-restart
    both both-turned supervisor)
declare -A client_of branch_action

one_round() {
    # shellcheck disable=SC2034  # safe: for work.sh
    local branch second jobs=() job name client names=() pause safe=0 prepared during='' status errors clean child strict=() number mode again

    # Whatever the rounds before have found.
    RANDOM=$((seed + round))
    picked=("${branches[RANDOM % ${#branches[@]}]}")
    if [ $((RANDOM % 4)) = 0 ]; then
        second=${branches[RANDOM % ${#branches[@]}]}
        [ "$second" = "${picked[0]}" ] || picked+=("$second")
    fi
    action=${actions[RANDOM % ${#actions[@]}]}
    for branch in "${picked[@]}"; do
        branch_action[$branch]=$action
    done
    if [ ${#picked[@]} = 2 ]; then
        second=${actions[RANDOM % ${#actions[@]}]}
        case $action:$second in
            pageserver* | both* | *:pageserver* | *:both*) ;;  # what befalls the page server befalls both
            *) branch_action[${picked[1]}]=$second ;;
        esac
        action="${branch_action[${picked[0]}]}, ${branch_action[${picked[1]}]}"
        start_compute "${picked[0]}" &
        job=$!
        start_compute "${picked[1]}"
        wait "$job" || exit 1
    else
        start_compute "${picked[0]}"
    fi
    for branch in "${picked[@]}"; do
        quiet_work "$branch"
        if [ $((RANDOM % 8)) = 0 ]; then
            new_tag "$branch"
        fi
        # Now and then of a running compute.
        if [ ${#branches[@]} -lt $most ] && [ $((RANDOM % 10)) = 0 ]; then
            child=b$next_branch
            next_branch=$((next_branch + 1))
            step branch "$child" "$branch"
            adopt "$child" "$branch"
        fi
    done

    for branch in "${picked[@]}"; do
        read_prepared "$branch"
        for client in 0 1; do
            name=$branch.$client
            {
                work "r${round}b$client" $client $((2 + RANDOM % 9))
                [ "${branch_action[$branch]}" != backend ] || echo "SELECT pg_sleep(1000) \\g /dev/null"
            } > "$WORK/events/$name.sql"
            : > "$WORK/events/$name"
            run_client "$branch" $client &
            client_of[$name]=$!
            names+=("$name")
        done
    done
    for name in "${names[@]}"; do
        until grep -q '^pid ' "$WORK/events/$name"; do
            # A short one may have ended between the two looks.
            kill -0 "${client_of[$name]}" 2> /dev/null || grep -q '^pid ' "$WORK/events/$name" \
                || broken "client $name: $(cat "$WORK/events/$name.err")"
            sleep 0.005
        done
    done
    pause=$((RANDOM % 120))
    sleep "$(printf '0.%03d' $pause)"
    # A branch in the middle of the work has what was told before, and maybe more.
    if [ ${#branches[@]} -lt $most ] && [ $((RANDOM % 6)) = 0 ]; then
        during=b$next_branch
        next_branch=$((next_branch + 1))
        for client in 0 1; do
            strict[client]=$(wc -l < "$WORK/events/${picked[0]}.$client")
        done
        step branch "$during" "${picked[0]}"
    fi

    # What befalls the page server befalls all; in between the clients wait.
    case ${branch_action[${picked[0]}]} in
        pageserver-restart) step pageserver restart ;;
        pageserver)
            step pageserver kill
            step pageserver start
            ;;
        both-turned)
            step pageserver kill
            for branch in "${picked[@]}"; do
                step kill "$branch"
            done
            step pageserver start
            ;;
        both)
            for branch in "${picked[@]}"; do
                step kill "$branch"
            done
            step pageserver kill
            step pageserver start
            ;;
        *)
            for branch in "${picked[@]}"; do
                number=$RANDOM
                act_on "$branch" "${branch_action[$branch]}" "$number" &
                jobs+=($!)
            done
            for job in "${jobs[@]}"; do
                wait "$job" || exit 1
            done
            ;;
    esac

    for name in "${names[@]}"; do
        status=0
        wait "${client_of[$name]}" || status=$?
        case ${branch_action[${name%.*}]} in
            smart | pageserver | pageserver-restart | supervisor)
                [ $status = 0 ] || broken "client $name ended with code $status: $(cat "$WORK/events/$name.err")"
                ;;
        esac
        errors=$(grep -E 'ERROR:|FATAL:|PANIC:|WARNING:' "$WORK/events/$name.err" | grep -vE "$expected_messages" || true)
        [ -z "$errors" ] || broken "client $name: $errors"
    done
    if [ -n "$during" ]; then
        # All of it, and then as far as it may not have happened yet.
        adopt "$during" "${picked[0]}"
        for client in 0 1; do
            fold "$during" strict=${strict[client]} -- "$WORK/events/${picked[0]}.$client"
        done
    fi
    for branch in "${picked[@]}"; do
        clean=''
        case ${branch_action[$branch]} in
            fast | smart) clean=clean=1 ;;
        esac
        fold "$branch" $clean -- "$WORK/events/$branch".{0,1}
        told=$((told + $(cat "$WORK/events/$branch".{quiet,0,1} \
            | grep -cE '^(told|told-async|prepared|committed|rolled-back) ')))
        milliseconds > "$(model "$branch")/rested"
    done

    # What runs still, or again, is looked at and stopped, one way or the other.
    for branch in "${picked[@]}"; do
        mode=$((RANDOM % 3)) again=$((RANDOM % 6))
        case $(after_action "${branch_action[$branch]}") in
            up) check_compute "$branch" ;;&
            up | working)
                case $mode in
                    0) step kill "$branch" ;;
                    1) step stop "$branch" immediate ;;
                    2) step stop "$branch" fast ;;
                esac
                ;;
            *)
                # At once again, or later, or only on a branch of it.
                if [ $again = 0 ]; then
                    start_compute "$branch"
                    step stop "$branch"
                fi
                ;;
        esac
    done
    check_leftovers "round $round" -not -path '*/layers/*'
}

# Everything on a branch, by pg_amcheck. What is prepared holds locks that it would wait for.
amcheck_branch() {
    local branch=$1 prepared entry events=$WORK/events/$1.finish
    start_compute "$branch"
    read_prepared "$branch"
    {
        for entry in "${prepared[@]}"; do
            # shellcheck disable=SC2086
            finish $entry
        done
    } > "$events.sql"
    (run_client "$branch" finish) || broken "finishing what is prepared on $branch: $(cat "$events.err")"
    fold "$branch" -- "$events"
    milliseconds > "$(model "$branch")/rested"
    PGOPTIONS="-c lock_timeout=60s" pg_amcheck "${@:2}" --heapallindexed --parent-check -h 127.0.0.1 \
        -p "$(cat "$(model "$branch")/port")" > "$WORK/log/amcheck.log" 2>&1 \
        || { cat "$WORK/log/amcheck.log" >&2; broken "pg_amcheck on $branch"; }
    amchecked=$((amchecked + 1))
    step stop "$branch"
}

check_all() {
    local branch
    action="check of all branches"
    for branch in "${branches[@]}"; do
        picked=("$branch")
        start_compute "$branch"
        step stop "$branch"
        check_log "$branch"
    done
}

# ---- the rounds -----------------------------------------------------------------------------------------

began=$(milliseconds)
step start main
node port main > "$(model main)/port"
psql_on main -f "$REGRESS_DIR/nested_rounds/schema.sql" || broken "the schema"
step stop main
collect_garbage &
collector=$!
amchecked=0 told=0
for ((round = 1; round <= rounds; round++)); do
    one_round
    if [ ${#branches[@]} -lt $fewest ] || { [ ${#branches[@]} -lt $most ] && [ $((RANDOM % 4)) = 0 ]; }; then
        new_branch
    fi
    if [ ${#branches[@]} -gt $fewest ] && [ $((RANDOM % 5)) = 0 ]; then
        delete_branch
    fi
    if [ $((round % 25)) = 0 ] && [ -e "$(model "${picked[0]}")" ]; then
        action=pg_amcheck
        amcheck_branch "${picked[0]}" -d postgres
    fi
    if [ $((round % 100)) = 0 ]; then
        check_all
    fi
    if [ $((round % 50)) = 0 ] || [ "$rounds" -le 20 ]; then
        say "round $round: ${#branches[@]} branches, up to $depth_seen deep; last ${picked[*]}: $action; $told transactions told;" \
            "$((($(milliseconds) - began) / round)) ms a round"
    fi
done
round=$rounds
say "the rounds took $((($(milliseconds) - began) / 1000)) s"
check_all
action="pg_amcheck at the end"
for branch in "${branches[@]}"; do
    picked=("$branch")
    amcheck_branch "$branch" --all --install-missing
    check_log "$branch"
done
touch "$WORK/stop-gc"
wait "$collector" || true
check_redo_checks
zenith stop
check_leftovers "at the end"
check_repository
say "nested rounds passed: $rounds rounds on $next_branch branches up to $depth_seen deep, $points_used of them of a" \
    "past point ($gone were gone), $deleted deleted; $told transactions told; $amchecked times pg_amcheck;" \
    "$(du -sm "$REPO/timelines" | cut -f1) MB at the end; $((($(milliseconds) - began) / 1000)) s"

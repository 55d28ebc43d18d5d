#!/bin/bash
# Garbage collection every second while pgbench works on five nested branches: no read fails, all
# balances agree, an LSN that is gone is an error that names the oldest one there is and never a wrong
# answer; then branches are deleted, in any order, and gc frees what its dry run promised.
#
#   gc_under_load.sh [SECONDS]    of load, default 30
set -euo pipefail
. "$(dirname "$0")/lib.sh"

seconds=${1:-${ZENITH_GC_SECONDS:-30}}

setup_workdir gc-under-load
find_zenith
# Small layers: much to flush, merge and drop.
with_page_server_options "--layer-wal-mb 1 --check-redo-percent ${ZENITH_CHECK_REDO_PERCENT:-20}"
start_repository
use_node
zenith retention --pitr-interval 1s --retain-bytes 0

balances='SELECT (SELECT sum(abalance) FROM pgbench_accounts) = (SELECT coalesce(sum(delta), 0) FROM pgbench_history)
             AND (SELECT sum(tbalance) FROM pgbench_tellers) = (SELECT coalesce(sum(delta), 0) FROM pgbench_history)
             AND (SELECT sum(bbalance) FROM pgbench_branches) = (SELECT coalesce(sum(delta), 0) FROM pgbench_history)'

# ---- five nested branches, each with a load, all collected every second -----------------------------

branches=(main b1 b2 b3 b4)
node start main
pgbench -i -q -s 2 -h 127.0.0.1 -p "$(compute_field main port)" postgres > "$WORK/log/pgbench-init.log" 2>&1 \
    || { cat "$WORK/log/pgbench-init.log" >&2; fail "pgbench -i"; }
declare -A load expected
start_load() {
    pgbench -n -c 2 -T "$seconds" -h 127.0.0.1 -p "$(compute_field "$1" port)" postgres \
        > "$WORK/log/pgbench-$1.log" 2>&1 &
    load[$1]=$!
}
start_load main
(
    # Ends with the first failure, which the script looks for.
    while [ ! -e "$WORK/stop-gc" ] && kill -0 $$ 2>/dev/null; do
        began=$(milliseconds)
        "$ZENITH" gc >> "$WORK/log/gc.log" 2>&1 || { touch "$WORK/gc-failed"; break; }
        rest=$((1000 - ($(milliseconds) - began)))
        [ "$rest" -le 0 ] || sleep "$(printf '0.%03d' $((rest % 1000)))"
    done
) &
collector=$!

parent=main
for branch in "${branches[@]:1}"; do
    # A point of its parent that stays, though the parent goes on; there must be something by then.
    while [ "$(sql "$parent" -c 'SELECT count(*) > 50 FROM pgbench_history')" = f ]; do
        kill -0 "${load[$parent]}" 2>/dev/null || fail "pgbench ended: $(cat "$WORK/log/pgbench-$parent.log")"
        sleep 0.1
    done
    node branch "$branch" "$parent"
    node tag "tag-$branch" "$branch"
    node start "$branch"
    expected[$branch]=$(sql "$branch" -c 'SELECT count(*), coalesce(sum(delta), 0) FROM pgbench_history')
    [ "$(sql "$branch" -c "$balances")" = t ] || fail "$branch: the balances do not agree at its start"
    start_load "$branch"
    parent=$branch
done
first_lsn=$(sql main -c 'SELECT pg_current_wal_insert_lsn()')

for branch in "${branches[@]}"; do
    wait "${load[$branch]}" || { cat "$WORK/log/pgbench-$branch.log" >&2; fail "pgbench on $branch"; }
    if grep -q 'failed\|ERROR\|aborted' "$WORK/log/pgbench-$branch.log" \
        && ! grep -q 'failed transactions: 0 ' "$WORK/log/pgbench-$branch.log"; then
        cat "$WORK/log/pgbench-$branch.log" >&2
        fail "pgbench on $branch had failures"
    fi
done
[ ! -e "$WORK/gc-failed" ] || { tail -5 "$WORK/log/gc.log" >&2; fail "zenith gc failed under load"; }

# New computes: everything they read comes from what gc has left.
for branch in "${branches[@]}"; do
    [ "$(sql "$branch" -c "$balances")" = t ] || fail "$branch: the balances do not agree"
    node restart "$branch"
    [ "$(sql "$branch" -c "$balances")" = t ] || fail "$branch: the balances do not agree on a new compute"
done
# So were the branch points and tags, below which much has gone.
for branch in "${branches[@]:1}"; do
    node branch "again-$branch" "tag-$branch"
    node start "again-$branch"
    [ "$(sql "again-$branch" -c 'SELECT count(*), coalesce(sum(delta), 0) FROM pgbench_history')" \
        = "${expected[$branch]}" ] || fail "tag-$branch: not what $branch began with"
    [ "$(sql "again-$branch" -c "$balances")" = t ] || fail "tag-$branch: the balances do not agree"
    node stop "again-$branch"
done

# ---- time travel while gc runs -----------------------------------------------------------------------

gone=0
right=0
for ((i = 0; i < 10; i++)); do
    sql main -c "INSERT INTO pgbench_history (tid, bid, aid, delta) VALUES (0, 0, 0, 0)"
    rows=$(sql main -c 'SELECT count(*) FROM pgbench_history')
    lsn=$(sql main -c 'SELECT pg_current_wal_insert_lsn()')
    pgbench -n -c 4 -t 100 -h 127.0.0.1 -p "$(compute_field main port)" postgres > "$WORK/log/pgbench.log" 2>&1
    sleep "0.$((RANDOM % 10))"
    for point in "main@$lsn" "main@$first_lsn"; do
        if output=$("$ZENITH" branch "then-$i-${point##*/}" "$point" 2>&1); then
            [ "$point" = "main@$lsn" ] || continue
            node start "then-$i-${point##*/}"
            found=$(sql "then-$i-${point##*/}" -c 'SELECT count(*) FROM pgbench_history')
            [ "$found" = "$rows" ] || fail "$point has $found rows of history, not $rows"
            node stop "then-$i-${point##*/}"
            right=$((right + 1))
        else
            grep -qE 'oldest (LSN|one that is kept) is [0-9A-F]+/[0-9A-F]+' <<< "$output" \
                || fail "the error for $point does not name the oldest LSN: $output"
            gone=$((gone + 1))
        fi
    done
done
[ "$gone" -gt 0 ] || fail "nothing was collected: every LSN could still be read"

touch "$WORK/stop-gc"
wait "$collector" || true
[ ! -e "$WORK/gc-failed" ] || { tail -5 "$WORK/log/gc.log" >&2; fail "zenith gc failed"; }

# ---- what a dry run promises -------------------------------------------------------------------------

for branch in "${branches[@]}"; do
    node stop "$branch"
done
removed_bytes() { tr -d '\n' | sed 's/.*"removed_bytes": *\([0-9]*\), *"written_bytes": *\([0-9]*\).*"timelines".*/\1/; t; s/^{"dry_run": [a-z]*, "removed_bytes": \([0-9]*\).*/\1/'; }
disk_bytes() { du -sB1 --apparent-size "$REPO/timelines" | cut -f1; }
# A second run right after the first has nothing to do: time stands still for it.
sleep 1.5
zenith gc
freed_in_all=0
for branch in b2 b4 b1 b3; do
    node destroy "$branch"
    node drop_branch "$branch"
    node drop_tag "tag-$branch"
    promised=$("$ZENITH" gc --dry-run --json | removed_bytes)
    before=$(disk_bytes)
    freed=$("$ZENITH" gc --json | removed_bytes)
    say "deleted $branch: promised $promised bytes, freed $freed; on disk $before, then $(disk_bytes)"
    [ "$promised" = "$freed" ] || fail "gc freed $freed bytes after deleting $branch, its dry run promised $promised"
    freed_in_all=$((freed_in_all + freed))
done
[ "$freed_in_all" -gt 0 ] || fail "deleting four branches freed nothing"
[ "$("$ZENITH" gc --dry-run --json | removed_bytes)" = 0 ] || fail "a second gc would free something"

# What is left is right.
for name in again-b1 again-b2 again-b3 again-b4; do
    node start "$name"
    [ "$(sql "$name" -c "$balances")" = t ] || fail "$name: the balances do not agree after the deletions"
    node stop "$name"
done
node start main
[ "$(sql main -c "$balances")" = t ] || fail "main: the balances do not agree after the deletions"
check_redo_checks
check_repository
zenith stop
say "gc under load passed: $seconds s on ${#branches[@]} branches, $right right answers about the past," \
    "$gone LSNs gone with the oldest one named, $freed_in_all bytes freed as promised"

#!/bin/bash
# What a damaged repository answers: one byte is flipped in each file of it in turn, and everything is
# read through computes on all branches. Each branch gives what it gave before, or an error; never other
# data, and never a page server that crashes.
#
#   damage.sh             ZENITH_FLIPS=2 in each file, ZENITH_SEED=N to repeat
set -euo pipefail
. "$(dirname "$0")/lib.sh"

flips=${ZENITH_FLIPS:-2}
seed=${ZENITH_SEED:-$RANDOM}
RANDOM=$seed

setup_workdir damage
find_zenith
say "damage: $flips flipped bytes in each file, ZENITH_SEED=$seed"
start_repository
sql() {
    psql -XAtq -v ON_ERROR_STOP=1 -h 127.0.0.1 -p "$(compute_field "$1" port)" -d postgres "${@:2}"
}
branches=(main dev child)
zenith pg create main --name main
zenith pg start main
pgbench -i -q -s 1 -h 127.0.0.1 -p "$(compute_field main port)" postgres > "$WORK/log/pgbench-init.log" 2>&1 \
    || fail "pgbench -i"
pgbench -n -c 2 -t 300 -h 127.0.0.1 -p "$(compute_field main port)" postgres > "$WORK/log/pgbench.log" 2>&1 \
    || fail "pgbench"
zenith branch dev main
zenith pg create dev --name dev
zenith pg start dev
sql dev -c "CREATE TABLE t AS SELECT n, md5(n::text) AS m FROM generate_series(1, 20000) n" \
    -c "CREATE INDEX ON t (m)" -c "DELETE FROM t WHERE n % 3 = 0" -c "UPDATE pgbench_branches SET bbalance = 7"
zenith branch child dev
zenith pg create child --name child
# Images and a retained point: what gc makes is damaged as well.
sql main -c "UPDATE pgbench_tellers SET filler = 'x'"
zenith retention --pitr-interval 0s
zenith gc > "$WORK/log/gc.log"

# Everything there is, through sequential scans and an index.
questions="SELECT sum(hashtext(a::text)::bigint), count(*) FROM pgbench_accounts a;
    SELECT sum(hashtext(h::text)::bigint), count(*) FROM pgbench_history h;
    SELECT sum(hashtext(x::text)::bigint) FROM pgbench_tellers x;
    SELECT sum(hashtext(b::text)::bigint) FROM pgbench_branches b;
    SET enable_seqscan = off; SELECT count(abalance) FROM pgbench_accounts WHERE aid BETWEEN 100 AND 75000;
    SELECT sum(hashtext(c::text)::bigint) FROM (SELECT oid, relname, relkind FROM pg_class WHERE oid < 16384) c"
# ask BRANCH FILE: its answers, or 1.
ask() {
    sql "$1" -c "SET statement_timeout = '20s'; $questions" > "$2" 2> "$2.err"
}
for branch in "${branches[@]}"; do
    zenith pg start "$branch"
    ask "$branch" "$WORK/log/$branch.before" || fail "reading $branch"
done
zenith stop
copy_repository "$WORK/whole"

began=$(milliseconds)
files=0
errors=0
same=0
while read -r file; do
    size=$(stat -c %s "$WORK/whole/$file")
    [ "$size" -gt 0 ] || continue
    files=$((files + 1))
    [ $((files % 10)) != 0 ] || say "damage: $files files, $same right answers, $errors errors"
    for ((i = 0; i < flips; i++)); do
        offset=$(((RANDOM * 32768 + RANDOM) % size))
        # As it was, but for one byte. Starting computes writes: every round begins with whole files.
        as_server_user find "$REPO/timelines" "$REPO/refs" -mindepth 1 -delete
        as_server_user cp -a --sparse=always "$WORK/whole/." "$REPO/"
        flip "$REPO/$file" "$offset"
        if timeout 60 "$ZENITH" pageserver start > "$WORK/log/start.log" 2>&1; then
            read -r server < "$REPO/pageserver.pid"
            for branch in "${branches[@]}"; do
                if timeout 60 "$ZENITH" pg start "$branch" > "$WORK/log/start.log" 2>&1 \
                    && ask "$branch" "$WORK/log/$branch.now"; then
                    cmp -s "$WORK/log/$branch.before" "$WORK/log/$branch.now" \
                        || fail "offset $offset of $file flipped: branch $branch gives other data (see log/$branch.*)"
                    same=$((same + 1))
                else
                    errors=$((errors + 1))
                fi
                "$ZENITH" pg stop "$branch" --mode immediate > "$WORK/log/stop.log" 2>&1 || true
            done
            kill -0 "$server" 2> /dev/null \
                || fail "offset $offset of $file flipped: the page server is gone"
            "$ZENITH" stop > "$WORK/log/stop.log" 2>&1 || true
        else
            [ -s "$WORK/log/start.log" ] || fail "offset $offset of $file flipped: no reason why it does not start"
            errors=$((errors + ${#branches[@]}))
        fi
    done
done < <(cd "$WORK/whole" && find . -type f ! -name '*.lock' ! -name 'pageserver.*' \
    \( ! -path './computes/*' -o -name compute.json \) | sort)
say "damage passed: $((files * flips)) flipped bytes in $files files; of the answers $same were right, $errors were errors," \
    "none was wrong, in $((($(milliseconds) - began) / 1000)) s"

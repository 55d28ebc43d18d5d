#!/bin/bash
# make check-regress: the pg_regress suites of this folder against real compute nodes, then a cluster
# with data checksums, a few rounds of kill -9 under load, the abuse of the page service, fsck of a repository
# and of damage, garbage collection under load, and a full disk.
#
#   run_regress.sh [TEST...]     only these tests of the schedule
#   ZENITH_TEST_SETTINGS="shared_buffers=1MB ..."   more settings for every compute
set -euo pipefail
. "$(dirname "$0")/lib.sh"

# Every .sql stands in the schedule once, has a .out, and the other way round.
check_schedule() {
    local scheduled written expected
    scheduled=$(sed -n 's/^test: *//p' "$REGRESS_DIR/schedule" | tr -s ' ' '\n' | sort)
    written=$(cd "$REGRESS_DIR/sql" && printf '%s\n' *.sql | sed 's/\.sql$//' | sort)
    expected=$(cd "$REGRESS_DIR/expected" && printf '%s\n' *.out | sed 's/\.out$//' | sort)
    diff --label schedule --label sql/ -U0 <(echo "$scheduled") <(echo "$written") \
        || fail "the schedule and sql/ name different tests"
    diff --label expected/ --label sql/ -U0 <(echo "$expected") <(echo "$written") \
        || fail "expected/ and sql/ name different tests"
}

check_schedule
setup_workdir check-regress
find_zenith
began=$(milliseconds)

start_repository
ZENITH_TEST_DIR=$WORK/scratch
as_server_user mkdir "$ZENITH_TEST_DIR"
chmod 777 "$ZENITH_TEST_DIR"
export ZENITH_TEST_DIR
export PATH="$REGRESS_DIR/bin:$PATH"

node start main
port=$(node port main)
[ -n "$port" ] || fail "zenith pg list --json gives no port for the compute \"main\""
createdb -h 127.0.0.1 -p "$port" regression
psql -XqAt -v ON_ERROR_STOP=1 -h 127.0.0.1 -p "$port" -d regression -f "$REGRESS_DIR/prepare.sql"

tests=("--schedule=$REGRESS_DIR/schedule")
if [ $# -gt 0 ]; then
    tests=("$@")
fi
mkdir "$WORK/output"
say "repository and compute on main ready after $(($(milliseconds) - began)) ms"
# --dlpath: the pkglibdir, for tests that name a library.
"$PG_REGRESS" --use-existing --dbname=regression --inputdir="$REGRESS_DIR" \
    --outputdir="$WORK/output" --bindir="$PG_BINDIR" --host=127.0.0.1 --port="$port" \
    --user=postgres --launcher=with_own_branch "${tests[@]}" \
    || { cat "$WORK/output/regression.diffs" >&2; fail "differences in $WORK/output/regression.diffs"; }
say "pg_regress suites passed in $((($(milliseconds) - began) / 1000)) s"
zenith stop
if [ $# = 0 ]; then
    "$REGRESS_DIR/checksums.sh"
    "$REGRESS_DIR/crash_rounds.sh" "${ZENITH_CRASH_ROUNDS:-3}"
    "$REGRESS_DIR/protocol_abuse.sh"
    "$REGRESS_DIR/fsck.sh"
    "$REGRESS_DIR/gc_under_load.sh" 12
    "$REGRESS_DIR/disk_full.sh"
fi
say "check-regress passed in $((($(milliseconds) - began) / 1000)) s"

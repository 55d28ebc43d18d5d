#!/bin/bash
# make check-sqlsmith SECONDS=600: random SQL (the Debian package sqlsmith) against a compute that
# holds the regression database, cold and with 1 MB of shared buffers. Afterwards the compute must be
# the one that was started, its log must hold nothing that only a storage manager or a damaged page
# brings, and every internal or system error that it gives again must be one of a plain server, too,
# which has the same pages: it has recovered to the same point from the compute's WAL.
#
#   sqlsmith.sh [SECONDS]
#   ZENITH_SEED=NUMBER   repeats the random choices of an earlier run (timing aside)
#   ZENITH_TEST_SETTINGS, ZENITH_TEST_CHECKSUMS   as in check_postgres.sh
set -euo pipefail
. "$(dirname "$0")/lib.sh"
. "$REGRESS_DIR/suites/common.sh"
. "$REGRESS_DIR/suites/core.sh"

duration=${1:-600}
CLIENTS=2
seed=${ZENITH_SEED:-$RANDOM}

if ! command -v sqlsmith > /dev/null; then
    say "installing the Debian package sqlsmith"
    $([ "$(id -u)" = 0 ] || echo sudo) apt-get install -qq -y --no-install-recommends sqlsmith \
        > /dev/null || fail "sqlsmith could not be installed; it is only needed for this check"
fi

setup_workdir sqlsmith
began=$(milliseconds)
find_zenith
unpack_suites
as_server_user mkdir "$WORK/log/compute"
SETTINGS+=(logging_collector=on log_destination=jsonlog "log_directory=$WORK/log/compute"
    log_filename=compute log_min_messages=warning shared_buffers=1MB)
# The first client is this role, which has nothing but rows to spoil; the second is a superuser, to
# whom all functions are open.
LOGIN="CREATE ROLE smith LOGIN; GRANT pg_read_all_data, pg_write_all_data, pg_monitor TO smith"

plain_initdb "$WORK/cluster"
import_from "$WORK/cluster"
start_compute --pg-bindir "$WORK/pg_bin"
run_suite compute
psql -Xq -v ON_ERROR_STOP=1 -h "$HOST" -p "$PORT" -d regression -c "$LOGIN" \
    -c 'CREATE EXTENSION zenith' -c 'CREATE EXTENSION pageinspect'
zenith pg stop first
zenith pg start first
started() { psql -XAt -h "$HOST" -p "$PORT" -d postgres -c 'SELECT pg_postmaster_start_time()'; }
since=$(started)
json=$WORK/log/compute/compute.json
skip=$(wc -l < "$json")

# ---- random SQL -------------------------------------------------------------------------------------

# One client; sqlsmith ends when its connection does, which its own queries can bring about.
smith() {
    local number=$1 user=$2 round=0 left
    while left=$((deadline - EPOCHSECONDS)) && [ "$left" -gt 0 ]; do
        round=$((round + 1))
        timeout "$left" sqlsmith --verbose --seed=$((seed + 1000 * number + round)) \
            --target="host=$HOST port=$PORT dbname=regression user=$user" \
            >> "$WORK/log/sqlsmith.$number.log" 2>&1 || true
    done
}

say "sqlsmith for $duration s, seed $seed"
deadline=$((EPOCHSECONDS + duration))
clients=()
for ((number = 1; number <= CLIENTS; number++)); do
    user=smith
    [ "$number" = 1 ] || user=postgres
    smith "$number" "$user" &
    clients+=($!)
done
wait "${clients[@]}"
queries=$(tr '\r' '\n' < <(cat "$WORK"/log/sqlsmith.*.log) | grep -c '^queries: ' || true)
executed=$(tr '\r' '\n' < <(cat "$WORK"/log/sqlsmith.*.log) \
    | sed -n 's/^queries: \([0-9]*\).*/\1/p' | awk '$1 < last { total += last } { last = $1 }
        END { print total + last }')
[ "$queries" -gt 0 ] && [ "$executed" -gt "$duration" ] || fail "sqlsmith ran only $executed queries"
[ "$(started)" = "$since" ] || fail "the compute is another one than was started: see $json"
say "$executed queries executed"

# ---- what the log says ----------------------------------------------------------------------------------

logged=$(wc -l < "$json")
compute_port=$PORT
compute_host=$HOST
timeline=$(psql -XAt -h "$HOST" -p "$PORT" -d postgres -c 'SHOW zenith.timeline')
stopped_at=$(psql -XAt -h "$HOST" -p "$PORT" -d postgres -c 'SELECT pg_current_wal_insert_lsn()')
zenith pg stop first
cp -a "$WORK/cluster" "$WORK/plain-data"
copy_wal "$timeline" 0/0 "$WORK/plain-data"
touch "$WORK/plain-data/recovery.signal"
if [ "$(id -u)" = 0 ]; then
    chown -R postgres: "$WORK/plain-data"
fi
HOST=$WORK/sock/plain
PORT=5432
say "a plain server recovers from the compute's WAL"
# All WAL is there already. Unlogged tables are empty on both, as after a crash.
plain_start "$WORK/plain-data" "$HOST" "restore_command=false" hot_standby=off max_wal_size=10GB \
    "${SETTINGS[@]}" "log_filename=plain"
zenith pg start first
# pg_ctl does not wait for the end of a recovery without connections.
recovering_since=$EPOCHSECONDS
until pg_isready -q -h "$HOST" -p "$PORT"; do
    [ $((EPOCHSECONDS - recovering_since)) -lt 600 ] || fail "the plain server does not get ready"
    sleep 0.2
done
[ "$(psql -XAt -h "$HOST" -p "$PORT" -d postgres -c "SELECT pg_current_wal_insert_lsn() > '$stopped_at'")" = t ] \
    || fail "the plain server did not recover to $stopped_at"

# What the compute logged of sqlsmith.
createdb -h "$HOST" -p "$PORT" -T template0 log
psql -Xq -v ON_ERROR_STOP=1 -h "$HOST" -p "$PORT" -d log <<SQL
CREATE TABLE line (line jsonb);
\copy line from program 'sed -n $((skip + 1)),${logged}p $json' with (format csv, quote e'\x01', delimiter e'\x02')
CREATE TABLE message AS
    SELECT line->>'error_severity' AS severity, line->>'state_code' AS code,
           line->>'message' AS message, line->>'statement' AS statement
      FROM line;
\echo errors by SQLSTATE:
\pset footer off
SELECT severity, code, count(*), min(left(message, 60)) AS example
  FROM message WHERE severity <> 'LOG' GROUP BY 1, 2 ORDER BY 3 DESC;
SQL
bad=$(psql -XAt -h "$HOST" -p "$PORT" -d log -c "
    SELECT severity || ':  ' || message FROM message
     WHERE severity = 'PANIC' OR code IN ('XX001', 'XX002')
        OR message ~ '$(unhealthy_messages)'")
[ -z "$bad" ] || { printf '%s\n' "$bad" >&2; fail "the compute logged what a healthy server does not"; }

# try_again HOST PORT: runs what gave an internal, system or resource error once more; prints
# statement number, SQLSTATE and message.
psql -XAtq -h "$HOST" -p "$PORT" -d log -v ON_ERROR_STOP=1 -o "$WORK/suspects.sql" <<'SQL'
SELECT format(E'SELECT pg_temp.try(%s, %L);', row_number() OVER (), statement)
  FROM (SELECT DISTINCT ON (message, left(statement, 500)) statement FROM message
         WHERE code ~ '^(XX|58|53)' AND statement IS NOT NULL
         ORDER BY message, left(statement, 500), statement) s;
SQL
try_again() {
    {
        cat <<'SQL'
SET statement_timeout = '10s';
SET client_min_messages = error;
CREATE FUNCTION pg_temp.try(number int, statement text) RETURNS text LANGUAGE plpgsql AS $$
BEGIN
    EXECUTE statement;
    RETURN number || ' ok';
EXCEPTION WHEN OTHERS THEN
    RETURN number || ' ' || SQLSTATE || ' ' || translate(SQLERRM, E'\n', ' ');
END $$;
SQL
        cat "$WORK/suspects.sql"
    } | psql -XAtq -h "$1" -p "$2" -d regression 2>> "$WORK/log/again.log" || true
}
# Number and code become one word, by which they are compared: messages name files and processes.
try_again "$compute_host" "$compute_port" | grep -E ' (XX|58|53)' | sed 's/ /:/' | sort > "$WORK/compute.again" || true
try_again "$HOST" "$PORT" | sed 's/ /:/' | sort > "$WORK/plain.again"
join -v 1 "$WORK/compute.again" "$WORK/plain.again" > "$WORK/only.again"
say "$(grep -c '^SELECT pg_temp.try(' "$WORK/suspects.sql") statements with internal or system errors," \
    "$(wc -l < "$WORK/compute.again") give them again, $(wc -l < "$WORK/only.again") not on a plain server"
if [ -s "$WORK/only.again" ]; then
    while IFS=': ' read -r number code message; do
        printf '%s: %s: ' "$code" "$message" >&2
        grep -m 1 -A 200 "^SELECT pg_temp.try($number," "$WORK/suspects.sql" \
            | sed '1!{/^SELECT pg_temp.try(/,$d}' >&2
    done < "$WORK/only.again"
    fail "errors that a plain server does not give"
fi

# Nothing is left broken behind.
HOST=$compute_host
PORT=$compute_port
check_amcheck first
zenith stop
say "check-sqlsmith passed in $((($(milliseconds) - began) / 1000)) s"

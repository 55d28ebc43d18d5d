#!/bin/bash
# Abuse of the page service over TCP and the Unix socket (protocol_abuse.cpp) while a compute works:
# the page server must answer with errors or close connections, and go on serving, the same process,
# without growing. Then psql and pgbench's extended protocol as well-behaved clients.
set -euo pipefail
. "$(dirname "$0")/lib.sh"

MEMORY_LIMIT_KB=$((512 * 1024))

setup_workdir protocol-abuse
find_zenith
seed=${ZENITH_SEED:-$RANDOM}
g++ -std=c++20 -O1 -Wall -Wextra -o "$WORK/protocol_abuse" "$REGRESS_DIR/protocol_abuse.cpp"
start_repository
zenith pg create main --name main --port "$("$REGRESS_DIR/bin/free_port")"
zenith pg start main
port=$(compute_field main port)
socket_directory=$(psql -XAt -h 127.0.0.1 -p "$port" -d postgres -c 'SHOW unix_socket_directories')
socket=$(printf '%s\n' "$socket_directory"/.s.PGSQL.* | while read -r path; do
    case $path in
        *.lock | *".$port") ;;
        *) printf '%s\n' "$path" ;;
    esac
done)
[ -S "$socket" ] || fail "the page server's socket was not found in $socket_directory"
read -r pid < "$REPO/pageserver.pid"
ask() { psql -XAt -h "$socket_directory" -p "${socket##*.}" -d postgres -c "$1"; }
tcp_port=$("$ZENITH" pageserver status | grep -oE 'port[ :]+[0-9]+' | grep -oE '[0-9]+' | head -1)
[ -n "$tcp_port" ] || fail "zenith pageserver status names no port"
timeline=$(ask branch_list | sed -n 's/^main|\([0-9a-f]\{32\}\).*/\1/p')
[ -n "$timeline" ] || fail "branch_list does not list main"

pgbench -i -q -s 1 -h 127.0.0.1 -p "$port" postgres > "$WORK/log/pgbench-init.log" 2>&1
pgbench -n -c 2 -T 600 -h 127.0.0.1 -p "$port" postgres > "$WORK/log/pgbench.log" 2>&1 &
load=$!

"$WORK/protocol_abuse" 127.0.0.1 "$tcp_port" "$socket" "$timeline" "$seed" \
    > "$WORK/log/abuse.log" 2>&1 || { cat "$WORK/log/abuse.log" >&2; fail "seed $seed"; }

kill -0 "$load" 2>/dev/null || fail "pgbench on a compute ended: $WORK/log/pgbench.log"
kill "$load"
wait "$load" 2>/dev/null || true
if [ "$(cat "$REPO/pageserver.pid")" != "$pid" ] || ! [ -e "/proc/$pid" ]; then
    fail "the page server died"
fi
memory=$(sed -n 's/^VmHWM:[[:space:]]*\([0-9]*\) kB/\1/p' "/proc/$pid/status")
[ "$memory" -lt "$MEMORY_LIMIT_KB" ] || fail "the page server grew to $memory kB"

# Well-behaved clients, both protocols, both sockets.
for host in 127.0.0.1 "$socket_directory"; do
    service_port=$tcp_port
    if [ "$host" = "$socket_directory" ]; then
        service_port=${socket##*.}
    fi
    psql -XAt -h "$host" -p "$service_port" -d postgres -c status > "$WORK/log/status.log"
    [ -s "$WORK/log/status.log" ] || fail "status by psql gave no rows"
    for protocol in simple extended prepared; do
        pgbench -n -M "$protocol" -t 20 -c 2 -h "$host" -p "$service_port" -f <(echo 'status;') postgres \
            > "$WORK/log/extended.log" 2>&1 || true
        grep -q 'transactions actually processed: 40/40' "$WORK/log/extended.log" \
            || { cat "$WORK/log/extended.log" >&2; fail "status by the $protocol protocol"; }
    done
done
[ "$(psql -XAt -h 127.0.0.1 -p "$port" -d postgres \
    -c 'SELECT sum(abalance) = (SELECT sum(delta) FROM pgbench_history) FROM pgbench_accounts')" = t ] \
    || fail "pgbench's balances do not add up"
zenith stop
say "protocol abuse passed: $(tail -1 "$WORK/log/abuse.log"), page server's memory at most $((memory / 1024)) MB"

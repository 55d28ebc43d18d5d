#!/bin/bash
# A full disk below the timelines: commits wait, status says why, connections stay; when there is room
# again the commits finish and nothing is missing.
#
# Needs root and a mount of its own (tmpfs); without them it says so and passes.
set -euo pipefail
. "$(dirname "$0")/lib.sh"

if [ "$(id -u)" != 0 ]; then
    say "skipped: only root can mount a small file system"
    exit 0
fi
setup_workdir disk-full
find_zenith
mounted=''
unmount() {
    if [ -n "$mounted" ]; then
        umount -l "$mounted" || true
        mounted=''
    fi
}
# cleanup() goes by $?; in an else branch that is the condition's.
trap 'code=$?; unmount; if (exit "$code"); then cleanup; else cleanup; fi' EXIT

start_repository
zenith stop
mv "$REPO/timelines" "$REPO/timelines.moved"
as_server_user mkdir "$REPO/timelines"
if ! mount -t tmpfs -o "size=160m,mode=700,uid=$(id -u postgres),gid=$(id -g postgres)" tmpfs \
    "$REPO/timelines" 2> "$WORK/log/mount.log"; then
    say "skipped: $(cat "$WORK/log/mount.log")"
    exit 0
fi
mounted=$REPO/timelines
cp -a "$REPO/timelines.moved/." "$REPO/timelines/"
rm -rf "$REPO/timelines.moved"
zenith start
zenith pg create main --name main
zenith pg start main
port=$(compute_field main port)
sql() { psql -XAtq -v ON_ERROR_STOP=1 -h 127.0.0.1 -p "$port" -d postgres "$@"; }

# One connection stays for the whole time.
coproc SESSION { psql -XAtq -v ON_ERROR_STOP=1 -h 127.0.0.1 -p "$port" -d postgres 2>&1; }
tell() { printf '%s\n' "$1" >&"${SESSION[1]}"; }
answer() { IFS= read -r -t "$1" reply <&"${SESSION[0]}"; }
tell "CREATE TABLE rows_told (n int); SELECT 'ready', pg_backend_pid();"
answer 60 || fail "no session"
backend=${reply#ready|}

fallocate -l "$(df --output=avail -B1 "$mounted" | tail -1)" "$mounted/filler"
# More than what is left of the segment that is there already.
tell "INSERT INTO rows_told SELECT i FROM generate_series(1, 300000) i; SELECT 'inserted';"
wait_for_status "the full disk" '"problems": \[ *{[^]]*No space left on device'
# Commits wait: the answer must not come.
if answer 2; then
    fail "a commit was acknowledged on a full disk: $reply"
fi
"$ZENITH" status > "$WORK/log/status-full.log"
grep -q "PROBLEM WITH" "$WORK/log/status-full.log" || fail "zenith status says nothing of it"
# Who only reads is served.
[ "$(sql -c 'SELECT 1')" = 1 ] || fail "reading does not work on a full disk"

rm "$mounted/filler"
answer 60 || fail "the commit did not finish after there was room"
[ "$reply" = inserted ] || fail "unexpected answer: $reply"
tell "SELECT pg_backend_pid() = $backend, count(*), sum(n) FROM rows_told;"
answer 60 || fail "the session is gone"
[ "$reply" = "t|300000|45000150000" ] || fail "after healing: $reply"
# A layer file that could not be written is tried again every few seconds.
wait_for_status "that it healed" '"problems": \[ *{[^]]*"healed_at": "20'
# Nothing is lost: a new compute has it as well.
tell '\q'
zenith pg stop main --mode immediate
zenith pageserver stop
zenith pageserver start
zenith pg start main
port=$(compute_field main port)
[ "$(sql -c 'SELECT count(*), sum(n) FROM rows_told')" = "300000|45000150000" ] \
    || fail "rows are missing after a restart"
zenith stop
say "a full disk: commits waited, then finished; the connection stayed"

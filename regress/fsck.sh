#!/bin/bash
# zenith fsck on a repository that real computes made: nothing to say while they run, nor afterwards;
# then one byte is flipped in each file of it in turn, and each one must be found.
set -euo pipefail
. "$(dirname "$0")/lib.sh"

flips=${ZENITH_FLIPS:-3}  # in each file
seed=${ZENITH_SEED:-$RANDOM}
RANDOM=$seed

setup_workdir fsck
find_zenith
say "fsck: $flips flipped bytes in each file, ZENITH_SEED=$seed"
start_repository
ZENITH_TEST_DIR=$WORK/scratch
as_server_user mkdir "$ZENITH_TEST_DIR"
export ZENITH_TEST_DIR
node() { "$REGRESS_DIR/bin/node" "$@"; }
sql() {
    psql -XAtq -v ON_ERROR_STOP=1 -h 127.0.0.1 -p "$(compute_field "$1" port)" -d postgres "${@:2}"
}
load() {
    pgbench -n -c 2 -t "$2" -h 127.0.0.1 -p "$(compute_field "$1" port)" postgres \
        > "$WORK/log/pgbench-$1.log" 2>&1 || { cat "$WORK/log/pgbench-$1.log" >&2; fail "pgbench on $1"; }
}
# clean WHAT [OPTION...]: fsck must find nothing, warnings included.
clean() {
    local what=$1
    shift
    "$ZENITH" fsck "$@" > "$WORK/log/fsck.log" 2>&1 \
        || { cat "$WORK/log/fsck.log" >&2; fail "fsck finds something wrong $what"; }
    if grep -q '^fsck: warning' "$WORK/log/fsck.log"; then
        cat "$WORK/log/fsck.log" >&2
        fail "fsck warns $what"
    fi
}

node start main
pgbench -i -q -s 3 -h 127.0.0.1 -p "$(compute_field main port)" postgres > "$WORK/log/pgbench-init.log" 2>&1 \
    || { cat "$WORK/log/pgbench-init.log" >&2; fail "pgbench -i"; }
load main 500
node tag v1 main
node branch dev main
node start dev
load dev 300
node branch dev_child dev
sql dev -c "CREATE DATABASE other" -c "CREATE TABLE t AS SELECT generate_series(1, 20000) AS n" \
    -c "CREATE INDEX ON t (n)" -c "VACUUM t" -c "DELETE FROM t WHERE n % 2 = 0" -c "TRUNCATE pgbench_history"
load main 600 &
running=$!
clean "while computes work" --deep
wait "$running" || fail "the load on main"
clean "while the page server runs" --deep
"$ZENITH" layer list main > "$WORK/log/layers.log" || fail "layer list"
grep -q 'readable from' "$WORK/log/layers.log" || fail "layer list says nothing of main"
node stop dev
node stop main
zenith stop
clean "when everything is stopped" --deep
# There was WAL enough for layer files.
"$ZENITH" layer list --json > "$WORK/log/layers.json"
layer=$(grep -o '"file": "[^"]*\.delta"' "$WORK/log/layers.json" | head -1 | cut -d'"' -f4)
[ -n "$layer" ] || fail "there is no layer file"
path=$(find "$REPO/timelines" -name "$layer" | head -1)
"$ZENITH" layer dump "$path" > "$WORK/log/dump.log" || fail "layer dump"
grep -q '^page block' "$WORK/log/dump.log" || fail "layer dump shows no page"
"$ZENITH" layer dump "$path" --json > "$WORK/log/dump.json"
[ "$(grep -c '"kind"' "$WORK/log/dump.json")" = "$(wc -l < "$WORK/log/dump.log")" ] \
    || fail "layer dump and layer dump --json have different entries"

# On a copy: the page server's own files, locks, and what computes have beside compute.json are
# nobody's data.
copy=$WORK/copy
copy_repository "$copy" --exclude=./pageserver.* --exclude=./computes/*/postgres.log*
as_server_user mkdir -p "$copy/redo"
clean "in the copy" --repo-dir "$copy"

began=$(milliseconds)
files=0
found=0
while read -r file; do
    size=$(stat -c %s "$file")
    files=$((files + 1))
    for ((i = 0; i < flips; i++)); do
        # The first byte, the last one, and any.
        case $i in
            0) offset=0 ;;
            1) offset=$((size - 1)) ;;
            *) offset=$(((RANDOM * 32768 + RANDOM) % size)) ;;
        esac
        flip "$file" "$offset"
        if "$ZENITH" fsck --repo-dir "$copy" > "$WORK/log/flip.log" 2>&1; then
            fail "a flipped byte at offset $offset of $file is not found"
        fi
        grep -F "fsck: error: " "$WORK/log/flip.log" | grep -qF "$file" \
            || { cat "$WORK/log/flip.log" >&2; fail "offset $offset of $file: the errors are about other files"; }
        flip "$file" "$offset"
        found=$((found + 1))
    done
done < <(find "$copy" -type f ! -name '*.lock' \( ! -path "$copy/computes/*" -o -name compute.json \) | sort)
clean "in the copy again" --repo-dir "$copy" --deep
say "fsck passed: $found flipped bytes in $files files, all found, in $((($(milliseconds) - began) / 1000)) s"

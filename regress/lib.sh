# shellcheck shell=bash
# Shared by the scripts of this folder; source it, then call setup_workdir.
#
# Everything a script makes lies in one directory below /tmp ($WORK), owned by the user that runs
# PostgreSQL: the `postgres` user when the script runs as root (PostgreSQL refuses root), else the
# caller. On the way out the trap stops what runs in $WORK and removes it; after a failure it keeps
# it and says where the logs are. ZENITH_KEEP=1 keeps it always. With ZENITH_TEST_CHECKSUMS=1 all
# clusters, plain ones too, have data checksums.

REGRESS_DIR=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
SOURCE_DIR=$(dirname "$REGRESS_DIR")
PG_MAJOR=15
PG_CONFIG=${PG_CONFIG:-/usr/lib/postgresql/$PG_MAJOR/bin/pg_config}
PG_BINDIR=$("$PG_CONFIG" --bindir)
PG_REGRESS=${PG_REGRESS:-$(dirname "$("$PG_CONFIG" --pgxs)")/../test/regress/pg_regress}

say() { printf '%s\n' "$*"; }
fail() { printf '%s: FAILED: %s\n' "$(basename "$0")" "$*" >&2; exit 1; }

# Runs a command as the user of the servers, with the environment kept.
as_server_user() {
    if [ "$(id -u)" = 0 ]; then
        HOME=$WORK setpriv --reuid=postgres --regid=postgres --init-groups -- "$@"
    else
        "$@"
    fi
}

# The programs that were built here, or the installed ones when the server user cannot reach the
# source tree (a clone below /root).
find_zenith() {
    local candidate
    for candidate in "${ZENITH:-$SOURCE_DIR/build/bin/zenith}" /usr/local/bin/zenith; do
        if as_server_user test -x "$candidate"; then
            ZENITH=$candidate
            export ZENITH
            PATH="$(dirname "$ZENITH"):$PATH"
            return
        fi
    done
    fail "the zenith program was not found; build it with: make && make install"
}

milliseconds() { printf '%s\n' $((${EPOCHREALTIME/[.,]/} / 1000)); }

# setup_workdir NAME: makes $WORK and installs the trap.
setup_workdir() {
    local name=$1
    # The servers' locale is the session's: the same for all, whatever the machine has.
    export LC_ALL=C.UTF-8 LANG=C.UTF-8
    unset PGHOST PGHOSTADDR PGPORT PGUSER PGDATABASE PGPASSWORD PGSERVICE PGOPTIONS PGAPPNAME
    unset ZENITH_REPO_DIR
    export PGUSER=postgres PGCONNECT_TIMEOUT=20
    export PATH="$PG_BINDIR:$PATH"
    WORK=$(mktemp -d "/tmp/zenith-$name-XXXXXX")
    STARTED_DATA_DIRS=()
    trap 'exit 130' INT
    trap 'exit 143' TERM
    trap cleanup EXIT
    mkdir "$WORK/log" "$WORK/sock"
    if [ "$(id -u)" = 0 ]; then
        chown -R postgres: "$WORK"
    fi
    chmod 755 "$WORK"
    cd "$WORK" || exit 1
}

# Stops what a PostgreSQL pid file names, if that process still runs in that data directory.
stop_data_directory() {
    local data=$1 pid=''
    { read -r pid < "$data/postmaster.pid"; } 2>/dev/null || return 0
    if [ "$(readlink "/proc/$pid/cwd" 2>/dev/null)" = "$data" ]; then
        as_server_user "$PG_BINDIR/pg_ctl" stop -D "$data" -m immediate -s -t 30 || true
    fi
}

cleanup() {
    local status=$? data pid
    set +e
    trap - EXIT INT TERM
    cd /
    if [ -n "${REPO:-}" ] && [ -e "$REPO/config.json" ]; then
        "$ZENITH" stop --repo-dir "$REPO" > "$WORK/log/stop.log" 2>&1
        # Only after a failure is there something left to stop; supervisors first.
        for data in "$REPO"/computes/*/supervisor.pid; do
            if { read -r pid < "$data"; } 2>/dev/null \
                && [[ $({ tr '\0' ' ' < "/proc/$pid/cmdline"; } 2> /dev/null) == "zenith --repo-dir $REPO "* ]]; then
                kill -9 "$pid"
            fi
        done
        if { read -r pid < "$REPO/pageserver.pid"; } 2>/dev/null \
            && [[ $(readlink "/proc/$pid/exe" 2>/dev/null) == */pageserver* ]]; then
            kill -9 "$pid"
        fi
        for data in "$REPO"/computes/*/pgdata; do
            stop_data_directory "$data"
        done
    fi
    for data in "${STARTED_DATA_DIRS[@]}"; do
        stop_data_directory "$data"
    done
    if [ "$status" = 0 ] && [ -z "${ZENITH_KEEP:-}" ]; then
        rm -rf "$WORK"
        exit 0
    fi
    if [ "$status" != 0 ]; then
        printf '\n%s failed; everything is kept, remove it with: rm -rf %s\n' \
            "$(basename "$0")" "$WORK" >&2
    fi
    printf 'kept: %s\n' "$WORK" >&2
    find "$WORK" -maxdepth 4 \( -name '*.log' -o -name 'regression.diffs' \) -size +0 -printf '  %p\n' \
        | sort >&2
    if [ -d "${REPO:-}/computes" ]; then
        printf '  %s\n' "$REPO/computes/NAME/postgres.log" >&2
    fi
    exit "$status"
}

# ---- plain servers ------------------------------------------------------------------------------

# The superuser is `postgres` and local connections are trusted, as `zenith init` has it.
plain_initdb() {
    as_server_user "$PG_BINDIR/initdb" -D "$1" -U postgres --auth=trust --no-sync \
        ${ZENITH_TEST_CHECKSUMS:+--data-checksums} \
        > "$WORK/log/initdb.log" 2>&1 || { cat "$WORK/log/initdb.log" >&2; fail "initdb"; }
}

# plain_start DATA SOCKET_DIRECTORY [name=value...]: no TCP, so no port can collide.
plain_start() {
    local data=$1 socket=$2 setting options=()
    shift 2
    for setting in "$@"; do
        options+=(-c "$setting")
    done
    STARTED_DATA_DIRS+=("$data")
    as_server_user mkdir -p "$socket"
    as_server_user "$PG_BINDIR/pg_ctl" start -D "$data" -s -w -t 60 -l "$WORK/log/plain.log" \
        -o "-c listen_addresses='' -c unix_socket_directories='$socket' -c fsync=off ${options[*]}" \
        || { cat "$WORK/log/plain.log" >&2; fail "the plain server did not start"; }
}

# ---- repository and computes ----------------------------------------------------------------------

# Creates a repository in $REPO and starts its page server. Arguments are those of `zenith init`.
start_repository() {
    REPO=$WORK/repo/.zenith
    as_server_user mkdir -p "$WORK/repo"
    export ZENITH_REPO_DIR=$REPO
    zenith init ${ZENITH_TEST_CHECKSUMS:+--data-checksums} "$@"
    zenith start
}

# import_from DIRECTORY: `zenith init --pg-bindir "$WORK/pg_bin"` takes a copy of the cluster in
# DIRECTORY. It removes what it imports, and with the original at hand a plain server can follow.
import_from() {
    local program
    mkdir "$WORK/pg_bin"
    for program in "$PG_BINDIR"/*; do
        ln -s "$program" "$WORK/pg_bin/"
    done
    rm "$WORK/pg_bin/initdb"
    printf '#!/bin/sh\nexec cp -a "%s/." "$2"\n' "$1" > "$WORK/pg_bin/initdb"
    chmod 755 "$WORK/pg_bin/initdb"
}

# copy_wal TIMELINE BEGIN DATA: copies the WAL of a timeline that began at LSN BEGIN into the data
# directory of a plain server. What a branch's first segment lacks is in its parent's: copy that first.
copy_wal() {
    local file target begin low=$((16#${2#*/}))
    for file in "$REPO/timelines/$1/wal"/*; do
        if ! [[ $(basename "$file") =~ ^[0-9A-F]{24}$ ]]; then
            continue
        fi
        target=$3/pg_wal/$(basename "$file")
        begin=0
        if [ "$low" != 0 ] && [ "$(basename "$file")" = "$(segment_of "$2")" ]; then
            begin=$((low % (16 << 20)))
        fi
        if [ "$begin" = 0 ]; then
            cp --reflink=auto "$file" "$target"
        else
            dd if="$file" of="$target" bs=64k iflag=skip_bytes oflag=seek_bytes skip="$begin" \
                seek="$begin" conv=notrunc status=none
        fi
        truncate -s 16M "$target"
    done
}
segment_of() { printf '%08X%08X%08X' 1 $((16#${1%/*})) $((16#${1#*/} >> 24)); }

# wait_for_status WHAT PATTERN: until `zenith status --json`, as one line, matches.
wait_for_status() {
    local i
    for ((i = 0; ; i++)); do
        if "$ZENITH" status --json | tr -d '\n' | grep -q "$2"; then
            return
        fi
        [ "$i" -lt 300 ] || fail "zenith status does not report $1: $("$ZENITH" status --json)"
        sleep 0.1
    done
}

# The CLI; what it prints is kept in a log and shown when it fails.
zenith() {
    if ! "$ZENITH" "$@" > "$WORK/log/zenith.out" 2>&1; then
        printf 'zenith %s:\n' "$*" >&2
        cat "$WORK/log/zenith.out" >&2
        return 1
    fi
    { printf '$ zenith %s\n' "$*"; cat "$WORK/log/zenith.out"; } >> "$WORK/log/zenith.log"
}

# compute_field NAME FIELD: of `zenith pg list --json`.
compute_field() {
    "$ZENITH" pg list --json | tr -d '\n' | sed 's/}/}\n/g' | grep "\"name\": *\"$1\"" \
        | sed -n "s/.*\"$2\": *\"\{0,1\}\([^\",}]*\).*/\1/p"
}

# Page servers that zenith starts from now on get the options in $1: beside a copy of zenith stands a
# program that adds them. Call it after find_zenith.
with_page_server_options() {
    local real
    real=$(dirname "$ZENITH")/pageserver
    mkdir -p "$WORK/bin"
    cp "$ZENITH" "$WORK/bin/zenith"
    printf '#!/bin/sh\nexec "%s" %s "$@"\n' "$real" "$1" > "$WORK/bin/pageserver"
    chmod 755 "$WORK/bin" "$WORK/bin/zenith" "$WORK/bin/pageserver"
    ZENITH=$WORK/bin/zenith
    PATH="$WORK/bin:$PATH"
}

# For page servers with --check-redo-percent: the one that runs now has rebuilt pages a second way, and
# neither it nor those before it, in the same log, found a page that differs.
check_redo_checks() {
    local status checks
    status=$(psql -XAt -h 127.0.0.1 -p "$(cat "$REPO/pageserver.port")" -d postgres -c status) \
        || fail "the page server does not answer"
    if grep 'redo check: .* the reader.s page has LSN' "$REPO/pageserver.log" >&2; then
        fail "pages differ from what their WAL gives"
    fi
    grep -qx 'redo_differences|0' <<< "$status" || fail "redo differences: $status"
    checks=$(sed -n 's/^redo_checks|//p' <<< "$status")
    [ "${checks:-0}" -gt 0 ] || fail "no page was rebuilt a second way: $status"
    say "redo check: $checks pages rebuilt a second way, $(sed -n 's/^redo_checks_from_wal|//p' <<< "$status")" \
        "from WAL alone, $(sed -n 's/^redo_checks_impossible|//p' <<< "$status") impossible"
}

# The steps of bin/node, for the repository of start_repository.
use_node() {
    ZENITH_TEST_DIR=$WORK/scratch
    as_server_user mkdir "$ZENITH_TEST_DIR"
    export ZENITH_TEST_DIR
}
node() { "$REGRESS_DIR/bin/node" "$@"; }

# sql COMPUTE PSQL-ARGUMENTS...: in database postgres; fails with the first error.
sql() {
    local compute=$1
    shift
    psql -XAtq -v ON_ERROR_STOP=1 -h 127.0.0.1 -p "$(compute_field "$compute" port)" -d postgres "$@"
}

# In the background: collects garbage all the time, as far as there is a page server, until there is
# a file $WORK/stop-gc.
collect_garbage() {
    while [ ! -e "$WORK/stop-gc" ] && kill -0 $$ 2>/dev/null; do
        "$ZENITH" gc >> "$WORK/log/gc.log" 2>&1 || true
        sleep 0.3
    done
}

# check_leftovers WHEN [FIND-TESTS...]: what a crash leaves is gone once the page server has started, or,
# in layers/, has loaded the timeline: there what is being written looks the same.
check_leftovers() {
    local left deadline=$((SECONDS + 10))
    # A page server that works may be writing one; that one goes.
    while left=$(find "$REPO/refs" "$REPO/timelines" \( -name '*.tmp' -o -name '*.removed' \) "${@:2}" 2> /dev/null || true) \
        && [ -n "$left" ]; do
        [ "$SECONDS" -lt "$deadline" ] || fail "$1: left over: $left"
        sleep 0.05
    done
}

# copy_repository DIRECTORY [TAR-OPTIONS...]: without what computes and redo processes can do without.
copy_repository() {
    as_server_user mkdir "$1"
    as_server_user tar -C "$REPO" -c --exclude=./computes/*/pgdata --exclude=./run --exclude=./redo "${@:2}" . \
        | as_server_user tar -C "$1" -x
}

# flip FILE OFFSET: all bits of the byte but those that PostgreSQL may set or not (XLP_BKP_REMOVABLE).
flip() {
    local byte
    byte=$(od -An -tu1 -j "$2" -N 1 "$1")
    # shellcheck disable=SC2059
    printf "$(printf '\\%03o' $((byte ^ 0xFB)))" | dd of="$1" bs=1 seek="$2" conv=notrunc status=none
}

# `zenith fsck --deep` must find nothing wrong.
check_repository() {
    "$ZENITH" fsck --deep > "$WORK/log/fsck.log" 2>&1 \
        || { cat "$WORK/log/fsck.log" >&2; fail "zenith fsck --deep"; }
}

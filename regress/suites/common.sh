# shellcheck shell=bash
# What check_postgres.sh does with a suite. A suite is a file beside this one that sets
#
#   SETTINGS=(name=value ...)   of both servers: what its results depend on
#   run_tests LABEL             runs it on $HOST:$PORT, leaves $WORK/LABEL/**/results/*.out
#   AT_LEAST=NUMBER             of results, else it did not run to its end
#
# and may replace suite_before and suite_after, which are called before and after the compute's run,
# or all of it, suite_main.

SETTINGS=()
AT_LEAST=1
suite_before() { :; }
suite_after() { :; }
suite_main() {
    run_plain plain
    if [ -n "${CHECK_PLAIN_TWICE:-}" ]; then
        run_plain plain2
        compare_results plain plain2
        return
    fi
    start_compute
    suite_before
    run_suite compute
    compare_results plain compute
    check_compute first
    suite_after
    check_amcheck first  # last: it adds an extension to every database
    zenith stop
}

# The suites' source in $SOURCE and the libraries of their C functions in $WORK/lib.
unpack_suites() {
    suites=$("$REGRESS_DIR/get_postgres_source.sh")
    SOURCE=$WORK/source
    as_server_user mkdir "$SOURCE" "$WORK/lib"
    tar -xf "$suites" -C "$SOURCE" --no-same-owner
    gcc -O2 -w -fPIC -shared -I"$("$PG_CONFIG" --includedir-server)" -o "$WORK/lib/regress.so" \
        "$SOURCE/src/test/regress/regress.c"
    local library
    for library in autoinc refint; do
        ln -s "$("$PG_CONFIG" --pkglibdir)/$library.so" "$WORK/lib/$library.so"
    done
    if [ "$(id -u)" = 0 ]; then
        chown -R postgres: "$SOURCE" "$WORK/lib"
    fi
}

# pg_regress_in LABEL NAME INPUTDIR [ARGUMENT...]: one pg_regress (or $PROGRAM) run whose output is
# in $WORK/LABEL/NAME. Whether its results are those of the source's expected files is only counted.
pg_regress_in() {
    local label=$1 name=$2 inputdir=$3
    shift 3
    # Where pg_regress and the tests' COPY commands look for each other's files.
    as_server_user mkdir -p "$WORK/$label/$name/results"
    # Modules name their data files from their own directory.
    (cd "$inputdir" && as_server_user "${PROGRAM:-$PG_REGRESS}" --inputdir="$inputdir" \
        --outputdir="$WORK/$label/$name" --bindir="$PG_BINDIR" --dlpath="$WORK/lib" \
        --host="$HOST" --port="$PORT" --user=postgres "$@") >> "$WORK/log/$label.tests.log" 2>&1 || true
}

# makefile_variable FILE NAME: the value of a variable of a module's makefile.
makefile_variable() {
    {
        printf 'with_zlib = yes\n'
        sed -e ':a' -e '/\\$/{N;s/\\\n/ /;ba' -e '}' "$1" | grep -E '^[A-Z_]+ *='
        printf 'print: ; @echo $(%s)\n' "$2"
    } | make -s -f - print
}

run_suite() {
    local label=$1 start failed total
    as_server_user mkdir "$WORK/$label"
    printf '%s\n%s\n' "$HOST" "$PORT" > "$WORK/$label.address"
    : > "$WORK/log/$label.tests.log"
    start=$(milliseconds)
    run_tests "$label"
    total=$(find "$WORK/$label" -path '*/results/*.out' | wc -l)
    failed=$(grep -c '\.\.\. FAILED' "$WORK/log/$label.tests.log" || true)
    say "$label: $total tests in $((($(milliseconds) - start) / 1000)) s" \
        "($failed differ from the expected files of the suite's source)"
    if [ "$total" -lt "$AT_LEAST" ]; then
        tail -50 "$WORK/log/$label.tests.log" >&2
        fail "$label: the suite did not run to its end"
    fi
}

# Same encoding and locale, or the comparison means nothing.
server_identity() {
    psql -XAt -h "$HOST" -p "$PORT" -d postgres -c "
        SELECT version(), current_setting('server_encoding'), current_setting('data_checksums'),
               (SELECT row(datcollate, datctype, datlocprovider, datcollversion)
                  FROM pg_database WHERE datname = 'template0')"
}

start_plain() {
    HOST=$WORK/sock/$1
    PORT=5432
    plain_initdb "$WORK/$1-data"
    # PGHOST is for dblink and postgres_fdw, with which servers call themselves.
    PGHOST=$HOST plain_start "$WORK/$1-data" "$HOST" "${SETTINGS[@]}"
    server_identity > "$WORK/$1.identity"
}

run_plain() {
    start_plain "$1"
    run_suite "$1"
    as_server_user "$PG_BINDIR/pg_ctl" stop -D "$WORK/$1-data" -m fast -s -w
}

# A results file without what is another place on each server.
comparable() {
    local label=$1 file=$2 host port
    { read -r host && read -r port; } < "$WORK/$label.address"
    [ ! -e "$WORK/$label/$file" ] || sed -e "s,$WORK/$label,OUTPUTDIR,g" \
        -e "s,$host/\.s\.PGSQL\.$port,SOCKET,g" -e "s,$host,SOCKETDIR,g" \
        -e "s,port '$port',port 'PORT',g" "$WORK/$label/$file"
}

# compare_results A B: every results file, whole; prints each difference, fails on any.
compare_results() {
    local a=$1 b=$2 differing=0 total=0 name
    while read -r name; do
        total=$((total + 1))
        comparable "$a" "$name" > "$WORK/a.out"
        comparable "$b" "$name" > "$WORK/b.out"
        if ! cmp -s "$WORK/a.out" "$WORK/b.out"; then
            differing=$((differing + 1))
            { diff -u --label "$a/$name" --label "$b/$name" "$WORK/a.out" "$WORK/b.out" || true; } \
                | tee -a "$WORK/log/differences.log"
        fi
    done < <(cd "$WORK" && find "$a" "$b" -path '*/results/*.out' | sed 's,^[^/]*/,,' | sort -u)
    say "$total results compared, $differing differ"
    [ "$differing" = 0 ] || fail "$differing of $total results differ between $a and $b"
}

# ---- the compute -------------------------------------------------------------------------------------

address_of() {
    PORT=$(compute_field "$1" port)
    HOST=$(psql -XAt -h 127.0.0.1 -p "$PORT" -d postgres -c 'SHOW unix_socket_directories')
}

# Arguments are those of `zenith init`.
start_compute() {
    local settings=() setting
    start_repository "$@"
    for setting in "${SETTINGS[@]}" ${ZENITH_TEST_SETTINGS:-}; do
        settings+=(--set "$setting")
    done
    zenith pg create main --name first --port "$("$REGRESS_DIR/bin/free_port")" "${settings[@]}"
    PGHOST=$REPO/run zenith pg start first
    address_of first
    server_identity > "$WORK/compute.identity"
    if [ -e "$WORK/plain.identity" ]; then
        same_identity plain compute
    fi
}

same_identity() {
    cmp "$WORK/$1.identity" "$WORK/$2.identity" \
        || fail "the servers differ: see $WORK/*.identity"
}

dump() {
    # Newer pg_dump versions write a random key into the script unless they are given one.
    local options=(--no-unlogged-table-data)
    if [[ $(pg_dumpall --help) = *restrict-key* ]]; then
        options+=(--restrict-key=zenith)
    fi
    pg_dumpall "${options[@]}" -h "$HOST" -p "$(compute_field "$1" port)" \
        > "$WORK/$2.sql" 2> "$WORK/log/$2.dump.log" \
        || { cat "$WORK/log/$2.dump.log" >&2; fail "pg_dumpall of $2"; }
}

same_dump() {
    if ! cmp -s "$WORK/$1.sql" "$WORK/$2.sql"; then
        diff -u "$WORK/$1.sql" "$WORK/$2.sql" | head -100
        fail "pg_dumpall of $1 and $2 differ"
    fi
}

# on_all_databases PORT SQL
on_all_databases() {
    local database
    for database in $(psql -XAt -h "$HOST" -p "$1" -d postgres \
        -c "SELECT datname FROM pg_database WHERE datallowconn"); do
        psql -XAtq -v ON_ERROR_STOP=1 -h "$HOST" -p "$1" -d "$database" -c "$2" > /dev/null
    done
}

check_amcheck() {
    local start checked
    start=$(milliseconds)
    pg_amcheck --all --install-missing --heapallindexed --parent-check --jobs=2 \
        --progress -h "$HOST" -p "$(compute_field "$1" port)" \
        > "$WORK/log/amcheck.$1.log" 2>&1 \
        || { cat "$WORK/log/amcheck.$1.log" >&2; fail "pg_amcheck on $1"; }
    check_compute_log "$1"
    checked=$(tr '\r' '\n' < "$WORK/log/amcheck.$1.log" \
        | sed -n 's,^ *\([0-9]*\)/\([0-9]*\) relations (100%).*,\2,p' | tail -1)
    [ "${checked:-0}" -gt 300 ] || fail "pg_amcheck on $1 checked only ${checked:-0} relations"
    say "pg_amcheck on $1: $checked relations clean, $((($(milliseconds) - start) / 1000)) s"
}

# What never is in the log of a healthy server, whatever is done to it, as a regular expression:
# crashes, what md.c and the buffer manager say of files and pages, what the extension says of the
# page server.
unhealthy_messages() {
    local messages=('PANIC: ' 'terminated by signal' 'invalid page in block'
        'page verification failed' 'could not (read|write|extend|truncate|seek|fsync) (file|block|to end)'
        'could not (open|stat) file "(base/|global/|pg_tblspc/[0-9]+/PG_)' 'unexpected data beyond EOF'
        'unexpected zero page' 'page server')
    (IFS='|'; printf '%s' "${messages[*]}")
}

# Statements are logged with the errors of the suites, so only what a message itself says counts.
check_compute_log() {
    local log=$REPO/computes/$1/postgres.log failures
    if grep -E '(WARNING|ERROR|FATAL|PANIC|LOG): ' "$log" | grep -E "$(unhealthy_messages)" \
        | grep -v 'LOG:  the page server fetches WAL of timeline' > "$WORK/log/messages.log"; then
        cat "$WORK/log/messages.log" >&2
        fail "compute $1 logged what a healthy server does not: see $log"
    fi
    failures=$(psql -XAt -h "$HOST" -p "$(compute_field "$1" port)" -d postgres \
        -c 'SELECT COALESCE(sum(checksum_failures), 0) FROM pg_stat_database')
    [ "$failures" = 0 ] || fail "$failures checksum failures on compute $1"
}

# check_compute NAME: nothing odd in its log; a new compute on the timeline has the same data.
check_compute() {
    check_compute_log "$1"
    # Two things are, by design, as after a crash of a plain server. Unlogged tables are empty on a
    # new compute: their data is left out. PostgreSQL logs a sequence up to 32 numbers ahead and a
    # new compute starts there: so every sequence is set to the value it has, which logs exactly that.
    on_all_databases "$(compute_field "$1" port)" "
        SELECT count(setval(seqrelid, pg_sequence_last_value(seqrelid)))
          FROM pg_sequence JOIN pg_class c ON c.oid = seqrelid
         WHERE relpersistence = 'p' AND pg_sequence_last_value(seqrelid) IS NOT NULL"
    dump "$1" "$1"
    zenith pg stop "$1"
    zenith pg start "$1"
    dump "$1" restarted
    same_dump "$1" restarted
    say "a new compute on the same timeline: same pg_dumpall ($(wc -l < "$WORK/$1.sql") lines)"
    check_compute_log "$1"
}

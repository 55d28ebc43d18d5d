# shellcheck shell=bash
# pg_dump of the regression database on a compute, in the custom and the directory format, restored
# into new databases on the compute and on a plain server: all these databases give the same dump.
# With CHECK_PLAIN_TWICE=1 a plain server takes the place of the compute.
#
# The regression database is made once: the order of rows, which a dump shows, is not the same after
# two runs of the core suite, whose tests run at the same time. And its own dump is another one than
# that of its copies on any server: pg_dump gives inherited columns another order.
. "$REGRESS_DIR/suites/core.sh"

# plain_dump LABEL DATABASE: the schema and all rows, as text.
plain_dump() {
    local options=()
    if [[ $(pg_dump --help) = *restrict-key* ]]; then
        options+=(--restrict-key=zenith)
    fi
    pg_dump "${options[@]}" -h "$HOST" -p "$PORT" -f "$WORK/$1.$2.sql" "$2" \
        > "$WORK/log/$1.$2.log" 2>&1 || { cat "$WORK/log/$1.$2.log" >&2; fail "pg_dump of $1 $2"; }
}

# restore_and_dump LABEL: both archives, on $HOST:$PORT.
restore_and_dump() {
    local format
    for format in custom directory; do
        createdb -h "$HOST" -p "$PORT" -T template0 "$format"
        pg_restore --exit-on-error --jobs=2 -h "$HOST" -p "$PORT" -d "$format" \
            "$WORK/regression.$format" > "$WORK/log/$1.restore.log" 2>&1 \
            || { cat "$WORK/log/$1.restore.log" >&2; fail "pg_restore of the $format format on $1"; }
        plain_dump "$1" "$format"
        [ -n "$reference" ] || reference=$1.$format
        if ! cmp -s "$WORK/$reference.sql" "$WORK/$1.$format.sql"; then
            diff -u "$WORK/$reference.sql" "$WORK/$1.$format.sql" > "$WORK/log/differences.log" || true
            head -100 "$WORK/log/differences.log"
            fail "dumps of $reference and of $1.$format differ"
        fi
        say "$format format restored on $1: $(wc -l < "$WORK/$1.$format.sql") lines, as $reference"
    done
}

suite_main() {
    local label=compute reference="" lines
    if [ -n "${CHECK_PLAIN_TWICE:-}" ]; then
        label=plain1
        start_plain "$label"
    else
        start_compute
    fi
    run_suite "$label"
    pg_dumpall --roles-only -h "$HOST" -p "$PORT" | grep -v 'ROLE postgres' > "$WORK/roles.sql"
    pg_dump -Fc -h "$HOST" -p "$PORT" -f "$WORK/regression.custom" regression
    pg_dump -Fd --jobs=2 -h "$HOST" -p "$PORT" -f "$WORK/regression.directory" regression
    lines=$(wc -l < <(pg_dump -h "$HOST" -p "$PORT" regression))
    restore_and_dump "$label"
    [ "$(wc -l < "$WORK/$reference.sql")" = "$lines" ] \
        || fail "the regression database's own dump has $lines lines, $reference another number"

    start_plain plain
    same_identity plain "$label"
    psql -Xq -v ON_ERROR_STOP=1 -h "$HOST" -p "$PORT" -d postgres -f "$WORK/roles.sql"
    restore_and_dump plain
    if [ -z "${CHECK_PLAIN_TWICE:-}" ]; then
        address_of first
        check_compute first
        check_amcheck first
        zenith stop
    fi
}

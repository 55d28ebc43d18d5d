# shellcheck shell=bash
# The suites of the modules that the server's package brings, each in a database of its own that
# stays, so that its tables and indexes are looked at again on the next compute.
#
# Left out, because they test something else than a server with data: adminpack (files by path),
# auth_delay, auto_explain, basebackup_to_shell, basic_archive, oid2name, passwordcheck, sepgsql,
# sslinfo, vacuumlo, and all for PL/Perl and PL/Python, which are other packages. test_decoding
# prints all replication slots, and a compute has one more. CHECK_MODULES="..." runs only these.
MODULES=${CHECK_MODULES:-"amcheck bloom btree_gin btree_gist citext cube dblink dict_int dict_xsyn earthdistance
    file_fdw fuzzystrmatch hstore intarray isn lo ltree pageinspect pg_freespacemap pg_prewarm
    pg_surgery pg_trgm pg_visibility pg_walinspect pgcrypto pgrowlocks pgstattuple postgres_fdw seg
    tablefunc tsm_system_rows tsm_system_time unaccent uuid-ossp xml2"}

run_tests() {
    local module inputdir makefile tests options
    AT_LEAST=0
    # The user of the servers may not reach the source tree.
    [ -e "$WORK/contrib" ] || as_server_user mkdir "$WORK/contrib"
    tar -C "$REGRESS_DIR/contrib" -cf - . | as_server_user tar -C "$WORK/contrib" -xf -
    for module in $MODULES; do
        inputdir=$SOURCE/contrib/$module
        makefile=$inputdir/Makefile
        options=(--dbname=contrib_regression)
        if [ "$(makefile_variable "$makefile" NO_LOCALE)" = 1 ]; then
            options+=(--no-locale --encoding="$(makefile_variable "$makefile" ENCODING)")
        fi
        read -ra tests <<< "$(makefile_variable "$makefile" REGRESS)"
        # Modules without a suite have one here.
        if [ -e "$REGRESS_DIR/contrib/sql/$module.sql" ]; then
            tests=("$module")
            inputdir=$WORK/contrib
        fi
        [ "${#tests[@]}" -gt 0 ] || fail "module $module has no tests"
        AT_LEAST=$((AT_LEAST + ${#tests[@]}))
        pg_regress_in "$1" "$module" "$inputdir" "${options[@]}" "${tests[@]}"
        psql -XqAt -v ON_ERROR_STOP=1 -h "$HOST" -p "$PORT" -d postgres \
            -c "ALTER DATABASE contrib_regression RENAME TO \"contrib_$module\"" \
            || fail "the database of $module is not there, or in use: see $WORK/log/$1.log"

        read -ra tests <<< "$(makefile_variable "$makefile" ISOLATION)"
        AT_LEAST=$((AT_LEAST + ${#tests[@]}))
        if [ "${#tests[@]}" -gt 0 ]; then
            read -ra options <<< "$(makefile_variable "$makefile" ISOLATION_OPTS)"
            PROGRAM=$(dirname "$PG_REGRESS")/../isolation/pg_isolation_regress \
                pg_regress_in "$1" "$module-isolation" "$SOURCE/contrib/$module" \
                "${options[@]}" "${tests[@]}"
        fi
    done
}

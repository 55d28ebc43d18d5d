# shellcheck shell=bash
# PL/pgSQL's own suite.

AT_LEAST=13

run_tests() {
    local inputdir=$SOURCE/src/pl/plpgsql/src tests
    read -ra tests <<< "$(makefile_variable "$inputdir/Makefile" REGRESS)"
    pg_regress_in "$1" plpgsql "$inputdir" --dbname=pl_regression "${tests[@]}"
}

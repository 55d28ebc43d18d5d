# shellcheck shell=bash
# The whole isolation schedule, and the tests that need prepared transactions (which its Makefile
# keeps apart). isolationtester and its driver come with the server's development package.

SETTINGS=(max_prepared_transactions=10)
AT_LEAST=100

run_tests() {
    local inputdir=$SOURCE/src/test/isolation
    PROGRAM=$(dirname "$PG_REGRESS")/../isolation/pg_isolation_regress
    pg_regress_in "$1" isolation "$inputdir" --schedule="$inputdir/isolation_schedule"
    pg_regress_in "$1" prepared "$inputdir" prepared-transactions prepared-transactions-cic
}

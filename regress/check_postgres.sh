#!/bin/bash
# make check-postgres SUITE=...: one of PostgreSQL's own suites on a plain server of the installed
# package and on a compute node; any difference between the results is a failure. What the server's
# log of the compute must not hold, is looked for as well. Then a new compute on the same timeline
# must hold the same data (pg_dumpall) and clean tables and indexes (pg_amcheck).
#
#   SUITE=core        src/test/regress (the default), and branches of its result
#         isolation   src/test/isolation
#         contrib     the modules that the package brings
#         pl          PL/pgSQL's
#         dump        pg_dump and pg_restore of the regression database
#         all         one after the other
#   ZENITH_TEST_SETTINGS="shared_buffers=1MB ..."   settings of the compute, not of the plain server
#   ZENITH_TEST_CHECKSUMS=1   both have data checksums
#   CHECK_PLAIN_TWICE=1   compare two runs on plain servers instead (what is not deterministic?)
#
# The expected files of a suite are only a comment: its source may be older than the server.
set -euo pipefail
SUITE=${SUITE:-core}
SUITES="core isolation contrib pl dump"
if [ "$SUITE" = all ]; then
    for SUITE in $SUITES; do
        SUITE=$SUITE "$0"
    done
    exit 0
fi
. "$(dirname "$0")/lib.sh"
. "$REGRESS_DIR/suites/common.sh"
[[ " $SUITES " = *" $SUITE "* ]] || fail "no such suite: \"$SUITE\" (there are: $SUITES all)"
. "$REGRESS_DIR/suites/$SUITE.sh"

setup_workdir "check-postgres-$SUITE"
find_zenith
began=$(milliseconds)
unpack_suites
say "suite: $SUITE of $(basename "$suites" .tar), server: $("$PG_BINDIR/postgres" --version)" \
    "${ZENITH_TEST_CHECKSUMS:+with data checksums }${ZENITH_TEST_SETTINGS:-}"

suite_main
say "check-postgres SUITE=$SUITE passed in $((($(milliseconds) - began) / 1000)) s"

#!/bin/bash
# The demonstration of "make quickstart": a repository with a cluster and a branch of it, left
# running. Repeatable: what an earlier run left is stopped and replaced. Everything lies in one
# directory that the PostgreSQL processes can reach whoever runs this: QUICKSTART_DIR, by default
# /var/tmp/zenith-quickstart-<user id>.
set -euo pipefail

zenith=${1:?usage: quickstart.sh PATH_OF_ZENITH}
bindir=$("${PG_CONFIG:-/usr/lib/postgresql/15/bin/pg_config}" --bindir)
directory=${QUICKSTART_DIR:-/var/tmp/zenith-quickstart-$(id -u)}
marker=$directory/made-by-quickstart
export ZENITH_REPO_DIR=$directory/.zenith
unset PGHOST PGHOSTADDR PGPORT PGUSER PGDATABASE PGSERVICE PGOPTIONS

fail() { echo "quickstart: FAILED: $*" >&2; exit 1; }

step() { printf '\n-- %s\n' "$1"; }
run() {
    local word line='$'
    for word in "$@"; do
        case $word in
            *[' (<>*']*) line+=" \"$word\"" ;;
            *) line+=" $word" ;;
        esac
    done
    printf '%s\n' "$line"
    case $1 in
        zenith) shift; "$zenith" "$@" ;;
        pgbench) shift; "$bindir/pgbench" "$@" ;;
    esac || fail "$*"
}
value() { "$zenith" psql "$1" -- -XAtq -c "$2" || fail "a query on $1"; }

if [ -e "$directory" ]; then
    # /var/tmp is everybody's: touch nothing that is not our own.
    if [ ! -O "$directory" ] || [ -L "$directory" ] || [ ! -f "$marker" ]; then
        fail "$directory exists and was not made by quickstart; remove it or set QUICKSTART_DIR"
    fi
    if [ -e "$ZENITH_REPO_DIR/config.json" ]; then
        step "stop and remove what the last run left in $directory"
        "$zenith" stop || "$zenith" stop --mode immediate || fail "the last run's servers do not stop"
    fi
    rm -rf "$directory"
fi
mkdir -p "$(dirname "$directory")"
mkdir -m 755 "$directory"
touch "$marker"

step "a repository with a new PostgreSQL cluster on branch main, and its page server"
run zenith init --locale C.UTF-8
run zenith start

step "a compute (an ordinary postgres) on main, with some data in it"
run zenith pg create main
run zenith pg start main
port=$("$zenith" pg list --json | sed -n 's/.*"name": "main".*"port": \([0-9]*\).*/\1/p')
[ -n "$port" ] || fail "the compute on main has no port"
run pgbench -i -q -s 10 -h 127.0.0.1 -p "$port" -U postgres postgres

step "a branch: nothing is copied"
run zenith branch dev main
run zenith pg create dev
run zenith pg start dev

step "change the branch"
run zenith psql dev -- -X -c "DELETE FROM pgbench_accounts WHERE aid > 1000"

step "both, side by side"
run zenith psql main -- -X -c "SELECT count(*) AS accounts_on_main FROM pgbench_accounts"
run zenith psql dev -- -X -c "SELECT count(*) AS accounts_on_dev FROM pgbench_accounts"
[ "$(value main 'SELECT count(*) FROM pgbench_accounts')" = 1000000 ] || fail "main has changed"
[ "$(value dev 'SELECT count(*) FROM pgbench_accounts')" = 1000 ] || fail "dev has not changed"

printf '\n'
run zenith status
cat <<END

It is left running. Next:
  export ZENITH_REPO_DIR=$ZENITH_REPO_DIR
  zenith psql dev               a session on the branch
  zenith branch experiment dev  a branch of the branch
  zenith psql experiment        a compute for it is made and started
  zenith stop                   stop everything; "zenith start" and "zenith psql" bring it back
END
echo "quickstart: done, main and its branch dev are running and differ"

#!/bin/bash
# Installs what building and testing need and this machine does not have, from Debian 12's packages.
# As root, or through sudo. Does nothing, and needs no network, when nothing is missing.
set -euo pipefail

packages=(
    g++ make                                       # C++20 and C
    postgresql-15 postgresql-server-dev-15         # the server, psql, pgbench, pg_regress; PGXS
    libpq-dev                                      # connections
    rapidjson-dev libcli11-dev                     # repository files, command line
    libspdlog-dev libfmt-dev                       # log
    libzstd-dev                                    # page images
    libgtest-dev                                   # unit tests
    dpkg-dev xz-utils ca-certificates tar          # PostgreSQL's source package, for its test suite
)

if ! command -v dpkg-query > /dev/null; then
    echo "deps: this is not a Debian system; install what matches: ${packages[*]}" >&2
    exit 1
fi

missing=()
for package in "${packages[@]}"; do
    status=$(dpkg-query -W -f='${db:Status-Status}' "$package" 2> /dev/null || true)
    if [ "$status" != installed ]; then
        missing+=("$package")
    fi
done
if [ ${#missing[@]} = 0 ]; then
    echo "deps: everything needed is installed"
    exit 0
fi

as_root=()
if [ "$(id -u)" != 0 ]; then
    if ! command -v sudo > /dev/null; then
        echo "deps: missing packages: ${missing[*]}" >&2
        echo "deps: run this as root, or as a user who may use sudo" >&2
        exit 1
    fi
    as_root=(sudo)
fi

echo "deps: installing ${missing[*]}"
# No questions, and a locale every machine has: the packages' scripts complain without one.
environment=(env DEBIAN_FRONTEND=noninteractive LC_ALL=C.UTF-8 LANG=C.UTF-8)
"${as_root[@]}" "${environment[@]}" apt-get -q update
"${as_root[@]}" "${environment[@]}" apt-get -q -y --no-install-recommends install "${missing[@]}"
echo "deps: everything needed is installed"

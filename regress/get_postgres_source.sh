#!/bin/bash
# Prints the path of a tar file with PostgreSQL's own suites ($PARTS below), taken from Debian's
# source package. Downloads it once with a private apt configuration; the system's
# apt is left alone, no deb-src line and no root is needed.
#
#   PG_SRC=DIR   use this unpacked PostgreSQL source tree instead, download nothing
#
# The newest source is not always on the mirrors, so the suite may be a minor release or two older
# than the server; whoever uses it compares two servers, not one server with the expected files.
set -euo pipefail

PG_MAJOR=15
PARTS=(src/test/regress src/test/isolation src/pl/plpgsql/src contrib)
CACHE=${ZENITH_CACHE:-${XDG_CACHE_HOME:-${HOME:-/nonexistent}/.cache}/zenith}
if ! mkdir -p "$CACHE" 2>/dev/null || ! [ -w "$CACHE" ]; then
    CACHE=$(cd "$(dirname "$0")/.." && pwd)/build/cache
    mkdir -p "$CACHE"
fi

note() { printf '%s\n' "$*" >&2; }

scratch=$(mktemp -d /tmp/zenith-source-XXXXXX)
trap 'rm -rf "$scratch"' EXIT

# pack TREE VERSION: the part of a source tree that the suites need, as one file in the cache.
pack() {
    tar -C "$1" -cf "$scratch/suites.tar" "${PARTS[@]}"
    mv "$scratch/suites.tar" "$CACHE/.suites-$2.$$"
    mv "$CACHE/.suites-$2.$$" "$CACHE/postgresql-$PG_MAJOR-suites-$2.tar"
    printf '%s\n' "$CACHE/postgresql-$PG_MAJOR-suites-$2.tar"
}

if [ -n "${PG_SRC:-}" ]; then
    [ -e "$PG_SRC/src/test/regress/parallel_schedule" ] \
        || { note "PG_SRC=$PG_SRC is not a PostgreSQL source tree"; exit 1; }
    pack "$PG_SRC" local
    exit 0
fi

# The version of the installed server is the one wanted; what was found last time is good enough
# when it was looked for on behalf of the same server.
wanted=$(dpkg-query -W -f '${source:Version}' "postgresql-$PG_MAJOR" 2>/dev/null || true)
found=$(cat "$CACHE/suites-for-${wanted:-unknown}" 2>/dev/null || true)
if [ -n "$found" ] && [ -s "$CACHE/$found" ]; then
    printf '%s\n' "$CACHE/$found"
    exit 0
fi

# The mirrors the machine uses for Debian itself (both styles of source lists), else Debian's.
machine_sources=$(cat /etc/apt/sources.list /etc/apt/sources.list.d/*.list \
    /etc/apt/sources.list.d/*.sources 2>/dev/null | grep -v '^[[:space:]]*#' || true)
uris=$(grep -oE '(https?|file|copy)://?[^] ]+' <<< "$machine_sources" | sed 's,/*$,,' | sort -u || true)
mirror=$(grep -E '/debian$' <<< "$uris" | head -1 || true)
security=$(grep -E '/debian-security$' <<< "$uris" | head -1 || true)
mirror=${mirror:-http://deb.debian.org/debian}
security=${security:-http://deb.debian.org/debian-security}
codename=$(. /etc/os-release; printf '%s' "${VERSION_CODENAME:-bookworm}")
keyring=/usr/share/keyrings/debian-archive-keyring.gpg
option=""
if [ -e "$keyring" ]; then
    option="[signed-by=$keyring] "
fi
cat > "$scratch/sources.list" <<LIST
deb-src $option$security $codename-security main
deb-src $option$mirror $codename-updates main
deb-src $option$mirror $codename main
LIST

mkdir -p "$scratch"/{state/lists/partial,cache/archives/partial,download}
cat > "$scratch/apt.conf" <<CONF
Dir::Etc::SourceList "$scratch/sources.list";
Dir::Etc::SourceParts "-";
Dir::State "$scratch/state";
Dir::State::Lists "$scratch/state/lists";
Dir::State::Status "/var/lib/dpkg/status";
Dir::Cache "$scratch/cache";
APT::Sandbox::User "";
Acquire::Languages "none";
Acquire::Retries "3";
CONF
export APT_CONFIG=$scratch/apt.conf

if ! apt-get update -qq > "$scratch/update.log" 2>&1; then
    cat "$scratch/update.log" >&2
    note "could not read the package lists of $mirror; set PG_SRC to an unpacked source tree"
    exit 1
fi
versions=$(apt-cache showsrc "postgresql-$PG_MAJOR" 2>/dev/null | sed -n 's/^Version: //p' \
    | sort -Vru)
[ -n "$versions" ] || { note "no source package postgresql-$PG_MAJOR on $mirror"; exit 1; }
for version in $versions; do
    rm -rf "$scratch/download"
    mkdir "$scratch/download"
    cd "$scratch/download"
    if ! apt-get source -qq --download-only "postgresql-$PG_MAJOR=$version" \
        > "$scratch/download.log" 2>&1; then
        note "source of $version is not on the mirror: $(grep -m1 '^E:' "$scratch/download.log")"
        continue
    fi
    mkdir "$scratch/tree"
    tar -xf ./*.orig.tar.* -C "$scratch/tree" --strip-components=1 --wildcards \
        "${PARTS[@]/#/*/}"
    name=$(pack "$scratch/tree" "$version")
    basename "$name" > "$CACHE/suites-for-${wanted:-unknown}"
    printf '%s\n' "$name"
    exit 0
done
note "none of the versions could be downloaded: $versions"
exit 1

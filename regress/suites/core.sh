# shellcheck shell=bash
# The complete core regression schedule; branching its result is as fast as branching an empty
# cluster, and gives the same data.

# What pg_regress gives its temporary servers and the results depend on.
SETTINGS=(max_prepared_transactions=2)
AT_LEAST=200

BRANCH_LIMIT_MS=50
FIRST_QUERY_LIMIT_MS=1000

run_tests() {
    pg_regress_in "$1" regress "$SOURCE/src/test/regress" --max-concurrent-tests=20 \
        --schedule="$SOURCE/src/test/regress/parallel_schedule"
}

# branch_and_query NAME: makes a branch of main and asks a new compute on it one question; appends the
# milliseconds to branch_times and query_times.
branch_and_query() {
    local start branched
    start=$(milliseconds)
    zenith branch "$1" main
    branched=$(milliseconds)
    # Not the port it would choose itself: tests may run at the same time.
    zenith pg create "$1" --name "$1" --port "$("$REGRESS_DIR/bin/free_port")"
    "$ZENITH" psql "$1" -- -XAtc 'SELECT 1' > "$WORK/log/first_query.log" 2>&1 \
        || { cat "$WORK/log/first_query.log" >&2; fail "no answer from a compute on a new branch"; }
    branch_times+=($((branched - start)))
    query_times+=($(($(milliseconds) - branched)))
}
fastest() { printf '%s\n' "$@" | sort -n | head -1; }

suite_before() {
    local attempt
    branch_times=()
    query_times=()
    for attempt in 1 2 3; do
        branch_and_query "empty$attempt"
        zenith pg stop "empty$attempt"
    done
    empty_branch_time=$(fastest "${branch_times[@]}")
    empty_query_time=$(fastest "${query_times[@]}")
}

# within TIME LIMIT EMPTY
within() { [ "$1" -lt "$2" ] || [ "$1" -lt $((3 * $3)) ]; }

suite_after() {
    local attempt branch_time query_time
    # The limits hold for the fastest of five, and a machine that is busy with something else may take
    # as long as three times what an empty cluster took on it: a cost that grows with the data is in
    # all of them.
    branch_times=()
    query_times=()
    for attempt in 1 2 3 4 5; do
        branch_and_query "copy$attempt"
        if [ "$attempt" != 1 ]; then
            zenith pg stop "copy$attempt"
        fi
    done
    branch_time=$(fastest "${branch_times[@]}")
    query_time=$(fastest "${query_times[@]}")
    say "branch: $branch_time ms (of ${branch_times[*]}; empty cluster: $empty_branch_time);" \
        "first query on it: $query_time ms (of ${query_times[*]}; empty cluster: $empty_query_time)"
    dump copy1 copy
    same_dump first copy
    say "a compute on a branch: same pg_dumpall"
    check_amcheck copy1
    if ! within "$branch_time" "$BRANCH_LIMIT_MS" "$empty_branch_time" \
        || ! within "$query_time" "$FIRST_QUERY_LIMIT_MS" "$empty_query_time"; then
        fail "branching took $branch_time ms (limit $BRANCH_LIMIT_MS)," \
            "the first query on it $query_time ms (limit $FIRST_QUERY_LIMIT_MS)"
    fi
}

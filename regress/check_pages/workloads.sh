# shellcheck shell=bash
# The workloads of check_pages.sh. Each is a function workload_NAME that starts a server
# (start_compute or start_plain, with its settings), works on it and leaves it running;
# prepare_NAME, if there is one, alters the cluster before it is imported. A workload may set
# `points` (when comparing takes long) and `extra` (options of the comparing program).

ALL_WORKLOADS=(pgbench)

workload_pgbench() {
    start_compute
    pgbench -i -q -s $((2 * FACTOR)) postgres > "$DIR/pgbench.log" 2>&1
    pgbench -n -c 4 -t $((1000 * FACTOR)) postgres >> "$DIR/pgbench.log" 2>&1
    sql -c "VACUUM" -c "CHECKPOINT"
    pgbench -n -c 4 -t $((1000 * FACTOR)) postgres >> "$DIR/pgbench.log" 2>&1
}

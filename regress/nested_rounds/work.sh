# shellcheck shell=bash
# Transactions for psql, chosen by $RANDOM. Sourced by nested_rounds.sh; functions print SQL, and never
# run in a subshell, whose $RANDOM would be another.
#
# What the client hears goes to its standard output as events for model.awk: "seen" an id that was
# given, "try" before a COMMIT, "told" after it, and so on for prepared transactions.

# begin_transaction [off]: off is for synchronous_commit.
begin_transaction() {
    printf 'BEGIN;\n%s' "${1:+SET LOCAL synchronous_commit = $1;
}"
    printf 'SELECT pg_current_xact_id() AS xid \\gset\n\\echo seen - :xid\n'
}

log_row() { printf "INSERT INTO log (xid, key, src, dst, amount) VALUES (:'xid', '%s', %s, %s, %s);\n" "$@"; }

# commit_transaction KEY [SRC DST AMOUNT]
commit_transaction() {
    log_row "$1" "${2:-1}" "${3:-1}" "${4:-0}"
    printf '\\echo try %s :xid\nCOMMIT;\n\\echo %s %s :xid\n' "$1" "${answer:-told}" "$1"
}

# The lower account first: no deadlocks.
move_money() {
    local src=$1 dst=$2 amount=$3 first second
    if [ "$src" -lt "$dst" ]; then
        first="$((-amount)) $src" second="$amount $dst"
    else
        first="$amount $dst" second="$((-amount)) $src"
    fi
    # shellcheck disable=SC2086
    printf 'UPDATE accounts SET balance = balance + %s WHERE id = %s;\n' $first $second
}

# Two different accounts of the first hundred, and an amount.
pick_accounts() {
    src=$((1 + RANDOM % 100))
    dst=$((1 + (src + RANDOM % 99) % 100))
    amount=$((1 + RANDOM % 50))
}

transfer() {
    local src dst amount answer=told off=''
    pick_accounts
    if [ $((RANDOM % 6)) = 0 ]; then
        answer=told-async off=off
    fi
    begin_transaction $off
    move_money $src $dst $amount
    commit_transaction "$1" $src $dst $amount
}

# Savepoints that are released and rolled back, one in the other, and a row with TOAST.
subtransactions() {
    local src dst amount
    pick_accounts
    begin_transaction
    printf 'SAVEPOINT a;\nUPDATE accounts SET balance = balance + 7 WHERE id = %s;\n' $src
    printf 'SAVEPOINT b;\nINSERT INTO subs VALUES (%s, 0);\nROLLBACK TO a;\n' "'$1'"
    move_money $src $dst $amount
    printf 'SAVEPOINT c;\nSAVEPOINT d;\n'
    new_document
    printf 'RELEASE c;\n'
    if [ $((RANDOM % 4)) = 0 ]; then
        # More than a backend keeps in shared memory (64).
        printf 'DO $$ BEGIN FOR i IN 1..70 LOOP BEGIN INSERT INTO subs VALUES (%s, i); EXCEPTION WHEN unique_violation THEN RAISE; END; END LOOP; END $$;\n' \
            "'$1'"
    fi
    commit_transaction "$1" $src $dst $amount
}

new_document() {
    printf "INSERT INTO docs (body, sum) SELECT b, md5(b) FROM (SELECT string_agg(md5(i::text || random()), '') AS b FROM generate_series(1, %s) i) s;\n" \
        $((1 + RANDOM % 400))
}

documents() {
    begin_transaction
    new_document
    # The clients do not wait for each other.
    printf "UPDATE docs SET body = body || 'x', sum = md5(body || 'x') WHERE id IN (SELECT id FROM docs ORDER BY id DESC OFFSET %s LIMIT 1 FOR UPDATE SKIP LOCKED);\n" \
        $((RANDOM % 5))
    printf 'DELETE FROM docs WHERE id IN (SELECT id FROM docs ORDER BY id DESC OFFSET 30 FOR UPDATE SKIP LOCKED);\n'
    commit_transaction "$1"
}

# A row locked by a transaction and by its subtransaction has a multixact; by others, too, maybe.
multixact() {
    local anchor=$((1 + RANDOM % 10))
    begin_transaction
    printf 'SELECT FROM anchors WHERE id = %s FOR KEY SHARE \\g /dev/null\n' $anchor
    printf 'SELECT FROM anchors WHERE id > %s FOR SHARE \\g /dev/null\n' $((10 + RANDOM % 9))
    printf 'SAVEPOINT s;\nSELECT FROM anchors WHERE id = %s FOR NO KEY UPDATE \\g /dev/null\n' $anchor
    cat <<SQL
INSERT INTO multis
SELECT a.xmax::text::bigint, a.id, (SELECT string_agg(m.xid || ' ' || m.mode, ',' ORDER BY m.xid::text::bigint, m.mode)
                                      FROM pg_get_multixact_members(a.xmax) m)
  FROM anchors a WHERE id = $anchor RETURNING multi \gset
\echo multi - :multi
UPDATE anchors SET v = v + 1 WHERE id = $anchor;
RELEASE s;
SQL
    commit_transaction "$1"
}

# Each of two clients its own half of the rows.
churn() {
    local half=$2
    begin_transaction
    printf 'UPDATE churn SET v = n, t = md5(n::text), r = ARRAY[n, n]\n'
    printf '  FROM (SELECT id AS i, (random() * 1000000)::int AS n FROM churn WHERE id %% 2 = %s ORDER BY random() LIMIT %s) s WHERE id = i;\n' \
        "$half" $((1 + RANDOM % 30))
    if [ $((RANDOM % 3)) = 0 ]; then
        printf 'WITH gone AS (DELETE FROM churn WHERE id %% 2 = %s AND id > %s RETURNING id)\n' "$half" $((RANDOM % 199))
        printf '  SELECT array_agg(id) AS ids FROM gone \\gset\n'
        printf "INSERT INTO churn SELECT i, -i, md5((-i)::text), ARRAY[-i, -i] FROM unnest(NULLIF(:'ids', '')::int[]) i;\n"
    fi
    commit_transaction "$1"
}

# Rolled back with and without having written; then reported.
rollback() {
    local src dst amount
    pick_accounts
    begin_transaction
    if [ $((RANDOM % 3)) != 0 ]; then
        move_money $src $dst $amount
        log_row "$1-never" $src $dst $amount
        new_document
    fi
    printf 'ROLLBACK;\n\\set gone :xid\n'
    begin_transaction
    printf "INSERT INTO aborted VALUES (:'gone');\n"
    commit_transaction "$1"
}

# Temporary and unlogged tables.
not_logged() {
    begin_transaction
    printf 'CREATE TEMP TABLE t (i int PRIMARY KEY) ON COMMIT DROP;\nINSERT INTO t SELECT generate_series(1, 100);\n'
    printf 'INSERT INTO unlogged SELECT count(*) FROM t;\n'
    commit_transaction "$1"
}

# ---- by the first client only, for they wait for the other one --------------------------------------

truncation() {
    local rows=$((RANDOM % 3000))
    begin_transaction
    printf 'TRUNCATE scratch;\nINSERT INTO scratch SELECT generate_series(1, %s);\n' $rows
    printf "UPDATE facts SET value = %s WHERE name = 'scratch';\n" $rows
    commit_transaction "$1"
}

# Vacuum takes the empty end off.
shrink() {
    begin_transaction
    printf "WITH gone AS (DELETE FROM scratch WHERE i > %s RETURNING 1)\n" $((RANDOM % 1000))
    printf "  UPDATE facts SET value = value - (SELECT count(*) FROM gone) WHERE name = 'scratch';\n"
    commit_transaction "$1"
    printf 'VACUUM scratch;\n'
}

# Expects safe: 1 while nobody is killed. A concurrent build that is cut short leaves an index behind.
maintenance() {
    local commands=('VACUUM accounts, log;' 'VACUUM (FREEZE) accounts, anchors, aborted;' 'VACUUM churn;'
        'VACUUM (FREEZE) log;' 'VACUUM FULL churn;' 'VACUUM FULL scratch;' 'REINDEX TABLE churn;'
        'CLUSTER churn USING churn_pkey;' 'CHECKPOINT;' 'VACUUM docs, subs;' 'ANALYZE;'
        'SELECT pg_switch_wal() \g /dev/null')
    # shellcheck disable=SC2154
    if [ "$safe" = 1 ]; then
        commands+=('REINDEX INDEX CONCURRENTLY churn_v;')
    fi
    printf '%s\n' "${commands[RANDOM % ${#commands[@]}]}"
}

tables() {
    begin_transaction
    cat <<SQL
SELECT count(*) > 4 AS many FROM made_list \gset
\if :many
SELECT name AS old FROM made_list ORDER BY n LIMIT 1 \gset
DROP TABLE :old;
DELETE FROM made_list WHERE name = :'old';
\else
CREATE TABLE made_t$1 (t text DEFAULT 'text', PRIMARY KEY (i)) INHERITS (made);
INSERT INTO made_t$1 SELECT generate_series(1, 50);
INSERT INTO made_list (name, oid) SELECT relname, oid FROM pg_class WHERE oid = 'made_t$1'::regclass RETURNING oid \gset
\echo oid - :oid
\endif
SQL
    commit_transaction "$1"
}

# Of up to four slots, each with two accounts of its own; the number of the slot ends the key.
# Expects the array prepared: "KEY XID" of those that there are.
prepare() {
    local key=$1 slot entry
    for slot in 1 2 3 4 none; do
        for entry in "${prepared[@]}"; do
            [[ $entry != *s"$slot "* ]] || continue 2
        done
        break
    done
    [ $slot != none ] || return 0
    key+=s$slot
    begin_transaction
    move_money $((100 + 2 * slot - 1)) $((100 + 2 * slot)) 5
    printf 'SELECT FROM anchors WHERE id <= %s FOR KEY SHARE \\g /dev/null\n' $((1 + RANDOM % 10))
    printf 'SAVEPOINT s;\n'
    new_document
    log_row "$key" $((100 + 2 * slot - 1)) $((100 + 2 * slot)) 5
    printf '\\echo try-prepare %s :xid\nPREPARE TRANSACTION %s;\n\\echo prepared %s :xid\n' "$key" "'$key'" "$key"
    prepared+=("$key :xid")
}

# finish KEY XID
finish() {
    if [ $((RANDOM % 3)) = 0 ]; then
        printf '\\echo try-rollback %s %s\nROLLBACK PREPARED %s;\n\\echo rolled-back %s %s\n' "$1" "$2" "'$1'" "$1" "$2"
    else
        printf '\\echo try-commit %s %s\nCOMMIT PREPARED %s;\n\\echo committed %s %s\n' "$1" "$2" "'$1'" "$1" "$2"
    fi
}

# Only while nobody is killed: what becomes of it is not one transaction's. A new one gets a table.
databases() {
    local strategies=(wal_log file_copy)
    cat <<SQL
SELECT coalesce(min(name), '') AS old, count(*) > 0 AS many FROM databases \gset
\if :many
DROP DATABASE :old;
\else
CREATE DATABASE db$1 STRATEGY ${strategies[RANDOM % 2]};
\endif
SQL
    begin_transaction
    cat <<SQL
\if :many
DELETE FROM databases WHERE name = :'old';
\else
INSERT INTO databases VALUES ('db$1');
\endif
SQL
    commit_transaction "$1"
}

# work KEY CLIENT COUNT: so many transactions, of client 0 all kinds.
work() {
    local key=$1 client=$2 count=$3 n kind entry
    cat <<'SQL'
\set ON_ERROR_STOP 1
SET lock_timeout = '20s';
SELECT pg_backend_pid() AS pid \gset
\echo pid - :pid
SQL
    for ((n = 1; n <= count; n++)); do
        kind=$((RANDOM % (client == 0 ? 22 : 14)))
        case $kind in
            0 | 1 | 2 | 3) transfer "${key}_$n" ;;
            4 | 5) subtransactions "${key}_$n" ;;
            6 | 7) multixact "${key}_$n" ;;
            8 | 9) churn "${key}_$n" "$client" ;;
            10 | 11) rollback "${key}_$n" ;;
            12) documents "${key}_$n" ;;
            13) not_logged "${key}_$n" ;;
            14) truncation "${key}_$n" ;;
            15) shrink "${key}_$n" ;;
            16) maintenance ;;
            17) tables "${key}_$n" ;;
            18 | 19) prepare "${key}_$n" ;;
            *)
                if [ "${#prepared[@]}" -gt 0 ]; then
                    entry=${prepared[-1]}
                    # Not one of this same script: its id is known when it runs.
                    if [[ $entry != *' :xid' ]]; then
                        # shellcheck disable=SC2086
                        finish $entry
                        unset 'prepared[-1]'
                    fi
                fi
                ;;
        esac
    done
}

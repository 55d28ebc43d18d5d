-- Branches of many moments of one database: each has the rows of its moment. Then most are deleted,
-- in no order, and the others still have theirs.
CREATE TABLE moments (n int PRIMARY KEY, changes int, filler text);
CREATE PROCEDURE add_moments(up_to int) LANGUAGE plpgsql AS $$
BEGIN
    FOR i IN 1..up_to LOOP
        INSERT INTO moments VALUES (i, 0, repeat('x', 500));
        UPDATE moments SET changes = changes + 1 WHERE n % 7 = i % 7;
        COMMIT;
        INSERT INTO lsns VALUES (i, pg_current_wal_insert_lsn());
        COMMIT;
    END LOOP;
END $$;
CREATE TABLE lsns (n int, lsn pg_lsn);
CALL add_moments(200);

\set QUIET on
\pset tuples_only on
\pset format unaligned
\o `echo "$ZENITH_TEST_DIR"/many_branches.list`
SELECT n || ' ' || lsn FROM lsns ORDER BY n;
\o
\pset format aligned
\pset tuples_only off
\! while read -r n lsn; do node branch many_branches_$n many_branches@$lsn || exit; done < "$ZENITH_TEST_DIR/many_branches.list"
\! "$ZENITH" branch | grep -c many_branches_

\! for n in 1 77 133 200; do node start many_branches_$n || exit; done
\set port1 `node port many_branches_1`
\set port77 `node port many_branches_77`
\set port133 `node port many_branches_133`
\set port200 `node port many_branches_200`
\c - - - :port1
SELECT count(*), max(n), sum(changes) FROM moments;
\c - - - :port77
SELECT count(*), max(n), sum(changes) FROM moments;
\c - - - :port133
SELECT count(*), max(n), sum(changes) FROM moments;
\c - - - :port200
SELECT count(*), max(n), sum(changes) FROM moments;

-- One with a compute is refused; all others but five go.
\! node refused branch -d many_branches_77
\! for n in $(seq 200 -3 1) $(seq 1 3 200) $(seq 3 3 200); do case $n in 1|77|133|200|150) ;; *) node drop_branch many_branches_$n || exit ;; esac; done
\! "$ZENITH" branch | grep -c many_branches_
\! for n in 1 77 133 200; do node restart many_branches_$n || exit; done
\! node start many_branches_150
\set port150 `node port many_branches_150`
\c - - - :port150
SELECT count(*), max(n), sum(changes) FROM moments;
SELECT * FROM check_relation('moments');
\c - - - :port77
SELECT count(*), max(n), sum(changes) FROM moments;

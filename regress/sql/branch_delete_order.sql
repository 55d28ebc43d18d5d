-- Branches are deleted in any order: the data of parents and children stays.
CREATE TABLE t (who text, id int);
INSERT INTO t SELECT 'root', i FROM generate_series(1, 1000) i;
\! node branch branch_delete_order_a branch_delete_order
\! node start branch_delete_order_a
\set port `node port branch_delete_order`
\set port_a `node port branch_delete_order_a`
\c - - - :port_a
INSERT INTO t SELECT 'a', i FROM generate_series(1, 100) i;
\! node branch branch_delete_order_b branch_delete_order_a
\! node branch branch_delete_order_sibling branch_delete_order_a
INSERT INTO t SELECT 'a, later', i FROM generate_series(1, 100) i;
\! node tag branch_delete_order_tag branch_delete_order_a
\! node start branch_delete_order_b
\set port_b `node port branch_delete_order_b`
\c - - - :port_b
UPDATE t SET who = 'b' WHERE id <= 10;
\! node branch branch_delete_order_c branch_delete_order_b
\! node start branch_delete_order_c
\set port_c `node port branch_delete_order_c`
\c - - - :port_c
INSERT INTO t SELECT 'c', i FROM generate_series(1, 10) i;

-- Not while a compute runs on it, not main, not one that is not there.
\! node refused branch -d branch_delete_order_a
\! node refused branch -d main
\! node refused branch -d branch_delete_order_none

-- The parent first: the children have all they had.
\c - - - :port
\! node stop branch_delete_order_a
\! node destroy branch_delete_order_a
\! node drop_tag branch_delete_order_tag
\! node drop_branch branch_delete_order_a
\! node refused branch branch_delete_order_x branch_delete_order_a
\! node refused branch -d branch_delete_order_a
\! "$ZENITH" gc > "$ZENITH_TEST_DIR/branch_delete_order.gc" 2>&1 || cat "$ZENITH_TEST_DIR/branch_delete_order.gc"
\! node restart branch_delete_order_b
\c - - - :port_b
SELECT who, count(*), sum(id) FROM t GROUP BY who ORDER BY who;
-- The one in the middle.
\! node stop branch_delete_order_b
\c - - - :port
\! node destroy branch_delete_order_b
\! node drop_branch branch_delete_order_b
\! "$ZENITH" gc > "$ZENITH_TEST_DIR/branch_delete_order.gc" 2>&1 || cat "$ZENITH_TEST_DIR/branch_delete_order.gc"
\! node restart branch_delete_order_c
\c - - - :port_c
SELECT who, count(*), sum(id) FROM t GROUP BY who ORDER BY who;
-- A name that is free again is another branch.
\! node branch branch_delete_order_a branch_delete_order_c
\! node start branch_delete_order_a
\set port_a `node port branch_delete_order_a`
\c - - - :port_a
SELECT who, count(*), sum(id) FROM t GROUP BY who ORDER BY who;
DELETE FROM t WHERE who = 'root';
-- And the leaf, whose child goes on; the sibling of those that are gone; the root.
\c - - - :port
\! node stop branch_delete_order_c
\! node destroy branch_delete_order_c
\! node drop_branch branch_delete_order_c
\! "$ZENITH" gc > "$ZENITH_TEST_DIR/branch_delete_order.gc" 2>&1 || cat "$ZENITH_TEST_DIR/branch_delete_order.gc"
\! node pageserver restart
\! node restart branch_delete_order_a
\c - - - :port_a
SELECT who, count(*), sum(id) FROM t GROUP BY who ORDER BY who;
\! node start branch_delete_order_sibling
\set port_s `node port branch_delete_order_sibling`
\c - - - :port_s
SELECT who, count(*), sum(id) FROM t GROUP BY who ORDER BY who;
\c - - - :port
SELECT who, count(*), sum(id) FROM t GROUP BY who ORDER BY who;

-- A hundred branches, each of the one before: what each of them added is there, and nothing else.
CREATE TABLE t (id int PRIMARY KEY, who text);
INSERT INTO t SELECT i, 'root' FROM generate_series(1, 5000) i;
CREATE INDEX t_who ON t (who);

\! node branch branch_chain_1 branch_chain
INSERT INTO t VALUES (0, 'root, too late');
\! for i in $(seq 2 33); do node branch branch_chain_$i branch_chain_$((i - 1)) || exit; done
\! node start branch_chain_33
\set port `node port branch_chain_33`
\c - - - :port
SELECT who, count(*), sum(id) FROM t GROUP BY who ORDER BY who;
UPDATE t SET who = 'depth 33' WHERE id % 3 = 0;
INSERT INTO t SELECT i, 'depth 33' FROM generate_series(10001, 10100) i;

\! for i in $(seq 34 66); do node branch branch_chain_$i branch_chain_$((i - 1)) || exit; done
DELETE FROM t;
\! node start branch_chain_66
\set port `node port branch_chain_66`
\c - - - :port
SELECT who, count(*), sum(id) FROM t GROUP BY who ORDER BY who;
TRUNCATE t;
INSERT INTO t SELECT i, 'depth 66' FROM generate_series(1, 2000) i;
CREATE TABLE made_at_66 AS SELECT i FROM generate_series(1, 1000) i;

\! for i in $(seq 67 100); do node branch branch_chain_$i branch_chain_$((i - 1)) || exit; done
DROP TABLE made_at_66;
\! node start branch_chain_100
\set port `node port branch_chain_100`
\c - - - :port
SELECT who, count(*), sum(id) FROM t GROUP BY who ORDER BY who;
SELECT count(*), sum(i) FROM made_at_66;
INSERT INTO t SELECT i, 'depth 100' FROM generate_series(3001, 3100) i;
SELECT * FROM check_relation('t');

-- After a restart of its compute, whose pages all come through a hundred ancestors.
\! node restart branch_chain_100
\c - - - :port
SELECT who, count(*), sum(id) FROM t GROUP BY who ORDER BY who;
SELECT * FROM check_relation('t');
-- The ones in between have what they had.
\! node start branch_chain_65
\set port `node port branch_chain_65`
\c - - - :port
SELECT who, count(*), sum(id) FROM t GROUP BY who ORDER BY who;
SELECT to_regclass('made_at_66');

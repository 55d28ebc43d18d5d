-- Many restarts of one compute, with changes of many kinds between them.
CREATE TABLE log (round int, id serial, PRIMARY KEY (round, id));
CREATE TABLE counters (id int PRIMARY KEY, n int) WITH (fillfactor = 50);
INSERT INTO counters SELECT i, 0 FROM generate_series(1, 1000) i;
CREATE TABLE gone (id int);

INSERT INTO log SELECT 1 FROM generate_series(1, 1000);
UPDATE counters SET n = n + 1;
\! node restart restart fast
\c
INSERT INTO log SELECT 2 FROM generate_series(1, 1000);
UPDATE counters SET n = n + 1;
\! node restart restart immediate
\c
INSERT INTO log SELECT 3 FROM generate_series(1, 1000);
UPDATE counters SET n = n + 1;
DELETE FROM counters WHERE id > 900;
VACUUM counters;
\! node restart restart fast
\c
-- Nothing but a restart: no WAL between two shutdowns but the checkpoint.
\! node restart restart fast
\c
\! node restart restart immediate
\c
CHECKPOINT;
\! node restart restart immediate
\c
SELECT pg_switch_wal() IS NOT NULL AS switched;
\! node restart restart immediate
\c
SELECT pg_switch_wal() IS NOT NULL AS switched;
INSERT INTO log SELECT 4 FROM generate_series(1, 1000);
\! node restart restart fast
\c
UPDATE counters SET n = n + 1;
DROP TABLE gone;
SELECT round, count(*), count(DISTINCT id) FROM log GROUP BY round ORDER BY round;
SELECT n, count(*), sum(id) FROM counters GROUP BY n;
SELECT to_regclass('gone');
SELECT check_relation('log');
SELECT check_relation('counters');

-- Transaction ids go on: nothing committed now is taken for something older.
SELECT txid_current() > max(xmin::text::bigint) AS newer FROM log;

-- Stopping twice and starting twice is an error or no change, but nothing breaks.
\! node stop restart
\! zenith pg stop restart > /dev/null 2>&1; node start restart
\! zenith pg start restart > /dev/null 2>&1; true
\c
SELECT round, count(*) FROM log GROUP BY round ORDER BY round;

-- A second writer on the same branch is refused while the first lives.
\! zenith pg create restart --name restart_second > /dev/null 2>&1; node refused pg start restart_second
INSERT INTO log SELECT 5 FROM generate_series(1, 10);
SELECT round, count(*) FROM log GROUP BY round ORDER BY round;

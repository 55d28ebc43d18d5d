-- Unlogged tables are empty after a restart of the compute and on a branch, as after a crash: their
-- contents are nowhere but on the compute. They work before and after. Temporary tables are gone.
CREATE UNLOGGED TABLE u (id int PRIMARY KEY, v text);
CREATE INDEX u_hash ON u USING hash (v);
CREATE INDEX u_gin ON u USING gin (to_tsvector('simple', v));
CREATE INDEX u_brin ON u USING brin (id);
CREATE INDEX u_gist ON u USING gist (int4range(id, id + 1));
CREATE INDEX u_spgist ON u USING spgist (v);
CREATE INDEX u_bloom ON u USING bloom (id);
CREATE UNLOGGED TABLE u_toast (id int, big text);
CREATE TABLE logged (id int PRIMARY KEY, v text);
INSERT INTO u SELECT i, 'v' || i % 100 FROM generate_series(1, 5000) i;
INSERT INTO u_toast SELECT i, (SELECT string_agg(md5((i * j)::text), '') FROM generate_series(1, 300) j)
                      FROM generate_series(1, 20) i;
INSERT INTO logged SELECT i, 'logged' FROM generate_series(1, 1000) i;
SELECT count(*), sum(id) FROM u;
SELECT count(*), sum(length(big)) FROM u_toast;

CREATE TEMPORARY TABLE tmp (id int PRIMARY KEY, v text);
INSERT INTO tmp SELECT i, 'temp' || i FROM generate_series(1, 3000) i;
CREATE INDEX ON tmp (v);
UPDATE tmp SET v = v || '+' WHERE id % 2 = 0;
DELETE FROM tmp WHERE id % 5 = 0;
VACUUM tmp;
SELECT * FROM contents('tmp');
-- A change of the persistence writes everything to the WAL, or forgets it.
CREATE UNLOGGED TABLE becomes_logged (id int PRIMARY KEY, v text);
INSERT INTO becomes_logged SELECT i, 'x' FROM generate_series(1, 2000) i;
ALTER TABLE becomes_logged SET LOGGED;
CREATE TABLE becomes_unlogged (id int PRIMARY KEY, v text);
INSERT INTO becomes_unlogged SELECT i, 'x' FROM generate_series(1, 2000) i;
ALTER TABLE becomes_unlogged SET UNLOGGED;

\! node branch unlogged_temp_branch unlogged_temp
\! node restart unlogged_temp
\c
SELECT count(*) FROM u;
SELECT count(*) FROM u_toast;
SELECT to_regclass('tmp');
SELECT * FROM contents('logged');
SELECT count(*), sum(id) FROM becomes_logged;
SELECT count(*) FROM becomes_unlogged;
-- They can be filled again, their indexes too.
INSERT INTO u SELECT i, 'v' || i % 100 FROM generate_series(1, 5000) i;
INSERT INTO u_toast SELECT i, (SELECT string_agg(md5((i * j)::text), '') FROM generate_series(1, 300) j)
                      FROM generate_series(1, 20) i;
INSERT INTO becomes_unlogged SELECT i, 'y' FROM generate_series(1, 10) i;
UPDATE u SET v = 'changed' WHERE id % 10 = 0;
DELETE FROM u WHERE id % 4 = 0;
VACUUM u;
SET enable_seqscan = off;
SELECT count(*) FROM u WHERE id BETWEEN 100 AND 200;
SELECT count(*) FROM u WHERE v = 'v7';
SELECT count(*) FROM u WHERE to_tsvector('simple', v) @@ 'v7';
SELECT count(*) FROM u WHERE int4range(id, id + 1) && int4range(10, 20);
RESET enable_seqscan;
SELECT * FROM contents('u');
SELECT check_relation('u');
SELECT count(*), sum(length(big)) FROM u_toast;

-- TRUNCATE of an unlogged table, and again empty after kill -9.
TRUNCATE u_toast;
INSERT INTO u_toast VALUES (1, 'one');
\! node kill unlogged_temp
\! node start unlogged_temp
\c
SELECT count(*) FROM u;
SELECT count(*) FROM u_toast;
SELECT count(*) FROM becomes_unlogged;
SELECT * FROM contents('logged');
SELECT check_relation('u');

-- Unlogged sequences (of identity columns of unlogged tables) do work.
CREATE UNLOGGED TABLE us (id int GENERATED ALWAYS AS IDENTITY, v int);
INSERT INTO us (v) SELECT i FROM generate_series(1, 10) i;
SELECT min(id), max(id) FROM us;
\! node restart unlogged_temp
\c
INSERT INTO us (v) SELECT i FROM generate_series(1, 10) i;
SELECT count(*), count(DISTINCT id) FROM us;

\! node start unlogged_temp_branch
\set port_branch `node port unlogged_temp_branch`
\c - - - :port_branch
SELECT count(*) FROM u;
SELECT count(*) FROM becomes_unlogged;
SELECT count(*), sum(id) FROM becomes_logged;
SELECT * FROM contents('logged');
INSERT INTO u SELECT i, 'branch' FROM generate_series(1, 100) i;
SELECT count(*), sum(id) FROM u;
SELECT check_relation('u');

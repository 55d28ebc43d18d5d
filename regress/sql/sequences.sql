-- A sequence never gives a number twice, whatever stops the compute; gaps stay as small as PostgreSQL's.
CREATE SEQUENCE plain;
CREATE SEQUENCE cached CACHE 20;
CREATE SEQUENCE stepped INCREMENT BY -3 MAXVALUE 100 MINVALUE -100 START 100 CYCLE;
CREATE TABLE t (id int GENERATED ALWAYS AS IDENTITY, s bigserial, v text);
CREATE TABLE drawn (phase int, n bigint);

SELECT count(nextval('plain')) FROM generate_series(1, 100);
SELECT count(nextval('cached')) FROM generate_series(1, 30);
SELECT nextval('stepped'), nextval('stepped');
INSERT INTO t (v) SELECT 'first' FROM generate_series(1, 50);
INSERT INTO drawn SELECT 1, nextval('plain') FROM generate_series(1, 10);
SELECT setval('stepped', 50);

\! node branch sequences_branch sequences
\! node restart sequences
\c
-- PostgreSQL logs a sequence 32 numbers ahead: a new compute starts there, never earlier.
SELECT nextval('plain') BETWEEN 111 AND 110 + 34 AS further;
SELECT nextval('cached') > 30 AS further;
SELECT nextval('stepped') <= 47 AS further;
INSERT INTO t (v) SELECT 'second' FROM generate_series(1, 50);
SELECT count(*), count(DISTINCT id), count(DISTINCT s), min(id), max(id) < 50 + 50 + 34 AS no_big_gap FROM t;
INSERT INTO drawn SELECT 2, nextval('plain') FROM generate_series(1, 10);
SELECT setval('plain', 1000000);
\! node restart sequences immediate
\c
INSERT INTO drawn SELECT 3, nextval('plain') FROM generate_series(1, 10);
SELECT count(*), count(DISTINCT n), bool_and(n > 1000000) FILTER (WHERE phase = 3) AS after_setval FROM drawn;
SELECT nextval('plain') > max(n) AS further FROM drawn;

-- Exactly logged values: setval is in the WAL with its own value.
SELECT setval('plain', 77, false);
\! node restart sequences
\c
SELECT nextval('plain');
ALTER SEQUENCE plain RESTART WITH 500 INCREMENT BY 5;
\! node restart sequences immediate
\c
SELECT nextval('plain');

-- Rolled back changes of a sequence's definition are not seen, nextval is not undone.
BEGIN;
ALTER SEQUENCE plain RESTART WITH 1;
SELECT nextval('plain');
ROLLBACK;
SELECT nextval('plain') >= 505 AS undone;
TRUNCATE t RESTART IDENTITY;
INSERT INTO t (v) SELECT 'third' FROM generate_series(1, 5);
\! node restart sequences
\c
SELECT id, s, v FROM t ORDER BY id;

-- The branch goes its own way.
\! node start sequences_branch
\set port_branch `node port sequences_branch`
\c - - - :port_branch
INSERT INTO drawn SELECT 2, nextval('plain') FROM generate_series(1, 10);
SELECT count(*), count(DISTINCT n), max(n) < 1000 AS own_way FROM drawn;
SELECT nextval('stepped') <= 47 AS further;
INSERT INTO t (v) SELECT 'branch' FROM generate_series(1, 5);
SELECT v, count(*), count(DISTINCT id) FROM t GROUP BY v ORDER BY v;

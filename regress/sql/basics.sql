-- A compute is an ordinary PostgreSQL: tables, indexes, views, functions; before and after a restart.
SHOW server_version_num \gset
SELECT :server_version_num / 10000 AS major_version;
SHOW transaction_read_only;

CREATE TABLE account (id int PRIMARY KEY, owner text NOT NULL, balance numeric(12,2));
INSERT INTO account SELECT i, 'owner ' || i % 17, i * 1.25 FROM generate_series(1, 5000) i;
CREATE INDEX account_owner ON account (owner);
CREATE VIEW rich AS SELECT * FROM account WHERE balance > 5000;
CREATE MATERIALIZED VIEW per_owner AS
    SELECT owner, count(*) AS n, sum(balance) AS total FROM account GROUP BY owner;
CREATE FUNCTION owner_total(who text) RETURNS numeric LANGUAGE sql
    AS $$ SELECT sum(balance) FROM account WHERE owner = who $$;
CREATE TYPE mood AS ENUM ('calm', 'busy');
CREATE TABLE diary (day date PRIMARY KEY, feeling mood, notes jsonb, tags text[]);
INSERT INTO diary SELECT date '2024-01-01' + i,
                         (ARRAY['calm', 'busy'])[1 + i % 2]::mood,
                         jsonb_build_object('i', i, 'list', ARRAY[i, i + 1]), ARRAY['t' || i % 3]
                    FROM generate_series(0, 99) i;

UPDATE account SET balance = balance + 1 WHERE id % 3 = 0;
DELETE FROM account WHERE id % 10 = 0;
ALTER TABLE account ADD COLUMN opened date NOT NULL DEFAULT '2024-02-29';

-- Not committed: must not be there after the restart.
BEGIN;
INSERT INTO account VALUES (1000001, 'nobody', 0);
SELECT count(*) FROM account WHERE owner = 'nobody';
ROLLBACK;

SELECT * FROM contents('account');
SELECT * FROM contents('diary');
SELECT count(*), sum(balance) FROM account;
SELECT count(*) FROM rich;
SELECT owner, n, total FROM per_owner ORDER BY owner LIMIT 3;
SELECT owner_total('owner 5');

\! node restart basics
\c

SELECT * FROM contents('account');
SELECT * FROM contents('diary');
SELECT count(*), sum(balance) FROM account;
SELECT count(*) FROM rich;
REFRESH MATERIALIZED VIEW per_owner;
SELECT owner, n, total FROM per_owner ORDER BY owner LIMIT 3;
SELECT owner_total('owner 5');
SELECT feeling, count(*), sum((notes->>'i')::int) FROM diary GROUP BY feeling ORDER BY feeling;
SELECT check_relation('account');
SELECT check_relation('diary');
SELECT check_relation('pg_class');
SELECT check_relation('pg_attribute');

-- The same by index and by sequential scan.
SET enable_seqscan = off;
SELECT count(*), sum(balance) FROM account WHERE owner = 'owner 5';
SET enable_seqscan = on;
SET enable_indexscan = off;
SET enable_bitmapscan = off;
SELECT count(*), sum(balance) FROM account WHERE owner = 'owner 5';
RESET ALL;

-- Constraints hold, and DDL can be undone.
INSERT INTO account VALUES (1, 'twice', 0);
BEGIN;
DROP TABLE account CASCADE;
CREATE TABLE account (other int);
ROLLBACK;
SELECT * FROM contents('account');

DROP MATERIALIZED VIEW per_owner;
DROP VIEW rich;
DROP TABLE account;
CREATE TABLE account (again int);
INSERT INTO account VALUES (7);
\! node restart basics immediate
\c
SELECT * FROM account;
SELECT count(*) FROM pg_class WHERE relname IN ('per_owner', 'rich', 'account_owner');

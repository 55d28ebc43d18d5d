-- What the rounds work on. Every transaction leaves one row in log, with its own transaction id as
-- the primary key; all other tables can be checked against it, or hold what their rows must be.
\set ON_ERROR_STOP 1
CREATE EXTENSION amcheck;
CREATE TABLE accounts (id int PRIMARY KEY, balance int NOT NULL) WITH (fillfactor = 50);
INSERT INTO accounts SELECT i, 1000 FROM generate_series(1, 108) i;
CREATE TABLE log (
    n bigserial UNIQUE,
    xid xid8 PRIMARY KEY WITH (fillfactor = 30),
    key text UNIQUE WITH (fillfactor = 20),
    src int NOT NULL REFERENCES accounts,
    dst int NOT NULL REFERENCES accounts,
    amount int NOT NULL
);
-- Of transactions that were rolled back, as reported by a later one.
CREATE TABLE aborted (xid xid8 PRIMARY KEY);
CREATE TABLE anchors (id int PRIMARY KEY, v int NOT NULL DEFAULT 0);
INSERT INTO anchors SELECT i FROM generate_series(1, 20) i;
CREATE TABLE multis (multi bigint PRIMARY KEY, anchor int NOT NULL, members text NOT NULL);
CREATE TABLE docs (id bigserial PRIMARY KEY, body text NOT NULL, sum text NOT NULL);
ALTER TABLE docs ALTER body SET STORAGE EXTERNAL;
-- t is md5(v), r is [v, v]: churned by updates of v.
CREATE TABLE churn (id int PRIMARY KEY, v int NOT NULL, t text NOT NULL, r int[] NOT NULL) WITH (fillfactor = 20);
INSERT INTO churn SELECT i, i, md5(i::text), ARRAY[i, i] FROM generate_series(1, 200) i;
CREATE INDEX churn_v ON churn (v) WITH (fillfactor = 10);
CREATE INDEX churn_t ON churn USING hash (t) WITH (fillfactor = 10);
CREATE INDEX churn_r ON churn USING gin (r);
CREATE INDEX churn_point ON churn USING gist (point(v, id)) WITH (fillfactor = 10);
CREATE INDEX churn_text ON churn USING spgist (t) WITH (fillfactor = 10);
CREATE INDEX churn_range ON churn USING brin (v) WITH (pages_per_range = 2);
CREATE TABLE scratch (i int);
CREATE TABLE facts (name text PRIMARY KEY, value bigint NOT NULL);
INSERT INTO facts VALUES ('scratch', 0);
CREATE TABLE subs (key text, i int, PRIMARY KEY (key, i));
CREATE UNLOGGED TABLE unlogged (i int);
-- Tables that come and go are children of made, databases are listed.
CREATE TABLE made (i int);
CREATE TABLE made_list (n bigserial PRIMARY KEY, name text UNIQUE, oid oid UNIQUE);
CREATE TABLE databases (name text PRIMARY KEY);

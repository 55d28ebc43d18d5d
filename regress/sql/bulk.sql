-- Much data at once: COPY over relations of many megabytes, COPY FREEZE, TOAST by every storage and
-- compression, CREATE TABLE AS; read back by a fresh compute and on a branch.
-- compute: shared_buffers=2MB
\getenv directory ZENITH_TEST_DIR
\set file :directory '/bulk.copy'
CREATE TABLE source (id int, v text, n numeric);
INSERT INTO source SELECT i, md5(i::text), i / 7.0 FROM generate_series(1, 100000) i;
COPY source TO :'file';
CREATE TABLE copied (LIKE source);
COPY copied FROM :'file';
CREATE INDEX copied_id ON copied (id);
COPY copied FROM :'file' WHERE id % 1000 = 0;
SELECT pg_relation_size('copied') > 6 * 1024 * 1024 AS some_megabytes;

BEGIN;
CREATE TABLE frozen (LIKE source);
COPY frozen FROM :'file' (FREEZE);
COMMIT;
SELECT count(*) FROM pg_visibility_map('frozen') WHERE NOT all_frozen;
BEGIN;
TRUNCATE frozen;
COPY frozen FROM :'file' (FREEZE);
ROLLBACK;
SELECT count(*) FROM pg_check_frozen('frozen');

CREATE TABLE toasted (id int PRIMARY KEY, plain text, extern text, ext text, lz text);
ALTER TABLE toasted ALTER extern SET STORAGE EXTERNAL, ALTER ext SET STORAGE EXTENDED, ALTER lz SET COMPRESSION lz4;
CREATE FUNCTION long(i int, n int) RETURNS text LANGUAGE sql IMMUTABLE AS
    $$ SELECT string_agg(md5((i * 1000 + j)::text), '') FROM generate_series(1, n) j $$;
INSERT INTO toasted SELECT i, 'p' || i, long(i, 100 + i), long(i, 500), repeat(long(i, 20), 50)
                      FROM generate_series(1, 150) i;
UPDATE toasted SET ext = 'short' WHERE id % 10 = 0;
UPDATE toasted SET plain = plain || '!' WHERE id % 7 = 0;
DELETE FROM toasted WHERE id % 15 = 0;
SELECT count(*), sum(length(extern)), sum(length(ext)), sum(length(lz)) FROM toasted;

CREATE TABLE selected AS SELECT id, v FROM source WHERE id % 2 = 0;
SELECT count(*), sum(id) FROM copied;
SELECT count(*), sum(n), sum(hashtext(v)) FROM source;
\! node branch bulk_branch bulk
\! node restart bulk
\c
SELECT count(*), sum(id) FROM copied;
SELECT count(*), sum(n), sum(hashtext(v)) FROM source;
SELECT count(*), sum(n), sum(hashtext(v)) FROM frozen;
SELECT count(*) FROM pg_visibility_map('frozen') WHERE NOT all_frozen;
SELECT count(*) FROM pg_check_frozen('frozen');
SELECT count(*), sum(hashtext(v)) FROM selected;
SELECT count(*), sum(length(extern)), sum(length(ext)), sum(length(lz)) FROM toasted;
SELECT * FROM contents('toasted');
SELECT check_relation('toasted');
SELECT check_relation('copied');
SELECT check_relation('frozen');
-- Parallel scans and index builds over holes.
\! node restart bulk
\c
SET min_parallel_table_scan_size = 0;
SET parallel_setup_cost = 0;
SET parallel_tuple_cost = 0;
SELECT count(*), sum(id), sum(hashtext(v)) FROM source;
CREATE INDEX source_id ON source (id);
SELECT count(*) FROM source a JOIN frozen b USING (id) WHERE a.v = b.v;
RESET ALL;
SELECT check_relation('source');
-- A scan the other way round, and single rows far apart.
SET enable_seqscan = off;
SELECT id, v FROM source WHERE id IN (1, 50000, 99999) ORDER BY id DESC;
RESET enable_seqscan;
DELETE FROM frozen WHERE id % 2 = 0;
SELECT count(*), sum(n) FROM frozen;

\! node start bulk_branch shared_buffers=2MB
\set port_branch `node port bulk_branch`
\c - - - :port_branch
UPDATE toasted SET ext = ext || 'branch' WHERE id = 1;
SELECT count(*), sum(length(extern)), sum(length(ext)), sum(length(lz)) FROM toasted;
SELECT count(*), sum(n), sum(hashtext(v)) FROM frozen;
COPY selected TO :'file';
TRUNCATE selected;
COPY selected FROM :'file';
SELECT count(*), sum(hashtext(v)) FROM selected;
\! node restart bulk_branch
\c
SELECT count(*), sum(hashtext(v)) FROM selected;
SELECT right(ext, 8) FROM toasted WHERE id = 1;

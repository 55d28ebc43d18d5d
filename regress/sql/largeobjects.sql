-- Large objects: written in parts, with gaps, truncated, over restarts and on a branch.
CREATE TABLE blob (id int PRIMARY KEY, lo oid);
CREATE FUNCTION bytes(n int, seed int) RETURNS bytea LANGUAGE sql IMMUTABLE AS $$
    SELECT decode(string_agg(md5((seed * 100000 + i)::text), '' ORDER BY i), 'hex') FROM generate_series(1, n / 16) i
$$;
INSERT INTO blob SELECT i, lo_from_bytea(0, bytes(i * 10000, i)) FROM generate_series(1, 20) i;
SELECT id, length(lo_get(lo)), md5(lo_get(lo)) FROM blob WHERE id IN (1, 10, 20) ORDER BY id;
-- A gap of a megabyte between two written parts.
INSERT INTO blob SELECT 100, lo_from_bytea(0, 'start');
SELECT lo_put((SELECT lo FROM blob WHERE id = 100), 1048576, 'end');
SELECT lo_put(lo, 5000, 'overwritten') FROM blob WHERE id = 10;
SELECT length(lo_get(lo)), md5(lo_get(lo)) FROM blob WHERE id = 100;
\! node branch largeobjects_branch largeobjects
\! node restart largeobjects
\c
SELECT length(lo_get(lo)), md5(lo_get(lo)) FROM blob WHERE id = 100;
SELECT id, length(lo_get(lo)), md5(lo_get(lo)) FROM blob WHERE id IN (1, 10, 20) ORDER BY id;
SELECT encode(lo_get(lo, 4998, 15), 'escape') ~ 'overwritten' FROM blob WHERE id = 10;

BEGIN;
SELECT lo_open(lo, x'60000'::int) AS fd FROM blob WHERE id = 20 \gset
SELECT lo_truncate(:fd, 12345);
SELECT lo_lseek(:fd, 0, 2);
SELECT lowrite(:fd, 'appended');
COMMIT;
SELECT count(lo_unlink(lo)) FROM blob WHERE id BETWEEN 2 AND 9;
DELETE FROM blob WHERE id BETWEEN 2 AND 9;
BEGIN;
SELECT count(lo_unlink(lo)) FROM blob;
ROLLBACK;
VACUUM pg_largeobject;
\! node restart largeobjects immediate
\c
SELECT id, length(lo_get(lo)), md5(lo_get(lo)) FROM blob WHERE id IN (1, 10, 20, 100) ORDER BY id;
SELECT count(*) FROM pg_largeobject_metadata;
SELECT check_relation('pg_largeobject');

-- Export and import go through files of the compute's machine.
\getenv directory ZENITH_TEST_DIR
\set file :directory '/largeobjects.bin'
SELECT lo_export(lo, :'file') FROM blob WHERE id = 20;
INSERT INTO blob SELECT 200, lo_import(:'file');
SELECT length(lo_get(a.lo)), lo_get(a.lo) = lo_get(b.lo) AS same FROM blob a, blob b WHERE a.id = 20 AND b.id = 200;

\! node start largeobjects_branch
\set port_branch `node port largeobjects_branch`
\c - - - :port_branch
SELECT id, length(lo_get(lo)), md5(lo_get(lo)) FROM blob WHERE id IN (1, 5, 10, 20, 100, 200) ORDER BY id;
SELECT count(lo_unlink(lo)) FROM blob;
SELECT count(*) FROM pg_largeobject;
VACUUM FULL pg_largeobject;
INSERT INTO blob SELECT 300, lo_from_bytea(0, bytes(20000, 300));
\! node restart largeobjects_branch
\c
SELECT id, length(lo_get(lo)), md5(lo_get(lo)) FROM blob WHERE id = 300;

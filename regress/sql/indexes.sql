-- Every index access method: built, changed, vacuumed, over restarts and on a branch; what an index
-- says is what the table says.
CREATE TABLE t (id int, txt text, arr int[], pt point, rng int4range, words tsvector, n numeric);
CREATE FUNCTION fill(first int, last int) RETURNS void LANGUAGE sql AS $$
    INSERT INTO t SELECT i, 'txt' || i % 500, ARRAY[i % 50, i % 51, i % 53], point(i % 211, i % 223),
                         int4range(i, i + i % 20), to_tsvector('simple', 'w' || i % 70 || ' w' || i % 90 || ' all'),
                         (i * 7919) % 10007
                    FROM generate_series(first, last) i
$$;
-- Some rows before the indexes are built, some after.
SELECT fill(1, 6000);
CREATE UNIQUE INDEX t_btree ON t (id);
CREATE INDEX t_btree_dup ON t (txt);
CREATE INDEX t_btree_incl ON t (n) INCLUDE (id);
CREATE INDEX t_hash ON t USING hash (txt);
CREATE INDEX t_gin_arr ON t USING gin (arr);
CREATE INDEX t_gin_words ON t USING gin (words) WITH (fastupdate = off);
CREATE INDEX t_gist_pt ON t USING gist (pt);
CREATE INDEX t_gist_rng ON t USING gist (rng);
CREATE INDEX t_spgist_pt ON t USING spgist (pt);
CREATE INDEX t_spgist_quad ON t USING spgist (pt kd_point_ops);
CREATE INDEX t_spgist_txt ON t USING spgist (txt);
CREATE INDEX t_brin ON t USING brin (id) WITH (pages_per_range = 4);
CREATE INDEX t_brin_bloom ON t USING brin (txt text_bloom_ops) WITH (pages_per_range = 4);
CREATE INDEX t_bloom ON t USING bloom (id, txt);
SELECT fill(6001, 12000);

-- Answers by one index alone (the others are hidden from the planner inside a transaction that is
-- undone) beside those of a sequential scan.
CREATE FUNCTION by_index(index text, condition text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
    scanned text;
    indexed text;
    plan text := '';
    line text;
BEGIN
    SET LOCAL enable_seqscan = on;
    SET LOCAL enable_indexscan = off;
    SET LOCAL enable_indexonlyscan = off;
    SET LOCAL enable_bitmapscan = off;
    SET LOCAL max_parallel_workers_per_gather = 0;
    EXECUTE format('SELECT count(*) || '' '' || coalesce(sum(id), 0) FROM t WHERE %s', condition) INTO scanned;
    BEGIN
        UPDATE pg_index SET indisvalid = false WHERE indrelid = 't'::regclass AND indexrelid <> index::regclass;
        SET LOCAL enable_seqscan = off;
        SET LOCAL enable_indexscan = on;
        SET LOCAL enable_indexonlyscan = on;
        SET LOCAL enable_bitmapscan = on;
        FOR line IN EXECUTE format('EXPLAIN SELECT count(*) FROM t WHERE %s', condition) LOOP
            plan := plan || line;
        END LOOP;
        EXECUTE format('SELECT count(*) || '' '' || coalesce(sum(id), 0) FROM t WHERE %s', condition) INTO indexed;
        RAISE SQLSTATE 'ZZZZZ';
    EXCEPTION WHEN SQLSTATE 'ZZZZZ' THEN NULL;
    END;
    RETURN CASE WHEN plan !~ (index || '\y') THEN 'not used: ' || plan
                WHEN indexed IS DISTINCT FROM scanned THEN format('WRONG: index %s, table %s', indexed, scanned)
                ELSE indexed END;
END $$;
CREATE VIEW answers AS
    SELECT index, by_index(index, condition)
      FROM (VALUES ('t_btree', 'id BETWEEN 100 AND 3500'), ('t_btree_dup', 'txt = ''txt77'''),
                   ('t_btree_incl', 'n < 1000'), ('t_hash', 'txt = ''txt42'''),
                   ('t_gin_arr', 'arr @> ARRAY[7, 9]'), ('t_gin_words', 'words @@ ''w3 & w33'''),
                   ('t_gist_pt', 'pt <@ box ''(10,10),(50,60)'''), ('t_gist_rng', 'rng && int4range(700, 1200)'),
                   ('t_spgist_pt', 'pt <@ box ''(10,10),(50,60)'''), ('t_spgist_quad', 'pt <@ box ''(0,0),(20,20)'''),
                   ('t_spgist_txt', 'txt = ''txt123'''), ('t_brin', 'id > 11000'),
                   ('t_brin_bloom', 'txt = ''txt9'''), ('t_bloom', 'id = 4711 AND txt = ''txt211''')) AS q (index, condition);
SELECT * FROM answers;
SELECT check_relation('t');
\! node branch indexes_branch indexes
\! node restart indexes
\c
SELECT * FROM answers;
SELECT check_relation('t');

-- Changes upon indexes read from the page server, some undone; pages emptied and deleted by VACUUM.
DELETE FROM t WHERE id BETWEEN 2000 AND 5000;
UPDATE t SET txt = 'moved' || id % 9, pt = point(id % 7, id % 11), arr = arr || 999 WHERE id % 13 = 0;
BEGIN;
SELECT fill(20000, 22000);
ROLLBACK;
VACUUM t;
SELECT * FROM answers;
\! node restart indexes immediate
\c
SELECT * FROM answers;
SELECT fill(2000, 5000);
SELECT gin_clean_pending_list('t_gin_arr') >= 0 AS cleaned;
SELECT brin_summarize_new_values('t_brin') >= 0 AS summarized;
SELECT count(brin_desummarize_range('t_brin', 0)) AS desummarized;
SELECT * FROM answers;
SELECT check_relation('t');
\! node restart indexes
\c
SELECT * FROM answers;

-- Built again, one of them concurrently, from a table in which every block is a hole.
REINDEX TABLE t;
REINDEX INDEX CONCURRENTLY t_btree_dup;
DROP INDEX t_gist_pt;
CREATE INDEX CONCURRENTLY t_gist_pt ON t USING gist (pt) WITH (buffering = on);
SELECT * FROM answers;
\! node restart indexes immediate
\c
SELECT * FROM answers;
SELECT check_relation('t');
-- A unique index still finds its duplicates.
INSERT INTO t (id) VALUES (4711);
SELECT * FROM contents('t');

\! node start indexes_branch
\set port_branch `node port indexes_branch`
\c - - - :port_branch
SELECT * FROM answers;
DELETE FROM t WHERE id % 2 = 0;
SELECT fill(12001, 14000);
VACUUM (INDEX_CLEANUP on) t;
SELECT * FROM answers;
\! node restart indexes_branch
\c
SELECT * FROM answers;
SELECT check_relation('t');
SELECT * FROM contents('t');

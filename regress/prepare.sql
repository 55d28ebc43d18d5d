-- Runs once on branch main, before the suites: what every branch of it then has.
CREATE EXTENSION amcheck;
CREATE EXTENSION bloom;
CREATE EXTENSION dblink;
CREATE EXTENSION pageinspect;
CREATE EXTENSION pg_visibility;
CREATE EXTENSION pgrowlocks;

-- Count and checksum of a relation's rows, whatever their order.
CREATE FUNCTION contents(relation regclass, OUT rows bigint, OUT checksum text)
LANGUAGE plpgsql AS $$
BEGIN
    EXECUTE format('SELECT count(*), md5(string_agg(md5(t::text), '''' ORDER BY md5(t::text) COLLATE "C"))
                      FROM %s t', relation) INTO rows, checksum;
END $$;

-- Opens another session on the same compute, for dblink.
CREATE FUNCTION open_session(name text) RETURNS void LANGUAGE sql AS $$
    SELECT dblink_connect(name, format('host=127.0.0.1 port=%s dbname=%s user=postgres',
                                       current_setting('port'), current_database()))
$$;

-- Every index of a table against its heap, with all heap tuples; a row says what is wrong.
CREATE FUNCTION check_relation(relation regclass) RETURNS SETOF text LANGUAGE plpgsql AS $$
DECLARE
    index regclass;
BEGIN
    RETURN QUERY SELECT format('heap block %s item %s: %s', blkno, offnum, msg)
                   FROM verify_heapam(relation, check_toast => true);
    FOR index IN SELECT i.indexrelid FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid
                                     JOIN pg_am a ON a.oid = c.relam
                  WHERE i.indrelid = relation AND a.amname = 'btree'
    LOOP
        PERFORM bt_index_parent_check(index, true, true);
    END LOOP;
END $$;

-- The rest of a cursor: how many rows, and the sum of their first column.
CREATE FUNCTION drain(c refcursor, OUT rows bigint, OUT sum bigint) LANGUAGE plpgsql AS $$
DECLARE
    r record;
    value bigint;
BEGIN
    rows := 0;
    LOOP
        FETCH c INTO r;
        EXIT WHEN NOT FOUND;
        EXECUTE 'SELECT (row_to_json($1)->>(SELECT key FROM json_object_keys(row_to_json($1)) key LIMIT 1))::bigint'
           INTO value USING r;
        rows := rows + 1;
        sum := coalesce(sum, 0) + value;
    END LOOP;
END $$;

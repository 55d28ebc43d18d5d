-- What a new compute holds, for model.awk: "X" the first transaction id it gives, "C" its other
-- counters, "L" the rows of log, "P" prepared transactions, and "bad" what does not add up.
\set ON_ERROR_STOP 1
\pset fieldsep ' '
SELECT 'X', pg_current_xact_id();
SELECT 'C', next_multixact_id, next_oid FROM pg_control_checkpoint();
BEGIN ISOLATION LEVEL REPEATABLE READ;
SELECT 'L', key, xid FROM log;
SELECT 'P', gid, transaction FROM pg_prepared_xacts;

SELECT 'bad: the sum of the accounts is ' || sum(balance) || ' in ' || count(*) || ' rows'
  FROM accounts HAVING sum(balance) <> 108000 OR count(*) <> 108;
SELECT format('bad: account %s has %s, by its log %s', id, balance, 1000 + coalesce(sum, 0))
  FROM accounts LEFT JOIN (SELECT id, sum(delta)
                             FROM (SELECT src AS id, -amount AS delta FROM log
                                   UNION ALL SELECT dst, amount FROM log) m GROUP BY id) s USING (id)
 WHERE balance <> 1000 + coalesce(sum, 0);
SELECT format('bad: transaction %s of log is %s', xid, pg_xact_status(xid))
  FROM log WHERE pg_xact_status(xid) <> 'committed';
SELECT format('bad: transaction %s was rolled back, but is %s', xid, pg_xact_status(xid))
  FROM aborted WHERE pg_xact_status(xid) <> 'aborted' OR xid IN (SELECT xid FROM log);
SELECT format('bad: multixact %s has the members %s, not %s', multi, now, members)
  FROM (SELECT *, (SELECT string_agg(m.xid || ' ' || m.mode, ',' ORDER BY m.xid::text::bigint, m.mode)
                     FROM pg_get_multixact_members(multi::text::xid) m) AS now FROM multis) m
 WHERE now IS DISTINCT FROM members;
SELECT format('bad: anchor %s has %s, not %s', id, v, count(anchor))
  FROM anchors LEFT JOIN multis ON anchor = id GROUP BY id, v HAVING v <> count(anchor);
SELECT format('bad: document %s has the checksum %s, not %s', id, md5(body), sum)
  FROM docs WHERE md5(body) <> sum;
SELECT 'bad: churn has ' || count(*) || ' rows, ' || count(*) FILTER (WHERE t <> md5(v::text) OR r <> ARRAY[v, v])
       || ' of them wrong'
  FROM churn HAVING count(*) <> 200 OR bool_or(t <> md5(v::text) OR r <> ARRAY[v, v]);
SELECT format('bad: scratch has %s rows, not %s', (SELECT count(*) FROM scratch), value)
  FROM facts WHERE name = 'scratch' AND value <> (SELECT count(*) FROM scratch);
SELECT format('bad: %s subtransactions of %s', count(*), key) FROM subs GROUP BY key HAVING count(*) <> 70;
SELECT 'bad: the unlogged table has ' || count(*) || ' rows' FROM unlogged HAVING count(*) > 0;
SELECT format('bad: table %s with oid %s, listed as %s with %s', c.relname, c.oid, m.name, m.oid)
  FROM (SELECT relname, oid FROM pg_class WHERE relname LIKE 'made\_t%' AND relkind = 'r') c
       FULL JOIN made_list m ON c.relname = m.name AND c.oid = m.oid
 WHERE c.oid IS NULL OR m.oid IS NULL;
SELECT format('bad: %s has %s rows, not 50', tableoid::regclass, count(*))
  FROM made GROUP BY tableoid HAVING count(*) <> 50;
SELECT format('bad: there is the database %s, listed is %s', datname, name)
  FROM (SELECT datname FROM pg_database WHERE datname LIKE 'db%') d FULL JOIN databases ON name = datname
 WHERE datname IS NULL OR name IS NULL;
SELECT format('bad: sequence at %s, but there is %s', last_value, max) FROM log_n_seq, (SELECT max(n) FROM log) m
 WHERE last_value < max;

-- The same rows by their indexes.
SET LOCAL enable_seqscan = off;
SET LOCAL enable_indexonlyscan = off;
SELECT 'bad: by index ' || i.count || ' rows of log, not ' || h.count
  FROM (SELECT count(key) FROM (SELECT key FROM log ORDER BY xid) l) i,
       (SELECT count(key) FROM (SELECT key FROM log WHERE ctid IS NOT NULL ORDER BY key) l) h
 WHERE i.count <> h.count;
SELECT 'bad: by index ' || count(*) || ' rows of churn' FROM churn WHERE v > -1000000000 HAVING count(*) <> 200;
COMMIT;
-- Looks at who has locked these rows, by multixact as well.
BEGIN;
SELECT FROM anchors FOR KEY SHARE \g /dev/null
ROLLBACK;
\echo end

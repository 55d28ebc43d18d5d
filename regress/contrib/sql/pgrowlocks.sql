-- pgrowlocks has no suite of its own in PostgreSQL 15. Locks of one transaction and of several: the
-- second session comes through dblink.
CREATE EXTENSION pgrowlocks;
CREATE EXTENSION dblink;
CREATE TABLE locked (id int PRIMARY KEY, value int);
INSERT INTO locked SELECT i, 0 FROM generate_series(1, 6) i;
SELECT dblink_connect('other', format('dbname=%s port=%s', current_database(),
                                      current_setting('port')));
BEGIN;
SELECT id FROM locked WHERE id = 1 FOR UPDATE;
SELECT id FROM locked WHERE id IN (2, 5) ORDER BY id FOR SHARE;
SELECT id FROM locked WHERE id = 3 FOR KEY SHARE;
UPDATE locked SET value = 1 WHERE id = 4;
SELECT dblink_exec('other', 'BEGIN');
SELECT * FROM dblink('other', 'SELECT id FROM locked WHERE id IN (2, 3) FOR KEY SHARE') AS t(id int);
SELECT * FROM dblink('other', 'SELECT id FROM locked WHERE id = 5 FOR SHARE') AS t(id int);
SELECT locked_row, multi, modes, cardinality(xids) AS lockers FROM pgrowlocks('locked')
 ORDER BY locked_row;
SELECT dblink_exec('other', 'COMMIT');
COMMIT;
SELECT locked_row, multi, modes FROM pgrowlocks('locked') ORDER BY locked_row;
SELECT dblink_disconnect('other');
-- Only tables.
SELECT * FROM pgrowlocks('locked_pkey');

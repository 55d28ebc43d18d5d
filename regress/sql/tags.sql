-- A tag is a name for a point in time; it does not move.
CREATE TABLE release (version int PRIMARY KEY, body text);
INSERT INTO release SELECT i, 'v1' FROM generate_series(1, 500) i;
\! node tag tags_v1 tags
UPDATE release SET body = 'v2';
INSERT INTO release SELECT i, 'v2' FROM generate_series(501, 700) i;
\! node tag tags_v2 tags
DROP TABLE release;

\! node branch tags_old tags_v1
\! node start tags_old
\set port_old `node port tags_old`
\c - - - :port_old
SELECT body, count(*), sum(version) FROM release GROUP BY body ORDER BY body;
-- Writing on the branch does not move the tag.
DELETE FROM release;

\! node branch tags_old_again tags_v1
\! node start tags_old_again
\set port_old_again `node port tags_old_again`
\c - - - :port_old_again
SELECT body, count(*), sum(version) FROM release GROUP BY body ORDER BY body;

\! node branch tags_new tags_v2
\! node start tags_new
\set port_new `node port tags_new`
\c - - - :port_new
SELECT body, count(*), sum(version) FROM release GROUP BY body ORDER BY body;
-- A tag of a branch's own future, and a branch of it.
INSERT INTO release VALUES (9999, 'v3');
\! node tag tags_v3 tags_new
DELETE FROM release WHERE version = 9999;
\! node branch tags_newest tags_v3
\! node start tags_newest
\set port_newest `node port tags_newest`
\c - - - :port_newest
SELECT body, count(*), sum(version) FROM release GROUP BY body ORDER BY body;

-- A name is given once, and again after it was taken away.
\! node refused tag tags_v1 main
\! node drop_tag tags_v1
\! node refused branch tags_gone tags_v1
\! node tag tags_v1 tags_v2
\! node branch tags_gone tags_v1
\! node start tags_gone
\set port_gone `node port tags_gone`
\c - - - :port_gone
SELECT body, count(*), sum(version) FROM release GROUP BY body ORDER BY body;
-- A branch made from a tag that was taken away lives on.
\c - - - :port_old_again
SELECT body, count(*), sum(version) FROM release GROUP BY body ORDER BY body;

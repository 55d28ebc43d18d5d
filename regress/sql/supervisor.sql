-- The supervisor: a crash of one backend ends the compute, which is there again at the same port
-- within moments, with all that was committed; no process is left behind, whoever is killed.
CREATE TABLE told (client int, n int, PRIMARY KEY (client, n));
\! node processes supervisor
\! backend_crash_load supervisor 3
\c
SELECT count(DISTINCT client) AS clients, count(*) FILTER (WHERE client = 0) AS victims FROM told;
SELECT client, max(n) = count(*) AS whole FROM told WHERE client > 0 GROUP BY client ORDER BY client;
SELECT check_relation('told');
\! node processes supervisor
\! node field supervisor restarts

-- What ALTER SYSTEM set holds after a crash, too.
ALTER SYSTEM SET work_mem = '5MB';
SELECT pg_backend_pid() AS pid \gset
\setenv PID :pid
\! kill -KILL $PID; node restarted supervisor 4
\c
SHOW work_mem;
ALTER SYSTEM RESET work_mem;

-- The postmaster itself.
\! kill -KILL `head -1 $ZENITH_REPO_DIR/computes/supervisor/pgdata/postmaster.pid`; node restarted supervisor 5
\c
SELECT count(*) > 0 AS there FROM told;
\! node processes supervisor

-- Without its supervisor postgres runs on; pg start gives it another, which does its duty.
\! node kill_supervisor supervisor; node processes supervisor
SELECT count(*) > 0 AS there FROM told;
\! node start supervisor; node processes supervisor
SELECT count(*) > 0 AS same_connection FROM told;
SELECT pg_backend_pid() AS pid \gset
\setenv PID :pid
\! kill -SEGV $PID; node restarted supervisor 6
\c
SELECT count(*) > 0 AS there FROM told;
-- pg stop stops postgres whether or not there is a supervisor.
\! node kill_supervisor supervisor; node stop supervisor; node processes supervisor
\! node start supervisor; node field supervisor restarts; node field supervisor status
\! node stop supervisor immediate; node processes supervisor; node field supervisor status

-- Shut down by other means: it stays down, and nobody watches it any more.
\! node start supervisor; kill -INT `head -1 $ZENITH_REPO_DIR/computes/supervisor/pgdata/postmaster.pid`; until [ "`node processes supervisor`" = "0 postmaster, 0 supervisor" ]; do sleep 0.01; done; node field supervisor status

-- While the page server is away it cannot come back: the supervisor goes on trying, until it can or
-- is told to stop.
\! node start supervisor
\c
SELECT pg_backend_pid() AS pid \gset
\setenv PID :pid
\! node pageserver stop; kill -KILL $PID; until grep -q 'attempt 2' $ZENITH_REPO_DIR/computes/supervisor/supervisor.log; do sleep 0.01; done; node field supervisor status; node processes supervisor; node refused pg destroy supervisor; node pageserver start; node restarted supervisor 1
\c
SELECT count(*) > 0 AS there FROM told;
SELECT pg_backend_pid() AS pid \gset
\setenv PID :pid
\! node pageserver stop; kill -KILL $PID; until [ "`node field supervisor status`" = restarting ]; do sleep 0.01; done; node stop supervisor; node processes supervisor; node field supervisor status; node pageserver start
\! node start supervisor; node processes supervisor
\! zenith pg destroy --force supervisor; node processes supervisor

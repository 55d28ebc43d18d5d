/* sql/zenith--1.0.sql */

-- complain if script is sourced in psql, rather than via CREATE EXTENSION
\echo Use "CREATE EXTENSION zenith" to load this file. \quit

-- What this server is and how it stands with its page server. On a server that is not a compute,
-- mode is "inert" and the rest is null.
CREATE FUNCTION zenith_status(
    OUT mode text,                  -- inert, read-write or read-only
    OUT timeline text,
    OUT start_lsn pg_lsn,           -- where this compute started
    OUT term integer,               -- 0 for a read-only compute
    OUT pageserver text,            -- host and port
    OUT pageserver_connection text, -- none, connecting, connected or refused
    OUT last_error text,            -- why it is not connected
    OUT wal_receiver text,          -- none, startup, catchup, streaming or stopping
    OUT flush_lsn pg_lsn,           -- WAL up to here is durable in the repository
    OUT apply_lsn pg_lsn)           -- WAL up to here is ingested
RETURNS record
AS 'MODULE_PATHNAME', 'zenith_status'
LANGUAGE C STRICT VOLATILE PARALLEL SAFE;

CREATE FUNCTION zenith_stat_values(
    OUT holes_fetched bigint,
    OUT zero_pages bigint,
    OUT bytes_fetched bigint,
    OUT fetch_wait_us bigint,
    OUT readahead_pages bigint,
    OUT readahead_hits bigint,
    OUT connections bigint,
    OUT errors bigint)
RETURNS record
AS 'MODULE_PATHNAME', 'zenith_stat_values'
LANGUAGE C STRICT VOLATILE PARALLEL SAFE;

-- Reads of holes since server start, of all processes.
CREATE VIEW zenith_stat AS SELECT * FROM zenith_stat_values();

GRANT SELECT ON zenith_stat TO PUBLIC;

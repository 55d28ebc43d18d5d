/*-------------------------------------------------------------------------
 *
 * zenith_stat.h
 *	  counters in shared memory and the SQL functions over them
 *
 * Counting needs no lock and raises no error. Before shared memory is there, or in a server that is
 * not a compute, counting does nothing.
 *
 *-------------------------------------------------------------------------
 */
#ifndef ZENITH_STAT_H
#define ZENITH_STAT_H

/* The order is that of the columns of zenith_stat_values(). */
typedef enum ZenithCounter
{
	ZENITH_HOLES_FETCHED,		/* holes read that the page server filled with a page */
	ZENITH_ZERO_PAGES,			/* holes read for which it had none */
	ZENITH_BYTES_FETCHED,		/* bytes of pages received, read-ahead included */
	ZENITH_FETCH_WAIT_US,		/* microseconds reads waited for holes */
	ZENITH_READAHEAD_PAGES,		/* pages asked for before they were needed */
	ZENITH_READAHEAD_HITS,		/* holes that had been asked for before */
	ZENITH_CONNECTIONS,			/* page streams opened */
	ZENITH_ERRORS,				/* lost connections and failed pages, retried ones included */
	ZENITH_COUNTERS
} ZenithCounter;

/* How the background worker stands with the page server. */
typedef enum ZenithLink
{
	ZENITH_LINK_NONE,			/* a read-only compute has none */
	ZENITH_LINK_CONNECTING,
	ZENITH_LINK_CONNECTED,		/* the page server knows where to get WAL */
	ZENITH_LINK_REFUSED			/* the page server does not take WAL of this term */
} ZenithLink;

/* Called from _PG_init of a compute. */
extern void zenith_stat_init(void);

extern void zenith_count(ZenithCounter counter, uint64 n);

/* `error` may be NULL. */
extern void zenith_set_link(ZenithLink link, const char *error);

#endif							/* ZENITH_STAT_H */

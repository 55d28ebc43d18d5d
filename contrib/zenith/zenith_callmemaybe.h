/*-------------------------------------------------------------------------
 *
 * zenith_callmemaybe.h
 *	  tells the page server where to fetch WAL from
 *
 *-------------------------------------------------------------------------
 */
#ifndef ZENITH_CALLMEMAYBE_H
#define ZENITH_CALLMEMAYBE_H

/* Called from _PG_init of a compute; registers nothing on a read-only one. */
extern void zenith_callmemaybe_register(void);

/* Entry point of the background worker. */
extern void zenith_callmemaybe_main(Datum arg);

#endif							/* ZENITH_CALLMEMAYBE_H */

/*-------------------------------------------------------------------------
 *
 * zenith_callmemaybe.h
 *	  tells the page server where to fetch WAL from
 *
 *-------------------------------------------------------------------------
 */
#ifndef ZENITH_CALLMEMAYBE_H
#define ZENITH_CALLMEMAYBE_H

/* Entry point of the background worker. */
extern void zenith_callmemaybe_main(Datum arg);

#endif							/* ZENITH_CALLMEMAYBE_H */

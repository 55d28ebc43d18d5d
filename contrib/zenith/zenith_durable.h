/*-------------------------------------------------------------------------
 *
 * zenith_durable.h
 *	  what PostgreSQL promises to be durable is at the page server
 *
 *-------------------------------------------------------------------------
 */
#ifndef ZENITH_DURABLE_H
#define ZENITH_DURABLE_H

/*
 * For a compute that writes; call it in _PG_init, after zenith_guc_require(). FATAL when the
 * settings would let a commit return before its WAL is at the page server.
 */
extern void zenith_durable_init(void);

#endif							/* ZENITH_DURABLE_H */

/*-------------------------------------------------------------------------
 *
 * zenith_logical.h
 *	  logical replication tells nobody what a crash of the compute could take back
 *
 *-------------------------------------------------------------------------
 */
#ifndef ZENITH_LOGICAL_H
#define ZENITH_LOGICAL_H

/* Called from _PG_init of a compute. */
extern void zenith_logical_init(void);

/* Called in a walsender with a database when its client has been authenticated. */
extern void zenith_logical_publish(void);

#endif							/* ZENITH_LOGICAL_H */

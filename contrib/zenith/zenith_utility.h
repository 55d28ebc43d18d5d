/*-------------------------------------------------------------------------
 *
 * zenith_utility.h
 *	  commands that reach relation files behind the storage manager's back
 *
 *-------------------------------------------------------------------------
 */
#ifndef ZENITH_UTILITY_H
#define ZENITH_UTILITY_H

/* Called from _PG_init of a compute. */
extern void zenith_utility_init(void);

#endif							/* ZENITH_UTILITY_H */

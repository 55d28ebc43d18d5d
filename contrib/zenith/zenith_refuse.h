/*-------------------------------------------------------------------------
 *
 * zenith_refuse.h
 *	  what cannot work on a compute ends in an error with a hint
 *
 *-------------------------------------------------------------------------
 */
#ifndef ZENITH_REFUSE_H
#define ZENITH_REFUSE_H

/* Called from _PG_init of a compute. */
extern void zenith_refuse_init(void);

#endif							/* ZENITH_REFUSE_H */

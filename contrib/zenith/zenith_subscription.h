/*-------------------------------------------------------------------------
 *
 * zenith_subscription.h
 *	  a branch does not use the replication slots of its parent's subscriptions
 *
 *-------------------------------------------------------------------------
 */
#ifndef ZENITH_SUBSCRIPTION_H
#define ZENITH_SUBSCRIPTION_H

/*
 * Called in a subscription's worker before it connects, outside of transactions: ERROR when the
 * subscription is inherited.
 */
extern void zenith_subscription_check_worker(void);

/* Called before DROP SUBSCRIPTION: ERROR when it would drop the slot of an inherited one. */
extern void zenith_subscription_check_drop(const char *name);

#endif							/* ZENITH_SUBSCRIPTION_H */

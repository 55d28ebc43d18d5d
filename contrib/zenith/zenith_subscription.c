/*-------------------------------------------------------------------------
 *
 * zenith_subscription.c
 *	  a branch does not use the replication slots of its parent's subscriptions
 *
 * Subscriptions are rows of a catalog, so a branch has those of its parent, enabled. Its worker would
 * get from their slots what the parent then never gets, and DROP SUBSCRIPTION would drop a slot that
 * the parent uses. So an inherited subscription does neither, until ALTER SUBSCRIPTION has been used
 * on it: the row then is the branch's own, written by a transaction after the branch point.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "access/transam.h"
#include "access/xact.h"
#include "catalog/pg_subscription.h"
#include "miscadmin.h"
#include "replication/worker_internal.h"
#include "utils/acl.h"
#include "utils/syscache.h"

#include "zenith_guc.h"
#include "zenith_subscription.h"

static bool
is_inherited(HeapTuple tuple)
{
	FullTransactionId next = ReadNextFullTransactionId();
	TransactionId xmin = HeapTupleHeaderGetRawXmin(tuple->t_data);
	uint32		epoch = EpochFromFullTransactionId(next);

	if (xmin > XidFromFullTransactionId(next))
		epoch--;
	return FullTransactionIdPrecedes(FullTransactionIdFromEpochAndXid(epoch, xmin),
									 zenith_branch_xid);
}

void
zenith_subscription_check_worker(void)
{
	HeapTuple	tuple;
	bool		inherited = false;

	StartTransactionCommand();
	tuple = SearchSysCache1(SUBSCRIPTIONOID, ObjectIdGetDatum(MySubscription->oid));
	if (HeapTupleIsValid(tuple))
	{
		inherited = is_inherited(tuple);
		ReleaseSysCache(tuple);
	}
	CommitTransactionCommand();

	if (inherited)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("subscription \"%s\" is inherited from another branch", MySubscription->name),
				 errdetail("What one branch gets from its replication slot, the other would miss."),
				 errhint("Use ALTER SUBSCRIPTION to disable it, or to give it a slot of its own.")));
}

void
zenith_subscription_check_drop(const char *name)
{
	HeapTuple	tuple;
	bool		drops_slot;
	bool		inherited;
	bool		no_slot;

	tuple = SearchSysCache2(SUBSCRIPTIONNAME, ObjectIdGetDatum(MyDatabaseId), CStringGetDatum(name));
	if (!HeapTupleIsValid(tuple))
		return;
	(void) SysCacheGetAttr(SUBSCRIPTIONNAME, tuple, Anum_pg_subscription_subslotname, &no_slot);
	drops_slot = !no_slot &&
		pg_subscription_ownercheck(((Form_pg_subscription) GETSTRUCT(tuple))->oid, GetUserId());
	inherited = is_inherited(tuple);
	ReleaseSysCache(tuple);

	/* Where the command is going to fail anyway, it raises its own error. */
	if (drops_slot && inherited)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("the replication slot of subscription \"%s\" is used by another branch", name),
				 errdetail("The subscription is inherited, and dropping it would drop the slot."),
				 errhint("Use ALTER SUBSCRIPTION ... DISABLE and ALTER SUBSCRIPTION ... SET (slot_name = NONE) first.")));
}

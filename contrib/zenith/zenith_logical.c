/*-------------------------------------------------------------------------
 *
 * zenith_logical.c
 *	  logical replication tells nobody what a crash of the compute could take back
 *
 * A crash takes a compute back to what the page server has received. To PostgreSQL what is flushed
 * to the local disk is safe, so without this:
 *
 * - A publisher would send transactions that it does not have any more after a crash. The subscriber
 *	 keeps them, and as it is ahead then, what the publisher commits next is skipped.
 * - A subscriber would confirm transactions that it does not have any more after a crash (its
 *	 workers commit asynchronously unless told otherwise), and the publisher never sends them again.
 *
 * So on a publisher, what a walsender sends waits until the page server has received the WAL it was
 * made from. The messages are recognized where they go to the client: a function of PqCommMethods is
 * replaced in these processes. On a subscriber, the workers' confirmations wait for what is flushed
 * locally, and so does the removal of a copy's slot; they go through WalReceiverFunctions. What the
 * page server has received is where the slot that it reads from is.
 *
 * Before the SQL functions (pg_logical_slot_get_changes() and so on) read, all WAL up to then is flushed
 * and received, and they do not read beyond.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

/* Not to need the headers of GSSAPI; libpq-be.h keeps its layout without them. */
#undef ENABLE_GSS

#include "access/xact.h"
#include "access/xlog.h"
#include "access/xlog_internal.h"
#include "libpq/libpq.h"
#include "miscadmin.h"
#include "pgstat.h"
#include "port/pg_bswap.h"
#include "replication/logicalworker.h"
#include "replication/slot.h"
#include "replication/walreceiver.h"
#include "replication/walsender_private.h"
#include "storage/latch.h"
#include "utils/fmgroids.h"
#include "utils/pg_lsn.h"
#include "utils/timestamp.h"

#include "zenith_builtins.h"
#include "zenith_logical.h"
#include "zenith_subscription.h"

/* kReplicationSlotName of the page server. */
#define PAGE_SERVER_SLOT "zenith"
/* Nothing tells a process that this slot has moved; as a rule it has within a millisecond. */
#define POLL_MS 1
/* Much less than wal_sender_timeout and wal_receiver_timeout: the peer is not left without a word. */
#define PATIENCE_MS 10000
/* A walsender that holds a position back does not come back to it by itself. */
#define KEEPALIVE_PATIENCE_MS 100

/* 'w': start, end, time, then the output plugin's; 'k': end, time, whether to reply. */
#define LSN_OFFSET 1
/* 'r': written, flushed, applied, time, whether to reply. */
#define FLUSHED_OFFSET (1 + sizeof(uint64))
#define MAX_MESSAGE 64

static const PQcommMethods *socket_methods;
static PQcommMethods publishing_methods;

static WalReceiverFunctionsType *receiver_functions;
static WalReceiverFunctionsType subscribing_functions;

static uint64
get_lsn(const char *message, size_t offset)
{
	uint64		value;

	memcpy(&value, message + offset, sizeof(value));
	return pg_ntoh64(value);
}

static void
put_lsn(char *message, size_t offset, XLogRecPtr lsn)
{
	uint64		value = pg_hton64(lsn);

	memcpy(message + offset, &value, sizeof(value));
}

/* Up to where the page server has the WAL. A compute that does not write has no such slot. */
static XLogRecPtr
received_lsn(void)
{
	XLogRecPtr	lsn = PG_UINT64_MAX;
	ReplicationSlot *slot;

	LWLockAcquire(ReplicationSlotControlLock, LW_SHARED);
	slot = SearchNamedReplicationSlot(PAGE_SERVER_SLOT, false);
	if (slot != NULL)
	{
		SpinLockAcquire(&slot->mutex);
		lsn = slot->data.restart_lsn;
		SpinLockRelease(&slot->mutex);
	}
	LWLockRelease(ReplicationSlotControlLock);
	return lsn;
}

static bool
wait_until_received(XLogRecPtr lsn, int patience_ms, bool interruptible)
{
	static XLogRecPtr received = InvalidXLogRecPtr;
	TimestampTz deadline = 0;

	for (;;)
	{
		TimestampTz now;

		if (lsn <= received)
			return true;
		received = received_lsn();
		if (lsn <= received)
			return true;
		now = GetCurrentTimestamp();
		if (deadline == 0)
			deadline = TimestampTzPlusMilliseconds(now, patience_ms);
		else if (now >= deadline)
			return false;
		/* Who called us looks at everything again before it sleeps on its latch. */
		(void) WaitLatch(MyLatch, (interruptible ? WL_LATCH_SET : 0) | WL_TIMEOUT | WL_EXIT_ON_PM_DEATH,
						 POLL_MS, WAIT_EVENT_SYNC_REP);
		if (interruptible)
		{
			ResetLatch(MyLatch);
			CHECK_FOR_INTERRUPTS();
		}
	}
}

static void
wait_until_flushed_and_received(XLogRecPtr lsn)
{
	XLogFlush(lsn);
	while (!wait_until_received(lsn, PATIENCE_MS, true))
		;
}

/* ---------------------------------------------------------------- publisher */

static void
require_received(XLogRecPtr lsn)
{
	if (!wait_until_received(lsn, PATIENCE_MS, true))
		ereport(FATAL,
				(errcode(ERRCODE_CONNECTION_FAILURE),
				 errmsg("logical replication waits for the page server to receive WAL"),
				 errdetail("It has not received %X/%X within %d s.", LSN_FORMAT_ARGS(lsn),
						   PATIENCE_MS / 1000),
				 errhint("Use \"zenith status\" to see whether it runs; the subscriber will try again.")));
}

static int
publish_message(char type, const char *message, size_t length)
{
	/*
	 * The end of CREATE_REPLICATION_SLOT: its snapshot, from which tables are copied, sees what is
	 * committed up to here.
	 */
	if (type == 'C')
		require_received(GetFlushRecPtr(NULL));
	return socket_methods->putmessage(type, message, length);
}

static void
publish_message_noblock(char type, const char *message, size_t length)
{
	char		copy[MAX_MESSAGE];

	if (type == 'd' && length >= LSN_OFFSET + sizeof(uint64))
	{
		XLogRecPtr	lsn = get_lsn(message, LSN_OFFSET);

		if (message[0] == 'w')
		{
			/* Of a commit this is the record's end; of a change in it, before that. */
			require_received(lsn);
		}
		else if (message[0] == 'k' && length <= sizeof(copy) &&
				 MyWalSnd->state != WALSNDSTATE_STOPPING &&
				 !wait_until_received(lsn, KEEPALIVE_PATIENCE_MS, false))
		{
			/* Some take a position from it to go on from after an interruption. */
			memcpy(copy, message, length);
			put_lsn(copy, LSN_OFFSET, received_lsn());
			message = copy;
		}
	}
	socket_methods->putmessage_noblock(type, message, length);
}

void
zenith_logical_publish(void)
{
	socket_methods = PqCommMethods;
	publishing_methods = *PqCommMethods;
	publishing_methods.putmessage = publish_message;
	publishing_methods.putmessage_noblock = publish_message_noblock;
	PqCommMethods = &publishing_methods;
}

/* ---------------------------------------------------------------- SQL functions */

static ZenithBuiltin slot_readers[] = {
	{F_PG_LOGICAL_SLOT_GET_CHANGES, NULL},
	{F_PG_LOGICAL_SLOT_GET_BINARY_CHANGES, NULL},
	{F_PG_LOGICAL_SLOT_PEEK_CHANGES, NULL},
	{F_PG_LOGICAL_SLOT_PEEK_BINARY_CHANGES, NULL},
	{InvalidOid, NULL},
};

/* Where the last record ends, and not where on its page the next one begins. */
static XLogRecPtr
end_of_records(void)
{
	XLogRecPtr	next = GetXLogInsertRecPtr();

	if (XLogSegmentOffset(next, wal_segment_size) == SizeOfXLogLongPHD)
		return next - SizeOfXLogLongPHD;
	if (next % XLOG_BLCKSZ == SizeOfXLogShortPHD)
		return next - SizeOfXLogShortPHD;
	return next;
}

/* slot_name, upto_lsn, upto_nchanges, options */
static Datum
slot_read_function(PG_FUNCTION_ARGS)
{
	XLogRecPtr	end = end_of_records();

	/* Waiting afterwards would be too late: what get_changes() has read it does not give again. */
	wait_until_flushed_and_received(end);
	if (PG_ARGISNULL(1) || PG_GETARG_LSN(1) == InvalidXLogRecPtr || PG_GETARG_LSN(1) > end)
	{
		fcinfo->args[1].value = LSNGetDatum(end);
		fcinfo->args[1].isnull = false;
	}
	return zenith_call_original(slot_readers, fcinfo);
}

/* ---------------------------------------------------------------- subscriber */

static void
confirm(WalReceiverConn *conn, const char *buffer, int length)
{
	static XLogRecPtr confirmed = InvalidXLogRecPtr;
	char		copy[MAX_MESSAGE];

	if (length >= (int) (FLUSHED_OFFSET + sizeof(uint64)) && length <= (int) sizeof(copy) &&
		buffer[0] == 'r')
	{
		XLogRecPtr	flushed = get_lsn(buffer, FLUSHED_OFFSET);

		/* The worker says flushed when it is in the local files, which was before now. */
		if (flushed > confirmed)
		{
			if (wait_until_received(GetFlushRecPtr(NULL), PATIENCE_MS, true))
				confirmed = flushed;
			else
			{
				/* The worker repeats its position every now and then. */
				memcpy(copy, buffer, length);
				put_lsn(copy, FLUSHED_OFFSET, confirmed);
				buffer = copy;
			}
		}
	}
	(*receiver_functions->walrcv_send) (conn, buffer, length);
}

static WalReceiverConn *
connect_to_publisher(const char *conninfo, bool logical, const char *name, char **err)
{
	zenith_subscription_check_worker();
	return (*receiver_functions->walrcv_connect) (conninfo, logical, name, err);
}

static WalRcvExecResult *
execute(WalReceiverConn *conn, const char *query, const int count, const Oid *types)
{
	/* A table's worker is about to end: that it has all must not be forgotten. */
	if (strncmp(query, "DROP_REPLICATION_SLOT", strlen("DROP_REPLICATION_SLOT")) == 0 &&
		XactLastCommitEnd != InvalidXLogRecPtr)
		wait_until_flushed_and_received(XactLastCommitEnd);
	return (*receiver_functions->walrcv_exec) (conn, query, count, types);
}

/*
 * Workers load libpqwalreceiver when they start, and read their subscription in a transaction before
 * they connect to the publisher.
 */
static void
at_commit(XactEvent event, void *arg)
{
	if (event != XACT_EVENT_COMMIT || receiver_functions != NULL || WalReceiverFunctions == NULL ||
		!IsLogicalWorker())
		return;
	receiver_functions = WalReceiverFunctions;
	subscribing_functions = *WalReceiverFunctions;
	subscribing_functions.walrcv_connect = connect_to_publisher;
	subscribing_functions.walrcv_send = confirm;
	subscribing_functions.walrcv_exec = execute;
	WalReceiverFunctions = &subscribing_functions;
}

void
zenith_logical_init(void)
{
	RegisterXactCallback(at_commit, NULL);
	zenith_replace_builtins(slot_readers, slot_read_function);
}

/*-------------------------------------------------------------------------
 *
 * zenith_stat.c
 *	  counters in shared memory and the SQL functions over them
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "fmgr.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "port/atomics.h"
#include "replication/walsender.h"
#include "replication/walsender_private.h"
#include "storage/ipc.h"
#include "storage/lwlock.h"
#include "storage/shmem.h"
#include "storage/spin.h"
#include "utils/backend_status.h"
#include "utils/builtins.h"
#include "utils/pg_lsn.h"

#include "client/page_client.h"
#include "zenith_guc.h"
#include "zenith_stat.h"

/* The application name of the page server's WAL receiver, see synchronous_standby_names. */
#define RECEIVER_NAME "zenith_pageserver"

#define LINK_ERROR_SIZE 512

typedef struct ZenithShared
{
	pg_atomic_uint64 counters[ZENITH_COUNTERS];
	LWLock	   *lock;			/* protects what follows */
	ZenithLink	link;
	char		link_error[LINK_ERROR_SIZE];
} ZenithShared;

static ZenithShared *shared = NULL;
static shmem_request_hook_type next_shmem_request_hook = NULL;
static shmem_startup_hook_type next_shmem_startup_hook = NULL;

static void
shmem_request(void)
{
	if (next_shmem_request_hook)
		next_shmem_request_hook();
	RequestAddinShmemSpace(MAXALIGN(sizeof(ZenithShared)));
	RequestNamedLWLockTranche("zenith", 1);
}

static void
shmem_startup(void)
{
	ZenithShared *area;
	bool		found;
	int			i;

	if (next_shmem_startup_hook)
		next_shmem_startup_hook();

	LWLockAcquire(AddinShmemInitLock, LW_EXCLUSIVE);
	area = (ZenithShared *) ShmemInitStruct("zenith", sizeof(ZenithShared), &found);
	if (!found)
	{
		for (i = 0; i < ZENITH_COUNTERS; i++)
			pg_atomic_init_u64(&area->counters[i], 0);
		area->lock = &(GetNamedLWLockTranche("zenith"))->lock;
		area->link = zenith_term > 0 ? ZENITH_LINK_CONNECTING : ZENITH_LINK_NONE;
		area->link_error[0] = '\0';
	}
	LWLockRelease(AddinShmemInitLock);
	shared = area;
}

void
zenith_stat_init(void)
{
	next_shmem_request_hook = shmem_request_hook;
	shmem_request_hook = shmem_request;
	next_shmem_startup_hook = shmem_startup_hook;
	shmem_startup_hook = shmem_startup;
}

void
zenith_count(ZenithCounter counter, uint64 n)
{
	if (shared != NULL)
		pg_atomic_fetch_add_u64(&shared->counters[counter], n);
}

void
zenith_set_link(ZenithLink link, const char *error)
{
	if (shared == NULL)
		return;
	LWLockAcquire(shared->lock, LW_EXCLUSIVE);
	shared->link = link;
	strlcpy(shared->link_error, error ? error : "", LINK_ERROR_SIZE);
	LWLockRelease(shared->lock);
}

PG_FUNCTION_INFO_V1(zenith_stat_values);

/* One row with every counter; all zero where this server is not a compute. */
Datum
zenith_stat_values(PG_FUNCTION_ARGS)
{
	TupleDesc	tupdesc;
	Datum		values[ZENITH_COUNTERS];
	bool		nulls[ZENITH_COUNTERS];
	int			i;

	if (get_call_result_type(fcinfo, NULL, &tupdesc) != TYPEFUNC_COMPOSITE)
		elog(ERROR, "return type must be a row type");
	if (tupdesc->natts != ZENITH_COUNTERS)
		elog(ERROR, "zenith_stat_values() has %d columns instead of %d",
			 tupdesc->natts, ZENITH_COUNTERS);

	memset(nulls, 0, sizeof(nulls));
	for (i = 0; i < ZENITH_COUNTERS; i++)
		values[i] = Int64GetDatum(shared ? (int64) pg_atomic_read_u64(&shared->counters[i]) : 0);
	PG_RETURN_DATUM(HeapTupleGetDatum(heap_form_tuple(BlessTupleDesc(tupdesc), values, nulls)));
}

/* The process id of the walsender that serves the page server; 0 when there is none. */
static int
receiver_pid(void)
{
	int			count = pgstat_fetch_stat_numbackends();
	int			i;

	for (i = 1; i <= count; i++)
	{
		LocalPgBackendStatus *local = pgstat_fetch_stat_local_beentry(i);

		if (local != NULL && local->backendStatus.st_backendType == B_WAL_SENDER &&
			strcmp(local->backendStatus.st_appname, RECEIVER_NAME) == 0)
			return local->backendStatus.st_procpid;
	}
	return 0;
}

/* A copy of that walsender's state; false when it has not begun to stream. */
static bool
receiver_state(WalSndState *state, XLogRecPtr *flush, XLogRecPtr *apply)
{
	int			pid = receiver_pid();
	int			i;

	for (i = 0; pid != 0 && i < max_wal_senders; i++)
	{
		WalSnd	   *walsnd = &WalSndCtl->walsnds[i];
		bool		found;

		SpinLockAcquire(&walsnd->mutex);
		found = walsnd->pid == pid;
		*state = walsnd->state;
		*flush = walsnd->flush;
		*apply = walsnd->apply;
		SpinLockRelease(&walsnd->mutex);
		if (found)
			return true;
	}
	return false;
}

static const char *
receiver_state_name(WalSndState state)
{
	switch (state)
	{
		case WALSNDSTATE_STARTUP:
			return "startup";
		case WALSNDSTATE_BACKUP:
			return "backup";
		case WALSNDSTATE_CATCHUP:
			return "catchup";
		case WALSNDSTATE_STREAMING:
			return "streaming";
		case WALSNDSTATE_STOPPING:
			return "stopping";
	}
	return "unknown";
}

static const char *
link_name(ZenithLink link)
{
	switch (link)
	{
		case ZENITH_LINK_NONE:
			return "none";
		case ZENITH_LINK_CONNECTING:
			return "connecting";
		case ZENITH_LINK_CONNECTED:
			return "connected";
		case ZENITH_LINK_REFUSED:
			return "refused";
	}
	return "unknown";
}

PG_FUNCTION_INFO_V1(zenith_status);

#define STATUS_COLUMNS 10

/* One row: what this server is and how it stands with its page server. */
Datum
zenith_status(PG_FUNCTION_ARGS)
{
	TupleDesc	tupdesc;
	Datum		values[STATUS_COLUMNS];
	bool		nulls[STATUS_COLUMNS];
	char		pageserver[256];
	ZenithLink	link;
	char		link_error[LINK_ERROR_SIZE];
	WalSndState state;
	XLogRecPtr	flush;
	XLogRecPtr	apply;

	if (get_call_result_type(fcinfo, NULL, &tupdesc) != TYPEFUNC_COMPOSITE)
		elog(ERROR, "return type must be a row type");
	if (tupdesc->natts != STATUS_COLUMNS)
		elog(ERROR, "zenith_status() has %d columns instead of %d",
			 tupdesc->natts, STATUS_COLUMNS);

	memset(nulls, true, sizeof(nulls));
	memset(values, 0, sizeof(values));
	if (shared == NULL)
	{
		values[0] = CStringGetTextDatum("inert");
		nulls[0] = false;
		PG_RETURN_DATUM(HeapTupleGetDatum(heap_form_tuple(BlessTupleDesc(tupdesc),
														  values, nulls)));
	}

	LWLockAcquire(shared->lock, LW_SHARED);
	link = shared->link;
	strlcpy(link_error, shared->link_error, sizeof(link_error));
	LWLockRelease(shared->lock);
	zenith_conninfo_describe(zenith_pageserver, pageserver, sizeof(pageserver));

	memset(nulls, false, sizeof(nulls));
	values[0] = CStringGetTextDatum(zenith_term > 0 ? "read-write" : "read-only");
	values[1] = CStringGetTextDatum(zenith_timeline);
	values[2] = LSNGetDatum(zenith_start_lsn);
	values[3] = Int32GetDatum(zenith_term);
	values[4] = CStringGetTextDatum(pageserver);
	values[5] = CStringGetTextDatum(link_name(link));
	if (link_error[0] != '\0')
		values[6] = CStringGetTextDatum(link_error);
	else
		nulls[6] = true;
	if (receiver_state(&state, &flush, &apply))
	{
		values[7] = CStringGetTextDatum(receiver_state_name(state));
		values[8] = LSNGetDatum(flush);
		values[9] = LSNGetDatum(apply);
		nulls[8] = XLogRecPtrIsInvalid(flush);
		nulls[9] = XLogRecPtrIsInvalid(apply);
	}
	else
	{
		values[7] = CStringGetTextDatum("none");
		nulls[8] = true;
		nulls[9] = true;
	}
	PG_RETURN_DATUM(HeapTupleGetDatum(heap_form_tuple(BlessTupleDesc(tupdesc), values, nulls)));
}

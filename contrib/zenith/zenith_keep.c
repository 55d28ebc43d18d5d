/*-------------------------------------------------------------------------
 *
 * zenith_keep.c
 *	  what a plain server keeps in its files and a new compute would not know
 *
 * A compute starts from WAL alone. PostgreSQL keeps a few things outside of it, which a plain server
 * finds again in its files after it was shut down: the numbers of a sequence that were logged ahead
 * and not drawn, free space maps, the cumulative statistics. This worker writes them into WAL when
 * the compute is shut down, and the state of logical replication slots, which a plain server has
 * after a crash, too, soon after each change.
 *
 * At a shutdown the postmaster sends SIGTERM to all processes but walsenders, waits for them, and
 * only then has the shutdown checkpoint written, after which WAL is closed. So this worker lets the
 * others end first, writes, and ends. The page server gets it all: walsenders end when everything
 * including the checkpoint is received. An immediate shutdown or a crash kills it like all others,
 * and loses what it would have written.
 *
 * The worker has no database, so it holds nobody up: DROP DATABASE, for one.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <unistd.h>

#include "access/xlog.h"
#include "miscadmin.h"
#include "pgstat.h"
#include "postmaster/bgworker.h"
#include "postmaster/interrupt.h"
#include "replication/walsender.h"
#include "replication/walsender_private.h"
#include "storage/bufmgr.h"
#include "storage/fd.h"
#include "storage/ipc.h"
#include "storage/latch.h"
#include "storage/lwlock.h"
#include "storage/proc.h"
#include "storage/procarray.h"
#include "storage/procsignal.h"
#include "utils/memutils.h"
#include "utils/pidfile.h"
#include "utils/resowner.h"
#include "utils/timestamp.h"

#include "zenith_guc.h"
#include "zenith_keep.h"

/* Nothing tells of the end of a process that is not ours. */
#define POLL_MS 5
/* Another library's worker may be waiting for the end of all others, too. */
#define MAX_WAIT_MS 30000
/* How soon a change of a slot is in WAL. */
#define SLOTS_INTERVAL_MS 1000

/*
 * Whether the postmaster is shutting down: it says so in its pid file before it signals anybody.
 * Else somebody has terminated just us.
 */
static bool
server_is_stopping(void)
{
	char		buffer[4096];
	char	   *line = buffer;
	int			fd;
	int			length;
	int			i;

	fd = BasicOpenFile("postmaster.pid", O_RDONLY);
	if (fd < 0)
		return false;
	length = read(fd, buffer, sizeof(buffer) - 1);
	close(fd);
	if (length <= 0)
		return false;
	buffer[length] = '\0';
	for (i = 1; i < LOCK_FILE_LINE_PM_STATUS; i++)
	{
		line = strchr(line, '\n');
		if (line == NULL)
			return false;
		line++;
	}
	return strncmp(line, PM_STATUS_STOPPING, strlen(PM_STATUS_STOPPING)) == 0;
}

static bool
is_walsender(int pid)
{
	int			i;

	for (i = 0; i < max_wal_senders; i++)
	{
		if (WalSndCtl->walsnds[i].pid == pid)
			return true;
	}
	return false;
}

/*
 * Processes that may change data: those connected to a database. Who has left the list of them has
 * reported its statistics.
 */
static bool
others_run(void)
{
	int			i;

	for (i = 0; i < MaxBackends; i++)
	{
		/* Not reset when a process ends. */
		int			pid = ((volatile PGPROC *) &ProcGlobal->allProcs[i])->pid;

		if (pid != 0 && BackendPidGetProc(pid) != NULL && !is_walsender(pid))
			return true;
	}
	return false;
}

static void
wait_for_others(void)
{
	TimestampTz deadline = TimestampTzPlusMilliseconds(GetCurrentTimestamp(), MAX_WAIT_MS);

	while (others_run() && GetCurrentTimestamp() < deadline)
		(void) WaitLatch(NULL, WL_TIMEOUT | WL_EXIT_ON_PM_DEATH, POLL_MS, PG_WAIT_EXTENSION);
}

/* Runs one of the steps; what goes wrong in it is logged and does not keep others from theirs. */
static void
attempt(void (*step) (void))
{
	MemoryContext context = AllocSetContextCreate(TopMemoryContext, "zenith keep",
												  ALLOCSET_DEFAULT_SIZES);
	MemoryContext old_context = MemoryContextSwitchTo(context);

	PG_TRY();
	{
		step();
	}
	PG_CATCH();
	{
		HOLD_INTERRUPTS();
		EmitErrorReport();
		FlushErrorState();
		LWLockReleaseAll();
		AbortBufferIO();
		UnlockBuffers();
		RESUME_INTERRUPTS();
	}
	PG_END_TRY();

	ResourceOwnerRelease(CurrentResourceOwner, RESOURCE_RELEASE_BEFORE_LOCKS, false, true);
	ResourceOwnerRelease(CurrentResourceOwner, RESOURCE_RELEASE_LOCKS, false, true);
	ResourceOwnerRelease(CurrentResourceOwner, RESOURCE_RELEASE_AFTER_LOCKS, false, true);
	AtEOXact_Files(false);
	MemoryContextSwitchTo(old_context);
	MemoryContextDelete(context);
}

void
zenith_keep_main(Datum arg)
{
	pqsignal(SIGTERM, SignalHandlerForShutdownRequest);
	/* Barriers, for one that closes files of dropped relations. */
	pqsignal(SIGUSR1, procsignal_sigusr1_handler);
	BackgroundWorkerUnblockSignals();
	CurrentResourceOwner = ResourceOwnerCreate(NULL, "zenith keep");

	for (;;)
	{
		bool		slots = XLogLogicalInfoActive();

		ResetLatch(MyLatch);
		CHECK_FOR_INTERRUPTS();
		if (ShutdownRequestPending)
			break;
		if (slots)
			attempt(zenith_keep_slots);
		(void) WaitLatch(MyLatch,
						 WL_LATCH_SET | WL_EXIT_ON_PM_DEATH | (slots ? WL_TIMEOUT : 0),
						 SLOTS_INTERVAL_MS, PG_WAIT_EXTENSION);
	}

	if (!server_is_stopping())
		proc_exit(1);			/* started again */

	wait_for_others();
	attempt(zenith_keep_pages);
	if (XLogLogicalInfoActive())
		attempt(zenith_keep_slots);
	/* Last, for any other change makes it void. */
	if (!others_run())
		attempt(zenith_keep_statistics);
	proc_exit(0);
}

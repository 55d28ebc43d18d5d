/*-------------------------------------------------------------------------
 *
 * stepping_standby.c
 *	  make an otherwise plain standby stop at given LSNs, all pages on disk
 *
 * Replay is PostgreSQL's own, from WAL reading to redo; this library only
 * stands in front of every rm_redo function.  When the next record begins at
 * or behind the wanted LSN, everything before it has been replayed: all
 * buffers, SLRU pages, two-phase states and replication origins are written to
 * the files, and the startup process waits until it is told where to go on to.
 * So one standby shows its files at any number of LSNs in one pass, without
 * what a promotion would change.
 *
 * The driver (main.cpp) talks over two named pipes in check_pages.directory,
 * one line each way:
 *
 *	 commands: "to LSN"             go on, stop before the first record that
 *	                                begins at LSN or later
 *	           "mask RMID BLOCK"    apply rm_mask of a resource manager to both
 *	                                pages in the file "pages"
 *	 reports:  "stopped LSN ..."    end of the last record replayed, then the
 *	                                counters, as write_stopped() has them
 *	           "masked" | "unmasked"  done | the page is not one of that kind
 *
 * LSNs and counters are decimal.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <fcntl.h>
#include <poll.h>
#include <unistd.h>

#include "access/clog.h"
#include "access/commit_ts.h"
#include "access/multixact.h"
#include "access/rmgr.h"
#include "access/transam.h"
#include "access/twophase.h"
#include "access/xlog.h"
#include "access/xlog_internal.h"
#include "access/xlogreader.h"
#include "fmgr.h"
#include "miscadmin.h"
#include "postmaster/startup.h"
#include "replication/origin.h"
#include "storage/bufmgr.h"
#include "storage/fd.h"
#include "utils/guc.h"
#include "utils/memutils.h"

PG_MODULE_MAGIC;

void		_PG_init(void);

static char *pipe_directory = NULL;
static RmgrData original[RM_MAX_ID + 1];

static int	command_fd = -1;
static int	report_fd = -1;
static XLogRecPtr stop_at = InvalidXLogRecPtr;
static XLogRecPtr last_end = InvalidXLogRecPtr;
static FullTransactionId last_next_xid;

static int
open_pipe(const char *name, int flags)
{
	char		path[MAXPGPATH];
	int			fd;

	snprintf(path, sizeof(path), "%s/%s", pipe_directory, name);
	fd = open(path, flags | O_CLOEXEC);
	if (fd < 0)
		ereport(FATAL,
				(errcode_for_file_access(),
				 errmsg("could not open pipe \"%s\": %m", path)));
	return fd;
}

/* The next command, without its newline.  A shutdown request ends the wait. */
static void
read_command(char *line, size_t size)
{
	size_t		used = 0;

	for (;;)
	{
		struct pollfd wait = {command_fd, POLLIN, 0};
		int			ready = poll(&wait, 1, -1);

		if (ready < 0 && errno == EINTR)
		{
			HandleStartupProcInterrupts();
			continue;
		}
		if (ready != 1 || read(command_fd, line + used, 1) != 1)
			ereport(FATAL, (errmsg("the driver of the stepping standby has gone away")));
		if (line[used] == '\n')
		{
			line[used] = '\0';
			return;
		}
		if (++used == size)
			ereport(FATAL, (errmsg("the command of the stepping standby's driver is too long")));
	}
}

static void
write_report(const char *line)
{
	if (write(report_fd, line, strlen(line)) != (ssize_t) strlen(line))
		ereport(FATAL, (errmsg("could not report to the stepping standby's driver: %m")));
}

static void
write_stopped(void)
{
	char		line[512];
	uint32		next_multi;
	uint32		next_multi_offset;
	uint32		oldest_multi;
	Oid			oldest_multi_db;

	MultiXactGetCheckptMulti(false, &next_multi, &next_multi_offset, &oldest_multi,
							 &oldest_multi_db);
	snprintf(line, sizeof(line), "stopped " UINT64_FORMAT " " UINT64_FORMAT " %u %u %u %u %u %u %u %u %u\n",
			 last_end, U64FromFullTransactionId(last_next_xid),
			 ShmemVariableCache->nextOid, next_multi, next_multi_offset, oldest_multi,
			 oldest_multi_db, ShmemVariableCache->oldestXid, ShmemVariableCache->oldestXidDB,
			 ShmemVariableCache->oldestCommitTsXid, ShmemVariableCache->newestCommitTsXid);
	write_report(line);
}

/* What CheckPointGuts() does, but for slots and logical decoding, which are not in WAL. */
static void
write_everything(void)
{
	CheckPointReplicationOrigin();
	CheckPointCLOG();
	CheckPointCommitTs();
	CheckPointMultiXact();
	CheckPointBuffers(CHECKPOINT_IMMEDIATE | CHECKPOINT_FLUSH_ALL);
	CheckPointTwoPhase(PG_UINT64_MAX);
}

/* rm_mask raises an error for bytes that are no page of its kind. */
static void
mask_pages(int rmid, BlockNumber block)
{
	char		path[MAXPGPATH];
	int			fd;
	PGAlignedBlock pages[2];
	volatile bool done = true;
	MemoryContext context = CurrentMemoryContext;

	snprintf(path, sizeof(path), "%s/pages", pipe_directory);
	fd = open(path, O_RDWR | O_CLOEXEC);
	if (fd < 0 || pread(fd, pages, sizeof(pages), 0) != sizeof(pages))
		ereport(FATAL,
				(errcode_for_file_access(),
				 errmsg("could not read file \"%s\": %m", path)));
	PG_TRY();
	{
		if (rmid < 0 || rmid > RM_MAX_ID || original[rmid].rm_mask == NULL)
			elog(ERROR, "resource manager %d has no masks", rmid);
		original[rmid].rm_mask(pages[0].data, block);
		original[rmid].rm_mask(pages[1].data, block);
	}
	PG_CATCH();
	{
		MemoryContextSwitchTo(context);
		FlushErrorState();
		done = false;
	}
	PG_END_TRY();
	if (pwrite(fd, pages, sizeof(pages), 0) != sizeof(pages))
		ereport(FATAL,
				(errcode_for_file_access(),
				 errmsg("could not write file \"%s\": %m", path)));
	close(fd);
	write_report(done ? "masked\n" : "unmasked\n");
}

static void
obey(void)
{
	for (;;)
	{
		char		line[128];
		uint64		lsn;
		int			rmid;
		BlockNumber block;

		read_command(line, sizeof(line));
		if (sscanf(line, "to " UINT64_FORMAT, &lsn) == 1)
		{
			stop_at = lsn;
			return;
		}
		if (sscanf(line, "mask %d %u", &rmid, &block) == 2)
			mask_pages(rmid, block);
		else
			ereport(FATAL,
					(errmsg("unknown command of the stepping standby's driver: \"%s\"", line)));
	}
}

static void
step_redo(XLogReaderState *record)
{
	RmgrId		rmid = XLogRecGetRmid(record);

	if (command_fd < 0)
	{
		command_fd = open_pipe("commands", O_RDONLY);
		report_fd = open_pipe("reports", O_WRONLY);
		obey();
	}
	while (record->ReadRecPtr >= stop_at)
	{
		write_everything();
		write_stopped();
		obey();
	}
	original[rmid].rm_redo(record);
	last_end = record->EndRecPtr;
	/* Before the next rm_redo it will have been raised by that record's own id. */
	last_next_xid = ShmemVariableCache->nextXid;
}

void
_PG_init(void)
{
	int			rmid;

	if (!process_shared_preload_libraries_in_progress)
		return;
	DefineCustomStringVariable("check_pages.directory",
							   "Directory of the pipes to the driver.",
							   NULL, &pipe_directory, "",
							   PGC_POSTMASTER, 0, NULL, NULL, NULL);
	MarkGUCPrefixReserved("check_pages");
	for (rmid = 0; rmid <= RM_MAX_ID; rmid++)
	{
		original[rmid] = RmgrTable[rmid];
		if (RmgrTable[rmid].rm_name != NULL)
			RmgrTable[rmid].rm_redo = step_redo;
	}
}

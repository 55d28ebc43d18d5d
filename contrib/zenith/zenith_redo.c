/*-------------------------------------------------------------------------
 *
 * zenith_redo.c
 *	  a stock "postgres --single" as a process that applies WAL records to pages
 *
 * The page server starts such processes, sends a base page and the records
 * that follow it, and gets the resulting page back.  The protocol, and what
 * the process needs around it, are in pageserver/redo/README.md.
 *
 * zenith_redo_smgr.c is what lets PostgreSQL's redo functions change one page
 * alone, zenith_redo_apply.c applies records, zenith_redo_channel.c talks to
 * the page server.
 *
 * The process takes over in shmem_startup_hook, the last step of setting up
 * shared memory, and never returns to PostgreSQL's own main loop: no
 * recovery, no catalogs, no transactions.  Any error ends it, after it has
 * told the page server; a half-applied record can leave anything behind.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <unistd.h>

#include "access/rmgr.h"
#include "access/xlog_internal.h"
#include "access/xlogutils.h"
#include "miscadmin.h"
#include "storage/bufpage.h"
#include "storage/ipc.h"
#include "storage/proc.h"
#include "storage/smgr.h"
#include "utils/guc.h"
#include "utils/memutils.h"
#include "utils/resowner.h"

#include "zenith_redo.h"
#include "zenith_redo_internal.h"
#include "zenith_smgr_install.h"

static MemoryContext request_context;
static MemoryContext record_context;

static void
serve_request(const char *data, size_t length)
{
	ZenithRedoCursor cursor = {data, data + length};
	uint32		flags;
	uint32		count;
	bool		others;
	Page		page;

	zenith_redo_request_id = zenith_redo_take_uint64(&cursor);
	zenith_redo_in_request = true;
	zenith_redo_start_request();
	memset(&zenith_redo_target, 0, sizeof(zenith_redo_target));
	zenith_redo_target.rnode.spcNode = zenith_redo_take_uint32(&cursor);
	zenith_redo_target.rnode.dbNode = zenith_redo_take_uint32(&cursor);
	zenith_redo_target.rnode.relNode = zenith_redo_take_uint32(&cursor);
	zenith_redo_target.forkNum = (ForkNumber) zenith_redo_take_uint32(&cursor);
	zenith_redo_target.blockNum = zenith_redo_take_uint32(&cursor);
	flags = zenith_redo_take_uint32(&cursor);
	if (zenith_redo_target.forkNum < 0 || zenith_redo_target.forkNum > MAX_FORKNUM ||
		zenith_redo_target.blockNum >= MaxBlockNumber || (flags & ~REDO_HAS_BASE) != 0)
		ereport(ERROR,
				(errcode(ERRCODE_PROTOCOL_VIOLATION),
				 errmsg("redo request names no valid page")));
	if ((flags & REDO_HAS_BASE) != 0)
		zenith_redo_take_bytes(&cursor, zenith_redo_page.data, BLCKSZ);
	else
		memset(zenith_redo_page.data, 0, BLCKSZ);

	count = zenith_redo_take_uint32(&cursor);
	for (uint32 i = 0; i < count; i++)
	{
		MemoryContextSwitchTo(request_context);
		zenith_redo_take_record(&cursor);
		MemoryContextSwitchTo(record_context);
		zenith_redo_apply_record();
		MemoryContextReset(record_context);
	}
	if (cursor.at != cursor.end)
		ereport(ERROR,
				(errcode(ERRCODE_PROTOCOL_VIOLATION),
				 errmsg("redo request is longer than its contents")));

	page = zenith_redo_find_target(&others);
	zenith_redo_respond(REDO_STATUS_PAGE, page ? (char *) page : zenith_redo_page.data, BLCKSZ);
	zenith_redo_in_request = false;

	zenith_redo_drop_buffers();
	AtEOXact_SMgr();
}

/*
 * The process
 */

static void
redo_main(void)
{
	sigjmp_buf	local_sigjmp_buf;
	uint32		greeting[3];

	/* what PostgresSingleUserMain() and StartupXLOG() would do, as far as redo needs it */
	InitProcess();
	BaseInit();
	CreateAuxProcessResourceOwner();
	CurrentResourceOwner = AuxProcessResourceOwner;
	SetProcessingMode(NormalProcessing);
	InRecovery = true;
	RmgrStartup();

	zenith_redo_start_channel();
	zenith_redo_start_applying();
	request_context = AllocSetContextCreate(TopMemoryContext, "zenith redo request",
											ALLOCSET_DEFAULT_SIZES);
	record_context = AllocSetContextCreate(TopMemoryContext, "zenith redo record",
										   ALLOCSET_DEFAULT_SIZES);

	if (sigsetjmp(local_sigjmp_buf, 1) != 0)
	{
		ErrorData  *edata;

		error_context_stack = NULL;
		HOLD_INTERRUPTS();
		MemoryContextSwitchTo(TopMemoryContext);
		if (!zenith_redo_in_request)
		{
			EmitErrorReport();
			proc_exit(1);
		}
		edata = CopyErrorData();
		FlushErrorState();
		zenith_redo_fail(edata->message ? edata->message : "unknown error");
	}
	PG_exception_stack = &local_sigjmp_buf;
	emit_log_hook = zenith_redo_emit_log;

	greeting[0] = REDO_MAGIC;
	greeting[1] = REDO_PROTOCOL_VERSION;
	greeting[2] = atoi(GetConfigOption("server_version_num", false, false));
	zenith_redo_put(greeting, sizeof(greeting));

	for (;;)
	{
		uint32		length;

		if (!zenith_redo_fill_input(sizeof(length)))
			break;
		memcpy(&length, zenith_redo_input + zenith_redo_input_start, sizeof(length));
		if (length < sizeof(zenith_redo_request_id) || length > REDO_MAX_REQUEST)
			elog(FATAL, "redo request of invalid length %u", length);
		if (!zenith_redo_fill_input(sizeof(length) + length))
			break;
		serve_request(zenith_redo_input + zenith_redo_input_start + sizeof(length), length);
		zenith_redo_input_start += sizeof(length) + length;
	}
	zenith_redo_flush();
	proc_exit(0);
}

bool
zenith_redo_requested(void)
{
	return !IsPostmasterEnvironment && getenv("ZENITH_REDO") != NULL;
}

void
zenith_redo_init(void)
{
	zenith_redo_open_channel((unsigned int) Max(0, atoi(getenv("ZENITH_REDO"))));
	zenith_smgr_install(&zenith_redo_smgr);
	shmem_startup_hook = redo_main;
}

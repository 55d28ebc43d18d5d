/*-------------------------------------------------------------------------
 *
 * zenith_redo.c
 *	  a stock "postgres --single" as a process that applies WAL records to pages
 *
 * The page server starts such processes, sends a base page and the records
 * that follow it, and gets the resulting page back.  The protocol, and what
 * the process needs around it, are in pageserver/redo/README.md.
 *
 * PostgreSQL's redo functions change all blocks a record refers to, while we
 * want one.  So the storage manager below knows two kinds of blocks: the
 * target, which reads as the base page, and every other block, which reads
 * as an empty page whose LSN is the highest possible.  Redo takes that one
 * for a page that has the change already and leaves it alone.
 *
 * The process takes over in shmem_startup_hook, the last step of setting up
 * shared memory, and never returns to PostgreSQL's own main loop: no
 * recovery, no catalogs, no transactions.  Any error ends it, after it has
 * told the page server; a half-applied record can leave anything behind.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <unistd.h>

#include "access/hash_xlog.h"
#include "access/heapam_xlog.h"
#include "access/rmgr.h"
#include "access/xlog.h"
#include "access/xlog_internal.h"
#include "access/xlogreader.h"
#include "access/xlogutils.h"
#include "catalog/pg_control.h"
#include "libpq/pqsignal.h"
#include "miscadmin.h"
#include "storage/buf_internals.h"
#include "storage/bufmgr.h"
#include "storage/bufpage.h"
#include "storage/ipc.h"
#include "storage/proc.h"
#include "storage/smgr.h"
#include "utils/guc.h"
#include "utils/memutils.h"
#include "utils/resowner.h"

#include "zenith_redo.h"
#include "zenith_smgr_install.h"

/* The protocol; the other side is pageserver/redo/redo_protocol.h. */
#define REDO_MAGIC				0x4F44525A	/* "ZRDO" */
#define REDO_PROTOCOL_VERSION	1
#define REDO_MAX_REQUEST		(64 * 1024 * 1024)
#define REDO_HAS_BASE			1
#define REDO_STATUS_PAGE		0
#define REDO_STATUS_ERROR		1
#define REDO_MAX_ERROR_TEXT		1024

/* Buffers for the two directions; a request that does not fit enlarges the first. */
#define INPUT_BUFFER_SIZE		(256 * 1024)
#define OUTPUT_BUFFER_SIZE		(64 * 1024)

/* Heap blocks that one visibility map page covers, as in visibilitymap.c. */
#define HEAP_BLOCKS_PER_VM_PAGE \
	((BLCKSZ - MAXALIGN(SizeOfPageHeaderData)) * (BITS_PER_BYTE / 2))

/* A place in a request's bytes. */
typedef struct RequestCursor
{
	const char *at;
	const char *end;
} RequestCursor;

static int	peer_in = -1;
static int	peer_out = -1;
static volatile sig_atomic_t got_sigterm = false;

/* Seconds one read's worth of requests may take before the process kills itself; 0: no limit. */
static unsigned int watchdog_seconds = 0;

static char *input;
static size_t input_size;
static size_t input_start;
static size_t input_end;
static char output[OUTPUT_BUFFER_SIZE];
static size_t output_used;

/* The request being worked on; FATAL and PANIC are reported to the peer while there is one. */
static bool in_request = false;
static uint64 request_id;

/* The page that the request is about, as smgr_read returns it. */
static BufferTag target;
static PGAlignedBlock target_page;

/* Room for one record and for what DecodeXLogRecord() makes of it. */
static char *record_buffer;
static size_t record_buffer_size;
static DecodedXLogRecord *decode_buffer;
static size_t decode_buffer_size;

static XLogReaderState *reader;
static MemoryContext request_context;
static MemoryContext record_context;

/*
 * Storage manager callbacks
 */

static bool
is_target(const RelFileNode *node, ForkNumber forknum, BlockNumber blocknum)
{
	return in_request && blocknum == target.blockNum && forknum == target.forkNum &&
		RelFileNodeEquals(*node, target.rnode);
}

static void
redo_smgr_close(SMgrRelation reln, ForkNumber forknum)
{
}

static void
redo_smgr_create(SMgrRelation reln, ForkNumber forknum, bool isRedo)
{
}

static bool
redo_smgr_exists(SMgrRelation reln, ForkNumber forknum)
{
	return true;
}

static void
redo_smgr_unlink(RelFileNodeBackend rnode, ForkNumber forknum, bool isRedo)
{
}

static void
redo_smgr_extend(SMgrRelation reln, ForkNumber forknum, BlockNumber blocknum,
				 char *buffer, bool skipFsync)
{
	/* every block exists, so redo of a valid record has no reason to come here */
	ereport(ERROR,
			(errcode(ERRCODE_DATA_CORRUPTED),
			 errmsg("record extends relation %u/%u/%u beyond block %u",
					reln->smgr_rnode.node.spcNode, reln->smgr_rnode.node.dbNode,
					reln->smgr_rnode.node.relNode, blocknum)));
}

static bool
redo_smgr_prefetch(SMgrRelation reln, ForkNumber forknum, BlockNumber blocknum)
{
	return true;
}

static void
redo_smgr_read(SMgrRelation reln, ForkNumber forknum, BlockNumber blocknum, char *buffer)
{
	if (is_target(&reln->smgr_rnode.node, forknum, blocknum))
	{
		memcpy(buffer, target_page.data, BLCKSZ);
		return;
	}
	PageInit((Page) buffer, BLCKSZ, 0);
	PageSetLSN((Page) buffer, PG_UINT64_MAX);
}

static void
redo_smgr_write(SMgrRelation reln, ForkNumber forknum, BlockNumber blocknum,
				char *buffer, bool skipFsync)
{
	/* the few buffers we have may be needed for other blocks of the same record */
	if (is_target(&reln->smgr_rnode.node, forknum, blocknum))
		memcpy(target_page.data, buffer, BLCKSZ);
}

static void
redo_smgr_writeback(SMgrRelation reln, ForkNumber forknum, BlockNumber blocknum,
					BlockNumber nblocks)
{
}

static BlockNumber
redo_smgr_nblocks(SMgrRelation reln, ForkNumber forknum)
{
	return MaxBlockNumber;
}

static void
redo_smgr_truncate(SMgrRelation reln, ForkNumber forknum, BlockNumber old_blocks,
				   BlockNumber nblocks)
{
}

static const ZenithSmgrCallbacks redo_smgr = {
	.smgr_close = redo_smgr_close,
	.smgr_create = redo_smgr_create,
	.smgr_exists = redo_smgr_exists,
	.smgr_unlink = redo_smgr_unlink,
	.smgr_extend = redo_smgr_extend,
	.smgr_prefetch = redo_smgr_prefetch,
	.smgr_read = redo_smgr_read,
	.smgr_write = redo_smgr_write,
	.smgr_writeback = redo_smgr_writeback,
	.smgr_nblocks = redo_smgr_nblocks,
	.smgr_truncate = redo_smgr_truncate,
};

/*
 * Talking to the page server
 */

static void
handle_sigterm(SIGNAL_ARGS)
{
	got_sigterm = true;
}

/* Writes out all responses.  The page server being gone is the normal end of this process. */
static void
flush_output(void)
{
	size_t		done = 0;

	while (done < output_used)
	{
		ssize_t		n = write(peer_out, output + done, output_used - done);

		if (n < 0)
		{
			if (errno == EINTR)
				continue;
			in_request = false;
			output_used = 0;
			proc_exit(errno == EPIPE || errno == ECONNRESET ? 0 : 1);
		}
		done += n;
	}
	output_used = 0;
}

static void
put_bytes(const void *data, size_t length)
{
	Assert(length <= sizeof(output));
	if (output_used + length > sizeof(output))
		flush_output();
	memcpy(output + output_used, data, length);
	output_used += length;
}

static void
put_response(uint32 status, const void *body, uint32 length)
{
	uint32		total = sizeof(uint64) + sizeof(uint32) + length;

	put_bytes(&total, sizeof(total));
	put_bytes(&request_id, sizeof(request_id));
	put_bytes(&status, sizeof(status));
	put_bytes(body, length);
}

/* Reports the failure of the current request and ends the process. */
static void
fail_request(const char *message)
{
	size_t		length = strlen(message);

	in_request = false;
	put_response(REDO_STATUS_ERROR, message, Min(length, REDO_MAX_ERROR_TEXT));
	flush_output();
	proc_exit(1);
}

/*
 * Many redo functions raise PANIC for a record that does not fit the page.
 * That would abort(); the page server would learn nothing but a signal number.
 */
static void
redo_emit_log(ErrorData *edata)
{
	if (edata->elevel >= FATAL && in_request)
		fail_request(edata->message ? edata->message : "unknown error");
}

/*
 * Makes at least `needed` unread bytes available in the input buffer.  False
 * at the end of the input.  Responses are written out before waiting, so the
 * page server may send one request at a time or many.
 */
static bool
fill_input(size_t needed)
{
	if (input_end - input_start >= needed)
		return true;

	if (input_start > 0)
	{
		memmove(input, input + input_start, input_end - input_start);
		input_end -= input_start;
		input_start = 0;
	}
	if (needed > input_size)
	{
		input = repalloc(input, needed);
		input_size = needed;
	}
	else if (needed <= INPUT_BUFFER_SIZE && input_size > INPUT_BUFFER_SIZE &&
			 input_end <= INPUT_BUFFER_SIZE)
	{
		input = repalloc(input, INPUT_BUFFER_SIZE);
		input_size = INPUT_BUFFER_SIZE;
	}

	while (input_end < needed)
	{
		struct pollfd waiting;
		ssize_t		n;

		flush_output();
		alarm(0);
		waiting.fd = peer_in;
		waiting.events = POLLIN;

		/* SIGTERM is blocked but for this wait */
		if (ppoll(&waiting, 1, NULL, &UnBlockSig) < 0 && errno != EINTR)
			elog(FATAL, "could not wait for the page server: %m");
		if (got_sigterm)
			proc_exit(0);
		if (waiting.revents == 0)
			continue;
		n = read(peer_in, input + input_end, input_size - input_end);
		if (n < 0)
		{
			if (errno == EINTR)
				continue;
			if (errno != ECONNRESET)
				elog(FATAL, "could not read from the page server: %m");
			n = 0;
		}
		if (n == 0)
			return false;
		input_end += n;
		alarm(watchdog_seconds);
	}
	return true;
}

static void
take_bytes(RequestCursor *cursor, void *data, size_t length)
{
	if ((size_t) (cursor->end - cursor->at) < length)
		ereport(ERROR,
				(errcode(ERRCODE_PROTOCOL_VIOLATION),
				 errmsg("redo request is too short")));
	memcpy(data, cursor->at, length);
	cursor->at += length;
}

static uint32
take_uint32(RequestCursor *cursor)
{
	uint32		value;

	take_bytes(cursor, &value, sizeof(value));
	return value;
}

static uint64
take_uint64(RequestCursor *cursor)
{
	uint64		value;

	take_bytes(cursor, &value, sizeof(value));
	return value;
}

/*
 * Applying records
 */

static bool
tag_is_target(const BufferTag *tag)
{
	return BUFFERTAGS_EQUAL(*tag, target);
}

/*
 * The buffer that holds the target, or NULL.  Sets *others when any other
 * block is in a buffer.
 */
static Page
find_target_buffer(bool *others)
{
	Page		page = NULL;

	*others = false;
	for (int i = 0; i < NBuffers; i++)
	{
		BufferDesc *desc = GetBufferDescriptor(i);
		uint32		state = pg_atomic_read_u32(&desc->state);

		if ((state & BM_TAG_VALID) == 0)
			continue;
		if (tag_is_target(&desc->tag) && (state & BM_VALID) != 0)
			page = BufferGetPage(BufferDescriptorGetBuffer(desc));
		else
			*others = true;
	}
	return page;
}

/* Forgets every buffer.  Nothing is written. */
static void
drop_all_buffers(void)
{
	for (int i = 0; i < NBuffers; i++)
	{
		BufferDesc *desc = GetBufferDescriptor(i);

		if ((pg_atomic_read_u32(&desc->state) & BM_TAG_VALID) != 0)
			DropDatabaseBuffers(desc->tag.rnode.dbNode);
	}
}

/* The block reference of the current record that is the target, or -1. */
static int
target_block_id(void)
{
	for (int id = 0; id <= XLogRecMaxBlockId(reader); id++)
	{
		BufferTag	tag;

		if (XLogRecGetBlockTagExtended(reader, id, &tag.rnode, &tag.forkNum,
									   &tag.blockNum, NULL) &&
			tag_is_target(&tag))
			return id;
	}
	return -1;
}

/*
 * Does a heap record change the target without referring to it?  The records
 * that clear visibility map bits do, and the free space map follows the heap.
 */
static bool
target_is_implied(void)
{
	uint8		rmid = XLogRecGetRmid(reader);

	if (rmid != RM_HEAP_ID && rmid != RM_HEAP2_ID)
		return false;
	if (target.forkNum != VISIBILITYMAP_FORKNUM && target.forkNum != FSM_FORKNUM)
		return false;
	for (int id = 0; id <= XLogRecMaxBlockId(reader); id++)
	{
		BufferTag	tag;

		if (!XLogRecGetBlockTagExtended(reader, id, &tag.rnode, &tag.forkNum,
										&tag.blockNum, NULL) ||
			tag.forkNum != MAIN_FORKNUM ||
			!RelFileNodeEquals(tag.rnode, target.rnode))
			continue;
		if (target.forkNum == FSM_FORKNUM ||
			tag.blockNum / HEAP_BLOCKS_PER_VM_PAGE == target.blockNum)
			return true;
	}
	return false;
}

/*
 * Redo sets the LSN of every page it changes, with the exceptions below.
 * Anything else that leaves the LSN alone has not been applied: the base is
 * missing, is of another page or is newer than the record.
 */
static bool
may_keep_lsn(int block_id, Page page)
{
	uint8		rmid = XLogRecGetRmid(reader);
	uint8		info = XLogRecGetInfo(reader) & ~XLR_INFO_MASK;

	/* an all-zero page was logged as an image */
	if (block_id >= 0 && XLogRecHasBlockImage(reader, block_id) &&
		XLogRecBlockImageApply(reader, block_id))
		return PageIsNew(page);

	/* a hint bit was set while full_page_writes was off: no image, no change */
	if (rmid == RM_XLOG_ID)
		return info == XLOG_FPI_FOR_HINT && !XLogRecHasBlockImage(reader, block_id);

	/* implied changes of maps; visibilitymap_set() without a bit to change */
	if (target.forkNum == VISIBILITYMAP_FORKNUM || target.forkNum == FSM_FORKNUM)
		return rmid == RM_HEAP_ID || rmid == RM_HEAP2_ID;

	switch (rmid)
	{
		case RM_HEAP2_ID:
			/* the heap page gets its flag, and its LSN only when hint bits are logged */
			return (info & XLOG_HEAP_OPMASK) == XLOG_HEAP2_VISIBLE &&
				!XLogHintBitIsNeeded() && !PageIsNew(page) && PageIsAllVisible(page);

		case RM_HASH_ID:
			/* the bucket's first page, referred to only to be locked */
			if (block_id != 0)
				return false;
			if (info == XLOG_HASH_MOVE_PAGE_CONTENTS &&
				XLogRecGetDataLen(reader) >= SizeOfHashMovePageContents)
				return !((xl_hash_move_page_contents *)
						 XLogRecGetData(reader))->is_prim_bucket_same_wrt;
			if (info == XLOG_HASH_SQUEEZE_PAGE &&
				XLogRecGetDataLen(reader) >= SizeOfHashSqueezePage)
				return !((xl_hash_squeeze_page *)
						 XLogRecGetData(reader))->is_prim_bucket_same_wrt;
			if (info == XLOG_HASH_DELETE && XLogRecGetDataLen(reader) >= SizeOfHashDelete)
				return !((xl_hash_delete *)
						 XLogRecGetData(reader))->is_primary_bucket_page;
			return false;

		default:
			return false;
	}
}

/* Only records that do nothing but change pages are ours to apply. */
static void
check_resource_manager(const XLogRecord *record)
{
	uint8		info = record->xl_info & ~XLR_INFO_MASK;

	switch (record->xl_rmid)
	{
		case RM_HEAP2_ID:
		case RM_HEAP_ID:
		case RM_BTREE_ID:
		case RM_HASH_ID:
		case RM_GIN_ID:
		case RM_GIST_ID:
		case RM_SEQ_ID:
		case RM_SPGIST_ID:
		case RM_BRIN_ID:
		case RM_GENERIC_ID:
			return;

		case RM_XLOG_ID:
			if (info == XLOG_FPI || info == XLOG_FPI_FOR_HINT)
				return;
			break;

		default:
			if (RmgrIdIsCustom(record->xl_rmid) && RmgrIdExists(record->xl_rmid))
				return;
			break;
	}
	ereport(ERROR,
			(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
			 errmsg("record of resource manager %u with info 0x%02X does not apply to pages",
					record->xl_rmid, record->xl_info)));
}

/* Reads one record from the request into `reader`. */
static void
take_record(RequestCursor *cursor)
{
	XLogRecPtr	start = take_uint64(cursor);
	XLogRecPtr	end = take_uint64(cursor);
	uint32		length = take_uint32(cursor);
	XLogRecord *record;
	size_t		decode_size;
	char	   *error = NULL;

	reader->ReadRecPtr = start;
	reader->EndRecPtr = end;
	reader->record = NULL;

	if (end <= start || length < SizeOfXLogRecord ||
		length > (size_t) (cursor->end - cursor->at))
		ereport(ERROR,
				(errcode(ERRCODE_PROTOCOL_VIOLATION),
				 errmsg("redo request holds a record of invalid length %u", length)));

	/* the bytes in the request are not aligned */
	if (length > record_buffer_size)
	{
		record_buffer = repalloc(record_buffer, length);
		record_buffer_size = length;
	}
	take_bytes(cursor, record_buffer, length);
	record = (XLogRecord *) record_buffer;
	if (record->xl_tot_len != length)
		ereport(ERROR,
				(errcode(ERRCODE_DATA_CORRUPTED),
				 errmsg("record says it is %u bytes long but has %u",
						record->xl_tot_len, length)));
	check_resource_manager(record);

	decode_size = DecodeXLogRecordRequiredSpace(length);
	if (decode_size > decode_buffer_size)
	{
		decode_buffer = repalloc(decode_buffer, decode_size);
		decode_buffer_size = decode_size;
	}
	if (!DecodeXLogRecord(reader, decode_buffer, record, start, &error))
		ereport(ERROR,
				(errcode(ERRCODE_DATA_CORRUPTED),
				 errmsg("%s", error ? error : "record could not be decoded")));
	reader->record = decode_buffer;
}

static void
apply_record(void)
{
	XLogRecPtr	before = PageGetLSN((Page) target_page.data);
	int			block_id = target_block_id();
	bool		others;
	Page		page;

	if (block_id < 0 && !target_is_implied())
		ereport(ERROR,
				(errcode(ERRCODE_DATA_CORRUPTED),
				 errmsg("record does not change the page")));

	page = find_target_buffer(&others);
	if (page != NULL)
		before = PageGetLSN(page);

	GetRmgr(XLogRecGetRmid(reader)).rm_redo(reader);

	page = find_target_buffer(&others);
	if (page == NULL)
		page = (Page) target_page.data;
	if (PageGetLSN(page) != reader->EndRecPtr &&
		!(PageGetLSN(page) == before && may_keep_lsn(block_id, page)))
		ereport(ERROR,
				(errcode(ERRCODE_DATA_CORRUPTED),
				 errmsg("record left the page unchanged, with LSN %X/%X",
						LSN_FORMAT_ARGS(PageGetLSN(page)))));

	/*
	 * Other blocks may hold anything now, and the next record must find them
	 * untouched.  The target alone may stay where it is.
	 */
	if (others)
	{
		if (page != (Page) target_page.data)
			memcpy(target_page.data, page, BLCKSZ);
		drop_all_buffers();
	}
}

static void
serve_request(const char *data, size_t length)
{
	RequestCursor cursor = {data, data + length};
	uint32		flags;
	uint32		count;
	bool		others;
	Page		page;

	request_id = take_uint64(&cursor);
	in_request = true;
	reader->ReadRecPtr = InvalidXLogRecPtr;
	memset(&target, 0, sizeof(target));
	target.rnode.spcNode = take_uint32(&cursor);
	target.rnode.dbNode = take_uint32(&cursor);
	target.rnode.relNode = take_uint32(&cursor);
	target.forkNum = (ForkNumber) take_uint32(&cursor);
	target.blockNum = take_uint32(&cursor);
	flags = take_uint32(&cursor);
	if (target.forkNum < 0 || target.forkNum > MAX_FORKNUM ||
		target.blockNum >= MaxBlockNumber || (flags & ~REDO_HAS_BASE) != 0)
		ereport(ERROR,
				(errcode(ERRCODE_PROTOCOL_VIOLATION),
				 errmsg("redo request names no valid page")));
	if ((flags & REDO_HAS_BASE) != 0)
		take_bytes(&cursor, target_page.data, BLCKSZ);
	else
		memset(target_page.data, 0, BLCKSZ);

	count = take_uint32(&cursor);
	for (uint32 i = 0; i < count; i++)
	{
		MemoryContextSwitchTo(request_context);
		take_record(&cursor);
		MemoryContextSwitchTo(record_context);
		apply_record();
		MemoryContextReset(record_context);
	}
	if (cursor.at != cursor.end)
		ereport(ERROR,
				(errcode(ERRCODE_PROTOCOL_VIOLATION),
				 errmsg("redo request is longer than its contents")));

	page = find_target_buffer(&others);
	put_response(REDO_STATUS_PAGE, page ? (char *) page : target_page.data, BLCKSZ);
	in_request = false;

	drop_all_buffers();
	AtEOXact_SMgr();
}

/*
 * The process
 */

static void
redo_main(void)
{
	sigjmp_buf	local_sigjmp_buf;
	struct sigaction action;
	uint32		greeting[3];

	/* what PostgresSingleUserMain() and StartupXLOG() would do, as far as redo needs it */
	InitProcess();
	BaseInit();
	CreateAuxProcessResourceOwner();
	CurrentResourceOwner = AuxProcessResourceOwner;
	SetProcessingMode(NormalProcessing);
	InRecovery = true;
	RmgrStartup();

	/*
	 * An end of input ends this process; SIGTERM does so too, when it waits.
	 * What a terminal sends to its whole process group is the page server's
	 * business.
	 */
	pqsignal(SIGHUP, SIG_IGN);
	pqsignal(SIGINT, SIG_IGN);
	pqsignal(SIGPIPE, SIG_IGN);
	pqsignal(SIGALRM, SIG_DFL);
	memset(&action, 0, sizeof(action));
	action.sa_handler = handle_sigterm;
	sigemptyset(&action.sa_mask);
	sigaction(SIGTERM, &action, NULL);	/* not restarting ppoll() */
	sigdelset(&BlockSig, SIGALRM);
	PG_SETMASK(&BlockSig);

	input_size = INPUT_BUFFER_SIZE;
	input = MemoryContextAlloc(TopMemoryContext, input_size);
	record_buffer_size = BLCKSZ;
	record_buffer = MemoryContextAlloc(TopMemoryContext, record_buffer_size);
	decode_buffer_size = DecodeXLogRecordRequiredSpace(BLCKSZ);
	decode_buffer = MemoryContextAlloc(TopMemoryContext, decode_buffer_size);
	request_context = AllocSetContextCreate(TopMemoryContext, "zenith redo request",
											ALLOCSET_DEFAULT_SIZES);
	record_context = AllocSetContextCreate(TopMemoryContext, "zenith redo record",
										   ALLOCSET_DEFAULT_SIZES);
	reader = XLogReaderAllocate(wal_segment_size, NULL, XL_ROUTINE(), NULL);
	if (reader == NULL)
		ereport(FATAL,
				(errcode(ERRCODE_OUT_OF_MEMORY),
				 errmsg("out of memory")));

	if (sigsetjmp(local_sigjmp_buf, 1) != 0)
	{
		ErrorData  *edata;

		error_context_stack = NULL;
		HOLD_INTERRUPTS();
		MemoryContextSwitchTo(TopMemoryContext);
		if (!in_request)
		{
			EmitErrorReport();
			proc_exit(1);
		}
		edata = CopyErrorData();
		FlushErrorState();
		fail_request(edata->message ? edata->message : "unknown error");
	}
	PG_exception_stack = &local_sigjmp_buf;
	emit_log_hook = redo_emit_log;

	greeting[0] = REDO_MAGIC;
	greeting[1] = REDO_PROTOCOL_VERSION;
	greeting[2] = atoi(GetConfigOption("server_version_num", false, false));
	put_bytes(greeting, sizeof(greeting));

	for (;;)
	{
		uint32		length;

		if (!fill_input(sizeof(length)))
			break;
		memcpy(&length, input + input_start, sizeof(length));
		if (length < sizeof(request_id) || length > REDO_MAX_REQUEST)
			elog(FATAL, "redo request of invalid length %u", length);
		if (!fill_input(sizeof(length) + length))
			break;
		serve_request(input + input_start + sizeof(length), length);
		input_start += sizeof(length) + length;
	}
	flush_output();
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
	int			null_fd;

	watchdog_seconds = (unsigned int) Max(0, atoi(getenv("ZENITH_REDO")));

	/* nothing that prints to stdout may get between the responses */
	peer_in = fcntl(STDIN_FILENO, F_DUPFD_CLOEXEC, STDERR_FILENO + 1);
	peer_out = fcntl(STDOUT_FILENO, F_DUPFD_CLOEXEC, STDERR_FILENO + 1);
	null_fd = open("/dev/null", O_RDONLY | O_CLOEXEC);
	if (peer_in < 0 || peer_out < 0 || null_fd < 0 ||
		dup2(null_fd, STDIN_FILENO) < 0 || dup2(STDERR_FILENO, STDOUT_FILENO) < 0)
		ereport(FATAL,
				(errmsg("could not set up the connection to the page server: %m")));
	close(null_fd);

	zenith_smgr_install(&redo_smgr);
	shmem_startup_hook = redo_main;
}

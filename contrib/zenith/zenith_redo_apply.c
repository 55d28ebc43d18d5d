/*-------------------------------------------------------------------------
 *
 * zenith_redo_apply.c
 *	  applies one WAL record to one page
 *
 * What a record may and must do to the target is checked here: a record that does nothing, where it
 * should have, is an error, never a wrong page.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/hash_xlog.h"
#include "access/heapam_xlog.h"
#include "access/rmgr.h"
#include "access/xlog.h"
#include "access/xlog_internal.h"
#include "access/xlogreader.h"
#include "access/xlogutils.h"
#include "catalog/pg_control.h"
#include "storage/buf_internals.h"
#include "storage/bufpage.h"
#include "utils/memutils.h"

#include "zenith_redo_internal.h"

/* Heap blocks that one visibility map page covers, as in visibilitymap.c. */
#define HEAP_BLOCKS_PER_VM_PAGE \
	((BLCKSZ - MAXALIGN(SizeOfPageHeaderData)) * (BITS_PER_BYTE / 2))

/* Room for one record and for what DecodeXLogRecord() makes of it. */
static char *record_buffer;
static size_t record_buffer_size;
static DecodedXLogRecord *decode_buffer;
static size_t decode_buffer_size;

static XLogReaderState *reader;

void
zenith_redo_start_applying(void)
{
	record_buffer_size = BLCKSZ;
	record_buffer = MemoryContextAlloc(TopMemoryContext, record_buffer_size);
	decode_buffer_size = DecodeXLogRecordRequiredSpace(BLCKSZ);
	decode_buffer = MemoryContextAlloc(TopMemoryContext, decode_buffer_size);
	reader = XLogReaderAllocate(wal_segment_size, NULL, XL_ROUTINE(), NULL);
	if (reader == NULL)
		ereport(FATAL,
				(errcode(ERRCODE_OUT_OF_MEMORY),
				 errmsg("out of memory")));
}

void
zenith_redo_start_request(void)
{
	reader->ReadRecPtr = InvalidXLogRecPtr;
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
			zenith_redo_is_target_tag(&tag))
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
	if (zenith_redo_target.forkNum != VISIBILITYMAP_FORKNUM &&
		zenith_redo_target.forkNum != FSM_FORKNUM)
		return false;
	for (int id = 0; id <= XLogRecMaxBlockId(reader); id++)
	{
		BufferTag	tag;

		if (!XLogRecGetBlockTagExtended(reader, id, &tag.rnode, &tag.forkNum,
										&tag.blockNum, NULL) ||
			tag.forkNum != MAIN_FORKNUM ||
			!RelFileNodeEquals(tag.rnode, zenith_redo_target.rnode))
			continue;
		if (zenith_redo_target.forkNum == FSM_FORKNUM ||
			tag.blockNum / HEAP_BLOCKS_PER_VM_PAGE == zenith_redo_target.blockNum)
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
	if (zenith_redo_target.forkNum == VISIBILITYMAP_FORKNUM ||
		zenith_redo_target.forkNum == FSM_FORKNUM)
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
void
zenith_redo_take_record(ZenithRedoCursor *cursor)
{
	XLogRecPtr	start = zenith_redo_take_uint64(cursor);
	XLogRecPtr	end = zenith_redo_take_uint64(cursor);
	uint32		length = zenith_redo_take_uint32(cursor);
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
	zenith_redo_take_bytes(cursor, record_buffer, length);
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

void
zenith_redo_apply_record(void)
{
	XLogRecPtr	before = PageGetLSN((Page) zenith_redo_page.data);
	int			block_id = target_block_id();
	bool		others;
	Page		page;

	if (block_id < 0 && !target_is_implied())
		ereport(ERROR,
				(errcode(ERRCODE_DATA_CORRUPTED),
				 errmsg("record does not change the page")));

	page = zenith_redo_find_target(&others);
	if (page != NULL)
		before = PageGetLSN(page);

	GetRmgr(XLogRecGetRmid(reader)).rm_redo(reader);

	page = zenith_redo_find_target(&others);
	if (page == NULL)
		page = (Page) zenith_redo_page.data;
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
		if (page != (Page) zenith_redo_page.data)
			memcpy(zenith_redo_page.data, page, BLCKSZ);
		zenith_redo_drop_buffers();
	}
}

/*-------------------------------------------------------------------------
 *
 * zenith_redo_smgr.c
 *	  the storage manager and the buffers of a redo process
 *
 * PostgreSQL's redo functions change all blocks a record refers to, while we want one. So there are
 * two kinds of blocks: the target, which reads as the base page, and every other block, which reads
 * as an empty page whose LSN is the highest possible. Redo takes that one for a page that has the
 * change already and leaves it alone.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "storage/buf_internals.h"
#include "storage/bufmgr.h"
#include "storage/bufpage.h"
#include "storage/smgr.h"

#include "zenith_redo_internal.h"

BufferTag	zenith_redo_target;
PGAlignedBlock zenith_redo_page;

static bool
is_target(const RelFileNode *node, ForkNumber forknum, BlockNumber blocknum)
{
	return zenith_redo_in_request && blocknum == zenith_redo_target.blockNum &&
		forknum == zenith_redo_target.forkNum &&
		RelFileNodeEquals(*node, zenith_redo_target.rnode);
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
		memcpy(buffer, zenith_redo_page.data, BLCKSZ);
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
		memcpy(zenith_redo_page.data, buffer, BLCKSZ);
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

const ZenithSmgrCallbacks zenith_redo_smgr = {
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

bool
zenith_redo_is_target_tag(const BufferTag *tag)
{
	return BUFFERTAGS_EQUAL(*tag, zenith_redo_target);
}

/*
 * The buffer that holds the target, or NULL.  Sets *others when any other
 * block is in a buffer.
 */
Page
zenith_redo_find_target(bool *others)
{
	Page		page = NULL;

	*others = false;
	for (int i = 0; i < NBuffers; i++)
	{
		BufferDesc *desc = GetBufferDescriptor(i);
		uint32		state = pg_atomic_read_u32(&desc->state);

		if ((state & BM_TAG_VALID) == 0)
			continue;
		if (zenith_redo_is_target_tag(&desc->tag) && (state & BM_VALID) != 0)
			page = BufferGetPage(BufferDescriptorGetBuffer(desc));
		else
			*others = true;
	}
	return page;
}

/* Forgets every buffer.  Nothing is written. */
void
zenith_redo_drop_buffers(void)
{
	for (int i = 0; i < NBuffers; i++)
	{
		BufferDesc *desc = GetBufferDescriptor(i);

		if ((pg_atomic_read_u32(&desc->state) & BM_TAG_VALID) != 0)
			DropDatabaseBuffers(desc->tag.rnode.dbNode);
	}
}

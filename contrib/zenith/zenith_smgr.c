/*-------------------------------------------------------------------------
 *
 * zenith_smgr.c
 *	  the storage-manager callbacks of a compute: the sparse clone
 *
 * Every relation file is there and has its right length, but at first without contents. A block of
 * a file is one of three things:
 *
 *	hole	all zeroes. This compute has not touched the block since it started. Its contents are
 *			at the page server, which answers with a page, or says that there is none: then the
 *			block is a zero page, as PostgreSQL leaves them when it extends a relation.
 *	marker	the zero page of this compute. What PostgreSQL writes as zeroes is stored as a pattern
 *			that cannot be a page, so that it is never taken for a hole.
 *	page	anything else: the page.
 *
 * What makes a hole's contents simple is that nobody else writes this timeline and this compute has
 * not changed the block: there is one version of it, whenever it is asked for, and a copy fetched in
 * advance is good as long as the block still is a hole in the file when it is read. So a read looks
 * at the file first, always.
 *
 * The fetched page is written into the file so that it is fetched once. That needs certainty that
 * nobody writes a newer version of the block in between. A page read into a shared buffer has it:
 * the buffer manager lets one process read a block, and a block that is not in a shared buffer is
 * not written, except by code that writes a relation it has just created, which has no holes. Who
 * reads into private memory (RelationCopyStorage, pg_prewarm) gets the page, and the file is left
 * as it is.
 *
 * No persistence needs a special case. A permanent relation is as described. The base backup brings
 * the main fork of an unlogged relation as a copy of its init fork, in real bytes; a zero block in
 * it is fetched, is unknown to the page server, and becomes a marker. What this compute creates
 * starts empty and grows by smgr_extend and smgr_write, which leave no holes: a gap before the new
 * block is filled with markers. Temporary relations go to md.c unchanged. There is no recovery on a
 * compute: it starts from a shutdown checkpoint, and after a crash from a new base backup.
 *
 * Nothing local has to survive a crash, so no write asks for an fsync at the next checkpoint.
 *
 * Errors. read raises an ERROR when the page server cannot be reached for long; PostgreSQL 15 calls
 * it neither in critical sections nor after commit. It handles interrupts while it waits, unless
 * the caller holds them off, as a few do that hold an exclusive content lock; then the timeouts
 * still hold. extend, write and prefetch never speak to the page server in a way that waits and
 * raise what md.c raises. exists, nblocks, truncate, unlink, which run after commit or in critical
 * sections, stay md.c's and local.
 *
 * While interrupts are handled the descriptors of any relation may be closed (smgrreleaseall), so
 * nothing of md.c's state is kept over a fetch; the SMgrRelation itself stays.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <fcntl.h>
#include <unistd.h>

#include "access/xlogutils.h"
#include "common/relpath.h"
#include "storage/buf_internals.h"
#include "storage/bufmgr.h"
#include "storage/bufpage.h"
#include "storage/fd.h"
#include "storage/md.h"

#include "libpqpagestore.h"
#include "zenith_guc.h"
#include "zenith_readahead.h"
#include "zenith_smgr.h"

typedef enum BlockKind
{
	BLOCK_HOLE,
	BLOCK_MARKER,
	BLOCK_PAGE
} BlockKind;

/*
 * The marker repeats this text. Read as a page header it has pd_lower > BLCKSZ and unknown flags.
 * Do not change it: files of running computes contain it.
 */
static const char marker_text[16] = "ZENITH-ZERO-PAGE";

/* Aligned for the operating system's sake; the marker is built on first use in each process. */
static PGAlignedBlock marker_block;
static PGAlignedBlock scratch_block;

static char *
marker(void)
{
	if (marker_block.data[0] == '\0')
	{
		int			i;

		for (i = 0; i < BLCKSZ; i += sizeof(marker_text))
			memcpy(marker_block.data + i, marker_text, sizeof(marker_text));
	}
	return marker_block.data;
}

static bool
is_all_zero(const char *block)
{
	const uint64 *word = (const uint64 *) block;
	const uint64 *end = (const uint64 *) (block + BLCKSZ);

	while (word < end)
	{
		if (*word++ != 0)
			return false;
	}
	return true;
}

static BlockKind
classify(const char *block)
{
	if (is_all_zero(block))
		return BLOCK_HOLE;
	if (memcmp(block, marker_text, sizeof(marker_text)) == 0 &&
		memcmp(block, marker(), BLCKSZ) == 0)
		return BLOCK_MARKER;
	return BLOCK_PAGE;
}

static bool
in_shared_buffers(const char *buffer)
{
	return buffer >= BufferBlocks && buffer < BufferBlocks + (Size) NBuffers * BLCKSZ;
}

static ZenithPageTag
make_tag(SMgrRelation reln, ForkNumber forknum, BlockNumber blocknum)
{
	ZenithPageTag tag;

	tag.node = reln->smgr_rnode.node;
	tag.fork = forknum;
	tag.block = blocknum;
	return tag;
}

bool
zenith_block_is_hole(SMgrRelation reln, ForkNumber forknum, BlockNumber blocknum)
{
	if (SmgrIsTemp(reln) || blocknum >= mdnblocks(reln, forknum))
		return false;
	mdread(reln, forknum, blocknum, scratch_block.data);
	return classify(scratch_block.data) == BLOCK_HOLE;
}

/* How many holes follow each other from `from` on, `max` at most, within the relation. */
static int
count_holes(SMgrRelation reln, ForkNumber forknum, BlockNumber from, int max)
{
	BlockNumber nblocks = mdnblocks(reln, forknum);
	int			count = 0;

	while (count < max && from + count < nblocks)
	{
		mdread(reln, forknum, from + count, scratch_block.data);
		if (classify(scratch_block.data) != BLOCK_HOLE)
			break;
		count++;
	}
	return count;
}

/* Asks for the holes in a window of a sequential reader, run by run. */
static void
read_ahead(SMgrRelation reln, ForkNumber forknum, BlockNumber from, BlockNumber end)
{
	BlockNumber nblocks = mdnblocks(reln, forknum);

	end = Min(end, nblocks);
	while (from < end)
	{
		ZenithPageTag tag = make_tag(reln, forknum, from);
		int			run = count_holes(reln, forknum, from, (int) (end - from));
		int			asked = run > 0 ? zenith_pagestore_prefetch(&tag, run) : 0;

		if (asked < run)
		{
			/* No room left: the window goes on from here with a later read. */
			zenith_readahead_stopped(&tag, from + asked);
			return;
		}
		from += Max(run, 1);
	}
}

/*
 * Makes a block a hole again that a failed write may have filled in part. A block with half of a
 * page in it would be taken for the page, so this must not fail.
 */
static void
make_hole_again(SMgrRelation reln, ForkNumber forknum, BlockNumber blocknum)
{
	char	   *path = relpath(reln->smgr_rnode, forknum);
	BlockNumber segment = blocknum / RELSEG_SIZE;
	off_t		offset = (off_t) BLCKSZ * (blocknum % RELSEG_SIZE);
	PGAlignedBlock block;
	bool		done = false;
	int			fd;

	if (segment > 0)
		path = psprintf("%s.%u", path, segment);
	fd = BasicOpenFile(path, O_RDWR | PG_BINARY);
	if (fd >= 0)
	{
		/* Where the file system cannot punch holes, zeroes over what was written do the same. */
		if (fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, offset, BLCKSZ) != 0)
		{
			memset(block.data, 0, BLCKSZ);
			(void) (pg_pwrite(fd, block.data, BLCKSZ, offset) < 0);
		}
		done = pg_pread(fd, block.data, BLCKSZ, offset) == BLCKSZ && is_all_zero(block.data);
		close(fd);
	}
	if (!done)
		elog(PANIC, "could not undo a failed write of block %u in file \"%s\"", blocknum, path);
}

/* Writes what was fetched into its hole: all of it or nothing. */
static void
fill_hole(SMgrRelation reln, ForkNumber forknum, BlockNumber blocknum, char *page)
{
	PG_TRY();
	{
		mdwrite(reln, forknum, blocknum, page, true);
	}
	PG_CATCH();
	{
		/* A full disk: filling a hole takes space, unlike writing over a block of a plain server. */
		make_hole_again(reln, forknum, blocknum);
		PG_RE_THROW();
	}
	PG_END_TRY();
}

/* Gets the contents of a hole from the page server. */
static void
read_hole(SMgrRelation reln, ForkNumber forknum, BlockNumber blocknum, char *buffer)
{
	ZenithPageTag tag = make_tag(reln, forknum, blocknum);
	BlockNumber from = InvalidBlockNumber;
	int			window = zenith_readahead_note(&tag, zenith_readahead_blocks, &from);
	int			ahead = 0;

	zenith_relation_saw(&tag, true);
	if (window > 0)
	{
		BlockNumber end = from + window;

		/* What follows the block directly goes into the same request. */
		if (from == blocknum + 1 && !zenith_pagestore_has(&tag))
		{
			ahead = count_holes(reln, forknum, from, window);
			from += ahead;
		}
		if (from < end)
			read_ahead(reln, forknum, from, end);
	}

	(void) zenith_pagestore_get(&tag, ahead, buffer);

	if (in_shared_buffers(buffer))
	{
		/*
		 * Never make a file longer: what has been truncated away must not come back. What the
		 * buffer manager is about to refuse (the page server sets data checksums, so they cover the
		 * way here) is not kept: the next read asks again.
		 */
		if (blocknum < mdnblocks(reln, forknum) &&
			PageIsVerifiedExtended((Page) buffer, blocknum, 0))
			fill_hole(reln, forknum, blocknum, is_all_zero(buffer) ? marker() : buffer);
	}
	else if (blocknum < mdnblocks(reln, forknum))
	{
		BlockKind	kind;

		/* A private reader holds no lock on the block: what is there now, counts. */
		mdread(reln, forknum, blocknum, scratch_block.data);
		kind = classify(scratch_block.data);
		if (kind == BLOCK_PAGE)
			memcpy(buffer, scratch_block.data, BLCKSZ);
		else if (kind == BLOCK_MARKER)
			memset(buffer, 0, BLCKSZ);
	}
}

static void
zenith_smgr_read(SMgrRelation reln, ForkNumber forknum, BlockNumber blocknum, char *buffer)
{
	mdread(reln, forknum, blocknum, buffer);
	if (SmgrIsTemp(reln))
		return;
	switch (classify(buffer))
	{
		case BLOCK_PAGE:
			return;
		case BLOCK_MARKER:
			memset(buffer, 0, BLCKSZ);
			return;
		case BLOCK_HOLE:
			break;
	}

	/* In these two cases md.c answers a read beyond the end with zeroes: not a hole. */
	if ((zero_damaged_pages || InRecovery) && blocknum >= mdnblocks(reln, forknum))
		return;
	read_hole(reln, forknum, blocknum, buffer);
}

/*
 * Adds a block. A gap that PostgreSQL leaves before it (hash indexes, CREATE DATABASE) would read as
 * holes and could bring back blocks of before a truncation.
 */
static void
zenith_smgr_extend(SMgrRelation reln, ForkNumber forknum, BlockNumber blocknum, char *buffer,
				   bool skipFsync)
{
	if (SmgrIsTemp(reln))
	{
		mdextend(reln, forknum, blocknum, buffer, skipFsync);
		return;
	}
	if (blocknum != InvalidBlockNumber)	/* mdextend refuses that one */
	{
		BlockNumber gap = mdnblocks(reln, forknum);

		for (; gap < blocknum; gap++)
			mdextend(reln, forknum, gap, marker(), true);
	}
	mdextend(reln, forknum, blocknum, is_all_zero(buffer) ? marker() : buffer, true);
}

static void
zenith_smgr_write(SMgrRelation reln, ForkNumber forknum, BlockNumber blocknum, char *buffer,
				  bool skipFsync)
{
	if (SmgrIsTemp(reln))
	{
		mdwrite(reln, forknum, blocknum, buffer, skipFsync);
		return;
	}
	/* Index code writes the pages of a new fork without extending it first. */
	if (!in_shared_buffers(buffer) && blocknum >= mdnblocks(reln, forknum))
	{
		zenith_smgr_extend(reln, forknum, blocknum, buffer, skipFsync);
		return;
	}
	mdwrite(reln, forknum, blocknum, is_all_zero(buffer) ? marker() : buffer, true);
}

/*
 * Starts to fetch a hole. Looking whether a block is one means reading it, so relations that have
 * shown none lately are left to the operating system's read-ahead.
 */
static bool
zenith_smgr_prefetch(SMgrRelation reln, ForkNumber forknum, BlockNumber blocknum)
{
	if (!SmgrIsTemp(reln))
	{
		ZenithPageTag tag = make_tag(reln, forknum, blocknum);

		if (zenith_relation_may_have_holes(&tag))
		{
			bool		hole;

			if (zenith_pagestore_has(&tag))
				return true;
			hole = zenith_block_is_hole(reln, forknum, blocknum);
			zenith_relation_saw(&tag, hole);
			if (hole)
			{
				(void) zenith_pagestore_prefetch(&tag, 1);
				return true;
			}
		}
	}
	return mdprefetch(reln, forknum, blocknum);
}

const ZenithSmgrCallbacks zenith_smgr_callbacks = {
	.smgr_extend = zenith_smgr_extend,
	.smgr_prefetch = zenith_smgr_prefetch,
	.smgr_read = zenith_smgr_read,
	.smgr_write = zenith_smgr_write,
};

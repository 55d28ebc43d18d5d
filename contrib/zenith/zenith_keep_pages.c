/*-------------------------------------------------------------------------
 *
 * zenith_keep_pages.c
 *	  sequences and free space maps: what their pages hold and WAL does not
 *
 * Sequences. nextval() logs a sequence 32 numbers ahead and then counts on its page alone. A page
 * with log_cnt <> 0 is logged as it is, with log_cnt 0, as setval() does. The next nextval() on that
 * page logs anew, so this is right even when somebody draws numbers at the same time.
 *
 * Free space maps. They are not in WAL, except when truncated. Without them a new compute would
 * extend relations that have room, and find that room again only page by page, as VACUUM comes to
 * visit pages for another reason. A map page that changed is logged as a page image. Whether it
 * changed is told by a checksum of its contents that is left in pd_prune_xid, which nothing else
 * uses in a map: so nothing has to be tracked while the compute runs, and a map that was only
 * searched is not logged again. Images are compressed; runs of equal bytes are most of a map.
 *
 * Candidates are found by looking at the files: what this compute has never touched is a hole, and
 * a file that is all hole costs one lseek(). What is only in a buffer has bytes in the file as well,
 * from when it was read or extended.
 *
 * A file may go away at any moment if this runs while others do: then the step ends with an error,
 * and the caller goes on.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <sys/stat.h>
#include <unistd.h>

#include "access/htup_details.h"
#include "access/rmgr.h"
#include "access/xlog.h"
#include "access/xloginsert.h"
#include "catalog/pg_tablespace.h"
#include "commands/sequence.h"
#include "common/relpath.h"
#include "miscadmin.h"
#include "port/pg_crc32c.h"
#include "storage/bufmgr.h"
#include "storage/fd.h"
#include "storage/fsm_internals.h"
#include "storage/reinit.h"
#include "storage/smgr.h"
#include "utils/guc.h"

#include "zenith_keep.h"
#include "zenith_smgr.h"

/* SEQ_MAGIC of sequence.c */
#define SEQUENCE_MAGIC 0x1717
#define SEQUENCE_COLUMNS 3

static int	kept_sequences;
static int	kept_map_pages;

/* ---------------------------------------------------------------- sequences */

/* The tuple if the page is that of a sequence, else NULL. */
static HeapTupleHeader
sequence_tuple(Page page, Size *length)
{
	ItemId		item;
	HeapTupleHeader tuple;

	if (PageIsNew(page) || PageGetSpecialSize(page) != MAXALIGN(sizeof(uint32)) ||
		*(uint32 *) PageGetSpecialPointer(page) != SEQUENCE_MAGIC ||
		PageGetMaxOffsetNumber(page) != FirstOffsetNumber)
		return NULL;
	item = PageGetItemId(page, FirstOffsetNumber);
	if (!ItemIdIsNormal(item))
		return NULL;
	tuple = (HeapTupleHeader) PageGetItem(page, item);
	*length = ItemIdGetLength(item);
	if (*length < SizeofHeapTupleHeader ||
		HeapTupleHeaderGetNatts(tuple) != SEQUENCE_COLUMNS ||
		*length < tuple->t_hoff + offsetof(FormData_pg_sequence_data, is_called) + sizeof(bool))
		return NULL;
	return tuple;
}

static void
keep_sequence(RelFileNode node)
{
	Buffer		buffer = ReadBufferWithoutRelcache(node, MAIN_FORKNUM, 0, RBM_NORMAL, NULL, true);
	Page		page = BufferGetPage(buffer);
	HeapTupleHeader tuple;
	Size		length;

	LockBuffer(buffer, BUFFER_LOCK_EXCLUSIVE);
	tuple = sequence_tuple(page, &length);
	if (tuple != NULL)
	{
		Form_pg_sequence_data sequence = (Form_pg_sequence_data) ((char *) tuple + tuple->t_hoff);

		if (sequence->log_cnt != 0)
		{
			xl_seq_rec	record;
			XLogRecPtr	lsn;

			START_CRIT_SECTION();
			sequence->log_cnt = 0;
			MarkBufferDirty(buffer);
			XLogBeginInsert();
			XLogRegisterBuffer(0, buffer, REGBUF_WILL_INIT);
			record.node = node;
			XLogRegisterData((char *) &record, sizeof(record));
			XLogRegisterData((char *) tuple, length);
			lsn = XLogInsert(RM_SEQ_ID, XLOG_SEQ_LOG);
			PageSetLSN(page, lsn);
			END_CRIT_SECTION();
			kept_sequences++;
		}
	}
	UnlockReleaseBuffer(buffer);
}

/* ---------------------------------------------------------------- free space maps */

/* fp_next_slot, where the next search begins, is no contents: it changes with every search. */
static pg_crc32c
map_checksum(Page page)
{
	FSMPage		map = (FSMPage) PageGetContents(page);
	char	   *begin = (char *) map->fp_nodes;
	pg_crc32c	crc;

	INIT_CRC32C(crc);
	COMP_CRC32C(crc, begin, (char *) page + BLCKSZ - begin);
	FIN_CRC32C(crc);
	return crc;
}

static bool
is_all_zero(const char *from, const char *end)
{
	while (from < end)
	{
		if (*from++ != 0)
			return false;
	}
	return true;
}

static void
keep_map_page(RelFileNode node, BlockNumber block)
{
	Buffer		buffer = ReadBufferWithoutRelcache(node, FSM_FORKNUM, block, RBM_ZERO_ON_ERROR, NULL,
												   true);
	Page		page = BufferGetPage(buffer);
	PageHeader	header = (PageHeader) page;

	LockBuffer(buffer, BUFFER_LOCK_EXCLUSIVE);
	if (!PageIsNew(page))
	{
		TransactionId checksum = (TransactionId) map_checksum(page);
		FSMPage		map = (FSMPage) PageGetContents(page);
		bool		never_kept = header->pd_prune_xid == InvalidTransactionId;

		/* Of a map that never said anything a new compute needs no copy. */
		if (checksum != header->pd_prune_xid &&
			!(never_kept && is_all_zero((char *) map->fp_nodes, (char *) page + BLCKSZ)))
		{
			START_CRIT_SECTION();
			header->pd_prune_xid = checksum;
			MarkBufferDirty(buffer);
			/* Not a standard page: all of it is between pd_lower and pd_upper. */
			log_newpage_buffer(buffer, false);
			END_CRIT_SECTION();
			kept_map_pages++;
		}
	}
	UnlockReleaseBuffer(buffer);
}

/* ---------------------------------------------------------------- files */

/*
 * Calls keep_map_page for the blocks of a segment that have bytes, or keep_sequence when it could
 * be a sequence: one block, with bytes.
 */
static void
keep_file(const char *path, RelFileNode node, ForkNumber fork, int segment)
{
	int			fd = OpenTransientFile(path, O_RDONLY | PG_BINARY);
	struct stat st;
	off_t		offset = 0;

	if (fd < 0)
		return;					/* removed since */
	if (fstat(fd, &st) != 0)
		st.st_size = 0;
	while (offset < st.st_size && (fork == FSM_FORKNUM || (segment == 0 && st.st_size == BLCKSZ)))
	{
		BlockNumber block;

		/* Where the file system does not know of holes, all of it is data. */
		offset = lseek(fd, offset, SEEK_DATA);
		if (offset < 0)
			break;
		offset -= offset % BLCKSZ;
		block = (BlockNumber) (offset / BLCKSZ) + (BlockNumber) segment * RELSEG_SIZE;
		if (!zenith_block_is_hole(smgropen(node, InvalidBackendId), fork, block))
		{
			if (fork == FSM_FORKNUM)
				keep_map_page(node, block);
			else
				keep_sequence(node);
		}
		offset += BLCKSZ;
	}
	CloseTransientFile(fd);
}

static void
keep_directory(const char *path, Oid tablespace, Oid database)
{
	DIR		   *dir = AllocateDir(path);
	struct dirent *entry;

	if (dir == NULL)
		return;
	while ((entry = ReadDirExtended(dir, path, LOG)) != NULL)
	{
		char		file[MAXPGPATH];
		char		init[MAXPGPATH];
		const char *dot = strchr(entry->d_name, '.');
		RelFileNode node;
		ForkNumber	fork;
		int			digits;

		/* Not temporary relations: nobody finds them again. */
		if (!parse_filename_for_nontemp_relation(entry->d_name, &digits, &fork) ||
			(fork != MAIN_FORKNUM && fork != FSM_FORKNUM))
			continue;
		node.spcNode = tablespace;
		node.dbNode = database;
		node.relNode = (Oid) strtoul(entry->d_name, NULL, 10);
		snprintf(file, sizeof(file), "%s/%s", path, entry->d_name);
		/* Nor unlogged ones: they start empty. */
		snprintf(init, sizeof(init), "%s/%u_init", path, node.relNode);
		if (access(init, F_OK) == 0)
			continue;
		keep_file(file, node, fork, dot == NULL ? 0 : atoi(dot + 1));
	}
	FreeDir(dir);
}

/* Every database directory below `path`. */
static void
keep_databases(const char *path, Oid tablespace)
{
	DIR		   *dir = AllocateDir(path);
	struct dirent *entry;

	if (dir == NULL)
		return;
	while ((entry = ReadDirExtended(dir, path, LOG)) != NULL)
	{
		char		database[MAXPGPATH];

		if (strspn(entry->d_name, "0123456789") != strlen(entry->d_name))
			continue;
		snprintf(database, sizeof(database), "%s/%s", path, entry->d_name);
		keep_directory(database, tablespace, (Oid) strtoul(entry->d_name, NULL, 10));
	}
	FreeDir(dir);
}

void
zenith_keep_pages(void)
{
	XLogRecPtr	begin = GetXLogInsertRecPtr();
	DIR		   *dir;
	struct dirent *entry;

	kept_sequences = 0;
	kept_map_pages = 0;
	/* In this process alone; every server can decompress it. */
	SetConfigOption("wal_compression", "pglz", PGC_SUSET, PGC_S_OVERRIDE);

	keep_directory("global", GLOBALTABLESPACE_OID, InvalidOid);
	keep_databases("base", DEFAULTTABLESPACE_OID);
	dir = AllocateDir("pg_tblspc");
	while (dir != NULL && (entry = ReadDirExtended(dir, "pg_tblspc", LOG)) != NULL)
	{
		char		path[MAXPGPATH];

		if (strspn(entry->d_name, "0123456789") != strlen(entry->d_name))
			continue;
		snprintf(path, sizeof(path), "pg_tblspc/%s/%s", entry->d_name,
				 TABLESPACE_VERSION_DIRECTORY);
		keep_databases(path, (Oid) strtoul(entry->d_name, NULL, 10));
	}
	if (dir != NULL)
		FreeDir(dir);
	ereport(LOG,
			(errmsg("kept %d sequences and %d pages of free space maps in %llu bytes of WAL",
					kept_sequences, kept_map_pages,
					(unsigned long long) (GetXLogInsertRecPtr() - begin))));
}

/*-------------------------------------------------------------------------
 *
 * zenith_keep_files.c
 *	  files of the data directory that go to the page server in WAL
 *
 * A file travels in a logical message of no database, which no logical decoding takes for its own
 * and no SQL function can write. The prefix says for how long it counts:
 *
 *	ZENITH_STOP_FILE	until anything else changes: what was true when the compute stopped
 *	ZENITH_SLOT_FILE	on this timeline alone, until a ZENITH_SLOT_LIST comes without it
 *
 * The message is the file's path in the data directory, a zero byte and the contents; a list is
 * paths alone, each with a zero byte, the first one empty. The page server takes only the paths it
 * knows, puts them into base backups, and drops what no longer counts (pageserver/wal_ingest).
 *
 * A slot is useless without the snapshots of the catalogs at the places it may be read from
 * (pg_logical/snapshots) and the files that say where rewritten catalogs have their rows
 * (pg_logical/mappings). The WAL it needs the page server has.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <sys/stat.h>
#include <unistd.h>

#include "access/xlog.h"
#include "access/xloginsert.h"
#include "lib/stringinfo.h"
#include "nodes/pg_list.h"
#include "pgstat.h"
#include "port/pg_crc32c.h"
#include "replication/message.h"
#include "replication/slot.h"
#include "storage/fd.h"
#include "storage/lwlock.h"
#include "utils/hsearch.h"
#include "utils/memutils.h"
#include "utils/pgstat_internal.h"

#include "zenith_keep.h"

#define ZENITH_STOP_FILE "zenith stop file"
#define ZENITH_SLOT_FILE "zenith slot file"
#define ZENITH_SLOT_LIST "zenith slot list"

/* What is larger is not kept: statistics of some hundred thousand tables. */
#define MAX_FILE_SIZE (64 * 1024 * 1024)

/* The contents, allocated; NULL when there is no such file or it is too large. */
static char *
read_file(const char *path, Size *size)
{
	int			fd = OpenTransientFile(path, O_RDONLY | PG_BINARY);
	struct stat st;
	char	   *content;
	ssize_t		length;

	if (fd < 0)
	{
		if (errno != ENOENT)
			ereport(ERROR,
					(errcode_for_file_access(),
					 errmsg("could not open file \"%s\": %m", path)));
		return NULL;
	}
	if (fstat(fd, &st) != 0)
		ereport(ERROR,
				(errcode_for_file_access(),
				 errmsg("could not stat file \"%s\": %m", path)));
	if (st.st_size > MAX_FILE_SIZE)
	{
		CloseTransientFile(fd);
		ereport(LOG,
				(errmsg("file \"%s\" of %lld bytes is too large to be kept", path,
						(long long) st.st_size)));
		return NULL;
	}
	content = palloc(st.st_size + 1);
	length = read(fd, content, st.st_size);
	if (length != st.st_size)
		ereport(ERROR,
				(errcode_for_file_access(),
				 errmsg("could not read file \"%s\": read %zd of %lld", path, length,
						(long long) st.st_size)));
	CloseTransientFile(fd);
	*size = length;
	return content;
}

/* End of the last message. */
static XLogRecPtr last_message = InvalidXLogRecPtr;

static void
log_file(const char *prefix, const char *path, const char *content, Size size)
{
	xl_logical_message message;

	memset(&message, 0, sizeof(message));
	message.dbId = InvalidOid;
	message.transactional = false;
	message.prefix_size = strlen(prefix) + 1;
	message.message_size = strlen(path) + 1 + size;

	XLogBeginInsert();
	XLogRegisterData((char *) &message, SizeOfLogicalMessage);
	XLogRegisterData(unconstify(char *, prefix), message.prefix_size);
	XLogRegisterData(unconstify(char *, path), strlen(path) + 1);
	if (size > 0)
		XLogRegisterData(unconstify(char *, content), size);
	/* Else an idle server would find something to checkpoint and to snapshot after it. */
	XLogSetRecordFlags(XLOG_MARK_UNIMPORTANT);
	last_message = XLogInsert(RM_LOGICALMSG_ID, XLOG_LOGICAL_MESSAGE);
}

void
zenith_keep_statistics(void)
{
	char	   *content;
	Size		size;

	/*
	 * The checkpointer does this at its end, too late for WAL. It will do it again, which is why the
	 * mark that it has been done is taken back.
	 */
	pgstat_before_server_shutdown(0, (Datum) 0);
	pgStatLocal.shmem->is_shutdown = false;

	content = read_file(PGSTAT_STAT_PERMANENT_FILENAME, &size);
	if (content == NULL)
		return;
	log_file(ZENITH_STOP_FILE, PGSTAT_STAT_PERMANENT_FILENAME, content, size);
	ereport(LOG,
			(errmsg("kept cumulative statistics in %zu bytes of WAL", size)));
}

/* ---------------------------------------------------------------- slots */

/* A file the page server has from us, as it was when it was sent. */
typedef struct SentFile
{
	char		path[MAXPGPATH];	/* hash key */
	pg_crc32c	checksum;
	bool		present;		/* seen in this round */
} SentFile;

/* Lives as long as the worker; NULL before the first round. */
static HTAB *sent_files = NULL;

/* Names of the logical slots that outlive their session, allocated. */
static List *
logical_slots(void)
{
	List	   *names = NIL;
	int			i;

	LWLockAcquire(ReplicationSlotControlLock, LW_SHARED);
	for (i = 0; i < max_replication_slots; i++)
	{
		ReplicationSlot *slot = &ReplicationSlotCtl->replication_slots[i];

		if (slot->in_use && SlotIsLogical(slot) && slot->data.persistency == RS_PERSISTENT)
			names = lappend(names, pstrdup(NameStr(slot->data.name)));
	}
	LWLockRelease(ReplicationSlotControlLock);
	return names;
}

/* Sends a file if it is not what was sent last; true when it is new to the page server. */
static bool
send_if_changed(const char *path)
{
	Size		size;
	char	   *content = read_file(path, &size);
	char		key[MAXPGPATH];
	SentFile   *file;
	pg_crc32c	checksum;
	bool		found;

	if (content == NULL)
		return false;			/* removed since */
	INIT_CRC32C(checksum);
	COMP_CRC32C(checksum, content, size);
	FIN_CRC32C(checksum);
	memset(key, 0, sizeof(key));
	strlcpy(key, path, sizeof(key));
	file = (SentFile *) hash_search(sent_files, key, HASH_ENTER, &found);
	if (!found || file->checksum != checksum)
		log_file(ZENITH_SLOT_FILE, path, content, size);
	file->checksum = checksum;
	file->present = true;
	pfree(content);
	return !found;
}

static bool
send_directory(const char *path)
{
	DIR		   *dir = AllocateDir(path);
	struct dirent *entry;
	bool		added = false;

	while ((entry = ReadDir(dir, path)) != NULL)
	{
		char		file[MAXPGPATH];

		/* Neither "." and ".." nor files that are being written. */
		if (entry->d_name[0] == '.' || strstr(entry->d_name, ".tmp") != NULL)
			continue;
		snprintf(file, sizeof(file), "%s/%s", path, entry->d_name);
		added |= send_if_changed(file);
	}
	FreeDir(dir);
	return added;
}

/* Which of the files that were sent count from now on. */
static void
send_list(void)
{
	StringInfoData list;
	HASH_SEQ_STATUS scan;
	SentFile   *file;

	initStringInfo(&list);
	hash_seq_init(&scan, sent_files);
	while ((file = (SentFile *) hash_seq_search(&scan)) != NULL)
		appendBinaryStringInfo(&list, file->path, strlen(file->path) + 1);
	log_file(ZENITH_SLOT_LIST, "", list.data, list.len);
}

void
zenith_keep_slots(void)
{
	XLogRecPtr	before = last_message;
	bool		list_changed = false;
	List	   *names = logical_slots();
	ListCell   *cell;
	HASH_SEQ_STATUS scan;
	SentFile   *file;

	if (sent_files == NULL)
	{
		HASHCTL		ctl;

		memset(&ctl, 0, sizeof(ctl));
		ctl.keysize = MAXPGPATH;
		ctl.entrysize = sizeof(SentFile);
		ctl.hcxt = TopMemoryContext;
		sent_files = hash_create("zenith slot files", 64, &ctl,
								 HASH_ELEM | HASH_STRINGS | HASH_CONTEXT);
		/* The page server may have files of slots that are gone by now. */
		list_changed = true;
	}
	else if (names == NIL && hash_get_num_entries(sent_files) == 0)
		return;

	hash_seq_init(&scan, sent_files);
	while ((file = (SentFile *) hash_seq_search(&scan)) != NULL)
		file->present = false;

	if (names != NIL)
	{
		/* What the slots confirmed is in memory until now. */
		CheckPointReplicationSlots();
		/* A slot needs the others, so they come first. */
		list_changed |= send_directory("pg_logical/snapshots");
		list_changed |= send_directory("pg_logical/mappings");
	}
	foreach(cell, names)
	{
		char		path[MAXPGPATH];

		snprintf(path, sizeof(path), "pg_replslot/%s/state", (char *) lfirst(cell));
		list_changed |= send_if_changed(path);
	}

	hash_seq_init(&scan, sent_files);
	while ((file = (SentFile *) hash_seq_search(&scan)) != NULL)
	{
		if (!file->present)
		{
			hash_search(sent_files, file->path, HASH_REMOVE, NULL);
			list_changed = true;
		}
	}
	if (list_changed)
		send_list();
	/* No commit may come that would send it on. */
	if (last_message > before)
		XLogFlush(last_message);
}

/*-------------------------------------------------------------------------
 *
 * zenith_datadir.c
 *	  a compute starts on a fresh base backup, or not at all
 *
 * What a compute leaves behind is of no use to the next one: its timeline may have gone on under
 * another compute, its end may have come between WAL and the page server, and nothing in it was
 * ever flushed to disk. So a start on it, by pg_ctl for example, must not succeed. It is told by
 * pg_control, which every start changes for good: a base backup's says "shut down", with the
 * checkpoint that was made up at zenith.start_lsn.
 *
 * This is looked at when shared memory is made, not in _PG_init: "postgres -C" of a setting that is
 * computed at run time loads libraries as well, and may be asked of any data directory. A
 * postmaster that starts over after a crash (somebody has set restart_after_crash) makes shared
 * memory once more and ends there, too.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/xlog.h"
#include "access/xlog_internal.h"
#include "common/controldata_utils.h"
#include "miscadmin.h"
#include "storage/ipc.h"

#include "zenith_datadir.h"
#include "zenith_guc.h"

static shmem_startup_hook_type next_shmem_startup_hook = NULL;

/* Where the base backup's checkpoint record starts: past a page header at a page's start. */
static XLogRecPtr
base_backup_checkpoint(void)
{
	if (zenith_start_lsn % XLOG_BLCKSZ != 0)
		return zenith_start_lsn;
	if (XLogSegmentOffset(zenith_start_lsn, wal_segment_size) != 0)
		return zenith_start_lsn + SizeOfXLogShortPHD;
	return zenith_start_lsn + SizeOfXLogLongPHD;
}

static void
require_unused(void)
{
	XLogRecPtr	checkpoint = base_backup_checkpoint();
	bool		crc_ok;
	ControlFileData *control = get_controlfile(DataDir, &crc_ok);

	if (!crc_ok)
		ereport(FATAL,
				(errcode(ERRCODE_DATA_CORRUPTED),
				 errmsg("incorrect checksum in control file"),
				 errhint("Start it with \"zenith pg start\", which makes a new data directory.")));
	if (control->state != DB_SHUTDOWNED ||
		control->checkPoint != checkpoint ||
		control->checkPointCopy.redo != checkpoint)
		ereport(FATAL,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("this data directory has been used by a compute before"),
				 errhint("Start it with \"zenith pg start\", which makes a new one.")));
	pfree(control);
}

static void
shmem_startup(void)
{
	if (!IsUnderPostmaster)
		require_unused();
	if (next_shmem_startup_hook)
		next_shmem_startup_hook();
}

void
zenith_datadir_init(void)
{
	next_shmem_startup_hook = shmem_startup_hook;
	shmem_startup_hook = shmem_startup;
}

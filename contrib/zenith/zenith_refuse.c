/*-------------------------------------------------------------------------
 *
 * zenith_refuse.c
 *	  what cannot work on a compute ends in an error with a hint
 *
 * - Copies of the data directory (pg_basebackup, pg_backup_start and a file copy): they would have
 *	 holes for data. Physical replication connections are refused, except the page server's and
 *	 those of pg_receivewal, which only takes WAL. The application's name tells who it is: this is
 *	 there to keep people from mistakes, not from attacks.
 * - Reading the file of a relation by its path (pg_read_file, pg_read_binary_file, lo_import): holes
 *	 would read as zeroes.
 * - Taking its login from the role by which the page server connects: there would be no commit any more,
 *	 and no next start to undo it.
 * - WAL records of another library's resource manager: the page server replays with this library
 *	 alone.
 *
 * What is refused elsewhere: wal_level "minimal" (zenith_guc.c), tablespaces at a location
 * (zenith_utility.c), a data directory that was used before (zenith_datadir.c).
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

/* Not to need the headers of GSSAPI; libpq-be.h keeps its layout without them. */
#undef ENABLE_GSS

#include <limits.h>
#include <stdlib.h>

#include "access/genam.h"
#include "access/htup_details.h"
#include "access/rmgr.h"
#include "access/table.h"
#include "access/xlog_internal.h"
#include "catalog/objectaccess.h"
#include "catalog/pg_authid.h"
#include "catalog/pg_proc.h"
#include "fmgr.h"
#include "libpq/auth.h"
#include "miscadmin.h"
#include "replication/message.h"
#include "replication/walsender.h"
#include "storage/ipc.h"
#include "storage/reinit.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/snapmgr.h"

#include "zenith_builtins.h"
#include "zenith_guc.h"
#include "zenith_logical.h"
#include "zenith_refuse.h"

/* What the page server calls itself: kReceiverApplicationName, and those of compute_client.cpp. */
#define PAGE_SERVER_NAME "zenith_pageserver"
#define PAGE_SERVER_PROBE_NAME "zenith_probe"
#define PAGE_SERVER_FLUSH_NAME "zenith_branch"
#define PAGE_SERVER_ROLE "postgres"
#define WAL_ARCHIVER_NAME "pg_receivewal"

static ClientAuthentication_hook_type next_client_authentication = NULL;
static object_access_hook_type next_object_access = NULL;
static shmem_startup_hook_type next_shmem_startup = NULL;

/* ---------------------------------------------------------------- copies of the data directory */

static void
refuse_copy(int level)
{
	ereport(level,
			(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
			 errmsg("the data directory of a zenith compute cannot be copied"),
			 errdetail("Its relation files have holes where pages have not been used yet."),
			 errhint("Use \"zenith branch\" for a copy that costs nothing, or pg_dump.")));
}

/*
 * Has all WAL so far written to disk, what was committed asynchronously, too, for a page server
 * that asks for zenith.flushed_lsn next: the end of a record, which the flush position need not be.
 * Done here, so that the page server needs no database, and no place among max_connections. Before
 * a server is shut down it waits for processes that have come no further than this, so this is not
 * too late for a record.
 */
static void
flush_wal(void)
{
	zenith_flushed_lsn = LogLogicalMessage("zenith", "branch", strlen("branch"), false);
	XLogFlush(zenith_flushed_lsn);
}

static void
client_authentication(Port *port, int status)
{
	if (next_client_authentication)
		next_client_authentication(port, status);

	/* With a database it is logical replication. */
	if (status == STATUS_OK && am_walsender && am_db_walsender)
		zenith_logical_publish();
	if (status == STATUS_OK && am_walsender && !am_db_walsender)
	{
		const char *name = port->application_name != NULL ? port->application_name : "";

		if (strcmp(name, PAGE_SERVER_FLUSH_NAME) == 0 && !RecoveryInProgress())
			flush_wal();
		else if (strcmp(name, PAGE_SERVER_NAME) != 0 && strcmp(name, PAGE_SERVER_PROBE_NAME) != 0 &&
				 strcmp(name, WAL_ARCHIVER_NAME) != 0)
			refuse_copy(FATAL);
	}
}

/*
 * After an ALTER ROLE of the role initdb has made (zenith init does not let it have another name).
 * What the command has written is not visible yet but to SnapshotSelf.
 */
static void
require_page_server_login(void)
{
	Relation	relation = table_open(AuthIdRelationId, AccessShareLock);
	ScanKeyData key;
	SysScanDesc scan;
	HeapTuple	tuple;
	bool		usable = false;

	ScanKeyInit(&key, Anum_pg_authid_oid, BTEqualStrategyNumber, F_OIDEQ,
				ObjectIdGetDatum(BOOTSTRAP_SUPERUSERID));
	scan = systable_beginscan(relation, AuthIdOidIndexId, true, SnapshotSelf, 1, &key);
	tuple = systable_getnext(scan);
	if (HeapTupleIsValid(tuple))
	{
		Form_pg_authid role = (Form_pg_authid) GETSTRUCT(tuple);

		usable = strcmp(NameStr(role->rolname), PAGE_SERVER_ROLE) == 0 && role->rolcanlogin &&
			(role->rolsuper || role->rolreplication);
	}
	systable_endscan(scan);
	table_close(relation, AccessShareLock);
	if (!usable)
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("the role \"%s\" of a zenith compute must keep its name, LOGIN, and SUPERUSER or REPLICATION",
						PAGE_SERVER_ROLE),
				 errdetail("The page server connects as this role to fetch the WAL."),
				 errhint("Use pg_hba.conf to keep others from connecting as this role.")));
}

static void
object_access(ObjectAccessType access, Oid class_id, Oid object_id, int sub_id, void *arg)
{
	if (next_object_access)
		next_object_access(access, class_id, object_id, sub_id, arg);

	if (access == OAT_FUNCTION_EXECUTE && object_id == F_PG_BACKUP_START)
		refuse_copy(ERROR);
	if (access == OAT_POST_ALTER && class_id == AuthIdRelationId &&
		object_id == BOOTSTRAP_SUPERUSERID)
		require_page_server_login();
}

/* ---------------------------------------------------------------- relation files by their path */

static ZenithBuiltin file_readers[] = {
	{F_PG_READ_FILE_TEXT, NULL},
	{F_PG_READ_FILE_TEXT_INT8_INT8, NULL},
	{F_PG_READ_FILE_TEXT_INT8_INT8_BOOL, NULL},
	{F_PG_READ_FILE_OLD, NULL},
	{F_PG_READ_BINARY_FILE_TEXT, NULL},
	{F_PG_READ_BINARY_FILE_TEXT_INT8_INT8, NULL},
	{F_PG_READ_BINARY_FILE_TEXT_INT8_INT8_BOOL, NULL},
	{F_LO_IMPORT_TEXT, NULL},
	{F_LO_IMPORT_TEXT_OID, NULL},
	{InvalidOid, NULL},
};

/* Whether a path names a permanent relation's file in this data directory. */
static bool
is_relation_file(const char *name)
{
	char		path[PATH_MAX];
	char		directory[PATH_MAX];
	const char *relative;
	const char *file;
	size_t		length;
	int			digits;
	ForkNumber	fork;

	/* The working directory is the data directory. What is not there is not read either. */
	if (realpath(name, path) == NULL || realpath(DataDir, directory) == NULL)
		return false;
	length = strlen(directory);
	if (strncmp(path, directory, length) != 0 || path[length] != '/')
		return false;
	relative = path + length + 1;
	if (strncmp(relative, "base/", 5) != 0 && strncmp(relative, "global/", 7) != 0 &&
		strncmp(relative, "pg_tblspc/", 10) != 0)
		return false;
	file = strrchr(relative, '/') + 1;
	return parse_filename_for_nontemp_relation(file, &digits, &fork);
}

static Datum
read_file_function(PG_FUNCTION_ARGS)
{
	if (!PG_ARGISNULL(0))
	{
		char	   *name = text_to_cstring(PG_GETARG_TEXT_PP(0));

		if (is_relation_file(name))
			ereport(ERROR,
					(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
					 errmsg("the file of a relation of a zenith compute cannot be read: \"%s\"", name),
					 errdetail("It has holes where pages have not been used yet."),
					 errhint("Use get_raw_page() of the extension pageinspect.")));
		pfree(name);
	}
	return zenith_call_original(file_readers, fcinfo);
}

/* ---------------------------------------------------------------- resource managers */

/* When shared memory is made all libraries are loaded. */
static void
refuse_custom_resource_managers(void)
{
	int			id;

	for (id = RM_MIN_CUSTOM_ID; id <= RM_MAX_CUSTOM_ID; id++)
	{
		if (RmgrTable[id].rm_name != NULL)
			ereport(FATAL,
					(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
					 errmsg("a zenith compute cannot use the custom WAL resource manager \"%s\"",
							RmgrTable[id].rm_name),
					 errdetail("The page server could not replay its records."),
					 errhint("Remove the library that brings it from shared_preload_libraries.")));
	}
}

static void
shmem_startup(void)
{
	if (next_shmem_startup)
		next_shmem_startup();
	refuse_custom_resource_managers();
}

void
zenith_refuse_init(void)
{
	next_client_authentication = ClientAuthentication_hook;
	ClientAuthentication_hook = client_authentication;
	next_object_access = object_access_hook;
	object_access_hook = object_access;
	next_shmem_startup = shmem_startup_hook;
	shmem_startup_hook = shmem_startup;
	zenith_replace_builtins(file_readers, read_file_function);
}

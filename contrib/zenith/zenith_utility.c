/*-------------------------------------------------------------------------
 *
 * zenith_utility.c
 *	  commands that reach files and slots behind the storage manager's back
 *
 * CREATE DATABASE ... STRATEGY file_copy and ALTER DATABASE ... SET TABLESPACE copy the files of a
 * database. A copied hole would be a lie, so before they copy, every hole of the database is read
 * through the buffer manager, which fills it. Both commands keep others out of the database while
 * they copy, and so do we while we read:
 *
 * - CREATE DATABASE: our work is done in the object access hook, which is called for the new
 *	 database when all checks are made, the template is locked, and nothing has been copied.
 * - ALTER DATABASE: there is no such moment, so the same lock and the same check for other sessions
 *	 come here first. Locks are kept until the command ends.
 *
 * Both commands checkpoint before they copy. That writes what was only in buffers, such as a page
 * that was initialized without having been read.
 *
 * CREATE TABLESPACE at a user's location is refused: the directory would not be in the repository
 * and a second compute on the same machine would share it. So is DROP SUBSCRIPTION with the slot of
 * another branch (zenith_subscription.c).
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <sys/stat.h>

#include "access/genam.h"
#include "access/heapam.h"
#include "access/htup_details.h"
#include "access/table.h"
#include "access/tableam.h"
#include "access/xact.h"
#include "catalog/objectaccess.h"
#include "catalog/pg_database.h"
#include "catalog/pg_tablespace.h"
#include "commands/dbcommands.h"
#include "commands/defrem.h"
#include "commands/tablespace.h"
#include "common/relpath.h"
#include "miscadmin.h"
#include "storage/bufmgr.h"
#include "storage/fd.h"
#include "storage/lmgr.h"
#include "storage/procarray.h"
#include "storage/reinit.h"
#include "tcop/utility.h"
#include "utils/acl.h"
#include "utils/hsearch.h"
#include "utils/memutils.h"
#include "utils/syscache.h"

#include "zenith_smgr.h"
#include "zenith_subscription.h"
#include "zenith_utility.h"

static ProcessUtility_hook_type next_process_utility = NULL;
static object_access_hook_type next_object_access = NULL;

/* The template of the CREATE DATABASE ... STRATEGY file_copy that is running, if any. */
static const char *file_copy_template = NULL;

/* ---------------------------------------------------------------- filling holes */

typedef struct RelationForks
{
	Oid			relnode;		/* hash key */
	bool		exists[MAX_FORKNUM + 1];
} RelationForks;

/* Reads every hole of one fork through the buffer manager. */
static void
fill_fork(RelFileNode node, ForkNumber fork, bool permanent, BufferAccessStrategy strategy)
{
	SMgrRelation reln = smgropen(node, InvalidBackendId);
	BlockNumber nblocks;
	BlockNumber block;

	/* A file whose removal waits for the next checkpoint may be gone by now. */
	if (!smgrexists(reln, fork))
		return;
	nblocks = smgrnblocks(reln, fork);
	for (block = 0; block < nblocks; block++)
	{
		Buffer		buffer;

		CHECK_FOR_INTERRUPTS();
		if (!zenith_block_is_hole(smgropen(node, InvalidBackendId), fork, block))
			continue;
		buffer = ReadBufferWithoutRelcache(node, fork, block,
										   fork == FSM_FORKNUM || fork == VISIBILITYMAP_FORKNUM ?
										   RBM_ZERO_ON_ERROR : RBM_NORMAL,
										   strategy, permanent);

		/* It was in a buffer without ever having been read; let the checkpoint write it. */
		if (zenith_block_is_hole(smgropen(node, InvalidBackendId), fork, block))
		{
			LockBuffer(buffer, BUFFER_LOCK_EXCLUSIVE);
			MarkBufferDirty(buffer);
			LockBuffer(buffer, BUFFER_LOCK_UNLOCK);
		}
		ReleaseBuffer(buffer);
	}
}

/* Fills the holes of all relations in one directory. */
static void
fill_directory(Oid database, Oid tablespace)
{
	char	   *path = GetDatabasePath(database, tablespace);
	BufferAccessStrategy strategy;
	HASHCTL		ctl;
	HTAB	   *relations;
	HASH_SEQ_STATUS scan;
	RelationForks *relation;
	struct dirent *entry;
	struct stat st;
	DIR		   *dir;

	if (stat(path, &st) != 0 || !S_ISDIR(st.st_mode))
		return;

	memset(&ctl, 0, sizeof(ctl));
	ctl.keysize = sizeof(Oid);
	ctl.entrysize = sizeof(RelationForks);
	ctl.hcxt = CurrentMemoryContext;
	relations = hash_create("zenith relations to fill", 512, &ctl,
							HASH_ELEM | HASH_BLOBS | HASH_CONTEXT);

	dir = AllocateDir(path);
	while ((entry = ReadDir(dir, path)) != NULL)
	{
		int			digits;
		ForkNumber	fork;
		Oid			relnode;
		bool		found;

		/* Temporary relations have names of another form, and no holes. */
		if (!parse_filename_for_nontemp_relation(entry->d_name, &digits, &fork))
			continue;
		relnode = (Oid) strtoul(entry->d_name, NULL, 10);
		relation = (RelationForks *) hash_search(relations, &relnode, HASH_ENTER, &found);
		if (!found)
			memset(relation->exists, 0, sizeof(relation->exists));
		relation->exists[fork] = true;
	}
	FreeDir(dir);

	strategy = GetAccessStrategy(BAS_BULKREAD);
	hash_seq_init(&scan, relations);
	while ((relation = (RelationForks *) hash_seq_search(&scan)) != NULL)
	{
		bool		unlogged = relation->exists[INIT_FORKNUM];
		RelFileNode node;
		int			fork;

		node.spcNode = tablespace;
		node.dbNode = database;
		node.relNode = relation->relnode;
		for (fork = 0; fork <= MAX_FORKNUM; fork++)
		{
			if (relation->exists[fork])
				fill_fork(node, (ForkNumber) fork, !unlogged || fork == INIT_FORKNUM, strategy);
		}
	}
	FreeAccessStrategy(strategy);
	hash_destroy(relations);
	pfree(path);
}

/* Fills the holes of a database in every tablespace, as createdb copies it. */
static void
fill_database(Oid database)
{
	Relation	rel = table_open(TableSpaceRelationId, AccessShareLock);
	TableScanDesc scan = table_beginscan_catalog(rel, 0, NULL);
	HeapTuple	tuple;

	while ((tuple = heap_getnext(scan, ForwardScanDirection)) != NULL)
	{
		Oid			tablespace = ((Form_pg_tablespace) GETSTRUCT(tuple))->oid;

		if (tablespace != GLOBALTABLESPACE_OID)
			fill_directory(database, tablespace);
	}
	table_endscan(scan);
	table_close(rel, AccessShareLock);
}

/* ---------------------------------------------------------------- the commands */

/* The template of a file copy, NULL when the command copies through the storage manager. */
static const char *
template_of_file_copy(CreatedbStmt *stmt)
{
	const char *template = "template1";
	bool		file_copy = false;
	ListCell   *cell;

	foreach(cell, stmt->options)
	{
		DefElem    *option = (DefElem *) lfirst(cell);

		if (option->arg == NULL)
			continue;
		if (strcmp(option->defname, "strategy") == 0)
			file_copy = pg_strcasecmp(defGetString(option), "file_copy") == 0;
		else if (strcmp(option->defname, "template") == 0)
			template = defGetString(option);
	}
	return file_copy ? template : NULL;
}

/* The detail PostgreSQL gives in the same case (errdetail_busy_db in dbcommands.c). */
static int
busy_detail(int other_backends, int prepared_transactions)
{
	if (other_backends > 0 && prepared_transactions > 0)
		return errdetail("There are %d other session(s) and %d prepared transaction(s) using the database.",
						 other_backends, prepared_transactions);
	if (other_backends > 0)
		return errdetail_plural("There is %d other session using the database.",
								"There are %d other sessions using the database.",
								other_backends, other_backends);
	return errdetail_plural("There is %d prepared transaction using the database.",
							"There are %d prepared transactions using the database.",
							prepared_transactions, prepared_transactions);
}

/*
 * ALTER DATABASE ... SET TABLESPACE: locks the database, keeps others out and fills its holes.
 * Where the command is going to fail, nothing is done: it raises its own error.
 */
static void
prepare_move(const char *database_name, bool is_top_level)
{
	Oid			database;
	Oid			tablespace;
	HeapTuple	tuple;
	int			other_backends;
	int			prepared_transactions;

	/* Keeps the lock until the command has ended. */
	PreventInTransactionBlock(is_top_level, "ALTER DATABASE SET TABLESPACE");

	database = get_database_oid(database_name, true);
	if (!OidIsValid(database) || database == MyDatabaseId ||
		!pg_database_ownercheck(database, GetUserId()))
		return;
	LockSharedObject(DatabaseRelationId, database, 0, AccessExclusiveLock);

	/* Between the look-up and the lock the name may have changed hands. */
	if (get_database_oid(database_name, true) != database)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_IN_USE),
				 errmsg("database \"%s\" was changed by another session", database_name),
				 errhint("Try again.")));
	tuple = SearchSysCache1(DATABASEOID, ObjectIdGetDatum(database));
	if (!HeapTupleIsValid(tuple))
		return;
	tablespace = ((Form_pg_database) GETSTRUCT(tuple))->dattablespace;
	ReleaseSysCache(tuple);

	if (CountOtherDBBackends(database, &other_backends, &prepared_transactions))
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_IN_USE),
				 errmsg("database \"%s\" is being accessed by other users", database_name),
				 busy_detail(other_backends, prepared_transactions)));
	fill_directory(database, tablespace);
}

static const char *
tablespace_option(AlterDatabaseStmt *stmt)
{
	ListCell   *cell;

	foreach(cell, stmt->options)
	{
		DefElem    *option = (DefElem *) lfirst(cell);

		if (strcmp(option->defname, "tablespace") == 0)
			return defGetString(option);
	}
	return NULL;
}

/* Where the command is going to fail anyway, it raises its own error. */
static void
refuse_located_tablespace(CreateTableSpaceStmt *stmt)
{
	struct stat st;

	if (stmt->location == NULL || !is_absolute_path(stmt->location) || !superuser() ||
		stat(stmt->location, &st) != 0)
		return;
	ereport(ERROR,
			(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
			 errmsg("a zenith compute cannot have a tablespace at a location of its own"),
			 errhint("Set allow_in_place_tablespaces to on and create the tablespace with LOCATION ''.")));
}

static void
call_process_utility(PlannedStmt *pstmt, const char *query_string, bool read_only_tree,
					 ProcessUtilityContext context, ParamListInfo params,
					 QueryEnvironment *query_env, DestReceiver *dest, QueryCompletion *qc)
{
	if (next_process_utility)
		next_process_utility(pstmt, query_string, read_only_tree, context, params, query_env,
							 dest, qc);
	else
		standard_ProcessUtility(pstmt, query_string, read_only_tree, context, params, query_env,
								dest, qc);
}

static void
zenith_process_utility(PlannedStmt *pstmt, const char *query_string, bool read_only_tree,
					   ProcessUtilityContext context, ParamListInfo params,
					   QueryEnvironment *query_env, DestReceiver *dest, QueryCompletion *qc)
{
	Node	   *stmt = pstmt->utilityStmt;

	if (IsA(stmt, CreatedbStmt))
	{
		const char *outer = file_copy_template;

		file_copy_template = template_of_file_copy((CreatedbStmt *) stmt);
		PG_TRY();
		{
			call_process_utility(pstmt, query_string, read_only_tree, context, params, query_env,
								 dest, qc);
		}
		PG_FINALLY();
		{
			file_copy_template = outer;
		}
		PG_END_TRY();
		return;
	}

	if (IsA(stmt, AlterDatabaseStmt) && tablespace_option((AlterDatabaseStmt *) stmt) != NULL)
	{
		char	   *name = ((AlterDatabaseStmt *) stmt)->dbname;

		prepare_move(name, context == PROCESS_UTILITY_TOPLEVEL);
		call_process_utility(pstmt, query_string, read_only_tree, context, params, query_env, dest,
							 qc);

		/*
		 * movedb() removes the old directory in a second transaction, logs that, and waits for
		 * nothing: a plain server has the directory gone anyway. Here only WAL counts, so the
		 * command returns when the record is safe.
		 */
		(void) GetCurrentTransactionId();
		ForceSyncCommit();
		return;
	}

	if (IsA(stmt, DropSubscriptionStmt))
		zenith_subscription_check_drop(((DropSubscriptionStmt *) stmt)->subname);
	if (IsA(stmt, CreateTableSpaceStmt))
		refuse_located_tablespace((CreateTableSpaceStmt *) stmt);

	call_process_utility(pstmt, query_string, read_only_tree, context, params, query_env, dest,
						 qc);
}

static void
zenith_object_access(ObjectAccessType access, Oid class_id, Oid object_id, int sub_id, void *arg)
{
	if (next_object_access)
		next_object_access(access, class_id, object_id, sub_id, arg);

	if (access == OAT_POST_CREATE && class_id == DatabaseRelationId && file_copy_template != NULL)
		fill_database(get_database_oid(file_copy_template, false));
}

void
zenith_utility_init(void)
{
	next_process_utility = ProcessUtility_hook;
	ProcessUtility_hook = zenith_process_utility;
	next_object_access = object_access_hook;
	object_access_hook = zenith_object_access;
}

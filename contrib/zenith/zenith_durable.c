/*-------------------------------------------------------------------------
 *
 * zenith_durable.c
 *	  what PostgreSQL promises to be durable is at the page server
 *
 * A plain server keeps that promise with its own disk. A compute's disk is lost in a crash, so
 * every wait for the local disk must become a wait for the page server, a synchronous standby:
 *
 * - synchronous_commit "local" and "remote_write" ask for the local disk, and so for "on" here.
 *	 Their value becomes that when they are set.
 * - synchronous_standby_names may name others, but no commit may go without the page server.
 * - With max_slot_wal_keep_size the page server could be cut off from WAL it has not received yet;
 *	 then all commits would wait for ever.
 * - With synchronous_commit "off" PostgreSQL still waits for the disk in some places: it does not
 *	 lose a prepared transaction, and does not remove files before the WAL that says so is safe.
 *	 These transactions are made synchronous.
 *
 * What logical replication sends and confirms is in zenith_logical.c.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/xact.h"
#include "access/xlog.h"
#include "catalog/storage.h"
#include "miscadmin.h"
#include "nodes/parsenodes.h"
#include "replication/syncrep.h"
#include "replication/walsender.h"
#include "tcop/utility.h"
#include "utils/guc.h"
#include "utils/guc_tables.h"

#include "zenith_durable.h"

/* kReceiverApplicationName of the page server. */
#define PAGE_SERVER_NAME "zenith_pageserver"

static GucEnumCheckHook next_check_commit = NULL;
static GucStringCheckHook next_check_names = NULL;
static GucIntCheckHook next_check_keep_size = NULL;
static ProcessUtility_hook_type next_process_utility = NULL;

/* ---------------------------------------------------------------- synchronous_commit */

static bool
asks_for_local_disk(int level)
{
	return level == SYNCHRONOUS_COMMIT_LOCAL_FLUSH || level == SYNCHRONOUS_COMMIT_REMOTE_WRITE;
}

static bool
check_commit(int *newval, void **extra, GucSource source)
{
	if (next_check_commit && !next_check_commit(newval, extra, source))
		return false;
	if (asks_for_local_disk(*newval))
		*newval = SYNCHRONOUS_COMMIT_ON;
	return true;
}

/* ---------------------------------------------------------------- synchronous_standby_names */

/*
 * Whether nothing is acknowledged without the page server: only when all that are named must have
 * answered does it not matter who is connected.
 */
static bool
waits_for_page_server(const SyncRepConfigData *config)
{
	const char *name;
	int			i;

	if (config == NULL || config->num_sync < config->nmembers)
		return false;
	name = config->member_names;
	for (i = 0; i < config->nmembers; i++)
	{
		if (pg_strcasecmp(name, PAGE_SERVER_NAME) == 0)
			return true;
		name += strlen(name) + 1;
	}
	return false;
}

#define NAMES_MESSAGE "synchronous_standby_names of a zenith compute must wait for \"%s\""
#define NAMES_DETAIL "A commit that is not at the page server is lost when the compute crashes."
#define NAMES_HINT "Leave it alone, or require all of the names in it, as in 'ANY 2 (%s, other)'."

static bool
check_names(char **newval, void **extra, GucSource source)
{
	if (next_check_names && !next_check_names(newval, extra, source))
		return false;
	/* A parallel worker begins with PostgreSQL's own default before it takes its leader's value. */
	if (source == PGC_S_DEFAULT || waits_for_page_server((const SyncRepConfigData *) *extra))
		return true;
	free(*extra);
	*extra = NULL;
	GUC_check_errmsg(NAMES_MESSAGE, PAGE_SERVER_NAME);
	GUC_check_errdetail(NAMES_DETAIL);
	GUC_check_errhint(NAMES_HINT, PAGE_SERVER_NAME);
	return false;
}

/* ---------------------------------------------------------------- max_slot_wal_keep_size */

#define KEEP_SIZE_MESSAGE "max_slot_wal_keep_size of a zenith compute must be -1"
#define KEEP_SIZE_DETAIL "Beyond a limit WAL that the page server has not received would be removed, and commits would wait for it for ever."
#define KEEP_SIZE_HINT "Leave it alone; give the compute a larger disk for long outages of the page server."

static bool
check_keep_size(int *newval, void **extra, GucSource source)
{
	if (next_check_keep_size && !next_check_keep_size(newval, extra, source))
		return false;
	if (*newval == -1)
		return true;
	GUC_check_errmsg(KEEP_SIZE_MESSAGE);
	GUC_check_errdetail(KEEP_SIZE_DETAIL);
	GUC_check_errhint(KEEP_SIZE_HINT);
	return false;
}

/* ---------------------------------------------------------------- transactions that do not ask */

/* Until the end of the transaction; it can do so while it commits. */
static void
make_synchronous(void)
{
	if (synchronous_commit == SYNCHRONOUS_COMMIT_OFF)
		(void) set_config_option("synchronous_commit", "on", PGC_USERSET, PGC_S_SESSION,
								 GUC_ACTION_LOCAL, true, 0, false);
}

static void
xact_callback(XactEvent event, void *arg)
{
	RelFileNode *nodes = NULL;

	if (event == XACT_EVENT_PRE_PREPARE ||
		(event == XACT_EVENT_PRE_COMMIT && smgrGetPendingDeletes(true, &nodes) > 0))
		make_synchronous();
	if (nodes != NULL)
		pfree(nodes);
}

/* The commands that end in ForceSyncCommit(), or in a flush of their own. */
static bool
is_always_synchronous(const Node *stmt)
{
	switch (nodeTag(stmt))
	{
		case T_CreatedbStmt:
		case T_DropdbStmt:
		case T_AlterDatabaseStmt:	/* when it moves the database */
		case T_CreateTableSpaceStmt:
		case T_DropTableSpaceStmt:
			return true;
		case T_TransactionStmt:
			return ((const TransactionStmt *) stmt)->kind == TRANS_STMT_COMMIT_PREPARED ||
				((const TransactionStmt *) stmt)->kind == TRANS_STMT_ROLLBACK_PREPARED;
		default:
			return false;
	}
}

static void
durable_process_utility(PlannedStmt *pstmt, const char *query_string, bool read_only_tree,
						ProcessUtilityContext context, ParamListInfo params,
						QueryEnvironment *query_env, DestReceiver *dest, QueryCompletion *qc)
{
	bool		synchronous = is_always_synchronous(pstmt->utilityStmt);

	if (synchronous)
		make_synchronous();
	if (next_process_utility)
		next_process_utility(pstmt, query_string, read_only_tree, context, params, query_env,
							 dest, qc);
	else
		standard_ProcessUtility(pstmt, query_string, read_only_tree, context, params, query_env,
								dest, qc);
	/* Moving a database takes two transactions. */
	if (synchronous)
		make_synchronous();
}

/* ---------------------------------------------------------------- installation */

static struct config_generic *
find_setting(const char *name)
{
	struct config_generic **settings = get_guc_variables();
	int			count = GetNumConfigOptions();
	int			i;

	for (i = 0; i < count; i++)
	{
		if (strcmp(settings[i]->name, name) == 0)
			return settings[i];
	}
	elog(FATAL, "setting \"%s\" was not found", name);
	pg_unreachable();
}

void
zenith_durable_init(void)
{
	struct config_enum *commit = (struct config_enum *) find_setting("synchronous_commit");
	struct config_string *names =
		(struct config_string *) find_setting("synchronous_standby_names");
	struct config_int *keep_size =
		(struct config_int *) find_setting("max_slot_wal_keep_size");

	if (max_wal_senders == 0)
		ereport(FATAL,
				(errcode(ERRCODE_CONFIG_FILE_ERROR),
				 errmsg("a zenith compute cannot run with max_wal_senders 0"),
				 errdetail("The page server takes its WAL through one."),
				 errhint("Set max_wal_senders to 1 at least.")));
	/* The configuration has been read. */
	if (!waits_for_page_server(SyncRepConfig))
		ereport(FATAL,
				(errcode(ERRCODE_CONFIG_FILE_ERROR),
				 errmsg(NAMES_MESSAGE, PAGE_SERVER_NAME),
				 errdetail(NAMES_DETAIL),
				 errhint(NAMES_HINT, PAGE_SERVER_NAME)));
	if (max_slot_wal_keep_size_mb != -1)
		ereport(FATAL,
				(errcode(ERRCODE_CONFIG_FILE_ERROR),
				 errmsg(KEEP_SIZE_MESSAGE),
				 errdetail(KEEP_SIZE_DETAIL),
				 errhint(KEEP_SIZE_HINT)));
	next_check_keep_size = keep_size->check_hook;
	keep_size->check_hook = check_keep_size;
	next_check_names = names->check_hook;
	names->check_hook = check_names;

	next_check_commit = commit->check_hook;
	commit->check_hook = check_commit;
	if (asks_for_local_disk(synchronous_commit))
		SetConfigOption("synchronous_commit", "on", PGC_POSTMASTER, commit->gen.source);

	RegisterXactCallback(xact_callback, NULL);
	next_process_utility = ProcessUtility_hook;
	ProcessUtility_hook = durable_process_utility;
}

/*-------------------------------------------------------------------------
 *
 * zenith.c
 *	  module magic and initialization
 *
 * The library has three lives: a compute (preloaded, zenith.timeline is set), a redo process of the
 * page server (the environment says so), and inert, everywhere else.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "fmgr.h"
#include "miscadmin.h"
#include "postmaster/bgworker.h"

#include "zenith_callmemaybe.h"
#include "zenith_datadir.h"
#include "zenith_durable.h"
#include "zenith_guc.h"
#include "zenith_keep.h"
#include "zenith_logical.h"
#include "zenith_redo.h"
#include "zenith_refuse.h"
#include "zenith_smgr.h"
#include "zenith_smgr_install.h"
#include "zenith_stat.h"
#include "zenith_utility.h"

PG_MODULE_MAGIC;

void		_PG_init(void);

static void
register_worker(const char *name, const char *entry_point)
{
	BackgroundWorker worker;

	memset(&worker, 0, sizeof(worker));
	worker.bgw_flags = BGWORKER_SHMEM_ACCESS;
	worker.bgw_start_time = BgWorkerStart_RecoveryFinished;
	worker.bgw_restart_time = 1;
	strcpy(worker.bgw_library_name, "zenith");
	strlcpy(worker.bgw_function_name, entry_point, BGW_MAXLEN);
	strlcpy(worker.bgw_name, name, BGW_MAXLEN);
	strlcpy(worker.bgw_type, name, BGW_MAXLEN);
	RegisterBackgroundWorker(&worker);
}

void
_PG_init(void)
{
	/* CREATE EXTENSION or a function call in a server that did not preload us: stay inert. */
	if (!process_shared_preload_libraries_in_progress)
		return;

	if (zenith_redo_requested())
	{
		zenith_redo_init();
		return;
	}

	zenith_guc_define();
	if (!zenith_configured())
		return;

	zenith_guc_require();
	zenith_datadir_init();
	zenith_smgr_install(&zenith_smgr_callbacks);
	zenith_stat_init();
	zenith_utility_init();
	/* A read-only compute has no term, and nothing to write. */
	if (zenith_term != 0)
	{
		zenith_durable_init();
		register_worker("zenith callmemaybe", "zenith_callmemaybe_main");
		register_worker("zenith keep", "zenith_keep_main");
	}
	zenith_refuse_init();
	zenith_logical_init();
}

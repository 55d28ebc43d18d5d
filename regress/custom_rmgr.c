/*
 * A library with a WAL resource manager of its own, for the test that a compute refuses it.
 */
#include "postgres.h"

#include "access/xlog_internal.h"
#include "fmgr.h"

PG_MODULE_MAGIC;

void		_PG_init(void);

static RmgrData manager = {.rm_name = "regress_custom"};

void
_PG_init(void)
{
	RegisterCustomRmgr(RM_EXPERIMENTAL_ID, &manager);
}

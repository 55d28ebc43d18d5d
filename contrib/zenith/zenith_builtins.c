/*-------------------------------------------------------------------------
 *
 * zenith_builtins.c
 *	  puts functions of ours in the place of PostgreSQL's built-in ones
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <sys/mman.h>
#include <unistd.h>

#include "utils/fmgrtab.h"

#include "zenith_builtins.h"

static void
protect_functions(bool writable)
{
	uintptr_t	page_size = (uintptr_t) sysconf(_SC_PAGESIZE);
	uintptr_t	start = TYPEALIGN_DOWN(page_size, fmgr_builtins);
	uintptr_t	end = TYPEALIGN(page_size, fmgr_builtins + fmgr_nbuiltins);

	if (mprotect((void *) start, end - start,
				 writable ? PROT_READ | PROT_WRITE : PROT_READ) != 0)
		ereport(FATAL,
				(errmsg("could not change the protection of the table of built-in functions: %m"),
				 errhint("Allow the server to change the protection of its own memory.")));
}

void
zenith_replace_builtins(ZenithBuiltin *list, PGFunction replacement)
{
	protect_functions(true);
	for (; list->oid != InvalidOid; list++)
	{
		uint16		index = fmgr_builtin_oid_index[list->oid];
		FmgrBuiltin *function;

		if (index == InvalidOidBuiltinMapping)
			ereport(FATAL,
					(errmsg("built-in function %u was not found", list->oid),
					 errhint("This library was built for another version of PostgreSQL.")));
		function = unconstify(FmgrBuiltin *, &fmgr_builtins[index]);
		list->original = function->func;
		function->func = replacement;
	}
	protect_functions(false);
}

Datum
zenith_call_original(const ZenithBuiltin *list, FunctionCallInfo fcinfo)
{
	for (; list->oid != InvalidOid; list++)
	{
		if (list->oid == fcinfo->flinfo->fn_oid)
			return list->original(fcinfo);
	}
	elog(ERROR, "function %u was not replaced", fcinfo->flinfo->fn_oid);
	pg_unreachable();
}

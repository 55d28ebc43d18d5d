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

#include "access/htup_details.h"
#include "catalog/pg_proc.h"
#include "utils/builtins.h"
#include "utils/fmgrtab.h"
#include "utils/syscache.h"

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

/* The name in the table of built-in functions by which a function of pg_proc calls one. */
static char *
internal_name(Oid oid)
{
	HeapTuple	tuple = SearchSysCache1(PROCOID, ObjectIdGetDatum(oid));
	char	   *name = NULL;
	Datum		source;
	bool		is_null = true;

	if (HeapTupleIsValid(tuple))
	{
		source = SysCacheGetAttr(PROCOID, tuple, Anum_pg_proc_prosrc, &is_null);
		if (!is_null)
			name = TextDatumGetCString(source);
		ReleaseSysCache(tuple);
	}
	if (name == NULL)
		elog(ERROR, "function %u has no name of a built-in one", oid);
	return name;
}

Datum
zenith_call_original(const ZenithBuiltin *list, FunctionCallInfo fcinfo)
{
	const ZenithBuiltin *entry;
	char	   *name;

	for (entry = list; entry->oid != InvalidOid; entry++)
	{
		if (entry->oid == fcinfo->flinfo->fn_oid)
			return entry->original(fcinfo);
	}
	/* Another function, by CREATE FUNCTION ... LANGUAGE internal. */
	name = internal_name(fcinfo->flinfo->fn_oid);
	for (entry = list; entry->oid != InvalidOid; entry++)
	{
		if (strcmp(name, fmgr_builtins[fmgr_builtin_oid_index[entry->oid]].funcName) == 0)
			return entry->original(fcinfo);
	}
	elog(ERROR, "function \"%s\" was not replaced", name);
	pg_unreachable();
}

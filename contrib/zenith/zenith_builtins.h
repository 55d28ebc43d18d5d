/*-------------------------------------------------------------------------
 *
 * zenith_builtins.h
 *	  puts functions of ours in the place of PostgreSQL's built-in ones
 *
 * For functions without a hook: neither a hook nor an entry of pg_proc is asked before a built-in
 * function is called, so fmgr's table of them is changed.
 *
 *-------------------------------------------------------------------------
 */
#ifndef ZENITH_BUILTINS_H
#define ZENITH_BUILTINS_H

#include "fmgr.h"

typedef struct ZenithBuiltin
{
	Oid			oid;			/* of pg_proc, as in fmgroids.h; 0 ends a list of them */
	PGFunction	original;		/* set by zenith_replace_builtins() */
} ZenithBuiltin;

/* In the postmaster, while it loads libraries: all of `list` become `replacement`. FATAL else. */
extern void zenith_replace_builtins(ZenithBuiltin *list, PGFunction replacement);

/* In `replacement`: the function that was called, as PostgreSQL has it. */
extern Datum zenith_call_original(const ZenithBuiltin *list, FunctionCallInfo fcinfo);

#endif							/* ZENITH_BUILTINS_H */

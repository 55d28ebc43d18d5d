/*-------------------------------------------------------------------------
 *
 * zenith_guc.h
 *	  every setting of the extension
 *
 *-------------------------------------------------------------------------
 */
#ifndef ZENITH_GUC_H
#define ZENITH_GUC_H

#include "access/transam.h"
#include "access/xlogdefs.h"

/* What this compute is; fixed at server start. */
extern char *zenith_timeline;	/* 32 hexadecimal digits, empty: not a compute */
extern int	zenith_term;		/* 0: read-only compute at zenith.start_lsn */
extern XLogRecPtr zenith_start_lsn;
/* Its timeline's first transaction; what is older is inherited. 0: nothing is. */
extern FullTransactionId zenith_branch_xid;

/* Where the others are; may change with a reload. */
extern char *zenith_pageserver;
extern char *zenith_compute_connstr;

/* How patient a fetch is. Milliseconds. */
extern int	zenith_fetch_timeout;
extern int	zenith_connect_timeout;
extern int	zenith_response_timeout;

/* What zenith_refuse.c has flushed for this connection; shown as zenith.flushed_lsn. */
extern XLogRecPtr zenith_flushed_lsn;

/* How many blocks a sequential reader of holes asks for ahead; 0: none. */
extern int	zenith_readahead_blocks;

#define ZENITH_MAX_READAHEAD 64

/* Defines the settings; only while shared_preload_libraries is processed. */
extern void zenith_guc_define(void);

/* Whether this server is a compute. */
extern bool zenith_configured(void);

/* FATAL with a hint when the settings of a compute are incomplete. */
extern void zenith_guc_require(void);

#endif							/* ZENITH_GUC_H */

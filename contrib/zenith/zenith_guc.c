/*-------------------------------------------------------------------------
 *
 * zenith_guc.c
 *	  every setting of the extension
 *
 * A value that a check hook refuses at server start is replaced by the default, with a warning. For
 * what says who this compute is that would be fatal in silence: without a timeline the server would
 * take holes for zero pages. So those settings are checked in zenith_guc_require() instead.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <ctype.h>
#include <limits.h>

#include "access/xlog.h"
#include "utils/guc.h"
#include "utils/pg_lsn.h"

#include "client/page_client.h"
#include "zenith_guc.h"

char	   *zenith_timeline = NULL;
int			zenith_term = 0;
XLogRecPtr	zenith_start_lsn = InvalidXLogRecPtr;
FullTransactionId zenith_branch_xid = {0};
char	   *zenith_pageserver = NULL;
char	   *zenith_compute_connstr = NULL;
/* Below authentication_timeout, so that a login that cannot read catalogs says why. */
int			zenith_fetch_timeout = 45000;
int			zenith_connect_timeout = 5000;
int			zenith_response_timeout = 15000;
int			zenith_readahead_blocks = ZENITH_MAX_READAHEAD;

XLogRecPtr	zenith_flushed_lsn = InvalidXLogRecPtr;

static char *flushed_lsn_text = NULL;
static char *start_lsn_text = NULL;
static char *branch_xid_text = NULL;
static char *configured_term = NULL;	/* as written in the configuration */

#define TIMELINE_DIGITS 32

static bool
check_conninfo(char **newval, void **extra, GucSource source)
{
	struct zenith_error error;

	if (**newval != '\0' && !zenith_conninfo_valid(*newval, &error))
	{
		GUC_check_errdetail("%s", error.detail);
		return false;
	}
	return true;
}

static const char *
show_flushed_lsn(void)
{
	static char text[32];

	snprintf(text, sizeof(text), "%X/%X", LSN_FORMAT_ARGS(zenith_flushed_lsn));
	return text;
}

void
zenith_guc_define(void)
{
	const char *term = GetConfigOption("zenith.term", true, false);

	if (term != NULL)
		configured_term = pstrdup(term);

	DefineCustomStringVariable("zenith.timeline",
							   "The timeline this compute runs on.",
							   "Empty when this server is not a compute.",
							   &zenith_timeline, "",
							   PGC_POSTMASTER, 0,
							   NULL, NULL, NULL);
	DefineCustomIntVariable("zenith.term",
							"The term in which this compute writes to its timeline.",
							"0 for a read-only compute.",
							&zenith_term, 0, 0, INT_MAX,
							PGC_POSTMASTER, 0,
							NULL, NULL, NULL);
	DefineCustomStringVariable("zenith.start_lsn",
							   "The WAL position this compute started from.",
							   NULL,
							   &start_lsn_text, "",
							   PGC_POSTMASTER, 0,
							   NULL, NULL, NULL);
	DefineCustomStringVariable("zenith.branch_xid",
							   "The first transaction of the timeline that is not its parent's.",
							   "0 for a timeline without a parent.",
							   &branch_xid_text, "0",
							   PGC_POSTMASTER, 0,
							   NULL, NULL, NULL);
	DefineCustomStringVariable("zenith.pageserver",
							   "Connection string of the page server.",
							   NULL,
							   &zenith_pageserver, "",
							   PGC_SIGHUP, GUC_SUPERUSER_ONLY,
							   check_conninfo, NULL, NULL);
	DefineCustomStringVariable("zenith.compute_connstr",
							   "Connection string by which the page server reaches this compute.",
							   NULL,
							   &zenith_compute_connstr, "",
							   PGC_SIGHUP, GUC_SUPERUSER_ONLY,
							   check_conninfo, NULL, NULL);
	DefineCustomIntVariable("zenith.fetch_timeout",
							"How long a read keeps trying to get a page from the page server.",
							NULL,
							&zenith_fetch_timeout, 45000, 100, INT_MAX,
							PGC_USERSET, GUC_UNIT_MS,
							NULL, NULL, NULL);
	DefineCustomIntVariable("zenith.connect_timeout",
							"How long one attempt to connect to the page server may take.",
							NULL,
							&zenith_connect_timeout, 5000, 100, INT_MAX,
							PGC_USERSET, GUC_UNIT_MS,
							NULL, NULL, NULL);
	DefineCustomIntVariable("zenith.response_timeout",
							"How long the page server may be silent before the connection is given up.",
							NULL,
							&zenith_response_timeout, 15000, 100, INT_MAX,
							PGC_USERSET, GUC_UNIT_MS,
							NULL, NULL, NULL);
	DefineCustomIntVariable("zenith.readahead_blocks",
							"How many blocks a sequential reader asks the page server for in advance.",
							NULL,
							&zenith_readahead_blocks, ZENITH_MAX_READAHEAD, 0, ZENITH_MAX_READAHEAD,
							PGC_USERSET, 0,
							NULL, NULL, NULL);
	DefineCustomStringVariable("zenith.flushed_lsn",
							   "Up to where WAL was flushed when the page server connected to have it flushed.",
							   NULL,
							   &flushed_lsn_text, "",
							   PGC_INTERNAL, GUC_NO_SHOW_ALL | GUC_NOT_IN_SAMPLE | GUC_DISALLOW_IN_FILE,
							   NULL, NULL, show_flushed_lsn);
	MarkGUCPrefixReserved("zenith");
}

bool
zenith_configured(void)
{
	return zenith_timeline != NULL && zenith_timeline[0] != '\0';
}

void
zenith_guc_require(void)
{
	bool		bad_lsn = false;
	int			term;
	char	   *end;

	if (strlen(zenith_timeline) != TIMELINE_DIGITS ||
		strspn(zenith_timeline, "0123456789abcdefABCDEF") != TIMELINE_DIGITS)
		ereport(FATAL,
				(errcode(ERRCODE_CONFIG_FILE_ERROR),
				 errmsg("invalid value for zenith.timeline: \"%s\"", zenith_timeline),
				 errhint("A timeline is written as %d hexadecimal digits.", TIMELINE_DIGITS)));
	if (configured_term != NULL &&
		(!parse_int(configured_term, &term, 0, NULL) || term != zenith_term))
		ereport(FATAL,
				(errcode(ERRCODE_CONFIG_FILE_ERROR),
				 errmsg("invalid value for zenith.term: \"%s\"", configured_term),
				 errhint("A term is a number, 0 for a read-only compute.")));
	if (start_lsn_text[0] != '\0')
	{
		zenith_start_lsn = pg_lsn_in_internal(start_lsn_text, &bad_lsn);
		if (bad_lsn)
			ereport(FATAL,
					(errcode(ERRCODE_CONFIG_FILE_ERROR),
					 errmsg("invalid value for zenith.start_lsn: \"%s\"", start_lsn_text),
					 errhint("A WAL position is written as two hexadecimal numbers with a slash between them.")));
	}
	errno = 0;
	zenith_branch_xid = FullTransactionIdFromU64(strtou64(branch_xid_text, &end, 10));
	if (errno != 0 || !isdigit((unsigned char) branch_xid_text[0]) || *end != '\0')
		ereport(FATAL,
				(errcode(ERRCODE_CONFIG_FILE_ERROR),
				 errmsg("invalid value for zenith.branch_xid: \"%s\"", branch_xid_text),
				 errhint("A transaction is written as a number, with its epoch in the upper half.")));
	if (zenith_pageserver[0] == '\0')
		ereport(FATAL,
				(errcode(ERRCODE_CONFIG_FILE_ERROR),
				 errmsg("zenith.timeline is set, but zenith.pageserver is not"),
				 errhint("Set zenith.pageserver to the connection string of the page server, or start this compute with \"zenith pg start\".")));
	if (XLogRecPtrIsInvalid(zenith_start_lsn))
		ereport(FATAL,
				(errcode(ERRCODE_CONFIG_FILE_ERROR),
				 errmsg("zenith.timeline is set, but zenith.start_lsn is not"),
				 errhint("A compute's data directory comes from the page server's base backup, which sets it; create the compute with \"zenith pg create\".")));
	if (zenith_term > 0 && zenith_compute_connstr[0] == '\0')
		ereport(FATAL,
				(errcode(ERRCODE_CONFIG_FILE_ERROR),
				 errmsg("zenith.term is set, but zenith.compute_connstr is not"),
				 errhint("Set zenith.compute_connstr to the connection string by which the page server reaches this compute, or start this compute with \"zenith pg start\".")));

	/* What is skipped in WAL at the minimal level would exist nowhere but here. */
	if (wal_level < WAL_LEVEL_REPLICA)
		ereport(FATAL,
				(errcode(ERRCODE_CONFIG_FILE_ERROR),
				 errmsg("a zenith compute cannot run with wal_level \"minimal\""),
				 errhint("Set wal_level to \"replica\" or \"logical\".")));
}

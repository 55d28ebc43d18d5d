/*-------------------------------------------------------------------------
 *
 * zenith_callmemaybe.c
 *	  tells the page server where to fetch WAL from
 *
 * A background worker sends "callmemaybe <timeline> <term> <connection string>" to the page server,
 * which then connects back like a standby does. The worker keeps its own connection open for one
 * purpose: when it breaks, the page server may have restarted and forgotten us, and is told again.
 *
 * The worker needs no database and reads no page, so it cannot wait for what it helps to bring
 * about. It starts with normal operation: before that, nobody could connect back.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "lib/stringinfo.h"
#include "miscadmin.h"
#include "pgstat.h"
#include "postmaster/bgworker.h"
#include "postmaster/interrupt.h"
#include "storage/fd.h"
#include "storage/ipc.h"
#include "storage/latch.h"
#include "utils/guc.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"

#include "client/page_client.h"
#include "zenith_callmemaybe.h"
#include "zenith_guc.h"
#include "zenith_stat.h"

#define FIRST_BACKOFF_MS 50
#define MAX_BACKOFF_MS 1000
/* A refusal does not go away by itself soon: an older term never becomes current again. */
#define REFUSED_BACKOFF_MS 10000
/* The same trouble is logged again after this time. */
#define LOG_AGAIN_MS (10 * 60 * 1000)

static struct zenith_session *session = NULL;
static bool registered = false; /* the command has completed on this session */

static void
close_session(void)
{
	if (session != NULL)
	{
		zenith_session_close(session);
		session = NULL;
		ReleaseExternalFD();
	}
	registered = false;
}

/* The command, allocated; the connection string is quoted by doubling its quotes. */
static char *
build_command(void)
{
	StringInfoData command;
	const char *c;

	initStringInfo(&command);
	appendStringInfo(&command, "callmemaybe %s %d '", zenith_timeline, zenith_term);
	for (c = zenith_compute_connstr; *c != '\0'; c++)
	{
		if (*c == '\'')
			appendStringInfoChar(&command, '\'');
		appendStringInfoChar(&command, *c);
	}
	appendStringInfoChar(&command, '\'');
	return command.data;
}

static bool
open_session(struct zenith_error *error)
{
	char	   *command = build_command();

	/* One descriptor, in a process that has no other use for them. */
	ReserveExternalFD();
	session = zenith_session_open(zenith_pageserver, command, ZENITH_COMMAND_SIMPLE, error);
	pfree(command);
	if (session == NULL)
		ReleaseExternalFD();
	return session != NULL;
}

/* Logs trouble once, not with every attempt. */
static void
report_trouble(const struct zenith_error *error, bool refused)
{
	static char last_message[sizeof(error->message)];
	static TimestampTz last_time = 0;
	TimestampTz now = GetCurrentTimestamp();

	char		text[sizeof(error->message) + sizeof(error->detail) + 2];

	snprintf(text, sizeof(text), "%s%s%s", error->message,
			 error->detail[0] != '\0' ? ": " : "", error->detail);
	zenith_set_link(refused ? ZENITH_LINK_REFUSED : ZENITH_LINK_CONNECTING, text);
	if (strcmp(last_message, error->message) == 0 &&
		!TimestampDifferenceExceeds(last_time, now, LOG_AGAIN_MS))
		return;
	strlcpy(last_message, error->message, sizeof(last_message));
	last_time = now;
	ereport(refused ? WARNING : LOG,
			(errmsg(refused ? "the page server does not take WAL from this compute: %s" :
					"the page server cannot be told where to fetch WAL: %s", error->message),
			 error->detail[0] != '\0' ? errdetail_internal("%s", error->detail) : 0,
			 error->hint[0] != '\0' ? errhint("%s", error->hint) :
			 errhint("Commits wait until this works. Look at the page server with \"zenith status\".")));
}

/*
 * One step: connects, sends the command, or checks that the peer is still there. Returns what to
 * wait for, or ZENITH_FAILED with an error.
 */
static enum zenith_step
make_progress(struct zenith_error *error)
{
	enum zenith_step step;

	if (session == NULL && !open_session(error))
		return ZENITH_FAILED;
	if (registered)
		return zenith_session_check(session, error);

	step = zenith_session_advance(session, error);
	if (step == ZENITH_DONE)
	{
		registered = true;
		zenith_set_link(ZENITH_LINK_CONNECTED, NULL);
		ereport(LOG,
				(errmsg("the page server fetches WAL of timeline %s in term %d",
						zenith_timeline, zenith_term)));
		return ZENITH_WANT_READ;
	}
	return step;
}

static void
reload_config(void)
{
	char	   *old_pageserver = pstrdup(zenith_pageserver);
	char	   *old_connstr = pstrdup(zenith_compute_connstr);

	ConfigReloadPending = false;
	ProcessConfigFile(PGC_SIGHUP);
	if (strcmp(old_pageserver, zenith_pageserver) != 0 ||
		strcmp(old_connstr, zenith_compute_connstr) != 0)
		close_session();
	pfree(old_pageserver);
	pfree(old_connstr);
}

void
zenith_callmemaybe_main(Datum arg)
{
	int			backoff_ms = 0;
	TimestampTz attempt_deadline = 0;

	pqsignal(SIGHUP, SignalHandlerForConfigReload);
	pqsignal(SIGTERM, SignalHandlerForShutdownRequest);
	BackgroundWorkerUnblockSignals();

	for (;;)
	{
		struct zenith_error error;
		enum zenith_step step;
		long		timeout = -1;
		int			events = WL_LATCH_SET | WL_EXIT_ON_PM_DEATH;
		pgsocket	fd = PGINVALID_SOCKET;

		ResetLatch(MyLatch);
		CHECK_FOR_INTERRUPTS();
		if (ConfigReloadPending)
			reload_config();
		if (ShutdownRequestPending)
		{
			close_session();
			/* Not 0: somebody may have terminated just us, and commits need us back. */
			proc_exit(1);
		}

		if (session == NULL)
			attempt_deadline = TimestampTzPlusMilliseconds(GetCurrentTimestamp(),
														   zenith_connect_timeout);
		step = make_progress(&error);
		if (registered)
			backoff_ms = 0;
		else if (step != ZENITH_FAILED)
		{
			timeout = TimestampDifferenceMilliseconds(GetCurrentTimestamp(), attempt_deadline);
			if (timeout == 0)
			{
				memset(&error, 0, sizeof(error));
				strcpy(error.message, "the page server did not answer in time");
				step = ZENITH_FAILED;
			}
		}

		if (step == ZENITH_FAILED)
		{
			/* Told no is different from not being able to ask. */
			bool		refused = error.sqlstate[0] != '\0' &&
				strncmp(error.sqlstate, "08", 2) != 0 &&
				strncmp(error.sqlstate, "57", 2) != 0 &&
				strncmp(error.sqlstate, "53", 2) != 0;

			close_session();
			report_trouble(&error, refused);
			backoff_ms = backoff_ms == 0 ? FIRST_BACKOFF_MS : Min(backoff_ms * 2, MAX_BACKOFF_MS);
			timeout = refused ? REFUSED_BACKOFF_MS : backoff_ms;
			events |= WL_TIMEOUT;
			(void) WaitLatch(MyLatch, events, timeout, PG_WAIT_EXTENSION);
			continue;
		}

		fd = zenith_session_socket(session);
		events |= step == ZENITH_WANT_WRITE ? WL_SOCKET_WRITEABLE : WL_SOCKET_READABLE;
		if (timeout >= 0)
			events |= WL_TIMEOUT;
		(void) WaitLatchOrSocket(MyLatch, events, fd, timeout, PG_WAIT_EXTENSION);
	}
}

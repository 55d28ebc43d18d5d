/*-------------------------------------------------------------------------
 *
 * zenith_redo_channel.c
 *	  how a redo process talks to the page server
 *
 * Requests come in over one descriptor and responses go out over another; the protocol is in
 * pageserver/redo/README.md. Responses are collected while there are requests left to read.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <unistd.h>

#include "libpq/pqsignal.h"
#include "storage/ipc.h"
#include "utils/memutils.h"

#include "zenith_redo_internal.h"

/* Buffers for the two directions; a request that does not fit enlarges the first. */
#define INPUT_BUFFER_SIZE		(256 * 1024)
#define OUTPUT_BUFFER_SIZE		(64 * 1024)

#define REDO_MAX_ERROR_TEXT		1024

static int	peer_in = -1;
static int	peer_out = -1;
static volatile sig_atomic_t got_sigterm = false;

/* Seconds one read's worth of requests may take before the process kills itself; 0: no limit. */
static unsigned int watchdog_seconds = 0;

char	   *zenith_redo_input;
size_t		zenith_redo_input_start;
static size_t input_size;
static size_t input_end;
static char output[OUTPUT_BUFFER_SIZE];
static size_t output_used;

bool		zenith_redo_in_request = false;
uint64		zenith_redo_request_id;

/* Takes the descriptors; nothing that prints to stdout may get between the responses. */
void
zenith_redo_open_channel(unsigned int seconds)
{
	int			null_fd;

	watchdog_seconds = seconds;
	peer_in = fcntl(STDIN_FILENO, F_DUPFD_CLOEXEC, STDERR_FILENO + 1);
	peer_out = fcntl(STDOUT_FILENO, F_DUPFD_CLOEXEC, STDERR_FILENO + 1);
	null_fd = open("/dev/null", O_RDONLY | O_CLOEXEC);
	if (peer_in < 0 || peer_out < 0 || null_fd < 0 ||
		dup2(null_fd, STDIN_FILENO) < 0 || dup2(STDERR_FILENO, STDOUT_FILENO) < 0)
		ereport(FATAL,
				(errmsg("could not set up the connection to the page server: %m")));
	close(null_fd);
}

static void
handle_sigterm(SIGNAL_ARGS)
{
	got_sigterm = true;
}

/*
 * An end of input ends this process; SIGTERM does so too, when it waits.
 * What a terminal sends to its whole process group is the page server's
 * business.
 */
void
zenith_redo_start_channel(void)
{
	struct sigaction action;

	pqsignal(SIGHUP, SIG_IGN);
	pqsignal(SIGINT, SIG_IGN);
	pqsignal(SIGPIPE, SIG_IGN);
	pqsignal(SIGALRM, SIG_DFL);
	memset(&action, 0, sizeof(action));
	action.sa_handler = handle_sigterm;
	sigemptyset(&action.sa_mask);
	sigaction(SIGTERM, &action, NULL);	/* not restarting ppoll() */
	sigdelset(&BlockSig, SIGALRM);
	PG_SETMASK(&BlockSig);

	input_size = INPUT_BUFFER_SIZE;
	zenith_redo_input = MemoryContextAlloc(TopMemoryContext, input_size);
}

/* Writes out all responses.  The page server being gone is the normal end of this process. */
void
zenith_redo_flush(void)
{
	size_t		done = 0;

	while (done < output_used)
	{
		ssize_t		n = write(peer_out, output + done, output_used - done);

		if (n < 0)
		{
			if (errno == EINTR)
				continue;
			zenith_redo_in_request = false;
			output_used = 0;
			proc_exit(errno == EPIPE || errno == ECONNRESET ? 0 : 1);
		}
		done += n;
	}
	output_used = 0;
}

void
zenith_redo_put(const void *data, size_t length)
{
	Assert(length <= sizeof(output));
	if (output_used + length > sizeof(output))
		zenith_redo_flush();
	memcpy(output + output_used, data, length);
	output_used += length;
}

void
zenith_redo_respond(uint32 status, const void *body, uint32 length)
{
	uint32		total = sizeof(uint64) + sizeof(uint32) + length;

	zenith_redo_put(&total, sizeof(total));
	zenith_redo_put(&zenith_redo_request_id, sizeof(zenith_redo_request_id));
	zenith_redo_put(&status, sizeof(status));
	zenith_redo_put(body, length);
}

/* Reports the failure of the current request and ends the process. */
void
zenith_redo_fail(const char *message)
{
	size_t		length = strlen(message);

	zenith_redo_in_request = false;
	zenith_redo_respond(REDO_STATUS_ERROR, message, Min(length, REDO_MAX_ERROR_TEXT));
	zenith_redo_flush();
	proc_exit(1);
}

/*
 * Many redo functions raise PANIC for a record that does not fit the page.
 * That would abort(); the page server would learn nothing but a signal number.
 */
void
zenith_redo_emit_log(ErrorData *edata)
{
	if (edata->elevel >= FATAL && zenith_redo_in_request)
		zenith_redo_fail(edata->message ? edata->message : "unknown error");
}

/*
 * Makes at least `needed` unread bytes available in the input buffer.  False
 * at the end of the input.  Responses are written out before waiting, so the
 * page server may send one request at a time or many.
 */
bool
zenith_redo_fill_input(size_t needed)
{
	if (input_end - zenith_redo_input_start >= needed)
		return true;

	if (zenith_redo_input_start > 0)
	{
		memmove(zenith_redo_input, zenith_redo_input + zenith_redo_input_start,
				input_end - zenith_redo_input_start);
		input_end -= zenith_redo_input_start;
		zenith_redo_input_start = 0;
	}
	if (needed > input_size)
	{
		zenith_redo_input = repalloc(zenith_redo_input, needed);
		input_size = needed;
	}
	else if (needed <= INPUT_BUFFER_SIZE && input_size > INPUT_BUFFER_SIZE &&
			 input_end <= INPUT_BUFFER_SIZE)
	{
		zenith_redo_input = repalloc(zenith_redo_input, INPUT_BUFFER_SIZE);
		input_size = INPUT_BUFFER_SIZE;
	}

	while (input_end < needed)
	{
		struct pollfd waiting;
		ssize_t		n;

		zenith_redo_flush();
		alarm(0);
		waiting.fd = peer_in;
		waiting.events = POLLIN;

		/* SIGTERM is blocked but for this wait */
		if (ppoll(&waiting, 1, NULL, &UnBlockSig) < 0 && errno != EINTR)
			elog(FATAL, "could not wait for the page server: %m");
		if (got_sigterm)
			proc_exit(0);
		if (waiting.revents == 0)
			continue;
		n = read(peer_in, zenith_redo_input + input_end, input_size - input_end);
		if (n < 0)
		{
			if (errno == EINTR)
				continue;
			if (errno != ECONNRESET)
				elog(FATAL, "could not read from the page server: %m");
			n = 0;
		}
		if (n == 0)
			return false;
		input_end += n;
		alarm(watchdog_seconds);
	}
	return true;
}

void
zenith_redo_take_bytes(ZenithRedoCursor *cursor, void *data, size_t length)
{
	if ((size_t) (cursor->end - cursor->at) < length)
		ereport(ERROR,
				(errcode(ERRCODE_PROTOCOL_VIOLATION),
				 errmsg("redo request is too short")));
	memcpy(data, cursor->at, length);
	cursor->at += length;
}

uint32
zenith_redo_take_uint32(ZenithRedoCursor *cursor)
{
	uint32		value;

	zenith_redo_take_bytes(cursor, &value, sizeof(value));
	return value;
}

uint64
zenith_redo_take_uint64(ZenithRedoCursor *cursor)
{
	uint64		value;

	zenith_redo_take_bytes(cursor, &value, sizeof(value));
	return value;
}

/*-------------------------------------------------------------------------
 *
 * page_client.h
 *	  the border between the extension's C and its C++ client of the page server
 *
 * Plain structs and functions. Every function is noexcept: a failure is reported in struct
 * zenith_error and the C side raises it, so no C++ object is alive when PostgreSQL jumps.
 *
 * Nothing here waits. A function either finishes or says what its socket must become
 * (ZENITH_WANT_READ, ZENITH_WANT_WRITE); the caller waits together with its latch and calls
 * again. Calling again too early is harmless. A caller may also jump away between two calls and
 * go on with the same session later: a session's state is never half changed.
 *
 * One session belongs to one process: sessions must not be carried over a fork.
 *
 *-------------------------------------------------------------------------
 */
#ifndef ZENITH_PAGE_CLIENT_H
#define ZENITH_PAGE_CLIENT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
#define ZENITH_NOEXCEPT noexcept
extern "C" {
#else
#define ZENITH_NOEXCEPT
#endif

#define ZENITH_PAGE_SIZE 8192
#define ZENITH_MAX_PAGES_PER_REQUEST 256

struct zenith_error
{
	char		sqlstate[6];	/* five characters and a zero */
	bool		retryable;		/* trying again later may help */
	char		message[512];
	char		detail[512];	/* may be empty */
	char		hint[512];		/* may be empty */
};

enum zenith_step
{
	ZENITH_DONE,
	ZENITH_WANT_READ,			/* call again when the socket is readable */
	ZENITH_WANT_WRITE,			/* call again when the socket is writable */
	ZENITH_FAILED				/* the error says why; the session can only be closed */
};

/* One connection to the page server and the one command it was opened for. */
struct zenith_session;

enum zenith_command_kind
{
	ZENITH_COMMAND_PAGESTREAM,	/* the command must answer with CopyBoth */
	ZENITH_COMMAND_SIMPLE		/* the command must complete; the connection stays open */
};

struct zenith_page_request
{
	uint64_t	request_id;
	bool		exact;			/* the version as of lsn, instead of the newest one */
	uint64_t	lsn;
	uint32_t	spc;
	uint32_t	db;
	uint32_t	rel;
	int			fork;
	uint32_t	block;
	uint16_t	count;			/* 1 .. ZENITH_MAX_PAGES_PER_REQUEST */
};

enum zenith_page_outcome
{
	ZENITH_PAGE_PRESENT,		/* page points to ZENITH_PAGE_SIZE bytes */
	ZENITH_PAGE_ABSENT,			/* not in the history: it reads as zeroes */
	ZENITH_PAGE_FAILURE			/* this block could not be read: see failure */
};

struct zenith_page_response
{
	uint64_t	request_id;
	uint32_t	block;
	enum zenith_page_outcome outcome;
	const void *page;			/* valid until the next call on the session */
	struct zenith_error failure;
};

/*
 * Begins to connect to `conninfo`; `command` is sent once the connection stands. NULL on failure.
 * The session is owned by the caller and ends with zenith_session_close (NULL is fine there).
 */
extern struct zenith_session *zenith_session_open(const char *conninfo, const char *command,
												  enum zenith_command_kind kind,
												  struct zenith_error *error) ZENITH_NOEXCEPT;
extern void zenith_session_close(struct zenith_session *session) ZENITH_NOEXCEPT;

/* The socket to wait for, -1 when there is none; may change while connecting. */
extern int	zenith_session_socket(struct zenith_session *session) ZENITH_NOEXCEPT;

/* Goes on until the command has been accepted (page stream) or has completed. */
extern enum zenith_step zenith_session_advance(struct zenith_session *session,
											   struct zenith_error *error) ZENITH_NOEXCEPT;

/* For a completed simple command: ZENITH_WANT_READ while the peer is there, else ZENITH_FAILED. */
extern enum zenith_step zenith_session_check(struct zenith_session *session,
											 struct zenith_error *error) ZENITH_NOEXCEPT;

/* Queues a request; false on failure. Flush afterwards. Requires: an accepted page stream. */
extern bool zenith_pagestream_send(struct zenith_session *session,
								   const struct zenith_page_request *request,
								   struct zenith_error *error) ZENITH_NOEXCEPT;

/* ZENITH_DONE when everything queued is on its way, ZENITH_WANT_WRITE, or ZENITH_FAILED. */
extern enum zenith_step zenith_pagestream_flush(struct zenith_session *session,
												struct zenith_error *error) ZENITH_NOEXCEPT;

/* The next response, ZENITH_WANT_READ when none is complete, or ZENITH_FAILED. */
extern enum zenith_step zenith_pagestream_receive(struct zenith_session *session,
												  struct zenith_page_response *response,
												  struct zenith_error *error) ZENITH_NOEXCEPT;

/* Where `conninfo` leads, without its secrets: "host=... port=...". Always a terminated string. */
extern void zenith_conninfo_describe(const char *conninfo, char *out, size_t out_size)
	ZENITH_NOEXCEPT;

/* Whether `conninfo` can be parsed; `error` says why not. */
extern bool zenith_conninfo_valid(const char *conninfo, struct zenith_error *error)
	ZENITH_NOEXCEPT;

#ifdef __cplusplus
}
#endif

#endif							/* ZENITH_PAGE_CLIENT_H */

/*-------------------------------------------------------------------------
 *
 * libpqpagestore.c
 *	  asks the page server for pages: the C shim over client/
 *
 * Everything a process wants from the page server passes through a ring of slots. A slot is empty,
 * waits for an answer, or holds one. Answers find their slot by request id and block; an answer
 * whose slot has been given away is dropped. So an ERROR may leave zenith_pagestore_get() at any
 * point where interrupts are handled: what was asked for still arrives later, or is forgotten.
 *
 * When the stream breaks, the slots that wait become empty and whoever needs one asks again on a
 * new stream, with a growing pause between attempts, for as long as zenith.fetch_timeout allows.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "miscadmin.h"
#include "pgstat.h"
#include "portability/instr_time.h"
#include "storage/fd.h"
#include "storage/ipc.h"
#include "storage/latch.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"

#include "client/page_client.h"
#include "libpqpagestore.h"
#include "zenith_guc.h"
#include "zenith_stat.h"

StaticAssertDecl(BLCKSZ == ZENITH_PAGE_SIZE, "the page stream carries pages of 8192 bytes");

#define FIRST_BACKOFF_MS 50
#define MAX_BACKOFF_MS 1000

typedef enum SlotState
{
	SLOT_EMPTY,
	SLOT_REQUESTED,
	SLOT_PRESENT,				/* the page is in ring_pages */
	SLOT_ABSENT,				/* the page server has no such page */
	SLOT_FAILED					/* why: last_failure, when its tag is the same */
} SlotState;

typedef struct Slot
{
	SlotState	state;
	bool		ahead;			/* asked for before it was needed */
	uint64		request_id;
	ZenithPageTag tag;
} Slot;

static Slot ring[ZENITH_RING_PAGES];
static char *ring_pages = NULL;	/* one page per slot, allocated on first use */
static int	ring_cursor = 0;	/* where the search for a slot begins */

static struct zenith_session *session = NULL;
static bool session_ready = false;	/* the page stream is accepted */
static char *session_conninfo = NULL;	/* what it was opened with */
static TimestampTz session_progress;	/* when it was opened or last gave an answer */
static uint64 next_request_id = 1;
static int	outstanding = 0;	/* answers still to come on this session */

static int	backoff_ms = 0;
static TimestampTz next_attempt = 0;

static ZenithPageTag failed_tag;
static struct zenith_error last_failure;

/* ---------------------------------------------------------------- the ring */

static inline char *
slot_page(const Slot *slot)
{
	return ring_pages + (size_t) (slot - ring) * BLCKSZ;
}

static inline bool
same_tag(const ZenithPageTag *a, const ZenithPageTag *b)
{
	return a->block == b->block && a->fork == b->fork && RelFileNodeEquals(a->node, b->node);
}

static Slot *
find_slot(const ZenithPageTag *tag)
{
	int			i;

	for (i = 0; i < ZENITH_RING_PAGES; i++)
	{
		if (ring[i].state != SLOT_EMPTY && same_tag(&ring[i].tag, tag))
			return &ring[i];
	}
	return NULL;
}

/* An empty slot, or else the next one in turn, whatever it holds. */
static Slot *
claim_slot(void)
{
	Slot	   *slot;
	int			i;

	for (i = 0; i < ZENITH_RING_PAGES; i++)
	{
		slot = &ring[(ring_cursor + i) % ZENITH_RING_PAGES];
		if (slot->state == SLOT_EMPTY)
			break;
	}
	if (i == ZENITH_RING_PAGES)
		i = 0;
	slot = &ring[(ring_cursor + i) % ZENITH_RING_PAGES];
	ring_cursor = (int) (slot - ring + 1) % ZENITH_RING_PAGES;
	return slot;
}

/* Puts one answer where it belongs. */
static void
accept_response(const struct zenith_page_response *response)
{
	int			i;

	session_progress = GetCurrentTimestamp();
	if (response->outcome != ZENITH_PAGE_FAILURE)
		backoff_ms = 0;
	if (outstanding > 0)
		outstanding--;
	if (response->outcome == ZENITH_PAGE_PRESENT)
		zenith_count(ZENITH_BYTES_FETCHED, BLCKSZ);

	for (i = 0; i < ZENITH_RING_PAGES; i++)
	{
		Slot	   *slot = &ring[i];

		if (slot->state != SLOT_REQUESTED || slot->request_id != response->request_id ||
			slot->tag.block != response->block)
			continue;
		switch (response->outcome)
		{
			case ZENITH_PAGE_PRESENT:
				memcpy(slot_page(slot), response->page, BLCKSZ);
				slot->state = SLOT_PRESENT;
				break;
			case ZENITH_PAGE_ABSENT:
				slot->state = SLOT_ABSENT;
				break;
			case ZENITH_PAGE_FAILURE:
				slot->state = SLOT_FAILED;
				failed_tag = slot->tag;
				last_failure = response->failure;
				break;
		}
		return;
	}
}

/* ---------------------------------------------------------------- the session */

/* Closes the stream and forgets what has not been answered. */
static void
drop_session(void)
{
	int			i;

	if (session != NULL)
	{
		zenith_session_close(session);
		session = NULL;
		ReleaseExternalFD();
	}
	session_ready = false;
	outstanding = 0;
	for (i = 0; i < ZENITH_RING_PAGES; i++)
	{
		if (ring[i].state == SLOT_REQUESTED)
			ring[i].state = SLOT_EMPTY;
	}
}

static void
close_at_exit(int code, Datum arg)
{
	drop_session();
}

/* Begins a new stream; false and an error when not even that works. */
static bool
open_session(struct zenith_error *error)
{
	static bool exit_callback_registered = false;
	char		command[64];
	char	   *conninfo;

	/* A connection belongs to one process. */
	Assert(MyProcPid != PostmasterPid && MyLatch != NULL);

	if (ring_pages == NULL)
		ring_pages = MemoryContextAlloc(TopMemoryContext, (Size) ZENITH_RING_PAGES * BLCKSZ);
	if (!exit_callback_registered)
	{
		on_proc_exit(close_at_exit, 0);
		exit_callback_registered = true;
	}

	conninfo = MemoryContextStrdup(TopMemoryContext, zenith_pageserver);
	if (session_conninfo != NULL)
		pfree(session_conninfo);
	session_conninfo = conninfo;

	if (!AcquireExternalFD())
	{
		memset(error, 0, sizeof(*error));
		strcpy(error->sqlstate, "53000");
		error->retryable = false;
		strlcpy(error->message, "too many file descriptors are in use", sizeof(error->message));
		strlcpy(error->hint, "Raise max_files_per_process or the operating system's limit.",
				sizeof(error->hint));
		return false;
	}
	snprintf(command, sizeof(command), "pagestream %s", zenith_timeline);
	session = zenith_session_open(session_conninfo, command, ZENITH_COMMAND_PAGESTREAM, error);
	if (session == NULL)
	{
		ReleaseExternalFD();
		return false;
	}
	session_progress = GetCurrentTimestamp();
	return true;
}

/* Asks for `count` blocks on a stream that is ready. Their slots must have been filled in. */
static bool
send_request(const ZenithPageTag *tag, int count, uint64 request_id, struct zenith_error *error)
{
	struct zenith_page_request request;

	request.request_id = request_id;

	/*
	 * A hole has not been changed since this compute started, so its contents are those of the
	 * start. Asking for exactly these keeps a read-only compute at its LSN; it also keeps a compute
	 * that has lost its timeline to another one, and does not know yet, from mixing the two.
	 */
	request.exact = true;
	request.lsn = zenith_start_lsn;
	request.spc = tag->node.spcNode;
	request.db = tag->node.dbNode;
	request.rel = tag->node.relNode;
	request.fork = (int) tag->fork;
	request.block = tag->block;
	request.count = (uint16) count;

	/* An idle stream has nothing to be late with. */
	if (outstanding == 0)
		session_progress = GetCurrentTimestamp();
	if (!zenith_pagestream_send(session, &request, error))
		return false;
	outstanding += count;
	return true;
}

/* Gives `count` blocks their slots; the first one may be needed now. */
static uint64
fill_slots(const ZenithPageTag *tag, int count, bool first_is_ahead)
{
	uint64		request_id = next_request_id++;
	int			i;

	for (i = 0; i < count; i++)
	{
		Slot	   *slot = claim_slot();

		slot->state = SLOT_REQUESTED;
		slot->ahead = i > 0 || first_is_ahead;
		slot->request_id = request_id;
		slot->tag = *tag;
		slot->tag.block = tag->block + i;
	}
	return request_id;
}

/* ---------------------------------------------------------------- waiting */

/*
 * Waits for socket events, at most until `until`. Interrupts are handled: an ERROR may leave from
 * here, and descriptors of relations may be closed.
 */
static void
wait_for(int socket_events, TimestampTz until, bool *latch_was_set)
{
	long		timeout = TimestampDifferenceMilliseconds(GetCurrentTimestamp(), until);
	pgsocket	fd = session != NULL ? zenith_session_socket(session) : PGINVALID_SOCKET;
	int			events = WL_LATCH_SET | WL_TIMEOUT | WL_EXIT_ON_PM_DEATH;
	int			happened;

	if (fd != PGINVALID_SOCKET)
		events |= socket_events;
	happened = WaitLatchOrSocket(MyLatch, events, fd, timeout, PG_WAIT_EXTENSION);
	if (happened & WL_LATCH_SET)
	{
		ResetLatch(MyLatch);
		*latch_was_set = true;
		CHECK_FOR_INTERRUPTS();
	}
}

static void
raise_failure(const ZenithPageTag *tag, const struct zenith_error *error)
{
	char	   *path = relpathperm(tag->node, tag->fork);
	bool		connection = strncmp(error->sqlstate, "08", 2) == 0;

	/* Class 08 would tell a client that its own connection is gone. */
	ereport(ERROR,
			(errcode(connection ? ERRCODE_IO_ERROR :
					 MAKE_SQLSTATE(error->sqlstate[0], error->sqlstate[1], error->sqlstate[2],
								   error->sqlstate[3], error->sqlstate[4])),
			 errmsg("could not fetch block %u of relation %s from the page server: %s",
					tag->block, path, error->message),
			 error->detail[0] != '\0' ? errdetail_internal("%s", error->detail) : 0,
			 error->hint[0] != '\0' ? errhint("%s", error->hint) :
			 errhint("Look at the page server with \"zenith status\" and into its log.")));
}

/*
 * After a failure: gives up with an ERROR, or arranges for the next attempt. The first one comes at
 * once, since a stream that idled over a restart of the page server is found broken only here.
 */
static void
handle_failure(const ZenithPageTag *tag, const struct zenith_error *error, TimestampTz deadline)
{
	TimestampTz now = GetCurrentTimestamp();

	zenith_count(ZENITH_ERRORS, 1);
	if (!error->retryable || now >= deadline)
		raise_failure(tag, error);
	next_attempt = TimestampTzPlusMilliseconds(now, backoff_ms);
	backoff_ms = backoff_ms == 0 ? FIRST_BACKOFF_MS : Min(backoff_ms * 2, MAX_BACKOFF_MS);
}

static void
set_timeout_error(struct zenith_error *error, const char *message)
{
	memset(error, 0, sizeof(*error));
	strcpy(error->sqlstate, "08006");
	error->retryable = true;
	strlcpy(error->message, message, sizeof(error->message));
}

/*
 * One step towards an answer for `tag`: connects, asks, or takes answers, and waits when nothing
 * else can be done. Returns false with an error when the stream has failed and is closed.
 */
static bool
make_progress(const ZenithPageTag *tag, int ahead, TimestampTz deadline, bool *latch_was_set,
			  struct zenith_error *error)
{
	enum zenith_step step;
	TimestampTz until;
	int			events = 0;

	if (session == NULL)
	{
		if (GetCurrentTimestamp() < next_attempt)
		{
			wait_for(0, next_attempt, latch_was_set);
			return true;
		}
		return open_session(error);
	}

	if (!session_ready)
	{
		step = zenith_session_advance(session, error);
		if (step == ZENITH_DONE)
		{
			session_ready = true;
			session_progress = GetCurrentTimestamp();
			zenith_count(ZENITH_CONNECTIONS, 1);
			return true;
		}
		until = TimestampTzPlusMilliseconds(session_progress, zenith_connect_timeout);
	}
	else
	{
		struct zenith_page_response response;

		if (find_slot(tag) == NULL)
		{
			if (!send_request(tag, 1 + ahead, fill_slots(tag, 1 + ahead, false), error))
				goto failed;
			zenith_count(ZENITH_READAHEAD_PAGES, ahead);
		}
		step = zenith_pagestream_flush(session, error);
		if (step == ZENITH_WANT_WRITE)
			events |= WL_SOCKET_WRITEABLE;
		if (step != ZENITH_FAILED)
			step = zenith_pagestream_receive(session, &response, error);
		if (step == ZENITH_DONE)
		{
			accept_response(&response);
			return true;
		}
		until = TimestampTzPlusMilliseconds(session_progress, zenith_response_timeout);
	}

	if (step == ZENITH_FAILED)
		goto failed;
	if (GetCurrentTimestamp() >= Min(until, deadline))
	{
		set_timeout_error(error, session_ready ? "the page server did not answer in time" :
						  "the page server did not accept the connection in time");
		goto failed;
	}
	events |= step == ZENITH_WANT_WRITE ? WL_SOCKET_WRITEABLE : WL_SOCKET_READABLE;
	wait_for(events, Min(until, deadline), latch_was_set);
	return true;

failed:
	drop_session();
	return false;
}

/* ---------------------------------------------------------------- the interface */

bool
zenith_pagestore_has(const ZenithPageTag *tag)
{
	return find_slot(tag) != NULL;
}

bool
zenith_pagestore_get(const ZenithPageTag *tag, int ahead, char *buffer)
{
	TimestampTz deadline = TimestampTzPlusMilliseconds(GetCurrentTimestamp(),
													   zenith_fetch_timeout);
	struct zenith_error error;
	bool		latch_was_set = false;
	bool		present;
	instr_time	start;
	instr_time	end;

	Assert(ahead >= 0 && ahead <= ZENITH_MAX_READAHEAD);
	INSTR_TIME_SET_CURRENT(start);

	/* A reload may have moved the page server. */
	if (session != NULL && strcmp(session_conninfo, zenith_pageserver) != 0)
		drop_session();

	for (;;)
	{
		/* Looked up anew each time: interrupts may have changed the ring. */
		Slot	   *slot = find_slot(tag);

		if (slot != NULL && (slot->state == SLOT_PRESENT || slot->state == SLOT_ABSENT))
		{
			present = slot->state == SLOT_PRESENT;
			if (present)
				memcpy(buffer, slot_page(slot), BLCKSZ);
			else
				memset(buffer, 0, BLCKSZ);
			if (slot->ahead)
				zenith_count(ZENITH_READAHEAD_HITS, 1);
			slot->state = SLOT_EMPTY;
			break;
		}
		if (slot != NULL && slot->state == SLOT_FAILED)
		{
			slot->state = SLOT_EMPTY;
			/* What failed while reading ahead is asked for once more. */
			if (!slot->ahead && same_tag(&failed_tag, tag))
			{
				handle_failure(tag, &last_failure, deadline);
				while (GetCurrentTimestamp() < next_attempt)
					wait_for(0, next_attempt, &latch_was_set);
			}
			continue;
		}
		if (!make_progress(tag, ahead, deadline, &latch_was_set, &error))
			handle_failure(tag, &error, deadline);
	}

	/* Whoever waits for the latch further up must not miss what we have consumed. */
	if (latch_was_set)
		SetLatch(MyLatch);

	INSTR_TIME_SET_CURRENT(end);
	INSTR_TIME_SUBTRACT(end, start);
	zenith_count(ZENITH_FETCH_WAIT_US, INSTR_TIME_GET_MICROSEC(end));
	zenith_count(present ? ZENITH_HOLES_FETCHED : ZENITH_ZERO_PAGES, 1);
	return present;
}

int
zenith_pagestore_prefetch(const ZenithPageTag *tag, int count)
{
	struct zenith_error error;
	struct zenith_page_response response;
	enum zenith_step step = ZENITH_WANT_READ;

	if (session == NULL || !session_ready)
		return 0;

	/* Take what has arrived, so that the server is never blocked by us for long. */
	if (outstanding > 0)
	{
		while ((step = zenith_pagestream_receive(session, &response, &error)) == ZENITH_DONE)
			accept_response(&response);
	}

	count = Min(count, ZENITH_RING_PAGES - ZENITH_MAX_READAHEAD - outstanding);
	if (step != ZENITH_FAILED)
	{
		if (count <= 0)
			return 0;
		if (send_request(tag, count, fill_slots(tag, count, true), &error) &&
			zenith_pagestream_flush(session, &error) != ZENITH_FAILED)
		{
			zenith_count(ZENITH_READAHEAD_PAGES, count);
			return count;
		}
	}

	/* Whoever needs one of these pages will connect again and ask for it. */
	drop_session();
	return 0;
}

/*-------------------------------------------------------------------------
 *
 * zenith_readahead.c
 *	  recognizes a process that reads holes in sequence
 *
 * PostgreSQL 15 reads a table block by block and asks for nothing in advance; one round trip per
 * block is what read-ahead saves. A stream is one relation fork read in ascending order, with small
 * steps over blocks that are local already. Its window starts small and doubles while the reader
 * follows; the next batch is asked for when half of the window has been used, so that answers
 * arrive while the reader works.
 *
 * The processes of a parallel scan read a table in chunks that they take in turn. So after a jump
 * the run is expected to be as long as the one before it, until it proves longer: what lies behind
 * it is somebody else's.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "common/hashfn.h"

#include "zenith_readahead.h"

#define STREAMS 8
#define FIRST_WINDOW 8
/* A step over up to this many blocks does not end a run. */
#define MAX_STEP 4
/* A run shorter than this says nothing about the next one. */
#define MIN_RUN 4

typedef struct Stream
{
	bool		in_use;
	uint64		last_use;
	ZenithPageTag last;			/* the newest hole read */
	BlockNumber run_start;
	uint64		run_length;		/* what is expected of this run; 0: nothing in particular */
	BlockNumber asked_end;		/* blocks before this one have been asked for */
	int			window;			/* 0 until two reads followed each other */
} Stream;

static Stream streams[STREAMS];
static uint64 use_counter = 0;

static inline bool
same_fork(const ZenithPageTag *a, const ZenithPageTag *b)
{
	return a->fork == b->fork && RelFileNodeEquals(a->node, b->node);
}

static Stream *
find_stream(const ZenithPageTag *tag)
{
	int			i;

	for (i = 0; i < STREAMS; i++)
	{
		if (streams[i].in_use && same_fork(&streams[i].last, tag))
			return &streams[i];
	}
	return NULL;
}

static Stream *
least_recent_stream(void)
{
	Stream	   *oldest = &streams[0];
	int			i;

	for (i = 1; i < STREAMS; i++)
	{
		if (streams[i].last_use < oldest->last_use)
			oldest = &streams[i];
	}
	return oldest;
}

static void
start_run(Stream *stream, const ZenithPageTag *tag, uint64 expected_length)
{
	stream->run_start = tag->block;
	stream->run_length = expected_length;
	stream->asked_end = tag->block + 1;
	stream->window = 0;
}

int
zenith_readahead_note(const ZenithPageTag *tag, int max_window, BlockNumber *from)
{
	Stream	   *stream = find_stream(tag);
	BlockNumber last;
	uint64		end;

	if (max_window <= 0)
		return 0;
	if (stream == NULL)
	{
		stream = least_recent_stream();
		stream->in_use = true;
		stream->last = *tag;
		stream->last_use = ++use_counter;
		start_run(stream, tag, 0);
		return 0;
	}

	last = stream->last.block;
	stream->last = *tag;
	stream->last_use = ++use_counter;
	if (tag->block <= last || tag->block - last > MAX_STEP)
	{
		uint64		length = (uint64) last - stream->run_start + 1;

		start_run(stream, tag, length >= MIN_RUN ? length : 0);
		if (stream->run_length == 0)
			return 0;
	}

	if (stream->asked_end <= tag->block)
		stream->asked_end = tag->block + 1;
	if (stream->window > 0 &&
		stream->asked_end - tag->block > (BlockNumber) stream->window / 2)
		return 0;
	stream->window = Min(stream->window == 0 ? FIRST_WINDOW : stream->window * 2, max_window);
	end = (uint64) tag->block + 1 + stream->window;
	if (stream->run_length > 0)
	{
		if (tag->block - stream->run_start >= stream->run_length)
			stream->run_length *= 2;
		end = Min(end, stream->run_start + stream->run_length);
	}
	if (end <= stream->asked_end)
		return 0;
	*from = stream->asked_end;
	stream->asked_end = (BlockNumber) Min(end, MaxBlockNumber);
	return (int) (stream->asked_end - *from);
}

void
zenith_readahead_stopped(const ZenithPageTag *tag, BlockNumber end)
{
	Stream	   *stream = find_stream(tag);

	if (stream != NULL && stream->asked_end > end)
		stream->asked_end = end;
}

/*
 * A small direct-mapped memory of relations that looked local lately. Losing an entry costs a few
 * looks, keeping a wrong one costs prefetching.
 */
#define HEAT_ENTRIES 64
#define FULL_HEAT 8

typedef struct Heat
{
	ZenithPageTag relation;
	int			left;			/* looks without a hole until we stop looking */
} Heat;

static Heat heats[HEAT_ENTRIES];

static Heat *
heat_of(const ZenithPageTag *tag)
{
	uint32		hash = hash_combine(murmurhash32(tag->node.relNode),
									murmurhash32(tag->node.dbNode + (uint32) tag->fork));
	Heat	   *heat = &heats[hash % HEAT_ENTRIES];

	if (!same_fork(&heat->relation, tag))
	{
		heat->relation = *tag;
		heat->left = FULL_HEAT;
	}
	return heat;
}

bool
zenith_relation_may_have_holes(const ZenithPageTag *tag)
{
	return heat_of(tag)->left > 0;
}

void
zenith_relation_saw(const ZenithPageTag *tag, bool hole)
{
	Heat	   *heat = heat_of(tag);

	if (hole)
		heat->left = FULL_HEAT;
	else if (heat->left > 0)
		heat->left--;
}

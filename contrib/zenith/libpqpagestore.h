/*-------------------------------------------------------------------------
 *
 * libpqpagestore.h
 *	  asks the page server for pages
 *
 * One page stream per process, opened on first use, and a ring of pages asked for in advance. A
 * page in the ring is the page's only version as long as the block is a hole in the local file; the
 * caller looks at the file first, every time, and comes here only for a hole.
 *
 *-------------------------------------------------------------------------
 */
#ifndef LIBPQPAGESTORE_H
#define LIBPQPAGESTORE_H

#include "storage/block.h"
#include "storage/relfilenode.h"

typedef struct ZenithPageTag
{
	RelFileNode node;
	ForkNumber	fork;
	BlockNumber block;
} ZenithPageTag;

/* Pages a process keeps or waits for. More than a demanded page and two read-ahead windows. */
#define ZENITH_RING_PAGES 160

/*
 * Waits for one page and copies it to `buffer`; false, and zeroes, when the page server has no such
 * page. Asks for the `ahead` blocks behind it in the same request, unless the page is in the ring
 * or on its way already. Retries for zenith.fetch_timeout, then raises an ERROR. Handles interrupts while it waits:
 * file descriptors of relations may be closed when it returns. Must not be called in a critical
 * section.
 */
extern bool zenith_pagestore_get(const ZenithPageTag *tag, int ahead, char *buffer);

/*
 * Asks for `count` blocks from `tag` on without waiting, as far as the stream stands and has room.
 * Never raises an error. Returns how many blocks were asked for, from the first one on.
 */
extern int	zenith_pagestore_prefetch(const ZenithPageTag *tag, int count);

/* Whether the page is in the ring or on its way into it. */
extern bool zenith_pagestore_has(const ZenithPageTag *tag);

#endif							/* LIBPQPAGESTORE_H */

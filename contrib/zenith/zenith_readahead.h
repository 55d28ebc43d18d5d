/*-------------------------------------------------------------------------
 *
 * zenith_readahead.h
 *	  recognizes a process that reads holes in sequence
 *
 * Private to each process, fixed size, raises no errors.
 *
 *-------------------------------------------------------------------------
 */
#ifndef ZENITH_READAHEAD_H
#define ZENITH_READAHEAD_H

#include "libpqpagestore.h"

/*
 * Notes that the hole `tag` is read. Returns how many blocks are to be asked for now, and the first
 * of them in *from; 0: none. The blocks need not be holes, nor exist.
 */
extern int	zenith_readahead_note(const ZenithPageTag *tag, int max_window, BlockNumber *from);

/* The caller asked for the blocks before `end` only; the next window starts there. */
extern void zenith_readahead_stopped(const ZenithPageTag *tag, BlockNumber end);

/*
 * Whether it is worth looking if a block of this relation is a hole, as far as recent looks tell.
 * Any relation is at first; zenith_relation_saw() reports what a look has shown.
 */
extern bool zenith_relation_may_have_holes(const ZenithPageTag *tag);
extern void zenith_relation_saw(const ZenithPageTag *tag, bool hole);

#endif							/* ZENITH_READAHEAD_H */

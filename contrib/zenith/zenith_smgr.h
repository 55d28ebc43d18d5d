/*-------------------------------------------------------------------------
 *
 * zenith_smgr.h
 *	  the storage-manager callbacks of a compute: the sparse clone
 *
 *-------------------------------------------------------------------------
 */
#ifndef ZENITH_SMGR_H
#define ZENITH_SMGR_H

#include "storage/smgr.h"

#include "zenith_smgr_install.h"

extern const ZenithSmgrCallbacks zenith_smgr_callbacks;

/*
 * Whether the block has not been fetched yet, as its local file stands now; false beyond its end.
 * May raise an error like mdread.
 */
extern bool zenith_block_is_hole(SMgrRelation reln, ForkNumber forknum, BlockNumber blocknum);

#endif							/* ZENITH_SMGR_H */

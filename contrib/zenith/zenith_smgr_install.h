/*-------------------------------------------------------------------------
 *
 * zenith_smgr_install.h
 *	  replaces entries of PostgreSQL's storage manager table
 *
 *-------------------------------------------------------------------------
 */
#ifndef ZENITH_SMGR_INSTALL_H
#define ZENITH_SMGR_INSTALL_H

#include "storage/smgr.h"

/* The entries of smgrsw[] that are reached through the table; NULL keeps md's. */
typedef struct ZenithSmgrCallbacks
{
	void		(*smgr_close) (SMgrRelation reln, ForkNumber forknum);
	void		(*smgr_create) (SMgrRelation reln, ForkNumber forknum, bool isRedo);
	bool		(*smgr_exists) (SMgrRelation reln, ForkNumber forknum);
	void		(*smgr_unlink) (RelFileNodeBackend rnode, ForkNumber forknum, bool isRedo);
	void		(*smgr_extend) (SMgrRelation reln, ForkNumber forknum,
								BlockNumber blocknum, char *buffer, bool skipFsync);
	bool		(*smgr_prefetch) (SMgrRelation reln, ForkNumber forknum, BlockNumber blocknum);
	void		(*smgr_read) (SMgrRelation reln, ForkNumber forknum,
							  BlockNumber blocknum, char *buffer);
	void		(*smgr_write) (SMgrRelation reln, ForkNumber forknum,
							   BlockNumber blocknum, char *buffer, bool skipFsync);
	void		(*smgr_writeback) (SMgrRelation reln, ForkNumber forknum,
								   BlockNumber blocknum, BlockNumber nblocks);
	BlockNumber (*smgr_nblocks) (SMgrRelation reln, ForkNumber forknum);
	void		(*smgr_truncate) (SMgrRelation reln, ForkNumber forknum,
								  BlockNumber old_blocks, BlockNumber nblocks);
} ZenithSmgrCallbacks;

/*
 * Finds and verifies the table, swaps in the given callbacks and proves that they are reached.
 * Raises FATAL with a hint when this server is not one we know how to serve or when another library
 * has changed the table. Called from _PG_init, in the postmaster or a redo process.
 */
extern void zenith_smgr_install(const ZenithSmgrCallbacks *callbacks);

#endif							/* ZENITH_SMGR_INSTALL_H */

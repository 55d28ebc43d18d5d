/*-------------------------------------------------------------------------
 *
 * zenith_redo.h
 *	  a stock "postgres --single" as a process that applies WAL records to pages
 *
 *-------------------------------------------------------------------------
 */
#ifndef ZENITH_REDO_H
#define ZENITH_REDO_H

/* True when the environment variable ZENITH_REDO says that this process is a redo process. */
extern bool zenith_redo_requested(void);

/* Called from _PG_init of a redo process: installs the in-memory storage manager and the hook that
 * takes the process over. */
extern void zenith_redo_init(void);

#endif							/* ZENITH_REDO_H */

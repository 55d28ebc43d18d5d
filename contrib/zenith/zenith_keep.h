/*-------------------------------------------------------------------------
 *
 * zenith_keep.h
 *	  what a plain server keeps in its files and a new compute would not know
 *
 *-------------------------------------------------------------------------
 */
#ifndef ZENITH_KEEP_H
#define ZENITH_KEEP_H

/* Entry point of the background worker. */
extern void zenith_keep_main(Datum arg);

/*
 * Writes into WAL what the pages of sequences and free space maps hold beyond what WAL says. Safe at
 * any time; exact only when no other process changes data.
 */
extern void zenith_keep_pages(void);

/*
 * Writes the cumulative statistics into WAL. Requires: all other processes that report have ended,
 * since what comes later is not in it.
 */
extern void zenith_keep_statistics(void);

/*
 * Writes into WAL the files of logical replication slots that changed since the last call. Cheap
 * when nothing did.
 */
extern void zenith_keep_slots(void);

#endif							/* ZENITH_KEEP_H */

/*-------------------------------------------------------------------------
 *
 * zenith_datadir.h
 *	  a compute starts on a fresh base backup, or not at all
 *
 *-------------------------------------------------------------------------
 */
#ifndef ZENITH_DATADIR_H
#define ZENITH_DATADIR_H

/*
 * Has the start end with FATAL and a hint when the data directory was used before. Called from
 * _PG_init of a compute, after zenith_guc_require().
 */
extern void zenith_datadir_init(void);

#endif							/* ZENITH_DATADIR_H */

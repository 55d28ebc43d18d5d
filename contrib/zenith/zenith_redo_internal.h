/*-------------------------------------------------------------------------
 *
 * zenith_redo_internal.h
 *	  what the files of the redo process share
 *
 *-------------------------------------------------------------------------
 */
#ifndef ZENITH_REDO_INTERNAL_H
#define ZENITH_REDO_INTERNAL_H

#include "storage/buf_internals.h"
#include "storage/bufpage.h"

#include "zenith_smgr_install.h"

/* The protocol; the other side is pageserver/redo/redo_protocol.h. */
#define REDO_MAGIC				0x4F44525A	/* "ZRDO" */
#define REDO_PROTOCOL_VERSION	1
#define REDO_MAX_REQUEST		(64 * 1024 * 1024)
#define REDO_HAS_BASE			1
#define REDO_STATUS_PAGE		0
#define REDO_STATUS_ERROR		1

/* A place in a request's bytes. */
typedef struct ZenithRedoCursor
{
	const char *at;
	const char *end;
} ZenithRedoCursor;

/* ---------------------------------------------------------------- zenith_redo_channel.c */

/* Unread input begins at zenith_redo_input + zenith_redo_input_start. */
extern char *zenith_redo_input;
extern size_t zenith_redo_input_start;

/* The request being worked on; FATAL and PANIC are reported to the peer while there is one. */
extern bool zenith_redo_in_request;
extern uint64 zenith_redo_request_id;

/* In _PG_init; `seconds` one read's worth of requests may take, 0: no limit. */
extern void zenith_redo_open_channel(unsigned int seconds);
/* When the process is about to serve. */
extern void zenith_redo_start_channel(void);
extern bool zenith_redo_fill_input(size_t needed);
extern void zenith_redo_flush(void);
extern void zenith_redo_put(const void *data, size_t length);
extern void zenith_redo_respond(uint32 status, const void *body, uint32 length);
extern void zenith_redo_fail(const char *message) pg_attribute_noreturn();
extern void zenith_redo_emit_log(ErrorData *edata);

/* Each raises an error when the request has no more bytes. */
extern void zenith_redo_take_bytes(ZenithRedoCursor *cursor, void *data, size_t length);
extern uint32 zenith_redo_take_uint32(ZenithRedoCursor *cursor);
extern uint64 zenith_redo_take_uint64(ZenithRedoCursor *cursor);

/* ---------------------------------------------------------------- zenith_redo_smgr.c */

/* The page that the request is about, as smgr_read returns it. */
extern BufferTag zenith_redo_target;
extern PGAlignedBlock zenith_redo_page;

extern const ZenithSmgrCallbacks zenith_redo_smgr;

extern bool zenith_redo_is_target_tag(const BufferTag *tag);
extern Page zenith_redo_find_target(bool *others);
extern void zenith_redo_drop_buffers(void);

/* ---------------------------------------------------------------- zenith_redo_apply.c */

extern void zenith_redo_start_applying(void);
extern void zenith_redo_start_request(void);
extern void zenith_redo_take_record(ZenithRedoCursor *cursor);
extern void zenith_redo_apply_record(void);

#endif							/* ZENITH_REDO_INTERNAL_H */

// Info codes and flags of the WAL record types that are treated one by one.
//
// Source: catalog/pg_control.h, access/{xact,clog,multixact,commit_ts,heapam_xlog,hash_xlog}.h,
// catalog/storage_xlog.h, commands/{dbcommands_xlog,tablespace}.h, utils/relmapper.h,
// storage/standbydefs.h, replication/{origin,message}.h of PostgreSQL 15.
// pg_headers_check.cpp proves each number against the installed server headers.
#pragma once

#include <cstddef>
#include <cstdint>

namespace zenith {

// XLogRecord.xl_info, low half: set by the WAL machinery, not by resource managers.
inline constexpr uint8_t kInfoCheckConsistency = 0x02;  // XLR_CHECK_CONSISTENCY

// RM_XLOG_ID
inline constexpr uint8_t kXlogCheckpointShutdown = 0x00;
inline constexpr uint8_t kXlogCheckpointOnline = 0x10;
inline constexpr uint8_t kXlogNoop = 0x20;
inline constexpr uint8_t kXlogNextOid = 0x30;
inline constexpr uint8_t kXlogSwitch = 0x40;
inline constexpr uint8_t kXlogBackupEnd = 0x50;
inline constexpr uint8_t kXlogParameterChange = 0x60;
inline constexpr uint8_t kXlogRestorePoint = 0x70;
inline constexpr uint8_t kXlogFpwChange = 0x80;
inline constexpr uint8_t kXlogEndOfRecovery = 0x90;
inline constexpr uint8_t kXlogFpiForHint = 0xA0;
inline constexpr uint8_t kXlogFpi = 0xB0;
inline constexpr uint8_t kXlogOverwriteContRecord = 0xD0;

// RM_XACT_ID
inline constexpr uint8_t kXactOpMask = 0x70;
inline constexpr uint8_t kXactCommit = 0x00;
inline constexpr uint8_t kXactPrepare = 0x10;
inline constexpr uint8_t kXactAbort = 0x20;
inline constexpr uint8_t kXactCommitPrepared = 0x30;
inline constexpr uint8_t kXactAbortPrepared = 0x40;
inline constexpr uint8_t kXactAssignment = 0x50;
inline constexpr uint8_t kXactInvalidations = 0x60;
inline constexpr uint8_t kXactHasInfo = 0x80;
// xl_xact_xinfo.xinfo
inline constexpr uint32_t kXinfoHasDbInfo = 1u << 0;
inline constexpr uint32_t kXinfoHasSubxacts = 1u << 1;
inline constexpr uint32_t kXinfoHasRelFileNodes = 1u << 2;
inline constexpr uint32_t kXinfoHasInvals = 1u << 3;
inline constexpr uint32_t kXinfoHasTwoPhase = 1u << 4;
inline constexpr uint32_t kXinfoHasOrigin = 1u << 5;
inline constexpr uint32_t kXinfoHasGid = 1u << 7;
inline constexpr uint32_t kXinfoHasDroppedStats = 1u << 8;
inline constexpr size_t kDroppedStatsItemSize = 12;       // xl_xact_stats_item
inline constexpr size_t kInvalidationMessageSize = 16;    // SharedInvalidationMessage
inline constexpr size_t kXactPrepareHeaderSize = 72;      // sizeof(xl_xact_prepare), 8-aligned
inline constexpr uint32_t kTwoPhaseMagic = 0x57F94534;    // TWOPHASE_MAGIC of twophase.c

// RM_SMGR_ID
inline constexpr uint8_t kSmgrCreate = 0x10;
inline constexpr uint8_t kSmgrTruncate = 0x20;
inline constexpr uint32_t kSmgrTruncateHeap = 1;
inline constexpr uint32_t kSmgrTruncateVm = 2;
inline constexpr uint32_t kSmgrTruncateFsm = 4;

// RM_CLOG_ID, RM_COMMIT_TS_ID
inline constexpr uint8_t kClogZeroPage = 0x00;
inline constexpr uint8_t kClogTruncate = 0x10;
inline constexpr uint8_t kCommitTsZeroPage = 0x00;
inline constexpr uint8_t kCommitTsTruncate = 0x10;

// RM_DBASE_ID, RM_TBLSPC_ID
inline constexpr uint8_t kDbaseCreateFileCopy = 0x00;
inline constexpr uint8_t kDbaseCreateWalLog = 0x10;
inline constexpr uint8_t kDbaseDrop = 0x20;
inline constexpr uint8_t kTblspcCreate = 0x00;
inline constexpr uint8_t kTblspcDrop = 0x10;

// RM_MULTIXACT_ID
inline constexpr uint8_t kMultixactZeroOffPage = 0x00;
inline constexpr uint8_t kMultixactZeroMemPage = 0x10;
inline constexpr uint8_t kMultixactCreateId = 0x20;
inline constexpr uint8_t kMultixactTruncateId = 0x30;

// RM_RELMAP_ID. The map file's layout is private to relmapper.c.
inline constexpr uint8_t kRelmapUpdate = 0x00;
inline constexpr size_t kRelmapFileSize = 512;
inline constexpr size_t kRelmapCrcOffset = 504;
inline constexpr uint32_t kRelmapFileMagic = 0x592717;

// RM_STANDBY_ID
inline constexpr uint8_t kStandbyRunningXacts = 0x10;
inline constexpr size_t kRunningXactsNextXidOffset = 12;

// RM_HEAP_ID, RM_HEAP2_ID
inline constexpr uint8_t kHeapOpMask = 0x70;
inline constexpr uint8_t kHeapInsert = 0x00;
inline constexpr uint8_t kHeapDelete = 0x10;
inline constexpr uint8_t kHeapUpdate = 0x20;
inline constexpr uint8_t kHeapTruncate = 0x30;
inline constexpr uint8_t kHeapHotUpdate = 0x40;
inline constexpr uint8_t kHeapConfirm = 0x50;
inline constexpr uint8_t kHeapLock = 0x60;
inline constexpr uint8_t kHeapInplace = 0x70;
inline constexpr uint8_t kHeap2Visible = 0x40;
inline constexpr uint8_t kHeap2MultiInsert = 0x50;
inline constexpr uint8_t kHeap2LockUpdated = 0x60;
// Where the flags byte stands in each record's main data, and the flags that clear a bit of the
// visibility map without naming its page.
inline constexpr size_t kHeapInsertFlagsOffset = 2;
inline constexpr size_t kHeapDeleteFlagsOffset = 7;
inline constexpr size_t kHeapUpdateFlagsOffset = 7;
inline constexpr size_t kHeapLockFlagsOffset = 7;
inline constexpr size_t kHeap2MultiInsertFlagsOffset = 0;
inline constexpr size_t kHeap2LockUpdatedFlagsOffset = 7;
inline constexpr uint8_t kHeapAllVisibleCleared = 1 << 0;     // insert, multi_insert, delete
inline constexpr uint8_t kHeapOldAllVisibleCleared = 1 << 0;  // update
inline constexpr uint8_t kHeapNewAllVisibleCleared = 1 << 1;  // update
inline constexpr uint8_t kHeapAllFrozenCleared = 1 << 0;      // lock, lock_updated

// RM_HASH_ID: the three records whose block 0, if present, is only locked.
inline constexpr uint8_t kHashMovePageContents = 0x70;
inline constexpr uint8_t kHashSqueezePage = 0x80;
inline constexpr uint8_t kHashDelete = 0x90;

// RM_REPLORIGIN_ID
inline constexpr uint8_t kReploriginSet = 0x00;
inline constexpr uint8_t kReploriginDrop = 0x10;
inline constexpr uint16_t kInvalidReplicationOrigin = 0;
inline constexpr uint16_t kDoNotReplicateId = 0xFFFF;

// RM_LOGICALMSG_ID: where the prefix stands (SizeOfLogicalMessage), and the prefixes of a compute's
// own messages (contrib/zenith/zenith_keep_files.c).
inline constexpr size_t kLogicalMessageHeader = 24;
inline constexpr char kStopFileMessage[] = "zenith stop file";
inline constexpr char kSlotFileMessage[] = "zenith slot file";
inline constexpr char kSlotListMessage[] = "zenith slot list";

// Resource manager numbers (access/rmgr.h).
inline constexpr uint8_t kMaxBuiltinRmgr = 21;
inline constexpr uint8_t kMinCustomRmgr = 128;

}  // namespace zenith

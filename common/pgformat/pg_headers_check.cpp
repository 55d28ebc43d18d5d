// Proves at compile time that what common/pgformat states about PostgreSQL's formats is what the
// installed server headers say. The only C++ file that includes PostgreSQL's server headers; it
// produces no code.

// Ours first: postgres.h defines macros (Min, Max, printf ...) that would disturb them.
#include "common/pgformat/control_file.h"
#include "common/pgformat/page_format.h"
#include "common/pgformat/record_types.h"
#include "common/pgformat/slru_format.h"
#include "common/pgformat/wal_format.h"

// postgres.h and friends are C; declarations only are used here.
extern "C" {
#include "postgres.h"

#include "access/clog.h"
#include "access/commit_ts.h"
#include "access/hash_xlog.h"
#include "access/heapam_xlog.h"
#include "access/multixact.h"
#include "access/rmgr.h"
#include "access/slru.h"
#include "access/transam.h"
#include "access/visibilitymap.h"
#include "access/xact.h"
#include "access/xlog_internal.h"
#include "access/xlogrecord.h"
#include "catalog/catalog.h"
#include "catalog/catversion.h"
#include "catalog/pg_control.h"
#include "catalog/pg_tablespace_d.h"
#include "catalog/storage_xlog.h"
#include "commands/dbcommands_xlog.h"
#include "commands/tablespace.h"
#include "common/relpath.h"
#include "replication/message.h"
#include "replication/origin.h"
#include "replication/slot.h"
#include "storage/bufpage.h"
#include "storage/fsm_internals.h"
#include "storage/standbydefs.h"
#include "utils/relmapper.h"
}

#define SAME(ours, theirs) static_assert((ours) == (theirs), "differs from the server headers")
#define SAME_RMGR(ours, theirs) \
    static_assert(static_cast<int>(zenith::Rmgr::ours) == static_cast<int>(theirs), "rmgr number")

// ---- page_format.h -----------------------------------------------------------------------------
SAME(zenith::kPageSize, BLCKSZ);
SAME(zenith::kRelationSegmentBlocks, RELSEG_SIZE);
SAME(zenith::kSlruPagesPerSegment, SLRU_PAGES_PER_SEGMENT);
SAME(zenith::kDefaultTablespaceOid, DEFAULTTABLESPACE_OID);
SAME(zenith::kGlobalTablespaceOid, GLOBALTABLESPACE_OID);
SAME(zenith::kPgControlVersion, PG_CONTROL_VERSION);
SAME(zenith::kCatalogVersion, CATALOG_VERSION_NO);
SAME(zenith::kPageHeaderSize, SizeOfPageHeaderData);
SAME(zenith::kPageChecksumOffset, offsetof(PageHeaderData, pd_checksum));
SAME(zenith::kPageHeaderSize, MAXALIGN(SizeOfPageHeaderData));
static_assert(__builtin_strcmp(zenith::kTablespaceVersionDirectory,
                               TABLESPACE_VERSION_DIRECTORY) == 0,
              "tablespace version directory");
static_assert(offsetof(PageHeaderData, pd_lsn) == 0, "pd_lsn");
static_assert(offsetof(PageHeaderData, pd_upper) == 14, "pd_upper");
static_assert(offsetof(PageXLogRecPtr, xlogid) == 0 && offsetof(PageXLogRecPtr, xrecoff) == 4,
              "pd_lsn halves");
SAME(zenith::kHeapBlocksPerVmPage,
     (BLCKSZ - MAXALIGN(SizeOfPageHeaderData)) * (BITS_PER_BYTE / BITS_PER_HEAPBLOCK));

// ---- relation_key.h ----------------------------------------------------------------------------
SAME(static_cast<int>(zenith::Fork::kMain), MAIN_FORKNUM);
SAME(static_cast<int>(zenith::Fork::kFsm), FSM_FORKNUM);
SAME(static_cast<int>(zenith::Fork::kVm), VISIBILITYMAP_FORKNUM);
SAME(static_cast<int>(zenith::Fork::kInit), INIT_FORKNUM);
SAME(zenith::kForkCount, MAX_FORKNUM + 1);
static_assert(sizeof(RelFileNode) == 12 && offsetof(RelFileNode, dbNode) == 4 &&
                  offsetof(RelFileNode, relNode) == 8,
              "RelFileNode");

// ---- wal_format.h ------------------------------------------------------------------------------
SAME(zenith::kWalSegmentSize, DEFAULT_XLOG_SEG_SIZE);
SAME(zenith::kWalPageSize, XLOG_BLCKSZ);
SAME(zenith::kWalPageMagic, XLOG_PAGE_MAGIC);
SAME(zenith::kWalPageFirstIsContRecord, XLP_FIRST_IS_CONTRECORD);
SAME(zenith::kWalPageLongHeader, XLP_LONG_HEADER);
SAME(zenith::kWalPageFirstIsOverwriteContRecord, XLP_FIRST_IS_OVERWRITE_CONTRECORD);
SAME(zenith::kWalShortHeaderSize, SizeOfXLogShortPHD);
SAME(zenith::kWalLongHeaderSize, SizeOfXLogLongPHD);
SAME(zenith::kWalRecordHeaderSize, SizeOfXLogRecord);
static_assert(offsetof(XLogPageHeaderData, xlp_magic) == 0, "xlp_magic");
static_assert(offsetof(XLogPageHeaderData, xlp_info) == 2, "xlp_info");
static_assert(offsetof(XLogPageHeaderData, xlp_tli) == 4, "xlp_tli");
static_assert(offsetof(XLogPageHeaderData, xlp_pageaddr) == 8, "xlp_pageaddr");
static_assert(offsetof(XLogPageHeaderData, xlp_rem_len) == 16, "xlp_rem_len");
static_assert(offsetof(XLogLongPageHeaderData, xlp_sysid) == 24, "xlp_sysid");
static_assert(offsetof(XLogLongPageHeaderData, xlp_seg_size) == 32, "xlp_seg_size");
static_assert(offsetof(XLogLongPageHeaderData, xlp_xlog_blcksz) == 36, "xlp_xlog_blcksz");
static_assert(offsetof(XLogRecord, xl_tot_len) == 0, "xl_tot_len");
static_assert(offsetof(XLogRecord, xl_xid) == 4, "xl_xid");
static_assert(offsetof(XLogRecord, xl_prev) == 8, "xl_prev");
static_assert(offsetof(XLogRecord, xl_info) == 16, "xl_info");
static_assert(offsetof(XLogRecord, xl_rmid) == 17, "xl_rmid");
static_assert(offsetof(XLogRecord, xl_crc) == 20, "xl_crc");
SAME(zenith::kBlockForkMask, BKPBLOCK_FORK_MASK);
SAME(zenith::kBlockHasImage, BKPBLOCK_HAS_IMAGE);
SAME(zenith::kBlockHasData, BKPBLOCK_HAS_DATA);
SAME(zenith::kBlockWillInit, BKPBLOCK_WILL_INIT);
SAME(zenith::kBlockSameRel, BKPBLOCK_SAME_REL);
SAME(zenith::kImageHasHole, BKPIMAGE_HAS_HOLE);
SAME(zenith::kImageApply, BKPIMAGE_APPLY);
SAME(zenith::kImageCompressPglz, BKPIMAGE_COMPRESS_PGLZ);
SAME(zenith::kImageCompressLz4, BKPIMAGE_COMPRESS_LZ4);
SAME(zenith::kImageCompressZstd, BKPIMAGE_COMPRESS_ZSTD);
SAME(zenith::kBlockIdDataShort, XLR_BLOCK_ID_DATA_SHORT);
SAME(zenith::kBlockIdDataLong, XLR_BLOCK_ID_DATA_LONG);
SAME(zenith::kBlockIdOrigin, XLR_BLOCK_ID_ORIGIN);
SAME(zenith::kBlockIdToplevelXid, XLR_BLOCK_ID_TOPLEVEL_XID);
SAME(zenith::kMaxBlockId, XLR_MAX_BLOCK_ID);
SAME(zenith::kInfoRmgrMask, static_cast<uint8_t>(~XLR_INFO_MASK));
SAME(zenith::kInfoCheckConsistency, XLR_CHECK_CONSISTENCY);
SAME_RMGR(kXlog, RM_XLOG_ID);
SAME_RMGR(kXact, RM_XACT_ID);
SAME_RMGR(kSmgr, RM_SMGR_ID);
SAME_RMGR(kClog, RM_CLOG_ID);
SAME_RMGR(kDbase, RM_DBASE_ID);
SAME_RMGR(kTblspc, RM_TBLSPC_ID);
SAME_RMGR(kMultixact, RM_MULTIXACT_ID);
SAME_RMGR(kRelmap, RM_RELMAP_ID);
SAME_RMGR(kStandby, RM_STANDBY_ID);
SAME_RMGR(kHeap2, RM_HEAP2_ID);
SAME_RMGR(kHeap, RM_HEAP_ID);
SAME_RMGR(kBtree, RM_BTREE_ID);
SAME_RMGR(kHash, RM_HASH_ID);
SAME_RMGR(kGin, RM_GIN_ID);
SAME_RMGR(kGist, RM_GIST_ID);
SAME_RMGR(kSeq, RM_SEQ_ID);
SAME_RMGR(kSpgist, RM_SPGIST_ID);
SAME_RMGR(kBrin, RM_BRIN_ID);
SAME_RMGR(kCommitTs, RM_COMMIT_TS_ID);
SAME_RMGR(kReplorigin, RM_REPLORIGIN_ID);
SAME_RMGR(kGeneric, RM_GENERIC_ID);
SAME_RMGR(kLogicalMsg, RM_LOGICALMSG_ID);
SAME(zenith::kMaxBuiltinRmgr, static_cast<int>(RM_MAX_BUILTIN_ID));
SAME(zenith::kMinCustomRmgr, RM_MIN_CUSTOM_ID);

// ---- control_file.h: the checkpoint, pg_control and the slot state file -------------------------
SAME(zenith::kCheckPointSize, sizeof(CheckPoint));
static_assert(offsetof(CheckPoint, redo) == 0, "redo");
static_assert(offsetof(CheckPoint, ThisTimeLineID) == 8, "ThisTimeLineID");
static_assert(offsetof(CheckPoint, PrevTimeLineID) == 12, "PrevTimeLineID");
static_assert(offsetof(CheckPoint, fullPageWrites) == 16, "fullPageWrites");
static_assert(offsetof(CheckPoint, nextXid) == 24, "nextXid");
static_assert(offsetof(CheckPoint, nextOid) == 32, "nextOid");
static_assert(offsetof(CheckPoint, nextMulti) == 36, "nextMulti");
static_assert(offsetof(CheckPoint, nextMultiOffset) == 40, "nextMultiOffset");
static_assert(offsetof(CheckPoint, oldestXid) == 44, "oldestXid");
static_assert(offsetof(CheckPoint, oldestXidDB) == 48, "oldestXidDB");
static_assert(offsetof(CheckPoint, oldestMulti) == 52, "oldestMulti");
static_assert(offsetof(CheckPoint, oldestMultiDB) == 56, "oldestMultiDB");
static_assert(offsetof(CheckPoint, time) == 64, "time");
static_assert(offsetof(CheckPoint, oldestCommitTsXid) == 72, "oldestCommitTsXid");
static_assert(offsetof(CheckPoint, newestCommitTsXid) == 76, "newestCommitTsXid");
static_assert(offsetof(CheckPoint, oldestActiveXid) == 80, "oldestActiveXid");
static_assert(sizeof(ControlFileData) == 296, "ControlFileData");
static_assert(PG_CONTROL_FILE_SIZE == 8192, "pg_control file size");
static_assert(MOCK_AUTH_NONCE_LEN == 32, "mock authentication nonce");
static_assert(DB_SHUTDOWNED == 1, "DB_SHUTDOWNED");
static_assert(offsetof(ControlFileData, pg_control_version) == 8, "pg_control_version");
static_assert(offsetof(ControlFileData, catalog_version_no) == 12, "catalog_version_no");
static_assert(offsetof(ControlFileData, state) == 16, "state");
static_assert(offsetof(ControlFileData, time) == 24, "time");
static_assert(offsetof(ControlFileData, checkPoint) == 32, "checkPoint");
static_assert(offsetof(ControlFileData, checkPointCopy) == 40, "checkPointCopy");
static_assert(offsetof(ControlFileData, unloggedLSN) == 128, "unloggedLSN");
static_assert(offsetof(ControlFileData, minRecoveryPoint) == 136, "minRecoveryPoint");
static_assert(offsetof(ControlFileData, minRecoveryPointTLI) == 144, "minRecoveryPointTLI");
static_assert(offsetof(ControlFileData, backupStartPoint) == 152, "backupStartPoint");
static_assert(offsetof(ControlFileData, backupEndPoint) == 160, "backupEndPoint");
static_assert(offsetof(ControlFileData, backupEndRequired) == 168, "backupEndRequired");
static_assert(offsetof(ControlFileData, wal_level) == 172, "wal_level");
static_assert(offsetof(ControlFileData, wal_log_hints) == 176, "wal_log_hints");
static_assert(offsetof(ControlFileData, MaxConnections) == 180, "MaxConnections");
static_assert(offsetof(ControlFileData, max_worker_processes) == 184, "max_worker_processes");
static_assert(offsetof(ControlFileData, max_wal_senders) == 188, "max_wal_senders");
static_assert(offsetof(ControlFileData, max_prepared_xacts) == 192, "max_prepared_xacts");
static_assert(offsetof(ControlFileData, max_locks_per_xact) == 196, "max_locks_per_xact");
static_assert(offsetof(ControlFileData, track_commit_timestamp) == 200, "track_commit_timestamp");
static_assert(offsetof(ControlFileData, maxAlign) == 204, "maxAlign");
static_assert(offsetof(ControlFileData, floatFormat) == 208, "floatFormat");
static_assert(offsetof(ControlFileData, blcksz) == 216, "blcksz");
static_assert(offsetof(ControlFileData, relseg_size) == 220, "relseg_size");
static_assert(offsetof(ControlFileData, xlog_blcksz) == 224, "xlog_blcksz");
static_assert(offsetof(ControlFileData, xlog_seg_size) == 228, "xlog_seg_size");
static_assert(offsetof(ControlFileData, nameDataLen) == 232, "nameDataLen");
static_assert(offsetof(ControlFileData, indexMaxKeys) == 236, "indexMaxKeys");
static_assert(offsetof(ControlFileData, toast_max_chunk_size) == 240, "toast_max_chunk_size");
static_assert(offsetof(ControlFileData, loblksize) == 244, "loblksize");
static_assert(offsetof(ControlFileData, float8ByVal) == 248, "float8ByVal");
static_assert(offsetof(ControlFileData, data_checksum_version) == 252, "data_checksum_version");
static_assert(offsetof(ControlFileData, mock_authentication_nonce) == 256, "nonce");
static_assert(offsetof(ControlFileData, crc) == 288, "crc");
static_assert(sizeof(ReplicationSlotPersistentData) == 184, "ReplicationSlotPersistentData");
static_assert(offsetof(ReplicationSlotPersistentData, name) == 0, "slot name");
static_assert(offsetof(ReplicationSlotPersistentData, database) == 64, "slot database");
static_assert(offsetof(ReplicationSlotPersistentData, persistency) == 68, "slot persistency");
static_assert(offsetof(ReplicationSlotPersistentData, restart_lsn) == 80, "slot restart_lsn");
static_assert(RS_PERSISTENT == 0, "RS_PERSISTENT");

// ---- record_types.h ----------------------------------------------------------------------------
SAME(zenith::kXlogCheckpointShutdown, XLOG_CHECKPOINT_SHUTDOWN);
SAME(zenith::kXlogCheckpointOnline, XLOG_CHECKPOINT_ONLINE);
SAME(zenith::kXlogNoop, XLOG_NOOP);
SAME(zenith::kXlogNextOid, XLOG_NEXTOID);
SAME(zenith::kXlogSwitch, XLOG_SWITCH);
SAME(zenith::kXlogBackupEnd, XLOG_BACKUP_END);
SAME(zenith::kXlogParameterChange, XLOG_PARAMETER_CHANGE);
SAME(zenith::kXlogRestorePoint, XLOG_RESTORE_POINT);
SAME(zenith::kXlogFpwChange, XLOG_FPW_CHANGE);
SAME(zenith::kXlogEndOfRecovery, XLOG_END_OF_RECOVERY);
SAME(zenith::kXlogFpiForHint, XLOG_FPI_FOR_HINT);
SAME(zenith::kXlogFpi, XLOG_FPI);
SAME(zenith::kXlogOverwriteContRecord, XLOG_OVERWRITE_CONTRECORD);
static_assert(sizeof(xl_parameter_change) == 28 &&
                  offsetof(xl_parameter_change, wal_level) == 20 &&
                  offsetof(xl_parameter_change, wal_log_hints) == 24 &&
                  offsetof(xl_parameter_change, track_commit_timestamp) == 25,
              "xl_parameter_change");
SAME(zenith::kXactOpMask, XLOG_XACT_OPMASK);
SAME(zenith::kXactCommit, XLOG_XACT_COMMIT);
SAME(zenith::kXactPrepare, XLOG_XACT_PREPARE);
SAME(zenith::kXactAbort, XLOG_XACT_ABORT);
SAME(zenith::kXactCommitPrepared, XLOG_XACT_COMMIT_PREPARED);
SAME(zenith::kXactAbortPrepared, XLOG_XACT_ABORT_PREPARED);
SAME(zenith::kXactAssignment, XLOG_XACT_ASSIGNMENT);
SAME(zenith::kXactInvalidations, XLOG_XACT_INVALIDATIONS);
SAME(zenith::kXactHasInfo, XLOG_XACT_HAS_INFO);
SAME(zenith::kXinfoHasDbInfo, XACT_XINFO_HAS_DBINFO);
SAME(zenith::kXinfoHasSubxacts, XACT_XINFO_HAS_SUBXACTS);
SAME(zenith::kXinfoHasRelFileNodes, XACT_XINFO_HAS_RELFILENODES);
SAME(zenith::kXinfoHasInvals, XACT_XINFO_HAS_INVALS);
SAME(zenith::kXinfoHasTwoPhase, XACT_XINFO_HAS_TWOPHASE);
SAME(zenith::kXinfoHasOrigin, XACT_XINFO_HAS_ORIGIN);
SAME(zenith::kXinfoHasGid, XACT_XINFO_HAS_GID);
SAME(zenith::kXinfoHasDroppedStats, XACT_XINFO_HAS_DROPPED_STATS);
SAME(zenith::kDroppedStatsItemSize, sizeof(xl_xact_stats_item));
SAME(zenith::kInvalidationMessageSize, sizeof(SharedInvalidationMessage));
SAME(zenith::kXactPrepareHeaderSize, MAXALIGN(sizeof(xl_xact_prepare)));
static_assert(offsetof(xl_xact_prepare, total_len) == 4 && offsetof(xl_xact_prepare, xid) == 8 &&
                  offsetof(xl_xact_prepare, nsubxacts) == 28 &&
                  offsetof(xl_xact_prepare, gidlen) == 54 &&
                  offsetof(xl_xact_prepare, origin_lsn) == 56,
              "xl_xact_prepare");
SAME(zenith::kSmgrCreate, XLOG_SMGR_CREATE);
SAME(zenith::kSmgrTruncate, XLOG_SMGR_TRUNCATE);
SAME(zenith::kSmgrTruncateHeap, SMGR_TRUNCATE_HEAP);
SAME(zenith::kSmgrTruncateVm, SMGR_TRUNCATE_VM);
SAME(zenith::kSmgrTruncateFsm, SMGR_TRUNCATE_FSM);
static_assert(sizeof(xl_smgr_create) == 16 && sizeof(xl_smgr_truncate) == 20, "smgr records");
SAME(zenith::kClogZeroPage, CLOG_ZEROPAGE);
SAME(zenith::kClogTruncate, CLOG_TRUNCATE);
static_assert(sizeof(xl_clog_truncate) == 12, "xl_clog_truncate");
SAME(zenith::kCommitTsZeroPage, COMMIT_TS_ZEROPAGE);
SAME(zenith::kCommitTsTruncate, COMMIT_TS_TRUNCATE);
static_assert(SizeOfCommitTsTruncate == 8, "xl_commit_ts_truncate");
SAME(zenith::kDbaseCreateFileCopy, XLOG_DBASE_CREATE_FILE_COPY);
SAME(zenith::kDbaseCreateWalLog, XLOG_DBASE_CREATE_WAL_LOG);
SAME(zenith::kDbaseDrop, XLOG_DBASE_DROP);
static_assert(sizeof(xl_dbase_create_file_copy_rec) == 16 &&
                  sizeof(xl_dbase_create_wal_log_rec) == 8 && MinSizeOfDbaseDropRec == 8,
              "dbase records");
SAME(zenith::kTblspcCreate, XLOG_TBLSPC_CREATE);
SAME(zenith::kTblspcDrop, XLOG_TBLSPC_DROP);
SAME(zenith::kMultixactZeroOffPage, XLOG_MULTIXACT_ZERO_OFF_PAGE);
SAME(zenith::kMultixactZeroMemPage, XLOG_MULTIXACT_ZERO_MEM_PAGE);
SAME(zenith::kMultixactCreateId, XLOG_MULTIXACT_CREATE_ID);
SAME(zenith::kMultixactTruncateId, XLOG_MULTIXACT_TRUNCATE_ID);
static_assert(SizeOfMultiXactCreate == 12 && sizeof(MultiXactMember) == 8 &&
                  offsetof(MultiXactMember, status) == 4 && SizeOfMultiXactTruncate == 20,
              "multixact records");
SAME(zenith::kRelmapUpdate, XLOG_RELMAP_UPDATE);
static_assert(MinSizeOfRelmapUpdate == 12, "xl_relmap_update");
SAME(zenith::kStandbyRunningXacts, XLOG_RUNNING_XACTS);
SAME(zenith::kRunningXactsNextXidOffset, offsetof(xl_running_xacts, nextXid));
SAME(zenith::kHeapOpMask, XLOG_HEAP_OPMASK);
SAME(zenith::kHeapInsert, XLOG_HEAP_INSERT);
SAME(zenith::kHeapDelete, XLOG_HEAP_DELETE);
SAME(zenith::kHeapUpdate, XLOG_HEAP_UPDATE);
SAME(zenith::kHeapTruncate, XLOG_HEAP_TRUNCATE);
SAME(zenith::kHeapHotUpdate, XLOG_HEAP_HOT_UPDATE);
SAME(zenith::kHeapConfirm, XLOG_HEAP_CONFIRM);
SAME(zenith::kHeapLock, XLOG_HEAP_LOCK);
SAME(zenith::kHeapInplace, XLOG_HEAP_INPLACE);
SAME(zenith::kHeap2Visible, XLOG_HEAP2_VISIBLE);
SAME(zenith::kHeap2MultiInsert, XLOG_HEAP2_MULTI_INSERT);
SAME(zenith::kHeap2LockUpdated, XLOG_HEAP2_LOCK_UPDATED);
SAME(zenith::kHeapInsertFlagsOffset, offsetof(xl_heap_insert, flags));
SAME(zenith::kHeapDeleteFlagsOffset, offsetof(xl_heap_delete, flags));
SAME(zenith::kHeapUpdateFlagsOffset, offsetof(xl_heap_update, flags));
SAME(zenith::kHeapLockFlagsOffset, offsetof(xl_heap_lock, flags));
SAME(zenith::kHeap2MultiInsertFlagsOffset, offsetof(xl_heap_multi_insert, flags));
SAME(zenith::kHeap2LockUpdatedFlagsOffset, offsetof(xl_heap_lock_updated, flags));
SAME(zenith::kHeapAllVisibleCleared, XLH_INSERT_ALL_VISIBLE_CLEARED);
SAME(zenith::kHeapAllVisibleCleared, XLH_DELETE_ALL_VISIBLE_CLEARED);
SAME(zenith::kHeapOldAllVisibleCleared, XLH_UPDATE_OLD_ALL_VISIBLE_CLEARED);
SAME(zenith::kHeapNewAllVisibleCleared, XLH_UPDATE_NEW_ALL_VISIBLE_CLEARED);
SAME(zenith::kHeapAllFrozenCleared, XLH_LOCK_ALL_FROZEN_CLEARED);
SAME(zenith::kHashMovePageContents, XLOG_HASH_MOVE_PAGE_CONTENTS);
SAME(zenith::kHashSqueezePage, XLOG_HASH_SQUEEZE_PAGE);
SAME(zenith::kHashDelete, XLOG_HASH_DELETE);
SAME(zenith::kReploriginSet, XLOG_REPLORIGIN_SET);
SAME(zenith::kReploriginDrop, XLOG_REPLORIGIN_DROP);
SAME(zenith::kInvalidReplicationOrigin, InvalidRepOriginId);
SAME(zenith::kDoNotReplicateId, DoNotReplicateId);
static_assert(offsetof(xl_replorigin_set, node_id) == 8 && offsetof(xl_replorigin_set, force) == 10,
              "xl_replorigin_set");

SAME(zenith::kLogicalMessageHeader, SizeOfLogicalMessage);
static_assert(offsetof(xl_logical_message, dbId) == 0 &&
                  offsetof(xl_logical_message, prefix_size) == 8 &&
                  offsetof(xl_logical_message, message_size) == 16,
              "xl_logical_message");

// ---- slru_format.h -----------------------------------------------------------------------------
SAME(zenith::kFirstNormalXid, FirstNormalTransactionId);
SAME(zenith::kFirstMultiXactId, FirstMultiXactId);
static_assert(MaxMultiXactId == 0xFFFFFFFF && MaxMultiXactOffset == 0xFFFFFFFF, "multixact limits");
SAME(static_cast<int>(zenith::XidStatus::kInProgress), TRANSACTION_STATUS_IN_PROGRESS);
SAME(static_cast<int>(zenith::XidStatus::kCommitted), TRANSACTION_STATUS_COMMITTED);
SAME(static_cast<int>(zenith::XidStatus::kAborted), TRANSACTION_STATUS_ABORTED);
SAME(static_cast<int>(zenith::XidStatus::kSubCommitted), TRANSACTION_STATUS_SUB_COMMITTED);
static_assert(zenith::kXidsPerClogPage == 32768, "two bits for each transaction");
SAME(zenith::kCommitTsEntrySize, sizeof(TimestampTz) + sizeof(RepOriginId));
static_assert(zenith::kXidsPerCommitTsPage == 819, "commit timestamps on a page");
SAME(zenith::kMultisPerOffsetsPage, BLCKSZ / sizeof(MultiXactOffset));
SAME(zenith::kMemberGroupSize, sizeof(TransactionId) * 4 + 4);
static_assert(zenith::kMembersPerPage == 1636, "multixact members on a page");
SAME(zenith::kFsmNodesPerPage, NodesPerPage);
SAME(zenith::kFsmNonLeafNodesPerPage, NonLeafNodesPerPage);
SAME(zenith::kFsmSlotsPerPage, SlotsPerFSMPage);
SAME(zenith::kFsmNodesOffset, MAXALIGN(SizeOfPageHeaderData) + offsetof(FSMPageData, fp_nodes));

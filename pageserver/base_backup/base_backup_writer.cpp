#include "pageserver/base_backup/base_backup_writer.h"

#include <algorithm>
#include <ctime>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "common/base/byte_writer.h"
#include "common/base/crc32c.h"
#include "common/pgformat/control_file.h"
#include "common/pgformat/page_checksum.h"
#include "common/pgformat/page_format.h"
#include "common/pgformat/relation_key.h"
#include "common/pgformat/wal_format.h"
#include "pageserver/base_backup/compute_config.h"
#include "pageserver/base_backup/compute_wal.h"
#include "pageserver/base_backup/slot_files.h"
#include "pageserver/base_backup/tar_stream.h"
#include "pageserver/layers/blob_keys.h"
#include "pageserver/layers/wal_storage.h"
#include "pageserver/wal_receiver/compute_wal_source.h"

namespace zenith {

namespace {

// initdb.c: subdirs[].
const char* const kDirectories[] = {"global",
                                    "pg_wal",
                                    "pg_wal/archive_status",
                                    "pg_commit_ts",
                                    "pg_dynshmem",
                                    "pg_notify",
                                    "pg_serial",
                                    "pg_snapshots",
                                    "pg_subtrans",
                                    "pg_twophase",
                                    "pg_multixact",
                                    "pg_multixact/members",
                                    "pg_multixact/offsets",
                                    "base",
                                    "pg_replslot",
                                    "pg_tblspc",
                                    "pg_stat",
                                    "pg_stat_tmp",
                                    "pg_xact",
                                    "pg_logical",
                                    "pg_logical/snapshots",
                                    "pg_logical/mappings"};

// A file that cannot be opened, so that whoever copies the data directory as the server's user fails
// instead of taking holes for pages: BASE_BACKUP of a walsender (sendFile() of basebackup.c), cp,
// tar. The error shows the name, and no more. Nothing of PostgreSQL's own opens it: the only walk
// over all files of a start, SyncDataDirectory() of fd.c, leaves out what it may not open.
constexpr const char* kCopyGuard = "zenith_compute_do_not_copy_use_zenith_branch_or_pg_dump";

constexpr uint64_t kXactsPerPage = kPageSize * 4;          // CLOG_XACTS_PER_PAGE
constexpr uint32_t kMultiOffsetsPerPage = kPageSize / 4;   // MULTIXACT_OFFSETS_PER_PAGE
constexpr uint32_t kMultiMembersPerPage = kPageSize / 20 * 4;  // MULTIXACT_MEMBERS_PER_PAGE
constexpr uint32_t kReplicationStateMagic = 0x1257DADE;    // REPLICATION_STATE_MAGIC of origin.c
constexpr size_t kPagesPerBatch = 256;

std::string_view PageText(const PageBuffer& page) {
    return {reinterpret_cast<const char*>(page.data()), page.size()};
}

class Writer {
  public:
    Writer(PageReconstructor& reconstructor, std::shared_ptr<Timeline> timeline,
           uint64_t system_identifier, uint64_t term, uint64_t branch_xid, ClusterState state,
           BaseBackupSink& sink)
        : reconstructor_(reconstructor),
          timeline_(std::move(timeline)),
          system_identifier_(system_identifier),
          term_(term),
          branch_xid_(branch_xid),
          state_(std::move(state)),
          at_(state_.record_end),
          tar_(sink) {}

    Status Write() {
        ZENITH_RETURN_IF_ERROR(tar_.File(kCopyGuard, {}, 0));
        ZENITH_RETURN_IF_ERROR(WriteDirectories());
        ZENITH_RETURN_IF_ERROR(WriteConfiguration());
        ZENITH_RETURN_IF_ERROR(WriteRelationMaps());
        ZENITH_RETURN_IF_ERROR(WriteRelations());
        for (SlruKind kind : kSlruKinds) {
            ZENITH_RETURN_IF_ERROR(WriteSlru(kind));
        }
        ZENITH_RETURN_IF_ERROR(WriteTwoPhase());
        ZENITH_RETURN_IF_ERROR(WriteReplicationOrigins());
        ZENITH_RETURN_IF_ERROR(WriteStopFiles());
        if (term_ != 0) {
            ZENITH_RETURN_IF_ERROR(WriteSlot());
        }
        ZENITH_RETURN_IF_ERROR(WriteControlFileAndWal());
        return tar_.Finish();
    }

  private:
    Status WriteDirectories();
    Status WriteConfiguration();
    Status WriteRelationMaps();
    Status WriteRelations();
    Status WriteHoles(const RelForkKey& rel, BlockNumber blocks);
    Status WriteUnlogged(const RelForkKey& init, BlockNumber blocks);
    Status WriteSlru(SlruKind kind);
    Status WriteTwoPhase();
    Status WriteReplicationOrigins();
    Status WriteStopFiles();
    Status WriteSlot();
    Status WriteControlFileAndWal();

    // The blob, or empty when there is none.
    Result<std::string> Blob(const std::string& key);
    // Pages as they follow each other in a file; one that does not exist is zeroes.
    Result<std::string> Pages(const std::vector<PageKey>& keys);
    // Page of `kind` that startup reads whether or not it was ever written: where the next
    // transaction or multixact goes (TrimCLOG(), TrimMultiXact()).
    std::optional<BlockNumber> RequiredSlruPage(SlruKind kind) const;

    PageReconstructor& reconstructor_;
    const std::shared_ptr<Timeline> timeline_;
    const uint64_t system_identifier_;
    const uint64_t term_;
    const uint64_t branch_xid_;
    const ClusterState state_;
    const Lsn at_;
    TarStream tar_;

    std::vector<RelationEntry> relations_;
    std::set<DatabaseKey> databases_;  // those with a relation map: directories of a database
    std::map<std::string, std::string> two_phase_;
    std::map<std::string, std::string> origins_;
    SlotFiles slots_;  // none in a backup of a past LSN
};

Result<std::string> Writer::Blob(const std::string& key) {
    ZENITH_ASSIGN_OR_RETURN(std::optional<std::string> value, timeline_->GetBlob(key, at_));
    return value.value_or("");
}

Result<std::string> Writer::Pages(const std::vector<PageKey>& keys) {
    std::string bytes;
    for (size_t begin = 0; begin < keys.size(); begin += kPagesPerBatch) {
        std::span<const PageKey> batch(keys.data() + begin,
                                       std::min(kPagesPerBatch, keys.size() - begin));
        for (PageReconstructor::PageResult& page : reconstructor_.GetPages(timeline_, batch, at_)) {
            ZENITH_RETURN_IF_ERROR(page.status());
            if (page->has_value()) {
                bytes.append(PageText(**page));
            } else {
                bytes.append(kPageSize, '\0');
            }
        }
    }
    return bytes;
}

Status Writer::WriteDirectories() {
    for (const char* directory : kDirectories) {
        ZENITH_RETURN_IF_ERROR(tar_.Directory(directory));
    }
    ZENITH_ASSIGN_OR_RETURN(auto tablespaces, timeline_->ListBlobs(kTablespaceBlobPrefix, at_));
    const size_t prefix = std::string_view(kTablespaceBlobPrefix).size();
    std::set<Oid> spaces;
    for (const auto& [key, location] : tablespaces) {
        spaces.insert(static_cast<Oid>(std::stoul(key.substr(prefix))));
    }
    ZENITH_ASSIGN_OR_RETURN(relations_, timeline_->ListRelations(at_));
    ZENITH_ASSIGN_OR_RETURN(std::vector<DatabaseKey> databases, timeline_->ListDatabases(at_));
    // A relation in another tablespace than its database's own makes a directory, too.
    std::set<DatabaseKey> directories(databases.begin(), databases.end());
    for (const RelationEntry& entry : relations_) {
        directories.insert({entry.rel.node.spc, entry.rel.node.db});
    }
    for (const DatabaseKey& db : directories) {
        if (db.spc != kDefaultTablespaceOid && db.spc != kGlobalTablespaceOid) {
            spaces.insert(db.spc);
        }
    }
    // Wherever a tablespace was, on a compute it is a directory below pg_tblspc.
    for (Oid space : spaces) {
        const std::string path = "pg_tblspc/" + std::to_string(space);
        ZENITH_RETURN_IF_ERROR(tar_.Directory(path));
        ZENITH_RETURN_IF_ERROR(tar_.Directory(path + "/" + kTablespaceVersionDirectory));
    }
    for (const DatabaseKey& db : directories) {
        if (db.db == 0) {
            continue;  // global
        }
        ZENITH_RETURN_IF_ERROR(tar_.Directory(DatabaseDirectory(db)));
        ZENITH_ASSIGN_OR_RETURN(std::string map, Blob(RelmapBlobKey(db)));
        if (!map.empty()) {
            databases_.insert(db);
        }
    }
    ZENITH_ASSIGN_OR_RETURN(two_phase_, timeline_->ListBlobs(kTwoPhaseBlobPrefix, at_));
    ZENITH_ASSIGN_OR_RETURN(origins_, timeline_->ListBlobs(kReplicationOriginBlobPrefix, at_));
    if (term_ != 0) {
        ZENITH_ASSIGN_OR_RETURN(slots_, ReadSlotFiles(*timeline_, at_));
    }
    return Status::Ok();
}

Status Writer::WriteConfiguration() {
    const std::string prefix = kFileBlobPrefix;
    for (const char* name :
         {"PG_VERSION", "pg_hba.conf", "pg_ident.conf", "postgresql.auto.conf"}) {
        ZENITH_ASSIGN_OR_RETURN(std::string content, Blob(prefix + name));
        ZENITH_RETURN_IF_ERROR(tar_.File(name, content));
    }
    ZENITH_ASSIGN_OR_RETURN(std::string own, Blob(prefix + "postgresql.conf"));
    ZENITH_RETURN_IF_ERROR(tar_.File("postgresql.conf", WithIncludes(own)));
    ComputeConfig config;
    config.timeline = timeline_->id();
    config.term = term_;
    config.start_lsn = at_;
    config.branch_xid = branch_xid_;
    if (!two_phase_.empty()) {
        config.min_prepared_transactions =
            std::max(state_.max_prepared_xacts, static_cast<int>(two_phase_.size()));
    }
    config.replication_origins = static_cast<int>(origins_.size());
    config.logical_slots = slots_.slots;
    return tar_.File("zenith.conf", ZenithConf(config));
}

Status Writer::WriteRelationMaps() {
    ZENITH_ASSIGN_OR_RETURN(std::string shared, Blob(RelmapBlobKey({kGlobalTablespaceOid, 0})));
    if (shared.empty()) {
        return Status::Corruption("timeline " + timeline_->id().ToString() +
                                  " has no shared relation map at " + at_.ToString());
    }
    ZENITH_RETURN_IF_ERROR(tar_.File("global/pg_filenode.map", shared));
    ZENITH_ASSIGN_OR_RETURN(std::string version, Blob(std::string(kFileBlobPrefix) + "PG_VERSION"));
    for (const DatabaseKey& db : databases_) {
        ZENITH_ASSIGN_OR_RETURN(std::string map, Blob(RelmapBlobKey(db)));
        const std::string directory = DatabaseDirectory(db);
        ZENITH_RETURN_IF_ERROR(tar_.File(directory + "/PG_VERSION", version));
        ZENITH_RETURN_IF_ERROR(tar_.File(directory + "/pg_filenode.map", map));
    }
    return Status::Ok();
}

// ---- relations ----------------------------------------------------------------------------------

Status Writer::WriteHoles(const RelForkKey& rel, BlockNumber blocks) {
    uint32_t segment = 0;
    do {
        BlockNumber here = std::min(blocks, kRelationSegmentBlocks);
        ZENITH_RETURN_IF_ERROR(tar_.Hole(RelationSegmentPath(rel, segment),
                                         static_cast<uint64_t>(here) * kPageSize));
        blocks -= here;
        segment++;
    } while (blocks > 0);
    return Status::Ok();
}

// Startup without recovery does not reset unlogged relations (ResetUnloggedRelations()), so their
// main fork is made here: what a crash leaves of them, a copy of the init fork.
Status Writer::WriteUnlogged(const RelForkKey& init, BlockNumber blocks) {
    std::vector<PageKey> keys;
    for (BlockNumber block = 0; block < blocks; block++) {
        keys.push_back(PageKey::Relation(init, block));
    }
    ZENITH_ASSIGN_OR_RETURN(std::string bytes, Pages(keys));
    if (state_.data_checksum_version != 0) {
        // Redo leaves none. The main fork's are the same: they depend on the block's number only.
        for (BlockNumber block = 0; block < blocks; block++) {
            SetPageChecksum(PageSpan(reinterpret_cast<std::byte*>(bytes.data()) +
                                         static_cast<size_t>(block) * kPageSize,
                                     kPageSize),
                            block);
        }
    }
    if (blocks > kRelationSegmentBlocks) {
        return Status::Corruption("init fork " + init.ToString() + " has " +
                                  std::to_string(blocks) + " blocks");
    }
    ZENITH_RETURN_IF_ERROR(tar_.File(RelationSegmentPath(init, 0), bytes));
    return tar_.File(RelationSegmentPath({init.node, Fork::kMain}, 0), bytes);
}

Status Writer::WriteRelations() {
    std::set<RelFileNode> unlogged;
    for (const RelationEntry& entry : relations_) {
        if (entry.rel.fork == Fork::kInit) {
            unlogged.insert(entry.rel.node);
        }
    }
    for (const RelationEntry& entry : relations_) {
        if (entry.rel.fork == Fork::kInit) {
            ZENITH_RETURN_IF_ERROR(WriteUnlogged(entry.rel, entry.blocks));
        } else if (!unlogged.contains(entry.rel.node)) {
            ZENITH_RETURN_IF_ERROR(WriteHoles(entry.rel, entry.blocks));
        }
    }
    return Status::Ok();
}

// ---- transaction state --------------------------------------------------------------------------

std::optional<BlockNumber> Writer::RequiredSlruPage(SlruKind kind) const {
    switch (kind) {
        case SlruKind::kXact:
            return static_cast<BlockNumber>((state_.next_xid & 0xFFFFFFFFu) / kXactsPerPage);
        case SlruKind::kMultiOffsets:
            return state_.next_multi / kMultiOffsetsPerPage;
        case SlruKind::kMultiMembers:
            return state_.next_multi_offset / kMultiMembersPerPage;
        case SlruKind::kCommitTs:
            break;  // ActivateCommitTs() makes its page
    }
    return std::nullopt;
}

Status Writer::WriteSlru(SlruKind kind) {
    ZENITH_ASSIGN_OR_RETURN(std::vector<BlockNumber> list, timeline_->ListSlruPages(kind, at_));
    std::set<BlockNumber> pages(list.begin(), list.end());
    if (std::optional<BlockNumber> required = RequiredSlruPage(kind)) {
        pages.insert(*required);
    }
    while (!pages.empty()) {
        // One segment file, up to its last page.
        BlockNumber segment = *pages.begin() / kSlruPagesPerSegment;
        std::vector<PageKey> keys;
        while (!pages.empty() && *pages.begin() / kSlruPagesPerSegment == segment) {
            BlockNumber page = *pages.begin();
            pages.erase(pages.begin());
            BlockNumber next = segment * kSlruPagesPerSegment + static_cast<uint32_t>(keys.size());
            for (; next <= page; next++) {
                keys.push_back(PageKey::Slru(kind, next));
            }
        }
        ZENITH_ASSIGN_OR_RETURN(std::string bytes, Pages(keys));
        char name[16];
        std::snprintf(name, sizeof name, "/%04X", segment);
        ZENITH_RETURN_IF_ERROR(tar_.File(std::string(SlruDirectory(kind)) + name, bytes));
    }
    return Status::Ok();
}

Status Writer::WriteTwoPhase() {
    const size_t prefix = std::string_view(kTwoPhaseBlobPrefix).size();
    for (const auto& [key, bytes] : two_phase_) {
        ZENITH_RETURN_IF_ERROR(tar_.File("pg_twophase/" + key.substr(prefix), bytes));
    }
    return Status::Ok();
}

// As CheckPointReplicationOrigin() of origin.c writes it.
Status Writer::WriteReplicationOrigins() {
    if (origins_.empty()) {
        return Status::Ok();
    }
    const size_t prefix = std::string_view(kReplicationOriginBlobPrefix).size();
    ByteWriter out;
    out.U32Le(kReplicationStateMagic);
    for (const auto& [key, remote_lsn] : origins_) {
        if (remote_lsn.size() != 8) {
            return Status::Corruption("blob " + key + " is not an LSN");
        }
        out.U16Le(static_cast<uint16_t>(std::stoul(key.substr(prefix))));
        out.Zeros(6);
        out.Text(remote_lsn);
    }
    out.U32Le(Crc32c(out.bytes()));
    return tar_.File("pg_logical/replorigin_checkpoint", out.buffer());
}

// What the compute that was shut down exactly here left.
Status Writer::WriteStopFiles() {
    const std::string prefix = kStopFileBlobPrefix;
    ZENITH_ASSIGN_OR_RETURN(auto files, timeline_->ListBlobs(prefix, at_));
    for (const auto& [key, content] : files) {
        ZENITH_RETURN_IF_ERROR(tar_.File(key.substr(prefix.size()), content));
    }
    return Status::Ok();
}

Status Writer::WriteSlot() {
    const std::string directory = std::string("pg_replslot/") + kReplicationSlotName;
    ZENITH_RETURN_IF_ERROR(tar_.Directory(directory));
    ZENITH_RETURN_IF_ERROR(
        tar_.File(directory + "/state", EncodePhysicalSlotState(kReplicationSlotName, at_)));
    for (const auto& [path, content] : slots_.files) {
        if (path.starts_with("pg_replslot/")) {
            ZENITH_RETURN_IF_ERROR(tar_.Directory(path.substr(0, path.rfind('/'))));
        }
        ZENITH_RETURN_IF_ERROR(tar_.File(path, content));
    }
    return Status::Ok();
}

Status Writer::WriteControlFileAndWal() {
    CheckPointFields fields;
    fields.full_page_writes = state_.full_page_writes;
    fields.next_xid = state_.next_xid;
    fields.next_oid = state_.next_oid;
    fields.next_multi = state_.next_multi;
    fields.next_multi_offset = state_.next_multi_offset;
    fields.oldest_xid = state_.oldest_xid;
    fields.oldest_xid_db = state_.oldest_xid_db;
    fields.oldest_multi = state_.oldest_multi;
    fields.oldest_multi_db = state_.oldest_multi_db;
    fields.time = std::time(nullptr);
    fields.oldest_commit_ts_xid = state_.oldest_commit_ts_xid;
    fields.newest_commit_ts_xid = state_.newest_commit_ts_xid;

    std::vector<std::byte> prefix(at_.value % kWalPageSize);
    if (!prefix.empty()) {
        Status status = timeline_->wal().Read(at_ - prefix.size(), prefix);
        if (status.code() == StatusCode::kNotFound) {
            // A retained point whose WAL is gone: nothing reads what is before it on the page.
            prefix.clear();
        } else {
            ZENITH_RETURN_IF_ERROR(status);
        }
    }
    CheckpointWal wal =
        SynthesizeCheckpointWal(at_, state_.record_start, system_identifier_, fields, prefix);
    fields.redo = wal.record_start;

    ControlFile control;
    control.system_identifier = system_identifier_;
    control.time = fields.time;
    control.check_point = wal.record_start;
    control.check_point_copy = fields;
    control.unlogged_lsn = state_.unlogged_lsn;
    control.wal_level = state_.wal_level;
    control.wal_log_hints = state_.wal_log_hints;
    control.max_connections = state_.max_connections;
    control.max_worker_processes = state_.max_worker_processes;
    control.max_wal_senders = state_.max_wal_senders;
    control.max_prepared_xacts = state_.max_prepared_xacts;
    control.max_locks_per_xact = state_.max_locks_per_xact;
    control.track_commit_timestamp = state_.track_commit_timestamp;
    control.data_checksum_version = state_.data_checksum_version;
    // The cluster's own nonce: answers to unknown users must not change from start to start.
    ZENITH_ASSIGN_OR_RETURN(std::string original,
                            Blob(std::string(kFileBlobPrefix) + "global/pg_control"));
    auto first = DecodeControlFile(std::as_bytes(std::span(original.data(), original.size())));
    if (first.ok()) {
        control.mock_authentication_nonce = first->mock_authentication_nonce;
    }
    ZENITH_RETURN_IF_ERROR(tar_.File("global/pg_control", EncodeControlFile(control)));

    return WriteComputeWal(*timeline_, at_, wal, slots_.wal_from, tar_);
}

}  // namespace

Status WriteBaseBackup(TimelineManager& manager, PageReconstructor& reconstructor,
                       const TimelineId& id, std::optional<Lsn> lsn, BaseBackupSink& sink) {
    ZENITH_ASSIGN_OR_RETURN(std::shared_ptr<Timeline> timeline, manager.Get(id));
    uint64_t term = 0;
    ClusterState state;
    if (lsn.has_value()) {
        ZENITH_ASSIGN_OR_RETURN(state, manager.StateAt(id, lsn));
    } else {
        ZENITH_ASSIGN_OR_RETURN(TimelineManager::WriteGrant grant, manager.GrantWriter(id));
        term = grant.term;
        state = std::move(grant.state);
    }
    // Pages are sent as config.json says; a compute that expects something else cannot even start.
    if ((state.data_checksum_version != 0) != manager.config().data_checksums) {
        return Status::Corruption(
            std::string("the cluster has ") +
                (manager.config().data_checksums ? "no data checksums" : "data checksums") +
                ", config.json says otherwise",
            "Set \"data_checksums\" in config.json to what \"zenith init\" was told.");
    }
    uint64_t branch_xid = 0;
    if (timeline->parent() != nullptr) {
        // A backup may be of an LSN before the branch point.
        const Lsn branched_at = std::min(state.record_end, timeline->start_lsn());
        ZENITH_ASSIGN_OR_RETURN(ClusterState branched, manager.StateAt(id, branched_at));
        branch_xid = branched.next_xid;
    }
    Writer writer(reconstructor, std::move(timeline), manager.config().system_identifier, term,
                  branch_xid, std::move(state), sink);
    return writer.Write();
}

}  // namespace zenith

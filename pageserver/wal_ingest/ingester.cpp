#include "pageserver/wal_ingest/ingester.h"

#include <string>

#include "common/base/byte_reader.h"
#include "common/pgformat/record_types.h"
#include "common/pgformat/slru_format.h"
#include "pageserver/layers/blob_keys.h"
#include "pageserver/wal_ingest/record_ingest.h"

namespace zenith {

namespace {
constexpr uint64_t kStateInterval = 64 * 1024;  // bytes of WAL between two saved states
}

class Ingester::Impl {
  public:
    Impl(Timeline& timeline, ClusterState state) : context_(timeline, state) {
        context_.latest_clog_page = ClogPage(static_cast<TransactionId>(state.next_xid));
        context_.latest_offsets_page = MultiOffsetsPage(state.next_multi);
        failure_ = LoadReplicationOrigins();
        if (failure_.ok()) {
            failure_ = LoadKeys(kStopFileBlobPrefix, &context_.stop_files);
        }
        if (failure_.ok()) {
            failure_ = LoadKeys(SlotFileBlobPrefix(timeline.id()), &context_.slot_files);
        }
    }

    Status IngestRecord(const RecordAssembler::Record& raw) {
        ZENITH_RETURN_IF_ERROR(failure_);
        ZENITH_RETURN_IF_ERROR(DecodeRecord(raw.start, raw.end, raw.bytes, &record_));
        if (static_cast<uint8_t>(record_.rmgr) >= kMinCustomRmgr && record_.max_block_id >= 0) {
            return Status::Refused(
                "WAL record at " + record_.start.ToString() + " of custom resource manager " +
                    std::to_string(static_cast<int>(record_.rmgr)) +
                    " changes pages, which only its own library can replay",
                "Remove the extension that brings this resource manager from "
                "shared_preload_libraries and branch from before this LSN.");
        }
        context_.timeline.StartRecord(record_.start, record_.end);
        Status status = IndexRecord();
        if (!status.ok()) {
            // Half of it may be in the index.
            context_.timeline.AbandonRecord();
            return status;
        }
        if (!saved_at_.valid() || record_.end - saved_at_ >= kStateInterval) {
            PutState();
        }
        return Status::Ok();
    }

    void SaveState() {
        if (saved_at_ != context_.state.record_end) {
            context_.timeline.StartRecord(context_.state.record_start, context_.state.record_end);
            PutState();
        }
    }

    const ClusterState& state() const { return context_.state; }

  private:
    void PutState() {
        context_.timeline.PutBlob(kClusterStateBlobKey, context_.state.Serialize());
        saved_at_ = context_.state.record_end;
    }

    Status LoadReplicationOrigins() {
        Timeline& timeline = context_.timeline;
        Result<std::map<std::string, std::string>> blobs =
            timeline.ListBlobs(kReplicationOriginBlobPrefix, timeline.last_record_end());
        if (!blobs.ok()) {
            return blobs.status();
        }
        for (const auto& [key, value] : *blobs) {
            const std::string node = key.substr(sizeof kReplicationOriginBlobPrefix - 1);
            ByteReader reader(std::as_bytes(std::span(value.data(), value.size())));
            const Lsn remote_lsn(reader.U64Le());
            if (!reader.ok()) {
                return Status::Corruption("replication origin " + node +
                                          " has no position in timeline " +
                                          timeline.id().ToString());
            }
            context_.replication_origins[static_cast<uint16_t>(std::strtoul(
                node.c_str(), nullptr, 10))] = remote_lsn;
        }
        return Status::Ok();
    }

    Status LoadKeys(const std::string& prefix, std::set<std::string>* keys) {
        Timeline& timeline = context_.timeline;
        Result<std::map<std::string, std::string>> blobs =
            timeline.ListBlobs(prefix, timeline.last_record_end());
        if (!blobs.ok()) {
            return blobs.status();
        }
        for (const auto& [key, value] : *blobs) {
            keys->insert(key);
        }
        return Status::Ok();
    }

    Status IndexRecord() {
        if (!context_.stop_files.empty() && EndsStop(record_)) {
            for (const std::string& key : context_.stop_files) {
                context_.timeline.DropBlob(key);
            }
            context_.stop_files.clear();
        }
        ZENITH_RETURN_IF_ERROR(IngestBlockReferences(context_, record_));
        ZENITH_RETURN_IF_ERROR(IngestByResourceManager());
        return context_.state.Apply(record_);
    }

    // What the record changes beyond its block references; README.md has the whole table.
    Status IngestByResourceManager() {
        switch (record_.rmgr) {
            case Rmgr::kXlog:
                return IngestXlog(context_, record_);
            case Rmgr::kXact:
                return IngestXact(context_, record_);
            case Rmgr::kSmgr:
                return IngestSmgr(context_, record_);
            case Rmgr::kClog:
                return IngestClog(context_, record_);
            case Rmgr::kDbase:
                return IngestDbase(context_, record_);
            case Rmgr::kTblspc:
                return IngestTblspc(context_, record_);
            case Rmgr::kMultixact:
                return IngestMultixact(context_, record_);
            case Rmgr::kRelmap:
                return IngestRelmap(context_, record_);
            case Rmgr::kHeap2:
            case Rmgr::kHeap:
                return IngestHeap(context_, record_);
            case Rmgr::kCommitTs:
                return IngestCommitTs(context_, record_);
            case Rmgr::kReplorigin:
                return IngestReplorigin(context_, record_);
            case Rmgr::kLogicalMsg:
                return IngestLogicalMessage(context_, record_);
            case Rmgr::kStandby:  // the state takes the next transaction id from it
            case Rmgr::kBtree:
            case Rmgr::kHash:
            case Rmgr::kGin:
            case Rmgr::kGist:
            case Rmgr::kSeq:
            case Rmgr::kSpgist:
            case Rmgr::kBrin:
            case Rmgr::kGeneric:
                return Status::Ok();
        }
        if (static_cast<uint8_t>(record_.rmgr) >= kMinCustomRmgr) {
            return Status::Ok();  // without block references: nothing we keep
        }
        return BadRecord(record_, "unknown resource manager");
    }

    IngestContext context_;
    Status failure_;
    DecodedRecord record_;
    Lsn saved_at_;
};

Ingester::Ingester(Timeline& timeline, ClusterState state)
    : impl_(std::make_unique<Impl>(timeline, state)) {}
Ingester::~Ingester() = default;

Status Ingester::IngestRecord(const RecordAssembler::Record& record) {
    return impl_->IngestRecord(record);
}

void Ingester::SaveState() { impl_->SaveState(); }

const ClusterState& Ingester::state() const { return impl_->state(); }

}  // namespace zenith

#include "pageserver/inspect/deep_check.h"

#include <algorithm>
#include <cstring>
#include <memory>
#include <optional>
#include <span>
#include <string>

#include "common/pgformat/wal_format.h"
#include "pageserver/layers/layer_cursor.h"
#include "pageserver/layers/wal_storage.h"
#include "pageserver/reconstruct/page_reconstructor.h"
#include "pageserver/wal_decoder/decoded_record.h"
#include "pageserver/wal_ingest/cluster_state.h"
#include "pageserver/wal_ingest/ingester.h"

namespace zenith {

namespace {

constexpr size_t kBatch = 128;
constexpr size_t kCacheBytes = 8 << 20;
constexpr uint64_t kProgressEvery = 100000;  // pages or entries

// The record names the page, or is one that is known to change pages it does not name: a heap record
// that clears a bit of the visibility map, or what native redo applies.
bool NamesPage(const DecodedRecord& record, const PageKey& key, uint8_t flags) {
    if ((flags & kRefNative) != 0) {
        return true;
    }
    for (int i = 0; i <= record.max_block_id; i++) {
        const DecodedBlock& block = record.blocks[static_cast<size_t>(i)];
        if (!block.in_use) {
            continue;
        }
        if (block.rel == key.relation() && block.block == key.block) {
            return true;
        }
        if (key.fork == Fork::kVm && block.rel == RelForkKey{key.node, Fork::kMain} &&
            (record.rmgr == Rmgr::kHeap || record.rmgr == Rmgr::kHeap2) &&
            block.block / kHeapBlocksPerVmPage == key.block) {
            return true;
        }
    }
    return false;
}

class DeepChecker {
  public:
    DeepChecker(const DeepCheck& check, Findings* findings, const Progress& progress)
        : opened_(*check.opened),
          timeline_(opened_.timeline),
          check_(check),
          findings_(findings),
          progress_(progress),
          reconstructor_(*check.redo, kCacheBytes) {}

    uint64_t Run() {
        for (const auto& layer : opened_.layers) {
            CheckReferences(*layer);
        }
        CheckState();
        CheckPages();
        return pages_;
    }

  private:
    void Tell(const std::string& what) {
        if (progress_) {
            progress_("timeline " + timeline_->id().ToString() + ": " + what);
        }
    }
    std::string PathOf(const DeltaLayerFile& layer) const {
        return check_.repository->LayerDirectory(timeline_->id()) + "/" +
               DeltaLayerFileName(layer.entry());
    }
    void Error(const std::string& file, const std::string& what, Lsn lsn) {
        Finding finding;
        finding.file = file;
        finding.what = what;
        finding.timeline = timeline_->id();
        finding.lsn = lsn;
        findings_->Add(std::move(finding));
    }
    void CheckReferences(const DeltaLayerFile& layer);
    Status CheckEntries(const DeltaLayerFile& layer);
    void CheckReference(const DeltaLayerFile& layer, const PageKey& key, const DeltaEntry& entry);
    void CheckState();
    void CheckPages();
    // What is to be seen at `at` and was not at `before`, the LSN looked at last.
    Status CheckPagesAt(Lsn at, Lsn before);
    Status CheckRelation(const RelationEntry& relation, Lsn at, Lsn before);
    Status CheckPage(const PageKey& key, Lsn at, Lsn before);
    void RebuildBatch(Lsn at);

    const ReadOnlyTimeline& opened_;
    const std::shared_ptr<Timeline> timeline_;
    const DeepCheck& check_;
    Findings* const findings_;
    const Progress& progress_;
    PageReconstructor reconstructor_;
    std::vector<PageKey> batch_;
    std::string record_bytes_;
    Lsn record_start_;  // of record_, which is in record_bytes_
    DecodedRecord record_;
    uint64_t pages_ = 0;
    uint64_t looked_at_ = 0;
};

void DeepChecker::CheckReferences(const DeltaLayerFile& layer) {
    if (!layer.damage().ok()) {
        return;  // told of already
    }
    Tell("references of " + DeltaLayerFileName(layer.entry()));
    Status status = CheckEntries(layer);
    if (!status.ok()) {
        findings_->Error(PathOf(layer), status, timeline_->id());
    }
}

Status DeepChecker::CheckEntries(const DeltaLayerFile& layer) {
    ZENITH_ASSIGN_OR_RETURN(std::unique_ptr<LayerCursor> cursor, layer.NewCursor());
    for (;;) {
        ZENITH_ASSIGN_OR_RETURN(bool more, cursor->NextKey());
        if (!more) {
            return Status::Ok();
        }
        if (cursor->kind() != DeltaBlockKind::kPages) {
            continue;
        }
        const PageKey key = DecodePageKey(cursor->key());
        for (;;) {
            ZENITH_ASSIGN_OR_RETURN(const DeltaEntry* entry, cursor->NextEntry());
            if (entry == nullptr) {
                break;
            }
            if (DeltaPageWhat(entry->number) < kDeltaPageTombstone) {
                CheckReference(layer, key, *entry);
            }
        }
    }
}

void DeepChecker::CheckReference(const DeltaLayerFile& layer, const PageKey& key,
                                 const DeltaEntry& entry) {
    const Lsn start = entry.lsn - DeltaPageExtent(entry.number);
    const auto flags = static_cast<uint8_t>(DeltaPageWhat(entry.number));
    if (start < layer.oldest_record()) {
        Error(PathOf(layer), "an entry of " + key.ToString() + " refers to WAL before " +
                                 layer.oldest_record().ToString() +
                                 ", the oldest that the layer says it needs", start);
    }
    // A record that touches many pages is often the next entry's, too.
    if (start != record_start_) {
        record_start_ = Lsn();
        record_bytes_.clear();
        Status status = timeline_->wal().ReadRecord(start, entry.lsn, &record_bytes_);
        if (status.ok()) {
            status = DecodeRecord(
                start, entry.lsn,
                std::as_bytes(std::span(record_bytes_.data(), record_bytes_.size())), &record_);
        }
        if (!status.ok()) {
            Error(PathOf(layer), "an entry of " + key.ToString() +
                                     " leads to no WAL record: " + status.message(), start);
            return;
        }
        record_start_ = start;
    }
    if (!NamesPage(record_, key, flags)) {
        Error(PathOf(layer), "an entry of " + key.ToString() +
                                 " leads to a WAL record that does not name it", start);
    }
}

void DeepChecker::CheckState() {
    const Lsn end = timeline_->last_record_end();
    auto state = ClusterStateAt(*timeline_, end, opened_.system_identifier);
    const std::string directory = check_.repository->TimelineDirectory(timeline_->id());
    if (!state.ok()) {
        findings_->Error(directory, state.status(), timeline_->id());
    } else if (state->record_end != end) {
        Error(directory, "the cluster's state is known as of " + state->record_end.ToString() +
                             " only", end);
    }
}

void DeepChecker::CheckPages() {
    std::vector<Lsn> points = check_.points;
    points.insert(points.end(), opened_.manifest.points.begin(), opened_.manifest.points.end());
    points.push_back(timeline_->last_record_end());
    std::sort(points.begin(), points.end());
    points.erase(std::unique(points.begin(), points.end()), points.end());
    // The parent was looked at at the branch point.
    Lsn before = timeline_->parent() != nullptr ? timeline_->start_lsn() : Lsn();
    const std::string directory = check_.repository->TimelineDirectory(timeline_->id());
    for (Lsn at : points) {
        Status status = CheckPagesAt(at, before);
        if (!status.ok()) {
            findings_->Error(directory, status.WithContext("pages at " + at.ToString()),
                             timeline_->id());
        }
        before = at;
    }
}

Status DeepChecker::CheckPagesAt(Lsn at, Lsn before) {
    Tell("pages at " + at.ToString());
    ZENITH_ASSIGN_OR_RETURN(std::vector<RelationEntry> relations, timeline_->ListRelations(at));
    for (const RelationEntry& relation : relations) {
        ZENITH_RETURN_IF_ERROR(CheckRelation(relation, at, before));
    }
    for (SlruKind kind : kSlruKinds) {
        ZENITH_ASSIGN_OR_RETURN(std::vector<BlockNumber> blocks,
                                timeline_->ListSlruPages(kind, at));
        for (BlockNumber block : blocks) {
            ZENITH_RETURN_IF_ERROR(CheckPage(PageKey::Slru(kind, block), at, before));
        }
    }
    RebuildBatch(at);
    return timeline_->ListBlobs("", at).status();
}

Status DeepChecker::CheckRelation(const RelationEntry& relation, Lsn at, Lsn before) {
    ZENITH_ASSIGN_OR_RETURN(std::optional<BlockNumber> size,
                            timeline_->RelationSize(relation.rel, at));
    if (size != relation.blocks) {
        Error(check_.repository->TimelineDirectory(timeline_->id()),
              "relation " + relation.rel.ToString() + " has " + std::to_string(relation.blocks) +
                  " blocks in the list of relations, but " +
                  (size ? std::to_string(*size) : "none") + " when it is asked for", at);
    }
    for (BlockNumber block = 0; block < relation.blocks; block++) {
        ZENITH_RETURN_IF_ERROR(CheckPage(PageKey::Relation(relation.rel, block), at, before));
    }
    const PageKey behind = PageKey::Relation(relation.rel, relation.blocks);
    ZENITH_ASSIGN_OR_RETURN(PageHistory history, timeline_->CollectPage(behind, at));
    if (history.exists()) {
        Error(check_.repository->TimelineDirectory(timeline_->id()),
              "there is " + behind.ToString() + ", behind the relation's end", at);
    }
    return Status::Ok();
}

Status DeepChecker::CheckPage(const PageKey& key, Lsn at, Lsn before) {
    if (++looked_at_ % kProgressEvery == 0) {
        Tell(std::to_string(looked_at_) + " pages looked at, " + std::to_string(pages_) +
             " rebuilt");
    }
    Result<PageHistory> history = timeline_->CollectPage(key, at);
    if (!history.ok()) {
        findings_->Error(check_.repository->TimelineDirectory(timeline_->id()),
                         history.status().WithContext(key.ToString() + " at " + at.ToString()),
                         timeline_->id());
        return Status::Ok();
    }
    if (!history->exists()) {
        return Status::Ok();  // all zero
    }
    const Lsn version =
        history->records.empty() ? history->base_lsn : history->records.back().end;
    if (version > before) {
        batch_.push_back(key);
        if (batch_.size() == kBatch) {
            RebuildBatch(at);
        }
    }
    return Status::Ok();
}

void DeepChecker::RebuildBatch(Lsn at) {
    auto results = reconstructor_.GetPages(timeline_, batch_, at);
    const std::string directory = check_.repository->TimelineDirectory(timeline_->id());
    for (size_t i = 0; i < results.size(); i++) {
        pages_++;
        if (!results[i].ok()) {
            findings_->Error(directory, results[i].status().WithContext("at " + at.ToString()),
                             timeline_->id());
            continue;
        }
        const std::optional<PageBuffer>& page = *results[i];
        if (!page.has_value() || batch_[i].is_slru) {
            continue;
        }
        if (const char* wrong = WrongWithPage(*page, at)) {
            Error(directory, batch_[i].ToString() + " is no page: " + wrong, at);
        }
    }
    batch_.clear();
}

}  // namespace

const char* WrongWithPage(ConstPageSpan page, Lsn at) {
    if (PageIsNew(page)) {
        return PageIsAllZero(page) ? nullptr : "a new page that is not all zero";
    }
    auto number = [&](size_t offset) {
        uint16_t value;
        std::memcpy(&value, page.data() + offset, sizeof value);
        return value;
    };
    // PageHeaderData of storage/bufpage.h.
    const uint16_t flags = number(10);
    const uint16_t lower = number(12);
    const uint16_t upper = number(14);
    const uint16_t special = number(16);
    const uint16_t size_and_version = number(18);
    constexpr uint16_t kValidFlags = 0x0007;       // PD_VALID_FLAG_BITS
    constexpr uint16_t kSizeAndVersion = 0x2004;  // BLCKSZ | PG_PAGE_LAYOUT_VERSION
    if ((flags & ~kValidFlags) != 0) {
        return "invalid flags in its header";
    }
    if (lower < kPageHeaderSize || lower > upper || upper > special || special > kPageSize ||
        special % 8 != 0) {
        return "invalid places in its header";
    }
    if (size_and_version != kSizeAndVersion) {
        return "invalid page size or version in its header";
    }
    if (PageLsn(page) > at) {
        return "its LSN is later than the LSN it was read at";
    }
    return nullptr;
}

uint64_t CheckDeeply(const DeepCheck& check, Findings* findings, const Progress& progress) {
    return DeepChecker(check, findings, progress).Run();
}

}  // namespace zenith

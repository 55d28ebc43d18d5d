// The reading half of TimelineImpl: searches and listings along the chain of ancestors.
#include "pageserver/layers/timeline.h"

#include <algorithm>
#include <cassert>
#include <chrono>

#include "pageserver/layers/database_blob.h"
#include "pageserver/layers/timeline_impl.h"

namespace zenith {

class TimelineImpl::ReadLock {
  public:
    explicit ReadLock(const TimelineImpl& timeline)
        : mutex_(timeline.writer_.load(std::memory_order_relaxed) == std::this_thread::get_id()
                     ? nullptr
                     : &timeline.mutex_) {
        if (mutex_ != nullptr) {
            mutex_->lock_shared();
        }
    }
    ~ReadLock() {
        if (mutex_ != nullptr) {
            mutex_->unlock_shared();
        }
    }
    ReadLock(const ReadLock&) = delete;
    ReadLock& operator=(const ReadLock&) = delete;

  private:
    WriterFirstMutex* const mutex_;
};

namespace {

// Relations and blobs are looked up under the names of the database they came from.
void MoveTo(const DatabaseKey& db, RelFileNode* node) {
    node->spc = db.spc;
    node->db = db.db;
}

}  // namespace

TimelineImpl::TimelineImpl(TimelineId id, Lsn start_lsn, std::shared_ptr<Timeline> parent,
                           std::unique_ptr<SnapshotFile> snapshot, std::unique_ptr<WalStorage> wal,
                           TimelineLayers layers)
    : id_(id),
      start_lsn_(start_lsn),
      parent_(std::move(parent)),
      parent_impl_(dynamic_cast<const TimelineImpl*>(parent_.get())),
      snapshot_(std::move(snapshot)),
      wal_(std::move(wal)),
      oldest_lsn_(parent_impl_ != nullptr ? std::min(parent_impl_->oldest_lsn_, start_lsn)
                                          : start_lsn),
      layer_directory_(std::move(layers.directory)),
      options_(layers.options),
      open_(std::make_shared<InMemoryLayer>(wal_.get())),
      open_start_(layers.files.empty() ? start_lsn : layers.files.back()->end()),
      next_memory_check_(open_start_) {
    record_start_ = record_end_ = open_start_;
    last_record_end_.store(open_start_.value);
    auto older = std::make_shared<OlderLayers>();
    for (auto file = layers.files.rbegin(); file != layers.files.rend(); ++file) {
        older->push_back({(*file)->start(), *file});
    }
    older_ = std::move(older);
    assert((parent_ == nullptr) == (parent_impl_ == nullptr));
    assert(parent_ == nullptr || snapshot_ == nullptr);
}

std::shared_ptr<Timeline> MakeTimeline(TimelineId id, Lsn start_lsn,
                                       std::shared_ptr<Timeline> parent,
                                       std::unique_ptr<SnapshotFile> snapshot,
                                       std::unique_ptr<WalStorage> wal, TimelineLayers layers) {
    return std::make_shared<TimelineImpl>(id, start_lsn, std::move(parent), std::move(snapshot),
                                          std::move(wal), std::move(layers));
}

Status TimelineImpl::WaitForLsn(Lsn lsn, int timeout_ms) {
    if (last_record_end() >= lsn) {
        return Status::Ok();
    }
    std::unique_lock lock(wait_mutex_);
    waiters_++;
    bool reached = advanced_.wait_for(lock, std::chrono::milliseconds(std::max(timeout_ms, 0)),
                                      [&] { return last_record_end() >= lsn || failed_.load(); });
    waiters_--;
    if (failed_.load()) {
        return failure_;
    }
    if (!reached) {
        return Status::Unavailable("timeline " + id_.ToString() + " has no WAL up to " +
                                   lsn.ToString() + " after " + std::to_string(timeout_ms) +
                                   " ms; it ends at " + last_record_end().ToString());
    }
    return Status::Ok();
}

Status TimelineImpl::CheckReadable(Lsn at) const {
    if (failed_.load()) {
        return failure_;
    }
    if (at < oldest_lsn_) {
        return Status::NotFound("the history of timeline " + id_.ToString() + " does not reach " +
                                    at.ToString() + " back: the oldest LSN is " +
                                    oldest_lsn_.ToString(),
                                "Choose an LSN from " + oldest_lsn_.ToString() + " on.");
    }
    return Status::Ok();
}

Status TimelineImpl::CheckParentReaches(Lsn at) const {
    Lsn needed = std::min(at, start_lsn_);
    if (parent_impl_->last_record_end() < needed) {
        return Status::Unavailable(
            "timeline " + parent_impl_->id_.ToString() + " is loaded up to " +
            parent_impl_->last_record_end().ToString() + ", but its branch " + id_.ToString() +
            " needs it up to " + needed.ToString());
    }
    return Status::Ok();
}

Lsn TimelineImpl::Committed(Lsn at) const {
    bool is_writer = writer_.load(std::memory_order_relaxed) == std::this_thread::get_id();
    return is_writer ? at : std::min(at, last_record_end());
}

// ---- layers -------------------------------------------------------------------------------------

TimelineImpl::LayerStack TimelineImpl::Layers() const {
    ReadLock lock(*this);
    return {open_, older_};
}

template <typename Search>
Result<SearchStep> TimelineImpl::SearchLayers(Lsn at, Search&& search) const {
    SearchStep step;
    std::shared_ptr<const OlderLayers> older;
    {
        ReadLock lock(*this);
        ZENITH_ASSIGN_OR_RETURN(step, search(*open_));
        if (step.next != SearchStep::Next::kOlder) {
            return step;
        }
        older = older_;
    }
    for (const OlderLayer& layer : *older) {
        if (at < layer.start) {
            continue;
        }
        ZENITH_ASSIGN_OR_RETURN(step, search(*layer.layer));
        if (step.next != SearchStep::Next::kOlder) {
            break;
        }
    }
    return step;
}

template <typename Visit>
Status TimelineImpl::VisitLayer(const LayerStack& layers, size_t number, Visit&& visit) const {
    if (number > 0) {
        return visit(*(*layers.older)[number - 1].layer);
    }
    ReadLock lock(*this);
    return visit(*layers.open);
}

Result<TimelineImpl::Cuts> TimelineImpl::CutsOf(const LayerStack& layers, size_t number,
                                                Lsn at) const {
    Cuts cuts;
    ZENITH_RETURN_IF_ERROR(VisitLayer(layers, number, [&](const Layer& layer) {
        return layer.VisitCuts(at, [&](const DatabaseKey& db, const DatabaseCut& cut) {
            cuts.emplace_back(db, cut);
        });
    }));
    return cuts;
}

// ---- searches -----------------------------------------------------------------------------------

Status TimelineImpl::FindPage(PageKey key, Lsn at, PageHistory* history) const {
    const TimelineImpl* timeline = this;
    for (;;) {
        SearchStep step;
        ZENITH_ASSIGN_OR_RETURN(step, timeline->SearchLayers(at, [&](const Layer& layer) {
            return layer.SearchPage(key, at, history);
        }));
        if (step.next == SearchStep::Next::kDone) {
            break;
        }
        if (step.next == SearchStep::Next::kSource) {
            MoveTo(step.source, &key.node);
            at = step.at;
        } else if (timeline->parent_impl_ != nullptr) {
            ZENITH_RETURN_IF_ERROR(timeline->CheckParentReaches(at));
            at = std::min(at, timeline->start_lsn_);
            timeline = timeline->parent_impl_;
        } else {
            if (timeline->snapshot_ != nullptr) {
                ZENITH_ASSIGN_OR_RETURN(history->base, timeline->snapshot_->ReadPage(key));
                history->base_lsn = history->base ? timeline->start_lsn_ : Lsn();
            }
            break;
        }
    }
    std::reverse(history->records.begin(), history->records.end());
    return Status::Ok();
}

Result<std::optional<BlockNumber>> TimelineImpl::FindSize(RelForkKey rel, Lsn at) const {
    const TimelineImpl* timeline = this;
    for (;;) {
        SearchStep step;
        std::optional<BlockNumber> blocks;
        ZENITH_ASSIGN_OR_RETURN(step, timeline->SearchLayers(at, [&](const Layer& layer) {
            return layer.SearchSize(rel, at, &blocks);
        }));
        if (step.next == SearchStep::Next::kDone) {
            return blocks;
        }
        if (step.next == SearchStep::Next::kSource) {
            MoveTo(step.source, &rel.node);
            at = step.at;
        } else if (timeline->parent_impl_ != nullptr) {
            ZENITH_RETURN_IF_ERROR(timeline->CheckParentReaches(at));
            at = std::min(at, timeline->start_lsn_);
            timeline = timeline->parent_impl_;
        } else {
            return timeline->snapshot_ != nullptr ? timeline->snapshot_->RelationSize(rel)
                                                  : std::nullopt;
        }
    }
}

Result<std::optional<Timeline::VersionedBlob>> TimelineImpl::FindBlob(std::string key,
                                                                      Lsn at) const {
    const TimelineImpl* timeline = this;
    // A blob that came with a copy of its database is as old as the copy.
    std::optional<Lsn> copied_at;
    for (;;) {
        SearchStep step;
        std::optional<VersionedBlob> blob;
        ZENITH_ASSIGN_OR_RETURN(step, timeline->SearchLayers(at, [&](const Layer& layer) {
            return layer.SearchBlob(key, at, &blob);
        }));
        if (step.next == SearchStep::Next::kOlder && timeline->parent_impl_ != nullptr) {
            ZENITH_RETURN_IF_ERROR(timeline->CheckParentReaches(at));
            at = std::min(at, timeline->start_lsn_);
            timeline = timeline->parent_impl_;
            continue;
        }
        if (step.next == SearchStep::Next::kSource) {
            key = DatabaseBlob::Parse(key)->In(step.source).Key();
            at = step.at;
            if (!copied_at) {
                copied_at = step.at + 1;
            }
            continue;
        }
        if (step.next == SearchStep::Next::kOlder && timeline->snapshot_ != nullptr) {
            auto found = timeline->snapshot_->blobs().find(key);
            if (found != timeline->snapshot_->blobs().end()) {
                blob = VersionedBlob{timeline->start_lsn_, found->second};
            }
        }
        if (blob && copied_at) {
            blob->lsn = *copied_at;
        }
        return blob;
    }
}

Result<bool> TimelineImpl::FindDatabase(const DatabaseKey& db, Lsn at) const {
    const TimelineImpl* timeline = this;
    for (;;) {
        SearchStep step;
        bool exists = false;
        ZENITH_ASSIGN_OR_RETURN(step, timeline->SearchLayers(at, [&](const Layer& layer) {
            return layer.SearchDatabase(db, at, &exists);
        }));
        if (step.next == SearchStep::Next::kDone) {
            return exists;
        }
        if (timeline->parent_impl_ == nullptr) {
            if (timeline->snapshot_ == nullptr) {
                return false;
            }
            const std::vector<DatabaseKey>& databases = timeline->snapshot_->databases();
            return std::find(databases.begin(), databases.end(), db) != databases.end();
        }
        ZENITH_RETURN_IF_ERROR(timeline->CheckParentReaches(at));
        at = std::min(at, timeline->start_lsn_);
        timeline = timeline->parent_impl_;
    }
}

// ---- listings -----------------------------------------------------------------------------------

Status TimelineImpl::CollectRelations(const DatabaseKey* only, Lsn at, RelationMap* out) const {
    const LayerStack layers = Layers();
    // From the newest layer down to the oldest one that counts: what is older than the cut of the
    // only database asked for does not.
    std::vector<Cuts> cuts_of;
    bool cut_off = false;
    for (size_t i = 0; i <= layers.older->size() && !cut_off; i++) {
        ZENITH_ASSIGN_OR_RETURN(Cuts cuts, CutsOf(layers, i, at));
        if (only != nullptr) {
            std::erase_if(cuts, [&](const auto& cut) { return cut.first != *only; });
            cut_off = !cuts.empty();
        }
        cuts_of.push_back(std::move(cuts));
    }
    if (cut_off) {
        // Nothing older counts.
    } else if (parent_impl_ != nullptr) {
        ZENITH_RETURN_IF_ERROR(CheckParentReaches(at));
        ZENITH_RETURN_IF_ERROR(parent_impl_->CollectRelations(only, std::min(at, start_lsn_), out));
    } else if (snapshot_ != nullptr) {
        for (const RelationEntry& entry : snapshot_->relations()) {
            const RelFileNode& node = entry.rel.node;
            if (only == nullptr || *only == DatabaseKey{node.spc, node.db}) {
                (*out)[{node.spc, node.db}][{node.rel, entry.rel.fork}] = entry.blocks;
            }
        }
    }
    for (size_t i = cuts_of.size(); i-- > 0;) {
        for (const auto& [db, cut] : cuts_of[i]) {
            out->erase(db);
            if (cut.source) {
                RelationMap copied;
                ZENITH_RETURN_IF_ERROR(CollectRelations(&*cut.source, cut.lsn - 1, &copied));
                (*out)[db] = std::move(copied[*cut.source]);
            }
        }
        ZENITH_RETURN_IF_ERROR(VisitLayer(layers, i, [&](const Layer& layer) {
            return layer.VisitRelations(
                only, at, [&](const RelForkKey& rel, std::optional<BlockNumber> blocks) {
                    DatabaseRelations& relations = (*out)[{rel.node.spc, rel.node.db}];
                    if (blocks) {
                        relations[{rel.node.rel, rel.fork}] = *blocks;
                    } else {
                        relations.erase({rel.node.rel, rel.fork});
                    }
                });
        }));
    }
    return Status::Ok();
}

Status TimelineImpl::CollectDatabases(Lsn at, std::set<DatabaseKey>* out) const {
    const LayerStack layers = Layers();
    if (parent_impl_ != nullptr) {
        ZENITH_RETURN_IF_ERROR(CheckParentReaches(at));
        ZENITH_RETURN_IF_ERROR(parent_impl_->CollectDatabases(std::min(at, start_lsn_), out));
    } else if (snapshot_ != nullptr) {
        out->insert(snapshot_->databases().begin(), snapshot_->databases().end());
    }
    for (size_t i = layers.older->size() + 1; i-- > 0;) {
        ZENITH_RETURN_IF_ERROR(VisitLayer(layers, i, [&](const Layer& layer) {
            return layer.VisitDatabases(at, [&](const DatabaseKey& db, bool exists) {
                if (exists) {
                    out->insert(db);
                } else {
                    out->erase(db);
                }
            });
        }));
    }
    return Status::Ok();
}

Status TimelineImpl::CutBlobs(const std::string& prefix, const Cuts& cuts, BlobMap* out) const {
    for (const auto& [db, cut] : cuts) {
        const DatabaseBlob relmap{db, ""};
        if (relmap.Key().starts_with(prefix)) {
            out->erase(relmap.Key());
            if (cut.source) {
                ZENITH_ASSIGN_OR_RETURN(auto blob,
                                        FindBlob(relmap.In(*cut.source).Key(), cut.lsn - 1));
                if (blob) {
                    (*out)[relmap.Key()] = VersionedBlob{cut.lsn, std::move(blob->value)};
                }
            }
        }
        const std::string files = DatabaseBlob::FilePrefix(db);
        if (files.starts_with(prefix) || prefix.starts_with(files)) {
            std::erase_if(*out, [&](const auto& entry) { return entry.first.starts_with(files); });
            if (cut.source) {
                BlobMap copied;
                const std::string source_files = DatabaseBlob::FilePrefix(*cut.source);
                ZENITH_RETURN_IF_ERROR(CollectBlobs(source_files, cut.lsn - 1, &copied));
                for (auto& [key, blob] : copied) {
                    std::string copied_key = files + key.substr(source_files.size());
                    if (copied_key.starts_with(prefix)) {
                        (*out)[copied_key] = VersionedBlob{cut.lsn, std::move(blob.value)};
                    }
                }
            }
        }
    }
    return Status::Ok();
}

Status TimelineImpl::CollectBlobs(const std::string& prefix, Lsn at, BlobMap* out) const {
    const LayerStack layers = Layers();
    if (parent_impl_ != nullptr) {
        ZENITH_RETURN_IF_ERROR(CheckParentReaches(at));
        ZENITH_RETURN_IF_ERROR(parent_impl_->CollectBlobs(prefix, std::min(at, start_lsn_), out));
    } else if (snapshot_ != nullptr) {
        const auto& blobs = snapshot_->blobs();
        for (auto it = blobs.lower_bound(prefix); it != blobs.end(); ++it) {
            if (!it->first.starts_with(prefix)) {
                break;
            }
            (*out)[it->first] = VersionedBlob{start_lsn_, it->second};
        }
    }
    for (size_t i = layers.older->size() + 1; i-- > 0;) {
        ZENITH_ASSIGN_OR_RETURN(const Cuts cuts, CutsOf(layers, i, at));
        ZENITH_RETURN_IF_ERROR(CutBlobs(prefix, cuts, out));
        ZENITH_RETURN_IF_ERROR(VisitLayer(layers, i, [&](const Layer& layer) {
            return layer.VisitBlobs(
                prefix, at, [&](const std::string& key, Lsn lsn, const std::string* value) {
                    if (value != nullptr) {
                        (*out)[key] = VersionedBlob{lsn, *value};
                    } else {
                        out->erase(key);
                    }
                });
        }));
    }
    return Status::Ok();
}

Status TimelineImpl::CollectSlruPages(SlruKind kind, Lsn at, std::set<BlockNumber>* out) const {
    const LayerStack layers = Layers();
    if (parent_impl_ != nullptr) {
        ZENITH_RETURN_IF_ERROR(CheckParentReaches(at));
        ZENITH_RETURN_IF_ERROR(parent_impl_->CollectSlruPages(kind, std::min(at, start_lsn_), out));
    } else if (snapshot_ != nullptr) {
        std::vector<BlockNumber> pages = snapshot_->SlruPages(kind);
        out->insert(pages.begin(), pages.end());
    }
    for (size_t i = layers.older->size() + 1; i-- > 0;) {
        ZENITH_RETURN_IF_ERROR(VisitLayer(layers, i, [&](const Layer& layer) {
            return layer.VisitSlruPages(kind, at, [&](BlockNumber block, bool exists) {
                if (exists) {
                    out->insert(block);
                } else {
                    out->erase(block);
                }
            });
        }));
    }
    return Status::Ok();
}

// ---- the public reads ---------------------------------------------------------------------------

Result<PageHistory> TimelineImpl::CollectPage(const PageKey& key, Lsn at) {
    ZENITH_RETURN_IF_ERROR(CheckReadable(at));
    Result<PageHistory> history{PageHistory{}};
    ZENITH_RETURN_IF_ERROR(FindPage(key, at, &*history));
    return history;
}

Result<std::optional<BlockNumber>> TimelineImpl::RelationSize(const RelForkKey& rel, Lsn at) {
    ZENITH_RETURN_IF_ERROR(CheckReadable(at));
    return FindSize(rel, at);
}

Result<std::vector<RelationEntry>> TimelineImpl::ListRelations(Lsn at) {
    ZENITH_RETURN_IF_ERROR(CheckReadable(at));
    RelationMap databases;
    ZENITH_RETURN_IF_ERROR(CollectRelations(nullptr, Committed(at), &databases));
    std::vector<RelationEntry> entries;
    for (const auto& [db, relations] : databases) {
        for (const auto& [rel_fork, blocks] : relations) {
            entries.push_back(
                RelationEntry{{{db.spc, db.db, rel_fork.first}, rel_fork.second}, blocks});
        }
    }
    return entries;
}

Result<std::vector<BlockNumber>> TimelineImpl::ListSlruPages(SlruKind kind, Lsn at) {
    ZENITH_RETURN_IF_ERROR(CheckReadable(at));
    std::set<BlockNumber> pages;
    ZENITH_RETURN_IF_ERROR(CollectSlruPages(kind, Committed(at), &pages));
    return std::vector<BlockNumber>(pages.begin(), pages.end());
}

Result<std::vector<DatabaseKey>> TimelineImpl::ListDatabases(Lsn at) {
    ZENITH_RETURN_IF_ERROR(CheckReadable(at));
    std::set<DatabaseKey> databases;
    ZENITH_RETURN_IF_ERROR(CollectDatabases(Committed(at), &databases));
    return std::vector<DatabaseKey>(databases.begin(), databases.end());
}

Result<std::optional<std::string>> TimelineImpl::GetBlob(const std::string& key, Lsn at) {
    ZENITH_ASSIGN_OR_RETURN(std::optional<VersionedBlob> blob, GetVersionedBlob(key, at));
    return blob ? std::optional(std::move(blob->value)) : std::nullopt;
}

Result<std::map<std::string, std::string>> TimelineImpl::ListBlobs(const std::string& prefix,
                                                                   Lsn at) {
    ZENITH_RETURN_IF_ERROR(CheckReadable(at));
    BlobMap blobs;
    ZENITH_RETURN_IF_ERROR(CollectBlobs(prefix, Committed(at), &blobs));
    std::map<std::string, std::string> values;
    for (auto& [key, blob] : blobs) {
        values.emplace_hint(values.end(), key, std::move(blob.value));
    }
    return values;
}

Result<std::optional<Timeline::VersionedBlob>> TimelineImpl::GetVersionedBlob(
    const std::string& key, Lsn at) {
    ZENITH_RETURN_IF_ERROR(CheckReadable(at));
    return FindBlob(key, at);
}

Result<std::optional<BlockNumber>> TimelineImpl::WriterRelationSize(const RelForkKey& rel) {
    ZENITH_RETURN_IF_ERROR(CheckReadable(kMaxLsn));
    return FindSize(rel, kMaxLsn);
}

Result<PageHistory> TimelineImpl::WriterCollectPage(const PageKey& key) {
    return CollectPage(key, kMaxLsn);
}

Result<std::vector<BlockNumber>> TimelineImpl::WriterListSlruPages(SlruKind kind) {
    return ListSlruPages(kind, kMaxLsn);
}

}  // namespace zenith

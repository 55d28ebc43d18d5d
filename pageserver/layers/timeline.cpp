// What TimelineImpl begins with, and its searches along the chain of ancestors.
#include "pageserver/layers/timeline.h"

#include <algorithm>
#include <cassert>
#include <chrono>

#include "pageserver/layers/database_blob.h"
#include "pageserver/layers/timeline_impl.h"

namespace zenith {

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
      own_worker_(options_.worker == nullptr ? std::make_unique<LayerWorker>() : nullptr),
      worker_(own_worker_ != nullptr ? own_worker_.get() : options_.worker),
      images_(layers.opened.images != nullptr
                  ? layers.opened.images
                  : std::make_shared<ImageFiles>(layer_directory_, id)),
      remover_(std::make_shared<LayerRemover>(worker_, wal_.get(), id)),
      open_(std::make_shared<InMemoryLayer>(wal_.get(), options_.memory)),
      manifest_(std::move(layers.opened.manifest)),
      next_file_(manifest_.next_file),
      open_start_(layers.opened.files.empty() ? start_lsn : layers.opened.files.back()->end()) {
    manifest_.readable_from = std::max(manifest_.readable_from, start_lsn);
    record_start_ = record_end_ = open_start_;
    last_record_end_.store(open_start_.value);
    auto generation = std::make_shared<LayerGeneration>();
    generation->open = open_;
    for (auto file = layers.opened.files.rbegin(); file != layers.opened.files.rend(); ++file) {
        generation->older.push_back({(*file)->start(), *file, *file});
    }
    generation->readable_from = manifest_.readable_from;
    generation->points = manifest_.points;
    generation->ends_at = manifest_.ends_at;
    generation->epoch = std::make_shared<LayerEpoch>(remover_);
    generation_ = generation;
    assert((parent_ == nullptr) == (parent_impl_ == nullptr));
    assert(parent_ == nullptr || snapshot_ == nullptr);
    // What a crash may have kept retention from removing. Without a directory nothing on disk is
    // ours: somebody else's readers may still use it.
    if (layer_directory_.empty()) {
        return;
    }
    if (generation->ends_at) {
        // At once: whoever ingests is to find nothing behind it.
        ObsoleteFiles rest{{}, {}, Lsn(), generation->ends_at};
        if (Status status = remover_->RemoveWal(rest); !status.ok()) {
            failure_ = status.WithContext("timeline " + id_.ToString() + " ends at " +
                                          generation->ends_at->ToString());
            failed_.store(true);
        }
    }
    if (generation->readable_from > start_lsn_) {
        remover_->Remove({{}, {}, OldestWal(*generation), std::nullopt});
    }
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

Status TimelineImpl::CheckUsable(Lsn at) const {
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

Status TimelineImpl::CheckRetained(const LayerGeneration& generation, Lsn at) const {
    // At the branch point a branch says nothing that its parent does not.
    if ((parent_impl_ != nullptr && at <= start_lsn_) || generation.IsReadable(at)) {
        return Status::Ok();
    }
    return generation.NotReadable(id_, at);
}

Status TimelineImpl::CheckReadable(Lsn at) const {
    ZENITH_RETURN_IF_ERROR(CheckUsable(at));
    const TimelineImpl* timeline = this;
    for (; timeline != nullptr; timeline = timeline->parent_impl_) {
        ZENITH_RETURN_IF_ERROR(timeline->Look(at).status());
        at = std::min(at, timeline->start_lsn_);
    }
    return Status::Ok();
}

Lsn TimelineImpl::readable_from() const {
    return Newest()->readable_from;
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

TimelineImpl::View TimelineImpl::Newest() const {
    ReadLock lock(*this);
    return generation_;
}

Result<TimelineImpl::View> TimelineImpl::Look(Lsn at) const {
    View view = Newest();
    ZENITH_RETURN_IF_ERROR(CheckRetained(*view, at));
    return view;
}

Result<TimelineImpl::View> TimelineImpl::LookInParent(Lsn* at) const {
    ZENITH_RETURN_IF_ERROR(CheckParentReaches(*at));
    *at = std::min(*at, start_lsn_);
    return parent_impl_->Look(*at);
}

template <typename Search>
Result<SearchStep> TimelineImpl::SearchLayers(Lsn at, View* view, Search&& search) const {
    SearchStep step;
    {
        ReadLock lock(*this);
        if (*view == nullptr) {
            ZENITH_RETURN_IF_ERROR(CheckRetained(*generation_, at));
            *view = generation_;
        }
        ZENITH_ASSIGN_OR_RETURN(step, search(*(*view)->open));
    }
    if (step.next != SearchStep::Next::kOlder) {
        return step;
    }
    for (const OlderLayer& layer : (*view)->older) {
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

// ---- searches -----------------------------------------------------------------------------------

Status TimelineImpl::FindPage(PageKey key, Lsn at, View view, PageHistory* history) const {
    const TimelineImpl* timeline = this;
    size_t pinned = history->records.size();
    for (;;) {
        if (history->records_before_image > 0) {
            if (view == nullptr) {
                ZENITH_ASSIGN_OR_RETURN(view, timeline->Look(at));
            }
            // What is newer, images included, was written since retention took place: all records
            // that lead to it are there.
            history->images_count_until = view->readable_from;
        }
        SearchStep step;
        ZENITH_ASSIGN_OR_RETURN(step, timeline->SearchLayers(at, &view, [&](const Layer& layer) {
            return layer.SearchPage(key, at, history);
        }));
        if (step.next == SearchStep::Next::kSource) {
            MoveTo(step.source, &key.node);
            at = step.at;
            continue;
        }
        if (history->records.size() > pinned) {
            pinned = history->records.size();
            history->pins.push_back(std::move(view));
        }
        view = nullptr;
        if (step.next == SearchStep::Next::kDone) {
            break;
        }
        if (timeline->parent_impl_ != nullptr) {
            ZENITH_RETURN_IF_ERROR(timeline->CheckParentReaches(at));
            at = std::min(at, timeline->start_lsn_);
            timeline = timeline->parent_impl_;
        } else {
            if (timeline->snapshot_ != nullptr && !history->skip_base) {
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
    View view;
    for (;;) {
        SearchStep step;
        std::optional<BlockNumber> blocks;
        ZENITH_ASSIGN_OR_RETURN(step, timeline->SearchLayers(at, &view, [&](const Layer& layer) {
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
            view = nullptr;
        } else {
            return timeline->snapshot_ != nullptr ? timeline->snapshot_->RelationSize(rel)
                                                  : std::nullopt;
        }
    }
}

Result<std::optional<Timeline::VersionedBlob>> TimelineImpl::FindBlob(std::string key, Lsn at,
                                                                      View view) const {
    const TimelineImpl* timeline = this;
    // A blob that came with a copy of its database is as old as the copy.
    std::optional<Lsn> copied_at;
    for (;;) {
        SearchStep step;
        std::optional<VersionedBlob> blob;
        ZENITH_ASSIGN_OR_RETURN(step, timeline->SearchLayers(at, &view, [&](const Layer& layer) {
            return layer.SearchBlob(key, at, &blob);
        }));
        if (step.next == SearchStep::Next::kOlder && timeline->parent_impl_ != nullptr) {
            ZENITH_RETURN_IF_ERROR(timeline->CheckParentReaches(at));
            at = std::min(at, timeline->start_lsn_);
            timeline = timeline->parent_impl_;
            view = nullptr;
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
    View view;
    for (;;) {
        SearchStep step;
        bool exists = false;
        ZENITH_ASSIGN_OR_RETURN(step, timeline->SearchLayers(at, &view, [&](const Layer& layer) {
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
        view = nullptr;
    }
}

// ---- the public reads ---------------------------------------------------------------------------

Result<PageHistory> TimelineImpl::CollectPage(const PageKey& key, Lsn at) {
    ZENITH_RETURN_IF_ERROR(CheckUsable(at));
    Result<PageHistory> history{PageHistory{}};
    ZENITH_RETURN_IF_ERROR(FindPage(key, at, nullptr, &*history));
    return history;
}

Result<PageHistory> TimelineImpl::CollectPageSince(const PageKey& key, Lsn known, Lsn at) {
    ZENITH_RETURN_IF_ERROR(CheckUsable(at));
    Result<PageHistory> history{PageHistory{}};
    history->known = known;
    ZENITH_RETURN_IF_ERROR(FindPage(key, at, nullptr, &*history));
    return history;
}

Result<PageHistory> TimelineImpl::CollectPageFromWal(const PageKey& key, Lsn at,
                                                     size_t max_records) {
    ZENITH_RETURN_IF_ERROR(CheckUsable(at));
    Result<PageHistory> history{PageHistory{}};
    history->records_before_image = key.is_slru ? 0 : max_records;
    ZENITH_RETURN_IF_ERROR(FindPage(key, at, nullptr, &*history));
    return history;
}

Result<std::optional<BlockNumber>> TimelineImpl::RelationSize(const RelForkKey& rel, Lsn at) {
    ZENITH_RETURN_IF_ERROR(CheckUsable(at));
    return FindSize(rel, at);
}

Result<std::optional<std::string>> TimelineImpl::GetBlob(const std::string& key, Lsn at) {
    ZENITH_ASSIGN_OR_RETURN(std::optional<VersionedBlob> blob, GetVersionedBlob(key, at));
    return blob ? std::optional(std::move(blob->value)) : std::nullopt;
}

Result<std::optional<Timeline::VersionedBlob>> TimelineImpl::GetVersionedBlob(
    const std::string& key, Lsn at) {
    ZENITH_RETURN_IF_ERROR(CheckUsable(at));
    return FindBlob(key, at, nullptr);
}

Result<std::optional<BlockNumber>> TimelineImpl::WriterRelationSize(const RelForkKey& rel) {
    ZENITH_RETURN_IF_ERROR(CheckUsable(kMaxLsn));
    return FindSize(rel, kMaxLsn);
}

Result<PageHistory> TimelineImpl::WriterCollectPage(const PageKey& key) {
    return CollectPage(key, kMaxLsn);
}

Result<std::vector<BlockNumber>> TimelineImpl::WriterListSlruPages(SlruKind kind) {
    return ListSlruPages(kind, kMaxLsn);
}

}  // namespace zenith

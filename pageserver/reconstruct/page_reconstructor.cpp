#include "pageserver/reconstruct/page_reconstructor.h"

#include <algorithm>
#include <string>
#include <utility>

#include "pageserver/native_redo/native_redo.h"
#include "pageserver/reconstruct/history_records.h"
#include "pageserver/reconstruct/page_cache.h"
#include "pageserver/wal_decoder/decoded_record.h"

namespace zenith {

namespace {

// Record bytes in one call of the applier. More than that is applied in pieces, each the base of
// the next one, so that a batch of long histories does not fill the memory.
constexpr size_t kRoundBytes = 8 * 1024 * 1024;

// One page on its way from its history to its contents.
struct Rebuild {
    PageKey key;
    Status failure;
    PageHistory history;
    size_t next = 0;                // first record not applied yet
    size_t known = 0;               // records that a version at hand had in it
    Lsn as_of;                      // where to look again for what history has
    std::optional<PageBuffer> page; // after the records before it; nothing: zeroes
    bool done = false;

    void Fail(const Status& status) {
        failure = status.WithContext("could not rebuild " + key.ToString());
        done = true;
    }
};

// The timeline, `timeline` or an ancestor, that the version with this LSN was made on.
const Timeline* OriginOf(const Timeline* timeline, Lsn version) {
    while (timeline->parent() != nullptr && version <= timeline->start_lsn()) {
        timeline = timeline->parent().get();
    }
    return timeline;
}

// The image in `record` that gives page `key` without asking anybody, or null. Only records that are
// nothing but images: others may change a page after its image was restored, as GiST's do
// (gistRedoClearFollowRight() of gistxlog.c).
const DecodedBlock* PlainImage(const DecodedRecord& record, const PageKey& key) {
    if (record.rmgr != Rmgr::kXlog) {
        return nullptr;
    }
    for (int i = 0; i <= record.max_block_id; ++i) {
        const DecodedBlock& block = record.blocks[static_cast<size_t>(i)];
        if (block.in_use && block.has_image && block.apply_image && !block.image_compressed() &&
            block.rel == key.relation() && block.block == key.block) {
            return &block;
        }
    }
    return nullptr;
}

}  // namespace

class PageReconstructor::Impl {
  public:
    using Wanted = PageReconstructor::Wanted;

    Impl(RedoApplier& applier, size_t cache_bytes, double check_percent)
        : applier_(applier), cache_(cache_bytes) {
        if (check_percent > 0) {
            check_.emplace(applier, check_percent);
        }
    }

    RedoCheckStats check_stats() const { return check_ ? check_->stats() : RedoCheckStats{}; }

    std::vector<PageResult> GetPages(Timeline* timeline, std::span<const Wanted> wanted,
                                     bool keep) {
        std::vector<Rebuild> pages(wanted.size());
        for (size_t i = 0; i < wanted.size(); ++i) {
            Collect(timeline, wanted[i], &pages[i]);
        }
        while (Round(&pages)) {
        }

        std::vector<PageResult> results;
        results.reserve(pages.size());
        for (Rebuild& page : pages) {
            results.push_back(Finish(timeline, keep, &page));
        }
        return results;
    }

  private:
    void Collect(Timeline* timeline, const Wanted& wanted, Rebuild* page) {
        page->key = wanted.key;
        if (check_) {
            // What is ingested from now on may be in the history, or not.
            page->as_of = std::min(wanted.at, timeline->last_record_end());
        }
        Result<PageHistory> history =
            wanted.known != nullptr
                ? timeline->CollectPageSince(wanted.key, wanted.known_at, wanted.at)
                : timeline->CollectPage(wanted.key, wanted.at);
        if (!history.ok()) {
            page->Fail(history.status());
            return;
        }
        page->history = *std::move(history);
        page->page = std::exchange(page->history.base, std::nullopt);
        page->done = page->history.records.empty();
        page->as_of = std::max(
            page->as_of, page->done ? page->history.base_lsn : page->history.records.back().end);
        if (!page->done && !(wanted.known != nullptr &&
                             StartAfter(wanted.known_at, *wanted.known, page))) {
            StartFromCache(timeline, page);
        }
    }

    // Skips the records up to the one that ends at `lsn`, after which the page is `version`. False
    // when the history has no such record.
    static bool StartAfter(Lsn lsn, const PageBuffer& version, Rebuild* page) {
        const std::vector<RecordRef>& records = page->history.records;
        auto found = std::lower_bound(records.begin(), records.end(), lsn,
                                      [](const RecordRef& ref, Lsn l) { return ref.end < l; });
        if (found == records.end() || found->end != lsn) {
            return false;
        }
        page->page = version;
        page->next = page->known = static_cast<size_t>(found - records.begin()) + 1;
        page->done = page->next == records.size();
        return true;
    }

    // Skips the records that a cached version has in it already.
    void StartFromCache(const Timeline* timeline, Rebuild* page) {
        const std::vector<RecordRef>& records = page->history.records;
        Lsn oldest = records.front().end;
        Lsn to = records.back().end;
        const Timeline* origin = OriginOf(timeline, to);
        for (;;) {
            std::optional<PageCache::Version> cached =
                cache_.FindNewest(origin->id(), page->key, oldest, to);
            if (cached.has_value() && StartAfter(cached->lsn, cached->page, page)) {
                return;
            }
            // Nothing of this timeline; what was there at the branch point may help.
            if (origin->parent() == nullptr || oldest > origin->start_lsn()) {
                return;
            }
            to = std::min(to, origin->start_lsn());
            origin = origin->parent().get();
        }
    }

    // One step for every page that is not done: what we can apply ourselves, then one call of the
    // applier for all. False when nothing is left.
    bool Round(std::vector<Rebuild>* pages) {
        std::vector<RedoRequest> requests;
        std::vector<Rebuild*> owners;
        size_t budget = kRoundBytes;
        for (Rebuild& page : *pages) {
            if (budget == 0) {
                break;
            }
            if (page.done) {
                continue;
            }
            Status status = ApplyOwn(&page);
            if (!status.ok()) {
                page.Fail(status);
                continue;
            }
            if (page.done) {
                continue;
            }
            RedoRequest request;
            status = TakeRedoRun(&page, &budget, &request);
            if (!status.ok()) {
                page.Fail(status);
                continue;
            }
            requests.push_back(std::move(request));
            owners.push_back(&page);
        }
        if (requests.empty()) {
            return false;
        }

        std::vector<Result<PageBuffer>> results = applier_.Apply(requests);
        for (size_t i = 0; i < owners.size(); ++i) {
            if (i >= results.size()) {
                owners[i]->Fail(Status::Internal("the applier gave no answer"));
            } else if (!results[i].ok()) {
                owners[i]->Fail(results[i].status());
            } else {
                owners[i]->page = *results[i];
                owners[i]->done = owners[i]->next == owners[i]->history.records.size();
            }
        }
        return true;
    }

    // Applies records without the applier as long as that is possible.
    Status ApplyOwn(Rebuild* page) {
        const std::vector<RecordRef>& records = page->history.records;
        std::string bytes;
        DecodedRecord decoded;
        while (page->next < records.size()) {
            const RecordRef& ref = records[page->next];
            if ((ref.flags & (kRefNative | kRefWillInit)) == 0) {
                return Status::Ok();
            }
            ZENITH_RETURN_IF_ERROR(ReadRecord(ref, &bytes));
            ZENITH_RETURN_IF_ERROR(DecodeRecord(ref.start, ref.end, AsBytes(bytes), &decoded));
            PageKey key = KeyInRecord(page->key, ref);
            if ((ref.flags & kRefNative) != 0) {
                if (!page->page.has_value()) {
                    page->page.emplace();
                    page->page->fill(std::byte{0});
                }
                ZENITH_RETURN_IF_ERROR(ApplyNative(decoded, key, *page->page));
            } else {
                const DecodedBlock* image = PlainImage(decoded, key);
                if (image == nullptr) {
                    return Status::Ok();
                }
                page->page.emplace();
                ZENITH_RETURN_IF_ERROR(RestoreUncompressedImage(decoded, *image, *page->page));
            }
            ++page->next;
        }
        page->done = true;
        return Status::Ok();
    }

    // Reads the records the applier can take in one go: at least one, up to the next one that is
    // ours, is known to WAL by another name, or does not fit the budget.
    Status TakeRedoRun(Rebuild* page, size_t* budget, RedoRequest* request) {
        const std::vector<RecordRef>& records = page->history.records;
        request->key = KeyInRecord(page->key, records[page->next]);
        request->base = page->page;
        do {
            const RecordRef& ref = records[page->next];
            RedoRecord record{ref.start, ref.end, ""};
            ZENITH_RETURN_IF_ERROR(ReadRecord(ref, &record.bytes));
            *budget -= std::min(*budget, record.bytes.size());
            request->records.push_back(std::move(record));
            ++page->next;
        } while (page->next < records.size() && *budget > 0 &&
                 (records[page->next].flags & kRefNative) == 0 &&
                 KeyInRecord(page->key, records[page->next]) == request->key);
        return Status::Ok();
    }

    PageResult Finish(Timeline* timeline, bool keep, Rebuild* page) {
        if (!page->failure.ok()) {
            return page->failure;
        }
        if (check_) {
            ZENITH_RETURN_IF_ERROR(Check(timeline, *page));
        }
        if (keep && !page->history.records.empty() && page->page.has_value()) {
            Lsn version = page->history.records.back().end;
            cache_.Put(OriginOf(timeline, version)->id(), page->key, version, *page->page);
        }
        return std::exchange(page->page, std::nullopt);
    }

    Status Check(Timeline* timeline, const Rebuild& page) {
        const PageHistory& history = page.history;
        const bool rebuilt = !history.records.empty() || history.base_is_image;
        if (page.key.is_slru || !rebuilt || !page.page.has_value() || !check_->Chosen()) {
            return Status::Ok();
        }
        return check_->Check(
            *timeline, page.key, page.as_of, *page.page,
            {history.records.size(), page.known, history.base_lsn, history.base_is_image});
    }

    RedoApplier& applier_;
    PageCache cache_;
    std::optional<RedoCheck> check_;
};

PageReconstructor::PageReconstructor(RedoApplier& applier, size_t cache_bytes,
                                     double check_percent)
    : impl_(std::make_unique<Impl>(applier, cache_bytes, check_percent)) {}

PageReconstructor::~PageReconstructor() = default;

std::vector<PageReconstructor::PageResult> PageReconstructor::GetPages(
    const std::shared_ptr<Timeline>& timeline, std::span<const PageKey> keys, Lsn at) {
    std::vector<Wanted> wanted;
    wanted.reserve(keys.size());
    for (const PageKey& key : keys) {
        wanted.push_back({key, at, Lsn(), nullptr});
    }
    return impl_->GetPages(timeline.get(), wanted, true);
}

std::vector<PageReconstructor::PageResult> PageReconstructor::GetPagesAt(
    Timeline& timeline, std::span<const Wanted> wanted) {
    return impl_->GetPages(&timeline, wanted, false);
}

RedoCheckStats PageReconstructor::check_stats() const {
    return impl_->check_stats();
}

PageReconstructor::PageResult PageReconstructor::GetPage(const std::shared_ptr<Timeline>& timeline,
                                                         const PageKey& key, Lsn at) {
    return std::move(GetPages(timeline, std::span(&key, 1), at).front());
}

}  // namespace zenith

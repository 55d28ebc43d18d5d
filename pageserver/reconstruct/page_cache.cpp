#include "pageserver/reconstruct/page_cache.h"

namespace zenith {

namespace {
// Page, names in list and map, and the nodes they live in.
constexpr size_t kBytesPerEntry = kPageSize + 2 * 48 + 64 + 2 * 16;
}  // namespace

PageCache::PageCache(size_t capacity_bytes) : capacity_entries_(capacity_bytes / kBytesPerEntry) {}

std::optional<PageCache::Version> PageCache::FindNewest(const TimelineId& timeline,
                                                        const PageKey& key, Lsn from, Lsn to) {
    std::lock_guard lock(mutex_);
    auto after = by_name_.upper_bound(Name{timeline, key, to});
    if (after == by_name_.begin()) {
        return std::nullopt;
    }
    const auto& [name, entry] = *std::prev(after);
    if (name.timeline != timeline || name.key != key || name.version < from) {
        return std::nullopt;
    }
    entries_.splice(entries_.begin(), entries_, entry);
    return Version{name.version, entry->page};
}

void PageCache::Put(const TimelineId& timeline, const PageKey& key, Lsn version,
                    const PageBuffer& page) {
    if (capacity_entries_ == 0) {
        return;
    }
    Name name{timeline, key, version};
    std::lock_guard lock(mutex_);
    auto found = by_name_.find(name);
    if (found != by_name_.end()) {
        entries_.splice(entries_.begin(), entries_, found->second);
        return;
    }
    if (entries_.size() >= capacity_entries_) {
        by_name_.erase(entries_.back().name);
        entries_.splice(entries_.begin(), entries_, std::prev(entries_.end()));
        entries_.front() = Entry{name, page};
    } else {
        entries_.push_front(Entry{name, page});
    }
    by_name_.emplace(name, entries_.begin());
}

size_t PageCache::bytes() const {
    std::lock_guard lock(mutex_);
    return entries_.size() * kBytesPerEntry;
}

}  // namespace zenith

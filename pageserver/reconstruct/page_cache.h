// PageCache: recently rebuilt pages, least recently used ones leave first.
//
// A page version is named by the timeline whose WAL made it, the page and the version's LSN; what
// it contains never changes, so entries are never wrong, only useless. Whoever finds one must check
// that the version belongs to the history it is rebuilding: a truncation may have ended its line.
// Threads  all methods from any thread.
#pragma once

#include <cstddef>
#include <cstdint>
#include <list>
#include <map>
#include <mutex>
#include <optional>

#include "common/base/ids.h"
#include "common/base/lsn.h"
#include "common/pgformat/page_format.h"
#include "common/pgformat/relation_key.h"

namespace zenith {

class PageCache {
  public:
    // Holds at most `capacity_bytes`, bookkeeping included; 0 keeps nothing.
    explicit PageCache(size_t capacity_bytes);

    struct Version {
        Lsn lsn;
        PageBuffer page;
    };
    // The newest version with from <= LSN <= to.
    std::optional<Version> FindNewest(const TimelineId& timeline, const PageKey& key, Lsn from,
                                      Lsn to);
    void Put(const TimelineId& timeline, const PageKey& key, Lsn version, const PageBuffer& page);

    size_t bytes() const;

  private:
    struct Name {
        TimelineId timeline;
        PageKey key;
        Lsn version;
        auto operator<=>(const Name&) const = default;
    };
    struct Entry {
        Name name;
        PageBuffer page;
    };

    const size_t capacity_entries_;
    mutable std::mutex mutex_;
    std::list<Entry> entries_;                               // guarded by mutex_; newest use first
    std::map<Name, std::list<Entry>::iterator> by_name_;     // guarded by mutex_
};

}  // namespace zenith

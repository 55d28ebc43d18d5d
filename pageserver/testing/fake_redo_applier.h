// FakeRedoApplier: a RedoApplier without PostgreSQL. A page it returns says which records were
// applied to it, in which order and on what base: FakeRedo() computes the same for a test to
// compare with.
//
// Threads  Apply from any thread; the rest before and after.
#pragma once

#include <cstring>
#include <map>
#include <mutex>
#include <span>
#include <string>
#include <vector>

#include "common/base/crc32c.h"
#include "pageserver/reconstruct/redo_applier.h"

namespace zenith {

// What applying the record makes of the page: its LSN, a count, and a digest of what came before,
// the record and its end.
inline void FakeRedo(const RedoRecord& record, PageSpan page) {
    constexpr size_t kDigestAt = 64;
    constexpr size_t kCountAt = 72;
    uint32_t digest = Crc32cExtend(kCrc32cInit, page);
    auto bytes = std::as_bytes(std::span(record.bytes.data(), record.bytes.size()));
    digest = Crc32cExtend(digest, bytes);
    SetPageLsn(page, record.end);
    std::memcpy(page.data() + kDigestAt, &digest, sizeof digest);
    uint32_t count;
    std::memcpy(&count, page.data() + kCountAt, sizeof count);
    ++count;
    std::memcpy(page.data() + kCountAt, &count, sizeof count);
}

class FakeRedoApplier : public RedoApplier {
  public:
    std::vector<Result<PageBuffer>> Apply(std::span<const RedoRequest> requests) override {
        std::lock_guard lock(mutex_);
        std::vector<size_t> call;
        std::vector<Result<PageBuffer>> results;
        for (const RedoRequest& request : requests) {
            call.push_back(request.records.size());
            keys_.push_back(request.key);
            auto failure = failures_.find(request.key);
            if (failure != failures_.end()) {
                results.push_back(failure->second);
                continue;
            }
            PageBuffer page{};
            if (request.base.has_value()) {
                page = *request.base;
            }
            for (const RedoRecord& record : request.records) {
                bytes_ += record.bytes.size();
                FakeRedo(record, page);
            }
            results.push_back(page);
        }
        calls_.push_back(std::move(call));
        return results;
    }

    // Every request for this page fails from now on.
    void FailPage(const PageKey& key, Status status) { failures_.emplace(key, std::move(status)); }
    // For each Apply call, the number of records in each request.
    const std::vector<std::vector<size_t>>& calls() const { return calls_; }
    // The keys of all requests.
    const std::vector<PageKey>& keys() const { return keys_; }
    size_t bytes() const { return bytes_; }
    void Forget() {
        calls_.clear();
        keys_.clear();
        bytes_ = 0;
    }

  private:
    std::mutex mutex_;
    std::map<PageKey, Status> failures_;
    std::vector<std::vector<size_t>> calls_;  // guarded by mutex_
    std::vector<PageKey> keys_;               // guarded by mutex_
    size_t bytes_ = 0;                        // guarded by mutex_
};

}  // namespace zenith

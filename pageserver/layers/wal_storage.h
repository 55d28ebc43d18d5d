// WalStorage: the WAL of one timeline, in segment files below timelines/<id>/wal/.
//
// Purpose  the receiver appends bytes as they arrive; readers fetch records by LSN. Positions
//          before start() belong to the ancestor: reads there go on in the parent's storage.
// Threads  one appender (Append, Sync, TruncateAfter); readers from any thread, of bytes that have
//          been appended. Readers never block the appender.
// Errors   kIoError and kCorruption name the segment file, the offset and the LSN.
#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <memory>
#include <mutex>
#include <span>
#include <string>

#include "common/base/lsn.h"
#include "common/base/result.h"
#include "common/base/unique_fd.h"

namespace zenith {

class WalStorage {
  public:
    // `directory` exists. `start`: first byte that belongs to this timeline. `parent` (may be null)
    // answers reads before `start` and outlives this object.
    WalStorage(std::string directory, Lsn start, const WalStorage* parent);

    Lsn start() const { return start_; }
    const std::string& directory() const { return directory_; }

    // Writes bytes at [lsn, lsn + data.size()); not yet durable.
    Status Append(Lsn lsn, std::span<const std::byte> data);
    // Makes everything appended durable.
    Status Sync();
    // Zeroes everything from `lsn` on and removes later segments; durable on return.
    Status TruncateAfter(Lsn lsn);

    // Reads exactly data.size() raw bytes (page headers included) at `lsn`. Bytes that were never
    // written read as zeroes inside an existing segment; a missing segment is kNotFound.
    Status Read(Lsn lsn, std::span<std::byte> data) const;

    // The record that starts at `start` and ends at `end` (both record boundaries, as produced by
    // the decoder): its xl_tot_len bytes without page headers, appended to *out.
    Status ReadRecord(Lsn start, Lsn end, std::string* out) const;

  private:
    // Segment file opened for reading or appending; kept open (bounded count).
    Result<int> SegmentFd(uint64_t segment_number, bool create) const;

    const std::string directory_;
    const Lsn start_;
    const WalStorage* const parent_;
    mutable std::mutex mutex_;
    mutable std::map<uint64_t, UniqueFd> open_segments_;  // guarded by mutex_
    std::map<uint64_t, bool> unsynced_segments_;          // appender only
    bool directory_changed_ = false;                      // appender only
};

}  // namespace zenith

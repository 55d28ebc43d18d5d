// WalStorage: the WAL of one timeline, in segment files below timelines/<id>/wal/.
//
// Purpose  the receiver appends bytes as they arrive; readers fetch records by LSN. Positions
//          before start() belong to the ancestor: reads there go on in the parent's storage.
// Files    named and sized as PostgreSQL names and sizes them, so that pg_waldump reads them. A
//          segment has its full 16 MB from the start: see AllocateSegment() for the reason.
// Threads  one appender (Append, Sync, TruncateAfter); readers from any thread, of bytes that have
//          been appended. Readers never block the appender.
// Errors   kIoError and kCorruption name the segment file, the offset and the LSN.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <set>
#include <span>
#include <string>
#include <vector>

#include "common/base/lsn.h"
#include "common/base/result.h"
#include "common/base/unique_fd.h"

namespace zenith {

class WalStorage {
  public:
    // `directory` exists. `start`: first byte that belongs to this timeline. `parent` (may be null)
    // answers reads before `start` and outlives this object. Does no I/O.
    WalStorage(std::string directory, Lsn start, const WalStorage* parent);

    Lsn start() const { return start_; }
    const std::string& directory() const { return directory_; }

    // Writes bytes at [lsn, lsn + data.size()); not yet durable. kInvalidArgument before start().
    // After kIoError part of the bytes may be written; appending them again is allowed.
    Status Append(Lsn lsn, std::span<const std::byte> data);
    // Makes everything appended durable. After a failure nothing appended since the last success
    // counts as written (the kernel may have dropped it, and would report success the next time):
    // Sync, and Append further on, fail until Append starts over at or before the first of it.
    Status Sync();
    // Zeroes everything from `lsn` on and removes later segments (also the one that `lsn` begins);
    // durable on return. kInvalidArgument before start().
    Status TruncateAfter(Lsn lsn);

    // Removes the segments that end at or before `lsn`, oldest first, so that a crash leaves no gap;
    // returns their bytes on disk. Any thread, one at a time; `lsn` is not after what was synced.
    // Readers that have one open go on; afterwards a read there is kNotFound.
    Result<uint64_t> RemoveBefore(Lsn lsn);
    // What RemoveBefore(lsn) would free.
    Result<uint64_t> BytesBefore(Lsn lsn) const;
    // What all segments take on disk.
    Result<uint64_t> BytesOnDisk() const;

    // The durable position: a whole record's end that was acknowledged, in file "durable" of the
    // directory. A lower bound, saved now and then; WAL that ends before it is damaged, not short.
    // nullopt: never saved. Any thread, one at a time.
    Status SaveDurablePosition(Lsn lsn) const;
    Result<std::optional<Lsn>> ReadDurablePosition() const;

    // Writes back what is stored in [from, to) and makes it durable: after a crash the page cache
    // may hold bytes that an fsync failed to write, and the kernel reports such a failure once.
    Status Rewrite(Lsn from, Lsn to);

    // Reads exactly data.size() raw bytes (page headers included) at `lsn`. Bytes that were never
    // written read as zeroes inside an existing segment; a missing segment is kNotFound.
    Status Read(Lsn lsn, std::span<std::byte> data) const;

    // The record that starts at `start` and ends at `end` (both record boundaries, as produced by
    // the decoder): its xl_tot_len bytes without page headers, appended to *out. One read call
    // unless the record is longer than 16 kB. kCorruption when the bytes are not a record of that
    // extent with a valid checksum; *out is then as before.
    Status ReadRecord(Lsn start, Lsn end, std::string* out) const;

  private:
    // A segment file open for reading. Shared by the table and the readers using it, so that
    // leaving the table never closes it under a reader.
    struct OpenSegment {
        UniqueFd fd;
        uint64_t last_use = 0;  // guarded by mutex_
    };

    std::string SegmentPath(uint64_t segment_number) const;
    // Numbers of the segment files, ascending.
    Result<std::vector<uint64_t>> Segments() const;
    Result<uint64_t> BytesOf(std::span<const uint64_t> segments) const;
    // For the failure to read a segment that is not there.
    Status MissingSegment(uint64_t segment_number) const;
    // "at 0/15FFB08 (offset 6290184 of file "...")": where `lsn` is, for messages.
    std::string Place(Lsn lsn) const;
    Result<std::shared_ptr<OpenSegment>> SegmentForReading(uint64_t segment_number) const;
    // Opens (creating and allocating if needed) the segment that Append() writes to.
    Status OpenForAppend(uint64_t segment_number);
    // Reads within one segment of this storage itself.
    Status ReadOwn(Lsn lsn, std::span<std::byte> data) const;
    // The storage among this one and its ancestors that holds `lsn`; *limit becomes the first
    // position after `lsn` that it does not answer for.
    const WalStorage* HolderOf(Lsn lsn, Lsn* limit) const;
    Status SyncFiles();
    // Zeroes the rest of the segment; what is zero already is skipped unless `rewrite`.
    Status ZeroTail(Lsn lsn, bool rewrite);

    const std::string directory_;
    const Lsn start_;
    const WalStorage* const parent_;

    mutable std::mutex mutex_;
    mutable std::map<uint64_t, std::shared_ptr<OpenSegment>> open_segments_;  // guarded by mutex_
    mutable uint64_t use_clock_ = 0;                                          // guarded by mutex_
    // Counts removed files, so that a reader that opened one just before does not keep it in the
    // table for the name's next owner. Guarded by mutex_.
    uint64_t removals_ = 0;

    // Segments before this number were removed; they are durable and not written any more.
    std::atomic<uint64_t> first_segment_{0};

    // The rest belongs to the appender.
    UniqueFd append_fd_;
    uint64_t append_segment_ = 0;
    std::set<uint64_t> unsynced_segments_;
    bool directory_changed_ = false;
    Lsn unsynced_from_ = kMaxLsn;  // the first byte written since the last successful Sync
    Status lost_;  // why Sync failed; what came from lost_from_ on is to be repeated
    Lsn lost_from_;
};

}  // namespace zenith

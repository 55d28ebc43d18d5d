// WalBuilder: valid WAL bytes for tests, and the awkward ones: records over page and segment
// borders, torn tails, wrong checksums, overwritten continuations.
//
// bytes() is the stream from start() on, page headers included. Not thread-safe.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "common/base/byte_writer.h"
#include "common/base/lsn.h"
#include "common/pgformat/page_format.h"
#include "common/pgformat/relation_key.h"
#include "common/pgformat/wal_format.h"

namespace zenith {

struct WalBlockSpec {
    int id = 0;
    RelForkKey rel = {};
    BlockNumber block = 0;
    bool will_init = false;
    bool same_rel = false;
    std::string data = {};
    // A full-page image, stored with the hole [hole_offset, hole_offset + hole_length) left out.
    std::optional<PageBuffer> image = {};
    bool apply_image = true;
    uint16_t hole_offset = 0;
    uint16_t hole_length = 0;
};

struct WalRecordSpec {
    Rmgr rmgr = Rmgr::kXlog;
    uint8_t info = 0;
    uint32_t xid = 0;
    std::vector<WalBlockSpec> blocks;
    std::string main_data;
    uint16_t origin = 0;
    uint32_t toplevel_xid = 0;
};

// xl_tot_len bytes with a right CRC.
std::string EncodeWalRecord(const WalRecordSpec& spec, Lsn prev);
// Sets the CRC of an encoded record after its bytes were changed.
void SealWalRecord(std::string* record);

class WalBuilder {
  public:
    struct Placed {
        Lsn start;
        Lsn end;
        std::string bytes;  // as EncodeWalRecord
    };

    // `start` is 8-aligned; `prev` becomes the first record's prev-link.
    WalBuilder(Lsn start, uint64_t system_identifier, Lsn prev = Lsn());

    Lsn start() const { return start_; }
    Lsn position() const { return start_ + stream_.size(); }
    Lsn prev() const { return prev_; }
    const std::string& stream() const { return stream_; }
    std::span<const std::byte> bytes() const {
        return std::as_bytes(std::span(stream_.data(), stream_.size()));
    }

    Placed Append(const WalRecordSpec& spec);
    // Bytes of a record as they are, right or wrong.
    Placed AppendEncoded(std::string record);
    // An XLOG_SWITCH record and zeroes up to the next segment.
    Placed AppendSwitch();
    // The first `keep` bytes of the record only, then nothing: a torn tail.
    void AppendTorn(const WalRecordSpec& spec, size_t keep);
    // As AppendTorn to the end of the page, then a page that begins with the overwrite flag and an
    // XLOG_OVERWRITE_CONTRECORD record, which is returned. Requires: the record crosses the page.
    Placed AppendOverwritten(const WalRecordSpec& abandoned);
    // Zeroes that are not WAL.
    void AppendZeros(size_t n) { stream_.append(n, '\0'); }
    // An XLOG_NOOP record that ends exactly at `end` (8-aligned, on this page or later).
    Placed FillTo(Lsn end);

  private:
    void StartPage(uint16_t flags, uint32_t remaining);
    // Writes record bytes with page headers in between; stops after `limit` bytes of the record.
    void Write(std::string_view record, size_t limit);

    const Lsn start_;
    const uint64_t system_identifier_;
    Lsn prev_;
    std::string stream_;
};

}  // namespace zenith

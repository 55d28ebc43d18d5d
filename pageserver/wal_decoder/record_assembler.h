// RecordAssembler: turns a stream of WAL bytes into whole records: strips page headers, joins what
// crosses pages and segments, checks page headers, prev-links and CRCs.
//
// Use     Feed() bytes in order, then NextRecord() until it returns no more records. Start it at a
//         record boundary (the end of some record); `prev` is the start of the record before it, or
//         invalid to accept any prev-link on the first record. System identifier 0 accepts any.
// End     Anything that is not a valid next record (zero length, bad CRC, stale prev-link, page
//         header of another place) is the end of usable WAL, not corruption: NextRecord returns
//         kEndOfWal from then on and end_reason() says why. A stream that is merely incomplete is
//         kNeedMore.
// Whole   A record is returned when everything up to its end has been fed, the padding to 8 bytes
//         included, so last_end() never exceeds fed_up_to().
// Special XLOG_SWITCH ends at the next segment start; it is returned when the stream has got there.
//         A page with XLP_FIRST_IS_OVERWRITE_CONTRECORD drops the partial record before it.
// Bytes   The span in Record is valid until the next call of Feed or NextRecord.
// Memory  what was fed and not yet consumed, plus the record being joined, which grows only as its
//         bytes arrive. Time is linear in the bytes fed.
// Threads Not thread-safe; one assembler per stream.
//
// Source: XLogDecodeNextRecord(), XLogReaderValidatePageHeader() of xlogreader.c.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>

#include "common/base/lsn.h"
#include "common/pgformat/wal_format.h"

namespace zenith {

class RecordAssembler {
  public:
    enum class Outcome { kRecord, kNeedMore, kEndOfWal };

    struct Record {
        Lsn start;  // first byte of the record header (past a page header)
        Lsn end;    // as xlogreader's EndRecPtr: 8-aligned, a page boundary stays the boundary
        std::span<const std::byte> bytes;
    };

    RecordAssembler(Lsn start, Lsn prev, uint64_t system_identifier);

    // Requires: the bytes follow directly on what was fed before.
    void Feed(std::span<const std::byte> data);
    Outcome NextRecord(Record* out);

    // End of the last record returned (the start position before the first one).
    Lsn last_end() const { return last_end_; }
    // Start of the last record returned; what the next record's prev-link must be.
    Lsn last_start() const { return last_start_; }
    // First byte not yet fed.
    Lsn fed_up_to() const { return fed_up_to_; }
    const std::string& end_reason() const { return end_reason_; }

  private:
    Outcome End(const std::string& reason);
    size_t available() const { return input_.size() - input_offset_; }
    const char* input() const { return input_.data() + input_offset_; }
    void Consume(size_t n);
    // Each returns an empty string when all is well, else why the WAL ends here.
    std::string ReadPageHeader();
    std::string CheckRecordHeader() const;
    std::string CheckRecordCrc() const;

    Lsn last_end_;
    Lsn last_start_;
    Lsn fed_up_to_;
    uint64_t system_identifier_;
    bool ended_ = false;
    std::string end_reason_;

    // Bytes fed but not consumed; input_[input_offset_] is at LSN position_.
    std::string input_;
    size_t input_offset_ = 0;
    Lsn position_;
    // Bytes before this position are passed over: padding, the rest of a switched segment.
    Lsn skip_to_;

    // The record being joined.
    std::string record_;
    Lsn record_start_;
    uint32_t record_length_ = 0;  // 0: between records
    bool header_checked_ = false;
    bool complete_ = false;   // all bytes are in record_, its end is skip_to_
    bool delivered_ = false;  // returned by the last call
};

}  // namespace zenith

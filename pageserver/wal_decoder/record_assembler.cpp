#include "pageserver/wal_decoder/record_assembler.h"

#include <algorithm>
#include <cstdio>
#include <cstring>

#include "common/base/byte_reader.h"
#include "common/base/crc32c.h"
#include "common/pgformat/record_types.h"

namespace zenith {

namespace {

constexpr uint16_t kAllPageFlags = 0x000F;  // XLP_ALL_FLAGS
// No resource manager can build a longer record (MaxAllocSize); more is garbage.
constexpr uint32_t kMaxRecordLength = 1u << 30;
constexpr size_t kCrcOffset = 20;
// Input consumed before this is kept in place; moving less would not pay.
constexpr size_t kCompactThreshold = 64 * 1024;
constexpr size_t kKeepRecordCapacity = 1024 * 1024;

std::span<const std::byte> AsBytes(const char* data, size_t size) {
    return std::as_bytes(std::span(data, size));
}

uint32_t U32At(const std::string& bytes, size_t offset) {
    uint32_t value;
    std::memcpy(&value, bytes.data() + offset, sizeof value);
    return value;
}

std::string Hex(uint32_t value) {
    char text[16];
    std::snprintf(text, sizeof text, "%04X", value);
    return text;
}

}  // namespace

RecordAssembler::RecordAssembler(Lsn start, Lsn prev, uint64_t system_identifier)
    : last_end_(start),
      last_start_(prev),
      fed_up_to_(start),
      system_identifier_(system_identifier),
      position_(start),
      skip_to_(MaxAlign(start.value)) {}

void RecordAssembler::Feed(std::span<const std::byte> data) {
    fed_up_to_ = fed_up_to_ + data.size();
    if (ended_) {
        return;
    }
    // Each byte is moved at most once for every byte consumed before it.
    if (input_offset_ >= kCompactThreshold && input_offset_ >= input_.size() / 2) {
        input_.erase(0, input_offset_);
        input_offset_ = 0;
    } else if (input_offset_ == input_.size()) {
        input_.clear();
        input_offset_ = 0;
    }
    input_.append(reinterpret_cast<const char*>(data.data()), data.size());
}

void RecordAssembler::Consume(size_t n) {
    input_offset_ += n;
    position_ = position_ + n;
}

RecordAssembler::Outcome RecordAssembler::End(const std::string& reason) {
    ended_ = true;
    end_reason_ = reason;
    input_ = std::string();
    input_offset_ = 0;
    record_ = std::string();
    return Outcome::kEndOfWal;
}

std::string RecordAssembler::ReadPageHeader() {
    const size_t size = WalPageHeaderSize(position_);
    const bool segment_start = size == kWalLongHeaderSize;
    ByteReader reader(AsBytes(input(), size));
    const uint16_t magic = reader.U16Le();
    const uint16_t flags = reader.U16Le();
    const uint32_t timeline = reader.U32Le();
    const Lsn address(reader.U64Le());
    const uint32_t remaining = reader.U32Le();
    const std::string at = " in the page header at " + position_.ToString();
    if (magic != kWalPageMagic) {
        return "invalid magic number " + Hex(magic) + at;
    }
    if ((flags & ~kAllPageFlags) != 0 || ((flags & kWalPageLongHeader) != 0) != segment_start) {
        return "invalid info bits " + Hex(flags) + at;
    }
    if (address != position_) {
        return "unexpected page address " + address.ToString() + at;
    }
    if (timeline != kWalTimelineId) {
        return "unexpected timeline " + std::to_string(timeline) + at;
    }
    if (segment_start) {
        reader.Skip(4);
        const uint64_t system_identifier = reader.U64Le();
        const uint32_t segment_size = reader.U32Le();
        const uint32_t page_size = reader.U32Le();
        if (system_identifier_ != 0 && system_identifier != system_identifier_) {
            return "system identifier " + std::to_string(system_identifier) + " instead of " +
                   std::to_string(system_identifier_) + at;
        }
        if (segment_size != kWalSegmentSize || page_size != kWalPageSize) {
            return "unexpected segment or page size" + at;
        }
    }

    if (record_length_ == 0) {
        if ((flags & kWalPageFirstIsContRecord) != 0) {
            return "unexpected continuation of a record" + at;
        }
    } else if ((flags & kWalPageFirstIsOverwriteContRecord) != 0) {
        // The writer crashed in the middle of this record; what follows replaces it.
        record_length_ = 0;
        record_.clear();
    } else if ((flags & kWalPageFirstIsContRecord) == 0) {
        return "no continuation of the record at " + record_start_.ToString() + at;
    } else if (remaining != record_length_ - record_.size()) {
        return "invalid length of the continuation of the record at " + record_start_.ToString() +
               at;
    }
    Consume(size);
    return "";
}

std::string RecordAssembler::CheckRecordHeader() const {
    ByteReader reader(AsBytes(record_.data(), kWalRecordHeaderSize));
    reader.Skip(8);
    const Lsn prev(reader.U64Le());
    reader.Skip(1);
    const uint8_t rmgr = reader.U8();
    if (rmgr > kMaxBuiltinRmgr && rmgr < kMinCustomRmgr) {
        return "invalid resource manager " + std::to_string(rmgr) + " in the record at " +
               record_start_.ToString();
    }
    const bool prev_fits = last_start_.valid() ? prev == last_start_ : prev < record_start_;
    if (!prev_fits) {
        return "incorrect prev-link " + prev.ToString() + " in the record at " +
               record_start_.ToString();
    }
    return "";
}

std::string RecordAssembler::CheckRecordCrc() const {
    uint32_t crc = Crc32cExtend(kCrc32cInit, AsBytes(record_.data() + kWalRecordHeaderSize,
                                                     record_.size() - kWalRecordHeaderSize));
    crc = Crc32cFinish(Crc32cExtend(crc, AsBytes(record_.data(), kCrcOffset)));
    if (crc != U32At(record_, kCrcOffset)) {
        return "incorrect checksum in the record at " + record_start_.ToString();
    }
    return "";
}

RecordAssembler::Outcome RecordAssembler::NextRecord(Record* out) {
    if (ended_) {
        return Outcome::kEndOfWal;
    }
    if (delivered_) {
        delivered_ = false;
        record_length_ = 0;
        record_.clear();
        if (record_.capacity() > kKeepRecordCapacity) {
            record_ = std::string();
        }
    }
    for (;;) {
        if (position_ < skip_to_) {
            Consume(std::min<uint64_t>(available(), skip_to_ - position_));
            if (position_ < skip_to_) {
                return Outcome::kNeedMore;
            }
        }
        if (complete_) {
            complete_ = false;
            delivered_ = true;
            last_start_ = record_start_;
            last_end_ = skip_to_;
            *out = Record{record_start_, last_end_, AsBytes(record_.data(), record_.size())};
            return Outcome::kRecord;
        }
        const uint64_t in_page = position_.value % kWalPageSize;
        if (in_page == 0) {
            if (available() < WalPageHeaderSize(position_)) {
                return Outcome::kNeedMore;
            }
            if (std::string reason = ReadPageHeader(); !reason.empty()) {
                return End(reason);
            }
            continue;
        }
        if (record_length_ == 0) {
            if (in_page < WalPageHeaderSize(position_ - in_page)) {
                return End("invalid record offset " + position_.ToString());
            }
            // Records are aligned to 8 bytes, so the length is never split between pages.
            if (available() < sizeof(uint32_t)) {
                return Outcome::kNeedMore;
            }
            std::memcpy(&record_length_, input(), sizeof record_length_);
            record_start_ = position_;
            header_checked_ = false;
            if (record_length_ < kWalRecordHeaderSize || record_length_ > kMaxRecordLength) {
                return End("invalid record length " + std::to_string(record_length_) + " at " +
                           position_.ToString());
            }
        }
        const size_t wanted =
            std::min<uint64_t>(kWalPageSize - in_page, record_length_ - record_.size());
        const size_t taken = std::min(wanted, available());
        record_.append(input(), taken);
        Consume(taken);
        if (!header_checked_ && record_.size() >= kWalRecordHeaderSize) {
            if (std::string reason = CheckRecordHeader(); !reason.empty()) {
                return End(reason);
            }
            header_checked_ = true;
        }
        if (taken < wanted) {
            return Outcome::kNeedMore;
        }
        if (record_.size() < record_length_) {
            continue;
        }
        if (std::string reason = CheckRecordCrc(); !reason.empty()) {
            return End(reason);
        }
        uint64_t end = MaxAlign(position_.value);
        const auto info = static_cast<uint8_t>(record_[16]);
        const auto rmgr = static_cast<uint8_t>(record_[17]);
        if (rmgr == static_cast<uint8_t>(Rmgr::kXlog) && (info & kInfoRmgrMask) == kXlogSwitch) {
            end = (end + kWalSegmentSize - 1) / kWalSegmentSize * kWalSegmentSize;
        }
        skip_to_ = Lsn(end);
        complete_ = true;
    }
}

}  // namespace zenith

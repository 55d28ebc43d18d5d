#include "pageserver/inspect/check_wal.h"

#include <fcntl.h>
#include <sys/stat.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <deque>
#include <vector>

#include "common/base/byte_reader.h"
#include "common/base/posix_file.h"
#include "common/pgformat/record_types.h"
#include "common/pgformat/segment_name.h"
#include "common/pgformat/wal_format.h"
#include "pageserver/wal_decoder/record_assembler.h"

namespace zenith {

namespace {

constexpr uint64_t kChunk = 1 << 20;
constexpr uint64_t kProgressEvery = 1ull << 30;
constexpr uint32_t kMaxRecordLength = 1u << 30;
// What the kernel writes of a write(2) that a killed process had begun ends at such a multiple.
constexpr uint64_t kTornMultiple = 4096;

uint64_t RoundUp(uint64_t n, uint64_t multiple) { return (n + multiple - 1) / multiple * multiple; }

// Where the bytes of a record end that starts at `start` and has `length` bytes.
Lsn RawEnd(Lsn start, uint64_t length) {
    Lsn at = start;
    for (;;) {
        const uint64_t room = kWalPageSize - at.value % kWalPageSize;
        if (length <= room) {
            return at + length;
        }
        length -= room;
        at = at + room;
        at = at + WalPageHeaderSize(at);
    }
}

struct PageHeader {
    uint16_t magic = 0;
    uint16_t flags = 0;
    uint32_t timeline = 0;
    Lsn address;
    uint32_t remaining = 0;
    uint32_t padding = 0;

    static PageHeader Parse(std::span<const std::byte> bytes) {
        ByteReader reader(bytes);
        PageHeader header;
        header.magic = reader.U16Le();
        header.flags = reader.U16Le();
        header.timeline = reader.U32Le();
        header.address = Lsn(reader.U64Le());
        header.remaining = reader.U32Le();
        header.padding = reader.U32Le();
        return header;
    }
    bool continues() const {
        return (flags & kWalPageFirstIsContRecord) != 0 &&
               (flags & kWalPageFirstIsOverwriteContRecord) == 0;
    }
    // What is wrong with it, or null.
    const char* Wrong(Lsn page) const {
        if (magic != kWalPageMagic) {
            return "invalid magic number in a WAL page header";
        }
        if (timeline != kWalTimelineId) {
            return "WAL page header of another PostgreSQL timeline";
        }
        if (address != page) {
            return "WAL page header of another position";
        }
        if (((flags & kWalPageLongHeader) != 0) != (page.value % kWalSegmentSize == 0) ||
            (flags & ~0x000F) != 0) {
            return "invalid flags in a WAL page header";
        }
        if (padding != 0 || ((flags & kWalPageFirstIsContRecord) == 0 && remaining != 0)) {
            return "invalid WAL page header";
        }
        return nullptr;
    }
};

class WalChecker {
  public:
    WalChecker(const WalCheck& check, Findings* findings, const Progress& progress)
        : check_(check), findings_(findings), progress_(progress) {}

    WalCheckResult Run();

  private:
    std::string PathOf(Lsn lsn) const {
        return check_.directory + "/" + WalSegmentName(WalSegmentNumber(lsn));
    }
    void Error(Lsn lsn, const std::string& what, const std::string& hint = "") {
        Finding finding;
        finding.file = PathOf(lsn);
        finding.offset = lsn.value % kWalSegmentSize;
        finding.what = what;
        finding.timeline = check_.timeline;
        finding.lsn = lsn;
        finding.hint = hint;
        findings_->Add(std::move(finding));
        errors_++;
    }
    bool ListSegments();
    bool HasSegment(Lsn lsn) const { return segments_.contains(WalSegmentNumber(lsn)); }
    // Bytes of the files from `lsn` on, within one segment; behind a short file's end zeroes. False
    // (and an error) when they cannot be read.
    bool Read(Lsn lsn, std::span<std::byte> data);
    // The first byte in [from, to) that is not zero; `to` when there is none. Requires: the
    // segments exist.
    Lsn FirstNonZero(Lsn from, Lsn to);
    Lsn EndOfFiles(Lsn from) const;
    // Where the walk begins; invalid when nothing can be walked.
    Lsn FindStart();
    Lsn FindFirstRecord(Lsn segment_start);
    void Walk(Lsn from, Lsn previous);
    void Accept(const RecordAssembler::Record& record, Lsn chunk_start,
                std::span<const std::byte> chunk);
    void CheckHeadersBefore(Lsn end, Lsn zeroes_from);
    void CheckEnd(const std::string& reason);
    // Where else the damage to the record after `end` may be: ", or in ..." when it goes on in the
    // next file.
    std::string ElsewhereInRecord(Lsn end);
    // Whether [end, behind) can be the beginning of a record that never became whole.
    bool IsTornRecord(Lsn end, Lsn behind);

    const WalCheck& check_;
    Findings* const findings_;
    const Progress& progress_;
    size_t errors_ = 0;
    std::map<uint64_t, uint64_t> segments_;  // number -> bytes of the file
    UniqueFd open_;
    uint64_t open_segment_ = 0;
    Lsn last_start_;
    // Headers of pages that the walk has read but no record has got past.
    std::deque<std::pair<Lsn, PageHeader>> headers_;
    WalCheckResult result_;
};

bool WalChecker::ListSegments() {
    auto names = ListDirectory(check_.directory);
    if (names.status().code() == StatusCode::kNotFound) {
        return true;  // made with the first file
    }
    if (!names.ok()) {
        findings_->Error(check_.directory, names.status(), check_.timeline);
        return false;
    }
    std::sort(names->begin(), names->end());
    for (const std::string& name : *names) {
        const std::string path = check_.directory + "/" + name;
        std::optional<uint64_t> segment = ParseWalSegmentName(name);
        if (!segment) {
            if (name != "durable") {
                findings_->Warning(path, "unknown file", check_.timeline);
            }
            continue;
        }
        struct stat info;
        if (stat(path.c_str(), &info) != 0) {
            if (errno != ENOENT) {
                findings_->Error(path, ErrnoStatus("stat file", path, errno), check_.timeline);
            }
            continue;
        }
        segments_[*segment] = static_cast<uint64_t>(info.st_size);
    }
    for (const auto& [segment, bytes] : segments_) {
        const Lsn start = WalSegmentStart(segment);
        const bool is_last = segment == segments_.rbegin()->first;
        if (bytes > kWalSegmentSize || (bytes < kWalSegmentSize && !is_last)) {
            Error(start, "WAL segment file of " + std::to_string(bytes) + " bytes");
        } else if (bytes < kWalSegmentSize && check_.judge_end) {
            findings_->Warning(PathOf(start),
                               "WAL segment file of " + std::to_string(bytes) +
                                   " bytes, which a crash or a full disk may leave",
                               check_.timeline);
        }
        if (!is_last && !segments_.contains(segment + 1)) {
            Error(WalSegmentStart(segment + 1), "WAL segment file is missing");
        }
        if (!check_.is_root && segment < WalSegmentNumber(check_.start)) {
            findings_->Warning(PathOf(start), "WAL of before the branch point", check_.timeline);
        }
    }
    return true;
}

bool WalChecker::Read(Lsn lsn, std::span<std::byte> data) {
    const uint64_t segment = WalSegmentNumber(lsn);
    const std::string path = PathOf(lsn);
    if (!open_.valid() || open_segment_ != segment) {
        auto fd = OpenFile(path, O_RDONLY);
        if (!fd.ok()) {
            findings_->Error(path, fd.status(), check_.timeline);
            errors_++;
            return false;
        }
        open_ = *std::move(fd);
        open_segment_ = segment;
    }
    auto got = ReadUpToAt(open_.get(), path, lsn.value % kWalSegmentSize, data);
    if (!got.ok()) {
        findings_->Error(path, got.status(), check_.timeline);
        errors_++;
        return false;
    }
    std::fill(data.begin() + static_cast<ptrdiff_t>(*got), data.end(), std::byte{0});
    return true;
}

Lsn WalChecker::FirstNonZero(Lsn from, Lsn to) {
    std::vector<std::byte> buffer(kChunk);
    while (from < to) {
        const uint64_t size = std::min(
            {kChunk, to - from, kWalSegmentSize - from.value % kWalSegmentSize});
        auto part = std::span(buffer).first(size);
        if (!Read(from, part)) {
            return to;
        }
        auto found =
            std::find_if(part.begin(), part.end(), [](std::byte b) { return b != std::byte{0}; });
        if (found != part.end()) {
            return from + static_cast<uint64_t>(found - part.begin());
        }
        from = from + size;
    }
    return to;
}

Lsn WalChecker::EndOfFiles(Lsn from) const {
    uint64_t segment = WalSegmentNumber(from);
    while (segments_.contains(segment)) {
        segment++;
    }
    return WalSegmentStart(segment);
}

Lsn WalChecker::FindFirstRecord(Lsn segment_start) {
    uint32_t expected = 0;
    for (Lsn page = segment_start; HasSegment(page); page = page + kWalPageSize) {
        std::array<std::byte, kWalLongHeaderSize> bytes;
        if (!Read(page, bytes)) {
            return Lsn();
        }
        const PageHeader header = PageHeader::Parse(bytes);
        if (const char* wrong = header.Wrong(page)) {
            Error(page, wrong);
            return Lsn();
        }
        if (!header.continues()) {
            if (expected != 0 && (header.flags & kWalPageFirstIsOverwriteContRecord) == 0) {
                Error(page, "WAL page that does not continue the record before it");
                return Lsn();
            }
            return page;
        }
        if (expected != 0 && header.remaining != expected) {
            Error(page, "invalid length of the continuation of a record");
            return Lsn();
        }
        const uint64_t size = WalPageHeaderSize(page);
        const uint64_t room = kWalPageSize - size;
        if (MaxAlign(header.remaining) < room) {
            return page + size + MaxAlign(header.remaining);
        }
        // What ends with the page is followed by a page that continues nothing.
        expected = header.remaining > room ? header.remaining - static_cast<uint32_t>(room) : 0;
    }
    return Lsn();
}

Lsn WalChecker::FindStart() {
    const Lsn oldest_file = WalSegmentStart(segments_.begin()->first);
    if (!check_.is_root && HasSegment(check_.start)) {
        const Lsn segment_start = WalSegmentStart(WalSegmentNumber(check_.start));
        const Lsn foreign = FirstNonZero(segment_start, check_.start);
        if (foreign < check_.start) {
            Error(foreign, "bytes before the branch point at " + check_.start.ToString());
        }
        last_start_ = check_.previous_record;
        return check_.start;
    }
    return FindFirstRecord(oldest_file);
}

void WalChecker::CheckHeadersBefore(Lsn end, Lsn zeroes_from) {
    while (!headers_.empty() && headers_.front().first < end) {
        const auto& [page, header] = headers_.front();
        // Behind a segment switch there are zeroes, checked as such.
        if (page < zeroes_from) {
            if (const char* wrong = header.Wrong(page)) {
                Error(page, wrong);
            }
        }
        headers_.pop_front();
    }
}

void WalChecker::Accept(const RecordAssembler::Record& record, Lsn chunk_start,
                        std::span<const std::byte> chunk) {
    const Lsn raw_end = RawEnd(record.start, record.bytes.size());
    CheckHeadersBefore(record.end, raw_end);
    if (MaxAlign(raw_end.value) == record.end.value) {
        for (Lsn at = raw_end; at < record.end; at = at + 1) {
            if (chunk[at - chunk_start] != std::byte{0}) {
                Error(at, "bytes between two WAL records");
            }
        }
    } else {  // a segment switch
        const Lsn foreign = FirstNonZero(raw_end, record.end);
        if (foreign < record.end) {
            Error(foreign, "bytes behind a segment switch");
        }
    }
    if (check_.boundaries.contains(record.end)) {
        result_.record_before[record.end] = record.start;
    }
    result_.records++;
}

void WalChecker::Walk(Lsn from, Lsn previous) {
    RecordAssembler assembler(from, previous, check_.system_identifier);
    std::vector<std::byte> chunk;
    Lsn told = from;
    std::string reason;
    while (reason.empty()) {
        const Lsn at = assembler.fed_up_to();
        if (!HasSegment(at)) {
            reason = "the WAL segment files end";
            break;
        }
        chunk.resize(kChunk - at.value % kChunk);  // a segment is a multiple of that
        if (!Read(at, chunk)) {
            return;
        }
        for (Lsn page(RoundUp(at.value, kWalPageSize)); page < at + chunk.size();
             page = page + kWalPageSize) {
            headers_.emplace_back(page,
                                  PageHeader::Parse(std::span(chunk).subspan(page - at)));
        }
        assembler.Feed(chunk);
        RecordAssembler::Record record;
        RecordAssembler::Outcome outcome;
        while ((outcome = assembler.NextRecord(&record)) == RecordAssembler::Outcome::kRecord) {
            Accept(record, at, chunk);
        }
        if (outcome == RecordAssembler::Outcome::kEndOfWal) {
            reason = assembler.end_reason();
        }
        if (progress_ && at - told >= kProgressEvery) {
            progress_("timeline " + check_.timeline.ToString() + ": WAL up to " + at.ToString());
            told = at;
        }
    }
    result_.end = assembler.last_end();
    last_start_ = assembler.last_start();
    CheckEnd(reason);
}

bool WalChecker::IsTornRecord(Lsn end, Lsn behind) {
    const Lsn torn_at(RoundUp(behind.value, kTornMultiple));
    const Lsn start = WalRecordStartAt(end);
    std::array<std::byte, kWalRecordHeaderSize> header{};
    if (start.value % kWalPageSize + header.size() > kWalPageSize) {
        // Not even the header is whole; the length always is.
        return behind <= start || torn_at.value == RoundUp(start.value, kWalPageSize);
    }
    if (!HasSegment(start) || !Read(start, header)) {
        return false;
    }
    ByteReader reader(header);
    const uint32_t length = reader.U32Le();
    reader.Skip(4);
    const Lsn previous(reader.U64Le());
    reader.Skip(1);
    const uint8_t rmgr = reader.U8();
    if (length < kWalRecordHeaderSize || length > kMaxRecordLength || rmgr > kMaxBuiltinRmgr ||
        (last_start_.valid() && previous != last_start_) || torn_at >= RawEnd(start, length)) {
        return false;
    }
    // The pages it got on to continue it.
    uint64_t rest = length - std::min<uint64_t>(length, kWalPageSize - start.value % kWalPageSize);
    for (Lsn page(RoundUp(start.value + 1, kWalPageSize)); page < behind;
         page = page + kWalPageSize) {
        std::array<std::byte, kWalLongHeaderSize> bytes;
        if (!HasSegment(page) || !Read(page, bytes)) {
            return false;
        }
        const PageHeader page_header = PageHeader::Parse(bytes);
        if (page_header.Wrong(page) != nullptr || !page_header.continues() ||
            page_header.remaining != rest) {
            return false;
        }
        rest -= std::min<uint64_t>(rest, kWalPageSize - WalPageHeaderSize(page));
    }
    return true;
}

std::string WalChecker::ElsewhereInRecord(Lsn end) {
    const Lsn start = WalRecordStartAt(end);
    std::array<std::byte, sizeof(uint32_t)> bytes;
    if (!HasSegment(start) || !Read(start, bytes)) {
        return "";
    }
    const uint32_t length = ByteReader(bytes).U32Le();
    const uint64_t last = WalSegmentNumber(RawEnd(start, length) - 1);
    if (length > kMaxRecordLength || last == WalSegmentNumber(end) || !segments_.contains(last)) {
        return "";
    }
    return "; the record goes on in file \"" + PathOf(WalSegmentStart(last)) + "\"";
}

void WalChecker::CheckEnd(const std::string& reason) {
    const Lsn end = result_.end;
    if (end < check_.needed_to) {
        Error(end,
              "WAL is damaged: " + reason + ", but it is needed up to " +
                  check_.needed_to.ToString() + ElsewhereInRecord(end),
              "Put a good copy of the file in its place.");
        return;
    }
    if (!check_.judge_end || !HasSegment(end)) {
        return;
    }
    // From the back: the last byte that is not zero.
    const Lsn files_end = EndOfFiles(end);
    Lsn behind = end;
    for (Lsn at = end; at < files_end;) {
        const Lsn found = FirstNonZero(at, files_end);
        if (found == files_end) {
            break;
        }
        // Whole kilobytes do: what follows is rounded up anyway.
        behind = Lsn(RoundUp(found.value + 1, 1024));
        at = behind;
    }
    if (behind == end || IsTornRecord(end, std::min(behind, files_end))) {
        return;
    }
    Error(FirstNonZero(end, files_end),
          "bytes behind the last whole WAL record at " + end.ToString() +
              " that are not the beginning of another one (" + reason + ")",
          "Damage to the newest records, or what a power failure left; the next compute on the "
          "timeline cuts it off.");
}

WalCheckResult WalChecker::Run() {
    result_.end = check_.start;
    if (!ListSegments()) {
        return result_;
    }
    const Lsn needed_from = std::max(check_.start, check_.needed_from);
    if (segments_.empty()) {
        if (check_.needed_to > needed_from) {
            Finding finding;
            finding.file = check_.directory;
            finding.what = "the WAL from " + needed_from.ToString() + " to " +
                           check_.needed_to.ToString() + " is missing";
            finding.timeline = check_.timeline;
            findings_->Add(std::move(finding));
        }
        return result_;
    }
    const Lsn from = FindStart();
    if (!from.valid()) {
        return result_;
    }
    result_.first = from;
    if (needed_from < check_.needed_to && from > needed_from) {
        Error(needed_from, "the WAL from here to " + from.ToString() + " is missing");
    }
    Walk(from, last_start_);
    // Only where the chain is whole: a broken one has been told of.
    for (Lsn boundary : check_.boundaries) {
        if (boundary > from && boundary <= result_.end &&
            !result_.record_before.contains(boundary)) {
            Error(boundary, "no WAL record ends here, where a layer, branch or tag says so");
        }
    }
    return result_;
}

}  // namespace

WalCheckResult CheckWal(const WalCheck& check, Findings* findings, const Progress& progress) {
    return WalChecker(check, findings, progress).Run();
}

}  // namespace zenith

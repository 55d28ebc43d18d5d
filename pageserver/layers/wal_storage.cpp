#include "pageserver/layers/wal_storage.h"

#include <fcntl.h>
#include <sys/stat.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <vector>

#include "common/base/byte_reader.h"
#include "common/base/crc32c.h"
#include "common/base/posix_file.h"
#include "common/pgformat/segment_name.h"
#include "common/pgformat/wal_format.h"

namespace zenith {

namespace {

// Segment files kept open for reading, per timeline. A thousand timelines stay below the usual
// limit of descriptors only because few of them are read at a time.
constexpr size_t kMaxOpenSegments = 8;
// ReadRecord's first read: most records are shorter, and a longer one says its length in here.
constexpr size_t kFirstReadSize = 16 * 1024;
// Longest record PostgreSQL could build and read again (MaxAllocSize of utils/memutils.h).
constexpr uint32_t kMaxRecordLength = 0x3fffffff;

// Gives a segment its full size. Allocating (without writing) was measured on ext4 (without a
// journal; with one, metadata cost more) against the two alternatives, appending 700 bytes and
// calling fdatasync each time: growing the file costs 154 us and 8.7 kB of disk writes a call,
// because every call writes the new size, too; an allocated file 113 us and 5.5 kB; one filled with
// zeroes beforehand 106 us and 4.8 kB, but the filling takes 12 ms of the appender's time and writes
// all WAL twice. Allocation also turns a full disk into an error here, at a segment's start, instead
// of in the middle of a sync.
Status AllocateSegment(int fd, const std::string& path) {
    int error_number;
    do {
        error_number = posix_fallocate(fd, 0, static_cast<off_t>(kWalSegmentSize));
    } while (error_number == EINTR);
    if (error_number != 0) {
        return ErrnoStatus("allocate WAL segment", path, error_number);
    }
    return Status::Ok();
}

// Number of raw bytes that `length` bytes of record data take from `start` on, page headers
// included.
uint64_t RawLength(Lsn start, uint64_t length) {
    uint64_t raw = 0;
    uint64_t room = kWalPageSize - start.value % kWalPageSize;
    while (length > room) {
        length -= room;
        raw += room;
        size_t header = WalPageHeaderSize(start + raw);
        raw += header;
        room = kWalPageSize - header;
    }
    return raw + length;
}

// What is wrong with the page header at the front of `raw`, or null. Expected: a continuation of
// a record of which `remaining` bytes are missing.
const char* CheckPageHeader(std::span<const std::byte> raw, Lsn page, uint64_t remaining) {
    ByteReader reader(raw);
    uint16_t magic = reader.U16Le();
    uint16_t info = reader.U16Le();
    uint32_t timeline = reader.U32Le();
    uint64_t address = reader.U64Le();
    uint32_t record_rest = reader.U32Le();
    if (!reader.ok() || magic != kWalPageMagic || timeline != kWalTimelineId) {
        return "invalid WAL page header";
    }
    if (address != page.value) {
        return "WAL page of another position";
    }
    bool long_header = (info & kWalPageLongHeader) != 0;
    if (long_header != (WalPageHeaderSize(page) == kWalLongHeaderSize)) {
        return "WAL page header of the wrong length";
    }
    if ((info & kWalPageFirstIsContRecord) == 0 || record_rest != remaining) {
        return "WAL page that does not continue the record";
    }
    return nullptr;
}

}  // namespace

WalStorage::WalStorage(std::string directory, Lsn start, const WalStorage* parent)
    : directory_(std::move(directory)), start_(start), parent_(parent) {}

std::string WalStorage::SegmentPath(uint64_t segment_number) const {
    return directory_ + "/" + WalSegmentName(segment_number);
}

std::string WalStorage::Place(Lsn lsn) const {
    return "at " + lsn.ToString() + " (offset " + std::to_string(lsn.value % kWalSegmentSize) +
           " of file \"" + SegmentPath(WalSegmentNumber(lsn)) + "\")";
}

// ---- appending ----------------------------------------------------------------------------------

Status WalStorage::OpenForAppend(uint64_t segment_number) {
    if (append_fd_.valid() && append_segment_ == segment_number) {
        return Status::Ok();
    }
    const std::string path = SegmentPath(segment_number);
    bool existed = FileExists(path);
    ZENITH_ASSIGN_OR_RETURN(UniqueFd fd, OpenFile(path, O_RDWR | O_CREAT));
    directory_changed_ = directory_changed_ || !existed;
    struct stat info;
    if (fstat(fd.get(), &info) != 0) {
        return ErrnoStatus("stat file", path, errno);
    }
    // A short file is what a crash or a full disk left of an earlier allocation.
    if (static_cast<uint64_t>(info.st_size) < kWalSegmentSize) {
        unsynced_segments_.insert(segment_number);
        ZENITH_RETURN_IF_ERROR(AllocateSegment(fd.get(), path));
    }
    append_fd_ = std::move(fd);
    append_segment_ = segment_number;
    return Status::Ok();
}

Status WalStorage::Append(Lsn lsn, std::span<const std::byte> data) {
    if (lsn < start_) {
        return Status::InvalidArgument("WAL at " + lsn.ToString() +
                                       " is before the start of the timeline at " +
                                       start_.ToString());
    }
    if (!lost_.ok()) {
        if (lsn > lost_from_) {
            return lost_;
        }
        lost_ = Status::Ok();
    }
    unsynced_from_ = std::min(unsynced_from_, lsn);
    while (!data.empty()) {
        uint64_t segment = WalSegmentNumber(lsn);
        uint64_t offset = lsn.value % kWalSegmentSize;
        size_t n = std::min<uint64_t>(data.size(), kWalSegmentSize - offset);
        ZENITH_RETURN_IF_ERROR(OpenForAppend(segment));
        unsynced_segments_.insert(segment);
        ZENITH_RETURN_IF_ERROR(
            WriteAllAt(append_fd_.get(), SegmentPath(segment), offset, data.first(n)));
        lsn = lsn + n;
        data = data.subspan(n);
    }
    return Status::Ok();
}

Status WalStorage::Sync() {
    ZENITH_RETURN_IF_ERROR(lost_);
    Status status = SyncFiles();
    if (!status.ok()) {
        lost_ = status.WithContext("WAL of timeline from " + unsynced_from_.ToString() +
                                   " on is not durable");
        lost_from_ = unsynced_from_;
        append_fd_.Reset();
        return lost_;
    }
    unsynced_from_ = kMaxLsn;
    return Status::Ok();
}

Status WalStorage::SyncFiles() {
    for (uint64_t segment : unsynced_segments_) {
        if (segment < first_segment_.load()) {
            continue;
        }
        const std::string path = SegmentPath(segment);
        // fdatasync works on the file: a descriptor opened again for an older segment is as good.
        UniqueFd reopened;
        int fd = append_fd_.get();
        if (!append_fd_.valid() || append_segment_ != segment) {
            ZENITH_ASSIGN_OR_RETURN(reopened, OpenFile(path, O_RDWR));
            fd = reopened.get();
        }
        ZENITH_RETURN_IF_ERROR(FdatasyncFile(fd, path));
    }
    if (directory_changed_) {
        ZENITH_RETURN_IF_ERROR(FsyncDirectory(directory_));
    }
    unsynced_segments_.clear();
    directory_changed_ = false;
    return Status::Ok();
}

Status WalStorage::ZeroTail(Lsn lsn, bool rewrite) {
    uint64_t segment = WalSegmentNumber(lsn);
    if (!FileExists(SegmentPath(segment))) {
        unsynced_segments_.erase(segment);
        return Status::Ok();
    }
    ZENITH_RETURN_IF_ERROR(OpenForAppend(segment));
    // Mostly the tail is zero already: only what is not gets written.
    constexpr size_t kChunk = 256 * 1024;
    std::vector<std::byte> chunk(kChunk);
    const std::vector<std::byte> zeroes(kChunk);
    uint64_t offset = lsn.value % kWalSegmentSize;
    while (offset < kWalSegmentSize) {
        size_t n = std::min<uint64_t>(kChunk - offset % kChunk, kWalSegmentSize - offset);
        auto part = std::span(chunk).first(n);
        ZENITH_RETURN_IF_ERROR(ReadOwn(WalSegmentStart(segment) + offset, part));
        if (rewrite || !std::equal(part.begin(), part.end(), zeroes.begin())) {
            unsynced_segments_.insert(segment);
            ZENITH_RETURN_IF_ERROR(WriteAllAt(append_fd_.get(), SegmentPath(segment), offset,
                                              std::span(zeroes).first(n)));
        }
        offset += n;
    }
    return Status::Ok();
}

Status WalStorage::TruncateAfter(Lsn lsn) {
    if (lsn < start_) {
        return Status::InvalidArgument("cannot cut off WAL at " + lsn.ToString() +
                                       ": the timeline starts at " + start_.ToString());
    }
    const bool rewrite = !lost_.ok();
    if (rewrite && lsn > lost_from_) {
        return lost_;
    }
    unsynced_from_ = std::min(unsynced_from_, lsn);
    // The first segment to go; the one before it keeps a part.
    uint64_t first = WalSegmentNumber(lsn) + (lsn.value % kWalSegmentSize == 0 ? 0 : 1);
    ZENITH_ASSIGN_OR_RETURN(std::vector<uint64_t> segments, Segments());
    std::erase_if(segments, [&](uint64_t segment) { return segment < first; });
    // Newest first: a crash in between leaves WAL without a gap.
    std::reverse(segments.begin(), segments.end());
    for (uint64_t segment : segments) {
        if (append_fd_.valid() && append_segment_ == segment) {
            append_fd_.Reset();
        }
        unsynced_segments_.erase(segment);
        ZENITH_RETURN_IF_ERROR(RemoveFile(SegmentPath(segment)));
        directory_changed_ = true;
        std::lock_guard lock(mutex_);
        removals_++;
        open_segments_.erase(segment);
    }
    if (lsn.value % kWalSegmentSize != 0) {
        ZENITH_RETURN_IF_ERROR(ZeroTail(lsn, rewrite));
    }
    lost_ = Status::Ok();
    return Sync();
}

Result<std::vector<uint64_t>> WalStorage::Segments() const {
    std::vector<uint64_t> segments;
    ZENITH_ASSIGN_OR_RETURN(std::vector<std::string> names, ListDirectory(directory_));
    for (const std::string& name : names) {
        if (std::optional<uint64_t> segment = ParseWalSegmentName(name)) {
            segments.push_back(*segment);
        }
    }
    std::sort(segments.begin(), segments.end());
    return segments;
}

Result<uint64_t> WalStorage::BytesOf(std::span<const uint64_t> segments) const {
    uint64_t bytes = 0;
    for (uint64_t segment : segments) {
        const std::string path = SegmentPath(segment);
        struct stat info;
        if (stat(path.c_str(), &info) != 0) {
            if (errno == ENOENT) {
                continue;
            }
            return ErrnoStatus("stat file", path, errno);
        }
        bytes += static_cast<uint64_t>(info.st_blocks) * 512;
    }
    return bytes;
}

Result<uint64_t> WalStorage::BytesOnDisk() const {
    ZENITH_ASSIGN_OR_RETURN(std::vector<uint64_t> segments, Segments());
    return BytesOf(segments);
}

Result<uint64_t> WalStorage::BytesBefore(Lsn lsn) const {
    ZENITH_ASSIGN_OR_RETURN(std::vector<uint64_t> segments, Segments());
    std::erase_if(segments, [&](uint64_t segment) { return segment >= WalSegmentNumber(lsn); });
    return BytesOf(segments);
}

Result<uint64_t> WalStorage::RemoveBefore(Lsn lsn) {
    ZENITH_ASSIGN_OR_RETURN(std::vector<uint64_t> segments, Segments());
    std::erase_if(segments, [&](uint64_t segment) { return segment >= WalSegmentNumber(lsn); });
    if (segments.empty()) {
        return 0;
    }
    ZENITH_ASSIGN_OR_RETURN(const uint64_t bytes, BytesOf(segments));
    first_segment_.store(std::max(first_segment_.load(), segments.back() + 1));
    for (uint64_t segment : segments) {
        ZENITH_RETURN_IF_ERROR(RemoveFile(SegmentPath(segment)));
        std::lock_guard lock(mutex_);
        removals_++;
        open_segments_.erase(segment);
    }
    ZENITH_RETURN_IF_ERROR(FsyncDirectory(directory_));
    return bytes;
}

Status WalStorage::SaveDurablePosition(Lsn lsn) const {
    const std::string position = lsn.ToString();
    char line[64];
    std::snprintf(line, sizeof line, "%s %08x\n", position.c_str(),
                  Crc32c(std::as_bytes(std::span(position.data(), position.size()))));
    return ReplaceFileAtomically(directory_ + "/durable", line);
}

Result<std::optional<Lsn>> WalStorage::ReadDurablePosition() const {
    const std::string path = directory_ + "/durable";
    auto content = ReadWholeFile(path);
    if (!content.ok()) {
        if (content.status().code() == StatusCode::kNotFound) {
            return std::optional<Lsn>();
        }
        return content.status();
    }
    const std::string position = content->substr(0, content->find(' '));
    char expected[64];
    std::snprintf(expected, sizeof expected, "%s %08x\n", position.c_str(),
                  Crc32c(std::as_bytes(std::span(position.data(), position.size()))));
    std::optional<Lsn> lsn = Lsn::Parse(position);
    if (!lsn.has_value() || *content != expected) {
        return Status::Corruption("file \"" + path + "\" does not hold a WAL position");
    }
    return lsn;
}

Status WalStorage::Rewrite(Lsn from, Lsn to) {
    std::vector<std::byte> buffer(1024 * 1024);
    while (from < to) {
        auto part = std::span(buffer).first(std::min<uint64_t>(buffer.size(), to - from));
        ZENITH_RETURN_IF_ERROR(Read(from, part));
        ZENITH_RETURN_IF_ERROR(Append(from, part));
        from = from + part.size();
    }
    // The directory, too: the one before may have died before it could.
    directory_changed_ = true;
    return Sync();
}

// ---- reading ------------------------------------------------------------------------------------

Status WalStorage::MissingSegment(uint64_t segment_number) const {
    std::string message = "WAL segment file \"" + SegmentPath(segment_number) + "\" (from " +
                          WalSegmentStart(segment_number).ToString() + " on) does not exist";
    auto segments = Segments();
    if (segments.ok() && !segments->empty() && segment_number < segments->front()) {
        message += ": the oldest WAL that is kept begins at " +
                   std::max(start_, WalSegmentStart(segments->front())).ToString();
    }
    return Status::NotFound(message);
}

Result<std::shared_ptr<WalStorage::OpenSegment>> WalStorage::SegmentForReading(
    uint64_t segment_number) const {
    uint64_t removals_before;
    {
        std::lock_guard lock(mutex_);
        removals_before = removals_;
        auto found = open_segments_.find(segment_number);
        if (found != open_segments_.end()) {
            found->second->last_use = ++use_clock_;
            return found->second;
        }
    }
    const std::string path = SegmentPath(segment_number);
    int fd = open(path.c_str(), O_RDONLY | O_CLOEXEC);
    if (fd < 0) {
        if (errno == ENOENT) {
            return MissingSegment(segment_number);
        }
        return ErrnoStatus("open file", path, errno);
    }
    auto opened = std::make_shared<OpenSegment>();
    opened->fd.Reset(fd);

    std::lock_guard lock(mutex_);
    if (removals_ != removals_before) {
        return opened;
    }
    opened->last_use = ++use_clock_;
    open_segments_[segment_number] = opened;
    if (open_segments_.size() > kMaxOpenSegments) {
        auto oldest = std::min_element(
            open_segments_.begin(), open_segments_.end(),
            [](const auto& a, const auto& b) { return a.second->last_use < b.second->last_use; });
        open_segments_.erase(oldest);
    }
    return opened;
}

Status WalStorage::ReadOwn(Lsn lsn, std::span<std::byte> data) const {
    uint64_t segment = WalSegmentNumber(lsn);
    ZENITH_ASSIGN_OR_RETURN(std::shared_ptr<OpenSegment> opened, SegmentForReading(segment));
    size_t done = 0;
    while (done < data.size()) {
        ssize_t n = pread(opened->fd.get(), data.data() + done, data.size() - done,
                          static_cast<off_t>(lsn.value % kWalSegmentSize + done));
        if (n < 0) {
            if (errno == EINTR) {
                continue;
            }
            return ErrnoStatus("read WAL " + Place(lsn + done) + " of segment",
                               SegmentPath(segment), errno);
        }
        if (n == 0) {
            // Not allocated to its full size yet, or never will be: as good as zeroes.
            std::fill(data.begin() + static_cast<ptrdiff_t>(done), data.end(), std::byte{0});
            break;
        }
        done += static_cast<size_t>(n);
    }
    return Status::Ok();
}

const WalStorage* WalStorage::HolderOf(Lsn lsn, Lsn* limit) const {
    const WalStorage* holder = this;
    *limit = kMaxLsn;
    while (lsn < holder->start_ && holder->parent_ != nullptr) {
        *limit = std::min(*limit, holder->start_);
        holder = holder->parent_;
    }
    return holder;
}

Status WalStorage::Read(Lsn lsn, std::span<std::byte> data) const {
    while (!data.empty()) {
        Lsn limit;
        const WalStorage* holder = HolderOf(lsn, &limit);
        limit = std::min(limit, WalSegmentStart(WalSegmentNumber(lsn) + 1));
        size_t n = std::min<uint64_t>(data.size(), limit - lsn);
        ZENITH_RETURN_IF_ERROR(holder->ReadOwn(lsn, data.first(n)));
        lsn = lsn + n;
        data = data.subspan(n);
    }
    return Status::Ok();
}

Status WalStorage::ReadRecord(Lsn start, Lsn end, std::string* out) const {
    Lsn limit;
    const WalStorage* holder = HolderOf(start, &limit);
    auto corrupt = [&](const std::string& what) {
        return Status::Corruption(what + " in the record " + holder->Place(start));
    };
    if (end.value < start.value + kWalRecordHeaderSize || start.value % 8 != 0) {
        return Status::InvalidArgument("not the extent of a WAL record: " + start.ToString() +
                                       " to " + end.ToString());
    }

    const size_t old_size = out->size();
    struct Restore {  // puts *out back unless the record proved good
        std::string* out;
        size_t size;
        bool armed = true;
        ~Restore() {
            if (armed) {
                out->resize(size);
            }
        }
    } restore{out, old_size};

    auto raw_bytes = [&] { return std::as_writable_bytes(std::span(*out).subspan(old_size)); };
    const size_t first = std::min<uint64_t>(end - start, kFirstReadSize);
    out->resize(old_size + first);
    ZENITH_RETURN_IF_ERROR(Read(start, raw_bytes()));

    const uint32_t length = ByteReader(raw_bytes()).U32Le();
    if (length < kWalRecordHeaderSize || length > kMaxRecordLength) {
        return corrupt("invalid length " + std::to_string(length));
    }
    const uint64_t raw_length = RawLength(start, length);
    // XLOG_SWITCH is the one record that ends elsewhere: at the end of its segment.
    if (MaxAlign(start.value + raw_length) != end.value &&
        !(end.value % kWalSegmentSize == 0 && start.value + raw_length < end.value &&
          end - start <= kWalSegmentSize)) {
        return corrupt("length " + std::to_string(length) + " does not lead to its end at " +
                       end.ToString());
    }
    // Also shortens: the alignment padding is not part of the record.
    out->resize(old_size + raw_length);
    if (raw_length > first) {
        ZENITH_RETURN_IF_ERROR(Read(start + first, raw_bytes().subspan(first)));
    }

    // Take the page headers out, in place.
    auto raw = raw_bytes();
    size_t from = kWalPageSize - start.value % kWalPageSize;
    size_t to = std::min<uint64_t>(from, raw.size());
    while (from < raw.size()) {
        Lsn page = start + from;
        size_t header = WalPageHeaderSize(page);
        // raw_length counts every header, so that header and at least one byte follow here.
        if (const char* wrong = CheckPageHeader(raw.subspan(from), page, length - to)) {
            return Status::Corruption(std::string(wrong) + " " +
                                      HolderOf(page, &limit)->Place(page) +
                                      ", inside the record at " + start.ToString());
        }
        from += header;
        size_t n = std::min<uint64_t>(kWalPageSize - header, raw.size() - from);
        std::copy_n(raw.begin() + static_cast<ptrdiff_t>(from), n,
                    raw.begin() + static_cast<ptrdiff_t>(to));
        from += n;
        to += n;
    }
    out->resize(old_size + length);

    // The checksum covers what follows the header, then the header without the checksum itself
    // (XLogRecordAssemble() of access/transam/xloginsert.c).
    std::span<const std::byte> record = raw_bytes();
    uint32_t crc = Crc32cExtend(kCrc32cInit, record.subspan(kWalRecordHeaderSize));
    crc = Crc32cFinish(Crc32cExtend(crc, record.first(kWalRecordHeaderSize - 4)));
    if (crc != ByteReader(record.subspan(kWalRecordHeaderSize - 4)).U32Le()) {
        return corrupt("checksum mismatch");
    }
    restore.armed = false;
    return Status::Ok();
}

}  // namespace zenith

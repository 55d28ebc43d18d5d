#include "regress/check_pages/cluster_files.h"

#include <fcntl.h>
#include <sys/stat.h>

#include <algorithm>
#include <charconv>
#include <filesystem>
#include <optional>
#include <vector>

#include "common/base/posix_file.h"
#include "common/pgformat/page_format.h"

namespace zenith {

namespace {

constexpr size_t kTarBlock = 512;

std::optional<Oid> ParseOid(std::string_view text) {
    Oid oid = 0;
    auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), oid);
    if (error != std::errc() || end != text.data() + text.size() || text.empty()) {
        return std::nullopt;
    }
    return oid;
}

std::vector<std::string> Split(const std::string& path) {
    std::vector<std::string> parts;
    size_t begin = 0;
    while (begin <= path.size()) {
        size_t end = std::min(path.find('/', begin), path.size());
        parts.push_back(path.substr(begin, end - begin));
        begin = end + 1;
    }
    return parts;
}

// The database's directory a path lies in, and the rest: "global/x", "base/5/x",
// "pg_tblspc/16390/PG_15_202209061/5/x".
std::optional<std::pair<DatabaseKey, std::string>> DatabaseOfPath(const std::string& path) {
    std::vector<std::string> parts = Split(path);
    if (parts.size() == 2 && parts[0] == "global") {
        return std::pair(DatabaseKey{kGlobalTablespaceOid, 0}, parts[1]);
    }
    if (parts.size() == 3 && parts[0] == "base") {
        if (auto db = ParseOid(parts[1])) {
            return std::pair(DatabaseKey{kDefaultTablespaceOid, *db}, parts[2]);
        }
    }
    if (parts.size() == 5 && parts[0] == "pg_tblspc" && parts[2] == kTablespaceVersionDirectory) {
        auto spc = ParseOid(parts[1]);
        auto db = ParseOid(parts[3]);
        if (spc && db) {
            return std::pair(DatabaseKey{*spc, *db}, parts[4]);
        }
    }
    return std::nullopt;
}

// "1259", "1259_vm.1": parse_filename_for_nontemp_relation() of reinit.c and _mdfd_segpath().
struct SegmentName {
    Oid rel = 0;
    Fork fork = Fork::kMain;
    uint32_t segment = 0;
};
std::optional<SegmentName> ParseSegmentName(std::string name) {
    SegmentName result;
    if (size_t dot = name.find('.'); dot != std::string::npos) {
        auto segment = ParseOid(name.substr(dot + 1));
        if (!segment) {
            return std::nullopt;
        }
        result.segment = *segment;
        name.resize(dot);
    }
    if (size_t mark = name.find('_'); mark != std::string::npos) {
        const std::string fork = name.substr(mark + 1);
        if (fork == "fsm") {
            result.fork = Fork::kFsm;
        } else if (fork == "vm") {
            result.fork = Fork::kVm;
        } else if (fork == "init") {
            result.fork = Fork::kInit;
        } else {
            return std::nullopt;
        }
        name.resize(mark);
    }
    auto rel = ParseOid(name);
    if (!rel || *rel == 0) {
        return std::nullopt;
    }
    result.rel = *rel;
    return result;
}

uint64_t ReadOctal(std::string_view field) {
    uint64_t value = 0;
    for (char c : field) {
        if (c < '0' || c > '7') {
            break;
        }
        value = value * 8 + static_cast<uint64_t>(c - '0');
    }
    return value;
}

// Takes a tar archive apart as it comes. Only what TarStream of the page server writes: names in
// the header, types '0', '5' and old GNU sparse 'S' with at most four regions.
class TarReader {
  public:
    explicit TarReader(ClusterFiles* out) : out_(out) {}

    Status Take(std::span<const std::byte> bytes) {
        pending_.append(reinterpret_cast<const char*>(bytes.data()), bytes.size());
        size_t used = 0;
        while (pending_.size() - used >= kTarBlock) {
            std::string_view header(pending_.data() + used, kTarBlock);
            if (header.find_first_not_of('\0') == std::string_view::npos) {
                ended_ = true;
                used += kTarBlock;
                continue;
            }
            const uint64_t stored = ReadOctal(header.substr(124, 12));
            const uint64_t padded = (stored + kTarBlock - 1) / kTarBlock * kTarBlock;
            if (header.substr(257, 5) != "ustar" || ended_) {
                return Status::Corruption("the base backup is not a tar archive");
            }
            if (pending_.size() - used < kTarBlock + padded) {
                break;
            }
            ZENITH_RETURN_IF_ERROR(
                Member(header, {pending_.data() + used + kTarBlock, static_cast<size_t>(stored)}));
            used += kTarBlock + padded;
        }
        pending_.erase(0, used);
        return Status::Ok();
    }

    Status Finish() const {
        return ended_ && pending_.empty()
                   ? Status::Ok()
                   : Status::Corruption("the base backup ends in the middle of the archive");
    }

  private:
    Status Member(std::string_view header, std::string_view stored) {
        std::string path(header.substr(0, 100));
        path.resize(std::min(path.size(), path.find('\0')));
        const char type = header[156];
        if (type == '5') {
            return Status::Ok();
        }
        uint64_t size = stored.size();
        if (type == 'S') {
            size = ReadOctal(header.substr(483, 12));
        } else if (type != '0') {
            return Status::Corruption("member \"" + path + "\" of the base backup has type " + type);
        }
        ZENITH_RETURN_IF_ERROR(out_->Add(path, size));
        if (ClusterFiles::IsWanted(path)) {
            if (type == 'S') {
                return Status::Corruption("\"" + path + "\" has holes in the base backup");
            }
            out_->files[path] = std::string(stored);
        }
        return Status::Ok();
    }

    ClusterFiles* const out_;
    std::string pending_;
    bool ended_ = false;
};

}  // namespace

bool ClusterFiles::IsWanted(const std::string& path) {
    for (const char* prefix : {"pg_xact/", "pg_multixact/offsets/", "pg_multixact/members/",
                               "pg_commit_ts/", "pg_twophase/"}) {
        if (path.starts_with(prefix)) {
            return true;
        }
    }
    if (path == "pg_logical/replorigin_checkpoint" || path == "global/pg_control") {
        return true;
    }
    auto place = DatabaseOfPath(path);
    return place && (place->second == "pg_filenode.map" || place->second == "PG_VERSION");
}

Status ClusterFiles::Add(const std::string& path, uint64_t size) {
    auto place = DatabaseOfPath(path);
    if (!place) {
        return Status::Ok();
    }
    auto name = ParseSegmentName(place->second);
    if (!name) {
        return Status::Ok();
    }
    if (size % kPageSize != 0 || size > uint64_t{kRelationSegmentBlocks} * kPageSize) {
        return Status::Corruption("\"" + path + "\" has " + std::to_string(size) + " bytes");
    }
    const RelForkKey rel{{place->first.spc, place->first.db, name->rel}, name->fork};
    BlockNumber& blocks = relations[rel];
    // Truncation leaves empty segments behind the last one.
    if (size > 0 || name->segment == 0) {
        blocks = std::max(blocks, static_cast<BlockNumber>(name->segment * kRelationSegmentBlocks +
                                                           size / kPageSize));
    }
    return Status::Ok();
}

Result<ClusterFiles> ReadDataDirectory(const std::string& data) {
    ClusterFiles result;
    std::error_code error;
    std::filesystem::recursive_directory_iterator at(data, error);
    for (; !error && at != std::filesystem::recursive_directory_iterator(); at.increment(error)) {
        if (!at->is_regular_file()) {
            continue;
        }
        const std::string path = at->path().string().substr(data.size() + 1);
        ZENITH_RETURN_IF_ERROR(result.Add(path, at->file_size()));
        if (ClusterFiles::IsWanted(path)) {
            ZENITH_ASSIGN_OR_RETURN(result.files[path], ReadWholeFile(at->path().string()));
        }
    }
    if (error) {
        return ErrnoStatus("read directory", data, error.value());
    }
    return result;
}

Result<ClusterFiles> ReadBaseBackup(PqConnection& server, const std::string& command) {
    ClusterFiles result;
    TarReader reader(&result);
    ZENITH_RETURN_IF_ERROR(server.CopyOut(
        command, [&reader](std::span<const std::byte> bytes) { return reader.Take(bytes); },
        60000));
    ZENITH_RETURN_IF_ERROR(reader.Finish());
    return result;
}

Status RelationFile::Read(BlockNumber block, uint32_t count, std::string* pages) {
    for (uint32_t i = 0; i < count;) {
        const uint32_t segment = (block + i) / kRelationSegmentBlocks;
        const uint32_t within = (block + i) % kRelationSegmentBlocks;
        const uint32_t here = std::min(count - i, kRelationSegmentBlocks - within);
        const std::string path = data_ + "/" + RelationSegmentPath(rel_, segment);
        const size_t old_size = pages->size();
        pages->resize(old_size + size_t{here} * kPageSize, '\0');
        i += here;
        auto found = segments_.find(segment);
        if (found == segments_.end()) {
            auto fd = OpenFile(path, O_RDONLY);
            if (!fd.ok() && fd.status().code() != StatusCode::kNotFound) {
                return fd.status();
            }
            found = segments_.emplace(segment, fd.ok() ? *std::move(fd) : UniqueFd()).first;
        }
        if (found->second.valid()) {
            ZENITH_RETURN_IF_ERROR(ReadUpToAt(found->second.get(), path, uint64_t{within} * kPageSize,
                                              std::as_writable_bytes(std::span(
                                                  pages->data() + old_size, size_t{here} * kPageSize)))
                                       .status());
        }
    }
    return Status::Ok();
}

}  // namespace zenith

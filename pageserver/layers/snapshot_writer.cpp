// The writer of snapshot files: walks a data directory, then writes pages and index in one pass.
// What lies where in a data directory: storage/relfilenode.h, common/relpath.c, slru.c, twophase.c,
// origin.c of PostgreSQL 15.
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <charconv>
#include <cstdio>
#include <map>
#include <string_view>

#include "common/base/byte_reader.h"
#include "common/base/byte_writer.h"
#include "common/base/crc32c.h"
#include "common/base/log.h"
#include "common/base/posix_file.h"
#include "pageserver/layers/blob_keys.h"
#include "pageserver/layers/database_blob.h"
#include "pageserver/layers/snapshot_file.h"
#include "pageserver/layers/snapshot_format.h"

namespace zenith {

namespace {

constexpr size_t kPagesPerRead = 128;

// Files of the data directory's root that a base backup hands on.
constexpr const char* kRootFiles[] = {"PG_VERSION", "postgresql.conf", "postgresql.auto.conf",
                                      "pg_hba.conf", "pg_ident.conf"};

std::optional<uint32_t> ParseNumber(std::string_view text, int base) {
    uint32_t value = 0;
    auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value, base);
    if (error != std::errc() || end != text.data() + text.size() || text.empty()) {
        return std::nullopt;
    }
    return value;
}

struct RelationFileName {
    Oid rel = 0;
    Fork fork = Fork::kMain;
    uint32_t segment = 0;
};

// "2619", "2619_vm", "2619_fsm.1"; nullopt for anything else.
std::optional<RelationFileName> ParseRelationFileName(std::string_view name) {
    RelationFileName parsed;
    size_t dot = name.find('.');
    if (dot != std::string_view::npos) {
        std::optional<uint32_t> segment = ParseNumber(name.substr(dot + 1), 10);
        if (!segment) {
            return std::nullopt;
        }
        parsed.segment = *segment;
        name = name.substr(0, dot);
    }
    size_t underscore = name.find('_');
    if (underscore != std::string_view::npos) {
        std::string_view fork = name.substr(underscore + 1);
        if (fork == "fsm") {
            parsed.fork = Fork::kFsm;
        } else if (fork == "vm") {
            parsed.fork = Fork::kVm;
        } else if (fork == "init") {
            parsed.fork = Fork::kInit;
        } else {
            return std::nullopt;
        }
        name = name.substr(0, underscore);
    }
    std::optional<uint32_t> rel = ParseNumber(name, 10);
    if (!rel || *rel == 0) {
        return std::nullopt;
    }
    parsed.rel = *rel;
    return parsed;
}

// A relation of a temporary table: "t3_16384".
bool IsTemporaryRelation(std::string_view name) {
    return name.size() > 1 && name[0] == 't' && name[1] >= '0' && name[1] <= '9';
}

class SnapshotWriter {
  public:
    SnapshotWriter(std::string pgdata, std::string path)
        : pgdata_(std::move(pgdata)), path_(std::move(path)) {}

    // Finds out what there is; reads the small files.
    Status Scan();
    Status Write(int fd, Lsn lsn, uint64_t system_identifier);

  private:
    std::string Source(const std::string& relative) const { return pgdata_ + "/" + relative; }
    Status AddFile(const std::string& relative);
    Status ScanDatabase(const DatabaseKey& db);
    Status AddRelationFile(const DatabaseKey& db, const std::string& name,
                           const RelationFileName& parsed);
    Status ScanTablespaces();
    Status ScanSlru(SlruKind kind);
    Status ScanTwoPhase();
    Status ScanReplicationOrigins();
    // Blocks of a fork from the sizes of its segments, as mdnblocks() counts them.
    Result<BlockNumber> CountBlocks(const RelForkKey& rel,
                                    const std::map<uint32_t, BlockNumber>& segments) const;

    // Copies `blocks` pages of a file, numbered from `first_number` on; all-zero ones are left out
    // when `skip_zero`.
    Status CopyPages(const std::string& relative, BlockNumber blocks, BlockNumber first_number,
                     bool skip_zero);
    Status FlushPages();
    Status WriteSection(SnapshotSection section, const std::string& bytes);

    const std::string pgdata_;
    const std::string path_;

    std::map<RelForkKey, std::map<uint32_t, BlockNumber>> relations_;  // segment -> blocks
    std::map<SlruKind, std::map<uint32_t, BlockNumber>> slrus_;        // segment -> pages
    std::map<uint64_t, std::string> slru_files_;  // kind << 32 | segment -> relative path
    std::vector<DatabaseKey> databases_;
    std::map<std::string, std::string> blobs_;

    int fd_ = -1;
    std::string pending_;  // pages not written yet
    uint64_t slots_ = 0;   // pages taken so far
    uint64_t offset_ = 0;  // next byte to write
    ByteWriter page_table_;
    ByteWriter section_places_;
};

// ---- scanning -----------------------------------------------------------------------------------

Status SnapshotWriter::AddFile(const std::string& relative) {
    ZENITH_ASSIGN_OR_RETURN(std::string content, ReadWholeFile(Source(relative)));
    blobs_[kFileBlobPrefix + relative] = std::move(content);
    return Status::Ok();
}

Result<BlockNumber> WholePages(const std::string& path) {
    struct stat info;
    if (stat(path.c_str(), &info) != 0) {
        return ErrnoStatus("stat file", path, errno);
    }
    uint64_t size = static_cast<uint64_t>(info.st_size);
    if (!S_ISREG(info.st_mode) || size % kPageSize != 0 ||
        size / kPageSize > kRelationSegmentBlocks) {
        return Status::Corruption("file \"" + path + "\" of " + std::to_string(size) +
                                  " bytes is not a number of pages");
    }
    return static_cast<BlockNumber>(size / kPageSize);
}

Status SnapshotWriter::AddRelationFile(const DatabaseKey& db, const std::string& name,
                                       const RelationFileName& parsed) {
    ZENITH_ASSIGN_OR_RETURN(BlockNumber blocks,
                            WholePages(Source(DatabaseDirectory(db) + "/" + name)));
    RelForkKey rel{{db.spc, db.db, parsed.rel}, parsed.fork};
    relations_[rel][parsed.segment] = blocks;
    return Status::Ok();
}

Status SnapshotWriter::ScanDatabase(const DatabaseKey& db) {
    const std::string directory = DatabaseDirectory(db);
    ZENITH_ASSIGN_OR_RETURN(std::vector<std::string> names, ListDirectory(Source(directory)));
    for (const std::string& name : names) {
        const std::string relative = directory + "/" + name;
        if (std::optional<RelationFileName> parsed = ParseRelationFileName(name)) {
            ZENITH_RETURN_IF_ERROR(AddRelationFile(db, name, *parsed));
        } else if (name == "pg_filenode.map") {
            ZENITH_ASSIGN_OR_RETURN(blobs_[RelmapBlobKey(db)], ReadWholeFile(Source(relative)));
        } else if (name == "PG_VERSION" || name == "pg_control") {
            ZENITH_RETURN_IF_ERROR(AddFile(relative));
        } else if (!IsTemporaryRelation(name) && !name.starts_with("pg_internal.init") &&
                   !name.starts_with("pgsql_tmp")) {
            spdlog::warn("layers: snapshot leaves out unknown file \"{}\"", Source(relative));
        }
    }
    if (db.db != 0) {
        databases_.push_back(db);
    }
    return Status::Ok();
}

Status SnapshotWriter::ScanTablespaces() {
    ZENITH_ASSIGN_OR_RETURN(std::vector<std::string> names, ListDirectory(Source("pg_tblspc")));
    for (const std::string& name : names) {
        const std::string directory = Source("pg_tblspc/" + name);
        std::optional<uint32_t> spc = ParseNumber(name, 10);
        if (!spc) {
            continue;
        }
        struct stat info;
        if (lstat(directory.c_str(), &info) != 0) {
            return ErrnoStatus("stat file", directory, errno);
        }
        if (!S_ISDIR(info.st_mode)) {
            return Status::Refused(
                "tablespace " + name + " lies outside of the data directory \"" + pgdata_ + "\"",
                "Move its contents to a tablespace made with allow_in_place_tablespaces first.");
        }
        blobs_[TablespaceBlobKey(*spc)] = "";
        const std::string versioned = directory + "/" + kTablespaceVersionDirectory;
        if (!FileExists(versioned)) {
            continue;
        }
        ZENITH_ASSIGN_OR_RETURN(std::vector<std::string> databases, ListDirectory(versioned));
        for (const std::string& database : databases) {
            if (std::optional<uint32_t> db = ParseNumber(database, 10)) {
                ZENITH_RETURN_IF_ERROR(ScanDatabase({*spc, *db}));
            }
        }
    }
    return Status::Ok();
}

Status SnapshotWriter::ScanSlru(SlruKind kind) {
    const std::string directory = SlruDirectory(kind);
    ZENITH_ASSIGN_OR_RETURN(std::vector<std::string> names, ListDirectory(Source(directory)));
    for (const std::string& name : names) {
        std::optional<uint32_t> segment = ParseNumber(name, 16);
        if (!segment || name.size() < 4 || *segment > UINT32_MAX / kSlruPagesPerSegment) {
            continue;  // subdirectories of pg_multixact, leftovers
        }
        const std::string relative = directory + "/" + name;
        ZENITH_ASSIGN_OR_RETURN(BlockNumber pages, WholePages(Source(relative)));
        if (pages > kSlruPagesPerSegment) {
            return Status::Corruption("file \"" + Source(relative) + "\" has " +
                                      std::to_string(pages) + " pages");
        }
        slrus_[kind][*segment] = pages;
        slru_files_[static_cast<uint64_t>(kind) << 32 | *segment] = relative;
    }
    return Status::Ok();
}

Status SnapshotWriter::ScanTwoPhase() {
    ZENITH_ASSIGN_OR_RETURN(std::vector<std::string> names, ListDirectory(Source("pg_twophase")));
    for (const std::string& name : names) {
        std::optional<uint32_t> xid = ParseNumber(name, 16);
        if (xid && name.size() == 8) {
            ZENITH_ASSIGN_OR_RETURN(blobs_[TwoPhaseBlobKey(*xid)],
                                    ReadWholeFile(Source("pg_twophase/" + name)));
        }
    }
    return Status::Ok();
}

// pg_logical/replorigin_checkpoint (CheckPointReplicationOrigin() of origin.c): magic, entries of
// {u16 node, 6 bytes of padding, u64 remote LSN}, CRC-32C of all that.
Status SnapshotWriter::ScanReplicationOrigins() {
    const std::string path = Source("pg_logical/replorigin_checkpoint");
    constexpr uint32_t kMagic = 0x1257DADE;
    constexpr size_t kEntrySize = 16;
    if (!FileExists(path)) {
        return Status::Ok();
    }
    ZENITH_ASSIGN_OR_RETURN(std::string content, ReadWholeFile(path));
    std::span<const std::byte> bytes = std::as_bytes(std::span(content));
    if (bytes.size() < 8 || (bytes.size() - 8) % kEntrySize != 0 ||
        ByteReader(bytes).U32Le() != kMagic ||
        ByteReader(bytes.last(4)).U32Le() != Crc32c(bytes.first(bytes.size() - 4))) {
        return Status::Corruption("file \"" + path + "\" is damaged");
    }
    for (size_t at = 4; at + kEntrySize < bytes.size(); at += kEntrySize) {
        uint16_t node = ByteReader(bytes.subspan(at)).U16Le();
        blobs_[ReplicationOriginBlobKey(node)] = content.substr(at + 8, 8);
    }
    return Status::Ok();
}

Status SnapshotWriter::Scan() {
    for (const char* name : kRootFiles) {
        if (FileExists(Source(name))) {
            ZENITH_RETURN_IF_ERROR(AddFile(name));
        }
    }
    auto version = blobs_.find(std::string(kFileBlobPrefix) + "PG_VERSION");
    if (version == blobs_.end() || version->second != "15\n") {
        return Status::Refused(
            "directory \"" + pgdata_ + "\" is not a data directory of PostgreSQL 15",
            "Name a data directory made by PostgreSQL 15's initdb.");
    }
    if (FileExists(Source("postmaster.pid")) || FileExists(Source("backup_label"))) {
        return Status::Refused("the cluster in \"" + pgdata_ + "\" is not cleanly shut down",
                               "Stop it with pg_ctl stop first.");
    }
    ZENITH_RETURN_IF_ERROR(ScanDatabase({kGlobalTablespaceOid, 0}));
    ZENITH_ASSIGN_OR_RETURN(std::vector<std::string> names, ListDirectory(Source("base")));
    for (const std::string& name : names) {
        std::optional<uint32_t> db = ParseNumber(name, 10);
        if (db && *db != 0) {
            ZENITH_RETURN_IF_ERROR(ScanDatabase({kDefaultTablespaceOid, *db}));
        }
    }
    ZENITH_RETURN_IF_ERROR(ScanTablespaces());
    for (SlruKind kind : kSlruKinds) {
        ZENITH_RETURN_IF_ERROR(ScanSlru(kind));
    }
    ZENITH_RETURN_IF_ERROR(ScanTwoPhase());
    ZENITH_RETURN_IF_ERROR(ScanReplicationOrigins());
    std::sort(databases_.begin(), databases_.end());
    return Status::Ok();
}

Result<BlockNumber> SnapshotWriter::CountBlocks(
    const RelForkKey& rel, const std::map<uint32_t, BlockNumber>& segments) const {
    uint64_t blocks = 0;
    bool ended = false;
    uint32_t expected = 0;
    for (const auto& [segment, segment_blocks] : segments) {
        // Truncation leaves empty segments behind the last one; anything else is a hole.
        if ((ended || segment != expected) && segment_blocks > 0) {
            return Status::Corruption("relation " + rel.ToString() + " in \"" + pgdata_ +
                                      "\" has segment " + std::to_string(segment) +
                                      ", but the one before it is missing or short");
        }
        ended = ended || segment != expected || segment_blocks < kRelationSegmentBlocks;
        blocks += segment_blocks;
        expected = segment + 1;
    }
    if (blocks >= UINT32_MAX) {
        return Status::Corruption("relation " + rel.ToString() + " has too many blocks");
    }
    return static_cast<BlockNumber>(blocks);
}

// ---- writing ------------------------------------------------------------------------------------

Status SnapshotWriter::FlushPages() {
    ZENITH_RETURN_IF_ERROR(WriteAllAt(fd_, path_, offset_, std::as_bytes(std::span(pending_))));
    offset_ += pending_.size();
    pending_.clear();
    return Status::Ok();
}

Status SnapshotWriter::CopyPages(const std::string& relative, BlockNumber blocks,
                                 BlockNumber first_number, bool skip_zero) {
    if (blocks == 0) {
        return Status::Ok();
    }
    const std::string source = Source(relative);
    ZENITH_ASSIGN_OR_RETURN(UniqueFd fd, OpenFile(source, O_RDONLY));
    std::string chunk;
    for (BlockNumber done = 0; done < blocks;) {
        size_t n = std::min<size_t>(blocks - done, kPagesPerRead);
        chunk.resize(n * kPageSize);
        ZENITH_RETURN_IF_ERROR(ReadExactAt(fd.get(), source, uint64_t{done} * kPageSize,
                                           std::as_writable_bytes(std::span(chunk))));
        for (size_t i = 0; i < n; i++) {
            ConstPageSpan page(
                std::as_bytes(std::span(chunk)).subspan(i * kPageSize).first<kPageSize>());
            if (skip_zero && PageIsAllZero(page)) {
                continue;
            }
            page_table_.U32Le(first_number + done + static_cast<BlockNumber>(i));
            page_table_.U32Le(Crc32c(page));
            pending_.append(chunk, i * kPageSize, kPageSize);
            slots_++;
        }
        if (pending_.size() >= kPagesPerRead * kPageSize) {
            ZENITH_RETURN_IF_ERROR(FlushPages());
        }
        done += static_cast<BlockNumber>(n);
    }
    return Status::Ok();
}

Status SnapshotWriter::WriteSection(SnapshotSection section, const std::string& bytes) {
    std::span<const std::byte> data = std::as_bytes(std::span(bytes));
    section_places_.U32Le(static_cast<uint32_t>(section));
    section_places_.U32Le(Crc32c(data));
    section_places_.U64Le(offset_);
    section_places_.U64Le(data.size());
    ZENITH_RETURN_IF_ERROR(WriteAllAt(fd_, path_, offset_, data));
    offset_ += data.size();
    return Status::Ok();
}

Status SnapshotWriter::Write(int fd, Lsn lsn, uint64_t system_identifier) {
    fd_ = fd;
    offset_ = kSnapshotHeaderSize;

    ByteWriter relations;
    for (const auto& [rel, segments] : relations_) {
        ZENITH_ASSIGN_OR_RETURN(BlockNumber blocks, CountBlocks(rel, segments));
        uint64_t first = slots_;
        for (const auto& [segment, segment_blocks] : segments) {
            ZENITH_RETURN_IF_ERROR(CopyPages(RelationSegmentPath(rel, segment), segment_blocks,
                                             segment * kRelationSegmentBlocks, true));
        }
        relations.U32Le(rel.node.spc);
        relations.U32Le(rel.node.db);
        relations.U32Le(rel.node.rel);
        relations.U32Le(static_cast<uint32_t>(rel.fork));
        relations.U32Le(blocks);
        relations.U32Le(static_cast<uint32_t>(slots_ - first));
        relations.U64Le(first);
    }
    ByteWriter slrus;
    for (const auto& [kind, segments] : slrus_) {
        uint64_t first = slots_;
        for (const auto& [segment, pages] : segments) {
            ZENITH_RETURN_IF_ERROR(
                CopyPages(slru_files_.at(static_cast<uint64_t>(kind) << 32 | segment), pages,
                          segment * kSlruPagesPerSegment, false));
        }
        slrus.U32Le(static_cast<uint32_t>(kind));
        slrus.U32Le(0);
        slrus.U64Le(slots_ - first);
        slrus.U64Le(first);
    }
    ZENITH_RETURN_IF_ERROR(FlushPages());

    ByteWriter databases;
    for (const DatabaseKey& db : databases_) {
        databases.U32Le(db.spc);
        databases.U32Le(db.db);
    }
    ByteWriter blobs;
    for (const auto& [key, value] : blobs_) {
        blobs.U32Le(static_cast<uint32_t>(key.size()));
        blobs.U32Le(static_cast<uint32_t>(value.size()));
        blobs.Text(key);
        blobs.Text(value);
    }
    ZENITH_RETURN_IF_ERROR(WriteSection(SnapshotSection::kRelations, relations.buffer()));
    ZENITH_RETURN_IF_ERROR(WriteSection(SnapshotSection::kPageTable, page_table_.buffer()));
    ZENITH_RETURN_IF_ERROR(WriteSection(SnapshotSection::kDatabases, databases.buffer()));
    ZENITH_RETURN_IF_ERROR(WriteSection(SnapshotSection::kBlobs, blobs.buffer()));
    ZENITH_RETURN_IF_ERROR(WriteSection(SnapshotSection::kSlru, slrus.buffer()));

    ByteWriter header;
    header.Text(kSnapshotMagic);
    header.U32Le(kSnapshotVersion);
    header.U32Le(kPageSize);
    header.U64Le(offset_);
    header.U64Le(lsn.value);
    header.U64Le(system_identifier);
    header.U32Le(kCatalogVersion);
    header.U32Le(kSnapshotSectionCount);
    header.U64Le(slots_);
    header.Bytes(section_places_.bytes());
    header.Zeros(kSnapshotHeaderChecksumOffset - header.size());
    header.U32Le(Crc32c(header.bytes()));
    ZENITH_RETURN_IF_ERROR(WriteAllAt(fd_, path_, 0, header.bytes()));
    return FsyncFile(fd_, path_);
}

}  // namespace

Status WriteSnapshotFile(const std::string& pgdata, Lsn lsn, uint64_t system_identifier,
                         const std::string& path) {
    const std::string temporary = path + ".tmp";
    SnapshotWriter writer(pgdata, temporary);
    ZENITH_RETURN_IF_ERROR(writer.Scan());
    {
        ZENITH_ASSIGN_OR_RETURN(UniqueFd fd, OpenFile(temporary, O_WRONLY | O_CREAT | O_TRUNC));
        Status status = writer.Write(fd.get(), lsn, system_identifier);
        if (!status.ok()) {
            unlink(temporary.c_str());
            return status;
        }
    }
    if (rename(temporary.c_str(), path.c_str()) != 0) {
        Status status = ErrnoStatus("rename file", temporary, errno);
        unlink(temporary.c_str());
        return status;
    }
    size_t slash = path.rfind('/');
    return FsyncDirectory(slash == std::string::npos ? "." : path.substr(0, slash + 1));
}

}  // namespace zenith

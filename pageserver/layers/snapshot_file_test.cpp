#include "pageserver/layers/snapshot_file.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstring>
#include <string>
#include <vector>

#include "common/base/byte_reader.h"
#include "common/base/byte_writer.h"
#include "common/base/crc32c.h"
#include "common/base/posix_file.h"
#include "pageserver/layers/blob_keys.h"
#include "pageserver/layers/snapshot_format.h"
#include "pageserver/layers/temp_directory_for_test.h"

namespace zenith {
namespace {

const Lsn kLsn(0x15FFB08);
constexpr uint64_t kSystem = 0x1122334455667788;

std::string Page(char fill) {
    return std::string(kPageSize, fill);
}

// Without the fsyncs of ReplaceFileAtomically(), and in place (ext4 writes a file out when it is
// closed after O_TRUNC): these tests write thousands of files.
void WriteFile(const std::string& path, const std::string& content) {
    auto fd = OpenFile(path, O_WRONLY | O_CREAT);
    ASSERT_TRUE(fd.ok()) << fd.status().message();
    ASSERT_TRUE(WriteAllAt(fd->get(), path, 0, std::as_bytes(std::span(content))).ok());
    ASSERT_EQ(ftruncate(fd->get(), static_cast<off_t>(content.size())), 0);
}

// A data directory with a bit of everything, made by hand.
class SnapshotFileTest : public ::testing::Test {
  protected:
    void SetUp() override {
        for (const char* directory :
             {"", "global", "base", "base/1", "base/5", "base/pgsql_tmp", "pg_xact", "pg_multixact",
              "pg_multixact/offsets", "pg_multixact/members", "pg_commit_ts", "pg_twophase",
              "pg_tblspc", "pg_tblspc/4444", "pg_tblspc/4444/PG_15_202209061",
              "pg_tblspc/4444/PG_15_202209061/5", "pg_tblspc/5555", "pg_logical", "pg_wal"}) {
            ASSERT_TRUE(EnsureDirectory(Path(directory)).ok());
        }
        Put("PG_VERSION", "15\n");
        Put("postgresql.conf", "port = 1\n");
        Put("postgresql.auto.conf", "");
        Put("pg_hba.conf", "local all all trust\n");
        Put("pg_ident.conf", "# none\n");
        Put("postmaster.opts", "left out");
        Put("global/pg_control", std::string(8192, 'c'));
        Put("global/pg_filenode.map", std::string(512, 'm'));
        Put("global/pg_internal.init", "left out");
        Put("global/1262", Page('d'));
        Put("base/1/PG_VERSION", "15\n");
        Put("base/5/PG_VERSION", "15\n");
        Put("base/5/pg_filenode.map", std::string(512, 'n'));
        Put("base/5/pg_internal.init", "left out");
        Put("base/5/2619", Page('a') + Page('\0') + Page('b'));
        Put("base/5/2619_fsm", Page('f'));
        Put("base/5/2619_vm", "");
        Put("base/5/3000", Page('\0'));
        Put("base/5/3001_init", Page('i'));
        Put("base/5/3002", Page('t'));
        Put("base/5/3002.1", "");  // what truncation leaves
        Put("base/5/t3_2619", Page('x'));
        Put("pg_tblspc/4444/PG_15_202209061/5/16400", Page('s'));
        Put("pg_xact/0000", Page('0'));
        Put("pg_xact/0002", Page('2') + Page('\0'));
        Put("pg_multixact/offsets/0000", Page('\0'));
        Put("pg_multixact/members/14078", Page('m'));
        Put("pg_twophase/0000002F", "state of 47");
        Put("pg_wal/000000010000000000000001", "left out");
        ByteWriter origins;
        origins.U32Le(0x1257DADE);
        origins.U16Le(7);
        origins.Zeros(6);
        origins.U64Le(0xABCDEF);
        origins.U32Le(Crc32c(origins.bytes()));
        Put("pg_logical/replorigin_checkpoint", origins.buffer());
        snapshot_path_ = temp_.path() + "/snapshot";
    }

    std::string Path(const std::string& relative) { return temp_.path() + "/pgdata/" + relative; }
    void Put(const std::string& relative, const std::string& content) {
        WriteFile(Path(relative), content);
    }
    Status Write() {
        return WriteSnapshotFile(temp_.path() + "/pgdata", kLsn, kSystem, snapshot_path_);
    }
    std::unique_ptr<SnapshotFile> WriteAndOpen() {
        Status status = Write();
        EXPECT_TRUE(status.ok()) << status.message();
        auto opened = SnapshotFile::Open(snapshot_path_);
        EXPECT_TRUE(opened.ok()) << opened.status().message();
        return opened.ok() ? *std::move(opened) : nullptr;
    }
    static std::string Read(const SnapshotFile& snapshot, const PageKey& key) {
        auto page = snapshot.ReadPage(key);
        EXPECT_TRUE(page.ok()) << page.status().message();
        if (!page.ok() || !page->has_value()) {
            return "none";
        }
        return std::string(reinterpret_cast<const char*>((*page)->data()), kPageSize);
    }
    static RelForkKey Rel(Oid rel, Fork fork = Fork::kMain) { return {{1663, 5, rel}, fork}; }

    TempDirectory temp_;
    std::string snapshot_path_;
};

TEST_F(SnapshotFileTest, HoldsEverythingThatCounts) {
    Put("base/5/unknown.file", "left out, with a warning");
    auto snapshot = WriteAndOpen();
    ASSERT_NE(snapshot, nullptr);
    EXPECT_EQ(snapshot->lsn(), kLsn);
    EXPECT_EQ(snapshot->system_identifier(), kSystem);
    EXPECT_EQ(snapshot->databases(), (std::vector<DatabaseKey>{{1663, 1}, {1663, 5}, {4444, 5}}));
    EXPECT_EQ(snapshot->relations().size(), 8u);
    EXPECT_EQ(snapshot->RelationSize(Rel(2619)), 3u);
    EXPECT_EQ(snapshot->RelationSize(Rel(2619, Fork::kFsm)), 1u);
    EXPECT_EQ(snapshot->RelationSize(Rel(2619, Fork::kVm)), 0u);
    EXPECT_EQ(snapshot->RelationSize(Rel(2619, Fork::kInit)), std::nullopt);
    EXPECT_EQ(snapshot->RelationSize(Rel(3000)), 1u);
    EXPECT_EQ(snapshot->RelationSize(Rel(3002)), 1u);
    EXPECT_EQ(snapshot->RelationSize(Rel(3001)), std::nullopt);

    EXPECT_EQ(Read(*snapshot, PageKey::Relation(Rel(2619), 0)), Page('a'));
    EXPECT_EQ(Read(*snapshot, PageKey::Relation(Rel(2619), 1)), "none");
    EXPECT_EQ(Read(*snapshot, PageKey::Relation(Rel(2619), 2)), Page('b'));
    EXPECT_EQ(Read(*snapshot, PageKey::Relation(Rel(2619), 3)), "none");
    EXPECT_EQ(Read(*snapshot, PageKey::Relation(Rel(2619, Fork::kFsm), 0)), Page('f'));
    EXPECT_EQ(Read(*snapshot, PageKey::Relation(Rel(3000), 0)), "none");
    EXPECT_EQ(Read(*snapshot, PageKey::Relation(Rel(3001, Fork::kInit), 0)), Page('i'));
    EXPECT_EQ(Read(*snapshot, PageKey::Relation({{1664, 0, 1262}, Fork::kMain}, 0)), Page('d'));
    EXPECT_EQ(Read(*snapshot, PageKey::Relation({{4444, 5, 16400}, Fork::kMain}, 0)), Page('s'));

    using Pages = std::vector<BlockNumber>;
    EXPECT_EQ(snapshot->SlruPages(SlruKind::kXact), (Pages{0, 64, 65}));
    EXPECT_EQ(snapshot->SlruPages(SlruKind::kMultiOffsets), (Pages{0}));
    EXPECT_EQ(snapshot->SlruPages(SlruKind::kMultiMembers), (Pages{0x14078 * 32}));
    EXPECT_EQ(snapshot->SlruPages(SlruKind::kCommitTs), (Pages{}));
    EXPECT_EQ(Read(*snapshot, PageKey::Slru(SlruKind::kXact, 64)), Page('2'));
    EXPECT_EQ(Read(*snapshot, PageKey::Slru(SlruKind::kXact, 65)), Page('\0'));
    EXPECT_EQ(Read(*snapshot, PageKey::Slru(SlruKind::kXact, 1)), "none");
    EXPECT_EQ(Read(*snapshot, PageKey::Slru(SlruKind::kMultiOffsets, 0)), Page('\0'));

    std::string origin(8, '\0');
    origin.replace(0, 3, "\xEF\xCD\xAB");
    EXPECT_EQ(snapshot->blobs(), (std::map<std::string, std::string>{
                                     {"file/PG_VERSION", "15\n"},
                                     {"file/postgresql.conf", "port = 1\n"},
                                     {"file/postgresql.auto.conf", ""},
                                     {"file/pg_hba.conf", "local all all trust\n"},
                                     {"file/pg_ident.conf", "# none\n"},
                                     {"file/global/pg_control", std::string(8192, 'c')},
                                     {"file/base/1/PG_VERSION", "15\n"},
                                     {"file/base/5/PG_VERSION", "15\n"},
                                     {"relmap/1663/5", std::string(512, 'n')},
                                     {"relmap/1664/0", std::string(512, 'm')},
                                     {"tablespace/4444", ""},
                                     {"tablespace/5555", ""},
                                     {"twophase/0000002F", "state of 47"},
                                     {"replorigin/7", origin}}));
    EXPECT_FALSE(FileExists(snapshot_path_ + ".tmp"));
}

TEST_F(SnapshotFileTest, EveryDamagedByteIsFound) {
    auto intact = WriteAndOpen();
    ASSERT_NE(intact, nullptr);
    std::string content = *ReadWholeFile(snapshot_path_);
    size_t page_count = 0;
    std::vector<PageKey> keys;
    for (const RelationEntry& entry : intact->relations()) {
        for (BlockNumber block = 0; block < entry.blocks; block++) {
            keys.push_back(PageKey::Relation(entry.rel, block));
        }
    }
    for (SlruKind kind : kSlruKinds) {
        for (BlockNumber block : intact->SlruPages(kind)) {
            keys.push_back(PageKey::Slru(kind, block));
        }
    }
    for (const PageKey& key : keys) {
        page_count += (*intact->ReadPage(key)).has_value() ? 1 : 0;
    }
    const size_t index_start = SnapshotPageOffset(page_count);
    ASSERT_LT(index_start, content.size());

    const std::string damaged_path = temp_.path() + "/damaged";
    auto step = [&](size_t at) {
        return at < kSnapshotHeaderSize ? 61 : at < index_start ? 1777 : 1;
    };
    for (size_t at = 0; at < content.size(); at += step(at)) {
        SCOPED_TRACE("byte " + std::to_string(at));
        std::string damaged = content;
        damaged[at] = static_cast<char>(damaged[at] ^ 0x20);
        WriteFile(damaged_path, damaged);
        auto opened = SnapshotFile::Open(damaged_path);
        if (at < kSnapshotHeaderSize || at >= index_start) {
            ASSERT_FALSE(opened.ok());
            EXPECT_EQ(opened.status().code(), StatusCode::kCorruption);
            EXPECT_NE(opened.status().message().find(damaged_path), std::string::npos);
            EXPECT_NE(opened.status().message().find("offset"), std::string::npos);
            continue;
        }
        // A damaged page: that page fails, naming itself, and no other.
        ASSERT_TRUE(opened.ok());
        size_t failed = 0;
        for (const PageKey& key : keys) {
            auto page = (*opened)->ReadPage(key);
            if (page.ok()) {
                EXPECT_EQ(Read(**opened, key), Read(*intact, key));
                continue;
            }
            failed++;
            EXPECT_EQ(page.status().code(), StatusCode::kCorruption);
            EXPECT_NE(page.status().message().find(key.ToString()), std::string::npos);
            EXPECT_NE(page.status().message().find("offset " +
                                                   std::to_string(at / kPageSize * kPageSize)),
                      std::string::npos);
        }
        EXPECT_EQ(failed, 1u);
    }
}

TEST_F(SnapshotFileTest, EveryTruncationAndExtensionIsRefused) {
    ASSERT_TRUE(Write().ok());
    std::string content = *ReadWholeFile(snapshot_path_);
    for (size_t size :
         {size_t{0}, size_t{1}, size_t{100}, size_t{8191}, size_t{8192}, content.size() / 2,
          content.size() - 1, content.size() + 1, content.size() + 8192}) {
        ASSERT_EQ(truncate(snapshot_path_.c_str(), static_cast<off_t>(size)), 0);
        auto opened = SnapshotFile::Open(snapshot_path_);
        ASSERT_FALSE(opened.ok()) << size;
        EXPECT_EQ(opened.status().code(), StatusCode::kCorruption);
    }
}

// A file whose checksums are right but whose contents are not, to reach the checks behind them.
class HostileSnapshotTest : public SnapshotFileTest {
  protected:
    struct Parts {
        std::string header;
        std::string pages;
        std::vector<std::string> sections;
    };
    Parts TakeApart() {
        if (!taken_apart_) {
            EXPECT_TRUE(Write().ok());
            taken_apart_ = TakeApartFile();
        }
        return *taken_apart_;
    }
    Parts TakeApartFile() {
        std::string content = *ReadWholeFile(snapshot_path_);
        Parts parts;
        parts.header = content.substr(0, kSnapshotHeaderSize);
        for (size_t i = 0; i < kSnapshotSectionCount; i++) {
            ByteReader place(std::as_bytes(std::span(content)).subspan(56 + i * 24 + 8));
            uint64_t offset = place.U64Le();
            if (i == 0) {
                parts.pages = content.substr(kSnapshotHeaderSize, offset - kSnapshotHeaderSize);
            }
            parts.sections.push_back(content.substr(offset, place.U64Le()));
        }
        return parts;
    }
    template <typename T>
    static void Poke(std::string* text, size_t at, T value) {
        std::memcpy(text->data() + at, &value, sizeof value);
    }
    // Puts the parts together with right lengths and checksums.
    Result<std::unique_ptr<SnapshotFile>> OpenParts(Parts parts, bool fix_places = true) {
        std::string body = parts.pages;
        for (size_t i = 0; i < parts.sections.size(); i++) {
            std::span<const std::byte> bytes = std::as_bytes(std::span(parts.sections[i]));
            if (fix_places) {
                Poke<uint32_t>(&parts.header, 56 + i * 24 + 4, Crc32c(bytes));
                Poke<uint64_t>(&parts.header, 56 + i * 24 + 8, kSnapshotHeaderSize + body.size());
                Poke<uint64_t>(&parts.header, 56 + i * 24 + 16, bytes.size());
            }
            body += parts.sections[i];
        }
        if (fix_places) {
            Poke<uint64_t>(&parts.header, 16, parts.header.size() + body.size());
        }
        Poke<uint32_t>(
            &parts.header, kSnapshotHeaderChecksumOffset,
            Crc32c(std::as_bytes(std::span(parts.header)).first(kSnapshotHeaderChecksumOffset)));
        WriteFile(snapshot_path_, parts.header + body);
        return SnapshotFile::Open(snapshot_path_);
    }
    void ExpectCorrupt(const Result<std::unique_ptr<SnapshotFile>>& opened, const char* message) {
        ASSERT_FALSE(opened.ok());
        EXPECT_EQ(opened.status().code(), StatusCode::kCorruption);
        EXPECT_NE(opened.status().message().find(message), std::string::npos)
            << opened.status().message();
    }

  private:
    std::optional<Parts> taken_apart_;
};

TEST_F(HostileSnapshotTest, TakenApartAndPutTogetherItIsTheSame) {
    EXPECT_TRUE(OpenParts(TakeApart()).ok());
}

TEST_F(HostileSnapshotTest, UnknownVersionIsRefusedWithAHint) {
    for (uint32_t version : {0u, 2u, 0xFFFFFFFFu}) {
        Parts parts = TakeApart();
        Poke<uint32_t>(&parts.header, 8, version);
        auto opened = OpenParts(parts);
        ASSERT_FALSE(opened.ok());
        EXPECT_EQ(opened.status().code(), StatusCode::kRefused);
        EXPECT_NE(opened.status().message().find(std::to_string(version)), std::string::npos);
        EXPECT_FALSE(opened.status().hint().empty());
    }
}

TEST_F(HostileSnapshotTest, HeaderFieldsAreChecked) {
    struct Case {
        size_t at;
        uint64_t value;
        const char* message;
    };
    for (const Case& c : std::vector<Case>{
             {0, 0x1111111111111111, "not a snapshot file"},
             {40, 5ull << 32 | 1234, "catalog version"},
             {44, 6, "invalid number of sections"},
             {48, 1ull << 60, "invalid number of sections or pages"},
             {48, 3, "invalid place of section 1"},
             {56 + 8, ~0ull, "invalid place of section 1"},
             {56 + 16, ~0ull, "invalid place of section 1"},
             {56 + 24 + 8, 8192, "invalid place of section 2"},
             {56 + 4 * 24 + 16, 0, "bytes after the last section"},
         }) {
        Parts parts = TakeApart();
        Poke<uint64_t>(&parts.header, c.at, c.value);
        ExpectCorrupt(OpenParts(parts, false), c.message);
    }
}

TEST_F(HostileSnapshotTest, SectionsAreChecked) {
    struct Case {
        size_t section;
        size_t at;
        uint32_t value;
        const char* message;
    };
    for (const Case& c : std::vector<Case>{
             {0, 12, 4, "invalid fork"},
             {0, 16, 0xFFFFFFFF, "invalid fork or size"},
             {0, 20, 0xFFFFFFFF, "invalid pages"},
             {0, 24, 1, "invalid pages"},
             {0, 0, 0xFFFF, "out of order"},
             {0, 16, 0, "out of order"},  // pages beyond the relation's end
             {1, 8, 0, "out of order"},   // block 0 of 2619 twice
             {2, 4, 0, "out of order"},
             {2, 0, 9999, "out of order"},
             {3, 0, 0xFFFFFFFF, "invalid length of a blob"},
             {3, 4, 0xFFFFFFF0, "invalid length of a blob"},
             {3, 0, 0, "invalid length of a blob"},
             {3, 8, 0x7A7A7A7A, "a blob is out of order"},
             {4, 0, 5, "invalid slru entry"},
             {4, 0, 0, "invalid slru entry"},
             {4, 4, 1, "invalid slru entry"},
             {4, 8, 100, "invalid slru entry"},
             {4, 16, 0, "invalid slru entry"},
             {4, 24, 1, "invalid slru entry"},
         }) {
        SCOPED_TRACE("section " + std::to_string(c.section) + " byte " + std::to_string(c.at));
        Parts parts = TakeApart();
        Poke<uint32_t>(&parts.sections[c.section], c.at, c.value);
        ExpectCorrupt(OpenParts(parts), c.message);
    }
    for (size_t section = 0; section < kSnapshotSectionCount; section++) {
        Parts parts = TakeApart();
        parts.sections[section] += '\0';
        EXPECT_FALSE(OpenParts(parts).ok()) << section;
        parts.sections[section].resize(parts.sections[section].size() - 2);
        EXPECT_FALSE(OpenParts(parts).ok()) << section;
        parts.sections[section].clear();
        if (section != 2 && section != 3) {  // no databases and no blobs would be fine
            EXPECT_FALSE(OpenParts(parts).ok()) << section;
        }
    }
}

TEST_F(HostileSnapshotTest, AnythingAtAllIsAnErrorNotACrash) {
    const Parts parts = TakeApart();
    uint32_t random = 12345;
    auto next = [&random] { return random = random * 1664525 + 1013904223; };
    int opened = 0;
    for (int i = 0; i < 3000; i++) {
        Parts changed = parts;
        for (uint32_t n = 1 + next() % 3; n > 0; n--) {
            size_t target = next() % (kSnapshotSectionCount + 1);
            if (target == kSnapshotSectionCount) {
                Poke<uint8_t>(&changed.header, 8 + (next() >> 8) % 168, next() >> 16);
            } else if (!changed.sections[target].empty()) {
                Poke<uint8_t>(&changed.sections[target],
                              (next() >> 8) % changed.sections[target].size(), next() >> 16);
            }
        }
        auto result = OpenParts(changed, i % 2 == 0);
        if (result.ok()) {
            opened++;
            for (const RelationEntry& entry : (*result)->relations()) {
                (*result)->ReadPage(PageKey::Relation(entry.rel, 0)).status().Ignore("any answer");
            }
            for (SlruKind kind : kSlruKinds) {
                (*result)->SlruPages(kind);
            }
        }
    }
    EXPECT_GT(opened, 0);  // some changes are only other contents
}

TEST_F(SnapshotFileTest, StoredSampleOfVersion1Opens) {
    // The example of snapshot_file_format.md, byte for byte: version 1 must stay readable.
    ByteWriter relations;
    for (uint32_t v : {0x67Fu, 5u, 0xA3Bu, 0u, 3u, 2u, 0u, 0u}) {
        relations.U32Le(v);
    }
    const std::string pages = Page('A') + Page('B') + Page('C');
    ByteWriter table;
    for (uint32_t slot = 0; slot < 3; slot++) {
        table.U32Le(slot == 1 ? 2 : 0);
        table.U32Le(Crc32c(std::as_bytes(std::span(pages)).subspan(slot * kPageSize, kPageSize)));
    }
    ByteWriter databases;
    databases.U32Le(0x67F);
    databases.U32Le(5);
    ByteWriter blobs;
    blobs.U32Le(15);
    blobs.U32Le(3);
    blobs.Text("file/PG_VERSION15\n");
    ByteWriter slru;
    for (uint32_t v : {1u, 0u, 1u, 0u, 2u, 0u}) {
        slru.U32Le(v);
    }
    ByteWriter header;
    header.Text("ZNTHSNAP");
    header.U32Le(1);
    header.U32Le(8192);
    header.U64Le(32882);
    header.U64Le(kLsn.value);
    header.U64Le(kSystem);
    header.U32Le(202209061);
    header.U32Le(5);
    header.U64Le(3);
    std::string body;
    uint32_t number = 1;
    for (const ByteWriter* section : {&relations, &table, &databases, &blobs, &slru}) {
        header.U32Le(number++);
        header.U32Le(Crc32c(section->bytes()));
        header.U64Le(32768 + body.size());
        header.U64Le(section->size());
        body += section->buffer();
    }
    header.Zeros(8188 - header.size());
    header.U32Le(Crc32c(header.bytes()));
    WriteFile(snapshot_path_, header.buffer() + pages + body);
    auto opened = SnapshotFile::Open(snapshot_path_);
    ASSERT_TRUE(opened.ok()) << opened.status().message();
    EXPECT_EQ(Read(**opened, PageKey::Relation(Rel(2619), 2)), Page('B'));
    EXPECT_EQ(Read(**opened, PageKey::Slru(SlruKind::kXact, 0)), Page('C'));
    EXPECT_EQ((*opened)->blobs().at("file/PG_VERSION"), "15\n");
}

TEST_F(SnapshotFileTest, OddDataDirectoriesAreRefused) {
    struct Case {
        const char* file;
        std::string content;
        StatusCode code;
        const char* message;
    };
    for (const Case& c : std::vector<Case>{
             {"PG_VERSION", "16\n", StatusCode::kRefused, "not a data directory of PostgreSQL 15"},
             {"postmaster.pid", "1\n", StatusCode::kRefused, "not cleanly shut down"},
             {"backup_label", "x\n", StatusCode::kRefused, "not cleanly shut down"},
             {"base/5/2619", Page('a') + "torn", StatusCode::kCorruption, "base/5/2619"},
             {"base/5/2619.1", Page('a'), StatusCode::kCorruption, "missing or short"},
             {"base/5/2620.1", Page('a'), StatusCode::kCorruption, "missing or short"},
             {"pg_xact/0000", std::string(33 * kPageSize, 'x'), StatusCode::kCorruption, "pg_xact"},
             {"pg_logical/replorigin_checkpoint", "damaged!", StatusCode::kCorruption,
              "replorigin_checkpoint"},
         }) {
        SCOPED_TRACE(c.file);
        std::optional<std::string> before;
        if (FileExists(Path(c.file))) {
            before = *ReadWholeFile(Path(c.file));
        }
        Put(c.file, c.content);
        Status status = Write();
        EXPECT_EQ(status.code(), c.code);
        EXPECT_NE(status.message().find(c.message), std::string::npos) << status.message();
        EXPECT_FALSE(FileExists(snapshot_path_));
        EXPECT_FALSE(FileExists(snapshot_path_ + ".tmp"));
        if (before) {
            Put(c.file, *before);
        } else {
            ASSERT_TRUE(RemoveFile(Path(c.file)).ok());
        }
    }
    ASSERT_EQ(symlink("/elsewhere", Path("pg_tblspc/6666").c_str()), 0);
    Status status = Write();
    EXPECT_EQ(status.code(), StatusCode::kRefused);
    EXPECT_NE(status.message().find("6666"), std::string::npos);
    EXPECT_FALSE(status.hint().empty());
}

TEST_F(SnapshotFileTest, FailedWriteLeavesNothing) {
    snapshot_path_ = temp_.path() + "/missing/snapshot";
    EXPECT_FALSE(Write().ok());
    // A snapshot that was there stays when writing a new one fails.
    snapshot_path_ = temp_.path() + "/snapshot";
    ASSERT_TRUE(Write().ok());
    Put("base/5/2619.1", Page('a'));
    EXPECT_FALSE(Write().ok());
    EXPECT_TRUE(SnapshotFile::Open(snapshot_path_).ok());
    EXPECT_FALSE(FileExists(snapshot_path_ + ".tmp"));
}

// The data directory of a real cluster: everything in it is found again, byte for byte.
TEST(SnapshotOfARealCluster, RoundTrip) {
    const std::string initdb = "/usr/lib/postgresql/15/bin/initdb";
    if (access(initdb.c_str(), X_OK) != 0) {
        GTEST_SKIP() << "PostgreSQL 15 is not installed";
    }
    TempDirectory temp;
    const std::string pgdata = temp.path() + "/pgdata";
    // PostgreSQL does not run as root.
    std::string command = initdb + " -D " + pgdata + " -U postgres --auth=trust -N >/dev/null";
    if (geteuid() == 0) {
        ASSERT_EQ(std::system(("chown postgres " + temp.path()).c_str()), 0);
        command = "cd " + temp.path() +
                  " && setpriv --reuid=postgres --regid=postgres --clear-groups " + command;
    }
    ASSERT_EQ(std::system(command.c_str()), 0);

    const std::string path = temp.path() + "/snapshot";
    Status status = WriteSnapshotFile(pgdata, kLsn, kSystem, path);
    ASSERT_TRUE(status.ok()) << status.message();
    auto opened = SnapshotFile::Open(path);
    ASSERT_TRUE(opened.ok()) << opened.status().message();
    const SnapshotFile& snapshot = **opened;
    EXPECT_EQ(snapshot.databases(), (std::vector<DatabaseKey>{{1663, 1}, {1663, 4}, {1663, 5}}));
    EXPECT_GT(snapshot.relations().size(), 900u);

    for (const RelationEntry& entry : snapshot.relations()) {
        std::string file = *ReadWholeFile(pgdata + "/" + RelationSegmentPath(entry.rel, 0));
        ASSERT_EQ(file.size(), size_t{entry.blocks} * kPageSize) << entry.rel.ToString();
        for (BlockNumber block = 0; block < entry.blocks; block++) {
            auto page = snapshot.ReadPage(PageKey::Relation(entry.rel, block));
            ASSERT_TRUE(page.ok());
            std::string expected = file.substr(size_t{block} * kPageSize, kPageSize);
            std::string actual(kPageSize, '\0');
            if (page->has_value()) {
                std::memcpy(actual.data(), (*page)->data(), kPageSize);
            }
            ASSERT_EQ(actual, expected) << PageKey::Relation(entry.rel, block).ToString();
        }
    }
    for (SlruKind kind : {SlruKind::kXact, SlruKind::kMultiOffsets, SlruKind::kMultiMembers}) {
        EXPECT_EQ(snapshot.SlruPages(kind), (std::vector<BlockNumber>{0}));
        auto page = snapshot.ReadPage(PageKey::Slru(kind, 0));
        ASSERT_TRUE(page.ok() && page->has_value());
        EXPECT_EQ(*ReadWholeFile(pgdata + "/" + SlruDirectory(kind) + "/0000"),
                  std::string(reinterpret_cast<const char*>((*page)->data()), kPageSize));
    }
    for (const char* file :
         {"PG_VERSION", "postgresql.conf", "postgresql.auto.conf", "pg_hba.conf", "pg_ident.conf",
          "global/pg_control", "base/1/PG_VERSION", "base/4/PG_VERSION", "base/5/PG_VERSION"}) {
        EXPECT_EQ(snapshot.blobs().at(std::string(kFileBlobPrefix) + file),
                  *ReadWholeFile(pgdata + "/" + file));
    }
    EXPECT_EQ(snapshot.blobs().at(RelmapBlobKey({1663, 5})).size(), 512u);
    EXPECT_EQ(snapshot.blobs().at(RelmapBlobKey({1664, 0})),
              *ReadWholeFile(pgdata + "/global/pg_filenode.map"));
}

}  // namespace
}  // namespace zenith

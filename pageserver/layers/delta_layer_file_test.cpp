#include "pageserver/layers/delta_layer_file.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <map>
#include <random>

#include "common/base/byte_writer.h"
#include "common/base/crc32c.h"
#include "common/base/posix_file.h"
#include "pageserver/layers/blob_keys.h"
#include "pageserver/layers/delta_layer_format.h"
#include "pageserver/layers/in_memory_layer.h"
#include "pageserver/layers/temp_directory_for_test.h"

namespace zenith {
namespace {

const Lsn kStart(0x1000);
const RelForkKey kRelation{{1663, 5, 16384}, Fork::kMain};

TimelineId Id() {
    return *TimelineId::Parse("000102030405060708090a0b0c0d0e0f");
}

PageBuffer Filled(uint8_t fill) {
    PageBuffer page;
    page.fill(static_cast<std::byte>(fill));
    return page;
}

void Overwrite(const std::string& path, uint64_t offset, std::string_view bytes) {
    auto fd = OpenFile(path, O_RDWR);
    ASSERT_TRUE(fd.ok());
    ASSERT_TRUE(
        WriteAllAt(fd->get(), path, offset, std::as_bytes(std::span(bytes.data(), bytes.size())))
            .ok());
}

// A layer with enough of everything to fill several blocks of each kind.
class BusyLayer {
  public:
    explicit BusyLayer(uint32_t seed) : random_(seed) {
        for (int i = 0; i < 60000; i++) {
            Lsn start = lsn_ + 8 * Pick(2);
            lsn_ = start + 8 + 8 * Pick(20);
            Change(start);
        }
    }

    const InMemoryLayer& layer() const { return layer_; }
    Lsn end() const { return lsn_; }
    uint32_t Pick(size_t n) { return static_cast<uint32_t>(random_() % n); }
    Lsn AnyLsn() { return Pick(4) == 0 ? lsn_ : kStart + random_() % (lsn_ - kStart + 50); }

    DatabaseKey AnyDatabase() { return {1663, 1 + Pick(900)}; }
    RelForkKey AnyRelation() {
        if (Pick(2) == 0) {
            return kRelation;
        }
        return {{1663, Pick(3) == 0 ? AnyDatabase().db : 5, 100 + Pick(30)},
                static_cast<Fork>(Pick(4))};
    }
    PageKey AnyPage() {
        if (Pick(8) == 0) {
            return PageKey::Slru(kSlruKinds[Pick(4)], Pick(40));
        }
        return PageKey::Relation(AnyRelation(), Pick(3) == 0 ? Pick(200000) : Pick(4));
    }
    std::string AnyBlob() {
        switch (Pick(4)) {
            case 0:
                return RelmapBlobKey(AnyDatabase());
            case 1:
                return TwoPhaseBlobKey(Pick(500));
            default:
                return kClusterStateBlobKey;
        }
    }

  private:
    void Change(Lsn start) {
        if (Pick(30) == 0) {
            std::optional<DatabaseKey> source;
            if (Pick(2) == 0) {
                source = AnyDatabase();
            }
            layer_.CutDatabase(AnyDatabase(), {lsn_, source});
        }
        if (Pick(20) == 0) {
            layer_.SetDatabaseExists(AnyDatabase(), lsn_, Pick(2) == 0);
        }
        if (Pick(4) == 0) {
            layer_.AddFloor(AnyRelation(), lsn_, Pick(5));
        }
        if (Pick(2) == 0) {
            layer_.SetSize(AnyRelation(), lsn_,
                           Pick(9) == 0 ? std::nullopt : std::optional(Pick(100000)));
        }
        const PageKey page = AnyPage();
        if (Pick(3000) == 0) {
            layer_.AddImage(page, lsn_, Filled(static_cast<uint8_t>(Pick(250))));
        } else if (page.is_slru && Pick(6) == 0) {
            layer_.AddTombstone(page, lsn_);
        } else {
            layer_.AddRecord(page, start, lsn_, static_cast<uint8_t>(Pick(50) == 0 ? 1 : 2));
        }
        if (Pick(10) == 0) {
            std::optional<std::string> value;
            if (Pick(5) > 0) {
                size_t length = Pick(2000) == 0 ? 100000 : Pick(300);
                value = std::string(length, static_cast<char>('a' + Pick(26)));
            }
            layer_.SetBlob(AnyBlob(), lsn_, value);
        }
    }

    std::mt19937 random_;
    Lsn lsn_ = kStart;
    InMemoryLayer layer_{nullptr};
};

void ExpectSame(const Result<SearchStep>& a, const Result<SearchStep>& b) {
    ASSERT_TRUE(a.ok());
    ASSERT_TRUE(b.ok()) << b.status().message();
    EXPECT_EQ(a->next, b->next);
    EXPECT_EQ(a->source, b->source);
    EXPECT_EQ(a->at, b->at);
}

TEST(DeltaLayerFile, AnswersAsTheLayerInMemory) {
    for (uint32_t seed = 1; seed <= 2; seed++) {
        TempDirectory directory;
        BusyLayer busy(seed);
        const InMemoryLayer& memory = busy.layer();
        const std::string path = directory.path() + "/layer";
        Status written = WriteDeltaLayerFile(memory, Id(), kStart, busy.end(), path);
        ASSERT_TRUE(written.ok()) << written.message();
        auto opened = DeltaLayerFile::Open(path, Id(), nullptr);
        ASSERT_TRUE(opened.ok()) << opened.status().message();
        const DeltaLayerFile& file = **opened;
        ASSERT_TRUE(file.Verify().ok()) << file.Verify().message();
        EXPECT_EQ(file.start(), kStart);
        EXPECT_EQ(file.end(), busy.end());
        EXPECT_LT(file.memory_bytes(), memory.memory_bytes() / 5);

        for (int i = 0; i < 20000 && !testing::Test::HasFailure(); i++) {
            const Lsn at = busy.AnyLsn();
            const PageKey page = busy.AnyPage();
            PageHistory a;
            PageHistory b;
            ExpectSame(memory.SearchPage(page, at, &a), file.SearchPage(page, at, &b));
            EXPECT_EQ(a.base, b.base);
            EXPECT_EQ(a.base_lsn, b.base_lsn);
            ASSERT_EQ(a.records.size(), b.records.size()) << page.ToString() << at.ToString();
            for (size_t n = 0; n < a.records.size(); n++) {
                EXPECT_EQ(a.records[n].start, b.records[n].start);
                EXPECT_EQ(a.records[n].end, b.records[n].end);
                EXPECT_EQ(a.records[n].flags, b.records[n].flags);
                EXPECT_EQ(a.records[n].database, b.records[n].database);
            }
            const RelForkKey rel = busy.AnyRelation();
            std::optional<BlockNumber> size_a;
            std::optional<BlockNumber> size_b;
            ExpectSame(memory.SearchSize(rel, at, &size_a), file.SearchSize(rel, at, &size_b));
            EXPECT_EQ(size_a, size_b);
            const std::string key = busy.AnyBlob();
            std::optional<Timeline::VersionedBlob> blob_a;
            std::optional<Timeline::VersionedBlob> blob_b;
            ExpectSame(memory.SearchBlob(key, at, &blob_a), file.SearchBlob(key, at, &blob_b));
            ASSERT_EQ(blob_a.has_value(), blob_b.has_value());
            if (blob_a) {
                EXPECT_EQ(blob_a->lsn, blob_b->lsn);
                EXPECT_EQ(blob_a->value, blob_b->value);
            }
            const DatabaseKey db = busy.AnyDatabase();
            bool exists_a = false;
            bool exists_b = false;
            ExpectSame(memory.SearchDatabase(db, at, &exists_a),
                       file.SearchDatabase(db, at, &exists_b));
            EXPECT_EQ(exists_a, exists_b);
        }

        auto all_of = [&](const Layer& layer, Lsn at, const DatabaseKey* only,
                          std::string_view prefix) {
            std::map<std::string, std::string> all;
            auto add = [&](const std::string& key, const std::string& value) {
                EXPECT_TRUE(all.emplace(key, value).second) << key << " came twice";
            };
            EXPECT_TRUE(layer.VisitCuts(at, [&](const DatabaseKey& db, const DatabaseCut& cut) {
                add("cut " + std::to_string(db.db),
                    cut.lsn.ToString() + (cut.source ? std::to_string(cut.source->db) : ""));
            }).ok());
            EXPECT_TRUE(layer.VisitDatabases(at, [&](const DatabaseKey& db, bool exists) {
                add("db " + std::to_string(db.db), std::to_string(exists));
            }).ok());
            EXPECT_TRUE(layer.VisitRelations(only, at, [&](const RelForkKey& rel, auto blocks) {
                add("rel " + rel.ToString() + std::to_string(static_cast<int>(rel.fork)),
                    blocks ? std::to_string(*blocks) : "none");
            }).ok());
            EXPECT_TRUE(layer.VisitBlobs(prefix, at, [&](const std::string& key, Lsn lsn,
                                                         const std::string* value) {
                add("blob " + key, lsn.ToString() + (value != nullptr ? *value : "none"));
            }).ok());
            for (SlruKind kind : kSlruKinds) {
                EXPECT_TRUE(layer.VisitSlruPages(kind, at, [&](BlockNumber block, bool exists) {
                    add("slru " + std::to_string(static_cast<int>(kind)) + " " +
                            std::to_string(block),
                        std::to_string(exists));
                }).ok());
            }
            return all;
        };
        const DatabaseKey five{1663, 5};
        for (int i = 0; i < 60; i++) {
            const Lsn at = busy.AnyLsn();
            for (const char* prefix : {"", "relmap/", "twophase/", "cluster", "zzz"}) {
                EXPECT_EQ(all_of(memory, at, nullptr, prefix), all_of(file, at, nullptr, prefix));
            }
            EXPECT_EQ(all_of(memory, at, &five, "z"), all_of(file, at, &five, "z"));
        }
    }
}

// The one of the document.
std::string WriteExample(const std::string& directory) {
    InMemoryLayer layer(nullptr);
    const PageKey page = PageKey::Relation(kRelation, 0);
    layer.SetSize(kRelation, Lsn(0x1080), 1);
    layer.AddRecord(page, Lsn(0x1000), Lsn(0x1080), 1);
    layer.AddRecord(page, Lsn(0x1080), Lsn(0x1100), 0);
    layer.SetBlob(kClusterStateBlobKey, Lsn(0x1100), "ab");
    std::string path = directory + "/" + DeltaLayerFileName(Lsn(0x1000), Lsn(0x1100));
    EXPECT_TRUE(WriteDeltaLayerFile(layer, Id(), Lsn(0x1000), Lsn(0x1100), path).ok());
    EXPECT_FALSE(FileExists(path + ".tmp"));
    return path;
}

TEST(DeltaLayerFile, TheDocumentsExampleIsWhatIsWritten) {
    TempDirectory directory;
    const std::string path = WriteExample(directory.path());
    EXPECT_EQ(path, directory.path() + "/0000000000001000-0000000000001100.delta");
    const std::string content = *ReadWholeFile(path);
    auto from = [](std::initializer_list<int> bytes) {
        return std::string(bytes.begin(), bytes.end());
    };
    const std::string rel = from({0, 0, 6, 0x7f, 0, 0, 0, 5, 0, 0, 0x40, 0, 0});
    const std::string page = rel + from({0, 0, 0, 0});
    const std::string sizes = from({0, 13}) + rel + from({1, 3, 0x80, 1, 2});
    const std::string blobs = from({0, 13}) + "cluster_state" + from({1, 5, 0x80, 2, 3}) + "ab";
    const std::string pages = from({0, 17}) + page +
                              from({2, 8, 0x80, 1, 0x81, 8, 0x80, 1, 0x80, 8});
    ASSERT_EQ(content.size(), 269u);
    EXPECT_EQ(content.substr(0, 12), "ZNTHDLTA" + from({1, 0, 0, 0}));
    EXPECT_EQ(content.substr(16, 8), from({13, 1, 0, 0, 0, 0, 0, 0}));
    EXPECT_EQ(content[56], 3);
    EXPECT_EQ(static_cast<uint8_t>(content[72]), 199);
    EXPECT_EQ(content.substr(128, 71), sizes + blobs + pages);
    auto checksum = [](const std::string& block) {
        ByteWriter writer;
        writer.U32Le(Crc32c(std::as_bytes(std::span(block.data(), block.size()))));
        return writer.buffer();
    };
    EXPECT_EQ(content.substr(199),
              from({3, 13}) + rel + from({0x80, 1, 20}) + checksum(sizes) + from({5, 13}) +
                  "cluster_state" + from({0x80, 2, 22}) + checksum(blobs) + from({6, 17}) + page +
                  from({0x80, 1, 29}) + checksum(pages));
}

TEST(DeltaLayerFile, EveryFlippedByteIsFound) {
    TempDirectory directory;
    InMemoryLayer layer(nullptr);
    layer.CutDatabase({1663, 7}, {Lsn(0x1080), DatabaseKey{1663, 5}});
    layer.SetDatabaseExists({1663, 7}, Lsn(0x1080), true);
    layer.SetSize(kRelation, Lsn(0x1080), 1);
    layer.AddFloor(kRelation, Lsn(0x1080), 0);
    layer.AddRecord(PageKey::Relation(kRelation, 0), Lsn(0x1000), Lsn(0x1080), 1);
    layer.AddImage(PageKey::Slru(SlruKind::kXact, 3), Lsn(0x1080), Filled(9));
    layer.AddTombstone(PageKey::Slru(SlruKind::kXact, 2), Lsn(0x1100));
    layer.SetBlob(kClusterStateBlobKey, Lsn(0x1100), "state");
    const std::string path = directory.path() + "/layer";
    ASSERT_TRUE(WriteDeltaLayerFile(layer, Id(), kStart, Lsn(0x1100), path).ok());
    const std::string content = *ReadWholeFile(path);
    for (size_t i = 0; i < content.size(); i++) {
        std::string flipped(1, static_cast<char>(content[i] ^ (1 << i % 8)));
        Overwrite(path, i, flipped);
        auto file = DeltaLayerFile::Open(path, Id(), nullptr);
        Status status = file.ok() ? (*file)->Verify() : file.status();
        ASSERT_EQ(status.code(), StatusCode::kCorruption) << "byte " << i;
        EXPECT_NE(status.message().find(path), std::string::npos);
        EXPECT_NE(status.message().find("offset "), std::string::npos);
        EXPECT_NE(status.message().find(Id().ToString()), std::string::npos);
        Overwrite(path, i, content.substr(i, 1));
    }
    for (size_t length = 0; length < content.size(); length += 7) {
        ASSERT_EQ(truncate(path.c_str(), static_cast<off_t>(length)), 0);
        auto file = DeltaLayerFile::Open(path, Id(), nullptr);
        ASSERT_EQ(file.status().code(), StatusCode::kCorruption) << "length " << length;
        ASSERT_TRUE(ReplaceFileAtomically(path, content).ok());
    }
    ASSERT_TRUE((*DeltaLayerFile::Open(path, Id(), nullptr))->Verify().ok());
}

TEST(DeltaLayerFile, DamageFailsOnlyTheReadsThatNeedIt) {
    TempDirectory directory;
    InMemoryLayer layer(nullptr);
    Lsn lsn = kStart;
    for (BlockNumber block = 0; block < 5000; block++) {
        layer.AddRecord(PageKey::Relation(kRelation, block), lsn, lsn + 64, 1);
        lsn = lsn + 64;
    }
    const std::string path = directory.path() + "/layer";
    ASSERT_TRUE(WriteDeltaLayerFile(layer, Id(), kStart, lsn, path).ok());
    Overwrite(path, 128 + 3 * 8192 + 100, "damage");
    auto file = DeltaLayerFile::Open(path, Id(), nullptr);
    ASSERT_TRUE(file.ok()) << file.status().message();
    int failed = 0;
    for (BlockNumber block = 0; block < 5000; block++) {
        PageHistory history;
        auto step = (*file)->SearchPage(PageKey::Relation(kRelation, block), lsn, &history);
        if (step.ok()) {
            ASSERT_EQ(history.records.size(), 1u);
            EXPECT_EQ(history.records[0].start, kStart + 64 * block);
        } else {
            EXPECT_EQ(step.status().code(), StatusCode::kCorruption);
            failed++;
        }
    }
    EXPECT_GT(failed, 100);
    EXPECT_LT(failed, 1500);
}

TEST(DeltaLayerFile, UnknownVersionIsRefused) {
    TempDirectory directory;
    const std::string path = WriteExample(directory.path());
    std::string header = ReadWholeFile(path)->substr(0, kDeltaLayerHeaderSize);
    header[8] = 2;
    header.resize(kDeltaLayerHeaderChecksumOffset);
    ByteWriter checksum;
    checksum.U32Le(Crc32c(std::as_bytes(std::span(header.data(), header.size()))));
    Overwrite(path, 0, header + checksum.buffer());
    Status status = DeltaLayerFile::Open(path, Id(), nullptr).status();
    EXPECT_EQ(status.code(), StatusCode::kRefused);
    EXPECT_NE(status.message().find("version 2"), std::string::npos) << status.message();
    EXPECT_FALSE(status.hint().empty());
}

TEST(DeltaLayerFile, NothingOutsideOfItsRangeIsWritten) {
    TempDirectory directory;
    InMemoryLayer layer(nullptr);
    layer.SetBlob("a", Lsn(0x2000), "b");
    const std::string path = directory.path() + "/layer";
    EXPECT_FALSE(WriteDeltaLayerFile(layer, Id(), kStart, Lsn(0x1100), path).ok());
    EXPECT_TRUE(ListDirectory(directory.path())->empty());
}

TEST(OpenDeltaLayers, FindsLeftoversGapsAndOverlaps) {
    TempDirectory directory;
    const std::string layers = directory.path() + "/layers";
    auto open = [&](Lsn start = kStart) { return OpenDeltaLayers(layers, Id(), start, nullptr); };
    EXPECT_TRUE(open()->empty()) << "no directory yet";
    ASSERT_TRUE(EnsureDirectory(layers).ok());
    auto write = [&](uint64_t start, uint64_t end) {
        InMemoryLayer layer(nullptr);
        layer.SetBlob("a", Lsn(end), "b");
        std::string path = layers + "/" + DeltaLayerFileName(Lsn(start), Lsn(end));
        EXPECT_TRUE(WriteDeltaLayerFile(layer, Id(), Lsn(start), Lsn(end), path).ok());
        return path;
    };
    write(0x1000, 0x1100);
    const std::string middle = write(0x1100, 0x1200);
    write(0x1200, 0x1300);
    const std::string leftover = layers + "/0000000000001300-0000000000001400.delta.tmp";
    ASSERT_TRUE(ReplaceFileAtomically(leftover, "half").ok());
    ASSERT_EQ(open()->size(), 3u);
    EXPECT_EQ(open()->back()->end(), Lsn(0x1300));
    EXPECT_FALSE(FileExists(leftover));

    EXPECT_EQ(open(Lsn(0x800)).status().code(), StatusCode::kCorruption) << "not where it begins";
    const std::string overlapping = write(0x1180, 0x1280);
    EXPECT_EQ(open().status().code(), StatusCode::kCorruption);
    ASSERT_TRUE(RemoveFile(overlapping).ok());
    EXPECT_EQ(OpenDeltaLayers(layers, TimelineId::Random(), kStart, nullptr).status().code(),
              StatusCode::kCorruption);
    ASSERT_EQ(rename(middle.c_str(), (directory.path() + "/middle").c_str()), 0);
    Status gap = open().status();
    EXPECT_EQ(gap.code(), StatusCode::kCorruption);
    EXPECT_NE(gap.message().find("missing"), std::string::npos) << gap.message();
    // A file under another name is not taken for what it is not.
    ASSERT_EQ(rename((layers + "/0000000000001200-0000000000001300.delta").c_str(),
                     middle.c_str()), 0);
    EXPECT_EQ(open().status().code(), StatusCode::kCorruption);
}

}  // namespace
}  // namespace zenith

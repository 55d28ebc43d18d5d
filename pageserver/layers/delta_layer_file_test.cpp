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
#include "pageserver/layers/delta_layer_writer.h"
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

// The file of a layer of directory `directory`.
struct Written {
    NewLayer layer;
    std::string path;
    Status status;
};
Written Write(const InMemoryLayer& memory, const std::string& directory, Lsn start, Lsn end,
              uint64_t number = 1) {
    const NewLayer layer{directory, Id(), {start, end, number}};
    return {layer, directory + "/" + DeltaLayerFileName(layer.entry),
            WriteDeltaLayerFile(memory, layer).status()};
}
Result<std::shared_ptr<const DeltaLayerFile>> Open(const NewLayer& layer) {
    return DeltaLayerFile::Open(layer.directory, layer.timeline, layer.entry, nullptr,
                                std::make_shared<ImageFiles>(layer.directory, layer.timeline));
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
        const Written written = Write(memory, directory.path(), kStart, busy.end());
        ASSERT_TRUE(written.status.ok()) << written.status.message();
        auto opened = Open(written.layer);
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

// Of the filter of the document's example.
constexpr int kExampleFilterBits[] = {5, 90, 136, 316, 401, 488};

// The one of the document.
NewLayer WriteExample(const std::string& directory) {
    const PageKey page = PageKey::Relation(kRelation, 0);
    const NewLayer layer{directory, Id(), {Lsn(0x1000), Lsn(0x1100), 2}};
    DeltaLayerWriter writer(layer);
    EXPECT_TRUE(writer.Size(kRelation, Lsn(0x1080), 1).ok());
    const std::string state = "ab";
    EXPECT_TRUE(writer.Blob(kClusterStateBlobKey, Lsn(0x1100), &state).ok());
    EXPECT_TRUE(writer.Record(page, Lsn(0x1000), Lsn(0x1080), 1).ok());
    EXPECT_TRUE(writer.Record(page, Lsn(0x1080), Lsn(0x1100), 0).ok());
    EXPECT_TRUE(writer.ImageAt(page, Lsn(0x1100), {1, 64, 100}).ok());
    auto written = writer.Finish();
    EXPECT_TRUE(written.ok()) << written.status().message();
    EXPECT_EQ(written->file_bytes, 338u);
    EXPECT_EQ(written->oldest_record, Lsn(0x1000));
    EXPECT_EQ(written->image_files, std::vector<uint64_t>{1});
    return layer;
}

TEST(DeltaLayerFile, TheDocumentsExampleIsWhatIsWritten) {
    TempDirectory directory;
    WriteExample(directory.path());
    const std::string content = *ReadWholeFile(
        directory.path() + "/0000000000001000-0000000000001100-00000002.delta");
    EXPECT_EQ(ListDirectory(directory.path())->size(), 1u);
    auto from = [](std::initializer_list<int> bytes) {
        return std::string(bytes.begin(), bytes.end());
    };
    auto at = [&](size_t offset) { return static_cast<uint8_t>(content[offset]); };
    const std::string rel = from({0, 0, 6, 0x7f, 0, 0, 0, 5, 0, 0, 0x40, 0, 0});
    const std::string page = rel + from({0, 0, 0, 0});
    const std::string sizes = from({0, 13}) + rel + from({1, 3, 0x80, 1, 2});
    const std::string blobs = from({0, 13}) + "cluster_state" + from({1, 5, 0x80, 2, 3}) + "ab";
    const std::string pages =
        from({0, 17}) + page +
        from({3, 12, 0x80, 1, 0x81, 8, 0x80, 1, 0x80, 8, 0, 5, 64, 100});
    ASSERT_EQ(content.size(), 338u);
    EXPECT_EQ(content.substr(0, 12), "ZNTHDLTA" + from({2, 0, 0, 0}));
    EXPECT_EQ(content.substr(16, 8), from({0x52, 1, 0, 0, 0, 0, 0, 0}));
    EXPECT_EQ(at(56), 2);
    EXPECT_EQ(content.substr(64, 8), from({0, 0x10, 0, 0, 0, 0, 0, 0}));
    EXPECT_EQ(at(72), 3);
    EXPECT_EQ(at(80), 1);
    EXPECT_EQ(at(88), 203);
    EXPECT_EQ(content.substr(96, 2), from({267 - 256, 1}));
    EXPECT_EQ(content.substr(128, 75), sizes + blobs + pages);
    std::string filter(64, '\0');
    for (int bit : kExampleFilterBits) {
        filter[static_cast<size_t>(bit / 8)] =
            static_cast<char>(filter[static_cast<size_t>(bit / 8)] | 1 << bit % 8);
    }
    EXPECT_EQ(content.substr(203, 64), filter);
    auto checksum = [](const std::string& block) {
        ByteWriter writer;
        writer.U32Le(Crc32c(std::as_bytes(std::span(block.data(), block.size()))));
        return writer.buffer();
    };
    EXPECT_EQ(content.substr(267),
              from({1, 3, 13}) + rel + from({0x80, 1, 20}) + checksum(sizes) + from({5, 13}) +
                  "cluster_state" + from({0x80, 2, 22}) + checksum(blobs) + from({6, 17}) + page +
                  from({0x80, 1, 33}) + checksum(pages));
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
    const Written written = Write(layer, directory.path(), kStart, Lsn(0x1100));
    ASSERT_TRUE(written.status.ok());
    // The image file's bytes too: the layer's Verify() reads the images it refers to, and the rest
    // of an image file is ImageFile's to verify.
    for (const std::string& path :
         {written.path, directory.path() + "/" + ImageFileName(1)}) {
        const std::string content = *ReadWholeFile(path);
        auto verify = [&]() -> Status {
            auto file = Open(written.layer);
            ZENITH_RETURN_IF_ERROR(file.status());
            ZENITH_RETURN_IF_ERROR((*file)->Verify());
            return ImageFile(directory.path() + "/" + ImageFileName(1), Id(), 1).Verify();
        };
        ASSERT_TRUE(verify().ok()) << verify().message();
        for (size_t i = 0; i < content.size(); i++) {
            std::string flipped(1, static_cast<char>(content[i] ^ (1 << i % 8)));
            Overwrite(path, i, flipped);
            Status status = verify();
            ASSERT_EQ(status.code(), StatusCode::kCorruption)
                << "byte " << i << " of " << path << " " << status.message();
            EXPECT_NE(status.message().find(path), std::string::npos);
            EXPECT_NE(status.message().find("offset "), std::string::npos);
            EXPECT_NE(status.message().find(Id().ToString()), std::string::npos);
            Overwrite(path, i, content.substr(i, 1));
        }
        for (size_t length = 0; length < content.size(); length += 7) {
            ASSERT_EQ(truncate(path.c_str(), static_cast<off_t>(length)), 0);
            ASSERT_EQ(verify().code(), StatusCode::kCorruption) << "length " << length;
            ASSERT_TRUE(ReplaceFileAtomically(path, content).ok());
        }
        ASSERT_TRUE(verify().ok());
    }
}

TEST(DeltaLayerFile, DamageFailsOnlyTheReadsThatNeedIt) {
    TempDirectory directory;
    InMemoryLayer layer(nullptr);
    Lsn lsn = kStart;
    for (BlockNumber block = 0; block < 5000; block++) {
        layer.AddRecord(PageKey::Relation(kRelation, block), lsn, lsn + 64, 1);
        lsn = lsn + 64;
    }
    const Written written = Write(layer, directory.path(), kStart, lsn);
    ASSERT_TRUE(written.status.ok());
    Overwrite(written.path, 128 + 3 * 8192 + 100, "damage");
    auto file = Open(written.layer);
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
    // A reader of everything comes to it.
    auto cursor = (*file)->NewCursor();
    ASSERT_TRUE(cursor.ok());
    Result<bool> more = true;
    while (more.ok() && *more) {
        more = (*cursor)->NextKey();
    }
    EXPECT_EQ(more.status().code(), StatusCode::kCorruption);
}

TEST(DeltaLayerFile, ADamagedImageFailsItsReadOnly) {
    TempDirectory directory;
    InMemoryLayer layer(nullptr);
    const PageKey first = PageKey::Relation(kRelation, 0);
    const PageKey second = PageKey::Relation(kRelation, 1);
    layer.AddImage(first, Lsn(0x1080), Filled(1));
    layer.AddImage(second, Lsn(0x1080), Filled(2));
    const Written written = Write(layer, directory.path(), kStart, Lsn(0x1100));
    Overwrite(directory.path() + "/" + ImageFileName(1), kImageFileHeaderSize + 40, "?");
    auto file = Open(written.layer);
    ASSERT_TRUE(file.ok());
    PageHistory history;
    EXPECT_EQ((*file)->SearchPage(first, kMaxLsn, &history).status().code(),
              StatusCode::kCorruption);
    ASSERT_TRUE((*file)->SearchPage(second, kMaxLsn, &history).ok());
    EXPECT_EQ(history.base, Filled(2));
    EXPECT_EQ(history.base_lsn, Lsn(0x1080));
    // Who only wants to know how far the base is needs no image.
    PageHistory distance;
    distance.skip_base = true;
    ASSERT_TRUE((*file)->SearchPage(first, kMaxLsn, &distance).ok());
    EXPECT_EQ(distance.base_lsn, Lsn(0x1080));
    EXPECT_FALSE(distance.base);
}

TEST(DeltaLayerFile, AKnownVersionEndsTheSearch) {
    TempDirectory directory;
    InMemoryLayer layer(nullptr);
    const PageKey page = PageKey::Relation(kRelation, 0);
    for (uint64_t i = 0; i < 4; i++) {
        layer.AddRecord(page, kStart + 64 * i, kStart + 64 * (i + 1), 0);
    }
    const Written written = Write(layer, directory.path(), kStart, Lsn(0x1100));
    PageHistory history;
    history.known = kStart + 128;
    auto step = (*Open(written.layer))->SearchPage(page, kMaxLsn, &history);
    ASSERT_TRUE(step.ok());
    EXPECT_EQ(step->next, SearchStep::Next::kDone);
    ASSERT_EQ(history.records.size(), 3u);
    EXPECT_EQ(history.records.back().end, history.known);
}

TEST(DeltaLayerFile, UnknownVersionIsRefused) {
    TempDirectory directory;
    const NewLayer layer = WriteExample(directory.path());
    const std::string path = directory.path() + "/" + DeltaLayerFileName(layer.entry);
    for (char version : {0, 1, 3}) {
        std::string header = ReadWholeFile(path)->substr(0, kDeltaLayerHeaderSize);
        header[8] = version;
        header.resize(kDeltaLayerHeaderChecksumOffset);
        ByteWriter checksum;
        checksum.U32Le(Crc32c(std::as_bytes(std::span(header.data(), header.size()))));
        Overwrite(path, 0, header + checksum.buffer());
        Status status = Open(layer).status();
        EXPECT_EQ(status.code(), StatusCode::kRefused);
        EXPECT_NE(status.message().find("version " + std::to_string(version)), std::string::npos);
        EXPECT_FALSE(status.hint().empty());
    }
}

TEST(DeltaLayerFile, NothingIsWrittenOutsideOfItsRangeOrOutOfOrder) {
    TempDirectory directory;
    InMemoryLayer layer(nullptr);
    layer.SetBlob("a", Lsn(0x2000), "b");
    EXPECT_FALSE(Write(layer, directory.path(), kStart, Lsn(0x1100)).status.ok());
    {
        DeltaLayerWriter writer({directory.path(), Id(), {kStart, Lsn(0x1100), 1}});
        EXPECT_TRUE(writer.Image(PageKey::Relation(kRelation, 2), kStart, Filled(1)).ok());
        EXPECT_FALSE(writer.Tombstone(PageKey::Relation(kRelation, 1), kStart).ok());
    }
    EXPECT_TRUE(ListDirectory(directory.path())->empty());
}

TEST(DeltaLayerFile, GoesWhenNobodyUsesIt) {
    TempDirectory directory;
    InMemoryLayer layer(nullptr);
    layer.AddImage(PageKey::Relation(kRelation, 0), Lsn(0x1080), Filled(1));
    const Written written = Write(layer, directory.path(), kStart, Lsn(0x1100));
    auto images = std::make_shared<ImageFiles>(directory.path(), Id());
    auto file = *DeltaLayerFile::Open(directory.path(), Id(), written.layer.entry, nullptr, images);
    auto reader = file;
    file->RemoveWhenUnused();
    images->Get(1)->RemoveWhenUnused();
    file = nullptr;
    PageHistory history;
    ASSERT_TRUE(reader->SearchPage(PageKey::Relation(kRelation, 0), kMaxLsn, &history).ok());
    EXPECT_EQ(ListDirectory(directory.path())->size(), 2u);
    reader = nullptr;
    EXPECT_TRUE(ListDirectory(directory.path())->empty());
}

TEST(OpenDeltaLayers, OpensWhatTheManifestSaysAndRemovesTheRest) {
    TempDirectory directory;
    const std::string layers = directory.path() + "/layers";
    auto open = [&](Leftovers leftovers = Leftovers::kRemove) {
        return OpenDeltaLayers(layers, Id(), kStart, nullptr, leftovers);
    };
    EXPECT_TRUE(open()->files.empty()) << "no directory yet";
    ASSERT_TRUE(CreateLayerDirectory(layers, Id(), kStart).ok());
    LayerManifest manifest = *ReadLayerManifest(layers, Id(), kStart);
    auto write = [&](uint64_t start, uint64_t end, uint64_t number) {
        InMemoryLayer layer(nullptr);
        layer.AddImage(PageKey::Relation(kRelation, 0), Lsn(end), Filled(1));
        Written written = Write(layer, layers, Lsn(start), Lsn(end), number);
        EXPECT_TRUE(written.status.ok());
        return written;
    };
    const Written first = write(0x1000, 0x1100, 1);
    const Written second = write(0x1100, 0x1200, 2);
    const Written leftover = write(0x1200, 0x1300, 3);
    ASSERT_TRUE(ReplaceFileAtomically(layers + "/00000004.images.tmp", "half").ok());
    manifest.next_file = 3;
    manifest.layers = {first.layer.entry, second.layer.entry};
    ASSERT_TRUE(WriteLayerManifest(layers, Id(), kStart, manifest).ok());

    auto opened = open(Leftovers::kKeep);
    ASSERT_TRUE(opened.ok()) << opened.status().message();
    EXPECT_EQ(FindLeftovers(layers, *opened)->size(), 3u);
    EXPECT_TRUE(FileExists(leftover.path));
    opened = open();
    ASSERT_EQ(opened->files.size(), 2u);
    EXPECT_EQ(opened->manifest, manifest);
    EXPECT_EQ(opened->files[1]->end(), Lsn(0x1200));
    EXPECT_EQ(ListDirectory(layers)->size(), 5u);

    // A damaged file fails the reads that come to it; its images are not taken for leftovers.
    const std::string content = *ReadWholeFile(first.path);
    ASSERT_TRUE(ReplaceFileAtomically(first.path, "not a layer").ok());
    opened = open();
    ASSERT_EQ(opened->files.size(), 2u);
    EXPECT_EQ(opened->files[0]->damage().code(), StatusCode::kCorruption);
    EXPECT_TRUE(opened->files[1]->damage().ok());
    PageHistory history;
    EXPECT_EQ(opened->files[0]->SearchPage(PageKey::Relation(kRelation, 0), kMaxLsn, &history)
                  .status().code(), StatusCode::kCorruption);
    EXPECT_TRUE(FileExists(layers + "/" + ImageFileName(1)));
    ASSERT_TRUE(RemoveFile(first.path).ok());
    opened = open();
    ASSERT_TRUE(opened.ok());
    EXPECT_FALSE(opened->files[0]->damage().ok()) << "missing";
    // A file under another name is not taken for what it is not.
    ASSERT_TRUE(ReplaceFileAtomically(first.path, *ReadWholeFile(second.path)).ok());
    EXPECT_EQ(open()->files[0]->damage().code(), StatusCode::kCorruption);
    ASSERT_TRUE(ReplaceFileAtomically(first.path, content).ok());
    EXPECT_TRUE(open()->files[0]->damage().ok());

    // Without a manifest nothing says that these are leftovers.
    ASSERT_TRUE(RemoveFile(layers + "/manifest").ok());
    EXPECT_EQ(open().status().code(), StatusCode::kCorruption);
    EXPECT_EQ(CreateLayerDirectory(layers, Id(), kStart).code(), StatusCode::kCorruption);
    EXPECT_TRUE(FileExists(first.path));
}

TEST(PageFilter, NeverDeniesAndSeldomIsWrong) {
    PageFilterBuilder builder;
    auto hash = [](BlockNumber block) {
        return PageFilterHash(EncodedPageKey(PageKey::Relation(kRelation, block)).page());
    };
    for (BlockNumber block = 0; block < 50000; block++) {
        builder.Add(hash(block * 3));
    }
    const PageFilter filter(builder.Finish());
    EXPECT_LT(filter.memory_bytes(), 50000 * 10 / 8 + 100u);
    int wrong = 0;
    for (BlockNumber block = 0; block < 150000; block++) {
        if (block % 3 == 0) {
            ASSERT_TRUE(filter.MayHave(hash(block)));
        } else {
            wrong += filter.MayHave(hash(block)) ? 1 : 0;
        }
    }
    EXPECT_LT(wrong, 3000) << "of 100000";
    EXPECT_FALSE(PageFilter().MayHave(hash(1)));
}

}  // namespace
}  // namespace zenith

#include "pageserver/layers/image_file.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <zstd.h>

#include <random>
#include <vector>

#include "common/base/byte_writer.h"
#include "common/base/crc32c.h"
#include "common/base/posix_file.h"
#include "pageserver/layers/delta_layer_format.h"
#include "pageserver/layers/manifest.h"
#include "pageserver/layers/temp_directory_for_test.h"

namespace zenith {
namespace {

const RelForkKey kRelation{{1663, 5, 16384}, Fork::kMain};

TimelineId Id() { return *TimelineId::Parse("000102030405060708090a0b0c0d0e0f"); }

PageBuffer Random(uint32_t seed) {
    std::mt19937 random(seed);
    PageBuffer page;
    for (std::byte& byte : page) {
        byte = static_cast<std::byte>(random());
    }
    return page;
}

std::string Checksum(std::string_view bytes) {
    ByteWriter writer;
    writer.U32Le(Crc32c(std::as_bytes(std::span(bytes.data(), bytes.size()))));
    return writer.buffer();
}

TEST(ImageFile, GivesBackWhatWasWritten) {
    TempDirectory directory;
    auto writer = ImageFileWriter::Create(directory.path(), Id(), 7);
    ASSERT_TRUE(writer.ok());
    // Of every kind of contents: zeroes, text, noise that does not get smaller.
    std::vector<PageBuffer> pages = {PageBuffer{}, Random(1), PageBuffer{}};
    pages[2].fill(std::byte{'x'});
    std::vector<ImagePlace> places;
    for (uint32_t i = 0; i < 600; i++) {
        auto place = (*writer)->Add(PageKey::Relation(kRelation, i), Lsn(i + 1), pages[i % 3]);
        ASSERT_TRUE(place.ok());
        places.push_back(*place);
    }
    EXPECT_FALSE(FileExists(directory.path() + "/00000007.images"));
    ASSERT_TRUE((*writer)->Finish().ok());
    const uint64_t bytes = (*writer)->bytes();
    writer->reset();
    ImageFiles files(directory.path(), Id());
    const std::shared_ptr<const ImageFile> file = files.Get(7);
    EXPECT_EQ(files.Get(7), file);
    EXPECT_EQ(*file->file_bytes(), bytes);
    EXPECT_LT(bytes, 200 * 8192 + 600 * 100u) << "zeroes and text take next to nothing";
    for (uint32_t i = 0; i < 600; i++) {
        auto page = file->Read(places[i], PageKey::Relation(kRelation, i), Lsn(i + 1));
        ASSERT_TRUE(page.ok()) << page.status().message();
        EXPECT_EQ(*page, pages[i % 3]);
    }
    uint32_t next = 0;
    ASSERT_TRUE(file->ForEach([&](const ImagePlace& place, const PageKey& key, Lsn lsn,
                                  ConstPageSpan page) {
        EXPECT_EQ(place, places[next]);
        EXPECT_EQ(key, PageKey::Relation(kRelation, next));
        EXPECT_EQ(lsn, Lsn(next + 1));
        EXPECT_TRUE(std::equal(page.begin(), page.end(), pages[next % 3].begin()));
        next++;
        return Status::Ok();
    }).ok());
    EXPECT_EQ(next, 600u);

    // What a posting says has to be so.
    const PageKey first = PageKey::Relation(kRelation, 0);
    auto code = [&](ImagePlace place, const PageKey& key, Lsn lsn) {
        return file->Read(place, key, lsn).status().code();
    };
    EXPECT_EQ(code(places[0], first, Lsn(2)), StatusCode::kCorruption);
    EXPECT_EQ(code(places[0], PageKey::Relation(kRelation, 1), Lsn(1)), StatusCode::kCorruption);
    ImagePlace place = places[0];
    place.file = 8;
    EXPECT_EQ(code(place, first, Lsn(1)), StatusCode::kCorruption);
    place = places[0];
    place.offset += 1;
    EXPECT_EQ(code(place, first, Lsn(1)), StatusCode::kCorruption);
    place = places[0];
    place.length = UINT32_MAX;
    EXPECT_EQ(code(place, first, Lsn(1)), StatusCode::kCorruption);
    place.length = 40;
    place.offset = UINT64_MAX - 10;
    EXPECT_EQ(code(place, first, Lsn(1)), StatusCode::kCorruption);
    place.offset = bytes - 60;
    EXPECT_EQ(code(place, first, Lsn(1)), StatusCode::kCorruption);
}

TEST(ImageFile, CopiesFramesAsTheyAre) {
    TempDirectory directory;
    const PageKey key = PageKey::Slru(SlruKind::kXact, 3);
    auto one = ImageFileWriter::Create(directory.path(), Id(), 1);
    auto place = (*one)->Add(key, Lsn(5), Random(2));
    ASSERT_TRUE((*one)->Finish().ok());
    ImageFiles files(directory.path(), Id());
    auto frame = files.Get(1)->ReadFrame(*place, key, Lsn(5));
    ASSERT_TRUE(frame.ok());
    auto two = ImageFileWriter::Create(directory.path(), Id(), 2);
    auto copied = (*two)->AddFrame(*frame);
    ASSERT_TRUE((*two)->Finish().ok());
    EXPECT_EQ(*files.Get(2)->Read(*copied, key, Lsn(5)), Random(2));
    ASSERT_TRUE(files.Get(2)->Verify().ok());
}

// A frame whose checksum is right and whose contents are not a page.
TEST(ImageFile, NeverUnpacksMoreThanAPage) {
    TempDirectory directory;
    const PageKey key = PageKey::Relation(kRelation, 0);
    for (size_t size : {0u, 100u, 8191u, 8193u, 1000000u, 100000000u}) {
        std::string packed(ZSTD_compressBound(size), '\0');
        packed.resize(ZSTD_compress(packed.data(), packed.size(), std::string(size, 'a').data(),
                                    size, 1));
        if (packed.size() > 8192) {
            continue;
        }
        ByteWriter body;
        body.U32Le(static_cast<uint32_t>(kImageFrameHead + packed.size()));
        body.Text(EncodedPageKey(key).page());
        body.U64Le(9);
        body.Text(packed);
        auto writer = ImageFileWriter::Create(directory.path(), Id(), 1);
        auto place = (*writer)->AddFrame(Checksum(body.buffer()) + body.buffer());
        ASSERT_TRUE((*writer)->Finish().ok());
        const ImageFile file(directory.path() + "/" + ImageFileName(1), Id(), 1);
        EXPECT_EQ(file.Read(*place, key, Lsn(9)).status().code(), StatusCode::kCorruption) << size;
        EXPECT_EQ(file.Verify().code(), StatusCode::kCorruption) << size;
    }
}

TEST(ImageFile, UnknownVersionIsRefused) {
    TempDirectory directory;
    auto writer = ImageFileWriter::Create(directory.path(), Id(), 1);
    ASSERT_TRUE((*writer)->Finish().ok());
    const std::string path = directory.path() + "/" + ImageFileName(1);
    std::string content = *ReadWholeFile(path);
    content[8] = 2;
    content.replace(60, 4, Checksum(content.substr(0, 60)));
    ASSERT_TRUE(ReplaceFileAtomically(path, content).ok());
    const Status status = ImageFile(path, Id(), 1).Verify();
    EXPECT_EQ(status.code(), StatusCode::kRefused);
    EXPECT_FALSE(status.hint().empty());
}

TEST(ImageFile, NothingStaysOfOneThatIsNotFinished) {
    TempDirectory directory;
    {
        auto writer = ImageFileWriter::Create(directory.path(), Id(), 1);
        ASSERT_TRUE((*writer)->Add(PageKey::Relation(kRelation, 0), Lsn(5), Random(2)).ok());
    }
    EXPECT_TRUE(ListDirectory(directory.path())->empty());
    const ImageFile none(directory.path() + "/" + ImageFileName(1), Id(), 1);
    EXPECT_FALSE(none.Verify().ok());
}

}  // namespace
}  // namespace zenith

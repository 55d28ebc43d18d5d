#include "pageserver/layers/manifest.h"

#include <gtest/gtest.h>

#include <cstdio>
#include <span>

#include "common/base/crc32c.h"
#include "common/base/posix_file.h"
#include "pageserver/layers/temp_directory_for_test.h"

namespace zenith {
namespace {

const Lsn kStart(0x1000);

TimelineId Id() { return *TimelineId::Parse("000102030405060708090a0b0c0d0e0f"); }

LayerManifest Example() {
    LayerManifest manifest;
    manifest.next_file = 3;
    manifest.readable_from = Lsn(0x1100);
    manifest.points = {Lsn(0x1080)};
    manifest.layers = {{Lsn(0x1000), Lsn(0x1100), 2}};
    return manifest;
}

// `text` with a checksum that is right.
std::string Signed(const std::string& text) {
    char line[32];
    std::snprintf(line, sizeof line, "crc32c %08x\n",
                  Crc32c(std::as_bytes(std::span(text.data(), text.size()))));
    return text + line;
}

Result<LayerManifest> Parse(const std::string& text) {
    return ParseLayerManifest(text, "m", Id(), kStart);
}

constexpr char kExample[] =
    "zenith layer manifest 1\n"
    "timeline 000102030405060708090a0b0c0d0e0f\n"
    "next_file 3\n"
    "readable_from 0/1100\n"
    "point 0/1080\n"
    "layer 0/1000 0/1100 2\n";

TEST(LayerManifest, TheDocumentsExampleIsWhatIsWritten) {
    TempDirectory directory;
    ASSERT_TRUE(WriteLayerManifest(directory.path(), Id(), kStart, Example()).ok());
    const std::string text = *ReadWholeFile(directory.path() + "/manifest");
    EXPECT_EQ(text, std::string(kExample) + "crc32c 89bddcd2\n");
    EXPECT_EQ(text.size(), 150u);
    auto read = ReadLayerManifest(directory.path(), Id(), kStart);
    ASSERT_TRUE(read.ok()) << read.status().message();
    EXPECT_EQ(*read, Example());
    LayerManifest ended = Example();
    ended.ends_at = Lsn(0x1100);
    ASSERT_TRUE(WriteLayerManifest(directory.path(), Id(), kStart, ended).ok());
    EXPECT_EQ(*ReadLayerManifest(directory.path(), Id(), kStart), ended);
}

TEST(LayerManifest, NoneIsAnEmptyOne) {
    TempDirectory directory;
    for (const std::string& path : {directory.path(), directory.path() + "/nowhere"}) {
        auto read = ReadLayerManifest(path, Id(), kStart);
        ASSERT_TRUE(read.ok());
        EXPECT_TRUE(read->layers.empty());
        EXPECT_EQ(read->readable_from, kStart);
        EXPECT_EQ(read->next_file, 1u);
    }
}

TEST(LayerManifest, EveryFlippedByteIsFound) {
    const std::string text = FormatLayerManifest(Id(), Example());
    for (size_t i = 0; i < text.size(); i++) {
        for (int bit = 0; bit < 8; bit++) {
            std::string flipped = text;
            flipped[i] = static_cast<char>(flipped[i] ^ 1 << bit);
            Status status = Parse(flipped).status();
            ASSERT_EQ(status.code(), StatusCode::kCorruption) << "byte " << i;
            EXPECT_NE(status.message().find("\"m\", offset "), std::string::npos);
            EXPECT_NE(status.message().find(Id().ToString()), std::string::npos);
        }
        EXPECT_EQ(Parse(text.substr(0, i)).status().code(), StatusCode::kCorruption);
    }
}

TEST(LayerManifest, OnlyWhatTheGrammarAllows) {
    ASSERT_TRUE(Parse(Signed(kExample)).ok());
    const std::string example = kExample;
    auto with = [&](const std::string& old_text, const std::string& new_text) {
        std::string text = example;
        text.replace(text.find(old_text), old_text.size(), new_text);
        return Parse(Signed(text)).status().code();
    };
    EXPECT_EQ(with("manifest 1", "manifest 2"), StatusCode::kRefused);
    EXPECT_EQ(with("manifest 1", "manifest x"), StatusCode::kCorruption);
    EXPECT_EQ(with("0001", "0101"), StatusCode::kCorruption) << "another timeline";
    EXPECT_EQ(with("next_file 3", "next_file 2"), StatusCode::kCorruption) << "in use";
    EXPECT_EQ(with("next_file 3", "next_file 03"), StatusCode::kCorruption);
    EXPECT_EQ(with("next_file 3", "next_file 99999999999"), StatusCode::kCorruption);
    EXPECT_EQ(with("0/1100\n", "0/800\n"), StatusCode::kCorruption) << "before the timeline";
    EXPECT_EQ(with("point 0/1080\n", "point 0/1080\npoint 0/1080\n"), StatusCode::kCorruption);
    EXPECT_EQ(with("point 0/1080\n", "point 0/1080 \n"), StatusCode::kCorruption);
    EXPECT_EQ(with("point 0/1080\n", "point 0/1080\nends_at 0/1080\n"), StatusCode::kCorruption);
    EXPECT_EQ(with("layer 0/1000", "layer 0/1008"), StatusCode::kCorruption) << "a gap";
    EXPECT_EQ(with("layer 0/1000", "layer 0/FF8"), StatusCode::kCorruption) << "an overlap";
    EXPECT_EQ(with("0/1100 2", "0/1000 2"), StatusCode::kCorruption);
    EXPECT_EQ(with("0/1100 2\n", "0/1100 2\nlayer 0/1108 0/1200 1\n"), StatusCode::kCorruption);
    EXPECT_EQ(with("0/1100 2\n", "0/1100 2\nlayer 0/1100 0/1200 1\n"), StatusCode::kOk);
    EXPECT_EQ(with("0/1100 2\n", "0/1100 2\nmore\n"), StatusCode::kCorruption);

    TempDirectory directory;
    LayerManifest gap = Example();
    gap.layers[0].start = Lsn(0x1008);
    EXPECT_EQ(WriteLayerManifest(directory.path(), Id(), kStart, gap).code(),
              StatusCode::kInvalidArgument);
    EXPECT_TRUE(ListDirectory(directory.path())->empty());
}

TEST(LayerManifest, FileNames) {
    const LayerManifest::Entry entry{Lsn(0x1000), Lsn(0xABCDEF), 0x1f};
    EXPECT_EQ(DeltaLayerFileName(entry), "0000000000001000-0000000000abcdef-0000001f.delta");
    EXPECT_EQ(ParseDeltaLayerFileName(DeltaLayerFileName(entry)), entry);
    EXPECT_EQ(ParseImageFileName("0000001f.images"), 0x1fu);
    for (const char* name : {"", "manifest", "0000001F.images", "1f.images", "0000001f.images.tmp",
                             "0000000000001000-0000000000abcdef-0000001F.delta",
                             "0000000000001000+0000000000abcdef-0000001f.delta",
                             "0000000000001000-0000000000abcdef.delta"}) {
        EXPECT_FALSE(ParseDeltaLayerFileName(name)) << name;
        EXPECT_FALSE(ParseImageFileName(name)) << name;
    }
}

}  // namespace
}  // namespace zenith

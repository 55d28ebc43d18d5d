// layer list and layer dump on a built repository.
#include "pageserver/inspect/layer_list.h"

#include <gtest/gtest.h>
#include <rapidjson/document.h>

#include "pageserver/inspect/built_repository_for_test.h"
#include "pageserver/layers/manifest.h"

namespace zenith {
namespace {

class LayerListTest : public testing::Test {
  protected:
    PrintLine Printer() {
        lines_.clear();
        return [this](const std::string& line) { lines_.push_back(line); };
    }
    size_t Count(const std::string& text) const {
        size_t count = 0;
        for (const std::string& line : lines_) {
            count += line.find(text) != std::string::npos ? 1 : 0;
        }
        return count;
    }
    rapidjson::Document Json() const {
        std::string text;
        for (const std::string& line : lines_) {
            text += line + "\n";
        }
        rapidjson::Document document;
        document.Parse(text.c_str());
        EXPECT_FALSE(document.HasParseError()) << text;
        return document;
    }
    // The files of the root's layers, oldest first, as the JSON list names them.
    std::vector<std::string> RootLayers() {
        EXPECT_TRUE(ListLayers(built_.repository, "main", true, Printer()).ok());
        rapidjson::Document json = Json();
        std::vector<std::string> files;
        for (const auto& layer : json[0]["layers"].GetArray()) {
            files.push_back(layer["file"].GetString());
        }
        return files;
    }
    Status Dump(const std::string& file, bool json = false, const std::string& relation = "",
                std::optional<BlockNumber> block = std::nullopt) {
        DumpOptions options;
        options.file = file;
        options.json = json;
        options.block = block;
        if (!relation.empty()) {
            ZENITH_RETURN_IF_ERROR(ParseRelation(relation, &options));
        }
        return DumpLayer(built_.repository, options, Printer());
    }

    BuiltRepository built_;
    std::vector<std::string> lines_;
};

TEST_F(LayerListTest, List) {
    ASSERT_TRUE(ListLayers(built_.repository, "", false, Printer()).ok());
    EXPECT_EQ(Count("timeline "), 3u);
    EXPECT_EQ(Count("(dev/x)"), 1u);
    EXPECT_EQ(Count("readable from " + built_.collected_to.ToString() + " on and at " +
                    built_.kept_point.ToString()),
              1u);
    EXPECT_EQ(Count("no layer files"), 1u);
    // The one that garbage collection left has images of 20 blocks, 5 of them twice.
    EXPECT_EQ(Count("25 images, no records, images in "), 1u);
    EXPECT_EQ(Count("20 records"), 1u);
    EXPECT_EQ(Count("12 records"), 1u);

    ASSERT_TRUE(ListLayers(built_.repository, "main", true, Printer()).ok());
    rapidjson::Document json = Json();
    ASSERT_EQ(json.Size(), 1u);
    EXPECT_STREQ(json[0]["timeline"].GetString(), built_.root.ToString().c_str());
    EXPECT_STREQ(json[0]["branches"][0].GetString(), "main");
    EXPECT_STREQ(json[0]["points"][0].GetString(), built_.kept_point.ToString().c_str());
    ASSERT_EQ(json[0]["layers"].Size(), 2u);
    EXPECT_TRUE(json[0]["layers"][0]["oldest_record"].IsNull());
    EXPECT_EQ(json[0]["layers"][0]["images"].GetUint(), 25u);
    EXPECT_EQ(json[0]["layers"][0]["image_files"].Size(), 1u);
    EXPECT_STREQ(json[0]["layers"][1]["end"].GetString(), built_.branch_point.ToString().c_str());

    EXPECT_EQ(ListLayers(built_.repository, "nobody", false, Printer()).code(),
              StatusCode::kNotFound);
}

TEST_F(LayerListTest, DumpOfADeltaLayer) {
    const std::vector<std::string> files = RootLayers();
    ASSERT_EQ(files.size(), 2u);
    Status status = Dump(files[1]);
    ASSERT_TRUE(status.ok()) << status.message();
    EXPECT_EQ(Count("page block "), 20u);
    EXPECT_EQ(Count("record from "), 20u);
    EXPECT_EQ(Count("needs nothing older"), 20u);
    EXPECT_EQ(Count("size 1663/5/16384 at "), 10u);
    EXPECT_EQ(Count("30 blocks"), 1u);
    EXPECT_GE(Count("blob cluster_state at "), 1u);
    const size_t lines = lines_.size();

    // By its path, too, and with the same entries in JSON.
    const std::string path = built_.repository.LayerDirectory(built_.root) + "/" + files[1];
    ASSERT_TRUE(Dump(path, true).ok());
    EXPECT_EQ(Json().Size(), lines);

    ASSERT_TRUE(Dump(files[1], false, "1663/5/16384").ok());
    EXPECT_EQ(lines_.size(), 30u);
    ASSERT_TRUE(Dump(files[1], false, "1663/5/16384", 15).ok());
    EXPECT_EQ(lines_.size(), 1u);
    EXPECT_EQ(Count("page block 15 of relation 1663/5/16384 at "), 1u);
    ASSERT_TRUE(Dump(files[1], true, "1663/5/16384_vm").ok());
    EXPECT_EQ(Json().Size(), 0u);
}

TEST_F(LayerListTest, DumpOfImages) {
    const std::vector<std::string> files = RootLayers();
    ASSERT_TRUE(Dump(files[0], false, "1663/5/16384", 3).ok());
    EXPECT_EQ(Count("image in "), 2u);
    const std::string images = ImageFileName(ParseDeltaLayerFileName(files[0])->number);
    const std::string path = built_.repository.LayerDirectory(built_.root) + "/" + images;
    Status status = Dump(path, false, "1663/5/16384", 3);
    ASSERT_TRUE(status.ok()) << status.message();
    EXPECT_EQ(Count("image block 3 of relation 1663/5/16384 at "), 2u);
    ASSERT_TRUE(Dump(path, true).ok());
    EXPECT_EQ(Json().Size(), 25u);

    built_.Xor(path.substr(built_.repository.path().size() + 1), 200, 1);
    EXPECT_EQ(Dump(path).code(), StatusCode::kCorruption);
}

TEST_F(LayerListTest, WrongQuestions) {
    EXPECT_EQ(Dump("nothing.delta").code(), StatusCode::kNotFound);
    EXPECT_EQ(Dump("/nowhere/00000001.images").code(), StatusCode::kNotFound);
    EXPECT_EQ(Dump(built_.repository.ConfigPath()).code(), StatusCode::kInvalidArgument);
    const std::string manifest = built_.repository.LayerDirectory(built_.root) + "/manifest";
    EXPECT_EQ(Dump(manifest).code(), StatusCode::kInvalidArgument);
    DumpOptions options;
    for (const char* text : {"", "1", "1/2", "1/2/", "1/2/x", "1/2/3_", "1/2/3_x", "1/2/3/4",
                             "99999999999/1/1", "-1/2/3"}) {
        EXPECT_EQ(ParseRelation(text, &options).code(), StatusCode::kInvalidArgument) << text;
    }
    ASSERT_TRUE(ParseRelation("1/2/3_main", &options).ok());
    EXPECT_FALSE(options.any_fork);
    EXPECT_EQ(options.relation->fork, Fork::kMain);
}

}  // namespace
}  // namespace zenith

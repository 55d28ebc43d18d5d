#include "pageserver/redo/redo_protocol.h"

#include <gtest/gtest.h>

namespace zenith {
namespace {

std::string FromHex(std::string_view hex) {
    std::string bytes;
    for (size_t i = 0; i + 1 < hex.size();) {
        if (hex[i] == ' ') {
            ++i;
            continue;
        }
        bytes += static_cast<char>(std::stoi(std::string(hex.substr(i, 2)), nullptr, 16));
        i += 2;
    }
    return bytes;
}

std::span<const std::byte> AsBytes(const std::string& text) {
    return std::as_bytes(std::span(text.data(), text.size()));
}

TEST(RedoProtocolTest, RequestsAreEncodedAsDescribed) {
    RedoRequest request;
    request.key = PageKey::Relation({{1663, 5, 16384}, Fork::kMain}, 7);
    std::string bytes;
    EncodeRedoRequest(1, request, &bytes);
    EXPECT_EQ(bytes, FromHex("24000000 0100000000000000 7f060000 05000000 00400000 00000000 "
                             "07000000 00000000 00000000"));

    request.base.emplace();
    request.base->fill(std::byte{0xAB});
    request.records = {{Lsn(0x10), Lsn(0x20), "abc"}, {Lsn(0x20), Lsn(0x30), ""}};
    bytes = "before";
    EncodeRedoRequest(2, request, &bytes);
    EXPECT_EQ(bytes.size(), 6 + 4 + RedoRequestSize(request));
    // from the flags on
    EXPECT_EQ(bytes.substr(6 + 4 + 28), FromHex("01000000") +
                                        std::string(kPageSize, '\xAB') + FromHex("02000000") +
                                        FromHex("1000000000000000 2000000000000000 03000000") +
                                        "abc" +
                                        FromHex("2000000000000000 3000000000000000 00000000"));
}

TEST(RedoProtocolTest, GreetingsOfOthersAreRefused) {
    struct Case {
        const char* bytes;
        StatusCode code;
    };
    for (const Case& c : {Case{"5a52444f 01000000 f4490200", StatusCode::kOk},
                          Case{"5a52444f 02000000 f4490200", StatusCode::kRefused},
                          Case{"58585858 01000000 f4490200", StatusCode::kCorruption},
                          Case{"5a52444f 01000000", StatusCode::kCorruption}}) {
        std::string bytes = FromHex(c.bytes);
        Result<RedoGreeting> greeting = DecodeRedoGreeting(AsBytes(bytes));
        EXPECT_EQ(greeting.status().code(), c.code) << c.bytes;
        if (greeting.ok()) {
            EXPECT_EQ(greeting->server_version, 150004u);
        }
    }
}

TEST(RedoProtocolTest, ResponsesAreTakenWholeOrNotAtAll) {
    std::string page = FromHex("0c200000 0500000000000000 00000000") + std::string(kPageSize, 'p');
    std::string error = FromHex("0f000000 0600000000000000 01000000") + "bad";
    std::string stream = page + error;
    size_t size = 1;
    for (size_t n = 0; n < page.size(); n += n < 20 ? 1 : 1000) {
        Result<RedoResponse> partial = DecodeRedoResponse(AsBytes(stream).first(n), &size);
        ASSERT_TRUE(partial.ok());
        EXPECT_EQ(size, 0u);
    }
    Result<RedoResponse> first = DecodeRedoResponse(AsBytes(stream), &size);
    ASSERT_TRUE(first.ok());
    EXPECT_EQ(size, page.size());
    EXPECT_EQ(first->id, 5u);
    EXPECT_FALSE(first->failed);
    EXPECT_EQ(first->body.size(), kPageSize);
    Result<RedoResponse> second = DecodeRedoResponse(AsBytes(stream).subspan(size), &size);
    ASSERT_TRUE(second.ok());
    EXPECT_EQ(size, error.size());
    EXPECT_EQ(second->id, 6u);
    EXPECT_TRUE(second->failed);
    EXPECT_EQ(second->body.size(), 3u);
}

TEST(RedoProtocolTest, WrongResponsesAreFoundBeforeTheyAreWaitedFor) {
    for (const char* bytes : {"0b000000", "0d200000", "ffffffff",
                              "0c000000 0100000000000000 00000000",
                              "0c000000 0100000000000000 02000000"}) {
        std::string text = FromHex(bytes);
        size_t size;
        Result<RedoResponse> response = DecodeRedoResponse(AsBytes(text), &size);
        EXPECT_EQ(response.status().code(), StatusCode::kCorruption) << bytes;
    }
}

}  // namespace
}  // namespace zenith

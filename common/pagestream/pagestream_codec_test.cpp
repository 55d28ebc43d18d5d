#include "common/pagestream/pagestream_codec.h"

#include <gtest/gtest.h>

#include <random>

namespace zenith {
namespace {

std::span<const std::byte> Bytes(const std::string& text) {
    return std::as_bytes(std::span(text.data(), text.size()));
}

PageRequest SampleRequest() {
    PageRequest request;
    request.request_id = 0x0102030405060708;
    request.mode = PageReadMode::kExact;
    request.lsn = Lsn(0x1100000022);
    request.rel = {{1663, 5, 16384}, Fork::kVm};
    request.block = 0x01020304;
    request.count = 256;
    return request;
}

std::string Encoded(const PageRequest& request) {
    std::string out;
    AppendPageRequest(request, &out);
    return out;
}

TEST(PagestreamCodec, RequestBytesAreAsTheGrammarSays) {
    const unsigned char expected[] = {
        'G', 1,                             // type, version
        1,   2, 3,    4,    5, 6, 7, 8,     // request id
        1,                                  // mode
        0,   0, 0,    0x11, 0, 0, 0, 0x22,  // lsn
        0,   0, 0x06, 0x7F,                 // tablespace
        0,   0, 0,    5,                    // database
        0,   0, 0x40, 0,                    // relation
        2,                                  // fork
        1,   2, 3,    4,                    // block
        1,   0,                             // count
    };
    static_assert(sizeof expected == kPageRequestSize);
    std::string text(reinterpret_cast<const char*>(expected), sizeof expected);
    EXPECT_EQ(Encoded(SampleRequest()), text);
    auto decoded = DecodePageRequest(Bytes(text));
    ASSERT_TRUE(decoded.ok()) << decoded.status().message();
    EXPECT_EQ(*decoded, SampleRequest());
}

TEST(PagestreamCodec, RequestOfEveryWrongLengthIsRefused) {
    std::string text = Encoded(SampleRequest());
    for (size_t n = 0; n < text.size(); n++) {
        EXPECT_FALSE(DecodePageRequest(Bytes(text.substr(0, n))).ok()) << n;
    }
    EXPECT_FALSE(DecodePageRequest(Bytes(text + "x")).ok());
}

TEST(PagestreamCodec, UnknownVersionNamesBoth) {
    for (bool longer : {false, true}) {
        std::string text = Encoded(SampleRequest());
        text[1] = 7;
        if (longer) {
            text += "fields of a later version";
        }
        auto decoded = DecodePageRequest(Bytes(text));
        ASSERT_FALSE(decoded.ok());
        EXPECT_EQ(decoded.status().message(),
                  "the client speaks pagestream version 7, this server speaks version 1");
        EXPECT_FALSE(decoded.status().hint().empty());
    }
}

TEST(PagestreamCodec, ValuesOutOfRangeAreRefused) {
    struct Case {
        size_t offset;
        std::string bytes;
        const char* message;
    };
    const Case cases[] = {
        {0, "X", "invalid page request: unknown message type"},
        {10, "\x02", "invalid page request: unknown mode 2"},
        {31, "\x04", "invalid page request: unknown fork 4"},
        {36, std::string("\0\0", 2), "invalid page request: count is 0, not in 1..256"},
        {36, "\x01\x01", "invalid page request: count is 257, not in 1..256"},
        {32, "\xff\xff\xff\xff",
         "invalid page request: blocks reach past the largest block number"},
    };
    for (const Case& c : cases) {
        std::string text = Encoded(SampleRequest());
        text.replace(c.offset, c.bytes.size(), c.bytes);
        auto decoded = DecodePageRequest(Bytes(text));
        ASSERT_FALSE(decoded.ok()) << c.message;
        EXPECT_EQ(decoded.status().message(), c.message);
    }
    // The last block there can be is fine.
    PageRequest last = SampleRequest();
    last.block = 0xFFFFFFFE;
    last.count = 1;
    EXPECT_TRUE(DecodePageRequest(Bytes(Encoded(last))).ok());
    last.block = 0xFFFFFFFF - 256;
    last.count = 256;
    EXPECT_TRUE(DecodePageRequest(Bytes(Encoded(last))).ok());
    last.block++;
    EXPECT_FALSE(DecodePageRequest(Bytes(Encoded(last))).ok());
}

TEST(PagestreamCodec, PageAndMissingPage) {
    PageBuffer page;
    for (size_t i = 0; i < page.size(); i++) {
        page[i] = static_cast<std::byte>(i * 7);
    }
    PageResponse response;
    response.request_id = UINT64_MAX;
    response.block = 77;
    response.kind = PageResponse::Kind::kPage;
    response.page = page;
    std::string text;
    AppendPageResponse(response, &text);
    EXPECT_EQ(text.size(), kMaxPageResponseSize);
    auto decoded = DecodePageResponse(Bytes(text));
    ASSERT_TRUE(decoded.ok());
    EXPECT_EQ(decoded->request_id, UINT64_MAX);
    EXPECT_EQ(decoded->block, 77u);
    ASSERT_EQ(decoded->kind, PageResponse::Kind::kPage);
    EXPECT_TRUE(std::equal(decoded->page.begin(), decoded->page.end(), page.begin(), page.end()));
    for (size_t n = 0; n < text.size(); n++) {
        EXPECT_FALSE(DecodePageResponse(Bytes(text.substr(0, n))).ok());
    }
    EXPECT_FALSE(DecodePageResponse(Bytes(text + "x")).ok());

    response.kind = PageResponse::Kind::kMissing;
    text.clear();
    AppendPageResponse(response, &text);
    EXPECT_EQ(text.size(), 14u);
    decoded = DecodePageResponse(Bytes(text));
    ASSERT_TRUE(decoded.ok());
    EXPECT_EQ(decoded->kind, PageResponse::Kind::kMissing);
    EXPECT_TRUE(decoded->page.empty());
    text.back() = 2;
    EXPECT_FALSE(DecodePageResponse(Bytes(text)).ok());
}

TEST(PagestreamCodec, Failure) {
    std::string text;
    AppendPageFailure(5, 6, Status::NotFound("no such page", "Look elsewhere."), &text);
    auto decoded = DecodePageResponse(Bytes(text));
    ASSERT_TRUE(decoded.ok());
    EXPECT_EQ(decoded->kind, PageResponse::Kind::kFailure);
    EXPECT_EQ(decoded->request_id, 5u);
    EXPECT_EQ(decoded->block, 6u);
    EXPECT_EQ(decoded->sqlstate, "42704");
    EXPECT_EQ(decoded->message, "no such page");
    EXPECT_EQ(decoded->hint, "Look elsewhere.");
    for (size_t n = 0; n < text.size(); n++) {
        EXPECT_FALSE(DecodePageResponse(Bytes(text.substr(0, n))).ok());
    }
    EXPECT_FALSE(DecodePageResponse(Bytes(text + "x")).ok());
}

TEST(PagestreamCodec, FailureTextsAreCutAndSqlStateIsRepaired) {
    PageResponse response;
    response.kind = PageResponse::Kind::kFailure;
    response.sqlstate = "bad";
    std::string message = "before";
    message.push_back('\0');
    message += "after";
    std::string hint(100000, 'h');
    response.message = message;
    response.hint = hint;
    std::string text;
    AppendPageResponse(response, &text);
    EXPECT_EQ(text.size(), kMaxPageResponseSize);
    auto decoded = DecodePageResponse(Bytes(text));
    ASSERT_TRUE(decoded.ok()) << decoded.status().message();
    EXPECT_EQ(decoded->sqlstate, "XX000");
    EXPECT_EQ(decoded->message, "before");
    EXPECT_GT(decoded->hint.size(), 8000u);
}

// Whatever decodes must encode to the same bytes; nothing may crash.
TEST(PagestreamCodec, RandomBytes) {
    std::mt19937 random(20261);
    std::string request = Encoded(SampleRequest());
    std::string failure;
    AppendPageFailure(1, 2, Status::Internal("m", "h"), &failure);
    for (int round = 0; round < 20000; round++) {
        std::string text = round % 2 ? request : failure;
        for (int flips = 1 + static_cast<int>(random() % 4); flips > 0; flips--) {
            text[random() % text.size()] = static_cast<char>(random());
        }
        if (random() % 4 == 0) {
            text.resize(random() % 60, static_cast<char>(random()));
        }
        auto decoded_request = DecodePageRequest(Bytes(text));
        if (decoded_request.ok()) {
            EXPECT_EQ(Encoded(*decoded_request), text);
        }
        auto decoded_response = DecodePageResponse(Bytes(text));
        if (decoded_response.ok()) {
            std::string again;
            AppendPageResponse(*decoded_response, &again);
            EXPECT_EQ(again, text);
        }
    }
}

}  // namespace
}  // namespace zenith

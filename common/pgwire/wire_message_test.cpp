#include "common/pgwire/wire_message.h"

#include <gtest/gtest.h>

#include "common/base/byte_writer.h"

namespace zenith {
namespace {

std::span<const std::byte> Bytes(const std::string& text) {
    return std::as_bytes(std::span(text.data(), text.size()));
}

std::string Startup(uint32_t code, const std::string& rest) {
    ByteWriter writer;
    writer.U32Be(code);
    writer.Text(rest);
    return writer.Take();
}

TEST(WireMessage, StartupPackets) {
    auto packet = ParseStartupPacket(
        Bytes(Startup(3 << 16, std::string("user\0me\0database\0d\0user\0you\0\0", 29))));
    ASSERT_TRUE(packet.ok()) << packet.status().message();
    EXPECT_EQ(packet->kind, StartupPacket::Kind::kStartup);
    EXPECT_EQ(packet->major, 3);
    EXPECT_EQ(packet->minor, 0);
    EXPECT_EQ(packet->Parameter("user"), "you");
    EXPECT_EQ(packet->Parameter("database"), "d");
    EXPECT_EQ(packet->Parameter("options"), "");

    struct Special {
        uint32_t code;
        StartupPacket::Kind kind;
    };
    const Special specials[] = {
        {80877102, StartupPacket::Kind::kCancelRequest},
        {80877103, StartupPacket::Kind::kSslRequest},
        {80877104, StartupPacket::Kind::kGssEncRequest},
    };
    for (const Special& special : specials) {
        packet = ParseStartupPacket(Bytes(Startup(special.code, "")));
        ASSERT_TRUE(packet.ok());
        EXPECT_EQ(packet->kind, special.kind);
    }
    // A version whose layout is not known is left to the caller.
    packet = ParseStartupPacket(Bytes(Startup(2 << 16, "anything")));
    ASSERT_TRUE(packet.ok());
    EXPECT_EQ(packet->major, 2);

    const std::string bad[] = {
        "",
        "abc",
        Startup(3 << 16, ""),                                // no terminator
        Startup(3 << 16, "user"),                            // no zero byte
        Startup(3 << 16, std::string("user\0", 5)),          // no value
        Startup(3 << 16, std::string("user\0me\0", 8)),      // no terminator
        Startup(3 << 16, std::string("user\0me\0\0x", 10)),  // bytes after it
        Startup(80877103, "x"),
        Startup(3 << 16, std::string(20000, 'x')),
    };
    for (const std::string& text : bad) {
        EXPECT_FALSE(ParseStartupPacket(Bytes(text)).ok()) << testing::PrintToString(text);
    }
}

TEST(WireMessage, FrontendMessagesOfEveryLength) {
    struct Case {
        char type;
        std::string payload;
    };
    const std::string zero(1, '\0');
    const Case cases[] = {
        {'Q', "select" + zero},
        {'P', "s" + zero + "query" + zero + std::string("\0\1\0\0\0\x19", 6)},
        {'B', "p" + zero + "s" + zero + std::string("\0\1\0\1", 4) +
                  std::string("\0\2\0\0\0\3abc\xff\xff\xff\xff", 13) + std::string("\0\1\0\1", 4)},
        {'D', "Ss" + zero},
        {'C', "Pp" + zero},
        {'E', "p" + zero + std::string("\0\0\0\7", 4)},
        {'f', "why" + zero},
    };
    for (const Case& c : cases) {
        EXPECT_TRUE(ParseFrontendMessage(c.type, Bytes(c.payload)).ok()) << c.type;
        for (size_t n = 0; n < c.payload.size(); n++) {
            EXPECT_FALSE(ParseFrontendMessage(c.type, Bytes(c.payload.substr(0, n))).ok())
                << c.type << " cut to " << n;
        }
        EXPECT_FALSE(ParseFrontendMessage(c.type, Bytes(c.payload + "x")).ok()) << c.type;
    }
    for (char type : {'S', 'H', 'X', 'c'}) {
        EXPECT_TRUE(ParseFrontendMessage(type, {}).ok());
        EXPECT_FALSE(ParseFrontendMessage(type, Bytes("x")).ok());
        EXPECT_EQ(MaxFrontendPayload(type), 0u);
    }
    EXPECT_FALSE(ParseFrontendMessage('!', {}).ok());
    EXPECT_EQ(MaxFrontendPayload('!'), std::nullopt);
    EXPECT_FALSE(ParseFrontendMessage('D', Bytes("Xs" + zero)).ok());
}

TEST(WireMessage, FieldsOfBindAndExecute) {
    std::string payload = std::string("p\0s\0", 4) + std::string("\0\0", 2) +
                          std::string("\0\1\0\0\0\1v", 7) + std::string("\0\2\0\0\0\1", 6);
    auto message = ParseFrontendMessage('B', Bytes(payload));
    ASSERT_TRUE(message.ok());
    const auto& bind = std::get<BindMessage>(*message);
    EXPECT_EQ(bind.portal, "p");
    EXPECT_EQ(bind.statement, "s");
    EXPECT_EQ(bind.parameters, 1);
    EXPECT_EQ(bind.result_formats, (std::vector<uint16_t>{0, 1}));

    // A negative limit is no limit.
    payload = std::string("\0\xff\xff\xff\xff", 5);
    message = ParseFrontendMessage('E', Bytes(payload));
    ASSERT_TRUE(message.ok());
    EXPECT_EQ(std::get<ExecuteMessage>(*message).max_rows, 0u);
}

TEST(WireMessage, BackendMessages) {
    std::string out;
    AppendReadyForQuery(&out);
    EXPECT_EQ(out, std::string("Z\0\0\0\5I", 6));
    out.clear();
    AppendDataRow({std::string("ab"), std::nullopt}, &out);
    EXPECT_EQ(out, std::string("D\0\0\0\x10\0\2\0\0\0\2ab\xff\xff\xff\xff", 17));
    out.clear();
    AppendErrorResponse({"ERROR", "42601", std::string("bad\0hidden", 10), "Do this."}, &out);
    EXPECT_EQ(out, std::string("E\0\0\0\x29"
                               "SERROR\0VERROR\0C42601\0Mbad\0HDo this.\0",
                               41) +
                       std::string(1, '\0'));
}

}  // namespace
}  // namespace zenith

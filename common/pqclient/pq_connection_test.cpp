#include "common/pqclient/pq_connection.h"

#include <gtest/gtest.h>
#include <netinet/in.h>
#include <sys/eventfd.h>
#include <sys/socket.h>

#include <functional>
#include <thread>

#include "common/base/byte_writer.h"
#include "common/base/unique_fd.h"
#include "common/pqclient/pq_errors.h"

namespace zenith {
namespace {

// One side of a scripted conversation: a server that knows just enough of the protocol to say what
// a test wants said.
class ScriptedServer {
  public:
    explicit ScriptedServer(std::function<void(ScriptedServer&)> script)
        : listener_(socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0)) {
        sockaddr_in address = {};
        address.sin_family = AF_INET;
        address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
        socklen_t length = sizeof address;
        EXPECT_EQ(bind(listener_.get(), reinterpret_cast<sockaddr*>(&address), length), 0);
        EXPECT_EQ(listen(listener_.get(), 1), 0);
        EXPECT_EQ(getsockname(listener_.get(), reinterpret_cast<sockaddr*>(&address), &length), 0);
        port_ = ntohs(address.sin_port);
        thread_ = std::thread([this, script = std::move(script)] {
            client_ = UniqueFd(accept(listener_.get(), nullptr, nullptr));
            script(*this);
            client_.Reset();
        });
    }
    ~ScriptedServer() { thread_.join(); }

    std::string connstr() const {
        return "host=127.0.0.1 sslmode=disable gssencmode=disable user=u dbname=d port=" +
               std::to_string(port_);
    }

    void Send(const std::string& bytes) {
        ASSERT_EQ(send(client_.get(), bytes.data(), bytes.size(), MSG_NOSIGNAL),
                  static_cast<ssize_t>(bytes.size()));
    }
    std::string Read(size_t n) {
        std::string bytes(n, '\0');
        if (recv(client_.get(), bytes.data(), n, MSG_WAITALL) != static_cast<ssize_t>(n)) {
            return "";
        }
        return bytes;
    }
    uint32_t ReadLength() {
        std::string bytes = Read(4);
        uint32_t value = 0;
        for (unsigned char c : bytes) {
            value = value << 8 | c;
        }
        return value;
    }
    void Welcome() {
        Read(ReadLength() - 4);
        Send(Message('R', std::string(4, '\0')) + ReadyForQuery());
    }
    // The next message of the client: type and payload; empty at the end of the connection.
    std::string ReadMessage() {
        std::string type = Read(1);
        return type.empty() ? "" : type + Read(ReadLength() - 4);
    }
    static std::string Message(char type, const std::string& payload) {
        ByteWriter writer;
        writer.U8(static_cast<uint8_t>(type));
        writer.U32Be(static_cast<uint32_t>(payload.size() + 4));
        writer.Text(payload);
        return writer.Take();
    }
    static std::string ReadyForQuery() { return Message('Z', "I"); }
    static std::string Error(const std::string& severity, const std::string& sqlstate) {
        std::string zero(1, '\0');
        return Message('E', "S" + severity + zero + "V" + severity + zero + "C" + sqlstate + zero +
                                "Mthe message" + zero + "Dthe detail" + zero + "HThe hint." + zero +
                                zero);
    }
    static std::string CopyBoth() { return Message('W', std::string(3, '\0')); }
    static std::string CopyOut() { return Message('H', std::string(3, '\0')); }

  private:
    UniqueFd listener_;
    UniqueFd client_;
    int port_ = 0;
    std::thread thread_;
};

constexpr int kTimeoutMs = 10000;

std::span<const std::byte> Bytes(const std::string& text) {
    return std::as_bytes(std::span(text.data(), text.size()));
}

TEST(PqConnection, RowsWithNullsAndColumnNames) {
    ScriptedServer server([](ScriptedServer& s) {
        s.Welcome();
        EXPECT_EQ(s.ReadMessage(), std::string("Qshow it\0", 9));
        ByteWriter names;
        names.U16Be(2);
        for (const char* name : {"name", "value"}) {
            names.CString(name);
            names.U32Be(0);
            names.U16Be(0);
            names.U32Be(25);
            names.U16Be(0xFFFF);
            names.U32Be(0xFFFFFFFF);
            names.U16Be(0);
        }
        ByteWriter row;
        row.U16Be(2);
        row.U32Be(3);
        row.Text("abc");
        row.U32Be(0xFFFFFFFF);
        s.Send(s.Message('T', names.buffer()) + s.Message('D', row.buffer()) +
               s.Message('C', std::string("SELECT 1\0", 9)) + s.ReadyForQuery());
        EXPECT_EQ(s.ReadMessage(), "X");
    });
    auto connection = PqConnection::Connect(server.connstr(), kTimeoutMs);
    ASSERT_TRUE(connection.ok()) << connection.status().message();
    auto rows = connection->Query("show it", kTimeoutMs);
    ASSERT_TRUE(rows.ok()) << rows.status().message();
    EXPECT_EQ(rows->columns, (std::vector<std::string>{"name", "value"}));
    ASSERT_EQ(rows->rows.size(), 1u);
    EXPECT_EQ(rows->rows[0][0], "abc");
    EXPECT_EQ(rows->rows[0][1], std::nullopt);
    EXPECT_EQ(rows->command_tag, "SELECT 1");
    EXPECT_EQ(rows->FindColumn("value"), 1u);
    EXPECT_EQ(rows->FindColumn("other"), std::nullopt);
    EXPECT_FALSE(rows->SingleValue().ok());
}

TEST(PqConnection, ServerErrorKeepsMessageDetailHintAndTheConnection) {
    ScriptedServer server([](ScriptedServer& s) {
        s.Welcome();
        s.ReadMessage();
        s.Send(s.Error("ERROR", "42704") + s.ReadyForQuery());
        s.ReadMessage();
        s.Send(s.Message('C', std::string("OK\0", 3)) + s.ReadyForQuery());
        s.ReadMessage();
    });
    auto connection = PqConnection::Connect(server.connstr(), kTimeoutMs);
    ASSERT_TRUE(connection.ok());
    auto rows = connection->Query("one", kTimeoutMs);
    ASSERT_FALSE(rows.ok());
    EXPECT_EQ(rows.status().code(), StatusCode::kNotFound);
    EXPECT_EQ(rows.status().message(), "the message (the detail)");
    EXPECT_EQ(rows.status().hint(), "The hint.");
    rows = connection->Query("two", kTimeoutMs);
    ASSERT_TRUE(rows.ok()) << rows.status().message();
    EXPECT_EQ(rows->command_tag, "OK");
}

TEST(PqConnection, RefusedConnectionAndServersRefusal) {
    std::string closed_port;
    {
        ScriptedServer server([](ScriptedServer& s) {
            s.Read(s.ReadLength() - 4);
            s.Send(s.Error("FATAL", "53300"));
        });
        closed_port = server.connstr();
        auto connection = PqConnection::Connect(server.connstr(), kTimeoutMs);
        ASSERT_FALSE(connection.ok());
        EXPECT_EQ(connection.status().code(), StatusCode::kUnavailable);
        EXPECT_NE(connection.status().message().find("FATAL:  the message (the detail)"),
                  std::string::npos)
            << connection.status().message();
        EXPECT_EQ(connection.status().hint(), "The hint.");
    }
    auto connection = PqConnection::Connect(closed_port, kTimeoutMs);
    ASSERT_FALSE(connection.ok());
    EXPECT_EQ(connection.status().code(), StatusCode::kUnavailable);
    EXPECT_EQ(connection.status().message().find('\n'), std::string::npos);
    EXPECT_NE(connection.status().hint().find("Is the server running"), std::string::npos);
}

TEST(PqConnection, ConnectAndQueryTimeOut) {
    ScriptedServer mute([](ScriptedServer& s) { s.Read(1000); });
    auto connection = PqConnection::Connect(mute.connstr(), 50);
    ASSERT_FALSE(connection.ok());
    EXPECT_EQ(connection.status().message(), "connection timed out after 50 ms");

    ScriptedServer slow([](ScriptedServer& s) {
        s.Welcome();
        s.ReadMessage();
        EXPECT_EQ(s.ReadMessage(), "X");
    });
    connection = PqConnection::Connect(slow.connstr(), kTimeoutMs);
    ASSERT_TRUE(connection.ok());
    auto rows = connection->Query("wait", 50);
    ASSERT_FALSE(rows.ok());
    EXPECT_EQ(rows.status().code(), StatusCode::kUnavailable);
    EXPECT_FALSE(connection->connected());
    // A closed connection says so and does not crash.
    EXPECT_FALSE(connection->Query("again").ok());
    EXPECT_FALSE(connection->ReceiveCopyData(0).ok());
    EXPECT_FALSE(connection->SendCopyData(Bytes("x")).ok());
    EXPECT_EQ(connection->socket(), -1);
}

TEST(PqConnection, WakeDescriptorInterruptsEveryWait) {
    UniqueFd wake(eventfd(0, EFD_CLOEXEC));
    ScriptedServer server([](ScriptedServer& s) {
        s.Welcome();
        s.ReadMessage();
        s.Send(s.CopyBoth());
        EXPECT_EQ(s.ReadMessage(), "X");
    });
    auto connection = PqConnection::Connect(server.connstr(), kTimeoutMs, wake.get());
    ASSERT_TRUE(connection.ok());
    ASSERT_TRUE(connection->StartCopyBoth("stream", kTimeoutMs).ok());
    std::thread waker([&] {
        uint64_t one = 1;
        EXPECT_EQ(write(wake.get(), &one, sizeof one), static_cast<ssize_t>(sizeof one));
    });
    auto data = connection->ReceiveCopyData(-1);
    waker.join();
    ASSERT_FALSE(data.ok());
    EXPECT_EQ(data.status().message(), "interrupted");
    EXPECT_TRUE(connection->connected());
    EXPECT_FALSE(PqConnection::Connect(server.connstr(), -1, wake.get()).ok());
}

TEST(PqConnection, CopyBothBothWaysThenError) {
    ScriptedServer server([](ScriptedServer& s) {
        s.Welcome();
        EXPECT_EQ(s.ReadMessage(), std::string("Qstream\0", 8));
        s.Send(s.CopyBoth());
        EXPECT_EQ(s.ReadMessage(), "dping");
        s.Send(s.Message('d', "pong") + s.Message('d', ""));
        EXPECT_EQ(s.ReadMessage(), "dmore");
        s.Send(s.Message('d', "last") + s.Error("ERROR", "55000"));
    });
    auto connection = PqConnection::Connect(server.connstr(), kTimeoutMs);
    ASSERT_TRUE(connection.ok());
    ASSERT_TRUE(connection->StartCopyBoth("stream", kTimeoutMs).ok());
    auto data = connection->TryReceiveCopyData();
    ASSERT_TRUE(data.ok());
    EXPECT_EQ(*data, std::nullopt);
    ASSERT_TRUE(connection->SendCopyData(Bytes("ping"), kTimeoutMs).ok());
    data = connection->ReceiveCopyData(kTimeoutMs);
    ASSERT_TRUE(data.ok());
    EXPECT_EQ(*data, "pong");
    data = connection->ReceiveCopyData(20);
    ASSERT_TRUE(data.ok());
    EXPECT_EQ(*data, std::nullopt);
    ASSERT_TRUE(connection->SendCopyData(Bytes("more"), kTimeoutMs).ok());
    data = connection->ReceiveCopyData(kTimeoutMs);
    ASSERT_TRUE(data.ok());
    EXPECT_EQ(*data, "last");
    data = connection->ReceiveCopyData(kTimeoutMs);
    ASSERT_FALSE(data.ok());
    EXPECT_EQ(data.status().code(), StatusCode::kRefused);
    EXPECT_EQ(data.status().hint(), "The hint.");
}

TEST(PqConnection, CopyBothEndsWhenTheServerDoesOrGoesAway) {
    ScriptedServer done([](ScriptedServer& s) {
        s.Welcome();
        s.ReadMessage();
        s.Send(s.CopyBoth() + s.Message('c', ""));
        EXPECT_EQ(s.ReadMessage(), "c");
        EXPECT_EQ(s.ReadMessage(), "X");
    });
    auto connection = PqConnection::Connect(done.connstr(), kTimeoutMs);
    ASSERT_TRUE(connection.ok());
    ASSERT_TRUE(connection->StartCopyBoth("stream", kTimeoutMs).ok());
    auto data = connection->ReceiveCopyData(kTimeoutMs);
    ASSERT_FALSE(data.ok());
    EXPECT_EQ(data.status().code(), StatusCode::kUnavailable);
    EXPECT_EQ(data.status().message(), "the server ended the stream");
    EXPECT_TRUE(connection->SendCopyDone(kTimeoutMs).ok());
    connection->Close();

    ScriptedServer gone([](ScriptedServer& s) {
        s.Welcome();
        s.ReadMessage();
        s.Send(s.CopyBoth() + s.Message('d', "last") + "d");
    });
    connection = PqConnection::Connect(gone.connstr(), kTimeoutMs);
    ASSERT_TRUE(connection.ok());
    ASSERT_TRUE(connection->StartCopyBoth("stream", kTimeoutMs).ok());
    data = connection->ReceiveCopyData(kTimeoutMs);
    ASSERT_TRUE(data.ok());
    EXPECT_EQ(*data, "last");
    data = connection->ReceiveCopyData(kTimeoutMs);
    ASSERT_FALSE(data.ok());
    EXPECT_EQ(data.status().code(), StatusCode::kUnavailable);
    EXPECT_EQ(data.status().message(), "server closed the connection unexpectedly");
}

TEST(PqConnection, RefusedCopyBothLeavesTheConnectionUsable) {
    ScriptedServer server([](ScriptedServer& s) {
        s.Welcome();
        s.ReadMessage();
        s.Send(s.Error("ERROR", "55006") + s.ReadyForQuery());
        s.ReadMessage();
        s.Send(s.Message('C', std::string("OK\0", 3)) + s.ReadyForQuery());
        s.ReadMessage();
    });
    auto connection = PqConnection::Connect(server.connstr(), kTimeoutMs);
    ASSERT_TRUE(connection.ok());
    Status status = connection->StartCopyBoth("stream", kTimeoutMs);
    EXPECT_EQ(status.code(), StatusCode::kRefused);
    EXPECT_TRUE(connection->Query("q", kTimeoutMs).ok());
}

TEST(PqConnection, CopyOut) {
    std::string big(300000, 'b');
    ScriptedServer server([&big](ScriptedServer& s) {
        s.Welcome();
        s.ReadMessage();
        s.Send(s.CopyOut() + s.Message('d', big) + s.Message('d', "end") + s.Message('c', "") +
               s.Message('C', std::string("COPY\0", 5)) + s.ReadyForQuery());
        s.ReadMessage();
        // The second one fails on the way.
        s.Send(s.CopyOut() + s.Message('d', "part") + s.Error("ERROR", "XX001") +
               s.ReadyForQuery());
        s.ReadMessage();
        // The third one is more than the sink can take.
        s.Send(s.CopyOut() + s.Message('d', "part"));
        EXPECT_EQ(s.ReadMessage(), "X");
    });
    auto connection = PqConnection::Connect(server.connstr(), kTimeoutMs);
    ASSERT_TRUE(connection.ok());
    std::string received;
    auto sink = [&received](std::span<const std::byte> data) {
        received.append(reinterpret_cast<const char*>(data.data()), data.size());
        return Status::Ok();
    };
    Status status = connection->CopyOut("copy", sink, kTimeoutMs);
    EXPECT_TRUE(status.ok()) << status.message();
    EXPECT_TRUE(received == big + "end");
    received.clear();
    status = connection->CopyOut("copy", sink, kTimeoutMs);
    EXPECT_EQ(status.code(), StatusCode::kCorruption);
    EXPECT_EQ(received, "part");
    status = connection->CopyOut(
        "copy", [](std::span<const std::byte>) { return Status::IoError("disk full"); },
        kTimeoutMs);
    EXPECT_EQ(status.message(), "disk full");
    EXPECT_FALSE(connection->connected());
}

TEST(PqConnection, SqlStatesAndQuoting) {
    EXPECT_EQ(StatusCodeOfSqlState("42704"), StatusCode::kNotFound);
    EXPECT_EQ(StatusCodeOfSqlState("42601"), StatusCode::kInvalidArgument);
    EXPECT_EQ(StatusCodeOfSqlState("22023"), StatusCode::kInvalidArgument);
    EXPECT_EQ(StatusCodeOfSqlState("55006"), StatusCode::kRefused);
    EXPECT_EQ(StatusCodeOfSqlState("08006"), StatusCode::kUnavailable);
    EXPECT_EQ(StatusCodeOfSqlState("57P01"), StatusCode::kUnavailable);
    EXPECT_EQ(StatusCodeOfSqlState("XX000"), StatusCode::kInternal);
    EXPECT_EQ(StatusCodeOfSqlState(""), StatusCode::kInternal);
    // Every code of ours survives the way over the wire.
    for (int code = 1; code <= static_cast<int>(StatusCode::kInternal); code++) {
        EXPECT_EQ(StatusCodeOfSqlState(SqlState(static_cast<StatusCode>(code))),
                  static_cast<StatusCode>(code));
    }
    EXPECT_EQ(QuoteConnstrValue("it's a \\"), "'it\\'s a \\\\'");
}

}  // namespace
}  // namespace zenith

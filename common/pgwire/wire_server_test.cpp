#include "common/pgwire/wire_server.h"

#include <gtest/gtest.h>
#include <libpq-fe.h>
#include <netinet/in.h>
#include <sys/socket.h>

#include <atomic>
#include <list>
#include <mutex>
#include <random>
#include <thread>

#include "common/base/byte_reader.h"
#include "common/base/byte_writer.h"

namespace zenith {
namespace {

std::string AsText(std::span<const std::byte> bytes) {
    return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}

std::span<const std::byte> Bytes(const std::string& text) {
    return std::as_bytes(std::span(text.data(), text.size()));
}

// Commands: "rows N", "ok", "fail", "copy N" (N messages), "copyfail", "echo" (COPY BOTH),
// "echodone" (COPY BOTH the server ends), "echofail", "wait" (until told to stop).
class TestStatement : public WireStatement {
  public:
    TestStatement(std::string command, int n) : command_(std::move(command)), n_(n) {
        if (command_ == "rows") {
            columns_ = {"n", "square"};
        }
    }
    const std::vector<std::string>& columns() const override { return columns_; }
    Status Execute(WireSession& session) override {
        if (command_ == "rows") {
            for (int i = 1; i <= n_; i++) {
                session.AddRow(
                    {std::to_string(i),
                     i == 3 ? std::nullopt : std::optional<std::string>(std::to_string(i * i))});
            }
        } else if (command_ == "fail") {
            return Status::NotFound("no such thing", "Make one first.");
        } else if (command_ == "copy" || command_ == "copyfail") {
            ZENITH_RETURN_IF_ERROR(session.StartCopyOut());
            for (int i = 0; i < n_; i++) {
                ZENITH_RETURN_IF_ERROR(session.SendCopyData(Bytes(std::string(1000, 'x'))));
            }
            if (command_ == "copyfail") {
                return Status::Corruption("half of it is lost");
            }
        } else if (command_ == "echo" || command_ == "echofail" || command_ == "echodone") {
            ZENITH_RETURN_IF_ERROR(session.StartCopyBoth());
            for (;;) {
                std::span<const std::byte> data;
                ZENITH_ASSIGN_OR_RETURN(WireSession::CopyInput input,
                                        session.ReceiveCopyData(true, &data));
                if (input == WireSession::CopyInput::kDone) {
                    return Status::Ok();
                }
                ZENITH_RETURN_IF_ERROR(session.SendCopyData(Bytes("echo " + AsText(data))));
                if (command_ == "echofail") {
                    return Status::Internal("echo broke");
                }
                if (command_ == "echodone") {
                    return Status::Ok();
                }
            }
        } else if (command_ == "wait") {
            while (!session.ShouldStop()) {
                std::this_thread::yield();
            }
            return Status::Unavailable("gave up");
        } else {
            session.SetTag("DONE");
        }
        return Status::Ok();
    }

  private:
    std::string command_;
    int n_;
    std::vector<std::string> columns_;
};

class TestHandler : public WireHandler {
  public:
    Result<std::shared_ptr<WireStatement>> Prepare(std::string_view query) override {
        size_t end = query.find_last_not_of("; \n");
        std::string text(query.substr(0, end == std::string_view::npos ? 0 : end + 1));
        if (text.empty()) {
            return std::shared_ptr<WireStatement>();
        }
        size_t space = text.find(' ');
        std::string command = text.substr(0, space);
        int n = space == std::string::npos ? 0 : std::atoi(text.c_str() + space + 1);
        for (const char* known :
             {"rows", "ok", "fail", "copy", "copyfail", "echo", "echofail", "echodone", "wait"}) {
            if (command == known) {
                // Random input must not ask for more than a test can hold.
                return std::shared_ptr<WireStatement>(
                    std::make_shared<TestStatement>(command, std::min(n, 10000)));
            }
        }
        return Status::InvalidArgument("unknown command \"" + command + "\"", "Say rows.");
    }
};

WireOptions TestOptions() {
    WireOptions options;
    options.parameters = {{"server_version", "15.0 (test)"}, {"client_encoding", "UTF8"}};
    options.process_id = 7;
    return options;
}

// Serves connections on a loopback port, a thread for each.
class TestServer {
  public:
    explicit TestServer(WireOptions options = TestOptions(),
                        std::optional<WireError> refusal = std::nullopt)
        : listener_(socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0)) {
        sockaddr_in address = {};
        address.sin_family = AF_INET;
        address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
        socklen_t length = sizeof address;
        EXPECT_EQ(bind(listener_.get(), reinterpret_cast<sockaddr*>(&address), length), 0);
        EXPECT_EQ(listen(listener_.get(), 10), 0);
        EXPECT_EQ(getsockname(listener_.get(), reinterpret_cast<sockaddr*>(&address), &length), 0);
        port_ = ntohs(address.sin_port);
        acceptor_ = std::thread([this, options, refusal] {
            for (;;) {
                UniqueFd client(accept(listener_.get(), nullptr, nullptr));
                if (!client.valid()) {
                    return;
                }
                auto connection =
                    std::make_shared<WireConnection>(std::move(client), stop_, handler_, options);
                threads_.emplace_back([this, connection, refusal] {
                    Status status = connection->Run(refusal);
                    std::lock_guard lock(mutex_);
                    outcomes_.push_back(status);
                });
            }
        });
    }
    ~TestServer() { Stop(); }

    std::vector<Status> Stop() {
        if (acceptor_.joinable()) {
            shutdown(listener_.get(), SHUT_RDWR);
            acceptor_.join();
            stop_.Set();
            for (std::thread& thread : threads_) {
                thread.join();
            }
        }
        std::lock_guard lock(mutex_);
        return outcomes_;
    }
    StopSignal& stop_signal() { return stop_; }
    int port() const { return port_; }

    std::string connstr(const std::string& more = "") const {
        return "host=127.0.0.1 user=u dbname=d port=" + std::to_string(port_) + " " + more;
    }

  private:
    TestHandler handler_;
    StopSignal stop_;
    UniqueFd listener_;
    int port_ = 0;
    std::thread acceptor_;
    std::list<std::thread> threads_;
    std::mutex mutex_;
    std::vector<Status> outcomes_;
};

struct FinishPq {
    void operator()(PGconn* c) const { PQfinish(c); }
    void operator()(PGresult* r) const { PQclear(r); }
};
using Connection = std::unique_ptr<PGconn, FinishPq>;
using PgResult = std::unique_ptr<PGresult, FinishPq>;

Connection Connect(const TestServer& server, const std::string& more = "") {
    Connection connection(PQconnectdb(server.connstr(more).c_str()));
    EXPECT_EQ(PQstatus(connection.get()), CONNECTION_OK) << PQerrorMessage(connection.get());
    return connection;
}

std::string Field(const PgResult& result, int code) {
    const char* text = PQresultErrorField(result.get(), code);
    return text == nullptr ? "" : text;
}

std::string CollectCopy(PGconn* connection) {
    std::string all;
    char* buffer = nullptr;
    int n;
    while ((n = PQgetCopyData(connection, &buffer, 0)) > 0) {
        all.append(buffer, static_cast<size_t>(n));
        PQfreemem(buffer);
    }
    return all;
}

TEST(WireServer, StartupTellsParameters) {
    TestServer server;
    Connection connection = Connect(server, "application_name=tester");
    EXPECT_EQ(PQserverVersion(connection.get()), 150000);
    EXPECT_EQ(PQbackendPID(connection.get()), 7);
    EXPECT_STREQ(PQparameterStatus(connection.get(), "application_name"), "tester");
    EXPECT_STREQ(PQparameterStatus(connection.get(), "session_authorization"), "u");
    EXPECT_EQ(PQtransactionStatus(connection.get()), PQTRANS_IDLE);
}

TEST(WireServer, SimpleQuery) {
    TestServer server;
    Connection connection = Connect(server);
    PgResult result(PQexec(connection.get(), "rows 4;"));
    ASSERT_EQ(PQresultStatus(result.get()), PGRES_TUPLES_OK);
    ASSERT_EQ(PQntuples(result.get()), 4);
    EXPECT_STREQ(PQfname(result.get(), 1), "square");
    EXPECT_STREQ(PQgetvalue(result.get(), 1, 1), "4");
    EXPECT_TRUE(PQgetisnull(result.get(), 2, 1));
    EXPECT_STREQ(PQcmdStatus(result.get()), "SELECT 4");

    result.reset(PQexec(connection.get(), "rows 0"));
    EXPECT_EQ(PQresultStatus(result.get()), PGRES_TUPLES_OK);
    EXPECT_EQ(PQnfields(result.get()), 2);

    result.reset(PQexec(connection.get(), "ok"));
    EXPECT_EQ(PQresultStatus(result.get()), PGRES_COMMAND_OK);
    EXPECT_STREQ(PQcmdStatus(result.get()), "DONE");

    result.reset(PQexec(connection.get(), " ;"));
    EXPECT_EQ(PQresultStatus(result.get()), PGRES_EMPTY_QUERY);

    result.reset(PQexec(connection.get(), "nonsense"));
    EXPECT_EQ(PQresultStatus(result.get()), PGRES_FATAL_ERROR);
    EXPECT_EQ(Field(result, PG_DIAG_SQLSTATE), "42601");
    EXPECT_EQ(Field(result, PG_DIAG_SEVERITY_NONLOCALIZED), "ERROR");
    EXPECT_EQ(Field(result, PG_DIAG_MESSAGE_HINT), "Say rows.");

    result.reset(PQexec(connection.get(), "fail"));
    EXPECT_EQ(Field(result, PG_DIAG_SQLSTATE), "42704");
    EXPECT_EQ(Field(result, PG_DIAG_MESSAGE_PRIMARY), "no such thing");
    EXPECT_EQ(Field(result, PG_DIAG_MESSAGE_HINT), "Make one first.");

    result.reset(PQexec(connection.get(), "rows 1"));
    EXPECT_EQ(PQresultStatus(result.get()), PGRES_TUPLES_OK);
}

TEST(WireServer, ExtendedQuery) {
    TestServer server;
    Connection connection = Connect(server);
    PgResult result(PQexecParams(connection.get(), "rows 3", 0, nullptr, nullptr, nullptr, nullptr,
                                 /*resultFormat=*/1));
    ASSERT_EQ(PQresultStatus(result.get()), PGRES_TUPLES_OK) << PQerrorMessage(connection.get());
    EXPECT_EQ(PQntuples(result.get()), 3);
    EXPECT_EQ(PQfformat(result.get(), 0), 1);
    EXPECT_STREQ(PQgetvalue(result.get(), 1, 1), "4");

    result.reset(PQprepare(connection.get(), "named", "rows 2", 0, nullptr));
    EXPECT_EQ(PQresultStatus(result.get()), PGRES_COMMAND_OK);
    result.reset(PQprepare(connection.get(), "named", "rows 2", 0, nullptr));
    EXPECT_EQ(Field(result, PG_DIAG_SQLSTATE), "42P05");
    result.reset(PQdescribePrepared(connection.get(), "named"));
    EXPECT_EQ(PQresultStatus(result.get()), PGRES_COMMAND_OK);
    EXPECT_EQ(PQnparams(result.get()), 0);
    EXPECT_EQ(PQnfields(result.get()), 2);
    EXPECT_EQ(PQftype(result.get(), 0), 25u);
    for (int i = 0; i < 3; i++) {
        result.reset(PQexecPrepared(connection.get(), "named", 0, nullptr, nullptr, nullptr, 0));
        EXPECT_EQ(PQntuples(result.get()), 2);
    }
    result.reset(PQdescribePrepared(connection.get(), "other"));
    EXPECT_EQ(Field(result, PG_DIAG_SQLSTATE), "26000");
    result.reset(PQdescribePortal(connection.get(), "other"));
    EXPECT_EQ(Field(result, PG_DIAG_SQLSTATE), "34000");

    result.reset(PQprepare(connection.get(), "bad", "nonsense", 0, nullptr));
    EXPECT_EQ(Field(result, PG_DIAG_SQLSTATE), "42601");
    result.reset(PQexecParams(connection.get(), "fail", 0, nullptr, nullptr, nullptr, nullptr, 0));
    EXPECT_EQ(Field(result, PG_DIAG_SQLSTATE), "42704");
    result.reset(PQexecParams(connection.get(), "ok", 0, nullptr, nullptr, nullptr, nullptr, 0));
    EXPECT_EQ(PQresultStatus(result.get()), PGRES_COMMAND_OK);
    result.reset(PQexecParams(connection.get(), "", 0, nullptr, nullptr, nullptr, nullptr, 0));
    EXPECT_EQ(PQresultStatus(result.get()), PGRES_EMPTY_QUERY);

    const char* value = "1";
    const Oid text_type = 25;
    result.reset(
        PQexecParams(connection.get(), "rows 1", 1, &text_type, &value, nullptr, nullptr, 0));
    EXPECT_EQ(Field(result, PG_DIAG_SQLSTATE), "0A000");
    result.reset(PQexecPrepared(connection.get(), "named", 1, &value, nullptr, nullptr, 0));
    EXPECT_EQ(Field(result, PG_DIAG_SQLSTATE), "08P01");
    result.reset(PQexec(connection.get(), "rows 1"));
    EXPECT_EQ(PQresultStatus(result.get()), PGRES_TUPLES_OK);
}

TEST(WireServer, PipelineSkipsToSyncAfterAnError) {
    TestServer server;
    Connection connection = Connect(server);
    PGconn* c = connection.get();
    ASSERT_EQ(PQenterPipelineMode(c), 1);
    auto send = [c](const char* query) {
        ASSERT_EQ(PQsendQueryParams(c, query, 0, nullptr, nullptr, nullptr, nullptr, 0), 1);
    };
    send("rows 1");
    send("fail");
    send("rows 2");
    ASSERT_EQ(PQpipelineSync(c), 1);
    send("rows 3");
    ASSERT_EQ(PQpipelineSync(c), 1);
    std::vector<ExecStatusType> statuses;
    for (int empty = 0; empty < 2;) {
        PgResult result(PQgetResult(c));
        empty = result == nullptr ? empty + 1 : 0;
        if (result != nullptr) {
            statuses.push_back(PQresultStatus(result.get()));
        }
    }
    EXPECT_EQ(statuses, (std::vector<ExecStatusType>{PGRES_TUPLES_OK, PGRES_FATAL_ERROR,
                                                     PGRES_PIPELINE_ABORTED, PGRES_PIPELINE_SYNC,
                                                     PGRES_TUPLES_OK, PGRES_PIPELINE_SYNC}));
}

class CopyTest : public testing::TestWithParam<bool> {
  protected:
    // Sends by the simple or the extended protocol.
    static void Send(PGconn* c, const char* query) {
        if (GetParam()) {
            ASSERT_EQ(PQsendQueryParams(c, query, 0, nullptr, nullptr, nullptr, nullptr, 0), 1);
        } else {
            ASSERT_EQ(PQsendQuery(c, query), 1);
        }
    }
    static void ExpectUsable(PGconn* c) {
        PgResult result(PQexec(c, "rows 1"));
        EXPECT_EQ(PQresultStatus(result.get()), PGRES_TUPLES_OK) << PQerrorMessage(c);
    }
};

TEST_P(CopyTest, CopyOut) {
    TestServer server;
    Connection connection = Connect(server);
    PGconn* c = connection.get();
    Send(c, "copy 1000");
    PgResult result(PQgetResult(c));
    ASSERT_EQ(PQresultStatus(result.get()), PGRES_COPY_OUT) << PQerrorMessage(c);
    EXPECT_EQ(CollectCopy(c).size(), 1000u * 1000u);
    result.reset(PQgetResult(c));
    EXPECT_EQ(PQresultStatus(result.get()), PGRES_COMMAND_OK);
    EXPECT_STREQ(PQcmdStatus(result.get()), "COPY");
    EXPECT_EQ(PQgetResult(c), nullptr);
    ExpectUsable(c);
}

TEST_P(CopyTest, CopyOutFailsOnTheWay) {
    TestServer server;
    Connection connection = Connect(server);
    PGconn* c = connection.get();
    Send(c, "copyfail 5");
    PgResult result(PQgetResult(c));
    ASSERT_EQ(PQresultStatus(result.get()), PGRES_COPY_OUT);
    EXPECT_EQ(CollectCopy(c).size(), 5000u);
    result.reset(PQgetResult(c));
    EXPECT_EQ(Field(result, PG_DIAG_SQLSTATE), "XX001");
    EXPECT_EQ(PQgetResult(c), nullptr);
    ExpectUsable(c);
}

TEST_P(CopyTest, CopyBoth) {
    TestServer server;
    Connection connection = Connect(server);
    PGconn* c = connection.get();
    Send(c, "echo");
    PgResult result(PQgetResult(c));
    ASSERT_EQ(PQresultStatus(result.get()), PGRES_COPY_BOTH) << PQerrorMessage(c);
    for (int i = 0; i < 100; i++) {
        std::string text = "message " + std::to_string(i);
        ASSERT_EQ(PQputCopyData(c, text.data(), static_cast<int>(text.size())), 1);
    }
    ASSERT_EQ(PQputCopyEnd(c, nullptr), 1);
    ASSERT_EQ(PQflush(c), 0);
    std::string all = CollectCopy(c);
    EXPECT_TRUE(all.starts_with("echo message 0echo message 1echo"));
    EXPECT_TRUE(all.ends_with("echo message 99"));
    result.reset(PQgetResult(c));
    EXPECT_EQ(PQresultStatus(result.get()), PGRES_COMMAND_OK) << PQerrorMessage(c);
    while (result != nullptr) {
        result.reset(PQgetResult(c));
    }
    ExpectUsable(c);
}

TEST_P(CopyTest, CopyBothEndedByTheServer) {
    TestServer server;
    Connection connection = Connect(server);
    PGconn* c = connection.get();
    Send(c, "echodone");
    PgResult result(PQgetResult(c));
    ASSERT_EQ(PQresultStatus(result.get()), PGRES_COPY_BOTH);
    ASSERT_EQ(PQputCopyData(c, "x", 1), 1);
    ASSERT_EQ(PQflush(c), 0);
    EXPECT_EQ(CollectCopy(c), "echo x");
    result.reset(PQgetResult(c));
    ASSERT_EQ(PQresultStatus(result.get()), PGRES_COPY_IN);
    ASSERT_EQ(PQputCopyData(c, "late", 4), 1);
    ASSERT_EQ(PQputCopyEnd(c, nullptr), 1);
    result.reset(PQgetResult(c));
    EXPECT_EQ(PQresultStatus(result.get()), PGRES_COMMAND_OK) << PQerrorMessage(c);
    while (result != nullptr) {
        result.reset(PQgetResult(c));
    }
    ExpectUsable(c);
}

TEST_P(CopyTest, ErrorInCopyBothClosesTheConnection) {
    TestServer server;
    Connection connection = Connect(server);
    PGconn* c = connection.get();
    Send(c, "echofail");
    PgResult result(PQgetResult(c));
    ASSERT_EQ(PQresultStatus(result.get()), PGRES_COPY_BOTH);
    ASSERT_EQ(PQputCopyData(c, "x", 1), 1);
    ASSERT_EQ(PQflush(c), 0);
    EXPECT_EQ(CollectCopy(c), "echo x");
    result.reset(PQgetResult(c));
    EXPECT_EQ(Field(result, PG_DIAG_SEVERITY_NONLOCALIZED), "FATAL");
    EXPECT_EQ(Field(result, PG_DIAG_MESSAGE_PRIMARY), "echo broke");
    while (result != nullptr) {
        result.reset(PQgetResult(c));
    }
    result.reset(PQexec(c, "rows 1"));
    EXPECT_EQ(PQstatus(c), CONNECTION_BAD);
}

INSTANTIATE_TEST_SUITE_P(Protocols, CopyTest, testing::Bool(),
                         [](const auto& info) { return info.param ? "Extended" : "Simple"; });

TEST(WireServer, RefusalIsTold) {
    TestServer server(TestOptions(), WireError{"FATAL", "53300", "too many connections", "Wait."});
    Connection connection(PQconnectdb(server.connstr().c_str()));
    EXPECT_EQ(PQstatus(connection.get()), CONNECTION_BAD);
    EXPECT_NE(std::string(PQerrorMessage(connection.get())).find("too many connections"),
              std::string::npos);
}

TEST(WireServer, StopEndsIdleAndBusyConnections) {
    TestServer server;
    Connection idle = Connect(server);
    Connection busy = Connect(server);
    Connection streaming = Connect(server);
    ASSERT_EQ(PQsendQuery(busy.get(), "wait"), 1);
    ASSERT_EQ(PQsendQuery(streaming.get(), "echo"), 1);
    PgResult started(PQgetResult(streaming.get()));
    ASSERT_EQ(PQresultStatus(started.get()), PGRES_COPY_BOTH);
    std::vector<Status> outcomes = server.Stop();
    EXPECT_EQ(outcomes.size(), 3u);
    for (PGconn* c : {busy.get(), streaming.get()}) {
        CollectCopy(c);
        PgResult result(PQgetResult(c));
        EXPECT_EQ(Field(result, PG_DIAG_SQLSTATE), "57P01") << PQerrorMessage(c);
    }
    PgResult result(PQexec(idle.get(), "ok"));
    EXPECT_EQ(PQstatus(idle.get()), CONNECTION_BAD);
    EXPECT_NE(std::string(PQerrorMessage(idle.get())).find("shutting down"), std::string::npos);
}

// ---- below libpq: bytes over a socket pair
// --------------------------------------------------------

std::string Packet(const std::string& body) {
    ByteWriter writer;
    writer.U32Be(static_cast<uint32_t>(body.size() + 4));
    writer.Text(body);
    return writer.Take();
}

std::string StartupBytes(uint32_t version = 3 << 16, const std::string& options = "") {
    ByteWriter writer;
    writer.U32Be(version);
    writer.Text(std::string("user\0u\0", 7) + options + std::string(1, '\0'));
    return Packet(writer.buffer());
}

std::string Message(char type, const std::string& payload) {
    return type + Packet(payload);
}

const std::string kZero(1, '\0');

struct Answer {
    std::string bytes;
    Status outcome;
    // One letter for each message of the server.
    std::string Types() const {
        std::string types;
        ByteReader reader(Bytes(bytes));
        while (reader.remaining() > 0) {
            char type = static_cast<char>(reader.U8());
            types.push_back(type);
            if (type == 'N') {
                continue;
            }
            uint32_t length = reader.U32Be();
            if (!reader.ok() || length < 4) {
                return types + "?";
            }
            reader.Skip(length - 4);
            if (!reader.ok()) {
                return types + "!";
            }
        }
        return types;
    }
};

// Has a connection read `input` and then the end of the stream.
Answer Serve(const std::string& input, const WireTimeouts& timeouts = {}) {
    int fds[2];
    EXPECT_EQ(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds), 0);
    UniqueFd ours(fds[0]);
    EXPECT_EQ(send(ours.get(), input.data(), input.size(), MSG_NOSIGNAL),
              static_cast<ssize_t>(input.size()));
    shutdown(ours.get(), SHUT_WR);
    StopSignal stop;
    TestHandler handler;
    WireOptions options = TestOptions();
    options.timeouts = timeouts;
    Answer answer;
    std::thread reader([&] {
        char buffer[65536];
        ssize_t n;
        while ((n = recv(ours.get(), buffer, sizeof buffer, 0)) > 0) {
            answer.bytes.append(buffer, static_cast<size_t>(n));
        }
    });
    answer.outcome = WireConnection(UniqueFd(fds[1]), stop, handler, options).Run();
    reader.join();
    return answer;
}

TEST(WireServer, ConversationsInBytes) {
    ByteWriter encryption;
    encryption.U32Be(8);
    encryption.U32Be(80877104);
    encryption.U32Be(8);
    encryption.U32Be(80877103);
    ByteWriter cancel;
    cancel.U32Be(16);
    cancel.U32Be(80877102);
    cancel.U64Be(1);
    ByteWriter huge_startup;
    huge_startup.U32Be(0x7FFFFFFF);
    const std::string start = StartupBytes();
    const std::string hello = "RSSSSKZ";
    const std::string parse = Message('P', kZero + "rows 5" + kZero + std::string(2, '\0'));
    const std::string bind = Message('B', kZero + kZero + std::string(6, '\0'));
    const std::string execute = Message('E', kZero + std::string(4, '\0'));
    const std::string execute2 = Message('E', kZero + std::string("\0\0\0\2", 4));
    const std::string sync = Message('S', "");
    struct Case {
        const char* name;
        std::string input;
        std::string types;
        bool ok;  // the client left in order
    };
    const Case cases[] = {
        {"nothing", "", "", true},
        {"encryption is declined", encryption.buffer() + start + Message('X', ""), "NN" + hello,
         true},
        {"encryption twice", encryption.buffer() + encryption.buffer() + start, "NNE", false},
        {"cancel", cancel.buffer(), "", true},
        {"huge startup", huge_startup.buffer() + "xxxxx", "E", false},
        {"half a startup", start.substr(0, 9), "", false},
        {"no user", Packet(std::string("\0\3\0\0\0", 5)), "E", false},
        {"protocol 2", StartupBytes(2 << 16), "E", false},
        {"protocol 3.2", StartupBytes((3 << 16) | 2) + Message('X', ""), "v" + hello, true},
        {"unknown protocol option",
         StartupBytes(3 << 16, std::string("_pq_.x\0y\0", 9)) + Message('X', ""), "v" + hello,
         true},
        {"leaves without Terminate", start, hello, false},
        {"unknown message type", start + Message('!', ""), hello + "E", false},
        {"huge message", start + "Q\x7f\xff\xff\xff", hello + "E", false},
        {"length below its own size", start + std::string("Q\0\0\0\3", 5), hello + "E", false},
        {"half a message", start + Message('Q', "rows 1").substr(0, 8), hello, false},
        {"query without zero byte", start + Message('Q', "rows 1"), hello + "E", false},
        {"password", start + Message('p', "secret" + kZero), hello + "E", false},
        {"function call", start + Message('F', "x") + Message('X', ""), hello + "EZ", true},
        {"copy messages outside of a copy",
         start + Message('d', "x") + Message('c', "") + Message('f', kZero) + Message('X', ""),
         hello, true},
        {"suspended portal",
         start + parse + bind + execute2 + execute2 + execute2 + execute + sync + Message('X', ""),
         hello + "12DDsDDsDCCZ", true},
        {"unnamed statement and portal are replaced",
         start + parse + parse + bind + bind + Message('D', "P" + kZero) + execute + sync +
             Message('X', ""),
         hello + "1122TDDDDDCZ", true},
        {"portals end with Sync", start + parse + bind + sync + execute + sync + Message('X', ""),
         hello + "12ZEZ", true},
        {"close",
         start + parse + Message('C', "S" + kZero) + bind + sync + Message('C', "Pnone" + kZero) +
             Message('H', "") + Message('X', ""),
         hello + "13EZ3", true},
        {"queries are skipped until Sync",
         start + bind + Message('Q', "rows 1" + kZero) + parse + sync +
             Message('Q', "rows 1" + kZero) + Message('X', ""),
         hello + "EZTDCZ", true},
        {"copy fail in COPY BOTH",
         start + Message('Q', "echo" + kZero) + Message('f', "why" + kZero), hello + "WE", false},
        {"query in COPY BOTH",
         start + Message('Q', "echo" + kZero) + Message('Q', "rows 1" + kZero), hello + "WE",
         false},
        {"terminate in COPY BOTH", start + Message('Q', "echo" + kZero) + Message('X', ""),
         hello + "W", true},
    };
    for (const Case& c : cases) {
        Answer answer = Serve(c.input);
        EXPECT_EQ(answer.Types(), c.types) << c.name << ": " << answer.outcome.message();
        EXPECT_EQ(answer.outcome.ok(), c.ok) << c.name << ": " << answer.outcome.message();
    }
}

TEST(WireServer, StatementsAndPortalsAreBounded) {
    std::string input = StartupBytes();
    for (int i = 0; i < 1100; i++) {
        input +=
            Message('P', "s" + std::to_string(i) + kZero + "ok" + kZero + std::string(2, '\0')) +
            Message('S', "");
    }
    Answer answer = Serve(input + Message('X', ""));
    std::string types = answer.Types();
    EXPECT_EQ(std::count(types.begin(), types.end(), '1'), 1000);
    EXPECT_EQ(std::count(types.begin(), types.end(), 'E'), 100);
}

TEST(WireServer, SilentAndStuckClientsAreGivenUp) {
    WireTimeouts timeouts{.startup_ms = 30, .message_ms = 30, .write_ms = 30};
    auto serve_open = [&timeouts](const std::string& input) {
        int fds[2];
        EXPECT_EQ(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds), 0);
        UniqueFd ours(fds[0]);
        EXPECT_EQ(send(ours.get(), input.data(), input.size(), MSG_NOSIGNAL),
                  static_cast<ssize_t>(input.size()));
        StopSignal stop;
        TestHandler handler;
        WireOptions options = TestOptions();
        options.timeouts = timeouts;
        return WireConnection(UniqueFd(fds[1]), stop, handler, options).Run();
    };
    EXPECT_TRUE(serve_open("").ok());
    EXPECT_EQ(serve_open(StartupBytes().substr(0, 7)).code(), StatusCode::kUnavailable);
    EXPECT_EQ(serve_open(StartupBytes() + "Q").code(), StatusCode::kUnavailable);
    // Neither silence nor messages that run nothing keep a connection without a command.
    timeouts.first_command_ms = 30;
    EXPECT_EQ(serve_open(StartupBytes()).code(), StatusCode::kUnavailable);
    EXPECT_EQ(serve_open(StartupBytes() + Message('S', "")).code(), StatusCode::kUnavailable);
    timeouts.first_command_ms = 60000;
    // Asks for far more than the socket holds and does not read it.
    EXPECT_EQ(serve_open(StartupBytes() + Message('Q', "copy 10000" + kZero)).code(),
              StatusCode::kUnavailable);
}

TEST(WireServer, RandomBytesNeverHangOrCrash) {
    std::mt19937 random(15);
    const std::string parse = Message('P', kZero + "rows 5" + kZero + std::string(2, '\0'));
    const std::string pieces[] = {
        StartupBytes(),
        parse,
        Message('B', kZero + kZero + std::string(6, '\0')),
        Message('D', "P" + kZero),
        Message('E', kZero + std::string("\0\0\0\2", 4)),
        Message('C', "S" + kZero),
        Message('S', ""),
        Message('H', ""),
        Message('Q', "rows 3" + kZero),
        Message('Q', "copy 10" + kZero),
        Message('Q', "echo" + kZero),
        Message('d', "data"),
        Message('c', ""),
        Message('f', "why" + kZero),
        Message('F', "f"),
        Message('X', ""),
    };
    WireTimeouts timeouts{.startup_ms = 1000, .message_ms = 1000, .write_ms = 1000};
    for (int round = 0; round < 10000; round++) {
        std::string input;
        if (round % 5 != 0) {
            input = pieces[0];
        }
        for (size_t n = random() % 8; n > 0; n--) {
            input += pieces[random() % std::size(pieces)];
        }
        if (round % 5 == 0) {
            size_t length = random() % 60;
            for (size_t i = 0; i < length; i++) {
                input.push_back(static_cast<char>(random()));
            }
        }
        switch (input.empty() ? 3 : random() % 4) {
            case 0:  // damage
                for (size_t n = 1 + random() % 3; n > 0; n--) {
                    input[random() % input.size()] = static_cast<char>(random());
                }
                break;
            case 1:  // cut
                input.resize(random() % input.size());
                break;
            case 2:  // insert
                input.insert(random() % input.size(), 1 + random() % 4,
                             static_cast<char>(random()));
                break;
            default:
                break;
        }
        std::string types = Serve(input, timeouts).Types();
        // Whatever came in, what goes out is a row of whole messages.
        ASSERT_EQ(types.find_first_of("?!"), std::string::npos) << "round " << round;
    }
}

}  // namespace
}  // namespace zenith

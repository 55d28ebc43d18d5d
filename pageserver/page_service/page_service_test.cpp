#include "pageserver/page_service/page_service.h"

#include <gtest/gtest.h>
#include <libpq-fe.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>

#include <algorithm>
#include <chrono>
#include <random>
#include <thread>

#include "pageserver/page_service/copy_out_sink.h"
#include "pageserver/page_service/service_fixture_for_test.h"

namespace zenith {
namespace {

// The rows as lines of values, null as "-".
std::vector<std::string> Lines(const PqRows& rows) {
    std::vector<std::string> lines;
    for (const auto& row : rows.rows) {
        std::string line;
        for (const auto& value : row) {
            line += (line.empty() ? "" : "|") + value.value_or("-");
        }
        lines.push_back(line);
    }
    return lines;
}

std::string ValueOf(const PqRows& rows, const std::string& name) {
    for (const auto& row : rows.rows) {
        if (row[0] == name) {
            return row[1].value_or("-");
        }
    }
    return "missing";
}

TEST_F(ServiceTest, StatusOnTcpAndUnixSocket) {
    Start();
    for (const std::string& connstr : {TcpConnstr(), SocketConnstr()}) {
        auto connection = PqConnection::Connect(connstr, kTestTimeoutMs);
        ASSERT_TRUE(connection.ok()) << connection.status().message();
        auto rows = connection->Query("status;", kTestTimeoutMs);
        ASSERT_TRUE(rows.ok()) << rows.status().message();
        EXPECT_EQ(rows->columns, (std::vector<std::string>{"name", "value"}));
        EXPECT_EQ(ValueOf(*rows, "version"), "1.0");
        EXPECT_EQ(ValueOf(*rows, "system_identifier"), "4711");
        EXPECT_EQ(ValueOf(*rows, "timelines"), "1");
        EXPECT_EQ(ValueOf(*rows, "repository"), repository_.path());
        EXPECT_EQ(ValueOf(*rows, "pid"), std::to_string(getpid()));
    }
}

TEST_F(ServiceTest, ExtendedProtocolAndErrors) {
    Start();
    PqConnection connection = Connect();
    PGresult* result =
        PQexecParams(connection.raw(), "branch_list", 0, nullptr, nullptr, nullptr, nullptr, 0);
    EXPECT_EQ(PQresultStatus(result), PGRES_TUPLES_OK);
    EXPECT_EQ(PQntuples(result), 1);
    PQclear(result);
    auto rows = connection.Query("select 1", kTestTimeoutMs);
    ASSERT_FALSE(rows.ok());
    EXPECT_EQ(rows.status().message(), "unknown command \"select\"");
    EXPECT_NE(rows.status().hint().find("Commands are: status, "), std::string::npos);
    rows = connection.Query("pagestream " + TimelineId::Random().ToString(), kTestTimeoutMs);
    EXPECT_EQ(rows.status().code(), StatusCode::kNotFound);
    // Refused before the first byte: an ordinary error, and the connection goes on.
    rows = connection.Query("basebackup " + main_id_.ToString(), kTestTimeoutMs);
    EXPECT_EQ(rows.status().code(), StatusCode::kRefused);
    EXPECT_EQ(rows.status().hint(), "Stop it.");
    EXPECT_TRUE(connection.Query("SET extra_float_digits = 3", kTestTimeoutMs).ok());
    EXPECT_TRUE(connection.Query("status", kTestTimeoutMs).ok());
}

TEST_F(ServiceTest, CallMeMaybe) {
    Start();
    PqConnection connection = Connect();
    std::string id = main_id_.ToString();
    auto rows =
        connection.Query("callmemaybe " + id + " 1 'host=/tmp user=''x y'''", kTestTimeoutMs);
    ASSERT_TRUE(rows.ok()) << rows.status().message();
    EXPECT_EQ(rows->command_tag, "CALLMEMAYBE");
    rows = connection.Query("callmemaybe " + id + " 2 port=1 host=a", kTestTimeoutMs);
    EXPECT_EQ(rows.status().code(), StatusCode::kRefused);
    EXPECT_EQ(manager_.calls(),
              (std::vector<std::string>{id + " 1 host=/tmp user='x y'", id + " 2 port=1 host=a"}));
}

TEST_F(ServiceTest, BranchesComeAndGo) {
    Start();
    PqConnection connection = Connect();
    std::string id = main_id_.ToString();
    auto rows = connection.Query("branch_list", kTestTimeoutMs);
    ASSERT_TRUE(rows.ok());
    EXPECT_EQ(
        Lines(*rows),
        (std::vector<std::string>{"main|" + id + "|-|0/1000000|0/1000000|2026-09-21T14:13:20Z|f"}));

    AdvanceTimeline(MainTimeline(), Lsn(0x1000100));
    rows = connection.Query("branch_create dev main", kTestTimeoutMs);
    ASSERT_TRUE(rows.ok()) << rows.status().message();
    ASSERT_EQ(rows->rows.size(), 1u);
    EXPECT_EQ(rows->columns, (std::vector<std::string>{"name", "timeline", "ancestor", "lsn"}));
    std::string dev_id = *rows->rows[0][1];
    EXPECT_EQ(Lines(*rows)[0], "dev|" + dev_id + "|" + id + "|0/1000100");
    rows = connection.Query("branch_create old main@0/1000000", kTestTimeoutMs);
    ASSERT_TRUE(rows.ok()) << rows.status().message();
    rows = connection.Query("branch_create dev/child dev", kTestTimeoutMs);
    EXPECT_FALSE(rows.ok()) << "a branch cannot be a directory too";
    rows = connection.Query("branch_create child dev", kTestTimeoutMs);
    ASSERT_TRUE(rows.ok()) << rows.status().message();
    // The failed one left nothing behind.
    auto timelines = connection.Query("timeline_list", kTestTimeoutMs);
    ASSERT_TRUE(timelines.ok());
    EXPECT_EQ(timelines->rows.size(), 4u);

    struct Refused {
        std::string command;
        StatusCode code;
        std::string hint;  // a part of it
    };
    const Refused refused[] = {
        {"branch_create dev main", StatusCode::kAlreadyExists, "zenith branch -d dev"},
        {"branch_create bad@name main", StatusCode::kInvalidArgument, ""},
        {"branch_create new nosuch", StatusCode::kNotFound, "zenith"},
        {"branch_create new main@0/FFFFFFF", StatusCode::kNotFound, "Wait."},
        {"branch_delete nosuch", StatusCode::kNotFound, "zenith branch lists"},
        {"branch_delete ../main", StatusCode::kNotFound, "zenith branch lists"},
    };
    for (const Refused& r : refused) {
        rows = connection.Query(r.command, kTestTimeoutMs);
        ASSERT_FALSE(rows.ok()) << r.command;
        EXPECT_EQ(SqlState(rows.status().code()), SqlState(r.code))
            << r.command << ": " << rows.status().message();
        EXPECT_NE(rows.status().hint().find(r.hint), std::string::npos) << rows.status().hint();
    }

    manager_.set_receiving(*TimelineId::Parse(dev_id));
    rows = connection.Query("branch_list", kTestTimeoutMs);
    EXPECT_EQ(Lines(*rows)[1].back(), 't');
    rows = connection.Query("branch_delete dev", kTestTimeoutMs);
    EXPECT_EQ(rows.status().code(), StatusCode::kRefused);
    EXPECT_NE(rows.status().hint().find("zenith pg stop"), std::string::npos);
    manager_.set_receiving(TimelineId());
    // What the manager finds out leaves the branch.
    manager_.set_refuse_delete(Status::Refused("a compute came", "Stop it."));
    rows = connection.Query("branch_delete dev", kTestTimeoutMs);
    EXPECT_EQ(rows.status().message(), "a compute came");
    manager_.set_refuse_delete(Status::Ok());
    rows = connection.Query("branch_delete dev", kTestTimeoutMs);
    ASSERT_TRUE(rows.ok()) << rows.status().message();
    // In any order, but the last one stays.
    rows = connection.Query("branch_delete main", kTestTimeoutMs);
    ASSERT_TRUE(rows.ok()) << rows.status().message();
    rows = connection.Query("branch_delete child", kTestTimeoutMs);
    ASSERT_TRUE(rows.ok()) << rows.status().message();
    rows = connection.Query("branch_list", kTestTimeoutMs);
    ASSERT_EQ(rows->rows.size(), 1u);
    EXPECT_EQ(rows->rows[0][0], "old");
    rows = connection.Query("branch_delete old", kTestTimeoutMs);
    EXPECT_EQ(rows.status().code(), StatusCode::kRefused);
    EXPECT_NE(rows.status().hint().find("zenith init"), std::string::npos);
}

TEST_F(ServiceTest, RetentionAndGarbage) {
    Start();
    PqConnection connection = Connect();
    auto rows = connection.Query("retention", kTestTimeoutMs);
    ASSERT_TRUE(rows.ok()) << rows.status().message();
    EXPECT_EQ(ValueOf(*rows, "pitr_interval_seconds"), "604800");
    EXPECT_EQ(ValueOf(*rows, "retain_bytes"), "0");
    rows = connection.Query("retention 60 1048576", kTestTimeoutMs);
    ASSERT_TRUE(rows.ok()) << rows.status().message();
    EXPECT_EQ(ValueOf(*rows, "pitr_interval_seconds"), "60");
    EXPECT_EQ(manager_.retention().retain_bytes, 1048576u);
    for (const char* bad : {"retention 60", "retention -1 0", "retention 99999999999999 0",
                            "retention 1 2 3", "gc", "gc dry-run", "gc main", "gc dry-runx"}) {
        EXPECT_EQ(SqlState(connection.Query(bad, kTestTimeoutMs).status().code()),
                  SqlState(StatusCode::kInvalidArgument))
            << bad;
    }
    const std::string id = main_id_.ToString();
    rows = connection.Query("gc dry-run " + id, kTestTimeoutMs);
    ASSERT_TRUE(rows.ok()) << rows.status().message();
    EXPECT_EQ(Lines(*rows)[0], id + "|t|0/1000000|11|22|33");
    rows = connection.Query("gc " + id, kTestTimeoutMs);
    ASSERT_TRUE(rows.ok()) << rows.status().message();
    EXPECT_EQ(Lines(*rows)[0], id + "|f|0/1000000|11|22|33");
}

TEST_F(ServiceTest, TagsNeverMove) {
    Start();
    PqConnection connection = Connect();
    std::string id = main_id_.ToString();
    AdvanceTimeline(MainTimeline(), Lsn(0x1000100));
    auto rows = connection.Query("tag_create before main", kTestTimeoutMs);
    ASSERT_TRUE(rows.ok()) << rows.status().message();
    EXPECT_EQ(Lines(*rows)[0], "before|" + id + "|0/1000100");
    AdvanceTimeline(MainTimeline(), Lsn(0x1000200));
    rows = connection.Query("tag_list", kTestTimeoutMs);
    EXPECT_EQ(Lines(*rows), (std::vector<std::string>{"before|" + id + "|0/1000100"}));
    rows = connection.Query("branch_create dev before", kTestTimeoutMs);
    ASSERT_TRUE(rows.ok()) << rows.status().message();
    EXPECT_EQ(*rows->rows[0][3], "0/1000100");
    // One name, one thing.
    rows = connection.Query("branch_create before main", kTestTimeoutMs);
    EXPECT_EQ(rows.status().code(), StatusCode::kAlreadyExists);
    rows = connection.Query("tag_create dev main", kTestTimeoutMs);
    EXPECT_EQ(rows.status().code(), StatusCode::kAlreadyExists);
    ASSERT_TRUE(connection.Query("tag_create of_dev dev", kTestTimeoutMs).ok());
    ASSERT_TRUE(connection.Query("tag_delete of_dev", kTestTimeoutMs).ok());
    rows = connection.Query("tag_delete of_dev", kTestTimeoutMs);
    EXPECT_EQ(rows.status().code(), StatusCode::kNotFound);
}

TEST_F(ServiceTest, TimelineInfo) {
    Start();
    PqConnection connection = Connect();
    auto rows = connection.Query("timeline_info " + main_id_.ToString(), kTestTimeoutMs);
    ASSERT_TRUE(rows.ok()) << rows.status().message();
    EXPECT_EQ(ValueOf(*rows, "last_lsn"), "0/1000000");
    EXPECT_EQ(ValueOf(*rows, "ancestor"), "-");
    EXPECT_EQ(ValueOf(*rows, "running"), "f");
    rows = connection.Query("timeline_info " + TimelineId::Random().ToString(), kTestTimeoutMs);
    EXPECT_EQ(rows.status().code(), StatusCode::kNotFound);
}

TEST_F(ServiceTest, TooManyConnections) {
    PageServiceOptions options = Options();
    options.max_connections = 1;
    options.reserved_connections = 1;
    Start(options);
    PqConnection first = Connect();
    PqConnection second = Connect();
    auto third = PqConnection::Connect(TcpConnstr(), kTestTimeoutMs);
    ASSERT_FALSE(third.ok());
    EXPECT_NE(third.status().message().find("too many connections"), std::string::npos)
        << third.status().message();
    EXPECT_NE(third.status().hint().find("2 connections at once"), std::string::npos);
    // A place that gets free is given away again. The server needs a moment to see it.
    first.Close();
    auto deadline = std::chrono::steady_clock::now() + std::chrono::milliseconds(kTestTimeoutMs);
    do {
        third = PqConnection::Connect(TcpConnstr(), kTestTimeoutMs);
    } while (!third.ok() && std::chrono::steady_clock::now() < deadline);
    ASSERT_TRUE(third.ok()) << third.status().message();
    EXPECT_TRUE(third->Query("status", kTestTimeoutMs).ok());
    EXPECT_TRUE(second.Query("status", kTestTimeoutMs).ok());
}

// Computes that all came back after a restart took every place, so that the `callmemaybe` that
// would have let their commits go on was refused.
TEST_F(ServiceTest, FullOfPagestreamsStillTakesOtherCommands) {
    PageServiceOptions options = Options();
    options.max_connections = 3;
    options.reserved_connections = 2;
    Start(options);
    const std::string pagestream = "pagestream " + main_id_.ToString();
    std::vector<PqConnection> streams;
    for (size_t i = 0; i < options.max_connections; i++) {
        streams.push_back(Connect());
        Status status = streams.back().StartCopyBoth(pagestream, kTestTimeoutMs);
        ASSERT_TRUE(status.ok()) << status.message();
    }
    // More refused ones than there are reserved places: none of them keeps one.
    for (int i = 0; i < 5; i++) {
        PqConnection refused = Connect();
        ASSERT_EQ(PQsendQuery(refused.raw(), pagestream.c_str()), 1);
        PGresult* result = PQgetResult(refused.raw());
        EXPECT_EQ(PQresultStatus(result), PGRES_FATAL_ERROR);
        EXPECT_STREQ(PQresultErrorField(result, PG_DIAG_SQLSTATE), "53300");
        EXPECT_STREQ(PQresultErrorField(result, PG_DIAG_MESSAGE_HINT),
                     "The page server serves 3 of them at once; close some, or start it with a "
                     "higher --max-connections.");
        PQclear(result);
        // The server ends the connection.
        while ((result = PQgetResult(refused.raw())) != nullptr) {
            PQclear(result);
        }
        EXPECT_EQ(PQstatus(refused.raw()), CONNECTION_BAD);
        Result<PqConnection> next = ConnectWhenThereIsRoom();
        ASSERT_TRUE(next.ok()) << next.status().message();
        auto rows = next->Query("status", kTestTimeoutMs);
        ASSERT_TRUE(rows.ok()) << rows.status().message();
        EXPECT_EQ(ValueOf(*rows, "pagestreams"), "3");
        EXPECT_EQ(ValueOf(*rows, "max_connections"), "3");
        rows = next->Query("callmemaybe " + main_id_.ToString() + " 1 host=/tmp", kTestTimeoutMs);
        EXPECT_TRUE(rows.ok()) << rows.status().message();
        next->Close();
        refused.Close();
        ASSERT_TRUE(ConnectWhenThereIsRoom().ok());
    }
    // A place among the streams that gets free is given away again.
    streams.pop_back();
    auto deadline = std::chrono::steady_clock::now() + std::chrono::milliseconds(kTestTimeoutMs);
    Status status;
    do {
        Result<PqConnection> next = ConnectWhenThereIsRoom();
        ASSERT_TRUE(next.ok()) << next.status().message();
        status = next->StartCopyBoth(pagestream, kTestTimeoutMs);
    } while (!status.ok() && std::chrono::steady_clock::now() < deadline);
    EXPECT_TRUE(status.ok()) << status.message();
}

TEST_F(ServiceTest, ConnectionThatRunsNothingLosesItsPlace) {
    PageServiceOptions options = Options();
    options.max_connections = 1;
    options.reserved_connections = 1;
    options.timeouts.first_command_ms = 500;
    Start(options);
    PqConnection busy = Connect();
    ASSERT_TRUE(busy.Query("status", kTestTimeoutMs).ok());
    PqConnection idle = Connect();
    pollfd fd = {PQsocket(idle.raw()), POLLIN, 0};
    ASSERT_EQ(poll(&fd, 1, kTestTimeoutMs), 1);
    auto rows = idle.Query("status", kTestTimeoutMs);
    ASSERT_FALSE(rows.ok());
    EXPECT_NE(rows.status().message().find("has not run a command in time"), std::string::npos)
        << rows.status().message();
    EXPECT_TRUE(ConnectWhenThereIsRoom().ok());
    // Who has run one may stay.
    EXPECT_TRUE(busy.Query("status", kTestTimeoutMs).ok());
}

TEST_F(ServiceTest, StopTellsClientsAndRemovesTheSocketFile) {
    Start();
    std::string path = service_->socket_path();
    struct stat file;
    ASSERT_EQ(lstat(path.c_str(), &file), 0);
    EXPECT_TRUE(S_ISSOCK(file.st_mode));
    PqConnection idle = Connect();
    PqConnection streaming = Connect();
    ASSERT_TRUE(streaming.StartCopyBoth("pagestream " + main_id_.ToString(), kTestTimeoutMs).ok());
    service_->Stop();
    EXPECT_NE(lstat(path.c_str(), &file), 0);
    auto data = streaming.ReceiveCopyData(kTestTimeoutMs);
    ASSERT_FALSE(data.ok());
    EXPECT_EQ(data.status().code(), StatusCode::kUnavailable);
    EXPECT_NE(data.status().message().find("shutting down"), std::string::npos);
    EXPECT_FALSE(idle.Query("status", kTestTimeoutMs).ok());
    EXPECT_FALSE(PqConnection::Connect(TcpConnstr(), kTestTimeoutMs).ok());
}

TEST_F(ServiceTest, SocketFileOfAnotherServer) {
    Start();
    PageServiceOptions options = Options();
    PageService second(options, repository_, manager_, reconstructor_);
    Status status = second.Start();
    EXPECT_EQ(status.code(), StatusCode::kRefused);
    EXPECT_FALSE(status.hint().empty());
    second.Stop();
    // The first one is unharmed; a dead one's file is replaced.
    EXPECT_TRUE(PqConnection::Connect(SocketConnstr(), kTestTimeoutMs).ok());
    service_.reset();
    {
        UniqueFd dead(socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
        sockaddr_un address = {};
        address.sun_family = AF_UNIX;
        std::string path = directory_.path() + "/.s.PGSQL.6400";
        std::copy(path.begin(), path.end(), address.sun_path);
        ASSERT_EQ(bind(dead.get(), reinterpret_cast<sockaddr*>(&address), sizeof address), 0);
    }
    Start();
    EXPECT_TRUE(PqConnection::Connect(SocketConnstr(), kTestTimeoutMs).ok());
}

TEST_F(ServiceTest, ListenErrorsSayWhatToDo) {
    Start();
    PageServiceOptions options;
    options.listen_port = service_->port();
    Status status = PageService(options, repository_, manager_, reconstructor_).Start();
    EXPECT_EQ(status.code(), StatusCode::kRefused);
    options.listen_address = "no such host";
    status = PageService(options, repository_, manager_, reconstructor_).Start();
    EXPECT_EQ(status.code(), StatusCode::kInvalidArgument);
    options.listen_address = "";
    options.socket_directory = "/tmp/" + std::string(120, 'x');
    status = PageService(options, repository_, manager_, reconstructor_).Start();
    EXPECT_EQ(status.code(), StatusCode::kInvalidArgument);
    EXPECT_NE(status.hint().find("socket_directory"), std::string::npos);
}

// Random bytes, half messages and huge lengths on the real sockets, while the server serves.
TEST_F(ServiceTest, KeepsServingUnderRandomBytes) {
    Start();
    std::mt19937 random(2026);
    std::string good = std::string("\0\0\0\x10\0\3\0\0user\0u\0\0", 16);
    for (int round = 0; round < 500; round++) {
        UniqueFd fd(socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
        sockaddr_in address = {};
        address.sin_family = AF_INET;
        address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
        address.sin_port = htons(static_cast<uint16_t>(service_->port()));
        ASSERT_EQ(connect(fd.get(), reinterpret_cast<sockaddr*>(&address), sizeof address), 0);
        std::string bytes = round % 3 == 0 ? "" : good;
        if (round % 3 == 2) {
            bytes += std::string("Q\0\0\0\x30pagestream ", 16) + main_id_.ToString() +
                     std::string(1, '\0') + "d" + std::string("\0\0\0\x2a", 4);
        }
        for (size_t n = random() % 100; n > 0; n--) {
            bytes.push_back(static_cast<char>(random()));
        }
        send(fd.get(), bytes.data(), bytes.size(), MSG_NOSIGNAL);
    }
    auto rows = Connect().Query("status", kTestTimeoutMs);
    ASSERT_TRUE(rows.ok()) << rows.status().message();
}

// ---- base backup into a stream
// ---------------------------------------------------------------------

class RecordingSession : public WireSession {
  public:
    void AddRow(WireRow) override {}
    void SetTag(std::string) override {}
    void EndConnection(const char*) override {}
    Status StartCopyOut() override {
        starts++;
        return Status::Ok();
    }
    Status StartCopyBoth() override { return Status::Internal("not expected"); }
    Status SendCopyData(std::span<const std::byte> data) override {
        largest = std::max(largest, data.size());
        bytes.append(reinterpret_cast<const char*>(data.data()), data.size());
        return Status::Ok();
    }
    Result<CopyInput> ReceiveCopyData(bool, std::span<const std::byte>*) override {
        return Status::Internal("not expected");
    }
    Status Flush() override { return Status::Ok(); }
    bool ShouldStop() const override { return false; }

    int starts = 0;
    size_t largest = 0;
    std::string bytes;
};

TEST_F(ServiceTest, BaseBackupIsSentInPieces) {
    std::string sent;
    std::optional<Lsn> asked;
    Status outcome;
    CommandHandler handler(
        repository_, manager_, reconstructor_,
        [&](const TimelineId& id, std::optional<Lsn> lsn, BaseBackupSink& sink) {
            EXPECT_EQ(id, main_id_);
            asked = lsn;
            if (!outcome.ok()) {
                return outcome;
            }
            for (size_t size : {1, 512, 100000, 3}) {
                std::string piece(size, static_cast<char>('a' + size % 26));
                sent += piece;
                Status status = sink.Write(std::as_bytes(std::span(piece.data(), piece.size())));
                EXPECT_TRUE(status.ok());
            }
            return Status::Ok();
        },
        [] { return std::vector<std::pair<std::string, std::string>>(); }, kTestTimeoutMs, 10);
    auto run = [&](const std::string& command, RecordingSession& session) {
        auto statement = handler.Prepare(command);
        EXPECT_TRUE(statement.ok());
        return (*statement)->Execute(session);
    };
    RecordingSession session;
    ASSERT_TRUE(run("basebackup " + main_id_.ToString() + " 0/1000020", session).ok());
    EXPECT_EQ(asked, Lsn(0x1000020));
    EXPECT_EQ(session.starts, 1);
    EXPECT_TRUE(session.bytes == sent);
    EXPECT_LE(session.largest, 32u * 1024);

    outcome = Status::Refused("no");
    RecordingSession refused;
    EXPECT_EQ(run("basebackup " + main_id_.ToString(), refused).message(), "no");
    EXPECT_EQ(asked, std::nullopt);
    EXPECT_EQ(refused.starts, 0);
}

}  // namespace
}  // namespace zenith

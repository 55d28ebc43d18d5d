#include "common/pqclient/pq_connection.h"

#include <libpq-fe.h>
#include <poll.h>

#include <algorithm>
#include <cerrno>
#include <chrono>

#include "common/pqclient/pq_errors.h"

namespace zenith {

namespace {

using Clock = std::chrono::steady_clock;

// A point in time after which a wait gives up; none for a negative timeout.
class Deadline {
  public:
    explicit Deadline(int timeout_ms) {
        if (timeout_ms >= 0) {
            end_ = Clock::now() + std::chrono::milliseconds(timeout_ms);
        }
    }
    // For poll(): rounded up, so that a wait of 0 means that the time is over.
    int RemainingMs() const {
        if (!end_) {
            return -1;
        }
        auto left = std::chrono::ceil<std::chrono::milliseconds>(*end_ - Clock::now()).count();
        return static_cast<int>(std::max<decltype(left)>(left, 0));
    }

  private:
    std::optional<Clock::time_point> end_;
};

// Whether the socket is ready; false: the time is over. kUnavailable "interrupted" by `wake_fd`.
Result<bool> WaitSocket(int socket, short events, int wake_fd, const Deadline& deadline) {
    for (;;) {
        pollfd fds[2] = {{socket, events, 0}, {wake_fd, POLLIN, 0}};
        int n = poll(fds, wake_fd >= 0 ? 2 : 1, deadline.RemainingMs());
        if (n < 0 && errno == EINTR) {
            continue;
        }
        if (n < 0) {
            return ErrnoStatus("wait for", "connection", errno);
        }
        if (wake_fd >= 0 && fds[1].revents != 0) {
            return Status::Unavailable("interrupted");
        }
        return n > 0;
    }
}

Status TimedOut(const char* what, int timeout_ms) {
    return Status::Unavailable(std::string(what) + " within " + std::to_string(timeout_ms) + " ms");
}

std::span<const std::byte> AsBytes(const char* data, int size) {
    return std::as_bytes(std::span(data, static_cast<size_t>(size)));
}

struct FreeMemory {
    void operator()(char* memory) const { PQfreemem(memory); }
};

void DropNotice(void*, const PGresult*) {}

}  // namespace

std::string QuoteConnstrValue(std::string_view value) {
    std::string quoted = "'";
    for (char c : value) {
        if (c == '\'' || c == '\\') {
            quoted += '\\';
        }
        quoted += c;
    }
    return quoted + "'";
}

Result<std::string> PqRows::SingleValue() const {
    if (rows.size() != 1 || rows[0].size() != 1 || !rows[0][0]) {
        return Status::Internal("expected a single value, got " + std::to_string(rows.size()) +
                                " rows of " + std::to_string(columns.size()) + " columns");
    }
    return *rows[0][0];
}

std::optional<size_t> PqRows::FindColumn(std::string_view name) const {
    auto found = std::find(columns.begin(), columns.end(), name);
    if (found == columns.end()) {
        return std::nullopt;
    }
    return static_cast<size_t>(found - columns.begin());
}

void PqConnection::FinishConnection::operator()(pg_conn* connection) const {
    PQfinish(connection);
}

void PqConnection::ClearResult::operator()(pg_result* result) const {
    PQclear(result);
}

PqConnection::PqConnection(PqConnection&&) noexcept = default;
PqConnection& PqConnection::operator=(PqConnection&&) noexcept = default;
PqConnection::~PqConnection() = default;

Result<PqConnection> PqConnection::Connect(const std::string& connstr, int timeout_ms,
                                           int wake_fd) {
    Deadline deadline(timeout_ms);
    PqConnection self(PQconnectStart(connstr.c_str()), wake_fd);
    PGconn* connection = self.connection_.get();
    if (connection == nullptr) {
        return Status::Internal("out of memory");
    }
    PostgresPollingStatusType want = PGRES_POLLING_WRITING;
    while (PQstatus(connection) != CONNECTION_BAD) {
        if (want == PGRES_POLLING_OK) {
            PQsetNoticeReceiver(connection, DropNotice, nullptr);
            if (PQsetnonblocking(connection, 1) != 0) {
                return self.LostConnection();
            }
            return self;
        }
        if (want == PGRES_POLLING_FAILED) {
            break;
        }
        short events = want == PGRES_POLLING_READING ? POLLIN : POLLOUT;
        ZENITH_ASSIGN_OR_RETURN(bool ready,
                                WaitSocket(PQsocket(connection), events, wake_fd, deadline));
        if (!ready) {
            return Status::Unavailable("connection timed out after " + std::to_string(timeout_ms) +
                                       " ms");
        }
        want = PQconnectPoll(connection);
    }
    return ConnectionStatus(PQerrorMessage(connection));
}

Status PqConnection::LostConnection() {
    Status status = ConnectionStatus(PQerrorMessage(connection_.get()));
    Close();
    return status;
}

int PqConnection::socket() const {
    return connection_ == nullptr ? -1 : PQsocket(connection_.get());
}

bool PqConnection::connected() const {
    return connection_ != nullptr && PQstatus(connection_.get()) == CONNECTION_OK;
}

std::string PqConnection::Parameter(const std::string& name) const {
    if (connection_ == nullptr) {
        return "";
    }
    const char* value = PQparameterStatus(connection_.get(), name.c_str());
    return value == nullptr ? "" : value;
}

Status PqConnection::Flush(int timeout_ms) {
    Deadline deadline(timeout_ms);
    for (;;) {
        int pending = PQflush(connection_.get());
        if (pending == 0) {
            return Status::Ok();
        }
        if (pending < 0) {
            return LostConnection();
        }
        // Also read: a peer that waits for us to read would never take what we send.
        Result<bool> ready = WaitSocket(socket(), POLLIN | POLLOUT, wake_fd_, deadline);
        if (!ready.ok() || !*ready) {
            Close();
            return ready.ok() ? TimedOut("could not send", timeout_ms) : ready.status();
        }
        if (PQconsumeInput(connection_.get()) == 0) {
            return LostConnection();
        }
    }
}

Status PqConnection::Start(const std::string& command, int timeout_ms) {
    if (connection_ == nullptr) {
        return Status::Unavailable("connection is closed");
    }
    if (PQsendQuery(connection_.get(), command.c_str()) == 0) {
        return LostConnection();
    }
    return Flush(timeout_ms);
}

Result<PqConnection::ResultPtr> PqConnection::NextResult(int timeout_ms) {
    Deadline deadline(timeout_ms);
    while (PQisBusy(connection_.get())) {
        Result<bool> ready = WaitSocket(socket(), POLLIN, wake_fd_, deadline);
        if (!ready.ok() || !*ready) {
            Close();
            return ready.ok() ? TimedOut("no answer", timeout_ms) : ready.status();
        }
        // A failure shows as an error result, which PQgetResult makes; the loop must end for that.
        if (PQconsumeInput(connection_.get()) == 0) {
            break;
        }
    }
    return ResultPtr(PQgetResult(connection_.get()));
}

Status PqConnection::FinishCommand(int timeout_ms) {
    Status first_error;
    for (;;) {
        ZENITH_ASSIGN_OR_RETURN(ResultPtr result, NextResult(timeout_ms));
        if (result == nullptr) {
            return first_error;
        }
        switch (PQresultStatus(result.get())) {
            case PGRES_COMMAND_OK:
            case PGRES_TUPLES_OK:
            case PGRES_EMPTY_QUERY:
                break;
            case PGRES_COPY_IN:
            case PGRES_COPY_OUT:
            case PGRES_COPY_BOTH:
                Close();
                return Status::Internal("the server started a copy that was not asked for");
            default:
                if (first_error.ok()) {
                    first_error = ResultStatus(result.get());
                }
                if (PQstatus(connection_.get()) == CONNECTION_BAD) {
                    Close();
                    return first_error;
                }
        }
    }
}

Result<PqRows> PqConnection::Query(const std::string& query, int timeout_ms) {
    ZENITH_RETURN_IF_ERROR(Start(query, timeout_ms));
    PqRows rows;
    for (;;) {
        ZENITH_ASSIGN_OR_RETURN(ResultPtr result, NextResult(timeout_ms));
        if (result == nullptr) {
            return rows;
        }
        const PGresult* r = result.get();
        switch (PQresultStatus(r)) {
            case PGRES_EMPTY_QUERY:
            case PGRES_COMMAND_OK:
            case PGRES_TUPLES_OK:
                break;
            case PGRES_COPY_IN:
            case PGRES_COPY_OUT:
            case PGRES_COPY_BOTH:
                Close();
                return Status::Internal("the server started a copy that was not asked for");
            default: {
                Status status = ResultStatus(r);
                if (PQstatus(connection_.get()) == CONNECTION_BAD) {
                    Close();
                    return status;
                }
                FinishCommand(timeout_ms).Ignore("the first error is the one to report");
                return status;
            }
        }
        rows = PqRows();
        rows.command_tag = PQcmdStatus(result.get());
        int columns = PQnfields(r);
        for (int c = 0; c < columns; c++) {
            rows.columns.emplace_back(PQfname(r, c));
        }
        int count = PQntuples(r);
        rows.rows.reserve(static_cast<size_t>(count));
        for (int i = 0; i < count; i++) {
            std::vector<std::optional<std::string>>& row = rows.rows.emplace_back();
            for (int c = 0; c < columns; c++) {
                if (PQgetisnull(r, i, c)) {
                    row.emplace_back();
                } else {
                    row.emplace_back(std::string(PQgetvalue(r, i, c),
                                                 static_cast<size_t>(PQgetlength(r, i, c))));
                }
            }
        }
    }
}

Status PqConnection::ExpectCopy(int wanted, const char* what, const std::string& command,
                                int timeout_ms) {
    ZENITH_ASSIGN_OR_RETURN(ResultPtr result, NextResult(timeout_ms));
    if (result != nullptr && PQresultStatus(result.get()) == wanted) {
        return Status::Ok();
    }
    Status status =
        Status::Internal("the server did not start " + std::string(what) + " on: " + command);
    if (result != nullptr) {
        switch (PQresultStatus(result.get())) {
            case PGRES_COMMAND_OK:
            case PGRES_TUPLES_OK:
            case PGRES_EMPTY_QUERY:
                break;
            case PGRES_COPY_IN:
            case PGRES_COPY_OUT:
            case PGRES_COPY_BOTH:
                Close();
                return status;
            default:
                status = ResultStatus(result.get());
        }
        if (PQstatus(connection_.get()) == CONNECTION_BAD) {
            Close();
            return status;
        }
        FinishCommand(timeout_ms).Ignore("the first error is the one to report");
    }
    return status;
}

Status PqConnection::StartCopyBoth(const std::string& command, int timeout_ms) {
    ZENITH_RETURN_IF_ERROR(Start(command, timeout_ms));
    return ExpectCopy(PGRES_COPY_BOTH, "a two-way stream", command, timeout_ms);
}

Result<std::optional<std::string>> PqConnection::ReceiveCopyData(int timeout_ms) {
    if (connection_ == nullptr) {
        return Status::Unavailable("connection is closed");
    }
    Deadline deadline(timeout_ms);
    bool time_is_over = false;
    for (;;) {
        char* buffer = nullptr;
        int n = PQgetCopyData(connection_.get(), &buffer, 1);
        if (n > 0) {
            std::unique_ptr<char, FreeMemory> owner(buffer);
            return std::optional<std::string>(std::string(buffer, static_cast<size_t>(n)));
        }
        if (n == -2) {
            return LostConnection();
        }
        if (n == -1) {
            // CopyDone, or an error that ended the copy: the next result says which.
            ResultPtr result(PQgetResult(connection_.get()));
            if (result != nullptr && PQresultStatus(result.get()) == PGRES_FATAL_ERROR) {
                Status status = ResultStatus(result.get());
                if (PQstatus(connection_.get()) == CONNECTION_BAD) {
                    Close();
                }
                return status;
            }
            return Status::Unavailable("the server ended the stream");
        }
        if (PQstatus(connection_.get()) == CONNECTION_BAD) {
            return LostConnection();
        }
        if (time_is_over) {
            return std::optional<std::string>();
        }
        ZENITH_ASSIGN_OR_RETURN(bool ready, WaitSocket(socket(), POLLIN, wake_fd_, deadline));
        if (!ready) {
            return std::optional<std::string>();
        }
        // Half a message may be all there is: look once more, then give up without polling on.
        time_is_over = timeout_ms >= 0 && deadline.RemainingMs() == 0;
        // After a failure what came before it is still handed out, the server's last words too.
        if (PQconsumeInput(connection_.get()) == 0) {
            time_is_over = false;
        }
    }
}

Status PqConnection::SendCopyData(std::span<const std::byte> data, int timeout_ms) {
    if (connection_ == nullptr) {
        return Status::Unavailable("connection is closed");
    }
    const char* bytes = reinterpret_cast<const char*>(data.data());
    for (;;) {
        int sent = PQputCopyData(connection_.get(), bytes, static_cast<int>(data.size()));
        if (sent < 0) {
            return LostConnection();
        }
        ZENITH_RETURN_IF_ERROR(Flush(timeout_ms));
        if (sent > 0) {
            return Status::Ok();
        }
    }
}

Status PqConnection::SendCopyDone(int timeout_ms) {
    if (connection_ == nullptr) {
        return Status::Unavailable("connection is closed");
    }
    for (;;) {
        int sent = PQputCopyEnd(connection_.get(), nullptr);
        if (sent < 0) {
            return LostConnection();
        }
        ZENITH_RETURN_IF_ERROR(Flush(timeout_ms));
        if (sent > 0) {
            return Status::Ok();
        }
    }
}

Status PqConnection::CopyOut(const std::string& command,
                             const std::function<Status(std::span<const std::byte>)>& sink,
                             int timeout_ms) {
    ZENITH_RETURN_IF_ERROR(Start(command, timeout_ms));
    ZENITH_RETURN_IF_ERROR(ExpectCopy(PGRES_COPY_OUT, "a copy", command, timeout_ms));
    for (;;) {
        char* buffer = nullptr;
        int n = PQgetCopyData(connection_.get(), &buffer, 1);
        if (n > 0) {
            std::unique_ptr<char, FreeMemory> owner(buffer);
            Status status = sink(AsBytes(buffer, n));
            if (!status.ok()) {
                Close();
                return status;
            }
            continue;
        }
        if (n == -2) {
            return LostConnection();
        }
        if (n == -1) {
            return FinishCommand(timeout_ms);
        }
        if (PQstatus(connection_.get()) == CONNECTION_BAD) {
            return LostConnection();
        }
        Result<bool> ready = WaitSocket(socket(), POLLIN, wake_fd_, Deadline(timeout_ms));
        if (!ready.ok() || !*ready) {
            Close();
            return ready.ok() ? TimedOut("no data", timeout_ms) : ready.status();
        }
        // A failure shows when everything that came before it has been taken.
        static_cast<void>(PQconsumeInput(connection_.get()));
    }
}

}  // namespace zenith

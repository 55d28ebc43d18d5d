// PqConnection: one connection to a PostgreSQL server or to the page server, over libpq.
//
// Purpose   owning wrapper with our Status, timeouts and a way to be woken. Used by the WAL
//           receiver (physical replication), the timeline manager and the CLI.
// Waiting   every wait is a poll() of the socket together with the wake descriptor (SetWakeFd) and
//           ends at the given timeout; a negative timeout waits for ever. When the wake descriptor
//           is readable the call returns kUnavailable "interrupted". After a timeout or an
//           interruption of anything but ReceiveCopyData the connection is closed: what the server
//           still sends could not be told apart from the answer to the next command.
// Errors    carry the server's primary message with its detail in parentheses, its hint, and a
//           code mapped from the SQLSTATE (pq_errors.h). A broken connection is
//           kUnavailable. Connect failures are kUnavailable whatever the server said.
// Threads   one thread at a time. To stop a thread that waits here, make its wake descriptor
//           (an eventfd or pipe) readable.
#pragma once

#include <cstddef>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "common/base/result.h"
#include "common/base/status.h"

struct pg_conn;
struct pg_result;

namespace zenith {

struct PqRows {
    std::vector<std::string> columns;
    std::vector<std::vector<std::optional<std::string>>> rows;  // nullopt: SQL null
    std::string command_tag;                                    // "SELECT 1"

    // The value of a row of exactly one value, as SHOW and friends give; kInternal otherwise.
    Result<std::string> SingleValue() const;
    // Index of a column by name; nullopt when there is none.
    std::optional<size_t> FindColumn(std::string_view name) const;
};

// 'value' quoted for a libpq connection string: host=<quoted>.
std::string QuoteConnstrValue(std::string_view value);

class PqConnection {
  public:
    // Connects; with several hosts in `connstr` libpq tries them in order. `wake_fd` as SetWakeFd.
    static Result<PqConnection> Connect(const std::string& connstr, int timeout_ms,
                                        int wake_fd = -1);
    PqConnection(PqConnection&&) noexcept;
    PqConnection& operator=(PqConnection&&) noexcept;
    ~PqConnection();

    // Borrowed; -1: none. The connection never reads from it.
    void SetWakeFd(int fd) { wake_fd_ = fd; }

    // Runs one simple query. With several statements the rows of the last are returned, and the
    // first error. Refuses COPY (kInternal, closes the connection).
    Result<PqRows> Query(const std::string& query, int timeout_ms = -1);

    // Sends `command` and expects CopyBothResponse (START_REPLICATION, pagestream).
    Status StartCopyBoth(const std::string& command, int timeout_ms = -1);
    // The payload of the next CopyData message; nullopt when none came within `timeout_ms` (0: only
    // what is already here). libpq skips messages with an empty payload. kUnavailable when the
    // server ended the stream or went away; the server's error if it sent one.
    Result<std::optional<std::string>> ReceiveCopyData(int timeout_ms);
    // As ReceiveCopyData(0): takes what the socket has, never waits.
    Result<std::optional<std::string>> TryReceiveCopyData() { return ReceiveCopyData(0); }
    // Sends one CopyData message and waits until the kernel has it.
    Status SendCopyData(std::span<const std::byte> data, int timeout_ms = -1);
    // Ends the sending half; the peer answers by ending its half.
    Status SendCopyDone(int timeout_ms = -1);

    // Runs `command`, which must be a COPY OUT, and hands each CopyData payload to `sink`, in
    // order; a payload is valid during the call. When `sink` fails its status is returned and the
    // connection is closed. `timeout_ms` bounds each wait for data, not the whole.
    Status CopyOut(const std::string& command,
                   const std::function<Status(std::span<const std::byte>)>& sink,
                   int timeout_ms = -1);

    // The socket, to poll together with others; -1 when closed.
    int socket() const;
    bool connected() const;
    // What the server reported, e.g. "server_version"; empty when unknown.
    std::string Parameter(const std::string& name) const;
    // libpq's own handle, for what is not wrapped here. Owned by this object.
    pg_conn* raw() { return connection_.get(); }
    void Close() { connection_.reset(); }

  private:
    struct FinishConnection {
        void operator()(pg_conn* connection) const;
    };
    struct ClearResult {
        void operator()(pg_result* result) const;
    };
    using ResultPtr = std::unique_ptr<pg_result, ClearResult>;

    explicit PqConnection(pg_conn* connection, int wake_fd)
        : connection_(connection), wake_fd_(wake_fd) {}

    Status Start(const std::string& command, int timeout_ms);
    Status Flush(int timeout_ms);
    // The next result of the command under way; null at its end.
    Result<ResultPtr> NextResult(int timeout_ms);
    // Reads results to the end of the command; its first error, if any.
    Status FinishCommand(int timeout_ms);
    // Expects `wanted` (an ExecStatusType) as the next result.
    Status ExpectCopy(int wanted, const char* what, const std::string& command, int timeout_ms);
    Status LostConnection();

    std::unique_ptr<pg_conn, FinishConnection> connection_;
    int wake_fd_ = -1;
};

}  // namespace zenith

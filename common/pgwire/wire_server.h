// wire_server: the server side of one PostgreSQL connection, protocol 3.0.
//
// Purpose   carries commands to a WireHandler and rows or streams back, for any client: psql,
// libpq,
//           drivers that only use Parse/Bind/Describe/Execute. It knows the protocol, not one
//           command. Results are columns of type text. There are no transactions, no parameters, no
//           COPY IN, no encryption (requests for it are answered 'N'), no authentication; a cancel
//           request is accepted and does nothing.
// Errors    a Status of the handler becomes an ErrorResponse with its SQLSTATE, message and hint;
// the
//           connection goes on, in the extended protocol after the next Sync. A client that breaks
//           the protocol gets a FATAL error and is closed. An error inside COPY BOTH closes the
//           connection: there is no way to tell the client where its messages start again.
// Threads   a connection is run by one thread; the handler is shared by all of them. The StopSignal
//           ends every wait; a client is then told so (SQLSTATE 57P01).
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "common/base/result.h"
#include "common/base/status.h"
#include "common/base/unique_fd.h"
#include "common/pgwire/stop_signal.h"
#include "common/pgwire/wire_message.h"
#include "common/pgwire/wire_stream.h"

namespace zenith {

// What a statement writes its result to. Lives as long as the Execute() call.
class WireSession {
  public:
    virtual ~WireSession() = default;

    // Rows; as many values as the statement has columns. They are kept until the client fetches
    // them, so this is for lists, not for bulk.
    virtual void AddRow(WireRow row) = 0;
    // What CommandComplete says; by default "SELECT <rows>", "COPY", or "OK" without columns.
    virtual void SetTag(std::string tag) = 0;

    // Starts a stream to the client; it ends when Execute() returns. Requires: no columns, no
    // stream started yet.
    virtual Status StartCopyOut() = 0;
    // Starts a stream in both directions; ends when Execute() returns.
    virtual Status StartCopyBoth() = 0;
    // Requires: a stream was started. May wait for the client to read.
    virtual Status SendCopyData(std::span<const std::byte> data) = 0;
    enum class CopyInput { kData, kNothingYet, kDone };
    // The client's next message in COPY BOTH; *data is valid until the next call. With `wait`
    // first sends everything collected, never kNothingYet. kDone: the client has ended its half.
    virtual Result<CopyInput> ReceiveCopyData(bool wait, std::span<const std::byte>* data) = 0;
    // Sends everything collected.
    virtual Status Flush() = 0;

    // The error that Execute() is about to return ends the connection, under this SQLSTATE: for a
    // client that must not keep a place it was refused. Requires: no stream started.
    virtual void EndConnection(const char* sqlstate) = 0;

    // True when the statement should give up: the server stops or the client has gone.
    virtual bool ShouldStop() const = 0;
};

class WireStatement {
  public:
    virtual ~WireStatement() = default;
    // Names of the result's columns; empty: no rows.
    virtual const std::vector<std::string>& columns() const = 0;
    virtual Status Execute(WireSession& session) = 0;
};

class WireHandler {
  public:
    virtual ~WireHandler() = default;
    // Takes `query` apart without running it; null for a query that is empty. The statement may be
    // executed any number of times.
    virtual Result<std::shared_ptr<WireStatement>> Prepare(std::string_view query) = 0;
};

struct WireOptions {
    WireTimeouts timeouts;
    // Told to every client at its start; "server_version" must begin with a number.
    std::vector<std::pair<std::string, std::string>> parameters;
    uint32_t process_id = 0;
    uint32_t secret = 0;
};

class WireConnection {
  public:
    // `stop` and `handler` outlive the connection.
    WireConnection(UniqueFd socket, const StopSignal& stop, WireHandler& handler,
                   WireOptions options);
    ~WireConnection();

    // Serves the client until it leaves, breaks the protocol, or the stop signal is set. With
    // `refusal` the client is told so after its startup packet, and is closed. The returned status
    // is for the log: OK when the client left in order.
    Status Run(const std::optional<WireError>& refusal = std::nullopt);

  private:
    struct Portal;
    class Session;
    using StatementPtr = std::shared_ptr<WireStatement>;
    struct Prepared {
        StatementPtr statement;  // null: an empty query
        size_t bytes = 0;        // what it counts towards the limit
    };

    // False: the connection ends here in order.
    Result<bool> Startup(const std::optional<WireError>& refusal);
    Status ServeMessages();
    Status Dispatch(const FrontendMessage& message);

    Status HandleQuery(const QueryMessage& message);
    Status HandleParse(const ParseMessage& message);
    Status HandleBind(const BindMessage& message);
    Status HandleDescribe(const TargetMessage& message);
    Status HandleClose(const TargetMessage& message);
    Status HandleExecute(const ExecuteMessage& message);

    Status ExecutePortal(Portal& portal, uint32_t max_rows);
    void ErasePrepared(const std::string& name);
    // Sends the error and, in the extended protocol, skips to the next Sync. Fails when there is
    // nobody to send it to.
    Status ReportError(const Status& status);
    Status ReportError(WireError error);
    // Tells the client of the error that ends the connection, once; returns `status`.
    Status Fatal(const char* sqlstate, const Status& status);

    WireStream stream_;
    WireHandler& handler_;
    WireOptions options_;
    std::map<std::string, Prepared> prepared_;
    size_t prepared_bytes_ = 0;
    std::map<std::string, Portal> portals_;
    bool in_extended_ = false;
    bool skip_to_sync_ = false;
    bool closing_ = false;
    bool ran_command_ = false;
    int64_t first_command_deadline_ms_;
    bool fatal_sent_ = false;
};

}  // namespace zenith

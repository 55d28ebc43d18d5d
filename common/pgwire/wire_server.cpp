#include "common/pgwire/wire_server.h"

#include <cassert>
#include <utility>

namespace zenith {

namespace {

// Bounds on what one client can have us keep.
constexpr size_t kMaxStatements = 1000;
constexpr size_t kMaxPortals = 1000;
constexpr size_t kMaxStatementBytes = 4 * 1024 * 1024;

// SQLSTATEs that no StatusCode stands for, utils/errcodes.txt.
constexpr char kProtocolViolation[] = "08P01";
constexpr char kFeatureNotSupported[] = "0A000";
constexpr char kSyntaxError[] = "42601";
constexpr char kInvalidStatementName[] = "26000";
constexpr char kInvalidCursorName[] = "34000";
constexpr char kDuplicateStatement[] = "42P05";
constexpr char kDuplicateCursor[] = "42P03";
constexpr char kNotInPrerequisiteState[] = "55000";
constexpr char kLimitExceeded[] = "54000";
constexpr char kAdminShutdown[] = "57P01";
constexpr char kIdleSessionTimeout[] = "57P05";

WireError Error(const char* sqlstate, std::string message, std::string hint = "") {
    return WireError{"ERROR", sqlstate, std::move(message), std::move(hint)};
}

}  // namespace

struct WireConnection::Portal {
    std::shared_ptr<WireStatement> statement;  // null: an empty query
    std::vector<uint16_t> formats;
    bool executed = false;
    std::vector<WireRow> rows;
    size_t next_row = 0;
};

// The result of one Execute() call.
class WireConnection::Session : public WireSession {
  public:
    Session(WireStream& stream, size_t columns) : stream_(stream), columns_(columns) {}

    enum class Mode { kRows, kCopyOut, kCopyBoth };

    void AddRow(WireRow row) override {
        assert(row.size() == columns_);
        rows_.push_back(std::move(row));
    }
    void SetTag(std::string tag) override { tag_ = std::move(tag); }

    Status StartCopyOut() override {
        assert(mode_ == Mode::kRows && columns_ == 0);
        mode_ = Mode::kCopyOut;
        AppendCopyOutResponse(&stream_.output());
        return stream_.Flush();
    }
    Status StartCopyBoth() override {
        assert(mode_ == Mode::kRows && columns_ == 0);
        mode_ = Mode::kCopyBoth;
        AppendCopyBothResponse(&stream_.output());
        return stream_.Flush();
    }
    Status SendCopyData(std::span<const std::byte> data) override {
        assert(mode_ != Mode::kRows);
        AppendCopyData(data, &stream_.output());
        return stream_.MaybeFlush();
    }
    Result<CopyInput> ReceiveCopyData(bool wait, std::span<const std::byte>* data) override;
    Status Flush() override { return stream_.Flush(); }
    void EndConnection(const char* sqlstate) override {
        assert(mode_ == Mode::kRows);
        fatal_sqlstate_ = sqlstate;
    }
    bool ShouldStop() const override { return stream_.stopping() || stream_.PeerGone(); }

    Mode mode() const { return mode_; }
    // Null, or what EndConnection() was given.
    const char* fatal_sqlstate() const { return fatal_sqlstate_; }
    bool client_done() const { return client_done_; }
    // The client said Terminate inside a stream.
    bool terminated() const { return terminated_; }
    bool protocol_violation() const { return protocol_violation_; }
    std::vector<WireRow> TakeRows() { return std::move(rows_); }
    const std::string& tag() const { return tag_; }

  private:
    Result<CopyInput> Violation(Status status) {
        protocol_violation_ = true;
        return status;
    }

    WireStream& stream_;
    size_t columns_;
    Mode mode_ = Mode::kRows;
    std::vector<WireRow> rows_;
    std::string tag_;
    const char* fatal_sqlstate_ = nullptr;
    bool client_done_ = false;
    bool terminated_ = false;
    bool protocol_violation_ = false;
};

Result<WireSession::CopyInput> WireConnection::Session::ReceiveCopyData(
    bool wait, std::span<const std::byte>* data) {
    assert(mode_ == Mode::kCopyBoth);
    while (!client_done_) {
        WireStream::Message message;
        if (wait) {
            Result<WireStream::Message> read = stream_.ReadMessage();
            if (!read.ok()) {
                if (read.status().code() == StatusCode::kInvalidArgument) {
                    return Violation(read.status());
                }
                return read.status();
            }
            message = *read;
        } else {
            Result<std::optional<WireStream::Message>> read = stream_.TryReadMessage();
            if (!read.ok()) {
                return Violation(read.status());
            }
            if (!*read) {
                return CopyInput::kNothingYet;
            }
            message = **read;
        }
        Result<FrontendMessage> parsed = ParseFrontendMessage(message.type, message.payload);
        if (!parsed.ok()) {
            return Violation(parsed.status());
        }
        if (const auto* copy_data = std::get_if<CopyDataMessage>(&*parsed)) {
            *data = copy_data->data;
            return CopyInput::kData;
        }
        if (const auto* fail = std::get_if<CopyFailMessage>(&*parsed)) {
            return Status::InvalidArgument("COPY from client failed: " + std::string(fail->reason));
        }
        if (const auto* plain = std::get_if<PlainMessage>(&*parsed)) {
            switch (plain->kind) {
                case PlainMessage::Kind::kCopyDone:
                    client_done_ = true;
                    continue;
                case PlainMessage::Kind::kSync:
                case PlainMessage::Kind::kFlush:
                    // A client of the extended protocol sent them along with Execute.
                    continue;
                case PlainMessage::Kind::kTerminate:
                    terminated_ = true;
                    return Status::Unavailable("client closed the connection");
                default:
                    break;
            }
        }
        return Violation(Status::InvalidArgument("unexpected message type " +
                                                 std::to_string(message.type) + " during COPY"));
    }
    return CopyInput::kDone;
}

WireConnection::WireConnection(UniqueFd socket, const StopSignal& stop, WireHandler& handler,
                               WireOptions options)
    : stream_(std::move(socket), stop, options.timeouts),
      handler_(handler),
      options_(std::move(options)),
      first_command_deadline_ms_(WireStream::NowMs() + options_.timeouts.first_command_ms) {}

WireConnection::~WireConnection() = default;

Status WireConnection::Run(const std::optional<WireError>& refusal) {
    Result<bool> started = Startup(refusal);
    if (!started.ok()) {
        return started.status();
    }
    return *started ? ServeMessages() : Status::Ok();
}

Status WireConnection::Fatal(const char* sqlstate, const Status& status) {
    if (!stream_.broken() && !fatal_sent_) {
        fatal_sent_ = true;
        AppendErrorResponse(WireError{"FATAL", sqlstate, status.message(), status.hint()},
                            &stream_.output());
        stream_.Flush().Ignore("the connection ends anyway");
    }
    return status;
}

Result<bool> WireConnection::Startup(const std::optional<WireError>& refusal) {
    // One request for each kind of encryption, in any order, then the real packet.
    bool ssl_asked = false;
    bool gss_asked = false;
    StartupPacket packet;
    for (;;) {
        Result<std::span<const std::byte>> bytes = stream_.ReadStartupPacket();
        if (!bytes.ok()) {
            return bytes.status().code() == StatusCode::kInvalidArgument
                       ? Fatal(kProtocolViolation, bytes.status())
                       : bytes.status();
        }
        if (bytes->empty()) {
            return false;
        }
        Result<StartupPacket> parsed = ParseStartupPacket(*bytes);
        if (!parsed.ok()) {
            return Fatal(kProtocolViolation, parsed.status());
        }
        packet = *std::move(parsed);
        if (packet.kind == StartupPacket::Kind::kCancelRequest) {
            return false;
        }
        if (packet.kind == StartupPacket::Kind::kStartup) {
            break;
        }
        bool& asked = packet.kind == StartupPacket::Kind::kSslRequest ? ssl_asked : gss_asked;
        if (asked) {
            return Fatal(kProtocolViolation,
                         Status::InvalidArgument("repeated request for encryption"));
        }
        asked = true;
        ZENITH_RETURN_IF_ERROR(stream_.SendRawByte('N'));
    }
    if (packet.major != 3) {
        return Fatal(kFeatureNotSupported,
                     Status::InvalidArgument(
                         "unsupported frontend protocol " + std::to_string(packet.major) + "." +
                         std::to_string(packet.minor) + ": server supports 3.0 to 3.0"));
    }
    if (packet.Parameter("user").empty()) {
        return Fatal("28000", Status::InvalidArgument(
                                  "no PostgreSQL user name specified in startup packet"));
    }
    if (refusal) {
        return Fatal(refusal->sqlstate.c_str(), Status::Refused(refusal->message, refusal->hint));
    }
    std::string* out = &stream_.output();
    std::vector<std::string> unknown_options;
    for (const auto& [name, value] : packet.parameters) {
        if (name.starts_with("_pq_.")) {
            unknown_options.push_back(name);
        }
    }
    if (packet.minor > 0 || !unknown_options.empty()) {
        AppendNegotiateProtocolVersion(unknown_options, out);
    }
    AppendAuthenticationOk(out);
    for (const auto& [name, value] : options_.parameters) {
        AppendParameterStatus(name, value, out);
    }
    AppendParameterStatus("session_authorization", packet.Parameter("user"), out);
    AppendParameterStatus("application_name", packet.Parameter("application_name"), out);
    AppendBackendKeyData(options_.process_id, options_.secret, out);
    AppendReadyForQuery(out);
    return true;
}

Status WireConnection::ServeMessages() {
    while (!closing_) {
        std::optional<int64_t> deadline_ms;
        if (!ran_command_) {
            deadline_ms = first_command_deadline_ms_;
        }
        Result<WireStream::Message> read = stream_.ReadMessage(deadline_ms);
        Status status;
        // Messages that run nothing do not put it off.
        if (deadline_ms && WireStream::NowMs() >= *deadline_ms && !stream_.stopping()) {
            return Fatal(kIdleSessionTimeout,
                         Status::Unavailable(
                             "terminating connection because it has not run a command in time",
                             "Connect again when there is a command to run."));
        }
        if (!read.ok()) {
            status = read.status();
        } else {
            Result<FrontendMessage> message = ParseFrontendMessage(read->type, read->payload);
            status = message.ok() ? Dispatch(*message) : message.status();
        }
        if (status.ok()) {
            continue;
        }
        if (fatal_sent_) {
            return status;
        }
        if (status.code() == StatusCode::kInvalidArgument) {
            return Fatal(kProtocolViolation, status);
        }
        if (stream_.stopping()) {
            return Fatal(kAdminShutdown,
                         Status::Unavailable(
                             "terminating connection because the page server is shutting down",
                             "Connect again when the page server has been started."));
        }
        return status;
    }
    return Status::Ok();
}

Status WireConnection::Dispatch(const FrontendMessage& message) {
    if (const auto* plain = std::get_if<PlainMessage>(&message)) {
        switch (plain->kind) {
            case PlainMessage::Kind::kTerminate:
                closing_ = true;
                return Status::Ok();
            case PlainMessage::Kind::kSync:
                in_extended_ = false;
                skip_to_sync_ = false;
                portals_.clear();
                AppendReadyForQuery(&stream_.output());
                return Status::Ok();
            default:
                break;
        }
    }
    if (skip_to_sync_) {
        return Status::Ok();
    }
    if (const auto* query = std::get_if<QueryMessage>(&message)) {
        in_extended_ = false;
        return HandleQuery(*query);
    }
    if (const auto* plain = std::get_if<PlainMessage>(&message)) {
        switch (plain->kind) {
            case PlainMessage::Kind::kFlush:
                return stream_.Flush();
            case PlainMessage::Kind::kFunctionCall:
                in_extended_ = false;
                ZENITH_RETURN_IF_ERROR(
                    ReportError(Error(kFeatureNotSupported, "function calls are not supported")));
                AppendReadyForQuery(&stream_.output());
                return Status::Ok();
            case PlainMessage::Kind::kPassword:
                return Status::InvalidArgument("unexpected password message");
            default:
                // CopyDone that was under way when a stream ended, as PostgreSQL does.
                return Status::Ok();
        }
    }
    if (std::holds_alternative<CopyDataMessage>(message) ||
        std::holds_alternative<CopyFailMessage>(message)) {
        return Status::Ok();
    }
    in_extended_ = true;
    if (const auto* parse = std::get_if<ParseMessage>(&message)) {
        return HandleParse(*parse);
    }
    if (const auto* bind = std::get_if<BindMessage>(&message)) {
        return HandleBind(*bind);
    }
    if (const auto* execute = std::get_if<ExecuteMessage>(&message)) {
        return HandleExecute(*execute);
    }
    const auto& target = std::get<TargetMessage>(message);
    return target.close ? HandleClose(target) : HandleDescribe(target);
}

Status WireConnection::ReportError(WireError error) {
    if (stream_.broken()) {
        return Status::Unavailable("client is gone");
    }
    AppendErrorResponse(error, &stream_.output());
    skip_to_sync_ = in_extended_;
    return Status::Ok();
}

Status WireConnection::ReportError(const Status& status) {
    if (stream_.stopping()) {
        return status.code() == StatusCode::kInvalidArgument
                   ? Status::Unavailable(status.message(), status.hint())
                   : status;
    }
    return ReportError(Error(SqlState(status.code()), status.message(), status.hint()));
}

Status WireConnection::HandleQuery(const QueryMessage& message) {
    // A simple query replaces the unnamed statement and portal.
    ErasePrepared("");
    portals_.erase("");
    Result<StatementPtr> statement = handler_.Prepare(message.query);
    if (!statement.ok()) {
        const Status& status = statement.status();
        ZENITH_RETURN_IF_ERROR(
            status.code() == StatusCode::kInvalidArgument
                ? ReportError(Error(kSyntaxError, status.message(), status.hint()))
                : ReportError(status));
    } else if (*statement == nullptr) {
        AppendEmptyMessage(EmptyMessage::kEmptyQueryResponse, &stream_.output());
    } else {
        Portal portal;
        portal.statement = *std::move(statement);
        ZENITH_RETURN_IF_ERROR(ExecutePortal(portal, 0));
        if (closing_) {
            return Status::Ok();
        }
    }
    AppendReadyForQuery(&stream_.output());
    return stream_.MaybeFlush();
}

Status WireConnection::HandleParse(const ParseMessage& message) {
    std::string name(message.statement);
    if (message.parameter_types > 0) {
        return ReportError(Error(kFeatureNotSupported, "query parameters are not supported",
                                 "Put the values into the command itself."));
    }
    if (name.empty()) {
        ErasePrepared(name);
    } else if (prepared_.contains(name)) {
        return ReportError(
            Error(kDuplicateStatement, "prepared statement \"" + name + "\" already exists"));
    }
    size_t bytes = name.size() + message.query.size();
    if (prepared_.size() >= kMaxStatements || prepared_bytes_ + bytes > kMaxStatementBytes) {
        return ReportError(Error(kLimitExceeded, "too many prepared statements",
                                 "Close prepared statements that are not needed any more."));
    }
    Result<StatementPtr> statement = handler_.Prepare(message.query);
    if (!statement.ok()) {
        const Status& status = statement.status();
        return status.code() == StatusCode::kInvalidArgument
                   ? ReportError(Error(kSyntaxError, status.message(), status.hint()))
                   : ReportError(status);
    }
    prepared_[name] = Prepared{*std::move(statement), bytes};
    prepared_bytes_ += bytes;
    AppendEmptyMessage(EmptyMessage::kParseComplete, &stream_.output());
    return stream_.MaybeFlush();
}

void WireConnection::ErasePrepared(const std::string& name) {
    auto found = prepared_.find(name);
    if (found != prepared_.end()) {
        prepared_bytes_ -= found->second.bytes;
        prepared_.erase(found);
    }
}

Status WireConnection::HandleBind(const BindMessage& message) {
    auto found = prepared_.find(std::string(message.statement));
    if (found == prepared_.end()) {
        return ReportError(
            Error(kInvalidStatementName,
                  "prepared statement \"" + std::string(message.statement) + "\" does not exist"));
    }
    if (message.parameters > 0) {
        return ReportError(Error(kProtocolViolation,
                                 "bind message supplies " + std::to_string(message.parameters) +
                                     " parameters, but prepared statement \"" +
                                     std::string(message.statement) + "\" requires 0",
                                 "Put the values into the command itself."));
    }
    const StatementPtr& statement = found->second.statement;
    size_t columns = statement == nullptr ? 0 : statement->columns().size();
    if (message.result_formats.size() > 1 && message.result_formats.size() != columns) {
        return ReportError(
            Error(kProtocolViolation,
                  "bind message has " + std::to_string(message.result_formats.size()) +
                      " result formats but query has " + std::to_string(columns) + " columns"));
    }
    for (uint16_t format : message.result_formats) {
        if (format > 1) {
            return ReportError(
                Error("22023", "unsupported format code: " + std::to_string(format)));
        }
    }
    std::string name(message.portal);
    if (name.empty()) {
        portals_.erase(name);
    } else if (portals_.contains(name)) {
        return ReportError(Error(kDuplicateCursor, "portal \"" + name + "\" already exists"));
    }
    if (portals_.size() >= kMaxPortals) {
        return ReportError(Error(kLimitExceeded, "too many portals", "Send Sync to close them."));
    }
    Portal& portal = portals_[name];
    portal.statement = statement;
    portal.formats = message.result_formats;
    AppendEmptyMessage(EmptyMessage::kBindComplete, &stream_.output());
    return stream_.MaybeFlush();
}

Status WireConnection::HandleDescribe(const TargetMessage& message) {
    std::string name(message.name);
    StatementPtr statement;
    std::vector<uint16_t> formats;
    if (message.portal) {
        auto found = portals_.find(name);
        if (found == portals_.end()) {
            return ReportError(Error(kInvalidCursorName, "portal \"" + name + "\" does not exist"));
        }
        statement = found->second.statement;
        formats = found->second.formats;
    } else {
        auto found = prepared_.find(name);
        if (found == prepared_.end()) {
            return ReportError(
                Error(kInvalidStatementName, "prepared statement \"" + name + "\" does not exist"));
        }
        statement = found->second.statement;
        AppendParameterDescription(&stream_.output());
    }
    if (statement == nullptr || statement->columns().empty()) {
        AppendEmptyMessage(EmptyMessage::kNoData, &stream_.output());
    } else {
        AppendRowDescription(statement->columns(), formats, &stream_.output());
    }
    return stream_.MaybeFlush();
}

Status WireConnection::HandleClose(const TargetMessage& message) {
    // Closing what does not exist is not an error, says the protocol.
    if (message.portal) {
        portals_.erase(std::string(message.name));
    } else {
        ErasePrepared(std::string(message.name));
    }
    AppendEmptyMessage(EmptyMessage::kCloseComplete, &stream_.output());
    return stream_.MaybeFlush();
}

Status WireConnection::HandleExecute(const ExecuteMessage& message) {
    std::string name(message.portal);
    auto found = portals_.find(name);
    if (found == portals_.end()) {
        return ReportError(Error(kInvalidCursorName, "portal \"" + name + "\" does not exist"));
    }
    Portal& portal = found->second;
    if (portal.statement == nullptr) {
        AppendEmptyMessage(EmptyMessage::kEmptyQueryResponse, &stream_.output());
        return stream_.MaybeFlush();
    }
    if (portal.executed && portal.statement->columns().empty()) {
        return ReportError(Error(kNotInPrerequisiteState, "portal \"" + name + "\" cannot be run"));
    }
    return ExecutePortal(portal, message.max_rows);
}

Status WireConnection::ExecutePortal(Portal& portal, uint32_t max_rows) {
    const std::vector<std::string>& columns = portal.statement->columns();
    std::string* out = &stream_.output();
    std::string tag;
    if (!portal.executed) {
        portal.executed = true;
        ran_command_ = true;
        Session session(stream_, columns.size());
        Status status = portal.statement->Execute(session);
        if (session.terminated()) {
            closing_ = true;
            return Status::Ok();
        }
        if (stream_.broken()) {
            return status.ok() ? Status::Unavailable("client is gone") : status;
        }
        if (!status.ok()) {
            if (session.fatal_sqlstate() != nullptr && !stream_.stopping()) {
                return Fatal(session.fatal_sqlstate(), status);
            }
            if (session.mode() != Session::Mode::kCopyBoth || stream_.stopping()) {
                return ReportError(status);
            }
            return Fatal(
                session.protocol_violation() ? kProtocolViolation : SqlState(status.code()),
                status);
        }
        if (session.mode() != Session::Mode::kRows) {
            AppendEmptyMessage(EmptyMessage::kCopyDone, out);
            if (session.mode() == Session::Mode::kCopyBoth) {
                // The stream is over when both sides have said so.
                std::span<const std::byte> ignored;
                while (!session.client_done()) {
                    Result<WireSession::CopyInput> input = session.ReceiveCopyData(true, &ignored);
                    if (!input.ok()) {
                        if (session.terminated()) {
                            closing_ = true;
                            return Status::Ok();
                        }
                        return input.status();
                    }
                }
            }
            AppendCommandComplete(session.tag().empty() ? "COPY" : session.tag(), out);
            return stream_.MaybeFlush();
        }
        portal.rows = session.TakeRows();
        tag = session.tag();
        if (!in_extended_ && !columns.empty()) {
            AppendRowDescription(columns, portal.formats, out);
        }
    }
    uint32_t sent = 0;
    while (portal.next_row < portal.rows.size()) {
        if (max_rows > 0 && sent == max_rows) {
            AppendEmptyMessage(EmptyMessage::kPortalSuspended, out);
            return stream_.MaybeFlush();
        }
        AppendDataRow(portal.rows[portal.next_row++], out);
        sent++;
        ZENITH_RETURN_IF_ERROR(stream_.MaybeFlush());
    }
    if (tag.empty()) {
        tag = columns.empty() ? "OK" : "SELECT " + std::to_string(sent);
    }
    AppendCommandComplete(tag, out);
    return stream_.MaybeFlush();
}

}  // namespace zenith

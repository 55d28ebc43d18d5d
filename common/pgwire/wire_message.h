// wire_message: the messages of PostgreSQL's protocol 3.0 as bytes and back, seen from the server.
//
// Parsing takes bytes of an untrusted peer: every length is checked, bytes after a message's last
// field are an error, nothing is allocated by a number the peer sent. Parsed views point into the
// payload. Errors are kInvalidArgument in the words PostgreSQL's own protocol errors use.
// Source of the formats: "Message Formats" of the PostgreSQL documentation, pqcomm.h, postgres.c.
// Functions keep no state.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <variant>
#include <vector>

#include "common/base/result.h"
#include "common/base/status.h"

namespace zenith {

// ---- limits -----------------------------------------------------------------------------------
inline constexpr size_t kMaxStartupPacket = 10000;  // MAX_STARTUP_PACKET_LENGTH of pqcomm.h
inline constexpr size_t kMaxCommandMessage = 64 * 1024;
inline constexpr size_t kMaxCopyMessage = 1024 * 1024;

// ---- from the client --------------------------------------------------------------------------
struct StartupPacket {
    enum class Kind { kStartup, kSslRequest, kGssEncRequest, kCancelRequest };
    Kind kind = Kind::kStartup;
    uint16_t major = 0;
    uint16_t minor = 0;
    std::vector<std::pair<std::string, std::string>> parameters;  // in the order sent

    // The last value of a parameter; empty when it was not sent.
    std::string_view Parameter(std::string_view name) const;
};

// `packet` is what follows the length word of the first packet of a connection.
Result<StartupPacket> ParseStartupPacket(std::span<const std::byte> packet);

struct QueryMessage {
    std::string_view query;
};
struct ParseMessage {
    std::string_view statement;
    std::string_view query;
    uint16_t parameter_types = 0;  // how many types were given
};
struct BindMessage {
    std::string_view portal;
    std::string_view statement;
    uint16_t parameters = 0;               // how many values were given
    std::vector<uint16_t> result_formats;  // 0 text, 1 binary; none, one for all, or one each
};
// Describe and Close: of a statement or a portal.
struct TargetMessage {
    bool close = false;
    bool portal = false;
    std::string_view name;
};
struct ExecuteMessage {
    std::string_view portal;
    uint32_t max_rows = 0;  // 0: all
};
struct CopyDataMessage {
    std::span<const std::byte> data;
};
struct CopyFailMessage {
    std::string_view reason;
};
// Messages without fields, or whose fields nobody reads.
struct PlainMessage {
    enum class Kind { kSync, kFlush, kTerminate, kCopyDone, kFunctionCall, kPassword };
    Kind kind;
};
using FrontendMessage =
    std::variant<QueryMessage, ParseMessage, BindMessage, TargetMessage, ExecuteMessage,
                 CopyDataMessage, CopyFailMessage, PlainMessage>;

// Longest payload accepted for a message type; nullopt for a type that does not exist.
std::optional<size_t> MaxFrontendPayload(char type);
Result<FrontendMessage> ParseFrontendMessage(char type, std::span<const std::byte> payload);

// ---- to the client ----------------------------------------------------------------------------
// Each appends one whole message to *out. Texts end at a zero byte.

struct WireError {
    const char* severity = "ERROR";  // "ERROR" or "FATAL"
    std::string sqlstate;            // five characters
    std::string message;
    std::string hint;  // may be empty
};

using WireRow = std::vector<std::optional<std::string>>;

void AppendAuthenticationOk(std::string* out);
void AppendParameterStatus(std::string_view name, std::string_view value, std::string* out);
void AppendBackendKeyData(uint32_t process_id, uint32_t secret, std::string* out);
// The server speaks 3.0 only: names the options of the startup packet it did not know.
void AppendNegotiateProtocolVersion(std::span<const std::string> unknown_options, std::string* out);
// Always outside of a transaction ('I').
void AppendReadyForQuery(std::string* out);
void AppendErrorResponse(const WireError& error, std::string* out);
void AppendCommandComplete(std::string_view tag, std::string* out);
// Columns of type text. Formats: none, one for all, or one each; the binary form of text is the
// text.
void AppendRowDescription(std::span<const std::string> columns, std::span<const uint16_t> formats,
                          std::string* out);
void AppendDataRow(const WireRow& row, std::string* out);
void AppendParameterDescription(std::string* out);  // no parameters
void AppendCopyOutResponse(std::string* out);
void AppendCopyBothResponse(std::string* out);
void AppendCopyData(std::span<const std::byte> data, std::string* out);

// Messages that are their type alone.
enum class EmptyMessage : char {
    kParseComplete = '1',
    kBindComplete = '2',
    kCloseComplete = '3',
    kNoData = 'n',
    kPortalSuspended = 's',
    kEmptyQueryResponse = 'I',
    kCopyDone = 'c',
};
void AppendEmptyMessage(EmptyMessage message, std::string* out);

}  // namespace zenith

#include "common/pqclient/pq_errors.h"

#include <libpq-fe.h>

#include <algorithm>
#include <string>
#include <utility>

namespace zenith {

namespace {

std::string_view Trim(std::string_view text) {
    const char* space = " \t\r\n";
    size_t begin = text.find_first_not_of(space);
    if (begin == std::string_view::npos) {
        return {};
    }
    return text.substr(begin, text.find_last_not_of(space) - begin + 1);
}

}  // namespace

StatusCode StatusCodeOfSqlState(std::string_view sqlstate) {
    struct Mapping {
        const char* prefix;
        StatusCode code;
    };
    // The first match counts: exact codes before classes. Names: utils/errcodes.txt.
    static constexpr Mapping kMappings[] = {
        {"42704", StatusCode::kNotFound},       // undefined_object
        {"42P01", StatusCode::kNotFound},       // undefined_table
        {"3D000", StatusCode::kNotFound},       // invalid_catalog_name
        {"3F000", StatusCode::kNotFound},       // invalid_schema_name
        {"42710", StatusCode::kAlreadyExists},  // duplicate_object
        {"42P04", StatusCode::kAlreadyExists},  // duplicate_database
        {"42P06", StatusCode::kAlreadyExists},  // duplicate_schema
        {"42P07", StatusCode::kAlreadyExists},  // duplicate_table
        {"58P01", StatusCode::kNotFound},       // undefined_file
        {"58P02", StatusCode::kAlreadyExists},  // duplicate_file
        {"53300", StatusCode::kUnavailable},    // too_many_connections
        {"57P01", StatusCode::kUnavailable},    // admin_shutdown
        {"57P02", StatusCode::kUnavailable},    // crash_shutdown
        {"57P03", StatusCode::kUnavailable},    // cannot_connect_now
        {"XX001", StatusCode::kCorruption},     // data_corrupted
        {"XX002", StatusCode::kCorruption},     // index_corrupted
        {"08", StatusCode::kUnavailable},       // connection_exception
        {"22", StatusCode::kInvalidArgument},   // data_exception
        {"42", StatusCode::kInvalidArgument},   // syntax_error_or_access_rule_violation
        {"0A", StatusCode::kInvalidArgument},   // feature_not_supported
        {"53", StatusCode::kIoError},           // insufficient_resources
        {"55", StatusCode::kRefused},           // object_not_in_prerequisite_state
        {"58", StatusCode::kIoError},           // system_error
    };
    for (const Mapping& mapping : kMappings) {
        if (sqlstate.starts_with(mapping.prefix)) {
            return mapping.code;
        }
    }
    return StatusCode::kInternal;
}

Status ConnectionStatus(const char* error_message) {
    std::string message;
    std::string hint;
    std::string_view rest = error_message == nullptr ? "" : error_message;
    while (!rest.empty()) {
        size_t end = std::min(rest.find('\n'), rest.size());
        std::string_view line = Trim(rest.substr(0, end));
        rest.remove_prefix(std::min(end + 1, rest.size()));
        if (line.empty()) {
            continue;
        }
        if (line.starts_with("HINT:")) {
            line = Trim(line.substr(5));
            hint += hint.empty() ? "" : " ";
            hint += line;
        } else if (line.starts_with("DETAIL:")) {
            message += " (" + std::string(Trim(line.substr(7))) + ")";
        } else if (line.starts_with("This probably means the server terminated") ||
                   line.starts_with("before or while processing the request") ||
                   line == "invalid socket") {
            continue;
        } else if (line.starts_with("Is the server running")) {
            hint += hint.empty() ? "" : " ";
            hint += line;
        } else {
            message += message.empty() ? "" : "; ";
            message += line;
        }
    }
    if (message.empty()) {
        message = "connection failed";
    }
    return Status::Unavailable(std::move(message), std::move(hint));
}

Status ResultStatus(const PGresult* result) {
    auto field = [result](int code) -> std::string {
        const char* text = PQresultErrorField(result, code);
        return text == nullptr ? "" : text;
    };
    std::string sqlstate = field(PG_DIAG_SQLSTATE);
    std::string message = field(PG_DIAG_MESSAGE_PRIMARY);
    if (message.empty() || sqlstate.empty()) {
        // Made by libpq itself: the connection broke or the protocol was violated.
        return ConnectionStatus(PQresultErrorMessage(result));
    }
    std::string detail = field(PG_DIAG_MESSAGE_DETAIL);
    if (!detail.empty()) {
        message += " (" + detail + ")";
    }
    return Status(StatusCodeOfSqlState(sqlstate), std::move(message), field(PG_DIAG_MESSAGE_HINT));
}

}  // namespace zenith

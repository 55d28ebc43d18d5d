#include "common/pgwire/wire_message.h"

#include "common/base/byte_reader.h"

namespace zenith {

namespace {

// Request codes in place of a protocol version, libpq/pqcomm.h.
constexpr uint32_t kCancelRequestCode = (1234u << 16) | 5678;
constexpr uint32_t kSslRequestCode = (1234u << 16) | 5679;
constexpr uint32_t kGssEncRequestCode = (1234u << 16) | 5680;

constexpr uint32_t kTextOid = 25;  // catalog/pg_type.dat

Status Malformed(const char* what) {
    return Status::InvalidArgument("invalid " + std::string(what) + " message");
}

// Appends one message: the length is filled in when the object goes.
class MessageWriter {
  public:
    MessageWriter(char type, std::string* out) : out_(*out) {
        out_.push_back(type);
        length_at_ = out_.size();
        U32(0);
    }
    MessageWriter(const MessageWriter&) = delete;
    MessageWriter& operator=(const MessageWriter&) = delete;
    ~MessageWriter() {
        uint32_t length = static_cast<uint32_t>(out_.size() - length_at_);
        for (int i = 0; i < 4; i++) {
            out_[length_at_ + static_cast<size_t>(i)] = static_cast<char>(length >> (24 - 8 * i));
        }
    }

    void U8(uint8_t v) { out_.push_back(static_cast<char>(v)); }
    void U16(uint16_t v) {
        U8(static_cast<uint8_t>(v >> 8));
        U8(static_cast<uint8_t>(v));
    }
    void U32(uint32_t v) {
        U16(static_cast<uint16_t>(v >> 16));
        U16(static_cast<uint16_t>(v));
    }
    void Text(std::string_view text) { out_.append(text); }
    void CString(std::string_view text) {
        out_.append(text.substr(0, text.find('\0')));
        out_.push_back('\0');
    }

  private:
    std::string& out_;
    size_t length_at_;
};

Result<FrontendMessage> Finish(const ByteReader& reader, const char* what,
                               FrontendMessage message) {
    if (!reader.ok() || reader.remaining() != 0) {
        return Malformed(what);
    }
    return message;
}

Result<FrontendMessage> ParseBind(ByteReader reader) {
    BindMessage bind;
    bind.portal = reader.CString();
    bind.statement = reader.CString();
    uint16_t formats = reader.U16Be();
    reader.Skip(size_t{2} * formats);
    bind.parameters = reader.U16Be();
    for (uint16_t i = 0; i < bind.parameters && reader.ok(); i++) {
        uint32_t length = reader.U32Be();
        if (length != UINT32_MAX) {  // -1 is null
            reader.Skip(length);
        }
    }
    uint16_t result_formats = reader.U16Be();
    for (uint16_t i = 0; i < result_formats && reader.ok(); i++) {
        bind.result_formats.push_back(reader.U16Be());
    }
    return Finish(reader, "bind", std::move(bind));
}

}  // namespace

std::string_view StartupPacket::Parameter(std::string_view name) const {
    std::string_view found;
    for (const auto& [key, value] : parameters) {
        if (key == name) {
            found = value;
        }
    }
    return found;
}

Result<StartupPacket> ParseStartupPacket(std::span<const std::byte> bytes) {
    if (bytes.size() > kMaxStartupPacket) {
        return Status::InvalidArgument("invalid length of startup packet");
    }
    ByteReader reader(bytes);
    uint32_t code = reader.U32Be();
    if (!reader.ok()) {
        return Status::InvalidArgument("invalid length of startup packet");
    }
    StartupPacket packet;
    if (code == kCancelRequestCode) {
        packet.kind = StartupPacket::Kind::kCancelRequest;
        return packet;
    }
    if (code == kSslRequestCode || code == kGssEncRequestCode) {
        if (reader.remaining() != 0) {
            return Status::InvalidArgument("invalid length of startup packet");
        }
        packet.kind = code == kSslRequestCode ? StartupPacket::Kind::kSslRequest
                                              : StartupPacket::Kind::kGssEncRequest;
        return packet;
    }
    packet.major = static_cast<uint16_t>(code >> 16);
    packet.minor = static_cast<uint16_t>(code);
    if (packet.major != 3) {
        // What follows may have another layout; the caller refuses the version.
        return packet;
    }
    for (;;) {
        std::string_view name = reader.CString();
        if (!reader.ok()) {
            break;
        }
        if (name.empty()) {
            if (reader.remaining() != 0) {
                break;
            }
            return packet;
        }
        std::string_view value = reader.CString();
        if (!reader.ok()) {
            break;
        }
        packet.parameters.emplace_back(name, value);
    }
    return Status::InvalidArgument(
        "invalid startup packet layout: expected terminator as last byte");
}

std::optional<size_t> MaxFrontendPayload(char type) {
    switch (type) {
        case 'Q':
        case 'P':
        case 'B':
        case 'F':
        case 'p':
        case 'D':
        case 'C':
        case 'E':
        case 'f':
            return kMaxCommandMessage;
        case 'S':
        case 'H':
        case 'X':
        case 'c':
            return 0;
        case 'd':
            return kMaxCopyMessage;
        default:
            return std::nullopt;
    }
}

Result<FrontendMessage> ParseFrontendMessage(char type, std::span<const std::byte> payload) {
    ByteReader reader(payload);
    using Kind = PlainMessage::Kind;
    switch (type) {
        case 'Q': {
            QueryMessage query{reader.CString()};
            return Finish(reader, "query", query);
        }
        case 'P': {
            ParseMessage parse;
            parse.statement = reader.CString();
            parse.query = reader.CString();
            parse.parameter_types = reader.U16Be();
            reader.Skip(size_t{4} * parse.parameter_types);
            return Finish(reader, "parse", parse);
        }
        case 'B':
            return ParseBind(reader);
        case 'D':
        case 'C': {
            TargetMessage target;
            target.close = type == 'C';
            uint8_t kind = reader.U8();
            if (kind != 'S' && kind != 'P') {
                return Malformed(target.close ? "close" : "describe");
            }
            target.portal = kind == 'P';
            target.name = reader.CString();
            return Finish(reader, target.close ? "close" : "describe", target);
        }
        case 'E': {
            ExecuteMessage execute;
            execute.portal = reader.CString();
            uint32_t max_rows = reader.U32Be();
            // A signed number; zero and below mean no limit.
            execute.max_rows = max_rows > INT32_MAX ? 0 : max_rows;
            return Finish(reader, "execute", execute);
        }
        case 'd':
            return FrontendMessage(CopyDataMessage{payload});
        case 'f': {
            CopyFailMessage fail{reader.CString()};
            return Finish(reader, "copy fail", fail);
        }
        case 'S':
            return Finish(reader, "sync", PlainMessage{Kind::kSync});
        case 'H':
            return Finish(reader, "flush", PlainMessage{Kind::kFlush});
        case 'X':
            return Finish(reader, "terminate", PlainMessage{Kind::kTerminate});
        case 'c':
            return Finish(reader, "copy done", PlainMessage{Kind::kCopyDone});
        case 'F':
            return FrontendMessage(PlainMessage{Kind::kFunctionCall});
        case 'p':
            return FrontendMessage(PlainMessage{Kind::kPassword});
        default:
            return Status::InvalidArgument("invalid frontend message type " +
                                           std::to_string(static_cast<unsigned char>(type)));
    }
}

void AppendAuthenticationOk(std::string* out) {
    MessageWriter writer('R', out);
    writer.U32(0);
}

void AppendParameterStatus(std::string_view name, std::string_view value, std::string* out) {
    MessageWriter writer('S', out);
    writer.CString(name);
    writer.CString(value);
}

void AppendBackendKeyData(uint32_t process_id, uint32_t secret, std::string* out) {
    MessageWriter writer('K', out);
    writer.U32(process_id);
    writer.U32(secret);
}

void AppendNegotiateProtocolVersion(std::span<const std::string> unknown_options,
                                    std::string* out) {
    MessageWriter writer('v', out);
    writer.U32(3u << 16);  // the version as PostgreSQL 15 sends it: the whole number, 3.0
    writer.U32(static_cast<uint32_t>(unknown_options.size()));
    for (const std::string& option : unknown_options) {
        writer.CString(option);
    }
}

void AppendReadyForQuery(std::string* out) {
    MessageWriter writer('Z', out);
    writer.U8('I');
}

void AppendErrorResponse(const WireError& error, std::string* out) {
    MessageWriter writer('E', out);
    auto field = [&writer](char code, std::string_view text) {
        writer.U8(static_cast<uint8_t>(code));
        writer.CString(text);
    };
    field('S', error.severity);
    field('V', error.severity);
    field('C', error.sqlstate);
    field('M', error.message);
    if (!error.hint.empty()) {
        field('H', error.hint);
    }
    writer.U8(0);
}

void AppendCommandComplete(std::string_view tag, std::string* out) {
    MessageWriter writer('C', out);
    writer.CString(tag);
}

void AppendRowDescription(std::span<const std::string> columns, std::span<const uint16_t> formats,
                          std::string* out) {
    MessageWriter writer('T', out);
    writer.U16(static_cast<uint16_t>(columns.size()));
    for (size_t i = 0; i < columns.size(); i++) {
        writer.CString(columns[i]);
        writer.U32(0);  // no table
        writer.U16(0);  // no column of a table
        writer.U32(kTextOid);
        writer.U16(0xFFFF);      // typlen -1: variable
        writer.U32(0xFFFFFFFF);  // no type modifier
        uint16_t format = 0;
        if (formats.size() == 1) {
            format = formats[0];
        } else if (i < formats.size()) {
            format = formats[i];
        }
        writer.U16(format);
    }
}

void AppendDataRow(const WireRow& row, std::string* out) {
    MessageWriter writer('D', out);
    writer.U16(static_cast<uint16_t>(row.size()));
    for (const std::optional<std::string>& value : row) {
        if (!value) {
            writer.U32(UINT32_MAX);
            continue;
        }
        writer.U32(static_cast<uint32_t>(value->size()));
        writer.Text(*value);
    }
}

void AppendParameterDescription(std::string* out) {
    MessageWriter writer('t', out);
    writer.U16(0);
}

void AppendCopyOutResponse(std::string* out) {
    MessageWriter writer('H', out);
    writer.U8(0);
    writer.U16(0);
}

void AppendCopyBothResponse(std::string* out) {
    MessageWriter writer('W', out);
    writer.U8(0);
    writer.U16(0);
}

void AppendCopyData(std::span<const std::byte> data, std::string* out) {
    MessageWriter writer('d', out);
    writer.Text({reinterpret_cast<const char*>(data.data()), data.size()});
}

void AppendEmptyMessage(EmptyMessage message, std::string* out) {
    MessageWriter writer(static_cast<char>(message), out);
}

}  // namespace zenith

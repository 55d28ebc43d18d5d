#include "pageserver/redo/redo_protocol.h"

#include "common/base/byte_reader.h"

namespace zenith {

namespace {

// zenith_redo.c: REDO_HAS_BASE, REDO_STATUS_PAGE, REDO_STATUS_ERROR
constexpr uint32_t kHasBase = 1;
constexpr uint32_t kStatusPage = 0;
constexpr uint32_t kStatusError = 1;

constexpr size_t kRequestHeaderSize = 8 + 6 * 4;
constexpr size_t kRecordHeaderSize = 8 + 8 + 4;
constexpr size_t kResponseHeaderSize = 8 + 4;

template <typename T>
void Append(std::string* out, T value) {
    out->append(reinterpret_cast<const char*>(&value), sizeof value);
}

}  // namespace

Result<RedoGreeting> DecodeRedoGreeting(std::span<const std::byte> bytes) {
    ByteReader reader(bytes);
    uint32_t magic = reader.U32Le();
    uint32_t version = reader.U32Le();
    RedoGreeting greeting;
    greeting.server_version = reader.U32Le();
    if (!reader.ok() || magic != kRedoMagic) {
        return Status::Corruption("redo process did not greet as one");
    }
    if (version != kRedoProtocolVersion) {
        return Status::Refused("redo process speaks protocol version " + std::to_string(version) +
                                   ", not " + std::to_string(kRedoProtocolVersion),
                               "Install the extension and the page server from the same build.");
    }
    return greeting;
}

size_t RedoRequestSize(const RedoRequest& request) {
    size_t size = kRequestHeaderSize + 4;
    if (request.base.has_value()) {
        size += kPageSize;
    }
    for (const RedoRecord& record : request.records) {
        size += kRecordHeaderSize + record.bytes.size();
    }
    return size;
}

void EncodeRedoRequest(uint64_t id, const RedoRequest& request, std::string* out) {
    size_t size = RedoRequestSize(request);
    out->reserve(out->size() + 4 + size);
    Append<uint32_t>(out, static_cast<uint32_t>(size));
    Append<uint64_t>(out, id);
    Append<uint32_t>(out, request.key.node.spc);
    Append<uint32_t>(out, request.key.node.db);
    Append<uint32_t>(out, request.key.node.rel);
    Append<uint32_t>(out, static_cast<uint32_t>(request.key.fork));
    Append<uint32_t>(out, request.key.block);
    Append<uint32_t>(out, request.base.has_value() ? kHasBase : 0);
    if (request.base.has_value()) {
        out->append(reinterpret_cast<const char*>(request.base->data()), kPageSize);
    }
    Append<uint32_t>(out, static_cast<uint32_t>(request.records.size()));
    for (const RedoRecord& record : request.records) {
        Append<uint64_t>(out, record.start.value);
        Append<uint64_t>(out, record.end.value);
        Append<uint32_t>(out, static_cast<uint32_t>(record.bytes.size()));
        out->append(record.bytes);
    }
}

Result<RedoResponse> DecodeRedoResponse(std::span<const std::byte> bytes, size_t* size) {
    *size = 0;
    if (bytes.size() < 4) {
        return RedoResponse{};
    }
    ByteReader reader(bytes);
    uint32_t length = reader.U32Le();
    if (length < kResponseHeaderSize || length > kMaxRedoResponse) {
        return Status::Corruption("redo process sent a response of invalid length " +
                                  std::to_string(length));
    }
    if (reader.remaining() < length) {
        return RedoResponse{};
    }
    RedoResponse response;
    response.id = reader.U64Le();
    uint32_t status = reader.U32Le();
    response.failed = status == kStatusError;
    response.body = reader.Bytes(length - kResponseHeaderSize);
    if (status != kStatusError && (status != kStatusPage || response.body.size() != kPageSize)) {
        return Status::Corruption("redo process sent a response of unknown kind " +
                                  std::to_string(status));
    }
    *size = 4 + length;
    return response;
}

}  // namespace zenith

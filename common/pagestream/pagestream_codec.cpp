#include "common/pagestream/pagestream_codec.h"

#include <algorithm>
#include <cassert>

#include "common/base/byte_reader.h"
#include "common/base/byte_writer.h"

namespace zenith {

namespace {

constexpr uint8_t kRequestTag = 'G';
constexpr uint8_t kPageTag = 'P';
constexpr uint8_t kFailureTag = 'E';
constexpr size_t kSqlStateLength = 5;
// InvalidBlockNumber of PostgreSQL is 0xFFFFFFFF (storage/block.h).
constexpr uint64_t kMaxBlock = 0xFFFFFFFEu;
// What is left for a failure's texts and their terminating zeroes.
constexpr size_t kMaxFailureText = kMaxPageResponseSize - (1 + 8 + 4 + kSqlStateLength) - 2;

bool IsSqlState(std::string_view text) {
    if (text.size() != kSqlStateLength) {
        return false;
    }
    for (char c : text) {
        if (!((c >= '0' && c <= '9') || (c >= 'A' && c <= 'Z'))) {
            return false;
        }
    }
    return true;
}

std::string_view CutAtZero(std::string_view text, size_t limit) {
    return text.substr(0, std::min(text.find('\0'), limit));
}

std::string_view AsText(std::span<const std::byte> bytes) {
    return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}

Status BadRequest(const std::string& what) {
    return Status::InvalidArgument("invalid page request: " + what);
}

Status BadResponse(const std::string& what) {
    return Status::InvalidArgument("invalid page response: " + what);
}

}  // namespace

void AppendPageRequest(const PageRequest& request, std::string* out) {
    assert(request.count >= 1 && request.count <= kMaxPagesPerRequest);
    ByteWriter writer;
    writer.U8(kRequestTag);
    writer.U8(kPagestreamVersion);
    writer.U64Be(request.request_id);
    writer.U8(static_cast<uint8_t>(request.mode));
    writer.U64Be(request.lsn.value);
    writer.U32Be(request.rel.node.spc);
    writer.U32Be(request.rel.node.db);
    writer.U32Be(request.rel.node.rel);
    writer.U8(static_cast<uint8_t>(request.rel.fork));
    writer.U32Be(request.block);
    writer.U16Be(request.count);
    assert(writer.size() == kPageRequestSize);
    out->append(writer.buffer());
}

Result<PageRequest> DecodePageRequest(std::span<const std::byte> message) {
    ByteReader reader(message);
    if (reader.U8() != kRequestTag || !reader.ok()) {
        return BadRequest("unknown message type");
    }
    // The version comes first so that it can be told apart from a damaged message.
    uint8_t version = reader.U8();
    if (reader.ok() && version != kPagestreamVersion) {
        return Status::InvalidArgument(
            "the client speaks pagestream version " + std::to_string(version) +
                ", this server speaks version " + std::to_string(kPagestreamVersion),
            "Use the zenith extension and the page server of the same release.");
    }
    if (message.size() != kPageRequestSize) {
        return BadRequest("length is " + std::to_string(message.size()) + " bytes instead of " +
                          std::to_string(kPageRequestSize));
    }
    PageRequest request;
    request.request_id = reader.U64Be();
    uint8_t mode = reader.U8();
    request.lsn = Lsn(reader.U64Be());
    request.rel.node.spc = reader.U32Be();
    request.rel.node.db = reader.U32Be();
    request.rel.node.rel = reader.U32Be();
    uint8_t fork = reader.U8();
    request.block = reader.U32Be();
    request.count = reader.U16Be();
    assert(reader.ok() && reader.remaining() == 0);
    if (mode > static_cast<uint8_t>(PageReadMode::kExact)) {
        return BadRequest("unknown mode " + std::to_string(mode));
    }
    request.mode = static_cast<PageReadMode>(mode);
    if (fork >= kForkCount) {
        return BadRequest("unknown fork " + std::to_string(fork));
    }
    request.rel.fork = static_cast<Fork>(fork);
    if (request.count < 1 || request.count > kMaxPagesPerRequest) {
        return BadRequest("count is " + std::to_string(request.count) + ", not in 1.." +
                          std::to_string(kMaxPagesPerRequest));
    }
    if (static_cast<uint64_t>(request.block) + request.count - 1 > kMaxBlock) {
        return BadRequest("blocks reach past the largest block number");
    }
    return request;
}

void AppendPageResponse(const PageResponse& response, std::string* out) {
    ByteWriter writer;
    if (response.kind == PageResponse::Kind::kFailure) {
        std::string_view message = CutAtZero(response.message, kMaxFailureText);
        std::string_view hint = CutAtZero(response.hint, kMaxFailureText - message.size());
        writer.U8(kFailureTag);
        writer.U64Be(response.request_id);
        writer.U32Be(response.block);
        writer.Text(IsSqlState(response.sqlstate) ? response.sqlstate : "XX000");
        writer.CString(message);
        writer.CString(hint);
        out->append(writer.buffer());
        return;
    }
    writer.U8(kPageTag);
    writer.U64Be(response.request_id);
    writer.U32Be(response.block);
    bool present = response.kind == PageResponse::Kind::kPage;
    writer.U8(present ? 1 : 0);
    out->append(writer.buffer());
    if (present) {
        assert(response.page.size() == kPageSize);
        out->append(AsText(response.page));
    }
}

void AppendPageFailure(uint64_t request_id, BlockNumber block, const Status& status,
                       std::string* out) {
    PageResponse response;
    response.request_id = request_id;
    response.block = block;
    response.kind = PageResponse::Kind::kFailure;
    response.sqlstate = SqlState(status.code());
    response.message = status.message();
    response.hint = status.hint();
    AppendPageResponse(response, out);
}

Result<PageResponse> DecodePageResponse(std::span<const std::byte> message) {
    ByteReader reader(message);
    uint8_t tag = reader.U8();
    PageResponse response;
    response.request_id = reader.U64Be();
    response.block = reader.U32Be();
    if (!reader.ok()) {
        return BadResponse("too short");
    }
    if (tag == kPageTag) {
        uint8_t present = reader.U8();
        if (!reader.ok() || present > 1) {
            return BadResponse("bad presence flag");
        }
        response.kind = present ? PageResponse::Kind::kPage : PageResponse::Kind::kMissing;
        if (reader.remaining() != (present ? kPageSize : 0)) {
            return BadResponse("page of " + std::to_string(reader.remaining()) + " bytes");
        }
        response.page = reader.Bytes(reader.remaining());
        return response;
    }
    if (tag == kFailureTag) {
        response.kind = PageResponse::Kind::kFailure;
        response.sqlstate = AsText(reader.Bytes(kSqlStateLength));
        response.message = reader.CString();
        response.hint = reader.CString();
        if (!reader.ok() || reader.remaining() != 0 || message.size() > kMaxPageResponseSize) {
            return BadResponse("bad failure");
        }
        if (!IsSqlState(response.sqlstate)) {
            return BadResponse("bad sqlstate");
        }
        return response;
    }
    return BadResponse("unknown message type");
}

}  // namespace zenith

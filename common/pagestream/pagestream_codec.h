// pagestream_codec: page requests and responses as bytes and back, by the grammar of README.md.
//
// One encoded message is the payload of one CopyData message. Decoding takes bytes of an untrusted
// peer: every length and every value is checked, bytes after the message are an error, nothing is
// allocated by a number the peer sent. Usable in the server and, with -fPIC, in the extension: only
// common/base and header-only parts of common/pgformat below it. Functions keep no state.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>

#include "common/base/result.h"
#include "common/base/status.h"
#include "common/pagestream/page_request.h"
#include "common/pagestream/page_response.h"

namespace zenith {

// Every request has this length.
inline constexpr size_t kPageRequestSize = 38;
// An encoded response is never longer: a page, or a failure with its texts cut to fit.
inline constexpr size_t kMaxPageResponseSize = 1 + 8 + 4 + 1 + kPageSize;

// Appends the encoded request. Requires: 1 <= count <= kMaxPagesPerRequest.
void AppendPageRequest(const PageRequest& request, std::string* out);

// kInvalidArgument: another version (the message names both), or a request that breaks the grammar.
Result<PageRequest> DecodePageRequest(std::span<const std::byte> message);

// Appends the encoded response. Requires: `page` of kPageSize bytes for kPage. A sqlstate that is
// not five letters or digits is sent as XX000; texts end at a zero byte and are cut so that the
// whole stays within kMaxPageResponseSize.
void AppendPageResponse(const PageResponse& response, std::string* out);

// Appends the failure `status` for one block. Requires: !status.ok().
void AppendPageFailure(uint64_t request_id, BlockNumber block, const Status& status,
                       std::string* out);

// The response's spans point into `message`. kInvalidArgument when it breaks the grammar.
Result<PageResponse> DecodePageResponse(std::span<const std::byte> message);

}  // namespace zenith

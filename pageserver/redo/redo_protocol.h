// The bytes between the page server and a redo process. README.md has the grammar; the other side
// is contrib/zenith/zenith_redo.c.
//
// Version  kRedoProtocolVersion covers greeting, request and response. Raise it with any change of
//          them; a process that greets with another one is refused when it starts.
// Threads  pure functions.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>

#include "common/base/result.h"
#include "pageserver/reconstruct/redo_applier.h"

namespace zenith {

inline constexpr uint32_t kRedoMagic = 0x4F44525A;  // "ZRDO"
inline constexpr uint32_t kRedoProtocolVersion = 1;
inline constexpr size_t kRedoGreetingSize = 12;
// Longest request without its length field.
inline constexpr size_t kMaxRedoRequest = 64 * 1024 * 1024;
// Longest response without its length field: id, status and a page, the longest body.
inline constexpr size_t kMaxRedoResponse = 12 + kPageSize;

struct RedoGreeting {
    uint32_t server_version = 0;  // server_version_num, 150020
};
// kCorruption: not a greeting. kRefused: another protocol version.
Result<RedoGreeting> DecodeRedoGreeting(std::span<const std::byte> bytes);

// Bytes the request takes, without its length field.
size_t RedoRequestSize(const RedoRequest& request);
// Appends the request. Requires: RedoRequestSize() <= kMaxRedoRequest.
void EncodeRedoRequest(uint64_t id, const RedoRequest& request, std::string* out);

struct RedoResponse {
    uint64_t id = 0;
    bool failed = false;
    std::span<const std::byte> body;  // a page, or the text of the error
};
// Takes the response at the start of `bytes`, whose length goes to *size. *size is 0, and the
// response empty, when the bytes are not all there yet. kCorruption: not a response.
Result<RedoResponse> DecodeRedoResponse(std::span<const std::byte> bytes, size_t* size);

}  // namespace zenith

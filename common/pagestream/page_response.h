// PageResponse: the answer for one block of a PageRequest. Grammar: README.md of this folder.
//
// A view: `page`, `sqlstate`, `message` and `hint` point into the message it was decoded from, or
// to what the sender keeps alive until it is encoded.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>

#include "common/pgformat/page_format.h"
#include "common/pgformat/relation_key.h"

namespace zenith {

struct PageResponse {
    enum class Kind : uint8_t {
        kPage,     // `page` holds kPageSize bytes
        kMissing,  // the page does not exist in the history; it reads as zeroes
        kFailure,  // this block could not be read: `sqlstate`, `message`, `hint`
    };

    uint64_t request_id = 0;
    BlockNumber block = 0;
    Kind kind = Kind::kMissing;
    std::span<const std::byte> page;  // kPage only: exactly kPageSize bytes
    std::string_view sqlstate;        // kFailure only: exactly five characters
    std::string_view message;         // kFailure only
    std::string_view hint;            // kFailure only; may be empty
};

}  // namespace zenith

// PageRequest: one question of a compute to the page server. Grammar: README.md of this folder.
#pragma once

#include <cstdint>

#include "common/base/lsn.h"
#include "common/pgformat/relation_key.h"

namespace zenith {

// Raise when the layout or the meaning of a request or a response changes. A server answers an
// unknown version with an error that names both and closes the connection.
inline constexpr uint8_t kPagestreamVersion = 1;

inline constexpr uint16_t kMaxPagesPerRequest = 256;

// Values are sent on the wire: do not renumber.
enum class PageReadMode : uint8_t {
    kLatest = 0,  // the newest version; the server must have ingested at least up to `lsn`
    kExact = 1,   // the version as of `lsn`
};

struct PageRequest {
    uint64_t request_id = 0;  // chosen by the client, repeated in every response
    PageReadMode mode = PageReadMode::kLatest;
    Lsn lsn;
    RelForkKey rel;
    BlockNumber block = 0;
    uint16_t count = 1;  // blocks block, block + 1, ...: 1..kMaxPagesPerRequest

    auto operator<=>(const PageRequest&) const = default;
};

}  // namespace zenith

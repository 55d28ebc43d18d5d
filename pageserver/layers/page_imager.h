// PageImager: pages as they were, for layers that replace long histories by an image. The layers
// cannot rebuild a page themselves (that takes redo); whoever opens a timeline lends them someone
// who can.
//
// Thread rule: Images() from any thread. It reads the timeline like any other reader.
#pragma once

#include <optional>
#include <span>
#include <vector>

#include "common/base/lsn.h"
#include "common/base/result.h"
#include "common/pgformat/page_format.h"
#include "common/pgformat/relation_key.h"

namespace zenith {

class Timeline;

class PageImager {
  public:
    struct Wanted {
        PageKey key;
        Lsn at;  // the version as of this LSN
    };

    virtual ~PageImager() = default;

    // One result for each of `wanted`, in order; nullopt for a page that does not exist there.
    virtual std::vector<Result<std::optional<PageBuffer>>> Images(
        Timeline& timeline, std::span<const Wanted> wanted) = 0;
};

}  // namespace zenith

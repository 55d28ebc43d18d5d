// What `layer list` and `layer dump` print: the layer files of a timeline, and what is in one of
// them, without a page server. Damage is an error; what was printed before it is true.
//
// Threads  one thread. Reads only. Memory: a block of a file.
#pragma once

#include <functional>
#include <optional>
#include <string>

#include "common/base/result.h"
#include "common/pgformat/relation_key.h"
#include "common/repo/repository.h"

namespace zenith {

// Takes a line without its end.
using PrintLine = std::function<void(const std::string&)>;

// `of`: a branch, a tag, a timeline id; empty: all timelines.
Status ListLayers(const Repository& repository, const std::string& of, bool json,
                  const PrintLine& print);

struct DumpOptions {
    std::string file;                    // a path, or a name in one of the timelines' layers/
    std::optional<TimelineId> timeline;  // whose file it is; else the path says
    std::optional<RelForkKey> relation;  // only what is about it (all its forks: any_fork)
    bool any_fork = true;
    std::optional<BlockNumber> block;    // only about this block
    bool json = false;
};

// "1663/5/16384", or "1663/5/16384_vm" for one fork; into relation and any_fork.
Status ParseRelation(const std::string& text, DumpOptions* options);

Status DumpLayer(const Repository& repository, const DumpOptions& options, const PrintLine& print);

}  // namespace zenith

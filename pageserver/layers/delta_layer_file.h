// DeltaLayerFile: a flushed stretch of a timeline's history in one immutable file, asked like any
// layer. Format: layer_file_format.md.
//
// Memory   the index (about 60 bytes for each 8 kB of the file) and what happened to databases;
//          everything else is read, and verified, when it is asked for.
// Threads  reading from any thread, no locks. Errors: kCorruption names file, offset, timeline and
//          LSNs; kRefused for a file of an unknown version.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "common/base/ids.h"
#include "common/base/lsn.h"
#include "common/base/result.h"
#include "pageserver/layers/layer.h"

namespace zenith {

class InMemoryLayer;

class DeltaLayerFile : public Layer {
  public:
    // `wal` holds the records the file refers to; it outlives the layer and is only passed on.
    static Result<std::shared_ptr<const DeltaLayerFile>> Open(const std::string& path,
                                                              const TimelineId& timeline,
                                                              const WalStorage* wal);

    virtual Lsn start() const = 0;
    virtual Lsn end() const = 0;
    virtual size_t memory_bytes() const = 0;
    virtual uint64_t file_bytes() const = 0;
    // Reads every byte: kCorruption for the first damage found.
    virtual Status Verify() const = 0;
};

// "<start>-<end>.delta".
std::string DeltaLayerFileName(Lsn start, Lsn end);

// Writes `layer`, which has what happened to `timeline` after `start` and up to `end`, to `path`:
// complete and durable, or not at all. Requires: nobody writes to `layer`.
Status WriteDeltaLayerFile(const InMemoryLayer& layer, const TimelineId& timeline, Lsn start,
                           Lsn end, const std::string& path);

// The layer files of a timeline that begins at `timeline_start`, oldest first. Removes what a crash
// left in `directory`, which need not exist. kCorruption when the layers overlap or leave a gap.
Result<std::vector<std::shared_ptr<const DeltaLayerFile>>> OpenDeltaLayers(
    const std::string& directory, const TimelineId& timeline, Lsn timeline_start,
    const WalStorage* wal);

}  // namespace zenith

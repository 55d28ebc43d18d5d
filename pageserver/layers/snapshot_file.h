// SnapshotFile: the initial state of a root timeline in one immutable file: every relation page,
// SLRU page and small file of a cluster that was cleanly shut down, with a checksum per block.
// Format: snapshot_file_format.md.
//
// Threads  reading from any thread. Errors: kCorruption names file, offset and key.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "common/base/result.h"
#include "common/pgformat/page_format.h"
#include "common/pgformat/relation_key.h"
#include "pageserver/layers/timeline.h"
#include "pageserver/layers/timeline_layers.h"

namespace zenith {

class SnapshotFile {
  public:
    static Result<std::unique_ptr<SnapshotFile>> Open(const std::string& path);
    virtual ~SnapshotFile() = default;

    virtual Lsn lsn() const = 0;
    virtual uint64_t system_identifier() const = 0;
    // nullopt: the page is not in the snapshot (all-zero pages are not stored).
    virtual Result<std::optional<PageBuffer>> ReadPage(const PageKey& key) const = 0;
    virtual std::optional<BlockNumber> RelationSize(const RelForkKey& rel) const = 0;
    virtual const std::vector<RelationEntry>& relations() const = 0;
    virtual std::vector<BlockNumber> SlruPages(SlruKind kind) const = 0;
    virtual const std::vector<DatabaseKey>& databases() const = 0;
    // Blobs as in blob_keys.h, except cluster_state (the caller derives it from
    // file/global/pg_control).
    virtual const std::map<std::string, std::string>& blobs() const = 0;
};

// Writes a snapshot of the cluster in `pgdata` (cleanly shut down) to `path`, complete or not at
// all. `lsn` is where the timeline starts: the end of the shutdown checkpoint record.
Status WriteSnapshotFile(const std::string& pgdata, Lsn lsn, uint64_t system_identifier,
                         const std::string& path);

// A timeline over its files. `snapshot` is given for a root timeline, `parent` (made here, too) for
// a branch.
// Starts out with what is in the layer files; whoever loads it ingests the WAL after
// last_record_end().
std::shared_ptr<Timeline> MakeTimeline(TimelineId id, Lsn start_lsn,
                                       std::shared_ptr<Timeline> parent,
                                       std::unique_ptr<SnapshotFile> snapshot,
                                       std::unique_ptr<WalStorage> wal,
                                       TimelineLayers layers = {});

}  // namespace zenith

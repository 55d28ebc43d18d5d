// ClusterFiles: what a data directory or a base backup holds, in one form to be compared.
//
// Relation forks with their lengths in blocks (all segments of a fork together), and the contents
// of the files that are not relations but come from WAL: SLRU segments, relation maps, PG_VERSION
// of databases, two-phase states, replication origins, pg_control.
#pragma once

#include <cstdint>
#include <map>
#include <string>

#include "common/base/result.h"
#include "common/base/unique_fd.h"
#include "common/pgformat/relation_key.h"
#include "common/pqclient/pq_connection.h"

namespace zenith {

struct ClusterFiles {
    std::map<RelForkKey, BlockNumber> relations;
    std::map<std::string, std::string> files;  // path below the data directory: contents

    // Sorts the file at `path` in: a relation segment of `size` bytes, or one of the files above.
    // kCorruption for a relation file that is not whole blocks or a segment out of place.
    Status Add(const std::string& path, uint64_t size);
    // Whether the contents of `path` belong into `files`.
    static bool IsWanted(const std::string& path);
};

// Of a data directory that nobody writes to meanwhile.
Result<ClusterFiles> ReadDataDirectory(const std::string& data);

// Of the base backup `command` gives, a tar with sparse entries. kCorruption for a broken archive.
Result<ClusterFiles> ReadBaseBackup(PqConnection& server, const std::string& command);

// Pages of a relation fork in a data directory, its segments kept open. One thread.
class RelationFile {
  public:
    RelationFile(std::string data, RelForkKey rel) : data_(std::move(data)), rel_(rel) {}
    // Appends `count` pages from `block` on; what is beyond the end of the file reads as zeroes.
    Status Read(BlockNumber block, uint32_t count, std::string* pages);

  private:
    const std::string data_;
    const RelForkKey rel_;
    std::map<uint32_t, UniqueFd> segments_;
};

}  // namespace zenith

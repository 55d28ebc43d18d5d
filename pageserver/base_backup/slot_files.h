// The logical replication slots of a timeline in a base backup of its tip: their files as the last
// compute sent them (wal_ingest/README.md), and from where on they read WAL (compute_wal.h).
//
// A slot whose WAL is not there any more is put in as one that PostgreSQL has invalidated: reading
// from it is an error that says so, and nothing is left out in silence.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>

#include "common/base/result.h"
#include "pageserver/layers/timeline.h"

namespace zenith {

struct SlotFiles {
    std::map<std::string, std::string> files;  // path in the data directory: contents
    int slots = 0;
    // Where the first WAL that a slot needs begins; nullopt: none needs any.
    std::optional<Lsn> wal_from;
};

Result<SlotFiles> ReadSlotFiles(Timeline& timeline, Lsn at);

}  // namespace zenith

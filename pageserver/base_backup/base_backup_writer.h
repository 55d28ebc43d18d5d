// Base backup: the data directory of a compute node at an LSN, as a tar stream.
//
// Contents  every directory of a data directory, configuration, relation files as sparse entries
//           (right length, no data: the compute fetches blocks when it reads them), real bytes
//           where PostgreSQL reads files itself (SLRUs, relation maps, two-phase state, unlogged
//           relations), then global/pg_control and the WAL segment(s) with a synthesized shutdown
//           checkpoint to start from.
// Source    basebackup.c, pg_control.h, xlog.c, slru.c, twophase.c of PostgreSQL 15; GNU tar's
//           old-GNU sparse format.
// Threads   any; each call works for itself.
#pragma once

#include <cstddef>
#include <optional>
#include <span>

#include "common/base/ids.h"
#include "common/base/lsn.h"
#include "common/base/status.h"
#include "pageserver/reconstruct/page_reconstructor.h"
#include "pageserver/timelines/timeline_manager.h"

namespace zenith {

// Where the tar goes, in order. An error ends the backup and is returned from WriteBaseBackup.
class BaseBackupSink {
  public:
    virtual ~BaseBackupSink() = default;
    virtual Status Write(std::span<const std::byte> data) = 0;
};

// Without `lsn`: a read-write backup at the tip; raises the timeline's term (kRefused while a
// compute lives). With `lsn`: read-only, as of that LSN. Nothing needs undoing after an error.
Status WriteBaseBackup(TimelineManager& manager, PageReconstructor& reconstructor,
                       const TimelineId& id, std::optional<Lsn> lsn, BaseBackupSink& sink);

}  // namespace zenith

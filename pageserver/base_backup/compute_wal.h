// pg_wal of a base backup: the checkpoint that the compute starts from, and real WAL before it.
//
// In: the timeline, and the checkpoint made up at the backup's LSN. Out: segment files in the tar.
// Threads: one at a time.
#pragma once

#include <optional>

#include "common/base/lsn.h"
#include "common/base/status.h"
#include "common/pgformat/control_file.h"
#include "pageserver/base_backup/tar_stream.h"
#include "pageserver/layers/timeline.h"

namespace zenith {

// The segment in which the compute begins has the timeline's WAL up to `at`, since pg_receivewal and
// archive_command take it whole, but for WAL that retention has removed. With `wal_from`, the place
// where the first logical slot reads, all segments from there on are whole, and WAL that is gone is
// an error.
Status WriteComputeWal(Timeline& timeline, Lsn at, const CheckpointWal& checkpoint,
                       std::optional<Lsn> wal_from, TarStream& tar);

}  // namespace zenith

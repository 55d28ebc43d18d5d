// Ingester: says what each WAL record changes and writes that into the timeline's index.
//
// In        whole records in order, from the record assembler.
// Out       calls on Timeline's writing half; ClusterState kept up to date and saved as a blob
//           about every 64 kB of WAL.
// Threads   one thread at a time. Errors: kCorruption for a record that cannot be understood, and
//           kRefused for one that cannot be honoured (a custom resource manager with block
//           references); ingest of that timeline stops there and says so, nothing is skipped. The
//           timeline then ends with the record before: it never shows half a record.
#pragma once

#include <memory>
#include <span>

#include "common/base/result.h"
#include "pageserver/layers/timeline.h"
#include "pageserver/wal_decoder/decoded_record.h"
#include "pageserver/wal_decoder/record_assembler.h"
#include "pageserver/wal_ingest/cluster_state.h"

namespace zenith {

class Ingester {
  public:
    // `timeline` outlives the ingester. `state` is the state at timeline.last_record_end().
    Ingester(Timeline& timeline, ClusterState state);
    ~Ingester();

    // Requires: between timeline.BeginRecords() and CommitRecords(); the caller batches.
    Status IngestRecord(const RecordAssembler::Record& record);

    // Saves the state as of the last record ingested. Requires: as IngestRecord, and that record
    // was the timeline's last.
    void SaveState();

    const ClusterState& state() const;

  private:
    class Impl;
    std::unique_ptr<Impl> impl_;
};

// The exact ClusterState at the newest record boundary at or before `at`: the newest saved blob,
// then the WAL from there on. state.record_end is that boundary. kNotFound when `at` is before the
// start of the retained history (the message names the oldest LSN available).
Result<ClusterState> ClusterStateAt(Timeline& timeline, Lsn at, uint64_t system_identifier);

}  // namespace zenith

// One function for each resource manager that needs more than its block references: what its
// records change beyond them. Ingester picks among them; each is in the file ingest_<name>.cpp.
#pragma once

#include <cstdint>
#include <map>
#include <set>
#include <string>

#include "common/base/lsn.h"
#include "common/base/result.h"
#include "pageserver/layers/timeline.h"
#include "pageserver/wal_decoder/decoded_record.h"
#include "pageserver/wal_ingest/cluster_state.h"
#include "pageserver/wal_ingest/slru_writer.h"

namespace zenith {

// What ingest remembers from record to record, besides the index itself.
struct IngestContext {
    IngestContext(Timeline& t, ClusterState s) : timeline(t), state(s), slru(t) {}

    Timeline& timeline;
    // The state before the record that is being ingested.
    ClusterState state;
    SlruWriter slru;

    // latest_page_number of the areas, as the startup process keeps it: the page of the next id
    // at first, then whatever was zeroed last.
    BlockNumber latest_clog_page = 0;
    BlockNumber latest_offsets_page = 0;
    // multixact.c: the page of the last ZERO_OFF_PAGE record, -1 before the first; and the page
    // that a CREATE_ID record initialized ahead of its ZERO_OFF_PAGE record, or -1.
    int64_t last_initialized_offsets_page = -1;
    int64_t pre_initialized_offsets_page = -1;
    // Progress of each replication origin.
    std::map<uint16_t, Lsn> replication_origins;
    // Keys of the blobs of files that a compute sent: those that count until something changes,
    // and those of this timeline's slots.
    std::set<std::string> stop_files;
    std::set<std::string> slot_files;
};

// Every block reference that redo acts on. A block that redo would leave alone is not referenced.
Status IngestBlockReferences(IngestContext& context, const DecodedRecord& record);

Status IngestXlog(IngestContext& context, const DecodedRecord& record);
Status IngestXact(IngestContext& context, const DecodedRecord& record);
Status IngestSmgr(IngestContext& context, const DecodedRecord& record);
Status IngestClog(IngestContext& context, const DecodedRecord& record);
Status IngestCommitTs(IngestContext& context, const DecodedRecord& record);
Status IngestMultixact(IngestContext& context, const DecodedRecord& record);
Status IngestDbase(IngestContext& context, const DecodedRecord& record);
Status IngestTblspc(IngestContext& context, const DecodedRecord& record);
Status IngestRelmap(IngestContext& context, const DecodedRecord& record);
Status IngestReplorigin(IngestContext& context, const DecodedRecord& record);
Status IngestLogicalMessage(IngestContext& context, const DecodedRecord& record);
// Heap and heap2: the visibility map pages that a record clears without naming them.
Status IngestHeap(IngestContext& context, const DecodedRecord& record);

// replorigin_advance(): `backward` lets the position go back.
void AdvanceReplicationOrigin(IngestContext& context, uint16_t node, Lsn remote_lsn,
                              bool backward);

// Whether what was true when the compute was shut down is not so any more after this record.
bool EndsStop(const DecodedRecord& record);

// kCorruption: "WAL record at 0/15FFB08: <what>".
Status BadRecord(const DecodedRecord& record, const char* what);

}  // namespace zenith

// Names of the small values ("blobs") a timeline keeps by LSN.
#pragma once

#include <cstdint>
#include <cstdio>
#include <string>

#include "common/base/ids.h"
#include "common/pgformat/relation_key.h"

namespace zenith {

// pg_filenode.map of a database, 512 bytes as in the file; the shared one is db 0, spc 1664.
inline std::string RelmapBlobKey(const DatabaseKey& db) {
    return "relmap/" + std::to_string(db.spc) + "/" + std::to_string(db.db);
}
// State file of a prepared transaction, as in pg_twophase/<xid>.
inline constexpr char kTwoPhaseBlobPrefix[] = "twophase/";
inline std::string TwoPhaseBlobKey(uint32_t xid) {
    char name[32];
    std::snprintf(name, sizeof name, "twophase/%08X", xid);
    return name;
}
// A tablespace: the value is its location as in the CREATE record, empty for an in-place one.
inline constexpr char kTablespaceBlobPrefix[] = "tablespace/";
inline std::string TablespaceBlobKey(Oid spc) {
    return "tablespace/" + std::to_string(spc);
}
// Progress of a replication origin: 8 bytes little-endian remote LSN.
inline constexpr char kReplicationOriginBlobPrefix[] = "replorigin/";
inline std::string ReplicationOriginBlobKey(uint16_t node) {
    return "replorigin/" + std::to_string(node);
}
// ClusterState (wal_ingest/cluster_state.h), saved now and then; the WAL after it does the rest.
inline constexpr char kClusterStateBlobKey[] = "cluster_state";
// A file of the data directory copied from the initial snapshot: "file/PG_VERSION",
// "file/postgresql.conf", "file/pg_hba.conf", "file/global/pg_control", "file/base/1/PG_VERSION".
inline constexpr char kFileBlobPrefix[] = "file/";

// A file of the data directory that a compute sent when it was shut down, "stop/pg_stat/pgstat.stat".
// There only as long as nothing has changed since.
inline constexpr char kStopFileBlobPrefix[] = "stop/";
// A file of the logical replication slots of a timeline, "slot/<timeline>/pg_replslot/<name>/state".
// The timeline is in the name so that branches do not inherit the slots.
inline std::string SlotFileBlobPrefix(const TimelineId& timeline) {
    return "slot/" + timeline.ToString() + "/";
}
inline std::string SlotFileBlobKey(const TimelineId& timeline, const std::string& path) {
    return SlotFileBlobPrefix(timeline) + path;
}

}  // namespace zenith

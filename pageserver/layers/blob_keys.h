// Names of the small values ("blobs") a timeline keeps by LSN.
#pragma once

#include <cstdint>
#include <cstdio>
#include <string>

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

}  // namespace zenith

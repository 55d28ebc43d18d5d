// Databases, tablespaces and relation maps. Source: dbase_redo() of dbcommands.c, tblspc_redo() of
// tablespace.c, relmap_redo() of relmapper.c.
#include <cstring>

#include "common/base/byte_reader.h"
#include "common/base/crc32c.h"
#include "common/pgformat/record_types.h"
#include "pageserver/layers/blob_keys.h"
#include "pageserver/wal_ingest/record_ingest.h"

namespace zenith {

Status IngestDbase(IngestContext& context, const DecodedRecord& record) {
    ByteReader reader(record.main_data);
    DatabaseKey db;
    switch (record.rmgr_info()) {
        case kDbaseCreateFileCopy: {
            DatabaseKey source;
            db.db = reader.U32Le();
            db.spc = reader.U32Le();
            source.db = reader.U32Le();
            source.spc = reader.U32Le();
            if (!reader.ok()) {
                return BadRecord(record, "database copy record is too short");
            }
            context.timeline.CloneDatabase(db, source);
            return Status::Ok();
        }
        case kDbaseCreateWalLog:
            db.db = reader.U32Le();
            db.spc = reader.U32Le();
            if (!reader.ok()) {
                return BadRecord(record, "database creation record is too short");
            }
            context.timeline.CreateDatabase(db);
            return Status::Ok();
        case kDbaseDrop: {
            db.db = reader.U32Le();
            const uint64_t count = reader.U32Le();
            ByteReader tablespaces(reader.Bytes(count * 4));
            if (!reader.ok()) {
                return BadRecord(record, "database drop record is too short");
            }
            for (uint64_t i = 0; i < count; i++) {
                db.spc = tablespaces.U32Le();
                context.timeline.DropDatabase(db);
            }
            return Status::Ok();
        }
        default:
            return BadRecord(record, "unknown database record");
    }
}

Status IngestTblspc(IngestContext& context, const DecodedRecord& record) {
    ByteReader reader(record.main_data);
    const Oid tablespace = reader.U32Le();
    switch (record.rmgr_info()) {
        case kTblspcCreate: {
            const std::string_view location = reader.CString();
            if (!reader.ok()) {
                return BadRecord(record, "tablespace creation record is too short");
            }
            context.timeline.PutBlob(TablespaceBlobKey(tablespace), std::string(location));
            return Status::Ok();
        }
        case kTblspcDrop:
            if (!reader.ok()) {
                return BadRecord(record, "tablespace drop record is too short");
            }
            context.timeline.DropBlob(TablespaceBlobKey(tablespace));
            return Status::Ok();
        default:
            return BadRecord(record, "unknown tablespace record");
    }
}

Status IngestRelmap(IngestContext& context, const DecodedRecord& record) {
    ByteReader reader(record.main_data);
    DatabaseKey db;
    db.db = reader.U32Le();
    db.spc = reader.U32Le();
    const uint32_t size = reader.U32Le();
    const std::span<const std::byte> map = reader.Bytes(kRelmapFileSize);
    if (record.rmgr_info() != kRelmapUpdate || !reader.ok() || size != kRelmapFileSize) {
        return BadRecord(record, "relation map record of the wrong kind or size");
    }
    // As write_relmap_file(): magic and checksum are filled in when the file is written.
    std::string file(reinterpret_cast<const char*>(map.data()), map.size());
    std::memcpy(file.data(), &kRelmapFileMagic, sizeof kRelmapFileMagic);
    const uint32_t crc =
        Crc32c(std::as_bytes(std::span(file.data(), kRelmapCrcOffset)));
    std::memcpy(file.data() + kRelmapCrcOffset, &crc, sizeof crc);
    context.timeline.PutBlob(RelmapBlobKey(db), std::move(file));
    return Status::Ok();
}

}  // namespace zenith

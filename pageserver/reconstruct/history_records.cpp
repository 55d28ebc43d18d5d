#include "pageserver/reconstruct/history_records.h"

#include "pageserver/layers/wal_storage.h"

namespace zenith {

PageKey KeyInRecord(const PageKey& key, const RecordRef& ref) {
    PageKey result = key;
    if (!key.is_slru && ref.database != DatabaseKey{}) {
        result.node.spc = ref.database.spc;
        result.node.db = ref.database.db;
    }
    return result;
}

Status ReadRecord(const RecordRef& ref, std::string* bytes) {
    if (ref.wal == nullptr) {
        return Status::Internal("record at " + ref.start.ToString() + " has no WAL");
    }
    bytes->clear();
    return ref.wal->ReadRecord(ref.start, ref.end, bytes);
}

}  // namespace zenith

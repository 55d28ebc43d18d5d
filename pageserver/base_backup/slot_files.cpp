#include "pageserver/base_backup/slot_files.h"

#include <algorithm>

#include "common/base/log.h"
#include "common/pgformat/control_file.h"
#include "common/pgformat/wal_format.h"
#include "pageserver/layers/blob_keys.h"
#include "pageserver/layers/wal_storage.h"

namespace zenith {

namespace {

constexpr std::string_view kSlotDirectory = "pg_replslot/";

// WAL goes oldest segment first, so it is all there when its first page is.
bool HasWal(Timeline& timeline, Lsn lsn) {
    std::string page(kWalPageSize, '\0');
    const Status status = timeline.wal().Read(
        lsn - lsn.value % kWalPageSize,
        std::as_writable_bytes(std::span(page.data(), page.size())));
    return status.ok() && !IsUnwrittenWalPage(page);
}

}  // namespace

Result<SlotFiles> ReadSlotFiles(Timeline& timeline, Lsn at) {
    SlotFiles result;
    const std::string prefix = SlotFileBlobPrefix(timeline.id());
    ZENITH_ASSIGN_OR_RETURN(auto blobs, timeline.ListBlobs(prefix, at));
    for (auto& [key, content] : blobs) {
        std::string path = key.substr(prefix.size());
        if (path.starts_with(kSlotDirectory)) {
            Result<Lsn> restart = SlotRestartLsn(content);
            if (!restart.ok()) {
                return restart.status().WithContext("\"" + path + "\"");
            }
            result.slots++;
            if (restart->valid() && !HasWal(timeline, *restart)) {
                spdlog::warn(
                    "base backup: timeline {} has no WAL at {} any more: \"{}\" is invalid",
                    timeline.id().ToString(), restart->ToString(), path);
                content = InvalidatedSlotState(std::move(content));
            } else if (restart->valid()) {
                result.wal_from = std::min(result.wal_from.value_or(*restart), *restart);
            }
        }
        result.files.emplace(std::move(path), std::move(content));
    }
    return result;
}

}  // namespace zenith

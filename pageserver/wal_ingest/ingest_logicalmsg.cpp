// Files that a compute sends in its WAL (contrib/zenith/zenith_keep_files.c): logical messages of no
// database. Source of the record's layout: xl_logical_message of replication/message.h.
//
// What SQL functions emit always names a database, so no user can write a file this way; and only
// the paths listed here are taken.
#include <string_view>

#include "common/base/byte_reader.h"
#include "common/pgformat/record_types.h"
#include "pageserver/layers/blob_keys.h"
#include "pageserver/wal_ingest/record_ingest.h"

namespace zenith {

namespace {

std::string_view AsText(std::span<const std::byte> bytes) {
    return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}

bool HasOnly(std::string_view text, std::string_view allowed) {
    return !text.empty() && text.find_first_not_of(allowed) == std::string_view::npos;
}

// "<prefix><name><suffix>" with a name of the characters that PostgreSQL gives it.
bool IsFileOf(std::string_view path, std::string_view prefix, std::string_view allowed,
              std::string_view suffix) {
    return path.size() > prefix.size() + suffix.size() && path.starts_with(prefix) &&
           path.ends_with(suffix) &&
           HasOnly(path.substr(prefix.size(), path.size() - prefix.size() - suffix.size()),
                   allowed);
}

bool IsStopFile(std::string_view path) {
    return path == "pg_stat/pgstat.stat";
}

bool IsSlotFile(std::string_view path) {
    constexpr std::string_view kHex = "0123456789ABCDEF-";
    constexpr std::string_view kHexParts = "0123456789ABCDEFabcdef-_";
    // ReplicationSlotValidateName()
    constexpr std::string_view kSlotName = "abcdefghijklmnopqrstuvwxyz0123456789_";
    return IsFileOf(path, "pg_replslot/", kSlotName, "/state") ||
           IsFileOf(path, "pg_logical/snapshots/", kHex, ".snap") ||
           IsFileOf(path, "pg_logical/mappings/map-", kHexParts, "");
}

void KeepSlotFiles(IngestContext& context, std::string_view list) {
    std::set<std::string> listed;
    while (!list.empty()) {
        const size_t end = std::min(list.find('\0'), list.size());
        listed.insert(SlotFileBlobKey(context.timeline.id(), std::string(list.substr(0, end))));
        list.remove_prefix(std::min(end + 1, list.size()));
    }
    std::erase_if(context.slot_files, [&](const std::string& key) {
        if (listed.contains(key)) {
            return false;
        }
        context.timeline.DropBlob(key);
        return true;
    });
}

}  // namespace

Status IngestLogicalMessage(IngestContext& context, const DecodedRecord& record) {
    ByteReader reader(record.main_data);
    const Oid database = reader.U32Le();
    reader.Skip(4);  // transactional, padding
    const uint64_t prefix_size = reader.U64Le();
    const uint64_t message_size = reader.U64Le();
    if (!reader.ok() || prefix_size > reader.remaining() ||
        message_size != reader.remaining() - prefix_size) {
        return Status::Ok();  // PostgreSQL's redo does not look into it either
    }
    if (database != 0) {
        return Status::Ok();  // for logical decoding only
    }
    const std::string_view prefix = AsText(record.main_data).substr(kLogicalMessageHeader);
    const std::string_view kind = prefix.substr(0, std::min(prefix.find('\0'), prefix_size));
    const std::string_view message = prefix.substr(prefix_size);
    const size_t path_size = message.find('\0');
    if (path_size == std::string_view::npos) {
        return Status::Ok();  // not ours
    }
    const std::string path(message.substr(0, path_size));
    std::string content(message.substr(path_size + 1));
    if (kind == kStopFileMessage && IsStopFile(path)) {
        const std::string key = kStopFileBlobPrefix + path;
        context.stop_files.insert(key);
        context.timeline.PutBlob(key, std::move(content));
    } else if (kind == kSlotFileMessage && IsSlotFile(path)) {
        const std::string key = SlotFileBlobKey(context.timeline.id(), path);
        context.slot_files.insert(key);
        context.timeline.PutBlob(key, std::move(content));
    } else if (kind == kSlotListMessage) {
        KeepSlotFiles(context, content);
    }
    return Status::Ok();
}

bool EndsStop(const DecodedRecord& record) {
    switch (record.rmgr) {
        case Rmgr::kXlog: {
            const uint8_t info = record.rmgr_info();
            return info == kXlogFpi || info == kXlogFpiForHint || info == kXlogNextOid;
        }
        case Rmgr::kStandby:
            return false;
        case Rmgr::kLogicalMsg: {
            ByteReader reader(record.main_data);
            return reader.U32Le() != 0;
        }
        default:
            return true;
    }
}

}  // namespace zenith

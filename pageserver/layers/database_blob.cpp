#include "pageserver/layers/database_blob.h"

#include <charconv>

#include "common/pgformat/page_format.h"
#include "pageserver/layers/blob_keys.h"

namespace zenith {

namespace {

constexpr std::string_view kRelmapPrefix = "relmap/";

bool Consume(std::string_view* text, std::string_view prefix) {
    if (!text->starts_with(prefix)) {
        return false;
    }
    text->remove_prefix(prefix.size());
    return true;
}

bool ConsumeOid(std::string_view* text, Oid* oid) {
    auto [end, error] = std::from_chars(text->data(), text->data() + text->size(), *oid);
    if (error != std::errc()) {
        return false;
    }
    text->remove_prefix(static_cast<size_t>(end - text->data()));
    return true;
}

}  // namespace

std::string DatabaseBlob::Key() const {
    return file.empty() ? RelmapBlobKey(db) : FilePrefix(db) + file;
}

std::string DatabaseBlob::FilePrefix(const DatabaseKey& db) {
    return std::string(kFileBlobPrefix) + DatabaseDirectory(db) + "/";
}

std::optional<DatabaseBlob> DatabaseBlob::Parse(std::string_view key) {
    std::string_view rest = key;
    DatabaseBlob blob;
    if (Consume(&rest, kRelmapPrefix)) {
        if (!ConsumeOid(&rest, &blob.db.spc) || !Consume(&rest, "/") ||
            !ConsumeOid(&rest, &blob.db.db) || !rest.empty() || blob.db.db == 0) {
            return std::nullopt;
        }
        return blob;
    }
    if (!Consume(&rest, kFileBlobPrefix)) {
        return std::nullopt;
    }
    if (Consume(&rest, "base/")) {
        blob.db.spc = kDefaultTablespaceOid;
    } else if (!Consume(&rest, "pg_tblspc/") || !ConsumeOid(&rest, &blob.db.spc) ||
               !Consume(&rest, "/") || !Consume(&rest, kTablespaceVersionDirectory) ||
               !Consume(&rest, "/")) {
        return std::nullopt;
    }
    if (!ConsumeOid(&rest, &blob.db.db) || !Consume(&rest, "/") || rest.empty() ||
        blob.db.db == 0) {
        return std::nullopt;
    }
    blob.file = rest;
    return blob;
}

}  // namespace zenith

// Blobs that belong to a database: its relation map and the files of its directory. They go when
// the database is dropped and come along when it is cloned; all other blobs live by themselves.
#pragma once

#include <optional>
#include <string>
#include <string_view>

#include "common/pgformat/relation_key.h"

namespace zenith {

struct DatabaseBlob {
    DatabaseKey db;
    // File name in the database's directory; empty stands for the relation map.
    std::string file;

    std::string Key() const;
    // The same file in another database.
    DatabaseBlob In(const DatabaseKey& other) const { return DatabaseBlob{other, file}; }
    // nullopt: the blob belongs to no database ("cluster_state", "file/PG_VERSION", the shared
    // relation map).
    static std::optional<DatabaseBlob> Parse(std::string_view key);
    // What the keys of all files of `db` but the relation map begin with.
    static std::string FilePrefix(const DatabaseKey& db);
};

}  // namespace zenith

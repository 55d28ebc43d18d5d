#include "common/pgformat/relation_key.h"

#include "common/pgformat/page_format.h"

namespace zenith {

namespace {
const char* ForkSuffix(Fork fork) {
    switch (fork) {
        case Fork::kMain:
            return "";
        case Fork::kFsm:
            return "_fsm";
        case Fork::kVm:
            return "_vm";
        case Fork::kInit:
            return "_init";
    }
    return "_?";
}
}  // namespace

std::string RelForkKey::ToString() const {
    return std::to_string(node.spc) + "/" + std::to_string(node.db) + "/" +
           std::to_string(node.rel) + ForkSuffix(fork);
}

const char* SlruDirectory(SlruKind kind) {
    switch (kind) {
        case SlruKind::kXact:
            return "pg_xact";
        case SlruKind::kMultiOffsets:
            return "pg_multixact/offsets";
        case SlruKind::kMultiMembers:
            return "pg_multixact/members";
        case SlruKind::kCommitTs:
            return "pg_commit_ts";
    }
    return "?";
}

std::string PageKey::ToString() const {
    if (is_slru) {
        return "page " + std::to_string(block) + " of " + SlruDirectory(slru_kind());
    }
    return "block " + std::to_string(block) + " of relation " + relation().ToString();
}

std::string DatabaseDirectory(const DatabaseKey& db) {
    if (db.spc == kGlobalTablespaceOid) {
        return "global";
    }
    if (db.spc == kDefaultTablespaceOid) {
        return "base/" + std::to_string(db.db);
    }
    return "pg_tblspc/" + std::to_string(db.spc) + "/" + kTablespaceVersionDirectory + "/" +
           std::to_string(db.db);
}

std::string RelationSegmentPath(const RelForkKey& rel, uint32_t segment) {
    std::string path = DatabaseDirectory({rel.node.spc, rel.node.db}) + "/" +
                       std::to_string(rel.node.rel) + ForkSuffix(rel.fork);
    if (segment > 0) {
        path += "." + std::to_string(segment);
    }
    return path;
}

}  // namespace zenith

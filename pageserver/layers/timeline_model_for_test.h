// The model that timeline_model_test.cpp compares a Timeline with, too simple to be wrong: it keeps
// the changes of every timeline in a list and plays them from the beginning for every question.
#pragma once

#include <algorithm>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "common/base/lsn.h"
#include "common/pgformat/page_format.h"
#include "common/pgformat/relation_key.h"
#include "pageserver/layers/blob_keys.h"
#include "pageserver/layers/timeline.h"

namespace zenith {

struct ModelRef {
    int timeline;
    Lsn start;
    Lsn end;
    uint8_t flags;
    DatabaseKey database;
    bool operator==(const ModelRef&) const = default;
};

struct ModelPage {
    std::optional<uint8_t> base;
    Lsn base_lsn;
    std::vector<ModelRef> records;
};

struct ModelState {
    std::map<RelForkKey, BlockNumber> relations;
    std::map<PageKey, ModelPage> pages;
    std::set<DatabaseKey> databases;
    std::map<std::string, std::pair<Lsn, std::string>> blobs;

    void RemoveDatabase(const DatabaseKey& db) {
        std::erase_if(relations, [&](const auto& r) { return Database(r.first.node) == db; });
        std::erase_if(
            pages, [&](const auto& p) { return !p.first.is_slru && Database(p.first.node) == db; });
        blobs.erase(RelmapBlobKey(db));
        blobs.erase(VersionFile(db));
    }
    static DatabaseKey Database(const RelFileNode& node) { return {node.spc, node.db}; }
    static std::string VersionFile(const DatabaseKey& db) {
        return "file/" + DatabaseDirectory(db) + "/PG_VERSION";
    }
};

struct Op {
    enum Kind {
        kCreateDatabase,
        kCloneDatabase,
        kDropDatabase,
        kDropTablespace,
        kTruncate,
        kDropRelation,
        kCreateRelation,
        kPut,
        kImage,
        kDropPage,
        kPutBlob,
        kDropBlob,
    };
    Kind kind;
    DatabaseKey db{};
    DatabaseKey source{};
    PageKey page{};
    uint8_t value = 0;
    std::string key{};
};

struct ModelRecord {
    Lsn start;
    Lsn end;
    std::vector<Op> ops;
};

struct ModelTimeline {
    int parent = -1;
    Lsn start;
    std::vector<ModelRecord> records;
    // What retention has left.
    Lsn readable_from;
    std::set<Lsn> points;
    std::optional<Lsn> ends_at;
    // Up to here in files.
    Lsn flushed;
};

inline void Touch(ModelState* state, const RelForkKey& rel, BlockNumber blocks) {
    auto [it, is_new] = state->relations.try_emplace(rel, blocks);
    it->second = std::max(it->second, blocks);
    if (rel.node.db != 0) {
        state->databases.insert(ModelState::Database(rel.node));
    }
}

inline void ApplyClone(const Op& op, const ModelState& before, Lsn end, ModelState* state) {
    state->RemoveDatabase(op.db);
    state->databases.insert(op.db);
    auto translated = [&](RelFileNode node) { return RelFileNode{op.db.spc, op.db.db, node.rel}; };
    for (const auto& [rel, blocks] : before.relations) {
        if (ModelState::Database(rel.node) == op.source) {
            state->relations[{translated(rel.node), rel.fork}] = blocks;
        }
    }
    for (const auto& [key, page] : before.pages) {
        if (!key.is_slru && ModelState::Database(key.node) == op.source) {
            PageKey copy = key;
            copy.node = translated(key.node);
            state->pages[copy] = page;
        }
    }
    auto copy_blob = [&](const std::string& from, const std::string& to) {
        if (auto found = before.blobs.find(from); found != before.blobs.end()) {
            state->blobs[to] = {end, found->second.second};
        }
    };
    copy_blob(RelmapBlobKey(op.source), RelmapBlobKey(op.db));
    copy_blob(ModelState::VersionFile(op.source), ModelState::VersionFile(op.db));
}

inline void ApplyOp(const Op& op, int timeline, const ModelRecord& record,
                    const ModelState& before, ModelState* state) {
    const RelForkKey rel = op.page.relation();
    switch (op.kind) {
        case Op::kCreateDatabase:
            state->databases.insert(op.db);
            break;
        case Op::kCloneDatabase:
            ApplyClone(op, before, record.end, state);
            break;
        case Op::kDropDatabase:
            state->RemoveDatabase(op.db);
            state->databases.erase(op.db);
            break;
        case Op::kDropTablespace:
            state->blobs.erase(TablespaceBlobKey(op.db.spc));
            for (const DatabaseKey& db : std::set<DatabaseKey>(state->databases)) {
                if (db.spc == op.db.spc) {
                    state->RemoveDatabase(db);
                    state->databases.erase(db);
                }
            }
            break;
        case Op::kTruncate:
            if (auto found = state->relations.find(rel); found != state->relations.end()) {
                found->second = std::min(found->second, op.page.block);
                std::erase_if(state->pages, [&](const auto& p) {
                    return !p.first.is_slru && p.first.relation() == rel &&
                           p.first.block >= op.page.block;
                });
            }
            break;
        case Op::kDropRelation:
            std::erase_if(state->relations,
                          [&](const auto& r) { return r.first.node == rel.node; });
            std::erase_if(state->pages, [&](const auto& p) {
                return !p.first.is_slru && p.first.node == rel.node;
            });
            break;
        case Op::kCreateRelation:
            Touch(state, rel, 0);
            break;
        case Op::kPut: {
            if (!op.page.is_slru) {
                Touch(state, rel, op.page.block + 1);
            }
            ModelPage& page = state->pages[op.page];
            ModelRef ref{timeline, record.start, record.end, op.value,
                         ModelState::Database(op.page.is_slru ? RelFileNode{} : op.page.node)};
            if (!page.records.empty() && page.records.back() == ref) {
                break;
            }
            if ((op.value & kRefWillInit) != 0) {
                page = ModelPage{};
            }
            page.records.push_back(ref);
            break;
        }
        case Op::kImage:
            if (!op.page.is_slru) {
                Touch(state, rel, op.page.block + 1);
            }
            state->pages[op.page] = ModelPage{op.value, record.end, {}};
            break;
        case Op::kDropPage:
            state->pages.erase(op.page);
            break;
        case Op::kPutBlob:
            state->blobs[op.key] = {record.end, "v" + std::to_string(op.value)};
            break;
        case Op::kDropBlob:
            state->blobs.erase(op.key);
            break;
    }
}

class Model {
  public:
    ModelState initial;
    std::vector<ModelTimeline> timelines;

    ModelState At(int timeline, Lsn at) const {
        const ModelTimeline& t = timelines[timeline];
        ModelState state = t.parent < 0 ? initial : At(t.parent, std::min(at, t.start));
        for (const ModelRecord& record : t.records) {
            if (record.end > at) {
                break;
            }
            const ModelState before = state;
            for (const Op& op : record.ops) {
                ApplyOp(op, timeline, record, before, &state);
            }
        }
        return state;
    }
    Lsn End(int timeline) const {
        const ModelTimeline& t = timelines[timeline];
        if (t.ends_at) {
            return *t.ends_at;
        }
        return t.records.empty() ? t.start : t.records.back().end;
    }
    bool Readable(int timeline, Lsn at) const {
        const ModelTimeline& t = timelines[timeline];
        if (at != kMaxLsn && t.ends_at && at > *t.ends_at) {
            return false;
        }
        if ((t.parent < 0 || at > t.start) && at < t.readable_from && !t.points.contains(at)) {
            return false;
        }
        return t.parent < 0 || Readable(t.parent, std::min(at, t.start));
    }
};

}  // namespace zenith

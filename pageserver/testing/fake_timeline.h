// FakeTimeline: a Timeline for tests of whoever writes one. Records every call as a line of text
// and keeps the newest state of sizes, pages, databases and blobs; it has no history: reads answer
// with the newest state whatever LSN they name. Not thread-safe.
#pragma once

#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "pageserver/layers/timeline.h"

namespace zenith {

class FakeTimeline : public Timeline {
  public:
    struct Page {
        std::optional<PageBuffer> base;
        std::vector<RecordRef> records;
    };

    // What happened, in order: "record 0/100 0/140", "put <key> flags 3", "image <key>",
    // "abandon", "drop <key>", "create <rel>", "truncate <rel> 5", "drop relation 1663/5/16384", ...
    std::vector<std::string> events;
    std::map<RelForkKey, BlockNumber> relations;
    std::map<PageKey, Page> pages;
    std::set<DatabaseKey> databases;
    std::map<std::string, std::string> blobs;
    std::map<std::string, Lsn> blob_lsns;
    Lsn start{0x1000000};
    Lsn record_start;
    Lsn record_end;
    Lsn previous_end;  // of the record before
    // Set to give records a WAL to be read from.
    WalStorage* storage = nullptr;

    // Events since the last call, but for "record" lines and the saved cluster state.
    std::vector<std::string> TakeChanges() {
        std::vector<std::string> changes;
        for (std::string& event : events) {
            if (!event.starts_with("record ") && event != "blob cluster_state") {
                changes.push_back(std::move(event));
            }
        }
        events.clear();
        return changes;
    }

    const TimelineId& id() const override { return id_; }
    const std::shared_ptr<Timeline>& parent() const override { return parent_; }
    Lsn start_lsn() const override { return start; }
    WalStorage& wal() override { return *storage; }
    Lsn last_record_end() const override { return record_end.valid() ? record_end : start; }
    Status WaitForLsn(Lsn, int) override { return Status::Ok(); }

    Result<PageHistory> CollectPage(const PageKey& key, Lsn) override {
        PageHistory history;
        auto found = pages.find(key);
        if (found != pages.end()) {
            history.base = found->second.base;
            history.records = found->second.records;
        }
        return history;
    }
    Result<std::optional<BlockNumber>> RelationSize(const RelForkKey& rel, Lsn) override {
        auto found = relations.find(rel);
        return found == relations.end() ? std::nullopt : std::optional(found->second);
    }
    Result<std::vector<RelationEntry>> ListRelations(Lsn) override {
        std::vector<RelationEntry> entries;
        for (const auto& [rel, blocks] : relations) {
            entries.push_back({rel, blocks});
        }
        return entries;
    }
    Result<std::vector<BlockNumber>> ListSlruPages(SlruKind kind, Lsn) override {
        std::vector<BlockNumber> numbers;
        for (const auto& [key, page] : pages) {
            if (key.is_slru && key.slru_kind() == kind) {
                numbers.push_back(key.block);
            }
        }
        return numbers;
    }
    Result<std::vector<DatabaseKey>> ListDatabases(Lsn) override {
        return std::vector<DatabaseKey>(databases.begin(), databases.end());
    }
    Result<std::optional<std::string>> GetBlob(const std::string& key, Lsn) override {
        auto found = blobs.find(key);
        return found == blobs.end() ? std::nullopt : std::optional(found->second);
    }
    Result<std::map<std::string, std::string>> ListBlobs(const std::string& prefix,
                                                         Lsn) override {
        std::map<std::string, std::string> found;
        for (const auto& [key, value] : blobs) {
            if (key.starts_with(prefix)) {
                found[key] = value;
            }
        }
        return found;
    }
    Result<std::optional<VersionedBlob>> GetVersionedBlob(const std::string& key, Lsn) override {
        auto found = blobs.find(key);
        if (found == blobs.end()) {
            return std::optional<VersionedBlob>();
        }
        return std::optional(VersionedBlob{blob_lsns[key], found->second});
    }

    void BeginRecords() override {}
    void StartRecord(Lsn from, Lsn to) override {
        record_start = from;
        previous_end = record_end;
        record_end = to;
        events.push_back("record " + from.ToString() + " " + to.ToString());
    }
    void PutRecord(const PageKey& key, uint8_t flags) override {
        events.push_back("put " + Name(key) + " flags " + std::to_string(flags));
        Page& page = pages[key];
        if ((flags & kRefWillInit) != 0) {
            page = Page();
        }
        page.records.push_back({storage, record_start, record_end, flags});
        Grow(key);
    }
    void PutImage(const PageKey& key, ConstPageSpan image) override {
        events.push_back("image " + Name(key));
        Page page;
        page.base.emplace();
        std::copy(image.begin(), image.end(), page.base->begin());
        pages[key] = page;
        Grow(key);
    }
    void DropPage(const PageKey& key) override {
        events.push_back("drop " + Name(key));
        pages.erase(key);
    }
    void CreateRelation(const RelForkKey& rel) override {
        events.push_back("create " + rel.ToString());
        relations.try_emplace(rel, 0);
    }
    void TruncateRelation(const RelForkKey& rel, BlockNumber blocks) override {
        events.push_back("truncate " + rel.ToString() + " " + std::to_string(blocks));
        auto found = relations.find(rel);
        if (found != relations.end() && found->second > blocks) {
            found->second = blocks;
        }
    }
    void DropRelation(const RelFileNode& node) override {
        events.push_back("drop relation " + RelForkKey{node, Fork::kMain}.ToString());
        std::erase_if(relations, [&](const auto& entry) { return entry.first.node == node; });
    }
    void CreateDatabase(const DatabaseKey& db) override {
        events.push_back("create database " + Name(db));
        databases.insert(db);
    }
    void CloneDatabase(const DatabaseKey& db, const DatabaseKey& source) override {
        events.push_back("clone database " + Name(db) + " from " + Name(source));
        databases.insert(db);
        std::map<RelForkKey, BlockNumber> copies;
        for (const auto& [rel, blocks] : relations) {
            if (rel.node.spc == source.spc && rel.node.db == source.db) {
                copies[{{db.spc, db.db, rel.node.rel}, rel.fork}] = blocks;
            }
        }
        relations.insert(copies.begin(), copies.end());
    }
    void DropDatabase(const DatabaseKey& db) override {
        events.push_back("drop database " + Name(db));
        databases.erase(db);
        std::erase_if(relations, [&](const auto& entry) {
            return entry.first.node.spc == db.spc && entry.first.node.db == db.db;
        });
    }
    void PutBlob(const std::string& key, std::string value) override {
        events.push_back("blob " + key);
        blobs[key] = std::move(value);
        blob_lsns[key] = record_end;
    }
    void DropBlob(const std::string& key) override {
        events.push_back("drop blob " + key);
        blobs.erase(key);
    }
    void AbandonRecord() override {
        events.push_back("abandon");
        record_end = previous_end;
    }
    void CommitRecords() override {}

    Result<std::optional<BlockNumber>> WriterRelationSize(const RelForkKey& rel) override {
        return RelationSize(rel, record_end);
    }
    Result<PageHistory> WriterCollectPage(const PageKey& key) override {
        return CollectPage(key, record_end);
    }
    Result<std::vector<BlockNumber>> WriterListSlruPages(SlruKind kind) override {
        return ListSlruPages(kind, record_end);
    }

    // "pg_xact 3", "1663/5/16384_vm 0"
    static std::string Name(const PageKey& key) {
        const std::string file =
            key.is_slru ? SlruDirectory(key.slru_kind()) : key.relation().ToString();
        return file + " " + std::to_string(key.block);
    }
    static std::string Name(const DatabaseKey& db) {
        return std::to_string(db.spc) + "/" + std::to_string(db.db);
    }

  private:
    void Grow(const PageKey& key) {
        if (!key.is_slru) {
            BlockNumber& blocks = relations[key.relation()];
            blocks = std::max(blocks, key.block + 1);
        }
    }

    TimelineId id_{};
    std::shared_ptr<Timeline> parent_;
};

}  // namespace zenith

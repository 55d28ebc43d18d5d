// FakeSnapshot: a SnapshotFile whose contents a test sets up in memory.
#pragma once

#include <map>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "pageserver/layers/snapshot_file.h"

namespace zenith {

class FakeSnapshot final : public SnapshotFile {
  public:
    explicit FakeSnapshot(Lsn lsn) : lsn_(lsn) {}

    void AddRelation(const RelForkKey& rel, BlockNumber blocks) {
        relations_.push_back(RelationEntry{rel, blocks});
    }
    void AddPage(const PageKey& key, const PageBuffer& page) { pages_[key] = page; }
    void AddSlruPage(SlruKind kind, BlockNumber block, const PageBuffer& page) {
        slru_pages_[kind].push_back(block);
        pages_[PageKey::Slru(kind, block)] = page;
    }
    void AddDatabase(const DatabaseKey& db) { databases_.push_back(db); }
    void AddBlob(const std::string& key, const std::string& value) { blobs_[key] = value; }

    Lsn lsn() const override { return lsn_; }
    uint64_t system_identifier() const override { return 1; }
    Result<std::optional<PageBuffer>> ReadPage(const PageKey& key) const override {
        auto found = pages_.find(key);
        return found == pages_.end() ? std::optional<PageBuffer>() : found->second;
    }
    std::optional<BlockNumber> RelationSize(const RelForkKey& rel) const override {
        for (const RelationEntry& entry : relations_) {
            if (entry.rel == rel) {
                return entry.blocks;
            }
        }
        return std::nullopt;
    }
    const std::vector<RelationEntry>& relations() const override { return relations_; }
    std::vector<BlockNumber> SlruPages(SlruKind kind) const override {
        auto found = slru_pages_.find(kind);
        return found == slru_pages_.end() ? std::vector<BlockNumber>() : found->second;
    }
    const std::vector<DatabaseKey>& databases() const override { return databases_; }
    const std::map<std::string, std::string>& blobs() const override { return blobs_; }

  private:
    const Lsn lsn_;
    std::vector<RelationEntry> relations_;
    std::map<PageKey, PageBuffer> pages_;
    std::map<SlruKind, std::vector<BlockNumber>> slru_pages_;
    std::vector<DatabaseKey> databases_;
    std::map<std::string, std::string> blobs_;
};

}  // namespace zenith

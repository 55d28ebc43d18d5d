// WalStorage when the power goes: what Sync acknowledged is there, what TruncateAfter took away does
// not come back, the durable position is one that was saved.
#include <gtest/gtest.h>

#include <algorithm>
#include <cerrno>
#include <memory>
#include <random>
#include <set>
#include <string>

#include "common/base/posix_file.h"
#include "common/pgformat/segment_name.h"
#include "pageserver/layers/wal_storage.h"
#include "pageserver/testing/power_cuts.h"

namespace zenith {
namespace {

// The first border comes soon, the second after that by a cut and long appends.
const Lsn kStart = WalSegmentStart(6) - 6000;

class WalRound : public PowerCutRound {
  public:
    explicit WalRound(uint32_t seed) : random_(seed) {}

    void Prepare(const std::string& directory) override {
        ASSERT_TRUE(EnsureDirectory(directory + "/wal").ok());
    }

    void Work(const std::string& directory, FaultFileSystem& disk) override {
        WalStorage wal(directory + "/wal", kStart, nullptr);
        for (int step = 0; step < 60 && !disk.power_is_off(); step++) {
            if (random_() % 12 == 0) {
                disk.FailFrom(1 + random_() % 4, 1 + random_() % 2,
                              random_() % 2 == 0 ? EIO : ENOSPC);
            }
            Step(wal);
        }
    }

    void Recover(const std::string& directory) override {
        WalStorage wal(directory + "/wal", kStart, nullptr);
        // As a page server that finds the end of the WAL somewhere at or behind what it acknowledged.
        wal.TruncateAfter(kStart + synced_).Ignore("the power may go");
        std::string tail(500, 't');
        wal.Append(kStart + synced_, std::as_bytes(std::span(tail))).Ignore("the power may go");
        tail_allowed_ = true;
    }

    void Check(const std::string& directory) override {
        WalStorage wal(directory + "/wal", kStart, nullptr);
        auto position = wal.ReadDurablePosition();
        ASSERT_TRUE(position.ok()) << position.status().message();
        const uint64_t saved = position->has_value() ? **position - kStart : 0;
        EXPECT_TRUE(saved == saved_ || saved == saving_) << saved << " is neither " << saved_
                                                         << " nor " << saving_;
        std::string found(synced_, '?');
        Status status = wal.Read(kStart, std::as_writable_bytes(std::span(found)));
        ASSERT_TRUE(status.ok()) << "of " << synced_ << " bytes: " << status.message();
        for (uint64_t i = 0; i < synced_; i++) {
            ASSERT_EQ(found[i], content_[i]) << "byte " << i << " of " << synced_;
        }
        // Behind it: new bytes or none, sector by sector, but nothing that was cut off.
        for (uint64_t i = synced_; i < content_.size() + 100000; i += 100) {
            char byte;
            if (!wal.Read(kStart + i, std::as_writable_bytes(std::span(&byte, 1))).ok()) {
                continue;  // no such segment
            }
            const bool is_tail = tail_allowed_ && byte == 't' && i < synced_ + 500;
            const bool is_new = i < content_.size() && byte == content_[i];
            const bool is_cut = unsure_.contains(Sector(i));
            ASSERT_TRUE(byte == 0 || is_tail || is_new || is_cut)
                << "byte " << i << " behind " << synced_ << " is \"" << byte << "\"";
        }
    }

  private:
    void Step(WalStorage& wal) {
        switch (random_() % 8) {
            case 0:
            case 1:
            case 2:
                return Sync(wal);
            case 3:
                if (random_() % 3 == 0) {
                    return Truncate(wal);
                }
                return Save(wal);
            default:
                return Append(wal);
        }
    }
    void Append(WalStorage& wal) {
        // Every byte tells when it was written.
        const char fill = static_cast<char>('A' + generation_++ % 26);
        const size_t length = random_() % 20 == 0 ? 3000000 : 1 + random_() % 3000;
        std::string data(length, fill);
        if (wal.Append(kStart + content_.size(), std::as_bytes(std::span(data))).ok()) {
            content_ += data;
        } else {
            StartOver(length);
        }
    }
    void Sync(WalStorage& wal) {
        // A second try that succeeds acknowledges, too.
        if (wal.Sync().ok() || (random_() % 2 == 0 && wal.Sync().ok())) {
            synced_ = content_.size();
            // Behind it something given up may still be, if it was longer.
            unsure_.erase(unsure_.begin(), unsure_.lower_bound(Sector(synced_)));
        } else {
            StartOver(0);
        }
    }
    void Truncate(WalStorage& wal) {
        const uint64_t least = std::max(std::max(saved_, saving_), synced_ / 4 * 3);
        const uint64_t keep = least + random_() % (synced_ - least + 1);
        // Until it is done both may be left.
        NoteUnsure(keep, content_.size());
        content_.resize(keep);
        synced_ = std::min(synced_, keep);
        if (wal.TruncateAfter(kStart + keep).ok()) {
            unsure_.clear();
        }
    }
    void Save(WalStorage& wal) {
        saving_ = synced_;
        if (wal.SaveDurablePosition(kStart + synced_).ok()) {
            saved_ = saving_;
        }
    }
    // What is behind the acknowledged end comes again, as something else: a new stream.
    void StartOver(size_t in_flight) {
        NoteUnsure(synced_, content_.size() + in_flight);
        content_.resize(synced_);
    }
    void NoteUnsure(uint64_t from, uint64_t to) {
        for (uint64_t sector = Sector(from); sector <= Sector(to); sector++) {
            unsure_.insert(sector);
        }
    }
    static uint64_t Sector(uint64_t offset) { return (kStart.value + offset) / 512; }

    std::mt19937 random_;
    int generation_ = 0;
    std::string content_;  // appended from kStart on
    uint64_t synced_ = 0;  // how much of it was acknowledged
    uint64_t saved_ = 0;   // as a durable position
    uint64_t saving_ = 0;  // or this one
    // Sectors that may hold what was appended and then given up or cut off.
    std::set<uint64_t> unsure_;
    bool tail_allowed_ = false;
};

TEST(WalStorageCrash, WhatWasSyncedIsThere) {
    RunPowerCuts(30, [](uint32_t seed) { return std::make_unique<WalRound>(seed); });
}

}  // namespace
}  // namespace zenith

// RunPowerCuts: plays a workload many times, each time with the power cut at another operation, and
// has what the disk may hold then checked, also after a second cut during recovery.
//
//   ZENITH_POWER_CUTS=20     so many times the rounds (a longer run; 1 is a few seconds for all)
//   ZENITH_SEED=1234         the first seed; every failure names the seed of its round
//
// With one thread that writes at a time the same seed plays the same round.
#pragma once

#include <gtest/gtest.h>
#include <stdlib.h>
#include <unistd.h>

#include <cstdint>
#include <filesystem>
#include <functional>
#include <memory>
#include <optional>
#include <random>
#include <string>

#include "common/base/log.h"
#include "common/base/posix_file.h"
#include "pageserver/testing/fault_file_system.h"

namespace zenith {

// A directory for one test, removed with everything in it. In memory where the machine has such a
// place: nothing here needs a disk, and file systems take milliseconds for a name.
class ScratchDirectory {
  public:
    ScratchDirectory() {
        std::string name = access("/dev/shm", W_OK) == 0 ? "/dev/shm" : "/tmp";
        name += "/zenith_test_XXXXXX";
        EXPECT_NE(mkdtemp(name.data()), nullptr);
        path_ = name;
    }
    ~ScratchDirectory() { EXPECT_TRUE(RemoveTree(path_).ok()); }
    ScratchDirectory(const ScratchDirectory&) = delete;
    ScratchDirectory& operator=(const ScratchDirectory&) = delete;
    const std::string& path() const { return path_; }

  private:
    std::string path_;
};

// One round of one workload. Each method opens what it needs in `directory`, which is another one
// after each crash.
class PowerCutRound {
  public:
    virtual ~PowerCutRound() = default;
    // What it leaves is durable.
    virtual void Prepare(const std::string& directory) = 0;
    // Works until a call fails and `disk` says that the power is off, or until there is enough.
    // Keeps in mind what was acknowledged.
    virtual void Work(const std::string& directory, FaultFileSystem& disk) = 0;
    // What a restarted program does first; may be cut itself, so failures are no failures of the
    // test.
    virtual void Recover(const std::string& directory) = 0;
    // Recovers and expects that everything acknowledged is there, and nothing that should not be.
    virtual void Check(const std::string& directory) = 0;
};

inline uint32_t NumberFromEnvironment(const char* name, uint32_t otherwise) {
    const char* text = getenv(name);
    return text != nullptr ? static_cast<uint32_t>(strtoul(text, nullptr, 10)) : otherwise;
}

inline void RunPowerCuts(uint32_t rounds,
                         const std::function<std::unique_ptr<PowerCutRound>(uint32_t seed)>& make) {
    rounds *= NumberFromEnvironment("ZENITH_POWER_CUTS", 1);
    const uint32_t first = NumberFromEnvironment("ZENITH_SEED", 1);
    const auto level = spdlog::get_level();
    spdlog::set_level(spdlog::level::off);  // failing is what all of them are about
    uint64_t longest = 0;                   // operations of a round that nobody cut
    for (uint32_t seed = first; seed < first + rounds && !testing::Test::HasFailure(); seed++) {
        SCOPED_TRACE("ZENITH_SEED=" + std::to_string(seed));
        std::mt19937 random(seed);
        ScratchDirectory scratch;
        const std::string directory = scratch.path() + "/0";
        ASSERT_TRUE(EnsureDirectory(directory).ok());
        std::unique_ptr<PowerCutRound> round = make(seed);
        round->Prepare(directory);
        auto disk = std::make_unique<FaultFileSystem>(directory, seed);
        // Where a round ends is known from one that ran to its end; until then guess.
        const uint64_t end = longest == 0 ? 200 : longest + longest / 8;
        disk->PowerOffAt(1 + random() % end);
        round->Work(directory, *disk);
        if (!disk->power_is_off()) {
            longest = std::max(longest, disk->operations());
        } else if (disk->operations() > longest) {
            longest = disk->operations();
        }
        for (int crash = 1; crash <= 3 && !testing::Test::HasFailure(); crash++) {
            const std::string crashed = scratch.path() + "/" + std::to_string(crash);
            disk->CrashInto(crashed);
            SCOPED_TRACE("after crash " + std::to_string(crash));
            if (random() % 2 == 0) {
                round->Check(crashed);
                continue;
            }
            // The power goes again while the crash is mended.
            std::unique_ptr<FaultFileSystem> first_disk = std::move(disk);
            first_disk->Pause();
            const std::string again = crashed + "again";
            {
                FaultFileSystem second(crashed, seed + static_cast<uint32_t>(crash));
                second.PowerOffAt(1 + random() % 20);
                round->Recover(crashed);
                second.CrashInto(again);
            }
            round->Check(again);
            first_disk->Resume();
            disk = std::move(first_disk);
        }
    }
    spdlog::set_level(level);
}

}  // namespace zenith

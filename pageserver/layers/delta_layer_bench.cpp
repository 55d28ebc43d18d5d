// What layer files cost: make bench-layers, or delta_layer_bench POSTINGS LAYERS.
//
// Plays the index of a TPC-B run (scale 50: each transaction changes one of 82,000 pages of
// accounts, a teller, a branch, and appends to the history), flushes it in LAYERS pieces, opens it
// again as after a restart, reads pages of accounts at random, asks for pages that are not there, and
// merges all files into one. Prints times and memory.
#include <malloc.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <random>

#include "common/base/log.h"
#include "common/base/posix_file.h"
#include "common/pgformat/segment_name.h"
#include "common/pgformat/wal_format.h"
#include "pageserver/layers/layer_rewriter.h"
#include "pageserver/layers/snapshot_file.h"
#include "pageserver/layers/wal_storage.h"

namespace zenith {
namespace {

using Clock = std::chrono::steady_clock;

const Lsn kStart(0x1000000);
constexpr BlockNumber kAccountPages = 82000;

double Milliseconds(Clock::time_point since) {
    return std::chrono::duration<double, std::milli>(Clock::now() - since).count();
}

// Of this process, for what should not depend on what else the machine does.
double ProcessorMilliseconds() {
    timespec time;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &time);
    return static_cast<double>(time.tv_sec) * 1e3 + static_cast<double>(time.tv_nsec) / 1e6;
}

double ResidentMegabytes() {
    malloc_trim(0);
    size_t total = 0;
    size_t resident = 0;
    std::ifstream("/proc/self/statm") >> total >> resident;
    return static_cast<double>(resident) * static_cast<double>(getpagesize()) / 1e6;
}

RelForkKey Relation(Oid rel) { return {{1663, 5, rel}, Fork::kMain}; }

class Bench {
  public:
    explicit Bench(std::string directory) : directory_(std::move(directory)) {}

    Status Open() {
        timeline_ = nullptr;
        ZENITH_RETURN_IF_ERROR(EnsureDirectory(directory_ + "/wal"));
        auto wal = std::make_unique<WalStorage>(directory_ + "/wal", kStart, nullptr);
        TimelineLayers layers;
        layers.directory = directory_ + "/layers";
        ZENITH_ASSIGN_OR_RETURN(layers.opened,
                                OpenDeltaLayers(layers.directory, id_, kStart, wal.get()));
        files_ = layers.opened.files.size();
        file_bytes_ = 0;
        index_bytes_ = 0;
        for (const auto& file : layers.opened.files) {
            file_bytes_ += file->file_bytes();
            index_bytes_ += file->memory_bytes();
        }
        timeline_ =
            MakeTimeline(id_, kStart, nullptr, nullptr, std::move(wal), std::move(layers));
        return Status::Ok();
    }

    void Write(uint64_t postings) {
        Lsn lsn = timeline_->last_record_end();
        auto put = [&](Oid rel, BlockNumber block, uint64_t length, uint8_t flags) {
            timeline_->StartRecord(lsn, lsn + length);
            timeline_->PutRecord(PageKey::Relation(Relation(rel), block), flags);
            lsn = lsn + length;
        };
        while (postings > 0) {
            timeline_->BeginRecords();
            for (int i = 0; i < 250 && postings > 0; i++, postings -= std::min<uint64_t>(4, postings)) {
                put(1, static_cast<BlockNumber>(random_() % kAccountPages), 176, 0);
                put(2, static_cast<BlockNumber>(random_() % 500), 80, 0);
                put(3, static_cast<BlockNumber>(random_() % 50), 80, 0);
                transactions_++;
                put(4, transactions_ / 157, 120, transactions_ % 157 == 0 ? kRefWillInit : 0);
            }
            timeline_->CommitRecords();
        }
        // A flush syncs the WAL, which nobody wrote here.
        for (uint64_t segment = WalSegmentNumber(kStart); segment <= WalSegmentNumber(lsn);
             segment++) {
            const std::string path = directory_ + "/wal/" + WalSegmentName(segment);
            if (!FileExists(path)) {
                std::ofstream(path).flush();
            }
        }
    }

    Status Read(const char* what, int count) {
        std::vector<double> times;
        size_t records = 0;
        for (int i = 0; i < count; i++) {
            const PageKey key = PageKey::Relation(
                Relation(1), static_cast<BlockNumber>(random_() % kAccountPages));
            const Clock::time_point begin = Clock::now();
            ZENITH_ASSIGN_OR_RETURN(PageHistory history, timeline_->CollectPage(key, kMaxLsn));
            times.push_back(Milliseconds(begin) * 1000);
            records += history.records.size();
        }
        std::sort(times.begin(), times.end());
        std::printf("%-44s p50 %.1f us, p99 %.1f us, %.1f records each\n", what,
                    times[times.size() / 2], times[times.size() * 99 / 100],
                    static_cast<double>(records) / count);
        return Status::Ok();
    }

    // What a file costs that has nothing about the page, and what merging all of them costs.
    Status MissAndMerge(uint64_t postings) {
        timeline_ = nullptr;
        ZENITH_ASSIGN_OR_RETURN(OpenedLayers layers,
                                OpenDeltaLayers(directory_ + "/layers", id_, kStart, nullptr));
        constexpr uint32_t kQuestions = 1000000;
        double before = ProcessorMilliseconds();
        PageHistory history;
        for (uint32_t i = 0; i < kQuestions; i++) {
            ZENITH_RETURN_IF_ERROR(
                layers.files[i % layers.files.size()]
                    ->SearchPage(PageKey::Relation(Relation(9), i), kMaxLsn, &history)
                    .status());
        }
        std::printf("%-44s %.0f ns\n", "a file that has nothing about the page",
                    (ProcessorMilliseconds() - before) * 1e6 / kQuestions);
        const std::string directory = directory_ + "/merged";
        ZENITH_RETURN_IF_ERROR(EnsureDirectory(directory));
        const Clock::time_point begin = Clock::now();
        before = ProcessorMilliseconds();
        ZENITH_ASSIGN_OR_RETURN(
            RewrittenLayer merged,
            RewriteLayers(layers.files,
                          {directory, id_, {kStart, layers.files.back()->end(), 1}}, nullptr));
        std::printf("%-44s %.0f ms for %zu files, %.0f ns a posting, %.1f MB\n", "merged into one",
                    Milliseconds(begin), layers.files.size(),
                    (ProcessorMilliseconds() - before) * 1e6 / static_cast<double>(postings),
                    static_cast<double>(merged.layer.file_bytes) / 1e6);
        return Status::Ok();
    }

    Status Run(uint64_t postings, uint64_t layers) {
        ZENITH_RETURN_IF_ERROR(Open());
        const double resident_before = ResidentMegabytes();
        double flush_ms = 0;
        for (uint64_t i = 0; i < layers; i++) {
            Clock::time_point begin = Clock::now();
            Write(postings / layers);
            if (i == 0) {
                std::printf("%-44s %.0f ns each, %.1f MB resident\n", "postings put in memory",
                            Milliseconds(begin) * 1e6 / static_cast<double>(postings / layers),
                            ResidentMegabytes() - resident_before);
                ZENITH_RETURN_IF_ERROR(Read("page collected from memory (first piece)", 20000));
            }
            begin = Clock::now();
            timeline_->Flush();
            ZENITH_RETURN_IF_ERROR(timeline_->WaitForFlush());
            flush_ms += Milliseconds(begin);
        }
        const double wal_bytes = static_cast<double>(timeline_->last_record_end() - kStart);
        std::printf("%-44s %.0f ms in all, %.1f MB resident after\n", "flush", flush_ms,
                    ResidentMegabytes() - resident_before);
        timeline_ = nullptr;
        const double resident_closed = ResidentMegabytes();

        Clock::time_point begin = Clock::now();
        ZENITH_RETURN_IF_ERROR(Open());
        const double open_ms = Milliseconds(begin);
        ZENITH_RETURN_IF_ERROR(
            timeline_->CollectPage(PageKey::Relation(Relation(1), 4711), kMaxLsn).status());
        std::printf("%-44s %.2f ms to open, %.2f ms to the first page\n", "restart", open_ms,
                    Milliseconds(begin));
        std::printf("%-44s %zu, %.1f MB, %.1f bytes a posting, %.3f of the WAL\n", "layer files",
                    files_, static_cast<double>(file_bytes_) / 1e6,
                    static_cast<double>(file_bytes_) / static_cast<double>(postings),
                    static_cast<double>(file_bytes_) / wal_bytes);
        std::printf("%-44s %.2f MB counted, %.2f MB resident\n", "memory with all layers open",
                    static_cast<double>(index_bytes_) / 1e6,
                    ResidentMegabytes() - resident_closed);
        ZENITH_RETURN_IF_ERROR(Read("page collected from the files", 20000));
        begin = Clock::now();
        ZENITH_ASSIGN_OR_RETURN(std::vector<RelationEntry> relations,
                                timeline_->ListRelations(kMaxLsn));
        std::printf("%-44s %.1f ms for %zu\n", "relations listed", Milliseconds(begin),
                    relations.size());
        return MissAndMerge(postings);
    }

  private:
    const std::string directory_;
    const TimelineId id_ = TimelineId::Random();
    std::mt19937_64 random_{1};
    uint32_t transactions_ = 0;
    size_t files_ = 0;
    uint64_t file_bytes_ = 0;
    size_t index_bytes_ = 0;
    std::shared_ptr<Timeline> timeline_;
};

}  // namespace
}  // namespace zenith

int main(int argc, char** argv) {
    spdlog::set_level(spdlog::level::warn);
    const uint64_t postings = argc > 1 ? std::strtoull(argv[1], nullptr, 10) : 5000000;
    const uint64_t layers = argc > 2 ? std::strtoull(argv[2], nullptr, 10) : 1;
    char directory[] = "/tmp/zenith_bench_XXXXXX";
    if (postings == 0 || layers == 0 || mkdtemp(directory) == nullptr) {
        return 2;
    }
    std::printf("%llu postings, %llu layers\n", static_cast<unsigned long long>(postings),
                static_cast<unsigned long long>(layers));
    zenith::Status status = zenith::Bench(directory).Run(postings, layers);
    zenith::RemoveTree(directory).Ignore("a leftover below /tmp does no harm");
    if (!status.ok()) {
        std::fprintf(stderr, "%s\n", status.message().c_str());
        return 1;
    }
    return 0;
}

// BuiltRepository: a small repository with a file of every kind: a root with snapshot, WAL over a
// segment's end, layers before and after a garbage collection (so image files, too), a branch with a
// layer and WAL of its own, one without anything, a tag, a compute. No PostgreSQL. Tests only.
#pragma once

#include <gtest/gtest.h>

#include <cstring>
#include <filesystem>
#include <fstream>
#include <memory>
#include <string>
#include <vector>

#include "common/base/posix_file.h"
#include "common/pgformat/record_types.h"
#include "pageserver/layers/wal_storage.h"
#include "pageserver/reconstruct/page_reconstructor.h"
#include "pageserver/reconstruct/reconstructing_imager.h"
#include "pageserver/testing/fake_redo_applier.h"
#include "pageserver/testing/wal_builder.h"
#include "pageserver/timelines/import_cluster.h"
#include "pageserver/timelines/loaded_timeline.h"
#include "pageserver/timelines/small_cluster_for_test.h"
#include "pageserver/wal_ingest/ingester.h"

namespace zenith {

class BuiltRepository {
  public:
    static constexpr RelForkKey kTable{{kDefaultTablespaceOid, 5, 16384}, Fork::kMain};

    BuiltRepository() : cluster_(Lsn(kWalSegmentSize + kWalLongHeaderSize)) {
        MakePagesValid();
        root = TimelineId::Random();
        Check(ImportCluster(repository, cluster_.pgdata(), root));
        Check(repository.WriteBranch("main", root));
        BuildRoot();
        BuildBranches();
        BuildCompute();
    }

    // All files, relative to the repository.
    std::vector<std::string> Files() const {
        std::vector<std::string> files;
        const std::string top = repository.path();
        for (const auto& entry : std::filesystem::recursive_directory_iterator(top)) {
            if (entry.is_regular_file()) {
                files.push_back(entry.path().string().substr(top.size() + 1));
            }
        }
        std::sort(files.begin(), files.end());
        return files;
    }
    std::string Read(const std::string& file) const {
        auto content = ReadWholeFile(repository.path() + "/" + file);
        Check(content.status());
        return content.ok() ? *content : "";
    }
    void Write(const std::string& file, const std::string& content) const {
        std::ofstream(repository.path() + "/" + file, std::ios::binary) << content;
    }
    // In place: a segment is too long to be written whole a thousand times.
    void Xor(const std::string& file, uint64_t offset, uint8_t bits) const {
        std::fstream stream(repository.path() + "/" + file,
                            std::ios::binary | std::ios::in | std::ios::out);
        stream.seekg(static_cast<std::streamoff>(offset));
        const char byte = static_cast<char>(stream.get() ^ bits);
        stream.seekp(static_cast<std::streamoff>(offset));
        stream.put(byte);
        ASSERT_TRUE(stream.flush().good()) << file;
    }
    TimelineId MakeBranch(const std::string& name, const TimelineId& ancestor, Lsn at) {
        TimelineFile file;
        file.id = TimelineId::Random();
        file.ancestor = ancestor;
        file.ancestor_lsn = at;
        file.created_at = 1790000000;
        Check(repository.WriteTimeline(file));
        Check(repository.WriteBranch(name, file.id));
        return file.id;
    }
    // As a page server does it; with `ends`, as of a timeline without a name.
    void Collect(LoadedTimeline* loaded, Lsn horizon, std::vector<Lsn> points, bool ends = false) {
        Timeline::Retention retention;
        retention.horizon = horizon;
        retention.points = std::move(points);
        retention.ends_at_horizon = ends;
        retention.state_at = [&](Lsn at) -> Result<std::string> {
            ZENITH_ASSIGN_OR_RETURN(ClusterState state,
                                    ClusterStateAt(*loaded->timeline, at,
                                                   SmallCluster::kSystemIdentifier));
            return state.Serialize();
        };
        auto report = loaded->timeline->ApplyRetention(retention);
        Check(report.status());
        EXPECT_EQ(report->readable_from, horizon);
    }
    // With its WAL; `parent` is the loaded ancestor, or null.
    std::unique_ptr<LoadedTimeline> Load(const TimelineId& id, const LoadedTimeline* parent) {
        LayerOptions options;
        options.imager = &imager_;
        auto file = repository.ReadTimeline(id);
        Check(file.status());
        auto loaded = LoadTimeline(repository, *file, parent, options);
        Check(loaded.status());
        return *std::move(loaded);
    }
    static WalBuilder BuilderAt(const LoadedTimeline& loaded) {
        return WalBuilder(loaded.follower->last_end(), SmallCluster::kSystemIdentifier,
                          loaded.follower->last_start());
    }

  private:
    SmallCluster cluster_;

  public:
    const Repository repository{cluster_.repository_path()};
    FakeRedoApplier redo;
    TimelineId root;
    TimelineId branch;
    TimelineId empty_branch;
    Lsn collected_to;  // the root's history begins here, but for `kept_point`
    Lsn kept_point;
    Lsn branch_point;
    Lsn tag_point;
    Lsn root_end;
    Lsn branch_end;

  private:
    static void Check(const Status& status) { ASSERT_TRUE(status.ok()) << status.message(); }

    // A page with a right header.
    static PageBuffer Page(char fill, Lsn lsn = Lsn(0x1000)) {
        PageBuffer page{};
        auto put = [&](size_t offset, uint16_t value) {
            std::memcpy(page.data() + offset, &value, sizeof value);
        };
        SetPageLsn(page, lsn);
        put(12, 28);      // pd_lower
        put(14, 4096);    // pd_upper
        put(16, 8192);    // pd_special
        put(18, 0x2004);  // page size and version
        std::memset(page.data() + 4096, fill, 4096);
        return page;
    }
    void MakePagesValid() {
        auto write = [&](const std::string& name, const std::string& fills) {
            std::ofstream file(cluster_.pgdata() + "/" + name, std::ios::binary);
            for (char fill : fills) {
                const PageBuffer page = Page(fill);
                file.write(reinterpret_cast<const char*>(page.data()), kPageSize);
            }
        };
        write("global/1262", "d");
        for (const std::string db : {"base/1/", "base/5/"}) {
            write(db + "1259", "abc");
            write(db + "1259_vm", "v");
        }
    }

    // An image of a page in a record, padded so that records have bytes between them.
    static WalBuilder::Placed PutPage(WalBuilder* wal, BlockNumber block, char fill) {
        WalRecordSpec spec;
        spec.rmgr = Rmgr::kXlog;
        spec.info = kXlogFpi;
        spec.blocks.push_back({.id = 0, .rel = kTable, .block = block, .image = Page(fill)});
        spec.main_data = "pad";
        return wal->Append(spec);
    }
    // Appends what is in `wal` from `from` on, ingests it, and writes a layer file if `flush`.
    static void Take(LoadedTimeline* loaded, const WalBuilder& wal, Lsn from, bool flush) {
        WalStorage& storage = loaded->timeline->wal();
        Check(storage.Append(from, wal.bytes().subspan(from - wal.start())));
        Check(storage.Sync());
        Check(loaded->follower->IngestUpTo(wal.position()));
        Check(storage.SaveDurablePosition(wal.position()));
        if (flush) {
            loaded->follower->Flush();
            Check(loaded->timeline->WaitForFlush());
        }
    }
    void BuildRoot() {
        root_ = Load(root, nullptr);
        WalBuilder wal = BuilderAt(*root_);
        Lsn from = wal.position();
        for (BlockNumber block = 0; block < 20; block++) {
            PutPage(&wal, block, 'x');
        }
        Take(root_.get(), wal, from, true);
        kept_point = from = wal.position();
        for (BlockNumber block = 0; block < 5; block++) {
            PutPage(&wal, block, 'y');
        }
        // Over the segment's end, so that garbage collection frees one.
        wal.FillTo(Lsn(2 * kWalSegmentSize + 5 * kWalPageSize + 800));
        Take(root_.get(), wal, from, true);
        collected_to = from = wal.position();
        Collect(root_.get(), collected_to, {kept_point});
        for (BlockNumber block = 10; block < 30; block++) {
            PutPage(&wal, block, 'z');
        }
        Take(root_.get(), wal, from, true);
        branch_point = from = wal.position();
        for (BlockNumber block = 0; block < 4; block++) {
            PutPage(&wal, block, 'A');
            tag_point = wal.position();
        }
        PutPage(&wal, 3, 'B');
        Take(root_.get(), wal, from, false);
        root_end = wal.position();
        Check(repository.WriteTag("v1", TimelinePoint{root, tag_point}));
        Check(repository.WriteTag("old", TimelinePoint{root, kept_point}));
    }
    void BuildBranches() {
        branch = MakeBranch("dev/x", root, branch_point);
        branch_ = Load(branch, root_.get());
        WalBuilder wal = BuilderAt(*branch_);
        Lsn from = wal.position();
        for (BlockNumber block = 0; block < 12; block++) {
            PutPage(&wal, block, 'p');
        }
        Take(branch_.get(), wal, from, true);
        from = wal.position();
        for (BlockNumber block = 0; block < 7; block++) {
            PutPage(&wal, block, 'q');
        }
        Take(branch_.get(), wal, from, false);
        branch_end = wal.position();
        empty_branch = MakeBranch("leaf", branch, branch_end);
        branch_.reset();
        root_.reset();
    }
    void BuildCompute() {
        ComputeFile compute;
        compute.name = "c";
        compute.branch = "main";
        compute.timeline = root;
        compute.port = 15432;
        Check(EnsureDirectory(repository.ComputeDirectory("c")));
        Check(repository.WriteCompute(compute));
    }

    PageReconstructor reconstructor_{redo, 0};
    ReconstructingImager imager_{reconstructor_};
    std::unique_ptr<LoadedTimeline> root_;
    std::unique_ptr<LoadedTimeline> branch_;
};

}  // namespace zenith

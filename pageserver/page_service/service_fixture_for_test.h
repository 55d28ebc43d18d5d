// A page service over a real repository in a temporary directory, real in-memory timelines over a
// made-up snapshot, and a timeline manager without computes.
#pragma once

#include <gtest/gtest.h>

#include <chrono>
#include <cstring>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <utility>
#include <vector>

#include "common/base/log.h"
#include "common/pqclient/pq_connection.h"
#include "common/repo/repository.h"
#include "pageserver/layers/fake_snapshot_for_test.h"
#include "pageserver/layers/temp_directory_for_test.h"
#include "pageserver/layers/wal_storage.h"
#include "pageserver/page_service/page_service.h"
#include "pageserver/testing/fake_redo_applier.h"

namespace zenith {

inline constexpr int kTestTimeoutMs = 20000;
inline constexpr Lsn kSnapshotLsn{0x1000000};
inline const RelForkKey kTestRelation{{1663, 5, 16384}, Fork::kMain};
inline constexpr BlockNumber kTestBlocks = 300;

// Block `block` of kTestRelation in the snapshot. Block 7 of every ten is all zero: not there.
inline std::optional<PageBuffer> TestPage(BlockNumber block) {
    if (block % 10 == 7 || block >= kTestBlocks) {
        return std::nullopt;
    }
    PageBuffer page{};
    SetPageLsn(page, kSnapshotLsn);
    page[15] = std::byte{0x20};  // pd_upper: not a new page
    page[100] = static_cast<std::byte>(block);
    page[101] = static_cast<std::byte>(block >> 8);
    return page;
}

class FakeTimelineManager : public TimelineManager {
  public:
    FakeTimelineManager(const Repository& repository, std::string wal_directory)
        : repository_(repository), wal_directory_(std::move(wal_directory)) {
        config_.system_identifier = 4711;
    }
    // Before the service starts.
    void set_data_checksums() { config_.data_checksums = true; }

    const RepoConfig& config() const override { return config_; }

    Result<std::shared_ptr<Timeline>> Get(const TimelineId& id) override {
        std::lock_guard lock(mutex_);
        auto found = timelines_.find(id);
        if (found == timelines_.end()) {
            return Status::NotFound("timeline " + id.ToString() + " does not exist", "Look.");
        }
        return found->second;
    }
    Result<ClusterState> StateAt(const TimelineId&, std::optional<Lsn>) override {
        return Status::Unavailable("no cluster state in this test");
    }
    Result<TimelineFile> CreateTimeline(
        const TimelinePoint& point,
        const std::function<Status(const TimelineFile&)>& write_name) override {
        ZENITH_ASSIGN_OR_RETURN(TimelinePoint pinned, PinPoint(point, {}));
        ZENITH_ASSIGN_OR_RETURN(std::shared_ptr<Timeline> parent, Get(point.timeline));
        TimelineFile file = Add(TimelineId::Random(), point.timeline, parent, *pinned.lsn);
        Status named = write_name(file);
        if (!named.ok()) {
            EXPECT_TRUE(repository_.RemoveTimeline(file.id).ok());
            return named;
        }
        return file;
    }
    Result<TimelinePoint> PinPoint(
        const TimelinePoint& point,
        const std::function<Status(const TimelinePoint&)>& write_name) override {
        ZENITH_ASSIGN_OR_RETURN(std::shared_ptr<Timeline> timeline, Get(point.timeline));
        if (point.lsn && *point.lsn > timeline->last_record_end()) {
            return Status::NotFound("LSN from the future", "Wait.");
        }
        TimelinePoint pinned{point.timeline, point.lsn.value_or(timeline->last_record_end())};
        if (write_name) {
            ZENITH_RETURN_IF_ERROR(write_name(pinned));
        }
        return pinned;
    }
    Status DeleteTimeline(const TimelineId&,
                          const std::function<Status()>& remove_name) override {
        std::lock_guard lock(mutex_);
        if (!refuse_delete_.ok()) {
            return refuse_delete_;
        }
        return remove_name();
    }
    Status ReleasePoint(const TimelinePoint&, const std::function<Status()>& remove_name) override {
        return remove_name();
    }
    Result<std::shared_ptr<void>> HoldLsn(const TimelineId& id, Lsn lsn, int) override {
        ZENITH_ASSIGN_OR_RETURN(std::shared_ptr<Timeline> timeline, Get(id));
        if (lsn < kSnapshotLsn) {
            return Status::NotFound("LSN " + lsn.ToString() + " is gone, the oldest one is " +
                                        kSnapshotLsn.ToString(),
                                    "Ask for that.");
        }
        std::lock_guard lock(mutex_);
        held_.push_back(lsn);
        return std::shared_ptr<void>(nullptr, [this, lsn](void*) {
            std::lock_guard held_lock(mutex_);
            std::erase(held_, lsn);
        });
    }
    std::vector<Lsn> held() {
        std::lock_guard lock(mutex_);
        return held_;
    }
    RetentionSettings retention() const override { return retention_; }
    Status SetRetention(const RetentionSettings& settings) override {
        retention_ = settings;
        return Status::Ok();
    }
    Result<GarbageReport> CollectGarbage(const TimelineId& id, bool dry_run) override {
        ZENITH_ASSIGN_OR_RETURN(std::shared_ptr<Timeline> timeline, Get(id));
        GarbageReport report;
        report.timeline = id;
        report.removed = dry_run;
        report.retention = {kSnapshotLsn, 11, 22, 33};
        return report;
    }
    void StartHousekeeping() override {}
    void FlushAll() override {}
    Result<WriteGrant> GrantWriter(const TimelineId&) override {
        return Status::Refused("a compute lives", "Stop it.");
    }
    Status CallMeMaybe(const TimelineId& id, uint64_t term, const std::string& connstr) override {
        std::lock_guard lock(mutex_);
        calls_.push_back(id.ToString() + " " + std::to_string(term) + " " + connstr);
        return term == 1 ? Status::Ok() : Status::Refused("term is not current", "Restart it.");
    }
    Result<std::vector<TimelineInfo>> List() override {
        ZENITH_ASSIGN_OR_RETURN(std::vector<TimelineId> ids, repository_.ListTimelines());
        std::vector<TimelineInfo> infos;
        std::lock_guard lock(mutex_);
        for (const TimelineId& id : ids) {
            TimelineInfo info;
            ZENITH_ASSIGN_OR_RETURN(info.file, repository_.ReadTimeline(id));
            info.loaded = timelines_.contains(id);
            info.last_record_end = info.loaded ? timelines_[id]->last_record_end() : Lsn();
            info.receiving = receiving_ == id;
            infos.push_back(std::move(info));
        }
        return infos;
    }
    void Shutdown() override {}

    TimelineFile Add(TimelineId id, TimelineId ancestor, std::shared_ptr<Timeline> parent,
                     Lsn start) {
        TimelineFile file;
        file.id = id;
        file.ancestor = ancestor;
        file.ancestor_lsn = start;
        file.created_at = 1790000000;
        EXPECT_TRUE(repository_.WriteTimeline(file).ok());
        std::unique_ptr<FakeSnapshot> snapshot;
        const WalStorage* parent_wal = nullptr;
        if (parent == nullptr) {
            snapshot = std::make_unique<FakeSnapshot>(start);
            snapshot->AddRelation(kTestRelation, kTestBlocks);
            for (BlockNumber block = 0; block < kTestBlocks; block++) {
                if (auto page = TestPage(block)) {
                    snapshot->AddPage(PageKey::Relation(kTestRelation, block), *page);
                }
            }
        } else {
            parent_wal = &parent->wal();
        }
        auto timeline =
            MakeTimeline(id, start, std::move(parent), std::move(snapshot),
                         std::make_unique<WalStorage>(wal_directory_, start, parent_wal));
        std::lock_guard lock(mutex_);
        timelines_[id] = std::move(timeline);
        return file;
    }

    std::vector<std::string> calls() {
        std::lock_guard lock(mutex_);
        return calls_;
    }
    void set_receiving(const TimelineId& id) {
        std::lock_guard lock(mutex_);
        receiving_ = id;
    }
    void set_refuse_delete(Status status) {
        std::lock_guard lock(mutex_);
        refuse_delete_ = std::move(status);
    }

  private:
    const Repository& repository_;
    std::string wal_directory_;
    RepoConfig config_;
    std::mutex mutex_;
    std::map<TimelineId, std::shared_ptr<Timeline>> timelines_;  // guarded by mutex_
    std::vector<std::string> calls_;                             // guarded by mutex_
    TimelineId receiving_;                                       // guarded by mutex_
    Status refuse_delete_;                                       // guarded by mutex_
    std::vector<Lsn> held_;                                      // guarded by mutex_
    RetentionSettings retention_;
};

// A record that changes no page: moves the end of the timeline.
inline void AdvanceTimeline(Timeline& timeline, Lsn end) {
    timeline.BeginRecords();
    timeline.StartRecord(timeline.last_record_end(), end);
    timeline.CommitRecords();
}

class ServiceTest : public testing::Test {
  protected:
    ServiceTest()
        : repository_(directory_.path() + "/repo"),
          manager_(repository_, directory_.path()),
          reconstructor_(applier_, 1 << 20) {
        spdlog::set_level(spdlog::level::err);
        EXPECT_TRUE(repository_.CreateLayout().ok());
        manager_.Add(main_id_, TimelineId(), nullptr, kSnapshotLsn);
        EXPECT_TRUE(repository_.WriteBranch("main", main_id_).ok());
    }

    PageServiceOptions Options() const {
        PageServiceOptions options;
        options.socket_directory = directory_.path();
        options.wait_lsn_timeout_ms = kTestTimeoutMs;
        return options;
    }
    void Start(const PageServiceOptions& options) {
        service_ = std::make_unique<PageService>(options, repository_, manager_, reconstructor_);
        Status status = service_->Start();
        ASSERT_TRUE(status.ok()) << status.message();
    }
    void Start() { Start(Options()); }

    std::string TcpConnstr() const {
        return "host=127.0.0.1 user=u dbname=zenith port=" + std::to_string(service_->port());
    }
    std::string SocketConnstr() const {
        return "user=u dbname=zenith host=" + directory_.path() +
               " port=" + std::to_string(kPageServerSocketPort);
    }
    PqConnection Connect() const {
        auto connection = PqConnection::Connect(TcpConnstr(), kTestTimeoutMs);
        EXPECT_TRUE(connection.ok()) << connection.status().message();
        return *std::move(connection);
    }
    // The server needs a moment to see that a client has gone.
    Result<PqConnection> ConnectWhenThereIsRoom() const {
        auto deadline =
            std::chrono::steady_clock::now() + std::chrono::milliseconds(kTestTimeoutMs);
        for (;;) {
            auto connection = PqConnection::Connect(TcpConnstr(), kTestTimeoutMs);
            if (connection.ok() || std::chrono::steady_clock::now() > deadline) {
                return connection;
            }
        }
    }
    Timeline& MainTimeline() { return **manager_.Get(main_id_); }

    TempDirectory directory_;
    Repository repository_;
    FakeTimelineManager manager_;
    FakeRedoApplier applier_;
    PageReconstructor reconstructor_;
    TimelineId main_id_ = *TimelineId::Parse("0123456789abcdef0123456789abcdef");
    std::unique_ptr<PageService> service_;
};

}  // namespace zenith

// TimelineManagerTest: a manager of an imported SmallCluster, and computes without a PostgreSQL.
// Tests only.
#pragma once

#include <fcntl.h>
#include <gtest/gtest.h>
#include <poll.h>

#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <utility>

#include "common/base/unique_fd.h"
#include "pageserver/layers/delta_layer_file.h"
#include "pageserver/testing/wal_builder.h"
#include "pageserver/timelines/compute_access.h"
#include "pageserver/timelines/import_cluster.h"
#include "pageserver/timelines/small_cluster_for_test.h"
#include "pageserver/timelines/timeline_manager.h"
#include "pageserver/wal_receiver/scripted_wal_source.h"

namespace zenith {

inline const RelForkKey kRelation{{kDefaultTablespaceOid, 5, 16384}, Fork::kMain};

// Computes by connection string: which live, and what they stream.
class FakeComputes {
  public:
    ScriptedCompute& At(const std::string& connstr) {
        std::lock_guard lock(mutex_);
        return computes_[connstr];
    }
    void SetLiveness(const std::string& connstr, ComputeLiveness liveness) {
        std::lock_guard lock(mutex_);
        liveness_[connstr] = liveness;
    }
    void SetFlush(std::function<Result<Lsn>()> flush) {
        std::lock_guard lock(mutex_);
        flush_ = std::move(flush);
    }

    // Until the receiver that connected to it last has been told to stop.
    bool WaitForStop(const std::string& connstr) {
        pollfd stopped;
        {
            std::lock_guard lock(mutex_);
            stopped = {stop_fds_.at(connstr).get(), POLLIN, 0};
        }
        return poll(&stopped, 1, 20000) == 1;
    }

    ComputeAccess Access() {
        ComputeAccess access;
        access.connect = [this](const WalSourceTarget& target, int wake_fd) {
            {
                std::lock_guard lock(mutex_);
                stop_fds_[target.connstr] = UniqueFd(fcntl(wake_fd, F_DUPFD_CLOEXEC, 0));
            }
            return At(target.connstr).Connector()(target, wake_fd);
        };
        access.probe = [this](const std::string& connstr, const TimelineId&, uint64_t, int) {
            std::lock_guard lock(mutex_);
            auto found = liveness_.find(connstr);
            return found == liveness_.end() ? ComputeLiveness::kGone : found->second;
        };
        access.flush = [this](const std::string&, int, int) -> Result<Lsn> {
            std::function<Result<Lsn>()> flush;
            {
                std::lock_guard lock(mutex_);
                flush = flush_;
            }
            return flush ? flush() : Result<Lsn>(Status::Unavailable("nobody there"));
        };
        return access;
    }

  private:
    std::mutex mutex_;
    std::map<std::string, ScriptedCompute> computes_;
    std::map<std::string, ComputeLiveness> liveness_;
    std::map<std::string, UniqueFd> stop_fds_;  // readable when a receiver has to stop
    std::function<Result<Lsn>()> flush_;
};

class TimelineManagerTest : public testing::Test {
  protected:
    void SetUp() override {
        root_ = TimelineId::Random();
        Status status = ImportCluster(repository_, cluster_.pgdata(), root_);
        ASSERT_TRUE(status.ok()) << status.message();
        Open();
    }
    // As after a restart of the page server.
    void Open() {
        manager_.reset();
        auto manager = OpenTimelineManager(repository_, computes_.Access(), options_);
        ASSERT_TRUE(manager.ok()) << manager.status().message();
        manager_ = *std::move(manager);
    }

    uint64_t Grant(const TimelineId& id) {
        auto grant = manager_->GrantWriter(id);
        EXPECT_TRUE(grant.ok()) << grant.status().message();
        return grant.ok() ? grant->term : 0;
    }
    // A compute that takes over `id` and calls from `connstr`.
    void RunCompute(const TimelineId& id, const std::string& connstr) {
        uint64_t term = Grant(id);
        computes_.SetLiveness(connstr, ComputeLiveness::kLives);
        auto state = manager_->StateAt(id, std::nullopt);
        ASSERT_TRUE(state.ok()) << state.status().message();
        computes_.At(connstr).SetFirstLsn(state->record_end);
        ASSERT_TRUE(manager_->CallMeMaybe(id, term, connstr).ok());
    }
    // The compute has flushed what is in the builder; returns when it is ingested.
    void Deliver(const TimelineId& id, const std::string& connstr, const WalBuilder& builder) {
        computes_.At(connstr).SetStream(builder.start(), builder.stream());
        auto timeline = manager_->Get(id);
        ASSERT_TRUE(timeline.ok());
        ASSERT_TRUE((*timeline)->WaitForLsn(builder.position(), 20000).ok());
    }
    WalBuilder BuilderAt(const TimelineId& id) {
        auto state = manager_->StateAt(id, std::nullopt);
        EXPECT_TRUE(state.ok()) << state.status().message();
        return WalBuilder(state->record_end, SmallCluster::kSystemIdentifier, state->record_start);
    }
    static WalBuilder::Placed Extend(WalBuilder* builder, BlockNumber block, uint32_t xid = 1000) {
        WalRecordSpec spec;
        spec.rmgr = Rmgr::kHeap;
        spec.xid = xid;
        spec.info = 0x80;  // XLOG_HEAP_INIT_PAGE | XLOG_HEAP_INSERT
        spec.main_data = std::string(3, '\0');
        spec.blocks.push_back({.id = 0, .rel = kRelation, .block = block, .will_init = true,
                               .data = "tuple"});
        return builder->Append(spec);
    }
    std::optional<BlockNumber> SizeAt(const TimelineId& id, Lsn at) {
        auto timeline = manager_->Get(id);
        EXPECT_TRUE(timeline.ok()) << timeline.status().message();
        auto size = (*timeline)->RelationSize(kRelation, at);
        EXPECT_TRUE(size.ok()) << size.status().message();
        return *size;
    }

    TimelineInfo InfoOf(const TimelineId& id) {
        auto list = manager_->List();
        EXPECT_TRUE(list.ok());
        for (const TimelineInfo& info : *list) {
            if (info.file.id == id) {
                return info;
            }
        }
        ADD_FAILURE() << "not listed: " << id.ToString();
        return {};
    }

    SmallCluster cluster_;
    Repository repository_{cluster_.repository_path()};
    // The end of the newest layer file; invalid when there is none.
    Lsn LayersEnd(const TimelineId& id) {
        const std::string directory = repository_.LayerDirectory(id);
        auto layers = OpenDeltaLayers(directory, id, repository_.ReadTimeline(id)->ancestor_lsn,
                                      nullptr, Leftovers::kKeep);
        EXPECT_TRUE(layers.ok()) << layers.status().message();
        return layers->files.empty() ? Lsn() : layers->files.back()->end();
    }
    // Many records in pieces, with a flush after about each of them.
    void DeliverInPieces(const TimelineId& id, const std::string& connstr, WalBuilder* builder,
                         BlockNumber begin, BlockNumber end) {
        for (BlockNumber block = begin; block < end; block++) {
            Extend(builder, block, 1000 + block);
            Deliver(id, connstr, *builder);
        }
    }

    FakeComputes computes_;
    TimelineId root_;
    LayerOptions options_;
    std::unique_ptr<TimelineManager> manager_;
};

}  // namespace zenith

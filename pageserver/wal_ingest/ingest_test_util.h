// Bodies of records and a driver for the tests of this folder.
#pragma once

#include <gtest/gtest.h>
#include <stdlib.h>

#include <memory>
#include <string>
#include <vector>

#include "common/base/byte_writer.h"
#include "common/base/posix_file.h"
#include "common/pgformat/record_types.h"
#include "pageserver/layers/wal_storage.h"
#include "pageserver/testing/fake_timeline.h"
#include "pageserver/testing/wal_builder.h"
#include "pageserver/wal_ingest/ingester.h"

namespace zenith {

inline std::string Words(std::initializer_list<uint32_t> words) {
    ByteWriter body;
    for (uint32_t word : words) {
        body.U32Le(word);
    }
    return body.Take();
}

// A commit or abort record of `xid` with what is given.
struct XactSpec {
    uint8_t info = kXactCommit;
    uint32_t xid = 0;
    std::vector<uint32_t> subxacts = {};
    std::vector<RelFileNode> dropped = {};
    uint32_t prepared_xid = 0;
    uint64_t origin_lsn = 0;
    uint16_t origin = 0;
    int64_t time = 4242;  // TimestampTz

    WalRecordSpec Record() const {
        ByteWriter body;
        body.U64Le(static_cast<uint64_t>(time));
        uint32_t xinfo = (subxacts.empty() ? 0 : kXinfoHasSubxacts) |
                         (dropped.empty() ? 0 : kXinfoHasRelFileNodes) |
                         (prepared_xid == 0 ? 0 : kXinfoHasTwoPhase) |
                         (origin == 0 ? 0 : kXinfoHasOrigin);
        if (xinfo != 0) {
            body.U32Le(xinfo);
        }
        if (!subxacts.empty()) {
            body.U32Le(static_cast<uint32_t>(subxacts.size()));
            for (uint32_t subxact : subxacts) {
                body.U32Le(subxact);
            }
        }
        if (!dropped.empty()) {
            body.U32Le(static_cast<uint32_t>(dropped.size()));
            for (const RelFileNode& node : dropped) {
                body.Text(Words({node.spc, node.db, node.rel}));
            }
        }
        if (prepared_xid != 0) {
            body.U32Le(prepared_xid);
        }
        if (origin != 0) {
            body.U64Le(origin_lsn);
            body.U64Le(5000);
        }
        WalRecordSpec record;
        record.rmgr = Rmgr::kXact;
        record.info = info | (xinfo != 0 ? kXactHasInfo : 0);
        record.xid = xid;
        record.origin = origin;
        record.main_data = body.Take();
        return record;
    }
};

inline WalRecordSpec PlainRecord(Rmgr rmgr, uint8_t info, std::string main_data,
                                 uint32_t xid = 0) {
    WalRecordSpec record;
    record.rmgr = rmgr;
    record.info = info;
    record.xid = xid;
    record.main_data = std::move(main_data);
    return record;
}

class IngestTest : public testing::Test {
  protected:
    IngestTest() {
        state_.next_xid = 1000;
        state_.next_oid = 16384;
        state_.next_multi = 1;
        state_.oldest_xid = 700;
        state_.oldest_multi = 1;
        state_.record_end = wal_.start();
        char path[] = "/tmp/zenith_ingest_XXXXXX";
        directory_ = mkdtemp(path);
        storage_ = std::make_unique<WalStorage>(directory_, wal_.start(), nullptr);
        timeline_.storage = storage_.get();
    }
    ~IngestTest() override {
        storage_.reset();
        EXPECT_TRUE(RemoveTree(directory_).ok());
    }

    // Builds the record, ingests it, and returns what it changed.
    std::vector<std::string> Ingest(const WalRecordSpec& spec) {
        Status status = TryIngest(spec);
        EXPECT_TRUE(status.ok()) << status.message();
        return timeline_.TakeChanges();
    }
    Status TryIngest(const WalRecordSpec& spec) {
        if (ingester_ == nullptr) {
            ingester_ = std::make_unique<Ingester>(timeline_, state_);
        }
        const Lsn from = wal_.position();
        placed_ = wal_.Append(spec);
        ZENITH_RETURN_IF_ERROR(storage_->Append(from, wal_.bytes().subspan(from - wal_.start())));
        return ingester_->IngestRecord(
            {placed_.start, placed_.end, std::as_bytes(std::span(placed_.bytes))});
    }
    // The next record is the first of a new ingester, as after a restart.
    void Restart() {
        state_ = ingester_->state();
        ingester_.reset();
    }
    const ClusterState& state() const { return ingester_->state(); }

    using Changes = std::vector<std::string>;
    WalBuilder wal_{Lsn(0x1000100), 1};
    std::string directory_;
    std::unique_ptr<WalStorage> storage_;
    FakeTimeline timeline_;
    ClusterState state_;
    std::unique_ptr<Ingester> ingester_;
    WalBuilder::Placed placed_;
};

}  // namespace zenith

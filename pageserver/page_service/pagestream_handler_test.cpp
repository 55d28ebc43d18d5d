#include "pageserver/page_service/pagestream_handler.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <chrono>

#include "common/pagestream/pagestream_codec.h"
#include "common/pgformat/page_checksum.h"
#include "pageserver/page_service/service_fixture_for_test.h"

namespace zenith {
namespace {

class PagestreamTest : public ServiceTest {
  protected:
    PqConnection OpenStream() {
        PqConnection connection = Connect();
        Status status =
            connection.StartCopyBoth("pagestream " + main_id_.ToString(), kTestTimeoutMs);
        EXPECT_TRUE(status.ok()) << status.message();
        return connection;
    }
    static PageRequest Request(uint64_t id, BlockNumber block, uint16_t count = 1) {
        PageRequest request;
        request.request_id = id;
        request.lsn = kSnapshotLsn;
        request.rel = kTestRelation;
        request.block = block;
        request.count = count;
        return request;
    }
    static void Send(PqConnection& connection, const PageRequest& request) {
        std::string message;
        AppendPageRequest(request, &message);
        Status status = connection.SendCopyData(
            std::as_bytes(std::span(message.data(), message.size())), kTestTimeoutMs);
        ASSERT_TRUE(status.ok()) << status.message();
    }
    // Reads the next response; its spans point into *bytes.
    static PageResponse Receive(PqConnection& connection, std::string* bytes) {
        auto data = connection.ReceiveCopyData(kTestTimeoutMs);
        EXPECT_TRUE(data.ok()) << data.status().message();
        if (!data.ok() || !*data) {
            return {};
        }
        *bytes = **data;
        auto response = DecodePageResponse(std::as_bytes(std::span(bytes->data(), bytes->size())));
        EXPECT_TRUE(response.ok()) << response.status().message();
        return response.ok() ? *response : PageResponse();
    }
    static void ExpectPage(PqConnection& connection, uint64_t id, BlockNumber block) {
        std::string bytes;
        PageResponse response = Receive(connection, &bytes);
        EXPECT_EQ(response.request_id, id);
        EXPECT_EQ(response.block, block);
        std::optional<PageBuffer> expected = TestPage(block);
        ASSERT_EQ(response.kind,
                  expected ? PageResponse::Kind::kPage : PageResponse::Kind::kMissing)
            << "block " << block << ": " << response.message;
        if (expected) {
            EXPECT_TRUE(std::equal(expected->begin(), expected->end(), response.page.begin(),
                                   response.page.end()));
        }
    }
    static std::string ExpectFailure(PqConnection& connection, uint64_t id, BlockNumber block,
                                     const std::string& sqlstate) {
        std::string bytes;
        PageResponse response = Receive(connection, &bytes);
        EXPECT_EQ(response.kind, PageResponse::Kind::kFailure);
        EXPECT_EQ(response.request_id, id);
        EXPECT_EQ(response.block, block);
        EXPECT_EQ(response.sqlstate, sqlstate);
        EXPECT_FALSE(response.hint.empty());
        return std::string(response.message);
    }
    uint64_t StatusValue(const std::string& name) {
        auto rows = Connect().Query("status", kTestTimeoutMs);
        EXPECT_TRUE(rows.ok());
        for (const auto& row : rows->rows) {
            if (row[0] == name) {
                return std::stoull(*row[1]);
            }
        }
        ADD_FAILURE() << name;
        return 0;
    }
};

TEST_F(PagestreamTest, PagesInOrderAndHoles) {
    Start();
    PqConnection stream = OpenStream();
    Send(stream, Request(1, 0));
    ExpectPage(stream, 1, 0);
    Send(stream, Request(2, 290, 20));  // past the end: these do not exist
    for (BlockNumber block = 290; block < 310; block++) {
        ExpectPage(stream, 2, block);
    }
    PageRequest unknown = Request(3, 0);
    unknown.rel.node.rel = 99999;
    Send(stream, unknown);
    std::string bytes;
    EXPECT_EQ(Receive(stream, &bytes).kind, PageResponse::Kind::kMissing);
    // The end of the stream, and the connection is free for the next command.
    ASSERT_TRUE(stream.SendCopyDone(kTestTimeoutMs).ok());
    auto data = stream.ReceiveCopyData(kTestTimeoutMs);
    ASSERT_FALSE(data.ok());
    EXPECT_EQ(data.status().message(), "the server ended the stream");
}

TEST_F(PagestreamTest, PipelinedRequestsAreAnsweredInOrder) {
    Start();
    PqConnection stream = OpenStream();
    for (uint64_t id = 0; id < 1000; id++) {
        Send(stream, Request(id, static_cast<BlockNumber>(id % kTestBlocks), 2));
    }
    for (uint64_t id = 0; id < 1000; id++) {
        ExpectPage(stream, id, static_cast<BlockNumber>(id % kTestBlocks));
        ExpectPage(stream, id, static_cast<BlockNumber>(id % kTestBlocks) + 1);
    }
    EXPECT_EQ(StatusValue("page_requests"), 1000u);
    EXPECT_EQ(StatusValue("pages_served"), 2000u);
    EXPECT_EQ(StatusValue("page_failures"), 0u);
}

// What PostgreSQL verifies is on every page of a cluster with checksums, and on no other's.
TEST_F(PagestreamTest, ChecksumsAreSet) {
    manager_.set_data_checksums();
    Start();
    PqConnection stream = OpenStream();
    Send(stream, Request(1, 40, 10));
    std::string bytes;
    for (BlockNumber block = 40; block < 50; block++) {
        PageResponse response = Receive(stream, &bytes);
        std::optional<PageBuffer> expected = TestPage(block);
        if (expected) {
            SetPageChecksum(*expected, block);
            EXPECT_NE(*expected, *TestPage(block));
            EXPECT_TRUE(std::ranges::equal(*expected, response.page)) << block;
        } else {
            EXPECT_EQ(response.kind, PageResponse::Kind::kMissing) << block;
        }
    }
}

// Requests that lie in the socket together become one call of the reconstructor.
TEST_F(PagestreamTest, WaitingRequestsAreBatched) {
    Start();
    PqConnection stream = OpenStream();
    // The first one waits for WAL; the others gather behind it.
    PageRequest first = Request(0, 0);
    first.lsn = Lsn(0x1000100);
    Send(stream, first);
    for (uint64_t id = 1; id <= 50; id++) {
        Send(stream, Request(id, static_cast<BlockNumber>(id)));
    }
    AdvanceTimeline(MainTimeline(), Lsn(0x1000100));
    for (uint64_t id = 0; id <= 50; id++) {
        ExpectPage(stream, id, static_cast<BlockNumber>(id));
    }
    EXPECT_EQ(StatusValue("page_requests"), 51u);
    EXPECT_LT(StatusValue("page_batches"), 51u);
}

TEST_F(PagestreamTest, LatestWaitsForItsLsn) {
    PageServiceOptions options = Options();
    options.wait_lsn_timeout_ms = 50;
    Start(options);
    PqConnection stream = OpenStream();
    PageRequest ahead = Request(1, 5, 2);
    ahead.lsn = Lsn(0x1000200);
    Send(stream, ahead);
    Send(stream, Request(2, 6));
    std::string message = ExpectFailure(stream, 1, 5, "08006");
    EXPECT_NE(message.find("has not reached LSN 0/1000200"), std::string::npos) << message;
    EXPECT_NE(message.find("its last LSN is 0/1000000"), std::string::npos) << message;
    ExpectFailure(stream, 1, 6, "08006");
    ExpectPage(stream, 2, 6);
    // The wait is over when the WAL is there.
    AdvanceTimeline(MainTimeline(), Lsn(0x1000200));
    Send(stream, ahead);
    ExpectPage(stream, 1, 5);
    ExpectPage(stream, 1, 6);
}

TEST_F(PagestreamTest, ExactReadsOnlyInsideTheHistory) {
    Start();
    AdvanceTimeline(MainTimeline(), Lsn(0x1000300));
    PqConnection stream = OpenStream();
    PageRequest exact = Request(1, 3);
    exact.mode = PageReadMode::kExact;
    for (uint64_t lsn : {0x1000000, 0x1000123, 0x1000300}) {
        exact.lsn = Lsn(lsn);
        Send(stream, exact);
        ExpectPage(stream, 1, 3);
    }
    exact.lsn = Lsn(0x1000301);
    Send(stream, exact);
    EXPECT_EQ(ExpectFailure(stream, 1, 3, "42704"), "LSN 0/1000301 is in the future of timeline " +
                                                        main_id_.ToString() +
                                                        ", whose last LSN is 0/1000300");
    exact.lsn = Lsn(0xFFFFFF);
    Send(stream, exact);
    EXPECT_NE(ExpectFailure(stream, 1, 3, "42704").find("oldest one is 0/1000000"), std::string::npos);
    EXPECT_EQ(manager_.held(), std::vector<Lsn>{Lsn(0x1000300)}) << "the last one read";
    Send(stream, Request(2, 4));
    ExpectPage(stream, 2, 4);
}

TEST_F(PagestreamTest, BranchReadsThroughItsParent) {
    Start();
    PqConnection control = Connect();
    auto rows = control.Query("branch_create dev main", kTestTimeoutMs);
    ASSERT_TRUE(rows.ok());
    AdvanceTimeline(MainTimeline(), Lsn(0x1000100));
    PqConnection stream = Connect();
    ASSERT_TRUE(stream.StartCopyBoth("pagestream " + *rows->rows[0][1], kTestTimeoutMs).ok());
    Send(stream, Request(1, 3));
    ExpectPage(stream, 1, 3);
    // What comes after the branch point on main is not the branch's future.
    PageRequest exact = Request(2, 3);
    exact.mode = PageReadMode::kExact;
    exact.lsn = Lsn(0x1000100);
    Send(stream, exact);
    ExpectFailure(stream, 2, 3, "42704");
}

TEST_F(PagestreamTest, BrokenRequestIsAnsweredAfterTheGoodOnesAndCloses) {
    Start();
    PqConnection stream = OpenStream();
    Send(stream, Request(1, 0));
    std::string bad;
    AppendPageRequest(Request(2, 0), &bad);
    bad[1] = 9;
    ASSERT_TRUE(stream.SendCopyData(std::as_bytes(std::span(bad.data(), bad.size())), -1).ok());
    ExpectPage(stream, 1, 0);
    auto data = stream.ReceiveCopyData(kTestTimeoutMs);
    ASSERT_FALSE(data.ok());
    EXPECT_EQ(data.status().message(),
              "the client speaks pagestream version 9, this server speaks version 1");
    EXPECT_FALSE(data.status().hint().empty());
    // Other connections go on.
    EXPECT_TRUE(Connect().Query("status", kTestTimeoutMs).ok());
}

TEST_F(PagestreamTest, StopEndsAWaitForWal) {
    Start();
    PqConnection stream = OpenStream();
    PageRequest ahead = Request(1, 5);
    ahead.lsn = Lsn(0x2000000);
    Send(stream, ahead);
    auto began = std::chrono::steady_clock::now();
    service_->Stop();
    EXPECT_LT(std::chrono::steady_clock::now() - began,
              std::chrono::milliseconds(kTestTimeoutMs / 2));
}

}  // namespace
}  // namespace zenith

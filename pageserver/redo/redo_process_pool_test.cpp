#include "pageserver/redo/redo_process_pool.h"

#include <signal.h>

#include <atomic>
#include <random>
#include <thread>

#include "common/pgformat/page_format.h"
#include "pageserver/redo/redo_test_support.h"

namespace zenith {
namespace {

constexpr uint64_t kFirstLsn = 0x2000000;

// A page made of `count` inserts, the first of which initializes it. Every record is 64 bytes of
// WAL further on.
RedoRequest InsertChain(BlockNumber block, int count, uint64_t first = kFirstLsn) {
    RedoRequest request;
    request.key = PageKey::Relation(kTestTable, block);
    for (int i = 0; i < count; ++i) {
        Lsn start(first + 64 * static_cast<uint64_t>(i));
        request.records.push_back(
            {start, start + 64,
             HeapInsert(block, static_cast<uint16_t>(i + 1), "row of " + std::to_string(block),
                        i == 0)});
    }
    return request;
}

void ExpectChain(const Result<PageBuffer>& page, const RedoRequest& request) {
    ASSERT_TRUE(page.ok()) << page.status().message();
    EXPECT_EQ(PageLsn(*page), request.records.back().end);
    EXPECT_EQ(Count(PageText(*page), "row of " + std::to_string(request.key.block)),
              request.records.size());
}

class RedoProcessPoolTest : public testing::Test {
  protected:
    TestDirectory directory_;
};

TEST_F(RedoProcessPoolTest, AppliesChainsAndContinuesFromABase) {
    RedoProcessPool pool(TestPoolOptions(directory_));
    std::vector<RedoRequest> requests = {InsertChain(7, 10)};
    std::vector<Result<PageBuffer>> whole = pool.Apply(requests);
    ASSERT_EQ(whole.size(), 1u);
    ExpectChain(whole[0], requests[0]);

    // The same in two steps gives the same bytes.
    std::vector<RedoRequest> half = {InsertChain(7, 4)};
    std::vector<Result<PageBuffer>> first = pool.Apply(half);
    ASSERT_TRUE(first[0].ok());
    RedoRequest rest = InsertChain(7, 10);
    rest.records.erase(rest.records.begin(), rest.records.begin() + 4);
    rest.base = *first[0];
    std::vector<Result<PageBuffer>> second = pool.Apply(std::span(&rest, 1));
    ASSERT_TRUE(second[0].ok()) << second[0].status().message();
    EXPECT_EQ(*second[0], *whole[0]);

    RedoProcessPool::Stats stats = pool.stats();
    EXPECT_EQ(stats.pages, 3u);
    EXPECT_EQ(stats.records, 20u);
    EXPECT_EQ(stats.failures, 0u);
    EXPECT_EQ(stats.process_starts, 1u);
}

TEST_F(RedoProcessPoolTest, OtherBlocksOfARecordDoNotLeakIntoLaterRequests) {
    // An image of two blocks; asking for one must leave nothing of the other behind.
    RedoProcessPool pool(TestPoolOptions(directory_, 1));
    std::vector<Result<PageBuffer>> source = pool.Apply(std::vector{InsertChain(1, 3)});
    ASSERT_TRUE(source[0].ok());

    RedoRequest one;
    one.key = PageKey::Relation(kTestTable, 1);
    one.records = {{Lsn(0x3000000), Lsn(0x3004000), PageImages({1, 2}, *source[0])}};
    RedoRequest two = InsertChain(2, 2, 0x4000000);
    std::vector<Result<PageBuffer>> pages = pool.Apply(std::vector{one, two});
    ASSERT_TRUE(pages[0].ok()) << pages[0].status().message();
    EXPECT_EQ(PageLsn(*pages[0]), Lsn(0x3004000));
    EXPECT_EQ(Count(PageText(*pages[0]), "row of 1"), 3u);
    ExpectChain(pages[1], two);

    // A page logged while it was all zero stays so, without an LSN.
    RedoRequest zero;
    zero.key = PageKey::Relation(kTestTable, 9);
    zero.records = {{Lsn(0x5000000), Lsn(0x5004000), PageImages({9}, PageBuffer{})}};
    pages = pool.Apply(std::vector{zero});
    ASSERT_TRUE(pages[0].ok()) << pages[0].status().message();
    EXPECT_TRUE(PageIsAllZero(*pages[0]));
}

TEST_F(RedoProcessPoolTest, ClearsVisibilityMapBitsThatTheRecordOnlyImplies) {
    RedoProcessPool pool(TestPoolOptions(directory_));
    RedoRequest request;
    request.key = PageKey::Relation({kTestTable.node, Fork::kVm}, 1);
    BlockNumber heap_block = kHeapBlocksPerVmPage + 5;
    request.records = {{Lsn(0x2000000), Lsn(0x2000040),
                        HeapInsert(heap_block, 1, "row", true, kHeapAllVisibleCleared)}};
    // All bits set; LSN, free space pointers and page size as PageInit() leaves them.
    PageBuffer base;
    base.fill(std::byte{0xFF});
    RedoRequest empty = InsertChain(1, 1);
    std::vector<Result<PageBuffer>> page = pool.Apply(std::vector{empty});
    ASSERT_TRUE(page[0].ok());
    std::memcpy(base.data(), page[0]->data(), kPageHeaderSize);
    SetPageLsn(base, Lsn(0x1500000));
    request.base = base;

    std::vector<Result<PageBuffer>> cleared = pool.Apply(std::vector{request});
    ASSERT_TRUE(cleared[0].ok()) << cleared[0].status().message();
    PageBuffer expected = base;
    expected[kPageHeaderSize + 5 / 4] &= std::byte{0xF3};  // two bits for each heap block
    EXPECT_EQ(*cleared[0], expected);

    // Another page of the map is not the record's.
    request.key.block = 0;
    cleared = pool.Apply(std::vector{request});
    ASSERT_FALSE(cleared[0].ok());
    EXPECT_EQ(cleared[0].status().code(), StatusCode::kCorruption);
}

TEST_F(RedoProcessPoolTest, RecordsThatDoNotApplyFailAloneAndTheRestGoesOn) {
    RedoProcessPool pool(TestPoolOptions(directory_));

    RedoRequest no_base = InsertChain(3, 2);
    no_base.records.erase(no_base.records.begin());
    RedoRequest gap = InsertChain(4, 3);
    gap.records.erase(gap.records.begin() + 1);
    RedoRequest newer_base = InsertChain(5, 2);
    newer_base.records[1].start = Lsn(0x100);
    newer_base.records[1].end = Lsn(0x140);
    RedoRequest other_page = InsertChain(6, 2);
    other_page.key.block = 66;
    RedoRequest garbage = InsertChain(7, 1);
    for (size_t i = kWalRecordHeaderSize; i < garbage.records[0].bytes.size(); ++i) {
        garbage.records[0].bytes[i] = static_cast<char>(i * 37 + 11);
    }
    RedoRequest wrong_length = InsertChain(8, 1);
    wrong_length.records[0].bytes += "more";
    RedoRequest short_record = InsertChain(9, 1);
    short_record.records[0].bytes.resize(10);
    RedoRequest transaction = InsertChain(10, 1);
    transaction.records[0].bytes[17] = 1;  // xl_rmid: a commit must not reach its redo function
    RedoRequest slru = InsertChain(11, 1);
    slru.key = PageKey::Slru(SlruKind::kXact, 0);
    RedoRequest nothing = InsertChain(12, 1);
    nothing.records.clear();

    struct Case {
        const char* name;
        RedoRequest request;
        StatusCode code;
        const char* text;
    };
    const std::vector<Case> cases = {
        {"no base", no_base, StatusCode::kCorruption, "left the page unchanged"},
        {"gap", gap, StatusCode::kCorruption, "invalid max offset number"},
        {"newer base", newer_base, StatusCode::kCorruption, "left the page unchanged"},
        {"other page", other_page, StatusCode::kCorruption, "does not change the page"},
        {"garbage", garbage, StatusCode::kCorruption, ""},
        {"wrong length", wrong_length, StatusCode::kCorruption, "bytes long"},
        {"short record", short_record, StatusCode::kCorruption, "invalid length"},
        {"transaction", transaction, StatusCode::kCorruption, "does not apply to pages"},
        {"slru", slru, StatusCode::kInvalidArgument, "not for a redo process"},
        {"nothing", nothing, StatusCode::kInvalidArgument, "not for a redo process"},
    };
    std::vector<RedoRequest> batch;
    for (size_t i = 0; i < cases.size(); ++i) {
        batch.push_back(InsertChain(100 + static_cast<BlockNumber>(i), 3));
        batch.push_back(cases[i].request);
    }
    batch.push_back(InsertChain(200, 3));
    std::vector<Result<PageBuffer>> results = pool.Apply(batch);
    ASSERT_EQ(results.size(), batch.size());
    for (size_t i = 0; i < cases.size(); ++i) {
        SCOPED_TRACE(cases[i].name);
        ExpectChain(results[2 * i], batch[2 * i]);
        ASSERT_FALSE(results[2 * i + 1].ok());
        EXPECT_EQ(results[2 * i + 1].status().code(), cases[i].code);
        EXPECT_NE(results[2 * i + 1].status().message().find(cases[i].text), std::string::npos)
            << results[2 * i + 1].status().message();
    }
    ExpectChain(results.back(), batch.back());
    EXPECT_EQ(pool.stats().failures, cases.size());
}

TEST_F(RedoProcessPoolTest, HostileRecordsHarmNobodyElse) {
    // Records with valid headers and senseless contents, for every resource manager. Their redo may
    // succeed, raise an error, crash or loop.
    RedoPoolOptions options = TestPoolOptions(directory_, 1);
    options.process.request_timeout_ms = 1000;
    RedoProcessPool pool(options);
    std::vector<Result<PageBuffer>> base = pool.Apply(std::vector{InsertChain(1, 20)});
    ASSERT_TRUE(base[0].ok());

    std::mt19937 random(20261122);
    auto random_bytes = [&random](size_t n) {
        std::string bytes(n, '\0');
        for (char& c : bytes) {
            c = static_cast<char>(random());
        }
        return bytes;
    };
    std::vector<RedoRequest> batch;
    for (int i = 0; i < 60; ++i) {
        WalRecordSpec spec;
        spec.rmgr = static_cast<Rmgr>(9 + random() % 13);
        spec.info = static_cast<uint8_t>(random() & 0xF0);
        for (int id = 0; id < 3; ++id) {
            spec.blocks.push_back({.id = id,
                                   .rel = kTestTable,
                                   .block = 1 + static_cast<BlockNumber>(id),
                                   .will_init = random() % 4 == 0,
                                   .data = random_bytes(random() % 200)});
        }
        spec.main_data = random_bytes(random() % 100);
        RedoRequest hostile;
        hostile.key = PageKey::Relation(kTestTable, 1 + random() % 3);
        hostile.base = *base[0];
        hostile.records = {{Lsn(0x5000000), Lsn(0x5000100), EncodeWalRecord(spec, Lsn())}};
        batch.push_back(hostile);
        batch.push_back(InsertChain(100 + static_cast<BlockNumber>(i), 5));
    }
    std::vector<Result<PageBuffer>> results = pool.Apply(batch);
    ASSERT_EQ(results.size(), batch.size());
    int failed = 0;
    for (size_t i = 0; i < batch.size(); ++i) {
        if (i % 2 == 1) {
            ExpectChain(results[i], batch[i]);
        } else if (!results[i].ok()) {
            ++failed;
        } else {
            EXPECT_EQ(PageLsn(*results[i]), batch[i].records[0].end);
        }
    }
    EXPECT_GT(failed, 30);
}

TEST_F(RedoProcessPoolTest, ARecordThatCrashesTheProcessIsTheOneThatFails) {
    RedoProcessPool pool(TestPoolOptions(directory_, 1));
    // A tuple shorter than its header: redo computes a huge length for memcpy().
    RedoRequest crash = InsertChain(50, 1);
    WalRecordSpec spec;
    spec.rmgr = Rmgr::kHeap;
    spec.info = kHeapInsert | 0x80;
    spec.blocks = {{.rel = kTestTable, .block = 50, .will_init = true, .data = "abc"}};
    spec.main_data = std::string("\1\0\0", 3);
    crash.records[0].bytes = EncodeWalRecord(spec, Lsn());

    std::vector<RedoRequest> batch;
    for (BlockNumber block = 100; block < 400; ++block) {
        batch.push_back(InsertChain(block, 3));
    }
    batch[77] = crash;
    batch[200] = crash;
    std::vector<Result<PageBuffer>> results = pool.Apply(batch);
    ASSERT_EQ(results.size(), batch.size());
    for (size_t i = 0; i < batch.size(); ++i) {
        if (i != 77 && i != 200) {
            ExpectChain(results[i], batch[i]);
            continue;
        }
        ASSERT_FALSE(results[i].ok());
        EXPECT_EQ(results[i].status().code(), StatusCode::kInternal);
        EXPECT_NE(results[i].status().message().find("terminated by signal"), std::string::npos)
            << results[i].status().message();
    }
    EXPECT_EQ(pool.stats().failures, 2u);
}

TEST_F(RedoProcessPoolTest, LargeBatchDoesNotBlock) {
    // Far more than the socket holds, in both directions at once.
    RedoProcessPool pool(TestPoolOptions(directory_));
    std::vector<RedoRequest> batch;
    for (BlockNumber block = 0; block < 2000; ++block) {
        batch.push_back(InsertChain(block, 1 + static_cast<int>(block % 100)));
    }
    // One that is larger than any buffer: 400 images.
    RedoRequest large;
    large.key = PageKey::Relation(kTestTable, 5000);
    std::vector<Result<PageBuffer>> source = pool.Apply(std::vector{InsertChain(5000, 2)});
    ASSERT_TRUE(source[0].ok());
    std::string fpi = PageImages({5000}, *source[0]);
    for (uint64_t i = 0; i < 400; ++i) {
        Lsn start(0x3000000 + i * 0x4000);
        large.records.push_back({start, start + 1, fpi});
    }
    batch.insert(batch.begin() + 1000, large);

    std::vector<Result<PageBuffer>> results = pool.Apply(batch);
    ASSERT_EQ(results.size(), batch.size());
    for (size_t i = 0; i < batch.size(); ++i) {
        if (i == 1000) {
            ASSERT_TRUE(results[i].ok()) << results[i].status().message();
            EXPECT_EQ(PageLsn(*results[i]), large.records.back().end);
            continue;
        }
        ExpectChain(results[i], batch[i]);
    }
    EXPECT_EQ(pool.stats().process_starts, 1u);
}

TEST_F(RedoProcessPoolTest, KilledProcessIsReplacedAndItsRequestsAreRepeated) {
    RedoProcessPool pool(TestPoolOptions(directory_, 1));
    std::vector<RedoRequest> batch;
    for (BlockNumber block = 0; block < 3000; ++block) {
        batch.push_back(InsertChain(block, 50));
    }
    ASSERT_TRUE(pool.Apply(std::vector{batch[0]})[0].ok());
    std::vector<pid_t> first = pool.ProcessIds();
    ASSERT_EQ(first.size(), 1u);

    // Killed while idle: the next call does not notice.
    ASSERT_EQ(kill(first[0], SIGKILL), 0);
    ExpectChain(pool.Apply(std::vector{batch[1]})[0], batch[1]);

    // Killed in the middle of a batch, once for each call.
    for (int round = 0; round < 3; ++round) {
        uint64_t starts = pool.stats().process_starts;
        std::atomic<bool> done = false;
        std::thread killer([&] {
            pid_t pid = pool.ProcessIds()[0];
            while (!done && pool.stats().process_starts == starts) {
                std::this_thread::sleep_for(std::chrono::milliseconds(2));
                kill(pid, SIGKILL);
            }
        });
        std::vector<Result<PageBuffer>> results = pool.Apply(batch);
        done = true;
        killer.join();
        ASSERT_EQ(results.size(), batch.size());
        for (size_t i = 0; i < batch.size(); ++i) {
            ExpectChain(results[i], batch[i]);
        }
        EXPECT_GT(pool.stats().process_starts, starts);
    }
}

TEST_F(RedoProcessPoolTest, HangingProcessIsReplaced) {
    RedoPoolOptions options = TestPoolOptions(directory_, 1);
    options.process.request_timeout_ms = 300;
    RedoProcessPool pool(options);
    RedoRequest request = InsertChain(1, 5);
    ASSERT_TRUE(pool.Apply(std::vector{request})[0].ok());
    ASSERT_EQ(kill(pool.ProcessIds()[0], SIGSTOP), 0);
    ExpectChain(pool.Apply(std::vector{request})[0], request);
    EXPECT_EQ(pool.stats().process_starts, 2u);
}

TEST_F(RedoProcessPoolTest, ManyThreadsShareTheProcesses) {
    RedoProcessPool pool(TestPoolOptions(directory_));
    std::vector<std::thread> threads;
    std::atomic<int> good = 0;
    for (BlockNumber t = 0; t < 6; ++t) {
        threads.emplace_back([&pool, &good, t] {
            for (BlockNumber i = 0; i < 20; ++i) {
                std::vector<RedoRequest> batch = {InsertChain(t * 1000 + i, 5),
                                                  InsertChain(t * 1000 + i + 500, 9)};
                std::vector<Result<PageBuffer>> pages = pool.Apply(batch);
                for (size_t p = 0; p < batch.size(); ++p) {
                    std::string row = "row of " + std::to_string(batch[p].key.block);
                    if (pages[p].ok() &&
                        Count(PageText(*pages[p]), row) == batch[p].records.size()) {
                        ++good;
                    }
                }
            }
        });
    }
    for (std::thread& thread : threads) {
        thread.join();
    }
    EXPECT_EQ(good, 6 * 20 * 2);
    EXPECT_EQ(pool.ProcessIds().size(), 2u);
}

TEST_F(RedoProcessPoolTest, ShutdownLeavesNothingBehind) {
    RedoPoolOptions options = TestPoolOptions(directory_);
    // Left by an earlier page server that was killed.
    ASSERT_TRUE(EnsureDirectory(options.process.work_dir, 0755).ok());
    ASSERT_TRUE(EnsureDirectory(options.process.work_dir + "/redo-process.abcdef").ok());

    RedoProcessPool pool(options);
    ASSERT_TRUE(pool.Apply(std::vector{InsertChain(1, 1)})[0].ok());
    Result<std::vector<std::string>> running = ListDirectory(options.process.work_dir);
    ASSERT_TRUE(running.ok());
    EXPECT_EQ(running->size(), 1u);
    pid_t pid = pool.ProcessIds()[0];

    pool.Shutdown();
    EXPECT_NE(kill(pid, 0), 0);
    Result<std::vector<std::string>> left = ListDirectory(options.process.work_dir);
    ASSERT_TRUE(left.ok());
    EXPECT_TRUE(left->empty());
    std::vector<Result<PageBuffer>> late = pool.Apply(std::vector{InsertChain(1, 1)});
    ASSERT_FALSE(late[0].ok());
    EXPECT_EQ(late[0].status().code(), StatusCode::kUnavailable);
}

TEST_F(RedoProcessPoolTest, ReportsWhatKeepsAProcessFromStarting) {
    RedoPoolOptions no_program = TestPoolOptions(directory_);
    no_program.process.pg_bin_dir = "/nonexistent";
    RedoPoolOptions no_library = no_program;
    no_library.process.pg_bin_dir = PostgresBinDirectory();
    no_library.process.preload = directory_.path() + "/missing.so";
    for (const RedoPoolOptions& options : {no_program, no_library}) {
        RedoProcessPool pool(options);
        std::vector<Result<PageBuffer>> results =
            pool.Apply(std::vector{InsertChain(1, 1), InsertChain(2, 1)});
        ASSERT_EQ(results.size(), 2u);
        for (const Result<PageBuffer>& result : results) {
            ASSERT_FALSE(result.ok());
            EXPECT_EQ(result.status().code(), StatusCode::kUnavailable);
            EXPECT_NE(result.status().message().find("could not start redo process"),
                      std::string::npos);
            EXPECT_FALSE(result.status().hint().empty());
        }
    }
}

}  // namespace
}  // namespace zenith

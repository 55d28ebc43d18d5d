// What the tests of this folder share: WAL records made by hand and options for a process that
// loads the library built in this tree.
#pragma once

#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cstdlib>
#include <filesystem>
#include <string>
#include <vector>

#include "common/base/byte_writer.h"
#include "common/base/posix_file.h"
#include "common/pgformat/record_types.h"
#include "pageserver/redo/redo_process_pool.h"
#include "pageserver/testing/wal_builder.h"

namespace zenith {

// A directory that the postgres user may enter, removed at the end. Files in it are its own.
class TestDirectory {
  public:
    TestDirectory() {
        char path[] = "/tmp/zenith-redo-test.XXXXXX";
        EXPECT_NE(mkdtemp(path), nullptr);
        path_ = path;
        EXPECT_EQ(chmod(path, 0755), 0);
    }
    ~TestDirectory() { RemoveTree(path_).Ignore("end of a test"); }
    const std::string& path() const { return path_; }

  private:
    std::string path_;
};

inline std::string PostgresBinDirectory() {
    const char* set = std::getenv("ZENITH_PG_BINDIR");
    return set != nullptr ? set : "/usr/lib/postgresql/15/bin";
}

// Copies the extension's library into `directory`: the process must be able to reach it.
inline std::string CopyLibrary(const std::string& directory) {
    const char* set = std::getenv("ZENITH_TEST_LIBRARY");
    std::string source = set != nullptr ? set : "contrib/zenith/zenith.so";
    std::string copy = directory + "/zenith.so";
    std::error_code error;
    std::filesystem::copy_file(source, copy, error);
    EXPECT_FALSE(error) << source << ": " << error.message() << "; run \"make extension\" first";
    chmod(copy.c_str(), 0755);
    return copy;
}

inline RedoPoolOptions TestPoolOptions(const TestDirectory& directory, int processes = 2) {
    RedoPoolOptions options;
    options.process.pg_bin_dir = PostgresBinDirectory();
    options.process.work_dir = directory.path() + "/redo";
    options.process.preload = CopyLibrary(directory.path());
    options.processes = processes;
    return options;
}

inline constexpr RelForkKey kTestTable{{1663, 5, 16384}, Fork::kMain};

// heapam_xlog.h: xl_heap_insert with xl_heap_header; `offset` counts from 1.
inline std::string HeapInsert(BlockNumber block, uint16_t offset, const std::string& value,
                              bool init_page, uint8_t flags = 0) {
    constexpr uint8_t kInitPage = 0x80;  // XLOG_HEAP_INIT_PAGE
    ByteWriter main_data;
    main_data.U16Le(offset);
    main_data.U8(flags);
    ByteWriter tuple;
    tuple.U16Le(1);       // t_infomask2: one column
    tuple.U16Le(0x0802);  // t_infomask: xmax invalid, has variable width
    tuple.U8(24);         // t_hoff
    tuple.U8(0);          // padding between the 23 bytes of the header and t_hoff
    tuple.Text(value);
    WalRecordSpec spec;
    spec.rmgr = Rmgr::kHeap;
    spec.info = init_page ? kHeapInsert | kInitPage : kHeapInsert;
    spec.xid = 1000;
    spec.blocks = {
        {.rel = kTestTable, .block = block, .will_init = init_page, .data = tuple.Take()}};
    spec.main_data = main_data.Take();
    return EncodeWalRecord(spec, Lsn());
}

// An XLOG_FPI record with the same image for each of `blocks`.
inline std::string PageImages(const std::vector<BlockNumber>& blocks, const PageBuffer& image) {
    WalRecordSpec spec;
    spec.rmgr = Rmgr::kXlog;
    spec.info = kXlogFpi;
    for (BlockNumber block : blocks) {
        spec.blocks.push_back({.id = static_cast<int>(spec.blocks.size()),
                               .rel = kTestTable,
                               .block = block,
                               .image = image});
    }
    return EncodeWalRecord(spec, Lsn());
}

inline std::string_view PageText(const PageBuffer& page) {
    return {reinterpret_cast<const char*>(page.data()), page.size()};
}

inline size_t Count(std::string_view text, std::string_view what) {
    size_t n = 0;
    for (size_t at = text.find(what); at != std::string_view::npos;
         at = text.find(what, at + what.size())) {
        ++n;
    }
    return n;
}

}  // namespace zenith

#include "pageserver/layers/wal_storage.h"

#include <dirent.h>
#include <gtest/gtest.h>
#include <sys/stat.h>

#include <atomic>
#include <string>
#include <thread>
#include <vector>

#include "common/base/posix_file.h"
#include "common/pgformat/segment_name.h"
#include "common/pgformat/wal_format.h"
#include "pageserver/layers/temp_directory_for_test.h"
#include "pageserver/testing/wal_builder.h"

namespace zenith {
namespace {

constexpr uint64_t kSystem = 42;
const Lsn kSegment5 = WalSegmentStart(5);

WalRecordSpec RecordOfSize(size_t data_size, char fill = 'd') {
    WalRecordSpec spec;
    spec.rmgr = Rmgr::kHeap;
    spec.xid = 7;
    spec.main_data = std::string(data_size, fill);
    for (size_t i = 0; i < spec.main_data.size(); i++) {
        spec.main_data[i] = static_cast<char>(fill + i % 17);
    }
    return spec;
}

class WalStorageTest : public ::testing::Test {
  protected:
    void Append(WalStorage* wal, const WalBuilder& builder) {
        Status status = wal->Append(builder.start(), builder.bytes());
        ASSERT_TRUE(status.ok()) << status.message();
    }
    void ExpectRecord(const WalStorage& wal, const WalBuilder::Placed& placed) {
        std::string out = "before";
        Status status = wal.ReadRecord(placed.start, placed.end, &out);
        ASSERT_TRUE(status.ok()) << status.message();
        EXPECT_EQ(out, "before" + placed.bytes);
    }
    std::string Directory(const std::string& name = "wal") {
        std::string path = temp_.path() + "/" + name;
        EXPECT_TRUE(EnsureDirectory(path).ok());
        return path;
    }
    std::string ReadText(const WalStorage& wal, Lsn lsn, size_t n) {
        std::string text(n, '?');
        Status status = wal.Read(lsn, std::as_writable_bytes(std::span(text)));
        EXPECT_TRUE(status.ok()) << status.message();
        return text;
    }
    static std::span<const std::byte> Bytes(const std::string& text) {
        return std::as_bytes(std::span(text));
    }

    TempDirectory temp_;
};

TEST_F(WalStorageTest, SegmentsHavePostgresNamesAndFullSize) {
    WalStorage wal(Directory(), kSegment5, nullptr);
    ASSERT_TRUE(wal.Append(kSegment5 + 100, Bytes("abc")).ok());
    struct stat info;
    ASSERT_EQ(stat((wal.directory() + "/000000010000000000000005").c_str(), &info), 0);
    EXPECT_EQ(static_cast<uint64_t>(info.st_size), kWalSegmentSize);
    EXPECT_EQ(ReadText(wal, kSegment5 + 99, 5), std::string("\0abc\0", 5));
    EXPECT_TRUE(wal.Sync().ok());
    // The high half of the LSN goes into the middle of the name.
    Lsn high(0x3'FF00'0000);
    ASSERT_TRUE(wal.Append(high, Bytes("x")).ok());
    EXPECT_TRUE(FileExists(wal.directory() + "/0000000100000003000000FF"));
}

TEST_F(WalStorageTest, BytesCrossSegmentBorders) {
    WalStorage wal(Directory(), kSegment5, nullptr);
    std::string text;
    for (int i = 0; i < 1000; i++) {
        text += "line " + std::to_string(i) + "\n";
    }
    Lsn at = WalSegmentStart(6) - 3000;
    ASSERT_TRUE(wal.Append(at, Bytes(text)).ok());
    ASSERT_TRUE(wal.Sync().ok());
    EXPECT_EQ(ReadText(wal, at, text.size()), text);
    // A storage opened later finds the same.
    WalStorage reopened(wal.directory(), kSegment5, nullptr);
    EXPECT_EQ(ReadText(reopened, at, text.size()), text);
}

TEST_F(WalStorageTest, MissingSegmentIsNotFoundAndNamed) {
    WalStorage wal(Directory(), kSegment5, nullptr);
    std::string buffer(10, ' ');
    Status status = wal.Read(kSegment5, std::as_writable_bytes(std::span(buffer)));
    EXPECT_EQ(status.code(), StatusCode::kNotFound);
    EXPECT_NE(status.message().find("000000010000000000000005"), std::string::npos);
    EXPECT_NE(status.message().find("0/5000000"), std::string::npos);
    // It appears as soon as it is written.
    ASSERT_TRUE(wal.Append(kSegment5, Bytes("now")).ok());
    EXPECT_EQ(ReadText(wal, kSegment5, 3), "now");
}

TEST_F(WalStorageTest, ShortSegmentReadsAsZeroesAndIsCompletedByAppend) {
    std::string directory = Directory();
    ASSERT_TRUE(ReplaceFileAtomically(directory + "/" + WalSegmentName(5), "short").ok());
    WalStorage wal(directory, kSegment5, nullptr);
    EXPECT_EQ(ReadText(wal, kSegment5, 8), std::string("short\0\0\0", 8));
    ASSERT_TRUE(wal.Append(kSegment5 + 5, Bytes("er")).ok());
    EXPECT_EQ(ReadText(wal, kSegment5, 8), std::string("shorter\0", 8));
    struct stat info;
    ASSERT_EQ(stat((directory + "/" + WalSegmentName(5)).c_str(), &info), 0);
    EXPECT_EQ(static_cast<uint64_t>(info.st_size), kWalSegmentSize);
}

TEST_F(WalStorageTest, AppendBeforeStartIsRefused) {
    WalStorage wal(Directory(), kSegment5 + 800, nullptr);
    EXPECT_EQ(wal.Append(kSegment5, Bytes("x")).code(), StatusCode::kInvalidArgument);
    EXPECT_EQ(wal.TruncateAfter(kSegment5).code(), StatusCode::kInvalidArgument);
}

TEST_F(WalStorageTest, ReadsRecordsOfEverySizeAndPlace) {
    // Sizes around what fits on a page, around the first read, and over many pages; the records
    // before them move the start to every 8-byte offset near a page's end.
    WalStorage wal(Directory(), kSegment5, nullptr);
    WalBuilder builder(kSegment5, kSystem);
    std::vector<WalBuilder::Placed> placed;
    for (size_t size : {0ul, 1ul, 100ul, 255ul, 256ul, 4000ul, 8091ul, 8140ul, 8192ul, 16000ul,
                        16384ul, 20000ul, 100000ul, 1000000ul}) {
        placed.push_back(builder.Append(RecordOfSize(size)));
    }
    for (int i = 0; i < 3000; i++) {
        placed.push_back(builder.Append(RecordOfSize(8 * (i % 29))));
    }
    Append(&wal, builder);
    for (const auto& record : placed) {
        ExpectRecord(wal, record);
    }
}

TEST_F(WalStorageTest, RecordCrossesSegmentBorder) {
    WalStorage wal(Directory(), kSegment5, nullptr);
    WalBuilder builder(WalSegmentStart(6) - kWalPageSize, kSystem);
    auto first = builder.Append(RecordOfSize(5000));
    auto crossing = builder.Append(RecordOfSize(30000));
    auto last = builder.Append(RecordOfSize(10));
    Append(&wal, builder);
    ASSERT_TRUE(wal.Sync().ok());
    ASSERT_LT(crossing.start, WalSegmentStart(6));
    ASSERT_GT(crossing.end, WalSegmentStart(6));
    ExpectRecord(wal, first);
    ExpectRecord(wal, crossing);
    ExpectRecord(wal, last);
}

TEST_F(WalStorageTest, RecordEndsAtPageAndSegmentBorder) {
    WalStorage wal(Directory(), kSegment5, nullptr);
    WalBuilder builder(kSegment5, kSystem);
    builder.Append(RecordOfSize(100));
    auto page_end = builder.FillTo(kSegment5 + kWalPageSize);
    auto after = builder.Append(RecordOfSize(50));
    EXPECT_EQ(after.start, kSegment5 + kWalPageSize + kWalShortHeaderSize);
    auto segment_switch = builder.AppendSwitch();
    EXPECT_EQ(segment_switch.end, WalSegmentStart(6));
    auto next_segment = builder.Append(RecordOfSize(50));
    Append(&wal, builder);
    ExpectRecord(wal, page_end);
    ExpectRecord(wal, after);
    ExpectRecord(wal, segment_switch);
    ExpectRecord(wal, next_segment);
}

TEST_F(WalStorageTest, DamagedRecordsAreCorruptAndNamed) {
    WalBuilder builder(kSegment5, kSystem);
    builder.Append(RecordOfSize(3000));
    auto record = builder.Append(RecordOfSize(20000));
    builder.Append(RecordOfSize(100));
    Lsn page = kSegment5 + kWalPageSize;  // inside of the record
    struct Case {
        const char* what;
        Lsn at;
        std::string bytes;
        const char* message;
    };
    const std::vector<Case> cases = {
        {"length too small", record.start, std::string("\x10\0\0\0", 4), "invalid length"},
        {"length huge", record.start, std::string("\xff\xff\xff\x7f", 4), "invalid length"},
        {"length other", record.start, std::string("\x90\x01\0\0", 4), "does not lead to its end"},
        {"info byte", record.start + 16, "\x55", "checksum mismatch"},
        {"checksum", record.start + 20, "\x55\x55", "checksum mismatch"},
        {"data", record.start + 4000, "\x55", "checksum mismatch"},
        {"last byte", record.start + (record.end - record.start) - 9, "\x55", "checksum mismatch"},
        {"page magic", page, std::string("\0\0", 2), "invalid WAL page header"},
        {"page address", page + 8, "\x55", "of another position"},
        {"page flags", page + 2, std::string("\0", 1), "does not continue"},
        {"rest length", page + 16, "\x55", "does not continue"},
    };
    int number = 0;
    for (const Case& c : cases) {
        SCOPED_TRACE(c.what);
        WalStorage wal(Directory("case" + std::to_string(number++)), kSegment5, nullptr);
        Append(&wal, builder);
        ExpectRecord(wal, record);
        ASSERT_TRUE(wal.Append(c.at, Bytes(c.bytes)).ok());
        std::string out = "before";
        Status status = wal.ReadRecord(record.start, record.end, &out);
        EXPECT_EQ(status.code(), StatusCode::kCorruption);
        EXPECT_NE(status.message().find(c.message), std::string::npos) << status.message();
        EXPECT_NE(status.message().find(WalSegmentName(5)), std::string::npos) << status.message();
        EXPECT_NE(status.message().find(record.start.ToString()), std::string::npos);
        EXPECT_EQ(out, "before");
    }
}

TEST_F(WalStorageTest, WrongExtentsAreErrors) {
    WalStorage wal(Directory(), kSegment5, nullptr);
    WalBuilder builder(kSegment5, kSystem);
    auto first = builder.Append(RecordOfSize(100));
    auto second = builder.Append(RecordOfSize(100));
    Append(&wal, builder);
    std::string out;
    EXPECT_EQ(wal.ReadRecord(first.start, second.end, &out).code(), StatusCode::kCorruption);
    EXPECT_EQ(wal.ReadRecord(second.start, first.end, &out).code(), StatusCode::kInvalidArgument);
    EXPECT_EQ(wal.ReadRecord(first.start + 1, first.end, &out).code(),
              StatusCode::kInvalidArgument);
    // Zeroes are not a record.
    EXPECT_EQ(wal.ReadRecord(second.end + 800, second.end + 1000, &out).code(),
              StatusCode::kCorruption);
    // Nor is what lies beyond every segment.
    EXPECT_EQ(wal.ReadRecord(WalSegmentStart(9) + 40, WalSegmentStart(9) + 100, &out).code(),
              StatusCode::kNotFound);
    EXPECT_EQ(out, "");
}

TEST_F(WalStorageTest, ReadsFallThroughToAncestors) {
    // grandparent | parent from A on | child from B on, all in one segment and with records that
    // differ behind each branch point.
    WalStorage grandparent(Directory("g"), kSegment5, nullptr);
    WalBuilder builder_g(kSegment5, kSystem);
    auto g1 = builder_g.Append(RecordOfSize(5000, 'a'));
    auto g2 = builder_g.Append(RecordOfSize(500, 'b'));
    Append(&grandparent, builder_g);

    WalStorage parent(Directory("p"), g1.end, &grandparent);
    WalBuilder builder_p(g1.end, kSystem, g1.start);
    auto p1 = builder_p.Append(RecordOfSize(9000, 'c'));
    auto p2 = builder_p.Append(RecordOfSize(400, 'd'));
    Append(&parent, builder_p);

    WalStorage child(Directory("c"), p1.end, &parent);
    WalBuilder builder_c(p1.end, kSystem, p1.start);
    auto c1 = builder_c.Append(RecordOfSize(100, 'e'));
    Append(&child, builder_c);

    ExpectRecord(child, g1);
    ExpectRecord(child, p1);
    ExpectRecord(child, c1);
    ExpectRecord(parent, p2);
    ExpectRecord(grandparent, g2);

    // One raw read over all three.
    std::string expected = builder_g.stream().substr(0, g1.end - kSegment5) +
                           builder_p.stream().substr(0, p1.end - g1.end) + builder_c.stream();
    EXPECT_EQ(ReadText(child, kSegment5, expected.size()), expected);
    // The child's own file has nothing before its start.
    WalStorage alone(child.directory(), p1.end, nullptr);
    EXPECT_EQ(ReadText(alone, kSegment5, 64), std::string(64, '\0'));
}

TEST_F(WalStorageTest, BranchBeforeItsParentsStartReadsTheGrandparent) {
    WalStorage grandparent(Directory("g"), kSegment5, nullptr);
    WalBuilder builder(kSegment5, kSystem);
    auto g1 = builder.Append(RecordOfSize(100, 'a'));
    auto g2 = builder.Append(RecordOfSize(100, 'b'));
    Append(&grandparent, builder);
    WalStorage parent(Directory("p"), g2.end, &grandparent);
    WalStorage child(Directory("c"), g1.end, &parent);
    WalBuilder builder_c(g1.end, kSystem, g1.start);
    auto c1 = builder_c.Append(RecordOfSize(100, 'c'));
    Append(&child, builder_c);
    ExpectRecord(child, g1);
    ExpectRecord(child, c1);
    EXPECT_EQ(
        ReadText(child, g1.start, c1.end - g1.start),
        builder.stream().substr(g1.start - kSegment5, g1.end - g1.start) + builder_c.stream());
}

TEST_F(WalStorageTest, TruncateAfterZeroesTheTailAndRemovesLaterSegments) {
    WalStorage wal(Directory(), kSegment5, nullptr);
    std::string filler(3 * kWalSegmentSize, 'x');
    ASSERT_TRUE(wal.Append(kSegment5, Bytes(filler)).ok());
    ASSERT_TRUE(wal.Sync().ok());
    EXPECT_EQ(ReadText(wal, WalSegmentStart(7), 4), "xxxx");
    Lsn cut = kSegment5 + 12345;
    ASSERT_TRUE(wal.TruncateAfter(cut).ok());
    EXPECT_FALSE(FileExists(wal.directory() + "/" + WalSegmentName(6)));
    EXPECT_FALSE(FileExists(wal.directory() + "/" + WalSegmentName(7)));
    EXPECT_EQ(ReadText(wal, kSegment5, 12345), std::string(12345, 'x'));
    EXPECT_EQ(ReadText(wal, cut, kWalSegmentSize - 12345),
              std::string(kWalSegmentSize - 12345, '\0'));
    std::string buffer(4, ' ');
    EXPECT_EQ(wal.Read(WalSegmentStart(7), std::as_writable_bytes(std::span(buffer))).code(),
              StatusCode::kNotFound);
    // What is written again is what is read, also where a file of that name was open before.
    ASSERT_TRUE(wal.Append(cut, Bytes(std::string(3 * kWalSegmentSize, 'y'))).ok());
    EXPECT_EQ(ReadText(wal, cut - 2, 4), "xxyy");
    EXPECT_EQ(ReadText(wal, WalSegmentStart(7), 4), "yyyy");
    // At a border the segment that begins there goes too.
    ASSERT_TRUE(wal.TruncateAfter(WalSegmentStart(6)).ok());
    EXPECT_FALSE(FileExists(wal.directory() + "/" + WalSegmentName(6)));
    EXPECT_EQ(ReadText(wal, WalSegmentStart(6) - 2, 2), "yy");
    // Other files in the directory are none of our business.
    ASSERT_TRUE(ReplaceFileAtomically(wal.directory() + "/000000020000000000000009", "tl 2").ok());
    ASSERT_TRUE(wal.TruncateAfter(kSegment5).ok());
    EXPECT_TRUE(FileExists(wal.directory() + "/000000020000000000000009"));
    EXPECT_FALSE(FileExists(wal.directory() + "/" + WalSegmentName(5)));
}

TEST_F(WalStorageTest, TruncateAfterInsideOfAMissingSegmentDoesNothing) {
    WalStorage wal(Directory(), kSegment5, nullptr);
    EXPECT_TRUE(wal.TruncateAfter(kSegment5 + 100).ok());
    EXPECT_FALSE(FileExists(wal.directory() + "/" + WalSegmentName(5)));
}

TEST_F(WalStorageTest, FailureToWriteIsReported) {
    WalStorage wal(temp_.path() + "/missing", kSegment5, nullptr);
    Status status = wal.Append(kSegment5, Bytes("x"));
    EXPECT_FALSE(status.ok());
    EXPECT_NE(status.message().find(WalSegmentName(5)), std::string::npos);
}

TEST_F(WalStorageTest, WhatASyncFailedForMustBeAppendedAgain) {
    WalStorage wal(Directory(), kSegment5, nullptr);
    ASSERT_TRUE(wal.Append(kSegment5, Bytes("durable")).ok());
    ASSERT_TRUE(wal.Sync().ok());
    Lsn from = WalSegmentStart(6) - 100;
    ASSERT_TRUE(wal.Append(from, Bytes(std::string(300, 'x'))).ok());
    // The file is gone under our feet: the sync fails, and a second try must not pretend.
    ASSERT_TRUE(RemoveFile(wal.directory() + "/" + WalSegmentName(5)).ok());
    Status status = wal.Sync();
    ASSERT_FALSE(status.ok());
    EXPECT_NE(status.message().find(from.ToString()), std::string::npos) << status.message();
    EXPECT_FALSE(wal.Sync().ok());
    EXPECT_FALSE(wal.Append(from + 300, Bytes("later")).ok());
    EXPECT_FALSE(wal.TruncateAfter(from + 200).ok());
    // Starting over heals.
    ASSERT_TRUE(wal.Append(from, Bytes(std::string(300, 'y'))).ok());
    ASSERT_TRUE(wal.Append(from + 300, Bytes("later")).ok());
    EXPECT_TRUE(wal.Sync().ok());
    WalStorage reopened(wal.directory(), kSegment5, nullptr);
    EXPECT_EQ(ReadText(reopened, from + 299, 6), "ylater");
    // So does cutting off.
    ASSERT_TRUE(wal.Append(from, Bytes(std::string(300, 'z'))).ok());
    ASSERT_TRUE(RemoveFile(wal.directory() + "/" + WalSegmentName(5)).ok());
    ASSERT_FALSE(wal.Sync().ok());
    EXPECT_TRUE(wal.TruncateAfter(from).ok());
    EXPECT_TRUE(wal.Append(from, Bytes("w")).ok());
    EXPECT_TRUE(wal.Sync().ok());
}

TEST_F(WalStorageTest, RemovesWholeSegmentsAndSaysWhatIsLeft) {
    WalStorage wal(Directory(), kSegment5 + 100, nullptr);
    const std::string text = "some text";
    for (uint64_t segment = 5; segment < 10; segment++) {
        ASSERT_TRUE(wal.Append(WalSegmentStart(segment) + 200, Bytes(text)).ok());
    }
    ASSERT_TRUE(wal.Sync().ok());
    EXPECT_EQ(*wal.BytesOnDisk(), 5 * kWalSegmentSize);
    EXPECT_EQ(*wal.BytesBefore(WalSegmentStart(6) - 1), 0u);
    EXPECT_EQ(*wal.RemoveBefore(WalSegmentStart(6) - 1), 0u);
    EXPECT_EQ(*wal.BytesBefore(WalSegmentStart(7) + 5), 2 * kWalSegmentSize);
    EXPECT_EQ(ReadText(wal, WalSegmentStart(6) + 200, text.size()), text) << "and keeps it open";
    EXPECT_EQ(*wal.RemoveBefore(WalSegmentStart(7) + 5), 2 * kWalSegmentSize);
    EXPECT_EQ(*wal.RemoveBefore(WalSegmentStart(7) + 5), 0u) << "again";
    EXPECT_EQ(*wal.BytesOnDisk(), 3 * kWalSegmentSize);
    for (uint64_t segment : {5, 6}) {
        std::byte byte[1];
        Status gone = wal.Read(WalSegmentStart(segment) + 200, byte);
        EXPECT_EQ(gone.code(), StatusCode::kNotFound);
        EXPECT_NE(gone.message().find("begins at " + WalSegmentStart(7).ToString()),
                  std::string::npos)
            << gone.message();
    }
    EXPECT_EQ(ReadText(wal, WalSegmentStart(7) + 200, text.size()), text);
    // The appender goes on, whatever it had not synced.
    ASSERT_TRUE(wal.Append(WalSegmentStart(9) + 300, Bytes(text)).ok());
    ASSERT_TRUE(wal.Append(WalSegmentStart(10), Bytes(text)).ok());
    EXPECT_EQ(*wal.RemoveBefore(WalSegmentStart(10)), 3 * kWalSegmentSize);
    EXPECT_TRUE(wal.Sync().ok());
    EXPECT_EQ(ReadText(wal, WalSegmentStart(10), text.size()), text);
}

size_t OpenDescriptors() {
    return ListDirectory("/proc/self/fd")->size();
}

TEST_F(WalStorageTest, OpenFilesAreBoundedAndReadersAreSafe) {
    constexpr int kSegments = 40;
    constexpr int kReads = 4000;
    WalStorage wal(Directory(), Lsn(), nullptr);
    for (int i = 0; i < kSegments; i++) {
        std::string text = "segment " + std::to_string(i);
        ASSERT_TRUE(wal.Append(WalSegmentStart(i) + 1000, Bytes(text)).ok());
    }
    size_t before = OpenDescriptors();
    std::atomic<int> wrong{0};
    std::vector<std::thread> readers;
    for (int t = 0; t < 3; t++) {
        readers.emplace_back([&, t] {
            for (int i = 0; i < kReads; i++) {
                int segment = (i * 7 + t * 13) % kSegments;
                std::string expected = "segment " + std::to_string(segment);
                std::string text(expected.size(), ' ');
                Status status = wal.Read(WalSegmentStart(segment) + 1000,
                                         std::as_writable_bytes(std::span(text)));
                wrong += status.ok() && text == expected ? 0 : 1;
            }
        });
    }
    for (std::thread& reader : readers) {
        reader.join();
    }
    EXPECT_EQ(wrong.load(), 0);
    EXPECT_LE(OpenDescriptors(), before + 8);
}

}  // namespace
}  // namespace zenith

#include "pageserver/wal_decoder/record_assembler.h"

#include <gtest/gtest.h>

#include <random>

#include "common/pgformat/record_types.h"
#include "pageserver/testing/wal_builder.h"
#include "pageserver/wal_decoder/decoded_record.h"

namespace zenith {
namespace {

constexpr uint64_t kSystem = 0x1122334455667788;
using Outcome = RecordAssembler::Outcome;

struct Got {
    Lsn start;
    Lsn end;
    std::string bytes;
};

// Feeds `stream` in pieces of `piece` bytes and collects the records; *last is the final outcome.
std::vector<Got> Assemble(RecordAssembler* assembler, std::span<const std::byte> stream,
                          size_t piece, Outcome* last) {
    std::vector<Got> got;
    *last = Outcome::kNeedMore;
    for (size_t done = 0; done < stream.size();) {
        const size_t n = std::min(piece, stream.size() - done);
        assembler->Feed(stream.subspan(done, n));
        done += n;
        RecordAssembler::Record record;
        while ((*last = assembler->NextRecord(&record)) == Outcome::kRecord) {
            EXPECT_LE(record.end, assembler->fed_up_to());
            EXPECT_EQ(record.end, assembler->last_end());
            EXPECT_EQ(record.start, assembler->last_start());
            got.push_back({record.start, record.end,
                           std::string(reinterpret_cast<const char*>(record.bytes.data()),
                                       record.bytes.size())});
        }
    }
    return got;
}

WalRecordSpec Noop(size_t size) {
    WalRecordSpec spec;
    spec.info = kXlogNoop;
    spec.main_data = std::string(size, 'n');
    return spec;
}

void ExpectSame(const std::vector<WalBuilder::Placed>& placed, const std::vector<Got>& got) {
    ASSERT_EQ(placed.size(), got.size());
    for (size_t i = 0; i < placed.size(); i++) {
        EXPECT_EQ(placed[i].start, got[i].start) << i;
        EXPECT_EQ(placed[i].end, got[i].end) << i;
        EXPECT_EQ(placed[i].bytes, got[i].bytes) << i;
    }
}

TEST(RecordAssembler, RecordsOverPagesAndSegmentsInAnyPieces) {
    for (size_t piece : {1u, 7u, 24u, 4096u, 8192u, 100000u, 64u * 1024 * 1024}) {
        // Begins two pages before the end of a segment.
        WalBuilder wal(Lsn(3 * kWalSegmentSize - 2 * kWalPageSize + 64), kSystem);
        std::vector<WalBuilder::Placed> placed;
        for (size_t size : {1u, 100u, 255u, 256u, 8000u, 20000u, 3u, 100000u, 5u}) {
            placed.push_back(wal.Append(Noop(size)));
        }
        RecordAssembler assembler(wal.start(), Lsn(), kSystem);
        Outcome last;
        std::vector<Got> got = Assemble(&assembler, wal.bytes(), piece, &last);
        ExpectSame(placed, got);
        EXPECT_EQ(Outcome::kNeedMore, last);
        EXPECT_EQ(wal.position(), assembler.last_end());
        EXPECT_EQ(placed.back().start, assembler.last_start());
    }
}

// A record may end 8 to 16 bytes before a page end, so the next one's header is split.
TEST(RecordAssembler, HeaderSplitAtEveryAlignment) {
    for (uint64_t left = 8; left <= 32; left += 8) {
        for (uint64_t border : {5 * kWalPageSize, kWalSegmentSize}) {
            WalBuilder wal(Lsn(kWalSegmentSize + border - kWalPageSize + 512), kSystem);
            std::vector<WalBuilder::Placed> placed;
            placed.push_back(wal.FillTo(Lsn(kWalSegmentSize + border - left)));
            placed.push_back(wal.Append(Noop(40)));
            placed.push_back(wal.Append(Noop(1)));
            EXPECT_EQ(kWalSegmentSize + border - left, placed[1].start.value);
            for (size_t piece : {1u, 8u, 100000u}) {
                RecordAssembler assembler(wal.start(), Lsn(), kSystem);
                Outcome last;
                ExpectSame(placed, Assemble(&assembler, wal.bytes(), piece, &last));
                EXPECT_EQ(Outcome::kNeedMore, last);
            }
        }
    }
}

TEST(RecordAssembler, RecordEndingExactlyAtAPageOrSegment) {
    for (Lsn border : {Lsn(kWalSegmentSize + 3 * kWalPageSize), Lsn(2 * kWalSegmentSize)}) {
        WalBuilder wal(border - 1024, kSystem);
        WalBuilder::Placed first = wal.FillTo(border);
        EXPECT_EQ(border, first.end);
        WalBuilder::Placed second = wal.Append(Noop(10));
        EXPECT_EQ(WalRecordStartAt(border), second.start);
        RecordAssembler assembler(wal.start(), Lsn(), kSystem);
        Outcome last;
        ExpectSame({first, second}, Assemble(&assembler, wal.bytes(), 1000, &last));

        // Starting at the border itself, with the prev-link known.
        RecordAssembler resumed(border, first.start, kSystem);
        ExpectSame({second},
                   Assemble(&resumed, wal.bytes().subspan(border - wal.start()), 13, &last));
        // And past the page header.
        RecordAssembler past(second.start, first.start, kSystem);
        ExpectSame({second},
                   Assemble(&past, wal.bytes().subspan(second.start - wal.start()), 13, &last));
    }
}

TEST(RecordAssembler, PaddingBelongsToTheRecord) {
    WalBuilder wal(Lsn(kWalSegmentSize + 4096), kSystem);
    WalBuilder::Placed placed = wal.Append(Noop(1));  // 27 bytes, padded to 32
    ASSERT_EQ(32u, placed.end - placed.start);
    RecordAssembler assembler(wal.start(), Lsn(), kSystem);
    RecordAssembler::Record record;
    assembler.Feed(wal.bytes().first(27));
    EXPECT_EQ(Outcome::kNeedMore, assembler.NextRecord(&record));
    EXPECT_EQ(wal.start(), assembler.last_end());
    assembler.Feed(wal.bytes().subspan(27));
    EXPECT_EQ(Outcome::kRecord, assembler.NextRecord(&record));
}

TEST(RecordAssembler, SwitchGoesOnInTheNextSegment) {
    WalBuilder wal(Lsn(kWalSegmentSize + 5 * kWalPageSize + 256), kSystem);
    WalBuilder::Placed first = wal.Append(Noop(10));
    WalBuilder::Placed swtch = wal.AppendSwitch();
    EXPECT_EQ(2 * kWalSegmentSize, swtch.end.value);
    WalBuilder::Placed second = wal.Append(Noop(10));
    EXPECT_EQ(2 * kWalSegmentSize + kWalLongHeaderSize, second.start.value);
    RecordAssembler assembler(wal.start(), Lsn(), kSystem);
    Outcome last;
    ExpectSame({first, swtch, second}, Assemble(&assembler, wal.bytes(), 777777, &last));
}

TEST(RecordAssembler, OverwrittenContinuationDropsThePartialRecord) {
    WalBuilder wal(Lsn(kWalSegmentSize + 2 * kWalPageSize + 4096), kSystem);
    WalBuilder::Placed first = wal.Append(Noop(10));
    WalBuilder::Placed overwrite = wal.AppendOverwritten(Noop(30000));
    WalBuilder::Placed second = wal.Append(Noop(10));
    for (size_t piece : {1u, 5000u, 1000000u}) {
        RecordAssembler assembler(wal.start(), Lsn(), kSystem);
        Outcome last;
        ExpectSame({first, overwrite, second}, Assemble(&assembler, wal.bytes(), piece, &last));
        EXPECT_EQ(Outcome::kNeedMore, last);
    }
}

// The shapes the end of a WAL file can have; none of them is an error.
TEST(RecordAssembler, EndOfWalShapes) {
    struct Shape {
        const char* name;
        const char* reason;
        void (*build)(WalBuilder*);
    };
    const Shape shapes[] = {
        {"zeroes after the last record", "invalid record length 0",
         [](WalBuilder* wal) { wal->AppendZeros(100); }},
        {"zeroes from the page end on", "invalid magic number 0000",
         [](WalBuilder* wal) {
             wal->FillTo(Lsn(kWalSegmentSize + 3 * kWalPageSize));
             wal->AppendZeros(kWalPageSize);
         }},
        {"a header torn at the page border", "invalid magic number 0000",
         [](WalBuilder* wal) {
             wal->FillTo(Lsn(kWalSegmentSize + 3 * kWalPageSize - 16));
             wal->AppendTorn(Noop(5000), 16);
             wal->AppendZeros(kWalPageSize);
         }},
        {"a record whose middle is zero", "incorrect checksum",
         [](WalBuilder* wal) {
             wal->AppendTorn(Noop(500), 200);
             wal->AppendZeros(1000);
         }},
        {"a record of the segment's former life", "incorrect prev-link",
         [](WalBuilder* wal) {
             wal->AppendEncoded(EncodeWalRecord(Noop(10), Lsn(0x1234)));
         }},
        {"a page of the segment's former life", "unexpected page address",
         [](WalBuilder* wal) {
             wal->FillTo(Lsn(kWalSegmentSize + 3 * kWalPageSize));
             WalBuilder old(Lsn(7 * kWalSegmentSize + 3 * kWalPageSize), kSystem);
             old.Append(Noop(10));
             wal->AppendEncoded(EncodeWalRecord(Noop(10), wal->prev()));
             // Rewrites the page header's address.
             std::string* stream = const_cast<std::string*>(&wal->stream());
             const size_t page = kWalSegmentSize + 3 * kWalPageSize - wal->start().value;
             stream->replace(page, 24, old.stream().substr(0, 24));
         }},
        {"an impossible length", "invalid record length",
         [](WalBuilder* wal) {
             std::string record = EncodeWalRecord(Noop(10), wal->prev());
             record[3] = '\x7f';
             wal->AppendEncoded(record);
         }},
        {"a continuation that does not continue", "no continuation of the record",
         [](WalBuilder* wal) {
             wal->FillTo(Lsn(kWalSegmentSize + 3 * kWalPageSize - 64));
             wal->AppendTorn(Noop(500), 64);
             WalBuilder other(Lsn(kWalSegmentSize + 3 * kWalPageSize), kSystem);
             other.Append(Noop(10));
             std::string* stream = const_cast<std::string*>(&wal->stream());
             *stream += other.stream();
         }},
    };
    for (const Shape& shape : shapes) {
        SCOPED_TRACE(shape.name);
        WalBuilder wal(Lsn(kWalSegmentSize + 2 * kWalPageSize + 64), kSystem);
        WalBuilder::Placed good = wal.Append(Noop(100));
        shape.build(&wal);
        RecordAssembler assembler(wal.start(), Lsn(), kSystem);
        Outcome last;
        std::vector<Got> got = Assemble(&assembler, wal.bytes(), 333, &last);
        EXPECT_EQ(Outcome::kEndOfWal, last);
        EXPECT_NE(std::string::npos, assembler.end_reason().find(shape.reason))
            << assembler.end_reason();
        ASSERT_GE(got.size(), 1u);
        EXPECT_EQ(good.bytes, got[0].bytes);
        EXPECT_EQ(got.back().end, assembler.last_end());
        // The end is final.
        assembler.Feed(wal.bytes());
        RecordAssembler::Record record;
        EXPECT_EQ(Outcome::kEndOfWal, assembler.NextRecord(&record));
    }
}

TEST(RecordAssembler, OtherSystemIsTheEnd) {
    WalBuilder wal(Lsn(kWalSegmentSize), kSystem);
    wal.Append(Noop(100));
    RecordAssembler assembler(wal.start(), Lsn(), kSystem + 1);
    Outcome last;
    EXPECT_TRUE(Assemble(&assembler, wal.bytes(), 100, &last).empty());
    EXPECT_EQ(Outcome::kEndOfWal, last);
    RecordAssembler any(wal.start(), Lsn(), 0);
    EXPECT_EQ(1u, Assemble(&any, wal.bytes(), 100, &last).size());
}

// Whatever byte is changed: no crash, and every record delivered is one that was written.
TEST(RecordAssembler, ByteFlips) {
    WalBuilder wal(Lsn(2 * kWalSegmentSize - 700), kSystem);
    std::vector<WalBuilder::Placed> placed;
    for (size_t size : {10u, 300u, 900u, 60u}) {
        placed.push_back(wal.Append(Noop(size)));
    }
    std::string stream = wal.stream();
    std::mt19937 random(1);
    for (size_t at = 0; at < stream.size(); at++) {
        for (int round = 0; round < 3; round++) {
            std::string bad = stream;
            bad[at] = static_cast<char>(bad[at] ^ (1 + random() % 255));
            RecordAssembler assembler(wal.start(), Lsn(), kSystem);
            Outcome last;
            std::vector<Got> got =
                Assemble(&assembler, std::as_bytes(std::span(bad)), 97, &last);
            ASSERT_LE(got.size(), placed.size());
            for (size_t i = 0; i < got.size(); i++) {
                ASSERT_EQ(placed[i].bytes, got[i].bytes) << "byte " << at;
            }
        }
    }
}

TEST(RecordAssembler, RandomGarbageNeverAllocatesAhead) {
    std::mt19937_64 random(7);
    DecodedRecord decoded;
    for (int round = 0; round < 2000; round++) {
        std::string garbage(512 + random() % 512, '\0');
        for (char& c : garbage) {
            c = static_cast<char>(random());
        }
        // A plausible header of a record that claims nearly 1 GB.
        const uint32_t length = (1u << 30) - 8;
        const uint64_t prev = 8;
        std::memcpy(garbage.data(), &length, 4);
        std::memcpy(garbage.data() + 8, &prev, 8);
        garbage[17] = 3;
        RecordAssembler assembler(Lsn(kWalSegmentSize + 64), Lsn(), kSystem);
        Outcome last;
        EXPECT_TRUE(Assemble(&assembler, std::as_bytes(std::span(garbage)), 100, &last).empty());
        // The decoder on the same bytes, with a length that fits.
        const uint32_t real = static_cast<uint32_t>(garbage.size());
        std::memcpy(garbage.data(), &real, 4);
        DecodeRecord(Lsn(8), Lsn(16), std::as_bytes(std::span(garbage)), &decoded)
            .Ignore("only that it does not crash");
    }
}

}  // namespace
}  // namespace zenith

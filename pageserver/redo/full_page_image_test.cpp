// Our own code for full-page images (RestoreUncompressedImage()) and PostgreSQL's redo get the same
// random records, on the same random bases; the pages must be equal to the byte. ZENITH_SEED repeats
// a run. The rest of our own redo cannot be compared here: the redo process refuses records of
// transaction status pages and truncations; check-pages compares those with a standby.
#include <cstdlib>
#include <random>

#include "pageserver/redo/redo_test_support.h"
#include "pageserver/wal_decoder/decoded_record.h"

namespace zenith {
namespace {

constexpr int kRecords = 2000;

class Images {
  public:
    explicit Images(uint32_t seed) : random_(seed) {}

    size_t Pick(size_t n) { return random_() % n; }

    PageBuffer AnyPage() {
        PageBuffer page{};
        if (Pick(10) == 0) {
            return page;  // never initialized: keeps its zeroes, LSN included
        }
        for (std::byte& byte : page) {
            byte = static_cast<std::byte>(random_());
        }
        // pd_upper; a page without is a new one.
        page[14] |= std::byte{1};
        return page;
    }

    // An image of one to four blocks; of the first is `key`'s.
    WalRecordSpec AnyRecord(const PageKey& key) {
        WalRecordSpec spec;
        spec.rmgr = Rmgr::kXlog;
        spec.info = Pick(2) == 0 ? kXlogFpi : kXlogFpiForHint;
        const size_t blocks = 1 + Pick(4);
        for (size_t i = 0; i < blocks; i++) {
            WalBlockSpec block;
            block.id = static_cast<int>(i);
            block.rel = key.relation();
            block.block = key.block + static_cast<BlockNumber>(i);
            block.same_rel = i > 0 && Pick(2) == 0;
            block.image = AnyPage();
            if (Pick(4) != 0) {
                block.hole_offset = static_cast<uint16_t>(1 + Pick(kPageSize - 1));
                block.hole_length = static_cast<uint16_t>(1 + Pick(kPageSize - block.hole_offset));
                if (block.hole_offset <= 14) {
                    // pd_upper in the hole: a page that is new, but not empty, is none of PostgreSQL's
                    block.hole_offset = 16;
                    block.hole_length = static_cast<uint16_t>(1 + Pick(kPageSize - 16));
                }
            }
            spec.blocks.push_back(block);
        }
        return spec;
    }

  private:
    std::mt19937 random_;
};

TEST(FullPageImage, OurCodeAndPostgresRestoreTheSamePage) {
    const char* set = std::getenv("ZENITH_SEED");
    const uint32_t seed =
        set != nullptr ? static_cast<uint32_t>(std::atol(set)) : std::random_device()();
    SCOPED_TRACE("ZENITH_SEED=" + std::to_string(seed));
    Images images(seed);
    std::vector<RedoRequest> requests;
    std::vector<PageBuffer> ours;
    size_t with_hole = 0;
    size_t new_pages = 0;
    for (int i = 0; i < kRecords; i++) {
        RedoRequest request;
        const Fork forks[] = {Fork::kMain, Fork::kFsm, Fork::kVm};
        request.key = PageKey::Relation({kTestTable.node, forks[images.Pick(3)]},
                                        static_cast<BlockNumber>(images.Pick(100000)));
        const WalRecordSpec spec = images.AnyRecord(request.key);
        // Histories begin with an image, so that it has no base; the process takes one all the same,
        // but for the image of a new page, after which it would miss the LSN.
        if (images.Pick(2) == 0 && !PageIsNew(*spec.blocks[0].image)) {
            request.base = images.AnyPage();
            SetPageLsn(*request.base, Lsn(0x1000000));
        }
        const Lsn start(0x2000000 + static_cast<uint64_t>(i) * 0x10000);
        request.records = {{start, start + 0x8000, EncodeWalRecord(spec, Lsn())}};

        DecodedRecord record;
        const std::string& text = request.records[0].bytes;
        ASSERT_TRUE(DecodeRecord(start, start + 0x8000,
                                 std::as_bytes(std::span(text.data(), text.size())), &record)
                        .ok());
        PageBuffer page;
        page.fill(std::byte{0xEE});  // nothing of what was there stays
        ASSERT_TRUE(RestoreUncompressedImage(record, record.blocks[0], page).ok());
        with_hole += record.blocks[0].hole_length > 0 ? 1 : 0;
        new_pages += PageIsNew(page) ? 1 : 0;
        ours.push_back(page);
        requests.push_back(std::move(request));
    }
    EXPECT_GT(with_hole, kRecords / 3u);
    EXPECT_GT(new_pages, kRecords / 30u);

    TestDirectory directory;
    RedoProcessPool pool(TestPoolOptions(directory, 1));
    std::vector<Result<PageBuffer>> theirs = pool.Apply(requests);
    ASSERT_EQ(theirs.size(), ours.size());
    for (size_t i = 0; i < ours.size(); i++) {
        ASSERT_TRUE(theirs[i].ok()) << theirs[i].status().message();
        ASSERT_EQ(*theirs[i], ours[i]) << "record " << i << ", " << requests[i].key.ToString();
    }
}

}  // namespace
}  // namespace zenith

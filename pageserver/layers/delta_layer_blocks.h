// DeltaLayerBlocks: an open delta layer file as its bytes are: header, filter, index, and blocks that
// are verified as they are read. What they mean is for delta_layer_file.cpp and LayerCursor.
//
// Threads  const methods from any thread, no locks.
#pragma once

#include <array>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "common/base/ids.h"
#include "common/base/lsn.h"
#include "common/base/result.h"
#include "common/base/unique_fd.h"
#include "pageserver/layers/delta_layer_block.h"
#include "pageserver/layers/delta_layer_format.h"
#include "pageserver/layers/manifest.h"
#include "pageserver/layers/page_filter.h"

namespace zenith {

class DeltaLayerBlocks {
  public:
    // The blocks of one kind: [begin, end).
    struct KindRange {
        size_t begin = 0;
        size_t end = 0;
    };

    // Reads header, filter and index. The file must be what `entry` says.
    static Result<std::shared_ptr<const DeltaLayerBlocks>> Open(const std::string& path,
                                                                const TimelineId& timeline,
                                                                const LayerManifest::Entry& entry);

    const std::string& path() const { return path_; }
    Lsn start() const { return entry_.start; }
    Lsn end() const { return entry_.end; }
    uint64_t file_bytes() const { return file_bytes_; }
    size_t memory_bytes() const;
    Lsn oldest_record() const { return oldest_record_; }
    // The numbers of the image files, as entries count them.
    const std::vector<uint64_t>& image_table() const { return image_table_; }
    const PageFilter& filter() const { return filter_; }

    const KindRange& Kind(DeltaBlockKind kind) const {
        return kinds_[static_cast<size_t>(kind) - 1];
    }
    size_t size() const { return blocks_.size(); }
    DeltaBlockKind KindOf(size_t block) const;
    std::string_view FirstKey(size_t block) const {
        return std::string_view(keys_).substr(blocks_[block].key_at, blocks_[block].key_length);
    }
    Lsn FirstLsn(size_t block) const { return blocks_[block].first_lsn; }
    uint64_t Offset(size_t block) const { return blocks_[block].offset; }
    // The number of blocks of the range, counted from its begin, whose first (key, LSN) is not
    // above (key, at).
    size_t BlocksUpTo(const KindRange& range, std::string_view key, Lsn at) const;
    Status ReadBlock(size_t block, std::string* bytes) const;

    Status Corrupt(uint64_t offset, const std::string& what) const;
    Status Damaged(size_t block) const {
        return Corrupt(Offset(block), "invalid contents of a block");
    }

  private:
    struct BlockPlace {
        uint64_t offset = 0;
        uint64_t key_at = 0;  // in keys_
        Lsn first_lsn;
        uint32_t key_length = 0;
        uint32_t length = 0;
        uint32_t checksum = 0;
    };

    DeltaLayerBlocks(std::string path, UniqueFd fd, const TimelineId& timeline,
                     const LayerManifest::Entry& entry)
        : path_(std::move(path)), fd_(std::move(fd)), timeline_(timeline), entry_(entry) {}
    Status LoadHeader();
    Status LoadFilter(uint64_t length, uint32_t checksum);
    Status LoadIndex(uint64_t block_count, uint64_t image_file_count, uint32_t checksum);

    const std::string path_;
    const UniqueFd fd_;
    const TimelineId timeline_;
    const LayerManifest::Entry entry_;
    uint64_t file_bytes_ = 0;
    Lsn oldest_record_;
    uint64_t filter_offset_ = 0;
    uint64_t index_offset_ = 0;
    std::vector<uint64_t> image_table_;
    PageFilter filter_;
    std::vector<BlockPlace> blocks_;
    std::string keys_;
    std::array<KindRange, kDeltaBlockKindCount> kinds_;
};

}  // namespace zenith

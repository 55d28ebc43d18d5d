// DeltaLayerWriter: writes a delta layer file, and the image file for the images that come with it,
// in one pass. Both have the same number. Format: layer_file_format.md.
//
// Memory   the block being made, the index, 8 bytes for each page (see page_filter.h).
// Threads  one thread.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "common/base/ids.h"
#include "common/base/lsn.h"
#include "common/base/result.h"
#include "common/base/unique_fd.h"
#include "pageserver/layers/delta_layer_block.h"
#include "pageserver/layers/delta_layer_format.h"
#include "pageserver/layers/image_file.h"
#include "pageserver/layers/layer_sink.h"
#include "pageserver/layers/manifest.h"
#include "pageserver/layers/page_filter.h"

namespace zenith {

class InMemoryLayer;

// Where a new layer goes. The directory exists (CreateLayerDirectory), nothing has the number.
struct NewLayer {
    std::string directory;
    TimelineId timeline;
    LayerManifest::Entry entry;
};

struct WrittenLayer {
    LayerManifest::Entry entry;
    uint64_t file_bytes = 0;
    uint64_t image_bytes = 0;  // of the image file with the same number; 0: there is none
    uint64_t images = 0;       // in it
    Lsn oldest_record = kMaxLsn;
    std::vector<uint64_t> image_files;
};

class DeltaLayerWriter final : public LayerSink {
  public:
    explicit DeltaLayerWriter(NewLayer layer);
    // Without a successful Finish() nothing is left behind.
    ~DeltaLayerWriter() override;
    DeltaLayerWriter(const DeltaLayerWriter&) = delete;
    DeltaLayerWriter& operator=(const DeltaLayerWriter&) = delete;

    // LayerSink; files are created by the first call. Something out of order or outside of the
    // layer's LSNs is kInternal.
    Status Cut(const DatabaseKey& db, const DatabaseCut& cut) override;
    Status Database(const DatabaseKey& db, Lsn lsn, bool exists) override;
    Status Size(const RelForkKey& rel, Lsn lsn, std::optional<BlockNumber> blocks) override;
    Status Floor(const RelForkKey& rel, Lsn lsn, BlockNumber blocks) override;
    Status Blob(const std::string& key, Lsn lsn, const std::string* value) override;
    Status Record(const PageKey& key, Lsn start, Lsn end, uint8_t ref_flags) override;
    // The page is written to the image file at once.
    Status Image(const PageKey& key, Lsn end, ConstPageSpan image) override;
    Status Tombstone(const PageKey& key, Lsn end) override;

    // An image that lies in an image file already.
    Status ImageAt(const PageKey& key, Lsn end, const ImagePlace& place);
    // The same as a frame of another image file, to be copied.
    Status ImageFrame(const PageKey& key, Lsn end, std::string_view frame);

    // An entry of another layer file as LayerCursor gives it; an image stays where it is.
    Status Copy(DeltaBlockKind kind, const std::string& key, const DeltaEntry& entry);

    // The rest of the files, on disk under their names. They count once a manifest names them.
    Result<WrittenLayer> Finish();

  private:
    Status Open();
    Result<ImageFileWriter*> Images();
    void PutImageBody(const ImagePlace& place);
    // Makes entry_body_ the next entry of `kind` and `key`.
    Status Add(DeltaBlockKind kind, const std::string& key, Lsn lsn);
    void EndGroup();
    Status EndBlock();
    Status Write(std::string_view bytes);
    Status WritePending();

    const NewLayer layer_;
    const std::string path_;
    UniqueFd fd_;
    bool finished_ = false;
    bool images_finished_ = false;
    std::unique_ptr<ImageFileWriter> images_;
    Lsn oldest_record_ = kMaxLsn;
    // Image file -> its place in the file's table, in the order of their first use.
    std::map<uint64_t, uint64_t> image_files_;
    std::string image_table_;

    std::string entry_body_;  // of the entry being added
    // What was added last.
    bool any_ = false;
    DeltaBlockKind kind_ = DeltaBlockKind::kCuts;
    std::string key_;
    Lsn last_lsn_;
    // The group being made, of key_.
    std::string entries_;
    uint64_t count_ = 0;
    Lsn previous_lsn_;
    // The block being made, and the key of the last group in it.
    std::string block_;
    std::string last_key_in_block_;
    std::string first_key_;
    Lsn first_lsn_;

    PageFilterBuilder filter_;
    std::string index_;
    uint64_t blocks_ = 0;
    std::string pending_;  // not written yet
    uint64_t offset_ = kDeltaLayerHeaderSize;  // where pending_ goes
};

// Removes the files of a layer that was written and is not to count after all.
void RemoveWritten(const NewLayer& layer);

// Writes all of `memory`. Requires: nobody writes to it.
Result<WrittenLayer> WriteDeltaLayerFile(const InMemoryLayer& memory, const NewLayer& layer);

}  // namespace zenith

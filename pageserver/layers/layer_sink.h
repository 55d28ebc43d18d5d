// LayerSink: takes the contents of a layer in the order of layer files (layer_file_format.md): all
// cuts, then databases, sizes, floors, blobs, pages; within each by key, then by LSN.
//
// Thread rule: one thread. What is passed is valid during the call only.
#pragma once

#include <optional>
#include <string>

#include "common/base/lsn.h"
#include "common/base/status.h"
#include "common/pgformat/page_format.h"
#include "common/pgformat/relation_key.h"
#include "pageserver/layers/layer.h"

namespace zenith {

class LayerSink {
  public:
    virtual ~LayerSink() = default;

    virtual Status Cut(const DatabaseKey& db, const DatabaseCut& cut) = 0;
    virtual Status Database(const DatabaseKey& db, Lsn lsn, bool exists) = 0;
    // nullopt: the fork ceases to exist.
    virtual Status Size(const RelForkKey& rel, Lsn lsn, std::optional<BlockNumber> blocks) = 0;
    virtual Status Floor(const RelForkKey& rel, Lsn lsn, BlockNumber blocks) = 0;
    // null: the blob is dropped.
    virtual Status Blob(const std::string& key, Lsn lsn, const std::string* value) = 0;
    virtual Status Record(const PageKey& key, Lsn start, Lsn end, uint8_t ref_flags) = 0;
    virtual Status Image(const PageKey& key, Lsn end, ConstPageSpan image) = 0;
    virtual Status Tombstone(const PageKey& key, Lsn end) = 0;
};

}  // namespace zenith

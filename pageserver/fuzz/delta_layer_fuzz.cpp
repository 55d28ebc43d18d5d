// A delta layer file of arbitrary bytes behind valid checksums of header and index, and a block of
// arbitrary bytes: it opens or is refused, what opens can be read.
#include <sys/mman.h>

#include <algorithm>
#include <cstdint>
#include <cstdlib>
#include <span>
#include <string>

#include "common/base/byte_writer.h"
#include "common/base/crc32c.h"
#include "common/base/posix_file.h"
#include "pageserver/layers/delta_layer_block.h"
#include "pageserver/layers/delta_layer_file.h"

namespace {

constexpr zenith::Lsn kStart(0x1000);
constexpr zenith::Lsn kEnd(0x100000);

void ReadBlock(std::string_view bytes) {
    if (bytes.empty()) {
        return;
    }
    auto kind = static_cast<zenith::DeltaBlockKind>(1 + static_cast<uint8_t>(bytes[0]) % 6);
    zenith::DeltaBlock block(kind, bytes.substr(1), kStart, kEnd);
    std::vector<zenith::DeltaEntry> entries;
    while (block.NextGroup()) {
        block.Entries(zenith::kMaxLsn, &entries);
        for (const zenith::DeltaEntry& entry : entries) {
            if (entry.lsn < kStart || entry.lsn > kEnd) {
                abort();
            }
        }
    }
}

// The first two bytes say where the index begins in the others.
void ReadFile(std::string_view bytes) {
    if (bytes.size() < 2) {
        return;
    }
    size_t index_at = static_cast<uint8_t>(bytes[0]) << 8 | static_cast<uint8_t>(bytes[1]);
    bytes.remove_prefix(2);
    index_at = std::min(index_at, bytes.size());
    const std::string index(bytes.substr(index_at));
    const zenith::TimelineId id{};
    zenith::ByteWriter file;
    file.Text(zenith::kDeltaLayerMagic);
    file.U32Le(zenith::kDeltaLayerVersion);
    file.U32Le(zenith::kPageSize);
    file.U64Le(zenith::kDeltaLayerHeaderSize + bytes.size());
    file.Bytes(std::as_bytes(std::span(id.bytes)));
    file.U64Le(kStart.value);
    file.U64Le(kEnd.value);
    // The last byte of the index (of a checksum) stands for the number of blocks.
    file.U64Le(index.empty() ? 0 : static_cast<uint8_t>(index.back()) % 8);
    file.U64Le(0);
    file.U64Le(zenith::kDeltaLayerHeaderSize + index_at);
    file.U32Le(zenith::Crc32c(std::as_bytes(std::span(index.data(), index.size()))));
    file.U32Le(zenith::kDeltaBlockKindCount);
    file.Zeros(zenith::kDeltaLayerHeaderChecksumOffset - file.size());
    file.U32Le(zenith::Crc32c(file.bytes()));
    file.Text(bytes);

    zenith::UniqueFd fd(memfd_create("delta", MFD_CLOEXEC));
    const std::string path = "/proc/self/fd/" + std::to_string(fd.get());
    if (!fd.valid() || !zenith::WriteAllAt(fd.get(), path, 0, file.bytes()).ok()) {
        abort();
    }
    auto layer = zenith::DeltaLayerFile::Open(path, id, nullptr);
    if (!layer.ok()) {
        return;
    }
    (*layer)->Verify().Ignore("damage is refused");
    const zenith::RelForkKey rel{{1663, 5, 16384}, zenith::Fork::kMain};
    zenith::PageHistory history;
    (*layer)
        ->SearchPage(zenith::PageKey::Relation(rel, 0), kEnd, &history)
        .status()
        .Ignore("damage is refused");
    (*layer)
        ->VisitRelations(nullptr, kEnd, [](const zenith::RelForkKey&, auto) {})
        .Ignore("damage is refused");
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
    std::string_view bytes(reinterpret_cast<const char*>(data), size);
    ReadBlock(bytes);
    ReadFile(bytes);
    return 0;
}

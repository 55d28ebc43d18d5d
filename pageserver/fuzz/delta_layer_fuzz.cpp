// The files of a layers directory, of arbitrary bytes behind valid checksums: a delta layer file and a
// block of one, an image file, a manifest. They open or are refused; what opens can be read.
#include <unistd.h>

#include <algorithm>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <span>
#include <string>

#include "common/base/byte_writer.h"
#include "common/base/crc32c.h"
#include "common/base/posix_file.h"
#include "pageserver/layers/delta_layer_block.h"
#include "pageserver/layers/delta_layer_file.h"
#include "pageserver/layers/delta_layer_writer.h"
#include "pageserver/layers/layer_rewriter.h"

namespace {

using zenith::Lsn;

constexpr Lsn kStart(0x1000);
constexpr Lsn kEnd(0x100000);
const zenith::TimelineId kId{};
const zenith::RelForkKey kRelation{{1663, 5, 16384}, zenith::Fork::kMain};

// In memory where there is such a place.
const std::string& Directory() {
    static const std::string directory = [] {
        char name[] = "/dev/shm/zenith_fuzz_XXXXXX";
        char other[] = "/tmp/zenith_fuzz_XXXXXX";
        const char* made = mkdtemp(name);
        made = made != nullptr ? made : mkdtemp(other);
        if (made == nullptr) {
            abort();
        }
        static std::string path = made;
        atexit([] {
            zenith::RemoveTree(path).Ignore("a leftover does no harm");
        });
        return path;
    }();
    return directory;
}

void WriteFile(const std::string& name, std::string_view bytes) {
    const std::string path = Directory() + "/" + name;
    FILE* file = std::fopen(path.c_str(), "w");
    if (file == nullptr || std::fwrite(bytes.data(), 1, bytes.size(), file) != bytes.size() ||
        std::fclose(file) != 0) {
        abort();
    }
}

uint32_t Checksum(std::string_view bytes) {
    return zenith::Crc32c(std::as_bytes(std::span(bytes.data(), bytes.size())));
}

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

// Blocks with the right checksums: an index of its own for each stretch of the input, whose first
// two bytes are length and kind.
std::string IndexOf(std::string_view* bytes, uint64_t* blocks) {
    std::string index;
    std::string content;
    while (bytes->size() > 4) {
        const size_t length = std::min<size_t>(static_cast<uint8_t>((*bytes)[0]) + 1,
                                               bytes->size() - 2);
        const uint64_t kind = 1 + static_cast<uint8_t>((*bytes)[1]) % 6;
        const std::string_view block = bytes->substr(2, length);
        bytes->remove_prefix(2 + length);
        // The key as it is in the block's first group, if it is one.
        const size_t key_length = block.size() > 2 ? static_cast<uint8_t>(block[1]) : 0;
        const std::string_view key = block.substr(std::min<size_t>(2, block.size()), key_length);
        zenith::AppendVarint(&index, kind);
        zenith::AppendVarint(&index, key.size());
        index += key;
        const size_t lsn_at = 2 + key.size() + 2;
        zenith::AppendVarint(&index,
                             lsn_at < block.size() ? static_cast<uint8_t>(block[lsn_at]) & 0x7f : 0);
        zenith::AppendVarint(&index, block.size());
        zenith::ByteWriter checksum;
        checksum.U32Le(Checksum(block));
        index += checksum.buffer();
        content += block;
        (*blocks)++;
    }
    return content + '\0' + index;
}

// `blocks`: what the header says; `content`, `filter` and `index` follow it.
void ReadFile(uint64_t blocks, uint32_t image_files, const std::string& content,
              const std::string& filter, const std::string& index) {
    const zenith::LayerManifest::Entry entry{kStart, kEnd, 1};
    zenith::ByteWriter file;
    file.Text(zenith::kDeltaLayerMagic);
    file.U32Le(zenith::kDeltaLayerVersion);
    file.U32Le(zenith::kPageSize);
    file.U64Le(zenith::kDeltaLayerHeaderSize + content.size() + filter.size() + index.size());
    file.Bytes(std::as_bytes(std::span(kId.bytes)));
    file.U64Le(kStart.value);
    file.U64Le(kEnd.value);
    file.U32Le(1);
    file.U32Le(zenith::kDeltaBlockKindCount);
    file.U64Le(kStart.value);
    file.U64Le(blocks);
    file.U32Le(image_files);
    file.U32Le(Checksum(filter));
    file.U64Le(zenith::kDeltaLayerHeaderSize + content.size());
    file.U64Le(zenith::kDeltaLayerHeaderSize + content.size() + filter.size());
    file.U32Le(Checksum(index));
    file.Zeros(zenith::kDeltaLayerHeaderChecksumOffset - file.size());
    file.U32Le(zenith::Crc32c(file.bytes()));
    WriteFile(zenith::DeltaLayerFileName(entry), file.buffer() + content + filter + index);
    auto layer = zenith::DeltaLayerFile::Open(
        Directory(), kId, entry, nullptr,
        std::make_shared<zenith::ImageFiles>(Directory(), kId));
    if (!layer.ok()) {
        return;
    }
    (*layer)->Verify().Ignore("damage is refused");
    zenith::PageHistory history;
    (*layer)
        ->SearchPage(zenith::PageKey::Relation(kRelation, 0), kEnd, &history)
        .status()
        .Ignore("damage is refused");
    (*layer)
        ->VisitRelations(nullptr, kEnd, [](const zenith::RelForkKey&, auto) {})
        .Ignore("damage is refused");
    const zenith::NewLayer merged{Directory(), kId, {kStart, kEnd, 2}};
    const zenith::RewriteRetention retention{.points = {kStart + 10}, .state_at = nullptr};
    for (const zenith::RewriteRetention* how :
         {static_cast<const zenith::RewriteRetention*>(nullptr), &retention}) {
        if (zenith::RewriteLayers({*layer}, merged, how).ok()) {
            zenith::RemoveWritten(merged);
        }
    }
}

void ReadLayers(std::string_view bytes) {
    if (bytes.size() < 4) {
        return;
    }
    // An index of arbitrary bytes: the first two bytes say where it begins in the others.
    const size_t index_at = std::min<size_t>(
        static_cast<uint8_t>(bytes[0]) << 8 | static_cast<uint8_t>(bytes[1]), bytes.size() - 2);
    const std::string index(bytes.substr(2 + index_at));
    ReadFile(index.empty() ? 0 : static_cast<uint8_t>(index.back()) % 8,
             static_cast<uint8_t>(bytes[0]) % 3, std::string(bytes.substr(2, index_at)), "", index);
    // An index that is right, of blocks of arbitrary bytes; a filter that denies nothing.
    uint64_t blocks = 0;
    std::string_view rest = bytes;
    std::string both = IndexOf(&rest, &blocks);
    const size_t content = bytes.size() - rest.size() - 2 * blocks;
    ReadFile(blocks, 1, both.substr(0, content), std::string(64, '\xff'),
             '\1' + both.substr(content + 1));
}

void ReadImages(std::string_view bytes) {
    zenith::ByteWriter file;
    file.Text(zenith::kImageFileMagic);
    file.U32Le(zenith::kImageFileVersion);
    file.U32Le(zenith::kPageSize);
    file.Bytes(std::as_bytes(std::span(kId.bytes)));
    file.U64Le(1);
    file.Zeros(zenith::kImageFileHeaderSize - 4 - file.size());
    file.U32Le(zenith::Crc32c(file.bytes()));
    // One frame whose checksum is right, and bytes of any kind.
    const size_t packed = bytes.empty() ? 0 : std::min<size_t>(static_cast<uint8_t>(bytes[0]) + 1,
                                                               bytes.size() - 1);
    const zenith::PageKey key = zenith::PageKey::Relation(kRelation, 0);
    const uint32_t length = static_cast<uint32_t>(zenith::kImageFrameHead + packed);
    zenith::ByteWriter frame;
    frame.U32Le(length);
    frame.Text(zenith::EncodeKey(key));
    frame.U64Le(kEnd.value);
    frame.Text(bytes.substr(bytes.empty() ? 0 : 1, packed));
    file.U32Le(Checksum(frame.buffer()));
    file.Text(frame.buffer());
    file.Text(bytes.substr(std::min(bytes.size(), 1 + packed)));
    zenith::ByteWriter trailer;
    trailer.U64Le(1);
    trailer.U64Le(file.size() + zenith::kImageFileTrailerSize);
    trailer.U32Le(0);
    trailer.U32Le(zenith::Crc32c(trailer.bytes()));
    WriteFile(zenith::ImageFileName(1), file.buffer() + trailer.buffer());
    const zenith::ImageFile images(Directory() + "/" + zenith::ImageFileName(1), kId, 1);
    images.Verify().Ignore("damage is refused");
    images.Read({1, zenith::kImageFileHeaderSize, length}, key, kEnd)
        .status()
        .Ignore("damage is refused");
}

void ReadManifest(std::string_view bytes) {
    zenith::ParseLayerManifest(bytes, "m", kId, kStart).status().Ignore("damage is refused");
    std::string text = "zenith layer manifest 1\ntimeline " + kId.ToString() + "\n";
    text += bytes;
    char line[32];
    std::snprintf(line, sizeof line, "crc32c %08x\n", Checksum(text));
    text += line;
    auto manifest = zenith::ParseLayerManifest(text, "m", kId, kStart);
    if (manifest.ok() && zenith::FormatLayerManifest(kId, *manifest) != text) {
        abort();
    }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
    if (size == 0) {
        return 0;
    }
    std::string_view bytes(reinterpret_cast<const char*>(data), size);
    const uint8_t what = static_cast<uint8_t>(bytes[0]) % 4;
    bytes.remove_prefix(1);
    switch (what) {
        case 0:
            ReadBlock(bytes);
            break;
        case 1:
            ReadLayers(bytes);
            break;
        case 2:
            ReadImages(bytes);
            break;
        default:
            ReadManifest(bytes);
    }
    return 0;
}

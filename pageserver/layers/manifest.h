// LayerManifest: which files of timelines/<id>/layers count, and what of the history is left: file
// "manifest" there. Format: layer_file_format.md.
//
// Purpose  the one place that makes a set of new files take effect, all at once: whoever flushes,
//          merges or collects garbage writes new files, replaces the manifest, removes old ones. A
//          file the manifest does not name is what a crash left.
// Threads  plain values; one writer of a directory at a time.
// Errors   kCorruption names file, offset and timeline; kRefused: an unknown version.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "common/base/ids.h"
#include "common/base/lsn.h"
#include "common/base/result.h"

namespace zenith {

inline constexpr uint32_t kManifestVersion = 1;
inline constexpr uint64_t kMaxFileNumber = 0xFFFFFFFF;  // 8 hexadecimal digits

struct LayerManifest {
    struct Entry {
        Lsn start;
        Lsn end;
        uint64_t number = 0;
        auto operator<=>(const Entry&) const = default;
    };

    // No file has this number or a higher one, but for what a crash left.
    uint64_t next_file = 1;
    // From here on every LSN can be read; before it, `points` can.
    Lsn readable_from;
    std::vector<Lsn> points;  // ascending
    // The timeline has ended: nothing after this LSN is left, nothing is written any more.
    std::optional<Lsn> ends_at;
    std::vector<Entry> layers;  // oldest first, each begins where the one before it ends

    bool operator==(const LayerManifest&) const = default;
};

// "manifest"; "0000000000001000-0000000000001100-00000001.delta"; "00000001.images".
inline constexpr char kManifestFileName[] = "manifest";
std::string DeltaLayerFileName(const LayerManifest::Entry& entry);
std::string ImageFileName(uint64_t number);
// nullopt: not such a name.
std::optional<LayerManifest::Entry> ParseDeltaLayerFileName(std::string_view name);
std::optional<uint64_t> ParseImageFileName(std::string_view name);

// Reads only. No manifest: an empty one that is readable from `timeline_start`; but kCorruption
// when there are layer files all the same.
Result<LayerManifest> ReadLayerManifest(const std::string& directory, const TimelineId& timeline,
                                        Lsn timeline_start);
// Replaces it: complete and durable, or the old one is untouched. kInvalidArgument when `manifest`
// is not as the comments above say.
Status WriteLayerManifest(const std::string& directory, const TimelineId& timeline,
                          Lsn timeline_start, const LayerManifest& manifest);
// Makes `directory` with an empty manifest, durable, where there is none yet. Before the first file.
Status CreateLayerDirectory(const std::string& directory, const TimelineId& timeline,
                            Lsn timeline_start);

// The file's text, and back: for tests and fuzzing. `path` is for messages.
std::string FormatLayerManifest(const TimelineId& timeline, const LayerManifest& manifest);
Result<LayerManifest> ParseLayerManifest(std::string_view text, const std::string& path,
                                         const TimelineId& timeline, Lsn timeline_start);

}  // namespace zenith

// OpenDeltaLayers(): the layers directory of a timeline, and what a crash left in it.
#include <algorithm>
#include <set>

#include "common/base/log.h"
#include "common/base/posix_file.h"
#include "pageserver/layers/delta_layer_file.h"

namespace zenith {

Result<OpenedLayers> OpenDeltaLayers(const std::string& directory, const TimelineId& timeline,
                                     Lsn timeline_start, const WalStorage* wal,
                                     Leftovers leftovers) {
    Result<OpenedLayers> layers{OpenedLayers{}};
    layers->images = std::make_shared<ImageFiles>(directory, timeline);
    ZENITH_ASSIGN_OR_RETURN(layers->manifest,
                            ReadLayerManifest(directory, timeline, timeline_start));
    for (const LayerManifest::Entry& entry : layers->manifest.layers) {
        Result<std::shared_ptr<const DeltaLayerFile>> file =
            DeltaLayerFile::Open(directory, timeline, entry, wal, layers->images);
        if (!file.ok() && file.status().code() == StatusCode::kRefused) {
            return file.status();
        }
        if (!file.ok()) {
            spdlog::error("layers: {}", file.status().message());
            layers->files.push_back(DeltaLayerFile::Damaged(entry, file.status()));
            continue;
        }
        layers->files.push_back(*std::move(file));
    }
    if (leftovers == Leftovers::kRemove) {
        ZENITH_ASSIGN_OR_RETURN(std::vector<std::string> names,
                                FindLeftovers(directory, *layers));
        for (const std::string& name : names) {
            spdlog::info("layers: removing \"{}/{}\", which a crash left", directory, name);
            ZENITH_RETURN_IF_ERROR(RemoveFile(directory + "/" + name));
        }
    }
    return layers;
}

Result<std::vector<std::string>> FindLeftovers(const std::string& directory,
                                               const OpenedLayers& layers) {
    std::vector<std::string> leftovers;
    if (!FileExists(directory)) {
        return leftovers;
    }
    std::set<std::string> known = {kManifestFileName};
    bool damaged = false;
    for (const auto& file : layers.files) {
        known.insert(DeltaLayerFileName(file->entry()));
        for (uint64_t number : file->image_files()) {
            known.insert(ImageFileName(number));
        }
        damaged = damaged || !file->damage().ok();
    }
    ZENITH_ASSIGN_OR_RETURN(std::vector<std::string> names, ListDirectory(directory));
    std::sort(names.begin(), names.end());
    for (std::string& name : names) {
        if (known.contains(name)) {
            continue;
        }
        const bool images = ParseImageFileName(name).has_value();
        if (images && damaged) {
            continue;  // nobody knows which ones a damaged layer refers to
        }
        if (images || name.ends_with(".tmp") || ParseDeltaLayerFileName(name)) {
            leftovers.push_back(std::move(name));
        } else {
            spdlog::warn("layers: unknown file \"{}/{}\"", directory, name);
        }
    }
    return leftovers;
}

}  // namespace zenith

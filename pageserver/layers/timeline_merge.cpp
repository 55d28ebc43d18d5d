// The merging half of TimelineImpl: many small layer files become few big ones, in the background.
//
// A layer's tier is its extent in WAL, in powers of the fan-in. When as many layers of a tier lie
// side by side as the fan-in says (with smaller ones between them), they are merged; so a read
// visits fewer than kMergeFanIn files for each tier, and an entry is written again once for each
// tier. The biggest tiers stay as they are: retention cuts at the end of a layer, and a filter
// spares a read most of them.
#include <algorithm>
#include <set>
#include <utility>

#include "common/base/log.h"
#include "common/base/posix_file.h"
#include "pageserver/layers/timeline_impl.h"

namespace zenith {

namespace {

using Clock = std::chrono::steady_clock;
using Files = LayerFiles;

constexpr size_t kMergeFanIn = 8;
// Tier 0 is below this. A file of the default size, 16 MB, is in the middle of tier 2.
constexpr uint64_t kSmallestTierBytes = 512 << 10;
// Tiers that are merged: what comes out of the last one has 256 MB to 2 GB.
constexpr int kTiers = 4;
constexpr std::chrono::seconds kRetryAfter(60);

int Tier(const DeltaLayerFile& file) {
    int tier = 0;
    for (uint64_t limit = kSmallestTierBytes; file.end() - file.start() >= limit && tier < kTiers;
         limit *= kMergeFanIn) {
        tier++;
    }
    return tier;
}

// The layers to merge next, oldest first; none when all is well.
Files PickMerge(const LayerGeneration& generation) {
    for (int tier = 0; tier < kTiers; tier++) {
        Files run;
        size_t count = 0;
        for (auto layer = generation.older.rbegin(); layer != generation.older.rend(); ++layer) {
            const bool usable = layer->file != nullptr && layer->file->damage().ok();
            const int of = usable ? Tier(*layer->file) : kTiers;
            if (of > tier) {
                run.clear();
                count = 0;
                continue;
            }
            if (of == tier) {
                count++;
            }
            if (count > 0) {
                run.push_back(layer->file);
            }
            if (count == kMergeFanIn) {
                return run;
            }
        }
    }
    return {};
}

}  // namespace

void TimelineImpl::PostMerge() {
    if (!stopping_.load() && !merge_posted_.exchange(true)) {
        worker_->Post(this, LayerWorker::Kind::kMerge, [this] { Merge(); });
    }
}

void TimelineImpl::Merge() {
    merge_posted_.store(false);
    std::unique_lock lock(rewrite_mutex_, std::try_to_lock);
    if (!lock.owns_lock() || Clock::now() < merge_retry_at_) {
        return;  // retention looks here when it is done
    }
    while (!stopping_.load()) {
        const Files inputs = PickMerge(*Newest());
        if (inputs.empty()) {
            return;
        }
        const Clock::time_point begin = Clock::now();
        Result<std::shared_ptr<const DeltaLayerFile>> output =
            Rewrite(inputs, inputs.back()->end(), nullptr, nullptr);
        Status status = output.status();
        if (status.ok()) {
            status = PublishRewrite(inputs, *output, nullptr, nullptr);
        }
        if (!status.ok()) {
            if (!stopping_.load()) {
                merge_retry_at_ = Clock::now() + kRetryAfter;
                spdlog::warn("layers: could not merge layers of timeline {} from {} to {}: {}",
                             id_.ToString(), inputs.front()->start().ToString(),
                             inputs.back()->end().ToString(), status.message());
            }
            return;
        }
        spdlog::info("layers: timeline {}: merged {} layers from {} to {} to a file of {} bytes in "
                     "{} ms",
                     id_.ToString(), inputs.size(), inputs.front()->start().ToString(),
                     inputs.back()->end().ToString(), (*output)->file_bytes(),
                     std::chrono::duration_cast<std::chrono::milliseconds>(Clock::now() - begin)
                         .count());
    }
}

Result<std::shared_ptr<const DeltaLayerFile>> TimelineImpl::Rewrite(
    const Files& inputs, Lsn end, const RewriteRetention* retention, RewrittenLayer* report) {
    ZENITH_ASSIGN_OR_RETURN(
        RewrittenLayer rewritten,
        RewriteLayers(inputs, MakeNewLayer(inputs.front()->start(), end), retention, &stopping_));
    Result<std::shared_ptr<const DeltaLayerFile>> opened = OpenLayerFile(rewritten.layer);
    if (!opened.ok()) {
        DiscardLayer(rewritten.layer.entry);
    } else if (report != nullptr) {
        *report = std::move(rewritten);
    }
    return opened;
}

void TimelineImpl::DiscardLayer(const LayerManifest::Entry& entry) {
    // A manifest whose replacement failed may be there all the same.
    Result<LayerManifest> manifest = ReadLayerManifest(layer_directory_, id_, start_lsn_);
    if (!manifest.ok() || std::find(manifest->layers.begin(), manifest->layers.end(), entry) !=
                              manifest->layers.end()) {
        return;
    }
    for (const std::string& name : {DeltaLayerFileName(entry), ImageFileName(entry.number)}) {
        const std::string path = layer_directory_ + "/" + name;
        if (FileExists(path)) {
            RemoveFile(path).Ignore("opening the timeline removes what is left over");
        }
    }
}

void TimelineImpl::ReplaceLayers(const Files& inputs,
                                 const std::shared_ptr<const DeltaLayerFile>& output,
                                 LayerGeneration* generation) {
    auto is_input = [&](const OlderLayer& layer) {
        return layer.file != nullptr &&
               std::find(inputs.begin(), inputs.end(), layer.file) != inputs.end();
    };
    auto& older = generation->older;
    auto at = std::find_if(older.begin(), older.end(), is_input);
    if (at != older.end() && output != nullptr) {
        *at = {output->start(), output, output};
        ++at;
    }
    older.erase(std::remove_if(at, older.end(), is_input), older.end());
}

Status TimelineImpl::PublishRewrite(const Files& inputs,
                                    const std::shared_ptr<const DeltaLayerFile>& output,
                                    const std::function<void(LayerManifest*)>& change_manifest,
                                    const std::function<void(LayerGeneration*)>& change) {
    Status status = Publish(
        [&](LayerManifest* manifest) {
            auto& layers = manifest->layers;
            auto is_input = [&](const LayerManifest::Entry& entry) {
                return std::any_of(inputs.begin(), inputs.end(),
                                   [&](const auto& input) { return input->entry() == entry; });
            };
            auto at = std::find_if(layers.begin(), layers.end(), is_input);
            if (at != layers.end() && output != nullptr) {
                *at++ = output->entry();
            }
            layers.erase(std::remove_if(at, layers.end(), is_input), layers.end());
            if (change_manifest != nullptr) {
                change_manifest(manifest);
            }
        },
        [&](LayerGeneration* generation) {
            ReplaceLayers(inputs, output, generation);
            if (change != nullptr) {
                change(generation);
            }
        },
        &inputs);
    if (!status.ok() && output != nullptr) {
        DiscardLayer(output->entry());
    }
    return status;
}

Lsn TimelineImpl::OldestWal(const LayerGeneration& generation) const {
    // The record that ends at readable_from is looked at, too.
    Lsn oldest = generation.readable_from - 1;
    for (const OlderLayer& layer : generation.older) {
        if (layer.file == nullptr) {
            continue;
        }
        if (!layer.file->damage().ok()) {
            return Lsn();  // nobody knows what it needs
        }
        oldest = std::min(oldest, layer.file->oldest_record());
    }
    return oldest > start_lsn_ ? oldest : Lsn();
}

ObsoleteFiles TimelineImpl::MakeObsolete(const LayerFiles& replaced, const LayerGeneration& before,
                                         const LayerGeneration& after) const {
    ObsoleteFiles obsolete{replaced, UnusedImages(before, after), OldestWal(after), std::nullopt};
    if (after.ends_at && after.ends_at != before.ends_at) {
        obsolete.wal_after = after.ends_at;
    }
    return obsolete;
}

std::vector<std::shared_ptr<const ImageFile>> TimelineImpl::UnusedImages(
    const LayerGeneration& before, const LayerGeneration& after) const {
    std::set<uint64_t> unused;
    for (const LayerGeneration* generation : {&before, &after}) {
        for (const OlderLayer& layer : generation->older) {
            if (layer.file == nullptr) {
                continue;
            }
            if (!layer.file->damage().ok()) {
                return {};
            }
            for (uint64_t number : layer.file->image_files()) {
                if (generation == &before) {
                    unused.insert(number);
                } else {
                    unused.erase(number);
                }
            }
        }
    }
    std::vector<std::shared_ptr<const ImageFile>> images;
    for (uint64_t number : unused) {
        images.push_back(images_->Get(number));
    }
    return images;
}

}  // namespace zenith

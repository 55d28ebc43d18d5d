#include "pageserver/layers/layer_rewriter.h"

#include <unordered_set>

#include "pageserver/layers/layer_retention.h"
#include "pageserver/layers/merged_cursor.h"

namespace zenith {

namespace {

using Layers = std::vector<std::shared_ptr<const DeltaLayerFile>>;

Status CheckInputs(const Layers& inputs, const LayerManifest::Entry& entry, bool whole) {
    const char* complaint = nullptr;
    if (inputs.empty() || inputs.front()->start() != entry.start) {
        complaint = "they do not start where the new one does";
    } else if (whole ? inputs.back()->end() != entry.end
                     : entry.end <= entry.start || entry.end > inputs.back()->end()) {
        complaint = "they do not end where the new one does";
    }
    for (size_t i = 1; i < inputs.size() && complaint == nullptr; i++) {
        if (inputs[i]->start() != inputs[i - 1]->end()) {
            complaint = "there is a gap between them";
        }
    }
    return complaint == nullptr
               ? Status::Ok()
               : Status::InvalidArgument("layers cannot become one from " +
                                         entry.start.ToString() + " to " + entry.end.ToString() +
                                         ": " + complaint);
}

Status Merge(const Layers& inputs, Lsn end, const std::atomic<bool>* cancel,
             DeltaLayerWriter* writer) {
    ZENITH_ASSIGN_OR_RETURN(std::unique_ptr<MergedCursor> cursor,
                            MergedCursor::Open(inputs, std::nullopt, end, cancel));
    for (;;) {
        ZENITH_ASSIGN_OR_RETURN(bool more, cursor->NextKey());
        if (!more) {
            return Status::Ok();
        }
        for (;;) {
            ZENITH_ASSIGN_OR_RETURN(const DeltaEntry* entry, cursor->NextEntry());
            if (entry == nullptr) {
                break;
            }
            ZENITH_RETURN_IF_ERROR(writer->Copy(cursor->kind(), cursor->key(), *entry));
        }
    }
}

// The image files of which too little will be in use: found by a first pass that writes nothing.
Result<std::unordered_set<uint64_t>> FilesToCopyFrom(const Layers& inputs,
                                                     const LayerManifest::Entry& entry,
                                                     const RewriteRetention& retention,
                                                     const std::atomic<bool>* cancel) {
    Result<std::unordered_set<uint64_t>> files{std::unordered_set<uint64_t>()};
    std::unordered_set<uint64_t> known;
    for (const auto& input : inputs) {
        known.insert(input->image_files().begin(), input->image_files().end());
    }
    if (retention.images == nullptr || known.empty()) {
        return files;
    }
    RetentionFilter plan(inputs, entry, retention, cancel, nullptr);
    ZENITH_RETURN_IF_ERROR(plan.Run());
    for (const auto& [file, used] : plan.image_use()) {
        Result<uint64_t> bytes = retention.images->Get(file)->file_bytes();
        // Header and trailer are no images.
        if (bytes.ok() &&
            static_cast<double>(used) <
                retention.min_image_use * static_cast<double>(*bytes - kImageFileHeaderSize -
                                                              kImageFileTrailerSize)) {
            files->insert(file);
        }
    }
    return files;
}

}  // namespace

Result<RewrittenLayer> RewriteLayers(const Layers& inputs, const NewLayer& layer,
                                     const RewriteRetention* retention,
                                     const std::atomic<bool>* cancel) {
    ZENITH_RETURN_IF_ERROR(CheckInputs(inputs, layer.entry, retention == nullptr));
    DeltaLayerWriter writer(layer);
    Result<RewrittenLayer> rewritten{RewrittenLayer{}};
    if (retention == nullptr) {
        ZENITH_RETURN_IF_ERROR(Merge(inputs, layer.entry.end, cancel, &writer));
    } else {
        for (size_t i = 0; i < retention->points.size(); i++) {
            if (retention->points[i] >= layer.entry.end ||
                (i > 0 && retention->points[i] <= retention->points[i - 1])) {
                return Status::InvalidArgument("the points to retain are not ascending, or not "
                                               "before " + layer.entry.end.ToString());
            }
        }
        ZENITH_ASSIGN_OR_RETURN(std::unordered_set<uint64_t> copy_from,
                                FilesToCopyFrom(inputs, layer.entry, *retention, cancel));
        RetentionFilter filter(inputs, layer.entry, *retention, cancel, &writer);
        filter.CopyFrom(std::move(copy_from));
        ZENITH_RETURN_IF_ERROR(filter.Run());
        *rewritten = filter.report();
    }
    ZENITH_ASSIGN_OR_RETURN(rewritten->layer, writer.Finish());
    return rewritten;
}

}  // namespace zenith

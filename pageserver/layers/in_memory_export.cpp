// InMemoryLayer::Export(): the layer in the order of layer files.
#include <algorithm>
#include <utility>
#include <vector>

#include "pageserver/layers/in_memory_layer.h"
#include "pageserver/layers/layer_sink.h"

namespace zenith {

namespace {

// The elements of an unordered map, by key. They stay where they are.
template <typename Map>
std::vector<const typename Map::value_type*> Sorted(const Map& map) {
    std::vector<const typename Map::value_type*> elements;
    elements.reserve(map.size());
    for (const auto& element : map) {
        elements.push_back(&element);
    }
    std::sort(elements.begin(), elements.end(),
              [](const auto* a, const auto* b) { return a->first < b->first; });
    return elements;
}

}  // namespace

Status InMemoryLayer::ExportPage(const PageKey& key, std::span<const PageVersion> versions,
                                 LayerSink* sink) const {
    for (const PageVersion& version : versions) {
        if (version.is_tombstone()) {
            ZENITH_RETURN_IF_ERROR(sink->Tombstone(key, version.end()));
        } else if (version.is_image()) {
            ZENITH_RETURN_IF_ERROR(
                sink->Image(key, version.end(), *images_[version.image_index()]));
        } else {
            ZENITH_RETURN_IF_ERROR(
                sink->Record(key, version.start(), version.end(), version.ref_flags()));
        }
    }
    return Status::Ok();
}

Status InMemoryLayer::Export(LayerSink* sink) const {
    const auto databases = Sorted(databases_);
    for (const auto* database : databases) {
        for (const DatabaseCut& cut : database->second.cuts) {
            ZENITH_RETURN_IF_ERROR(sink->Cut(database->first, cut));
        }
    }
    for (const auto* database : databases) {
        for (const ExistenceVersion& version : database->second.existence) {
            ZENITH_RETURN_IF_ERROR(sink->Database(database->first, version.lsn, version.exists));
        }
    }
    const auto relations = Sorted(relations_);
    for (const auto* relation : relations) {
        for (const SizeVersion& size : relation->second.sizes) {
            ZENITH_RETURN_IF_ERROR(
                sink->Size(relation->first, size.lsn,
                           size.exists ? std::optional(size.blocks) : std::nullopt));
        }
    }
    for (const auto* relation : relations) {
        ZENITH_RETURN_IF_ERROR(
            relation->second.floors.ForEach([&](Lsn lsn, BlockNumber blocks) -> Status {
                return sink->Floor(relation->first, lsn, blocks);
            }));
    }
    for (const auto& [key, versions] : blobs_) {
        for (const BlobVersion& version : versions) {
            ZENITH_RETURN_IF_ERROR(
                sink->Blob(key, version.lsn, version.value ? &*version.value : nullptr));
        }
    }
    // SLRU pages sort before all relations: their tablespace is 0.
    for (SlruKind kind : kSlruKinds) {
        for (const auto& [block, versions] : Slru(kind)) {
            ZENITH_RETURN_IF_ERROR(ExportPage(PageKey::Slru(kind, block), versions, sink));
        }
    }
    std::vector<std::pair<BlockNumber, std::span<const PageVersion>>> pages;
    for (const auto* relation : relations) {
        pages.clear();
        relation->second.pages.ForEach(
            [&](BlockNumber block, std::span<const PageVersion> versions) {
                pages.emplace_back(block, versions);
            });
        std::sort(pages.begin(), pages.end(),
                  [](const auto& a, const auto& b) { return a.first < b.first; });
        for (const auto& [block, versions] : pages) {
            ZENITH_RETURN_IF_ERROR(
                ExportPage(PageKey::Relation(relation->first, block), versions, sink));
        }
    }
    return Status::Ok();
}

}  // namespace zenith

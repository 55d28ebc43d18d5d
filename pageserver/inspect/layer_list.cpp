#include "pageserver/inspect/layer_list.h"

#include <map>
#include <vector>

#include "pageserver/inspect/findings.h"
#include "pageserver/layers/delta_layer_file.h"
#include "pageserver/layers/layer_cursor.h"

namespace zenith {

namespace {

// How many entries of each kind a layer has.
struct EntryCounts {
    uint64_t cuts = 0;
    uint64_t databases = 0;
    uint64_t sizes = 0;
    uint64_t floors = 0;
    uint64_t blobs = 0;
    uint64_t pages = 0;  // keys
    uint64_t records = 0;
    uint64_t images = 0;
    uint64_t tombstones = 0;
};

Result<EntryCounts> CountEntries(const DeltaLayerFile& layer) {
    EntryCounts counts;
    ZENITH_ASSIGN_OR_RETURN(std::unique_ptr<LayerCursor> cursor, layer.NewCursor());
    for (;;) {
        ZENITH_ASSIGN_OR_RETURN(bool more, cursor->NextKey());
        if (!more) {
            return counts;
        }
        counts.pages += cursor->kind() == DeltaBlockKind::kPages ? 1 : 0;
        for (;;) {
            ZENITH_ASSIGN_OR_RETURN(const DeltaEntry* entry, cursor->NextEntry());
            if (entry == nullptr) {
                break;
            }
            switch (cursor->kind()) {
                case DeltaBlockKind::kCuts:
                    counts.cuts++;
                    break;
                case DeltaBlockKind::kDatabases:
                    counts.databases++;
                    break;
                case DeltaBlockKind::kSizes:
                    counts.sizes++;
                    break;
                case DeltaBlockKind::kFloors:
                    counts.floors++;
                    break;
                case DeltaBlockKind::kBlobs:
                    counts.blobs++;
                    break;
                case DeltaBlockKind::kPages:
                    switch (DeltaPageWhat(entry->number)) {
                        case kDeltaPageTombstone:
                            counts.tombstones++;
                            break;
                        case kDeltaPageImage:
                            counts.images++;
                            break;
                        default:
                            counts.records++;
                    }
            }
        }
    }
}

struct NamedCount {
    const char* name;
    uint64_t EntryCounts::*member;
};
constexpr NamedCount kCounts[] = {
    {"cuts", &EntryCounts::cuts},       {"databases", &EntryCounts::databases},
    {"sizes", &EntryCounts::sizes},     {"floors", &EntryCounts::floors},
    {"blobs", &EntryCounts::blobs},     {"pages", &EntryCounts::pages},
    {"records", &EntryCounts::records}, {"images", &EntryCounts::images},
    {"tombstones", &EntryCounts::tombstones}};

std::string Quoted(Lsn lsn) { return QuoteJson(lsn.ToString()); }

// The values of a list, separated by commas.
template <typename List, typename Text>
std::string Join(const List& list, Text&& text) {
    std::string joined;
    for (const auto& element : list) {
        joined += (joined.empty() ? "" : ", ") + text(element);
    }
    return joined;
}

class TimelineLister {
  public:
    TimelineLister(const Repository& repository, bool json, const PrintLine& print)
        : repository_(repository), json_(json), print_(print) {}

    // `names`: the branches of the timeline.
    Status List(const TimelineFile& file, const std::vector<std::string>& names) {
        ZENITH_ASSIGN_OR_RETURN(OpenedLayers opened,
                                OpenDeltaLayers(repository_.LayerDirectory(file.id), file.id,
                                                file.ancestor_lsn, nullptr, Leftovers::kKeep));
        const LayerManifest& manifest = opened.manifest;
        if (json_) {
            print_((first_ ? std::string() : std::string(",")) + "{\"timeline\": " +
                   QuoteJson(file.id.ToString()) + ", \"branches\": [" +
                   Join(names, [](const std::string& name) { return QuoteJson(name); }) +
                   "], \"start\": " + Quoted(file.ancestor_lsn) +
                   ", \"readable_from\": " + Quoted(manifest.readable_from) + ", \"points\": [" +
                   Join(manifest.points, [](Lsn lsn) { return Quoted(lsn); }) +
                   "], \"ends_at\": " + (manifest.ends_at ? Quoted(*manifest.ends_at) : "null") +
                   ", \"layers\": [");
        } else {
            std::string line = "timeline " + file.id.ToString();
            line += names.empty() ? ""
                                  : " (" + Join(names, [](const std::string& n) { return n; }) +
                                        ")";
            line += " begins at " + file.ancestor_lsn.ToString() + ", readable from " +
                    manifest.readable_from.ToString() + " on";
            if (!manifest.points.empty()) {
                line += " and at " + Join(manifest.points, [](Lsn lsn) { return lsn.ToString(); });
            }
            if (manifest.ends_at) {
                line += ", ended at " + manifest.ends_at->ToString();
            }
            print_(line + (opened.files.empty() ? "; no layer files" : ""));
        }
        first_ = false;
        bool first_layer = true;
        Status failed;
        for (const auto& layer : opened.files) {
            Status status = ListLayer(*layer, first_layer);
            first_layer = false;
            if (failed.ok()) {
                failed = status;
            }
        }
        if (json_) {
            print_("]}");
        }
        return failed;
    }

  private:
    Status ListLayer(const DeltaLayerFile& layer, bool first) {
        const std::string name = DeltaLayerFileName(layer.entry());
        ZENITH_RETURN_IF_ERROR(layer.damage());
        ZENITH_ASSIGN_OR_RETURN(EntryCounts counts, CountEntries(layer));
        const bool has_records = layer.oldest_record() != kMaxLsn;
        std::string line;
        if (json_) {
            line = std::string(first ? "" : ",") + "{\"file\": " + QuoteJson(name) +
                   ", \"start\": " + Quoted(layer.start()) + ", \"end\": " + Quoted(layer.end()) +
                   ", \"bytes\": " + std::to_string(layer.file_bytes());
            for (const NamedCount& count : kCounts) {
                line += std::string(", \"") + count.name +
                        "\": " + std::to_string(counts.*count.member);
            }
            line += ", \"oldest_record\": " +
                    (has_records ? Quoted(layer.oldest_record()) : "null") +
                    ", \"image_files\": [" +
                    Join(layer.image_files(),
                         [](uint64_t number) { return QuoteJson(ImageFileName(number)); }) +
                    "]}";
        } else {
            line = "  " + name + "  " + layer.start().ToString() + " to " +
                   layer.end().ToString() + ", " + std::to_string(layer.file_bytes()) + " bytes";
            for (const NamedCount& count : kCounts) {
                if (counts.*count.member > 0) {
                    line += ", " + std::to_string(counts.*count.member) + " " + count.name;
                }
            }
            line += has_records ? ", oldest record " + layer.oldest_record().ToString()
                                : ", no records";
            if (!layer.image_files().empty()) {
                line += ", images in " + Join(layer.image_files(), ImageFileName);
            }
        }
        print_(line);
        return Status::Ok();
    }

    const Repository& repository_;
    const bool json_;
    const PrintLine& print_;
    bool first_ = true;
};

}  // namespace

Status ListLayers(const Repository& repository, const std::string& of, bool json,
                  const PrintLine& print) {
    std::vector<TimelineId> ids;
    if (of.empty()) {
        ZENITH_ASSIGN_OR_RETURN(ids, repository.ListTimelines());
    } else {
        ZENITH_ASSIGN_OR_RETURN(TimelinePoint point, repository.ResolvePoint(of));
        ids.push_back(point.timeline);
    }
    std::map<TimelineId, std::vector<std::string>> names;
    // Without names it is still a list.
    if (auto branches = repository.ListBranches(); branches.ok()) {
        for (const auto& [name, id] : *branches) {
            names[id].push_back(name);
        }
    }
    if (json) {
        print("[");
    }
    TimelineLister lister(repository, json, print);
    Status failed;
    for (const TimelineId& id : ids) {
        auto file = repository.ReadTimeline(id);
        Status status = file.ok() ? lister.List(*file, names[id]) : file.status();
        if (failed.ok()) {
            failed = status;
        }
    }
    if (json) {
        print("]");
    }
    return failed;
}

}  // namespace zenith

// layer dump: the entries of one layer file, or the images of one image file.
#include <charconv>
#include <filesystem>
#include <memory>
#include <vector>

#include "common/base/posix_file.h"
#include "pageserver/inspect/findings.h"
#include "pageserver/inspect/layer_list.h"
#include "pageserver/layers/delta_layer_file.h"
#include "pageserver/layers/layer_cursor.h"

namespace zenith {

namespace {

constexpr const char* kForkNames[kForkCount] = {"main", "fsm", "vm", "init"};

std::string NameOf(const DatabaseKey& db) {
    return std::to_string(db.spc) + "/" + std::to_string(db.db);
}

// One entry in both forms: words for people, members for programs.
class Line {
  public:
    Line(const char* kind, const std::string& what, Lsn lsn)
        : text_(std::string(kind) + " " + what + " at " + lsn.ToString() + ": "),
          json_(std::string("{\"kind\": \"") + kind + "\", \"of\": " + QuoteJson(what) +
                ", \"lsn\": " + QuoteJson(lsn.ToString())) {}

    Line& Text(const std::string& text) {
        text_ += text;
        return *this;
    }
    Line& Member(const char* name, const std::string& json) {
        json_ += std::string(", \"") + name + "\": " + json;
        return *this;
    }
    Line& Member(const char* name, uint64_t number) { return Member(name, std::to_string(number)); }
    std::string Take(bool json) { return json ? json_ + "}" : text_; }

  private:
    std::string text_;
    std::string json_;
};

class Dumper {
  public:
    Dumper(const DumpOptions& options, const PrintLine& print)
        : options_(options), print_(print) {}

    Status Delta(const std::string& directory, const TimelineId& timeline,
                 const LayerManifest::Entry& entry);
    Status Images(const std::string& path, const TimelineId& timeline, uint64_t number);

  private:
    bool Wants(const RelForkKey& rel) const {
        return !options_.relation ||
               (rel.node == options_.relation->node &&
                (options_.any_fork || rel.fork == options_.relation->fork));
    }
    bool WantsKey(DeltaBlockKind kind, const std::string& key) const;
    std::string Entry(DeltaBlockKind kind, const std::string& key, const DeltaEntry& entry) const;
    std::string PageEntry(const PageKey& key, const DeltaEntry& entry) const;
    void Begin() {
        if (options_.json) {
            print_("[");
        }
    }
    void Print(const std::string& line) {
        print_(options_.json && printed_ ? "," + line : line);
        printed_ = true;
    }
    void End() {
        if (options_.json) {
            print_("]");
        }
    }

    const DumpOptions& options_;
    const PrintLine& print_;
    bool printed_ = false;
};

bool Dumper::WantsKey(DeltaBlockKind kind, const std::string& key) const {
    switch (kind) {
        case DeltaBlockKind::kCuts:
        case DeltaBlockKind::kDatabases:
        case DeltaBlockKind::kBlobs:
            return !options_.relation && !options_.block;
        case DeltaBlockKind::kSizes:
        case DeltaBlockKind::kFloors:
            return !options_.block && Wants(DecodeRelationKey(key));
        case DeltaBlockKind::kPages: {
            const PageKey page = DecodePageKey(key);
            return Wants(page.relation()) && (!options_.block || page.block == *options_.block);
        }
    }
    return false;
}

std::string Dumper::PageEntry(const PageKey& key, const DeltaEntry& entry) const {
    Line line("page", key.ToString(), entry.lsn);
    if (!key.is_slru) {
        line.Member("relation", QuoteJson(key.relation().ToString()));
    }
    line.Member("block", key.block);
    const uint64_t what = DeltaPageWhat(entry.number);
    if (what == kDeltaPageTombstone) {
        line.Text("the page ends").Member("what", "\"tombstone\"");
    } else if (what == kDeltaPageImage) {
        line.Text("image in " + ImageFileName(entry.image.file) + ", offset " +
                  std::to_string(entry.image.offset) + ", " + std::to_string(entry.image.length) +
                  " bytes")
            .Member("what", "\"image\"")
            .Member("image_file", QuoteJson(ImageFileName(entry.image.file)))
            .Member("offset", entry.image.offset)
            .Member("length", entry.image.length);
    } else {
        const Lsn start = entry.lsn - DeltaPageExtent(entry.number);
        const bool init = (what & kRefWillInit) != 0;
        const bool native = (what & kRefNative) != 0;
        line.Text("record from " + start.ToString() + (init ? ", needs nothing older" : "") +
                  (native ? ", native redo" : ""))
            .Member("what", "\"record\"")
            .Member("start", QuoteJson(start.ToString()))
            .Member("will_init", init ? "true" : "false")
            .Member("native", native ? "true" : "false");
    }
    return line.Take(options_.json);
}

std::string Dumper::Entry(DeltaBlockKind kind, const std::string& key,
                          const DeltaEntry& entry) const {
    switch (kind) {
        case DeltaBlockKind::kCuts: {
            Line line("cut", NameOf(DecodeDatabaseKey(key)), entry.lsn);
            if (entry.number == 1) {
                line.Text("a copy of " + NameOf(entry.source))
                    .Member("copy_of", QuoteJson(NameOf(entry.source)));
            } else {
                line.Text("empty").Member("copy_of", "null");
            }
            return line.Take(options_.json);
        }
        case DeltaBlockKind::kDatabases: {
            Line line("database", NameOf(DecodeDatabaseKey(key)), entry.lsn);
            line.Text(entry.number == 1 ? "there" : "gone")
                .Member("exists", entry.number == 1 ? "true" : "false");
            return line.Take(options_.json);
        }
        case DeltaBlockKind::kSizes: {
            Line line("size", DecodeRelationKey(key).ToString(), entry.lsn);
            if (entry.number == 0) {
                line.Text("gone").Member("blocks", "null");
            } else {
                line.Text(std::to_string(entry.number - 1) + " blocks")
                    .Member("blocks", entry.number - 1);
            }
            return line.Take(options_.json);
        }
        case DeltaBlockKind::kFloors: {
            Line line("floor", DecodeRelationKey(key).ToString(), entry.lsn);
            line.Text("blocks from " + std::to_string(entry.number) + " on have no older history")
                .Member("blocks", entry.number);
            return line.Take(options_.json);
        }
        case DeltaBlockKind::kBlobs: {
            Line line("blob", key, entry.lsn);
            if (entry.number == 0) {
                line.Text("dropped").Member("bytes", "null");
            } else {
                line.Text(std::to_string(entry.value.size()) + " bytes")
                    .Member("bytes", entry.value.size());
            }
            return line.Take(options_.json);
        }
        case DeltaBlockKind::kPages:
            return PageEntry(DecodePageKey(key), entry);
    }
    return "";
}

Status Dumper::Delta(const std::string& directory, const TimelineId& timeline,
                     const LayerManifest::Entry& file) {
    auto images = std::make_shared<ImageFiles>(directory, timeline);
    ZENITH_ASSIGN_OR_RETURN(auto layer,
                            DeltaLayerFile::Open(directory, timeline, file, nullptr, images));
    ZENITH_ASSIGN_OR_RETURN(std::unique_ptr<LayerCursor> cursor, layer->NewCursor());
    Begin();
    for (;;) {
        ZENITH_ASSIGN_OR_RETURN(bool more, cursor->NextKey());
        if (!more) {
            break;
        }
        if (!WantsKey(cursor->kind(), cursor->key())) {
            continue;
        }
        for (;;) {
            ZENITH_ASSIGN_OR_RETURN(const DeltaEntry* entry, cursor->NextEntry());
            if (entry == nullptr) {
                break;
            }
            Print(Entry(cursor->kind(), cursor->key(), *entry));
        }
    }
    End();
    return Status::Ok();
}

Status Dumper::Images(const std::string& path, const TimelineId& timeline, uint64_t number) {
    Begin();
    ZENITH_RETURN_IF_ERROR(ImageFile(path, timeline, number)
                               .ForEach([&](const ImagePlace& place, const PageKey& key, Lsn lsn,
                                            ConstPageSpan page) {
                                   if (!Wants(key.relation()) ||
                                       (options_.block && key.block != *options_.block)) {
                                       return Status::Ok();
                                   }
                                   Line line("image", key.ToString(), lsn);
                                   line.Text("offset " + std::to_string(place.offset) + ", " +
                                             std::to_string(place.length) + " bytes")
                                       .Member("block", key.block)
                                       .Member("offset", place.offset)
                                       .Member("length", place.length);
                                   if (!key.is_slru) {
                                       const std::string page_lsn = PageLsn(page).ToString();
                                       line.Text(", page LSN " + page_lsn)
                                           .Member("relation",
                                                   QuoteJson(key.relation().ToString()))
                                           .Member("page_lsn", QuoteJson(page_lsn));
                                   }
                                   Print(line.Take(options_.json));
                                   return Status::Ok();
                               }));
    End();
    return Status::Ok();
}

// The path of the file: as given, or found by its name among the timelines'.
Result<std::string> FindFile(const Repository& repository, const DumpOptions& options) {
    if (options.file.find('/') != std::string::npos || FileExists(options.file)) {
        return options.file;
    }
    ZENITH_ASSIGN_OR_RETURN(std::vector<TimelineId> ids, repository.ListTimelines());
    std::string found;
    for (const TimelineId& id : ids) {
        const std::string path = repository.LayerDirectory(id) + "/" + options.file;
        if ((options.timeline && *options.timeline != id) || !FileExists(path)) {
            continue;
        }
        if (!found.empty()) {
            return Status::InvalidArgument("more than one timeline has a file \"" + options.file +
                                               "\"",
                                           "Give its path, or --timeline.");
        }
        found = path;
    }
    if (found.empty()) {
        return Status::NotFound("no timeline has a layer file \"" + options.file + "\"",
                                "Use \"zenith layer list\" to see the files there are.");
    }
    return found;
}

}  // namespace

Status ParseRelation(const std::string& text, DumpOptions* options) {
    const Status wrong = Status::InvalidArgument(
        "\"" + text + "\" is not a relation",
        "Write tablespace/database/relfilenode, such as 1663/5/16384, with _fsm, _vm or _init "
        "for one of the other forks.");
    RelForkKey rel;
    const char* at = text.data();
    const char* const end = at + text.size();
    for (Oid* part : {&rel.node.spc, &rel.node.db, &rel.node.rel}) {
        if (part != &rel.node.spc) {
            if (at == end || *at != '/') {
                return wrong;
            }
            at++;
        }
        auto [stop, error] = std::from_chars(at, end, *part);
        if (error != std::errc()) {
            return wrong;
        }
        at = stop;
    }
    options->any_fork = at == end;
    if (at != end) {
        const std::string_view fork(at, static_cast<size_t>(end - at));
        bool known = false;
        for (int i = 0; i < kForkCount; i++) {
            if (fork == std::string("_") + kForkNames[i]) {
                rel.fork = static_cast<Fork>(i);
                known = true;
            }
        }
        if (!known) {
            return wrong;
        }
    }
    options->relation = rel;
    return Status::Ok();
}

Status DumpLayer(const Repository& repository, const DumpOptions& options,
                 const PrintLine& print) {
    ZENITH_ASSIGN_OR_RETURN(std::string path, FindFile(repository, options));
    if (!FileExists(path)) {
        return Status::NotFound("file \"" + path + "\" does not exist",
                                "Use \"zenith layer list\" to see the files there are.");
    }
    const std::filesystem::path absolute = std::filesystem::absolute(path);
    const std::string directory = absolute.parent_path().string();
    const std::string name = absolute.filename().string();
    // .../timelines/<id>/layers/<name>
    std::optional<TimelineId> timeline = options.timeline;
    if (!timeline) {
        timeline = TimelineId::Parse(absolute.parent_path().parent_path().filename().string());
    }
    if (!timeline) {
        return Status::InvalidArgument("the path \"" + path + "\" does not say whose file it is",
                                       "Add --timeline ID.");
    }
    Dumper dumper(options, print);
    if (std::optional<LayerManifest::Entry> entry = ParseDeltaLayerFileName(name)) {
        return dumper.Delta(directory, *timeline, *entry);
    }
    if (std::optional<uint64_t> number = ParseImageFileName(name)) {
        return dumper.Images(absolute.string(), *timeline, *number);
    }
    return Status::InvalidArgument("\"" + name + "\" is not the name of a layer or image file",
                                   "Layer files are named <start>-<end>-<number>.delta, image "
                                   "files <number>.images.");
}

}  // namespace zenith

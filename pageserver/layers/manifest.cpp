#include "pageserver/layers/manifest.h"

#include <algorithm>
#include <charconv>
#include <cstdio>
#include <span>

#include "common/base/crc32c.h"
#include "common/base/posix_file.h"

namespace zenith {

namespace {

constexpr std::string_view kFirstLine = "zenith layer manifest ";
constexpr std::string_view kChecksumLine = "crc32c ";
constexpr size_t kChecksumLineSize = kChecksumLine.size() + 8 + 1;

bool ParseHex(std::string_view digits, uint64_t* value) {
    auto [last, error] =
        std::from_chars(digits.data(), digits.data() + digits.size(), *value, 16);
    return error == std::errc() && last == digits.data() + digits.size();
}

std::string ChecksumLine(std::string_view text) {
    char line[kChecksumLineSize + 1];
    std::snprintf(line, sizeof line, "crc32c %08x\n",
                  Crc32c(std::as_bytes(std::span(text.data(), text.size()))));
    return line;
}

// What is wrong with it, or null.
const char* Complaint(const LayerManifest& manifest, Lsn timeline_start) {
    if (manifest.next_file == 0 || manifest.next_file > kMaxFileNumber + 1) {
        return "invalid next_file";
    }
    if (manifest.readable_from < timeline_start) {
        return "readable from before the timeline";
    }
    for (size_t i = 0; i < manifest.points.size(); i++) {
        if (i > 0 && manifest.points[i] <= manifest.points[i - 1]) {
            return "points out of order";
        }
    }
    Lsn expected = timeline_start;
    for (const LayerManifest::Entry& layer : manifest.layers) {
        if (layer.start != expected) {
            return layer.start < expected ? "layers overlap" : "a layer is missing";
        }
        if (layer.end <= layer.start) {
            return "a layer ends before it starts";
        }
        if (layer.number == 0 || layer.number >= manifest.next_file) {
            return "a layer's number is not below next_file";
        }
        expected = layer.end;
    }
    if (manifest.ends_at && *manifest.ends_at != expected) {
        return "the timeline ends where its layers do not";
    }
    return nullptr;
}

// Takes the lines of a manifest apart, one field at a time.
class Lines {
  public:
    explicit Lines(std::string_view text) : text_(text) {}

    size_t offset() const { return offset_; }
    bool done() const { return offset_ == text_.size(); }
    bool Take(std::string_view expected) {
        if (!text_.substr(offset_).starts_with(expected)) {
            return false;
        }
        offset_ += expected.size();
        return true;
    }
    // Up to the next blank or line end, which is left.
    std::string_view Word() {
        const size_t end = std::min(text_.find_first_of(" \n", offset_), text_.size());
        std::string_view word = text_.substr(offset_, end - offset_);
        offset_ = end;
        return word;
    }
    bool Number(uint64_t* value) {
        std::string_view word = Word();
        auto [last, error] =
            std::from_chars(word.data(), word.data() + word.size(), *value, 10);
        return error == std::errc() && last == word.data() + word.size();
    }
    bool Position(Lsn* lsn) {
        std::optional<Lsn> parsed = Lsn::Parse(Word());
        *lsn = parsed.value_or(Lsn());
        return parsed.has_value();
    }

  private:
    const std::string_view text_;
    size_t offset_ = 0;
};

bool ParseLines(Lines* lines, LayerManifest* manifest) {
    if (!lines->Take("next_file ") || !lines->Number(&manifest->next_file) ||
        !lines->Take("\nreadable_from ") || !lines->Position(&manifest->readable_from) ||
        !lines->Take("\n")) {
        return false;
    }
    while (lines->Take("point ")) {
        Lsn point;
        if (!lines->Position(&point) || !lines->Take("\n")) {
            return false;
        }
        manifest->points.push_back(point);
    }
    if (lines->Take("ends_at ")) {
        Lsn end;
        if (!lines->Position(&end) || !lines->Take("\n")) {
            return false;
        }
        manifest->ends_at = end;
    }
    while (lines->Take("layer ")) {
        LayerManifest::Entry layer;
        if (!lines->Position(&layer.start) || !lines->Take(" ") || !lines->Position(&layer.end) ||
            !lines->Take(" ") || !lines->Number(&layer.number) || !lines->Take("\n")) {
            return false;
        }
        manifest->layers.push_back(layer);
    }
    return lines->done();
}

}  // namespace

std::string DeltaLayerFileName(const LayerManifest::Entry& entry) {
    char name[64];
    std::snprintf(name, sizeof name, "%016llx-%016llx-%08llx.delta",
                  static_cast<unsigned long long>(entry.start.value),
                  static_cast<unsigned long long>(entry.end.value),
                  static_cast<unsigned long long>(entry.number));
    return name;
}

std::string ImageFileName(uint64_t number) {
    char name[32];
    std::snprintf(name, sizeof name, "%08llx.images", static_cast<unsigned long long>(number));
    return name;
}

std::optional<LayerManifest::Entry> ParseDeltaLayerFileName(std::string_view name) {
    LayerManifest::Entry entry;
    // Whatever else a name has is found by making it again.
    if (name.size() < 42 || !ParseHex(name.substr(0, 16), &entry.start.value) ||
        !ParseHex(name.substr(17, 16), &entry.end.value) ||
        !ParseHex(name.substr(34, 8), &entry.number) || name != DeltaLayerFileName(entry)) {
        return std::nullopt;
    }
    return entry;
}

std::optional<uint64_t> ParseImageFileName(std::string_view name) {
    uint64_t number;
    if (!ParseHex(name.substr(0, 8), &number) || name != ImageFileName(number)) {
        return std::nullopt;
    }
    return number;
}

std::string FormatLayerManifest(const TimelineId& timeline, const LayerManifest& manifest) {
    std::string text(kFirstLine);
    text += std::to_string(kManifestVersion) + "\ntimeline " + timeline.ToString() +
            "\nnext_file " + std::to_string(manifest.next_file) + "\nreadable_from " +
            manifest.readable_from.ToString() + "\n";
    for (Lsn point : manifest.points) {
        text += "point " + point.ToString() + "\n";
    }
    if (manifest.ends_at) {
        text += "ends_at " + manifest.ends_at->ToString() + "\n";
    }
    for (const LayerManifest::Entry& layer : manifest.layers) {
        text += "layer " + layer.start.ToString() + " " + layer.end.ToString() + " " +
                std::to_string(layer.number) + "\n";
    }
    return text + ChecksumLine(text);
}

Result<LayerManifest> ParseLayerManifest(std::string_view text, const std::string& path,
                                         const TimelineId& timeline, Lsn timeline_start) {
    auto corrupt = [&](size_t offset, const std::string& what) {
        return Status::Corruption("layer manifest \"" + path + "\", offset " +
                                  std::to_string(offset) + ": " + what + " (timeline " +
                                  timeline.ToString() + ")");
    };
    if (text.size() < kChecksumLineSize) {
        return corrupt(0, "file of " + std::to_string(text.size()) + " bytes is too short");
    }
    const size_t content = text.size() - kChecksumLineSize;
    if (text.substr(content) != ChecksumLine(text.substr(0, content))) {
        return corrupt(content, "checksum mismatch");
    }
    Lines lines(text.substr(0, content));
    uint64_t version;
    if (!lines.Take(kFirstLine) || !lines.Number(&version) || !lines.Take("\n")) {
        return corrupt(0, "not a layer manifest");
    }
    if (version != kManifestVersion) {
        return Status::Refused("layer manifest \"" + path + "\" has format version " +
                                   std::to_string(version) + ", this release reads version " +
                                   std::to_string(kManifestVersion),
                               "Use the release of zenith that wrote the repository.");
    }
    if (!lines.Take("timeline " + timeline.ToString() + "\n")) {
        return corrupt(lines.offset(), "manifest of another timeline");
    }
    LayerManifest manifest;
    if (!ParseLines(&lines, &manifest)) {
        return corrupt(lines.offset(), "invalid contents");
    }
    if (const char* complaint = Complaint(manifest, timeline_start)) {
        return corrupt(0, complaint);
    }
    // One way to write each: no leading zeroes and the like.
    if (FormatLayerManifest(timeline, manifest) != text) {
        return corrupt(0, "unusual spelling");
    }
    return manifest;
}

Result<LayerManifest> ReadLayerManifest(const std::string& directory, const TimelineId& timeline,
                                        Lsn timeline_start) {
    const std::string path = directory + "/" + kManifestFileName;
    if (!FileExists(path)) {
        LayerManifest empty;
        empty.readable_from = timeline_start;
        if (FileExists(directory)) {
            ZENITH_ASSIGN_OR_RETURN(std::vector<std::string> names, ListDirectory(directory));
            for (const std::string& name : names) {
                if (ParseDeltaLayerFileName(name) || ParseImageFileName(name)) {
                    return Status::Corruption("layer manifest \"" + path + "\" of timeline " +
                                              timeline.ToString() +
                                              " is missing, but there is a file \"" + name + "\"");
                }
            }
        }
        return empty;
    }
    ZENITH_ASSIGN_OR_RETURN(std::string text, ReadWholeFile(path));
    return ParseLayerManifest(text, path, timeline, timeline_start);
}

Status WriteLayerManifest(const std::string& directory, const TimelineId& timeline,
                          Lsn timeline_start, const LayerManifest& manifest) {
    if (const char* complaint = Complaint(manifest, timeline_start)) {
        return Status::InvalidArgument("manifest of timeline " + timeline.ToString() +
                                       " not written: " + complaint);
    }
    return ReplaceFileAtomically(directory + "/" + kManifestFileName,
                                 FormatLayerManifest(timeline, manifest));
}

Status CreateLayerDirectory(const std::string& directory, const TimelineId& timeline,
                            Lsn timeline_start) {
    if (FileExists(directory + "/" + kManifestFileName)) {
        return Status::Ok();
    }
    if (!FileExists(directory)) {
        ZENITH_RETURN_IF_ERROR(EnsureDirectory(directory));
        ZENITH_RETURN_IF_ERROR(FsyncDirectory(directory + "/.."));
    }
    // Fails for a manifest that was lost.
    ZENITH_ASSIGN_OR_RETURN(LayerManifest empty,
                            ReadLayerManifest(directory, timeline, timeline_start));
    return WriteLayerManifest(directory, timeline, timeline_start, empty);
}

}  // namespace zenith

// Branches, tags, and the points in time written with them.
#include <sys/stat.h>
#include <unistd.h>

#include <cstdio>
#include <filesystem>
#include <span>

#include "common/base/crc32c.h"
#include "common/base/posix_file.h"
#include "common/repo/repository.h"
#include "common/base/time_text.h"

namespace zenith {

namespace {

constexpr const char* kBranches = "branches";
constexpr const char* kTags = "tags";
constexpr size_t kMaxNameLength = 200;

bool IsNameCharacter(char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '.' ||
           c == '_' || c == '-';
}

bool IsEdgeCharacter(char c) {
    return c == '.' || c == '-';
}

Status BadName(std::string_view name, const std::string& why) {
    // A name may hold anything: show it without control characters and not at any length.
    std::string shown;
    for (char c : name.substr(0, 60)) {
        shown += (c >= ' ' && c != 127) ? c : '?';
    }
    if (name.size() > 60) {
        shown += "...";
    }
    return Status::InvalidArgument(
        "\"" + shown + "\" is not a valid name: " + why,
        "Names have letters, digits and . _ - /, and neither begin nor end with . - or /.");
}

// One part of a name between slashes.
Status CheckNamePart(std::string_view name, std::string_view part) {
    if (part.empty()) {
        return BadName(name, "a part of it is empty");
    }
    for (char c : part) {
        if (!IsNameCharacter(c)) {
            return BadName(name, "it has a character that is not allowed");
        }
    }
    if (IsEdgeCharacter(part.front()) || IsEdgeCharacter(part.back())) {
        return BadName(name, "a part of it begins or ends with \".\" or \"-\"");
    }
    if (part.find("..") != std::string_view::npos) {
        return BadName(name, "it has \"..\"");
    }
    // Files are replaced through such a name.
    if (part.size() > 4 && part.substr(part.size() - 4) == ".tmp") {
        return BadName(name, "\".tmp\" at the end is reserved");
    }
    return Status::Ok();
}

bool IsRegularFile(const std::string& path) {
    struct stat info;
    return stat(path.c_str(), &info) == 0 && S_ISREG(info.st_mode);
}

// The line of a reference file: what it says and the checksum of that.
std::string RefLine(const std::string& content) {
    char checksum[16];
    std::snprintf(checksum, sizeof checksum, " %08x\n",
                  Crc32c(std::as_bytes(std::span(content.data(), content.size()))));
    return content + checksum;
}

Result<std::string> ReadRef(const std::string& path) {
    ZENITH_ASSIGN_OR_RETURN(std::string text, ReadWholeFile(path));
    std::string content = text.substr(0, text.find(' '));
    if (text != RefLine(content)) {
        return Status::Corruption("file \"" + path + "\": " +
                                      (content.size() == text.size() ? "no checksum"
                                                                     : "checksum mismatch"),
                                  "Restore the file from a backup, or delete it and make the "
                                  "branch or tag again.");
    }
    return content;
}

Result<TimelineId> ReadBranch(const std::string& path) {
    ZENITH_ASSIGN_OR_RETURN(std::string text, ReadRef(path));
    std::optional<TimelineId> id = TimelineId::Parse(text);
    if (!id) {
        return Status::Corruption("file \"" + path + "\": not a timeline id");
    }
    return *id;
}

Result<TimelinePoint> ReadTag(const std::string& path) {
    ZENITH_ASSIGN_OR_RETURN(std::string text, ReadRef(path));
    size_t at = text.find('@');
    if (at != std::string::npos) {
        std::optional<TimelineId> id = TimelineId::Parse(std::string_view(text).substr(0, at));
        std::optional<Lsn> lsn = Lsn::Parse(std::string_view(text).substr(at + 1));
        if (id && lsn) {
            return TimelinePoint{*id, lsn};
        }
    }
    return Status::Corruption("file \"" + path + "\": not a timeline id and an LSN");
}

// Adds the reference files below `top`. False when something went meanwhile, so that others may be
// missing: the iterator ends where it cannot open a directory.
template <typename T>
Result<bool> AddRefs(const std::string& top, Result<T> (*read)(const std::string&),
                     std::map<std::string, T>* refs) {
    std::error_code error;
    std::filesystem::recursive_directory_iterator it(top, error), end;
    for (; !error && it != end; it.increment(error)) {
        const std::string path = it->path().string();
        const bool is_file = it->is_regular_file(error);
        if (error) {
            break;
        }
        if (!is_file || it->path().extension() == ".tmp") {
            continue;
        }
        Result<T> value = read(path);
        if (!value.ok()) {
            if (value.status().code() == StatusCode::kNotFound) {
                continue;  // removed meanwhile
            }
            return value.status();
        }
        refs->emplace(path.substr(top.size() + 1), *value);
    }
    if (error && error.value() != ENOENT) {
        return ErrnoStatus("read directory", top, error.value());
    }
    return !error || !FileExists(top);
}

// Names of the reference files below `top`, sorted by the map they end up in. All of them: what has
// no name is removed.
template <typename T>
Result<std::map<std::string, T>> ListRefs(const std::string& top,
                                          Result<T> (*read)(const std::string&)) {
    constexpr int kTries = 1000;
    for (int i = 0; i < kTries; i++) {
        std::map<std::string, T> refs;
        ZENITH_ASSIGN_OR_RETURN(const bool all, AddRefs(top, read, &refs));
        if (all) {
            return refs;
        }
    }
    return Status::Unavailable("directory \"" + top + "\" does not stop changing");
}

Status WriteRef(const std::string& refs, const std::string& kind, const std::string& name,
                const std::string& content) {
    std::string directory = refs + "/" + kind;
    size_t start = 0;
    for (;;) {
        size_t slash = name.find('/', start);
        if (slash == std::string::npos) {
            break;
        }
        std::string child = directory + "/" + name.substr(start, slash - start);
        if (IsRegularFile(child)) {
            return Status::AlreadyExists("\"" + name.substr(0, slash) +
                                         "\" exists, so there cannot be \"" + name + "\"");
        }
        if (!FileExists(child)) {
            ZENITH_RETURN_IF_ERROR(EnsureDirectory(child));
            ZENITH_RETURN_IF_ERROR(FsyncDirectory(directory));
        }
        directory = child;
        start = slash + 1;
    }
    const std::string path = refs + "/" + kind + "/" + name;
    // A directory left empty by an interrupted removal is not in the way.
    if (rmdir(path.c_str()) != 0 && errno == ENOTEMPTY) {
        return Status::AlreadyExists("there are names below \"" + name +
                                     "/\", so there cannot be \"" + name + "\"");
    }
    return ReplaceFileAtomically(path, RefLine(content));
}

// Requires: the reference exists.
Status RemoveRef(const std::string& top, const std::string& name) {
    std::string path = top + "/" + name;
    ZENITH_RETURN_IF_ERROR(RemoveFile(path));
    std::string directory = path.substr(0, path.rfind('/'));
    ZENITH_RETURN_IF_ERROR(FsyncDirectory(directory));
    while (directory.size() > top.size() && rmdir(directory.c_str()) == 0) {
        directory.resize(directory.rfind('/'));
    }
    return Status::Ok();
}

}  // namespace

Status Repository::CheckRefName(std::string_view name) {
    if (name.empty() || name.size() > kMaxNameLength) {
        return BadName(name, "it must have 1 to " + std::to_string(kMaxNameLength) + " bytes");
    }
    size_t start = 0;
    for (;;) {
        size_t slash = name.find('/', start);
        size_t length = (slash == std::string_view::npos ? name.size() : slash) - start;
        ZENITH_RETURN_IF_ERROR(CheckNamePart(name, name.substr(start, length)));
        if (slash == std::string_view::npos) {
            break;
        }
        start = slash + 1;
    }
    if (TimelineId::Parse(name)) {
        return BadName(name, "32 hexadecimal digits are a timeline id");
    }
    return Status::Ok();
}

std::string Repository::RefPath(const char* kind, const std::string& name) const {
    return path_ + "/refs/" + kind + "/" + name;
}

Result<std::map<std::string, TimelineId>> Repository::ListBranches() const {
    return ListRefs<TimelineId>(path_ + "/refs/" + kBranches, &ReadBranch);
}

Result<std::map<std::string, TimelinePoint>> Repository::ListTags() const {
    return ListRefs<TimelinePoint>(path_ + "/refs/" + kTags, &ReadTag);
}

Result<std::optional<TimelineId>> Repository::FindBranch(const std::string& name) const {
    if (!CheckRefName(name).ok() || !IsRegularFile(RefPath(kBranches, name))) {
        return std::optional<TimelineId>();
    }
    ZENITH_ASSIGN_OR_RETURN(TimelineId id, ReadBranch(RefPath(kBranches, name)));
    return std::optional<TimelineId>(id);
}

Result<std::optional<TimelinePoint>> Repository::FindTag(const std::string& name) const {
    if (!CheckRefName(name).ok() || !IsRegularFile(RefPath(kTags, name))) {
        return std::optional<TimelinePoint>();
    }
    ZENITH_ASSIGN_OR_RETURN(TimelinePoint point, ReadTag(RefPath(kTags, name)));
    return std::optional<TimelinePoint>(point);
}

Status Repository::WriteBranch(const std::string& name, const TimelineId& id) const {
    ZENITH_RETURN_IF_ERROR(CheckRefName(name));
    if (IsRegularFile(RefPath(kBranches, name))) {
        return Status::AlreadyExists(
            "branch \"" + name + "\" already exists",
            "Choose another name, or remove it with \"zenith branch -d " + name + "\".");
    }
    if (IsRegularFile(RefPath(kTags, name))) {
        return Status::AlreadyExists("there is a tag named \"" + name + "\"",
                                     "Choose another name: branches and tags share them.");
    }
    return WriteRef(path_ + "/refs", kBranches, name, id.ToString());
}

Status Repository::WriteTag(const std::string& name, const TimelinePoint& point) const {
    ZENITH_RETURN_IF_ERROR(CheckRefName(name));
    if (!point.lsn) {
        return Status::InvalidArgument("a tag needs an LSN");
    }
    if (IsRegularFile(RefPath(kTags, name))) {
        return Status::AlreadyExists(
            "tag \"" + name + "\" already exists",
            "Choose another name, or remove it with \"zenith tag -d " + name + "\".");
    }
    if (IsRegularFile(RefPath(kBranches, name))) {
        return Status::AlreadyExists("there is a branch named \"" + name + "\"",
                                     "Choose another name: branches and tags share them.");
    }
    return WriteRef(path_ + "/refs", kTags, name,
                    point.timeline.ToString() + "@" + point.lsn->ToString());
}

Status Repository::RemoveBranch(const std::string& name) const {
    ZENITH_RETURN_IF_ERROR(CheckRefName(name));
    if (!IsRegularFile(RefPath(kBranches, name))) {
        return Status::NotFound("branch \"" + name + "\" does not exist",
                                "Use \"zenith branch\" to see the branches.");
    }
    return RemoveRef(path_ + "/refs/" + kBranches, name);
}

Status Repository::RemoveTag(const std::string& name) const {
    ZENITH_RETURN_IF_ERROR(CheckRefName(name));
    if (!IsRegularFile(RefPath(kTags, name))) {
        return Status::NotFound("tag \"" + name + "\" does not exist",
                                "Use \"zenith tag\" to see the tags.");
    }
    return RemoveRef(path_ + "/refs/" + kTags, name);
}

Result<TimelinePoint> Repository::ResolvePoint(std::string_view text) const {
    size_t at = text.find('@');
    const std::string name(text.substr(0, at));
    std::optional<Lsn> lsn;
    std::optional<int64_t> time;
    if (at != std::string_view::npos) {
        const std::string_view place = text.substr(at + 1);
        lsn = Lsn::Parse(place);
        if (!lsn) {
            time = ParseTime(place, NowMicros());
        }
        if (lsn ? !lsn->valid() : !time) {
            return Status::InvalidArgument(
                "\"" + std::string(place.substr(0, 60)) + "\" is neither an LSN nor a time",
                "Write an LSN as PostgreSQL prints it, such as main@0/15FFB08, or a time, such as "
                "main@2026-11-22T10:00:00Z or main@-10min.");
        }
    }
    if (std::optional<TimelineId> id = TimelineId::Parse(name)) {
        ZENITH_ASSIGN_OR_RETURN(TimelineFile file, ReadTimeline(*id));
        return TimelinePoint{file.id, lsn, time};
    }
    ZENITH_RETURN_IF_ERROR(CheckRefName(name));
    ZENITH_ASSIGN_OR_RETURN(std::optional<TimelineId> branch, FindBranch(name));
    if (branch) {
        return TimelinePoint{*branch, lsn, time};
    }
    ZENITH_ASSIGN_OR_RETURN(std::optional<TimelinePoint> tag, FindTag(name));
    if (tag) {
        if (lsn) {
            return Status::InvalidArgument("tag \"" + name + "\" is a point in time already",
                                           "Name the tag alone, or a branch with @LSN.");
        }
        tag->time = time;
        return *tag;
    }
    return Status::NotFound("there is no branch or tag named \"" + name + "\"",
                            "Use \"zenith branch\" and \"zenith tag\" to see the names there are.");
}

}  // namespace zenith

// Paths, configuration and layout of a repository. References, timelines and computes are in the
// repository_*.cpp files beside this one.
#include "common/repo/repository.h"

#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdlib>
#include <filesystem>
#include <memory>
#include <set>

#include "common/base/log.h"
#include "common/base/posix_file.h"
#include "common/repo/json_file.h"

namespace zenith {

namespace {

// sizeof(sockaddr_un.sun_path) is 108 with the final zero; the longest name a socket can have here
// is "/.s.PGSQL.65535".
constexpr size_t kLongestSocketDirectory = 107 - 15;

constexpr int64_t kLongestInterval = 86400ll * 1000000;  // seconds, as ParseInterval()

// The repository's path without symbolic links; of a directory that is not there yet, absolute.
std::string CanonicalPath(const std::string& path) {
    std::error_code error;
    const std::filesystem::path absolute = std::filesystem::absolute(path, error);
    std::filesystem::path canonical = std::filesystem::weakly_canonical(absolute, error);
    if (error) {
        canonical = absolute;
    }
    std::string text = canonical.string();
    while (text.size() > 1 && text.back() == '/') {
        text.pop_back();
    }
    return text;
}

// FNV-1a: part of a path on disk, so it must never change.
uint64_t PathHash(std::string_view text) {
    uint64_t hash = 0xcbf29ce484222325ULL;
    for (unsigned char c : text) {
        hash = (hash ^ c) * 0x100000001b3ULL;
    }
    return hash;
}

// Usable without quotes in a connection string, and in lists separated by commas.
bool IsPlainPath(std::string_view path) {
    for (unsigned char c : path) {
        bool plain = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
                     c == '/' || c == '.' || c == '_' || c == '-' || c == '+';
        if (!plain) {
            return false;
        }
    }
    return !path.empty() && path.front() == '/';
}

Status RemoveTemporaryFiles(const std::string& directory) {
    std::error_code error;
    std::vector<std::string> found;
    std::filesystem::recursive_directory_iterator it(directory, error), end;
    for (; !error && it != end; it.increment(error)) {
        if (it->path().extension() == ".tmp" && it->is_regular_file(error)) {
            found.push_back(it->path().string());
        }
    }
    if (error) {
        return ErrnoStatus("read directory", directory, error.value());
    }
    for (const std::string& path : found) {
        ZENITH_RETURN_IF_ERROR(RemoveFile(path));
    }
    return Status::Ok();
}

bool IsRemovedTimeline(const std::string& name) {
    constexpr std::string_view kSuffix = ".removed";  // see RemoveTimeline
    return name.size() == 32 + kSuffix.size() && name.ends_with(kSuffix) &&
           TimelineId::Parse(std::string_view(name).substr(0, 32));
}

// Never finished, as opposed to one that lost its timeline.json: there is no WAL in it.
bool IsUnfinishedTimeline(const std::string& directory, const std::string& name) {
    if (!TimelineId::Parse(name) || FileExists(directory + "/timeline.json")) {
        return false;
    }
    Result<std::vector<std::string>> wal = ListDirectory(directory + "/wal");
    return wal.ok() ? wal->empty() : wal.status().code() == StatusCode::kNotFound;
}

}  // namespace

std::string Repository::ConfigPath() const {
    return path_ + "/config.json";
}

std::string Repository::TimelineDirectory(const TimelineId& id) const {
    return path_ + "/timelines/" + id.ToString();
}

std::string Repository::WalDirectory(const TimelineId& id) const {
    return TimelineDirectory(id) + "/wal";
}

std::string Repository::SnapshotDirectory(const TimelineId& id) const {
    return TimelineDirectory(id) + "/snapshots";
}

std::string Repository::LayerDirectory(const TimelineId& id) const {
    return TimelineDirectory(id) + "/layers";
}

std::string Repository::ComputesDirectory() const {
    return path_ + "/computes";
}

std::string Repository::ComputeDirectory(const std::string& name) const {
    return ComputesDirectory() + "/" + name;
}

std::string Repository::PageServerPidPath() const {
    return path_ + "/pageserver.pid";
}
std::string Repository::PageServerLogPath() const {
    return path_ + "/pageserver.log";
}
std::string Repository::PageServerPortPath() const {
    return path_ + "/pageserver.port";
}
std::string Repository::RedoDirectory() const {
    return path_ + "/redo";
}

std::string Repository::SocketDirectory() const {
    Result<RepoConfig> config = ReadConfig();
    if (config.ok() && !config->socket_directory.empty()) {
        return config->socket_directory;
    }
    const std::string canonical = CanonicalPath(path_);
    std::string inside = canonical + "/run";
    if (inside.size() <= kLongestSocketDirectory && IsPlainPath(inside)) {
        return inside;
    }
    char name[64];
    snprintf(name, sizeof name, "/tmp/.zenith-%016llx",
             static_cast<unsigned long long>(PathHash(canonical)));
    return name;
}

Status Repository::EnsureSocketDirectory() const {
    const std::string directory = SocketDirectory();
    ZENITH_RETURN_IF_ERROR(EnsureDirectory(directory));
    struct stat info;
    if (lstat(directory.c_str(), &info) != 0) {
        return ErrnoStatus("stat directory", directory, errno);
    }
    // Below /tmp anybody could have made it before us, and would then own our sockets.
    if (!S_ISDIR(info.st_mode) || info.st_uid != geteuid()) {
        return Status::Refused(
            "socket directory \"" + directory + "\" belongs to somebody else",
            "Remove it, or name another one as \"socket_directory\" in \"" + ConfigPath() + "\".");
    }
    return Status::Ok();
}

std::string Repository::PageServerConnstr() const {
    return "host=" + SocketDirectory() + " port=" + std::to_string(kPageServerSocketPort);
}

Status Repository::CreateLayout() const {
    for (const std::string& directory :
         {path_, path_ + "/refs", path_ + "/refs/branches", path_ + "/refs/tags",
          path_ + "/timelines", ComputesDirectory(), RedoDirectory()}) {
        ZENITH_RETURN_IF_ERROR(EnsureDirectory(directory));
    }
    ZENITH_RETURN_IF_ERROR(FsyncDirectory(path_ + "/refs"));
    return FsyncDirectory(path_);
}

Status Repository::RemoveLeftovers() const {
    ZENITH_RETURN_IF_ERROR(RemoveTemporaryFiles(path_ + "/refs"));
    const std::string timelines = path_ + "/timelines";
    ZENITH_ASSIGN_OR_RETURN(std::vector<std::string> names, ListDirectory(timelines));
    for (const std::string& name : names) {
        const std::string directory = timelines + "/" + name;
        if (IsRemovedTimeline(name) || IsUnfinishedTimeline(directory, name)) {
            ZENITH_RETURN_IF_ERROR(RemoveTree(directory));
            continue;
        }
        // The second is the page server's; it does not write there again until there is new WAL.
        for (const char* temporary : {"/timeline.json.tmp", "/wal/durable.tmp"}) {
            if (FileExists(directory + temporary)) {
                ZENITH_RETURN_IF_ERROR(RemoveFile(directory + temporary));
            }
        }
    }
    return Status::Ok();
}

Status Repository::RemoveUnnamedTimelines() const {
    ZENITH_ASSIGN_OR_RETURN(auto branches, ListBranches());
    ZENITH_ASSIGN_OR_RETURN(auto tags, ListTags());
    // The last branch cannot be deleted: others may be lost with it.
    if (branches.empty()) {
        return Status::Corruption("there is no branch below \"" + path_ + "/refs\"",
                                  "Restore refs/ and timelines/ from the same backup.");
    }
    std::set<TimelineId> named;
    for (const auto& [name, id] : branches) {
        named.insert(id);
    }
    for (const auto& [name, point] : tags) {
        named.insert(point.timeline);
    }
    std::map<TimelineId, TimelineId> unnamed;    // -> ancestor
    std::map<TimelineId, size_t> descendants;  // of the timelines that stay, directly
    ZENITH_ASSIGN_OR_RETURN(std::vector<TimelineId> ids, ListTimelines());
    for (const TimelineId& id : ids) {
        ZENITH_ASSIGN_OR_RETURN(TimelineFile file, ReadTimeline(id));
        if (!file.ancestor.valid()) {
            continue;
        }
        descendants[file.ancestor]++;
        if (!named.contains(id)) {
            unnamed[id] = file.ancestor;
        }
    }
    for (;;) {
        auto found = std::find_if(unnamed.begin(), unnamed.end(), [&](const auto& entry) {
            return descendants[entry.first] == 0;
        });
        if (found == unnamed.end()) {
            return Status::Ok();
        }
        const auto [id, ancestor] = *found;
        spdlog::info("repository: removing timeline {} of {}, which has no branch", id.ToString(),
                     ancestor.ToString());
        ZENITH_RETURN_IF_ERROR(RemoveTimeline(id));
        descendants[ancestor]--;
        unnamed.erase(found);
    }
}

Result<RepoConfig> Repository::ReadConfig() const {
    const std::string path = ConfigPath();
    Result<std::string> text = ReadWholeFile(path);
    if (!text.ok()) {
        if (text.status().code() == StatusCode::kNotFound) {
            return Status::NotFound("\"" + path_ + "\" is not a zenith repository",
                                    "Use \"zenith init\" to make one.");
        }
        return text.status();
    }
    ZENITH_ASSIGN_OR_RETURN(JsonReader json, JsonReader::Parse(path, *text));
    RepoConfig config;
    ZENITH_ASSIGN_OR_RETURN(int64_t version, json.Integer("format_version", 1, INT32_MAX));
    if (version > kRepositoryFormatVersion) {
        return Status::Refused("repository \"" + path_ + "\" has format version " +
                                   std::to_string(version) + ", this program knows up to " +
                                   std::to_string(kRepositoryFormatVersion),
                               "Use the newer zenith that wrote it.");
    }
    if (version < kRepositoryFormatVersion) {
        return Status::Refused("repository \"" + path_ + "\" has format version " +
                                   std::to_string(version) + ", this program needs " +
                                   std::to_string(kRepositoryFormatVersion),
                               "Version 1 was never released: make a new repository with "
                               "\"zenith init\", and load it with what pg_dumpall gives with the "
                               "program that wrote this one.");
    }
    config.format_version = static_cast<int>(version);
    ZENITH_ASSIGN_OR_RETURN(config.system_identifier, json.BigNumber("system_identifier"));
    if (json.Has("data_checksums")) {
        ZENITH_ASSIGN_OR_RETURN(config.data_checksums, json.Boolean("data_checksums"));
    }
    ZENITH_ASSIGN_OR_RETURN(config.listen_address, json.String("listen_address"));
    ZENITH_ASSIGN_OR_RETURN(int64_t port, json.Integer("listen_port", 0, 65535));
    config.listen_port = static_cast<int>(port);
    ZENITH_ASSIGN_OR_RETURN(config.pg_bindir, json.String("pg_bindir"));
    if (json.Has("socket_directory")) {
        ZENITH_ASSIGN_OR_RETURN(config.socket_directory, json.String("socket_directory"));
        if (!config.socket_directory.empty() &&
            (config.socket_directory.size() > kLongestSocketDirectory ||
             !IsPlainPath(config.socket_directory))) {
            return json.Error("socket_directory must be an absolute path of at most " +
                              std::to_string(kLongestSocketDirectory) +
                              " letters, digits and ._-+/");
        }
    }
    if (json.Has("pitr_interval_seconds")) {
        ZENITH_ASSIGN_OR_RETURN(config.pitr_interval_seconds,
                                json.Integer("pitr_interval_seconds", 0, kLongestInterval));
    }
    if (json.Has("retain_bytes")) {
        ZENITH_ASSIGN_OR_RETURN(config.retain_bytes, json.BigNumber("retain_bytes"));
    }
    if (json.Has("gc_period_seconds")) {
        ZENITH_ASSIGN_OR_RETURN(config.gc_period_seconds,
                                json.Integer("gc_period_seconds", 1, kLongestInterval));
    }
    ZENITH_RETURN_IF_ERROR(json.CheckNoOtherFields());
    config.has_checksum = json.has_checksum();
    return config;
}

Status Repository::WriteConfig(const RepoConfig& config) const {
    JsonWriter json;
    json.Integer("format_version", config.format_version);
    json.BigNumber("system_identifier", config.system_identifier);
    if (config.data_checksums) {
        json.Boolean("data_checksums", true);
    }
    json.String("listen_address", config.listen_address);
    json.Integer("listen_port", config.listen_port);
    json.String("pg_bindir", config.pg_bindir);
    if (!config.socket_directory.empty()) {
        json.String("socket_directory", config.socket_directory);
    }
    json.Integer("pitr_interval_seconds", config.pitr_interval_seconds);
    json.BigNumber("retain_bytes", config.retain_bytes);
    json.Integer("gc_period_seconds", config.gc_period_seconds);
    return ReplaceFileAtomically(ConfigPath(), json.Finish());
}

}  // namespace zenith

// Repository: the .zenith directory on disk: configuration, branch and tag references, timeline
// metadata. The only place that knows the layout and the only place that parses JSON files.
//
//   config.json                    format version, system identifier, page server address
//   refs/branches/<name>           timeline id
//   refs/tags/<name>               <timeline id>@<LSN>
//   timelines/<id>/timeline.json   ancestor, ancestor LSN, created at, term, last compute
//   timelines/<id>/wal/            WAL segments
//   timelines/<id>/snapshots/      initial snapshot (root timelines)
//   computes/<name>/               compute nodes: compute.json, pgdata/, log
//   pageserver.pid, pageserver.log
//
// Writes are atomic (file, fsync, rename, fsync of the directory). Thread rule: the functions keep
// no state; two writers of one file are kept apart by the page server, which alone writes refs/ and
// timelines/ while it runs. Errors: kCorruption for a file that does not parse, with its path.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "common/base/ids.h"
#include "common/base/lsn.h"
#include "common/base/result.h"

namespace zenith {

inline constexpr int kRepositoryFormatVersion = 1;

struct RepoConfig {
    int format_version = kRepositoryFormatVersion;
    uint64_t system_identifier = 0;
    // TCP address of the page server; port 0 lets the kernel choose (see pageserver.port).
    std::string listen_address = "127.0.0.1";
    int listen_port = 0;
    std::string pg_bindir;  // where the matching postgres, initdb and pg_ctl are
};

struct TimelineFile {
    TimelineId id;
    TimelineId ancestor;  // invalid for a root
    Lsn ancestor_lsn;     // for a root: the LSN of its snapshot
    int64_t created_at = 0;  // Unix seconds
    // Raised by every read-write base backup; a compute with an older term is refused.
    uint64_t term = 0;
    // Where the compute of that term said it can be reached; empty when none called yet.
    std::string compute_connstr;
};

// A point in time: a timeline at an LSN, or at its tip.
struct TimelinePoint {
    TimelineId timeline;
    std::optional<Lsn> lsn;
};

class Repository {
  public:
    explicit Repository(std::string path) : path_(std::move(path)) {}
    const std::string& path() const { return path_; }

    std::string ConfigPath() const;
    std::string TimelineDirectory(const TimelineId& id) const;
    std::string WalDirectory(const TimelineId& id) const;
    std::string SnapshotDirectory(const TimelineId& id) const;
    std::string ComputesDirectory() const;
    std::string ComputeDirectory(const std::string& name) const;
    std::string PageServerPidPath() const;
    std::string PageServerLogPath() const;
    std::string RedoDirectory() const;   // scratch for redo processes
    // Directory of the Unix socket; "<dir>/.s.PGSQL.<port>" as libpq expects. Sockets have a path
    // limit of 107 bytes, so this is below /tmp (chosen by the CLI at init, stored in config.json).
    std::string SocketDirectory() const;

    Result<RepoConfig> ReadConfig() const;
    Status WriteConfig(const RepoConfig& config) const;

    Result<TimelineFile> ReadTimeline(const TimelineId& id) const;
    // Creates the timeline's directories when missing.
    Status WriteTimeline(const TimelineFile& file) const;
    Result<std::vector<TimelineId>> ListTimelines() const;
    Status RemoveTimeline(const TimelineId& id) const;

    // Branch and tag names: letters, digits and ._-/ but no "..", no leading or trailing / . or -,
    // no "@", 1..200 bytes, not 32 hexadecimal digits (that is a timeline id).
    static Status CheckRefName(std::string_view name);
    Result<std::map<std::string, TimelineId>> ListBranches() const;
    Result<std::optional<TimelineId>> FindBranch(const std::string& name) const;
    Status WriteBranch(const std::string& name, const TimelineId& id) const;
    Status RemoveBranch(const std::string& name) const;
    Result<std::map<std::string, TimelinePoint>> ListTags() const;
    Result<std::optional<TimelinePoint>> FindTag(const std::string& name) const;
    Status WriteTag(const std::string& name, const TimelinePoint& point) const;
    Status RemoveTag(const std::string& name) const;

    // "main", "main@0/15FFB08", a tag, a timeline id with or without @LSN. kNotFound with a hint
    // ("zenith branch" lists ...) when there is no such thing.
    Result<TimelinePoint> ResolvePoint(std::string_view text) const;

  private:
    std::string path_;
};

}  // namespace zenith

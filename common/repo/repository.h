// Repository: the .zenith directory on disk: configuration, branch and tag references, timeline
// metadata. The only place that knows the layout and the only place that parses JSON files.
//
//   config.json                    format version, system identifier, page server address
//   refs/branches/<name>           <timeline id> <checksum>
//   refs/tags/<name>               <timeline id>@<LSN> <checksum>
//   timelines/<id>/timeline.json   ancestor, ancestor LSN, created at, term, last compute
//   timelines/<id>/wal/            WAL segments
//   timelines/<id>/snapshots/      initial snapshot (root timelines)
//   timelines/<id>/layers/         layer files, made with the first one
//   computes/<name>/               compute nodes: compute.json, pgdata/, postgres.log
//   redo/                          scratch of redo processes
//   run/                           Unix sockets (below /tmp when this path is too long for one)
//   pageserver.pid, pageserver.port, pageserver.log
//
// Writes are atomic (file, fsync, rename, fsync of the directory). Thread rule: the functions keep
// no state; two writers of one file are kept apart by the page server, which alone writes refs/ and
// timelines/ while it runs. Errors: kCorruption for a file that does not parse or has another
// checksum than it says, with its path. JSON files end with theirs (json_file.h); the one of a
// reference is the CRC-32C of the bytes before the space, in 8 lower-case hexadecimal digits.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "common/base/ids.h"
#include "common/base/lsn.h"
#include "common/base/result.h"

namespace zenith {

// Version of everything below the repository directory. Raise it when an older program would
// misread what a newer one writes; any other version than ours is refused with a hint.
// 2: checksums, and layer files of version 2. 1 was never released.
inline constexpr int kRepositoryFormatVersion = 2;

// The "port" in the name of the page server's Unix socket. Fixed, so that computes find the page
// server again after its restart whatever TCP port it got.
inline constexpr int kPageServerSocketPort = 6400;

inline constexpr int64_t kDefaultPitrIntervalSeconds = 7 * 86400;
inline constexpr int64_t kDefaultGcPeriodSeconds = 60;

struct RepoConfig {
    int format_version = kRepositoryFormatVersion;
    uint64_t system_identifier = 0;
    // The cluster was made with --data-checksums: all timelines of a repository are of one cluster.
    bool data_checksums = false;
    // TCP address of the page server; port 0 lets the kernel choose (see pageserver.port). An empty
    // address: no TCP, the Unix socket alone.
    std::string listen_address = "127.0.0.1";
    int listen_port = 0;
    std::string pg_bindir;         // where the matching postgres, initdb and pg_ctl are
    std::string socket_directory;  // empty: chosen by Repository::SocketDirectory
    // History newer than pitr_interval, or within the last retain_bytes of WAL, is kept.
    int64_t pitr_interval_seconds = kDefaultPitrIntervalSeconds;
    uint64_t retain_bytes = 0;
    // How often the page server looks what it no longer has to keep.
    int64_t gc_period_seconds = kDefaultGcPeriodSeconds;
    bool has_checksum = false;     // as read; somebody who edits the file may remove it
};

struct TimelineFile {
    TimelineId id;
    TimelineId ancestor;     // invalid for a root
    Lsn ancestor_lsn;        // for a root: the LSN of its snapshot
    int64_t created_at = 0;  // Unix seconds
    // Raised by every read-write base backup; a compute with an older term is refused.
    uint64_t term = 0;
    // Where the compute of that term said it can be reached; empty when none called yet.
    std::string compute_connstr;
    // Where that compute started; kept readable as long as it runs. Invalid: none did.
    Lsn compute_start_lsn;
};

// A point in time: a timeline at an LSN, or at its tip. With a time (microseconds since 1970): what
// was committed then; an LSN beside it is the end of what is looked at.
struct TimelinePoint {
    TimelineId timeline;
    std::optional<Lsn> lsn;
    std::optional<int64_t> time = {};
};

// A compute node as the CLI registered it.
struct ComputeFile {
    std::string name;
    std::string branch;  // the branch's name when the compute was made
    TimelineId timeline;
    int port = 0;
    // The user chose the port; else it may change when another program has taken it.
    bool port_is_fixed = false;
    std::string listen_addresses = "127.0.0.1";
    // Settings for postgres beside ours, in the order given; the last of a name wins.
    std::vector<std::pair<std::string, std::string>> settings;
    int64_t created_at = 0;  // Unix seconds
    bool has_checksum = false;  // as read; somebody who edits the file may remove it
};

class Repository {
  public:
    explicit Repository(std::string path) : path_(std::move(path)) {}
    const std::string& path() const { return path_; }

    std::string ConfigPath() const;
    std::string TimelineDirectory(const TimelineId& id) const;
    std::string WalDirectory(const TimelineId& id) const;
    std::string SnapshotDirectory(const TimelineId& id) const;
    std::string LayerDirectory(const TimelineId& id) const;
    std::string ComputesDirectory() const;
    std::string ComputeDirectory(const std::string& name) const;
    std::string PageServerPidPath() const;
    std::string PageServerLogPath() const;
    // One line, the TCP port the page server really listens on; written by the page server after
    // it listens, removed when it stops.
    std::string PageServerPortPath() const;
    std::string RedoDirectory() const;  // scratch for redo processes

    // Directory of the Unix sockets of the page server and of the computes; absolute.
    // "<dir>/.s.PGSQL.<port>" as libpq expects. A socket's path is limited to 107 bytes, and the
    // directory appears in comma-separated lists, so: config.json's socket_directory if set, else
    // <repository>/run if that is short and plain enough, else /tmp/.zenith-<hash of the path>.
    std::string SocketDirectory() const;
    // Makes it when it is missing (mode 0700). kRefused when it is somebody else's.
    Status EnsureSocketDirectory() const;
    // How libpq reaches the page server: "host=<SocketDirectory()> port=6400".
    std::string PageServerConnstr() const;

    // Makes the empty directories of a new repository; path() itself included.
    Status CreateLayout() const;
    // Removes what interrupted operations left: *.tmp files below refs/ and timelines/, timelines
    // being removed or never finished. Only while nobody else writes (page server, at its start).
    Status RemoveLeftovers() const;
    // Removes the branches' timelines that no branch, tag or other timeline refers to, children
    // before parents, and logs each: what a crash between a timeline and its branch file leaves.
    // Roots stay: they come from an import, never from such a crash. At the same time as
    // RemoveLeftovers. Removes nothing when it cannot tell for sure: when a reference or a timeline
    // cannot be read, or there is no branch at all (kCorruption).
    Status RemoveUnnamedTimelines() const;

    // kNotFound when there is no repository here; kCorruption for a file that is none of ours;
    // kRefused for a newer format.
    Result<RepoConfig> ReadConfig() const;
    Status WriteConfig(const RepoConfig& config) const;

    // kNotFound for a timeline that is not there (or was never finished).
    Result<TimelineFile> ReadTimeline(const TimelineId& id) const;
    // Creates the timeline's directory when missing, those in it come with their first file. A
    // timeline exists from the moment timeline.json does.
    Status WriteTimeline(const TimelineFile& file) const;
    Result<std::vector<TimelineId>> ListTimelines() const;
    // In one step as far as ReadTimeline and ListTimelines can see. kNotFound when it is not there.
    // Files that cannot be removed then are left to RemoveLeftovers.
    Status RemoveTimeline(const TimelineId& id) const;

    // Branch and tag names: letters, digits and ._-/ but no "..", no "//", no part that begins or
    // ends with . or -, or ends with ".tmp", no "@", 1..200 bytes, not 32 hexadecimal digits (that
    // is a timeline id).
    static Status CheckRefName(std::string_view name);
    // The Find functions return nullopt for a name that is not there or could never be.
    Result<std::map<std::string, TimelineId>> ListBranches() const;
    Result<std::optional<TimelineId>> FindBranch(const std::string& name) const;
    // kAlreadyExists when a branch or a tag has the name, or its path is in another's way
    // ("a" and "a/b" cannot both be).
    Status WriteBranch(const std::string& name, const TimelineId& id) const;
    Status RemoveBranch(const std::string& name) const;  // kNotFound when it is not there
    Result<std::map<std::string, TimelinePoint>> ListTags() const;
    Result<std::optional<TimelinePoint>> FindTag(const std::string& name) const;
    // As WriteBranch. Requires: point.lsn is set, a tag never moves.
    Status WriteTag(const std::string& name, const TimelinePoint& point) const;
    Status RemoveTag(const std::string& name) const;

    // "main", "main@0/15FFB08", "main@2026-11-22T10:00:00Z" (time_text.h), a tag, also with a time,
    // a timeline id with or without @LSN or time. kNotFound with a hint ("zenith branch" lists ...)
    // when there is no such thing. Neither LSN nor time is compared with the timeline's history;
    // that is the page server's part.
    Result<TimelinePoint> ResolvePoint(std::string_view text) const;

    // Compute names: as CheckRefName, but without "/".
    static Status CheckComputeName(std::string_view name);
    Result<ComputeFile> ReadCompute(const std::string& name) const;
    // Requires: ComputeDirectory(file.name) exists.
    Status WriteCompute(const ComputeFile& file) const;
    Result<std::vector<std::string>> ListComputes() const;  // sorted

  private:
    std::string RefPath(const char* kind, const std::string& name) const;

    std::string path_;
};

}  // namespace zenith

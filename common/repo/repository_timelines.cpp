#include <sys/stat.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>

#include "common/base/log.h"
#include "common/base/posix_file.h"
#include "common/repo/json_file.h"
#include "common/repo/repository.h"

namespace zenith {

namespace {
std::string TimelineJson(const Repository& repository, const TimelineId& id) {
    return repository.TimelineDirectory(id) + "/timeline.json";
}

Status NoSuchTimeline(const TimelineId& id) {
    return Status::NotFound("timeline " + id.ToString() + " does not exist",
                            "Use \"zenith branch\" to see the branches and their timelines.");
}
}  // namespace

Result<TimelineFile> Repository::ReadTimeline(const TimelineId& id) const {
    const std::string path = TimelineJson(*this, id);
    Result<std::string> text = ReadWholeFile(path);
    if (!text.ok()) {
        return text.status().code() == StatusCode::kNotFound ? NoSuchTimeline(id) : text.status();
    }
    ZENITH_ASSIGN_OR_RETURN(JsonReader json, JsonReader::Parse(path, *text));
    TimelineFile file;
    ZENITH_ASSIGN_OR_RETURN(file.id, json.ReadTimelineId("id"));
    if (file.id != id) {
        return json.Error("is of another timeline, " + file.id.ToString());
    }
    if (json.Has("ancestor")) {
        ZENITH_ASSIGN_OR_RETURN(file.ancestor, json.ReadTimelineId("ancestor"));
    }
    ZENITH_ASSIGN_OR_RETURN(file.ancestor_lsn, json.ReadLsn("ancestor_lsn"));
    ZENITH_ASSIGN_OR_RETURN(file.created_at, json.Integer("created_at", 0, INT64_MAX));
    ZENITH_ASSIGN_OR_RETURN(file.term, json.BigNumber("term"));
    if (json.Has("compute_connstr")) {
        ZENITH_ASSIGN_OR_RETURN(file.compute_connstr, json.String("compute_connstr"));
    }
    if (json.Has("compute_start_lsn")) {
        ZENITH_ASSIGN_OR_RETURN(file.compute_start_lsn, json.ReadLsn("compute_start_lsn"));
    }
    ZENITH_RETURN_IF_ERROR(json.CheckNoOtherFields());
    ZENITH_RETURN_IF_ERROR(json.RequireChecksum());
    return file;
}

Status Repository::WriteTimeline(const TimelineFile& file) const {
    const std::string directory = TimelineDirectory(file.id);
    const bool is_new = !FileExists(TimelineJson(*this, file.id));
    if (is_new) {
        ZENITH_RETURN_IF_ERROR(EnsureDirectory(directory));
        ZENITH_RETURN_IF_ERROR(FsyncDirectory(path_ + "/timelines"));
    }
    JsonWriter json;
    json.String("id", file.id.ToString());
    if (file.ancestor.valid()) {
        json.String("ancestor", file.ancestor.ToString());
    }
    json.String("ancestor_lsn", file.ancestor_lsn.ToString());
    json.Integer("created_at", file.created_at);
    json.BigNumber("term", file.term);
    if (!file.compute_connstr.empty()) {
        json.String("compute_connstr", file.compute_connstr);
    }
    if (file.compute_start_lsn.valid()) {
        json.String("compute_start_lsn", file.compute_start_lsn.ToString());
    }
    return ReplaceFileAtomically(TimelineJson(*this, file.id), json.Finish());
}

Result<std::vector<TimelineId>> Repository::ListTimelines() const {
    ZENITH_ASSIGN_OR_RETURN(std::vector<std::string> names, ListDirectory(path_ + "/timelines"));
    std::vector<TimelineId> ids;
    for (const std::string& name : names) {
        std::optional<TimelineId> id = TimelineId::Parse(name);
        if (id && FileExists(TimelineJson(*this, *id))) {
            ids.push_back(*id);
        }
    }
    std::sort(ids.begin(), ids.end());
    return ids;
}

Status Repository::RemoveTimeline(const TimelineId& id) const {
    const std::string directory = TimelineDirectory(id);
    if (!FileExists(TimelineJson(*this, id))) {
        return NoSuchTimeline(id);
    }
    // Gone by the rename; what a crash leaves under the other name, RemoveLeftovers takes away.
    const std::string removed = directory + ".removed";
    ZENITH_RETURN_IF_ERROR(RemoveTree(removed));
    if (rename(directory.c_str(), removed.c_str()) != 0) {
        return ErrnoStatus("rename directory", directory, errno);
    }
    // Gone for everybody who looks from now on; so what fails below is no failure of the removal.
    for (const Status& status : {FsyncDirectory(path_ + "/timelines"), RemoveTree(removed)}) {
        if (!status.ok()) {
            spdlog::warn("repository: files of the removed timeline {} stay until the next start: {}",
                         id.ToString(), status.message());
        }
    }
    return Status::Ok();
}

}  // namespace zenith

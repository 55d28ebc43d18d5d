#include "pageserver/page_service/ref_commands.h"

#include <ctime>
#include <map>
#include <utility>

#include "common/base/log.h"
#include "pageserver/page_service/command_parser.h"

namespace zenith {

namespace {

constexpr char kMainBranch[] = "main";

std::string Join(const std::set<std::string>& names) {
    std::string text;
    for (const std::string& name : names) {
        text += (text.empty() ? "" : ", ") + name;
    }
    return text;
}

}  // namespace

std::string BoolText(bool value) {
    return value ? "t" : "f";
}

std::optional<std::string> TimeText(int64_t unix_seconds) {
    time_t seconds = unix_seconds;
    tm parts = {};
    char text[64];
    if (unix_seconds == 0 || gmtime_r(&seconds, &parts) == nullptr ||
        strftime(text, sizeof text, "%Y-%m-%dT%H:%M:%SZ", &parts) == 0) {
        return std::nullopt;
    }
    return text;
}

std::optional<std::string> IdText(const TimelineId& id) {
    return id.valid() ? std::optional(id.ToString()) : std::nullopt;
}

std::optional<std::string> LsnText(Lsn lsn) {
    return lsn.valid() ? std::optional(lsn.ToString()) : std::nullopt;
}

class RefCommands::NameHold {
  public:
    NameHold(RefCommands& commands, const std::string& name) : commands_(commands), name_(name) {
        std::lock_guard lock(commands_.mutex_);
        held_ = commands_.busy_names_.insert(name_).second;
    }
    NameHold(const NameHold&) = delete;
    NameHold& operator=(const NameHold&) = delete;
    ~NameHold() {
        if (held_) {
            std::lock_guard lock(commands_.mutex_);
            commands_.busy_names_.erase(name_);
        }
    }
    Status status() const {
        return held_ ? Status::Ok()
                     : Status::Refused("another command is working on " + QuoteForMessage(name_),
                                       "Try again when it has finished.");
    }

  private:
    RefCommands& commands_;
    std::string name_;
    bool held_ = false;
};

Status RefCommands::CheckNewName(const std::string& name) const {
    ZENITH_RETURN_IF_ERROR(Repository::CheckRefName(name));
    ZENITH_ASSIGN_OR_RETURN(std::optional<TimelineId> branch, repository_.FindBranch(name));
    if (branch) {
        return Status::AlreadyExists(
            "branch \"" + name + "\" already exists",
            "Choose another name, or delete it first: zenith branch -d " + name + ".");
    }
    ZENITH_ASSIGN_OR_RETURN(std::optional<TimelinePoint> tag, repository_.FindTag(name));
    if (tag) {
        return Status::AlreadyExists(
            "tag \"" + name + "\" already exists",
            "Choose another name, or delete it first: zenith tag -d " + name + ".");
    }
    return Status::Ok();
}

Status RefCommands::ListBranches(WireSession& session) {
    ZENITH_ASSIGN_OR_RETURN(auto branches, repository_.ListBranches());
    ZENITH_ASSIGN_OR_RETURN(std::vector<TimelineInfo> infos, manager_.List());
    std::map<TimelineId, const TimelineInfo*> by_id;
    for (const TimelineInfo& info : infos) {
        by_id[info.file.id] = &info;
    }
    for (const auto& [name, id] : branches) {
        auto found = by_id.find(id);
        if (found == by_id.end()) {
            // Deleted between the two looks.
            continue;
        }
        const TimelineInfo& info = *found->second;
        session.AddRow({name, id.ToString(), IdText(info.file.ancestor),
                        LsnText(info.file.ancestor_lsn), LsnText(info.last_record_end),
                        TimeText(info.file.created_at), BoolText(info.receiving)});
    }
    return Status::Ok();
}

Status RefCommands::CreateBranch(const std::string& name, const std::string& point,
                                 WireSession& session) {
    NameHold hold(*this, name);
    ZENITH_RETURN_IF_ERROR(hold.status());
    ZENITH_RETURN_IF_ERROR(CheckNewName(name));
    ZENITH_ASSIGN_OR_RETURN(TimelinePoint start, repository_.ResolvePoint(point));
    ZENITH_ASSIGN_OR_RETURN(TimelineFile file, manager_.CreateTimeline(start));
    Status written = repository_.WriteBranch(name, file.id);
    if (!written.ok()) {
        std::lock_guard lock(tag_mutex_);
        Status undone = CheckDeletable(name, file.id);
        if (undone.ok()) {
            undone = manager_.DeleteTimeline(file.id);
        }
        if (!undone.ok()) {
            spdlog::warn("page service: timeline {} stays without a branch: {}", file.id.ToString(),
                         undone.message());
        }
        return written;
    }
    spdlog::info("page service: created branch \"{}\" as timeline {} from {} at {}", name,
                 file.id.ToString(), file.ancestor.ToString(), file.ancestor_lsn.ToString());
    session.AddRow({name, file.id.ToString(), IdText(file.ancestor), LsnText(file.ancestor_lsn)});
    return Status::Ok();
}

Status RefCommands::CheckDeletable(const std::string& name, const TimelineId& id) {
    ZENITH_ASSIGN_OR_RETURN(std::vector<TimelineInfo> infos, manager_.List());
    ZENITH_ASSIGN_OR_RETURN(auto branches, repository_.ListBranches());
    ZENITH_ASSIGN_OR_RETURN(auto tags, repository_.ListTags());
    std::set<std::string> children;
    for (const TimelineInfo& info : infos) {
        if (info.file.id == id && info.receiving) {
            return Status::Refused("a compute is running on branch \"" + name + "\"",
                                   "Stop it first: zenith pg list shows its name, zenith pg stop "
                                   "stops it.");
        }
        if (info.file.ancestor == id) {
            children.insert(info.file.id.ToString());
        }
    }
    for (const auto& [child, child_id] : branches) {
        if (children.erase(child_id.ToString()) > 0) {
            children.insert(child);
        }
    }
    if (!children.empty()) {
        return Status::Refused("branch \"" + name + "\" has branches made from it",
                               "Delete them first with zenith branch -d: " + Join(children) + ".");
    }
    std::set<std::string> tag_names;
    for (const auto& [tag, point] : tags) {
        if (point.timeline == id) {
            tag_names.insert(tag);
        }
    }
    if (!tag_names.empty()) {
        return Status::Refused("branch \"" + name + "\" has tags",
                               "Delete them first with zenith tag -d: " + Join(tag_names) + ".");
    }
    return Status::Ok();
}

Status RefCommands::DeleteBranch(const std::string& name) {
    NameHold hold(*this, name);
    ZENITH_RETURN_IF_ERROR(hold.status());
    if (name == kMainBranch) {
        return Status::Refused("branch \"main\" cannot be deleted",
                               "It is the branch every other one comes from; to start over make a "
                               "new repository with zenith init.");
    }
    ZENITH_ASSIGN_OR_RETURN(std::optional<TimelineId> id, repository_.FindBranch(name));
    if (!id) {
        return Status::NotFound("branch " + QuoteForMessage(name) + " does not exist",
                                "zenith branch lists the branches.");
    }
    std::lock_guard lock(tag_mutex_);
    ZENITH_RETURN_IF_ERROR(CheckDeletable(name, *id));
    ZENITH_RETURN_IF_ERROR(repository_.RemoveBranch(name));
    Status deleted = manager_.DeleteTimeline(*id);
    if (!deleted.ok() && deleted.code() != StatusCode::kNotFound) {
        // Something came in between, a compute for example: the branch stays.
        Status restored = repository_.WriteBranch(name, *id);
        if (!restored.ok()) {
            spdlog::error("page service: timeline {} has lost its branch \"{}\": {}",
                          id->ToString(), name, restored.message());
        }
        return deleted;
    }
    spdlog::info("page service: deleted branch \"{}\", timeline {}", name, id->ToString());
    return Status::Ok();
}

Status RefCommands::ListTags(WireSession& session) {
    ZENITH_ASSIGN_OR_RETURN(auto tags, repository_.ListTags());
    for (const auto& [name, point] : tags) {
        session.AddRow({name, point.timeline.ToString(), LsnText(point.lsn.value_or(Lsn()))});
    }
    return Status::Ok();
}

Status RefCommands::CreateTag(const std::string& name, const std::string& point,
                              WireSession& session) {
    NameHold hold(*this, name);
    ZENITH_RETURN_IF_ERROR(hold.status());
    ZENITH_RETURN_IF_ERROR(CheckNewName(name));
    std::lock_guard lock(tag_mutex_);
    ZENITH_ASSIGN_OR_RETURN(TimelinePoint target, repository_.ResolvePoint(point));
    ZENITH_ASSIGN_OR_RETURN(Lsn lsn, manager_.PinPoint(target));
    ZENITH_RETURN_IF_ERROR(repository_.WriteTag(name, TimelinePoint{target.timeline, lsn}));
    spdlog::info("page service: created tag \"{}\" at {}@{}", name, target.timeline.ToString(),
                 lsn.ToString());
    session.AddRow({name, target.timeline.ToString(), LsnText(lsn)});
    return Status::Ok();
}

Status RefCommands::DeleteTag(const std::string& name) {
    NameHold hold(*this, name);
    ZENITH_RETURN_IF_ERROR(hold.status());
    ZENITH_ASSIGN_OR_RETURN(std::optional<TimelinePoint> tag, repository_.FindTag(name));
    if (!tag) {
        return Status::NotFound("tag " + QuoteForMessage(name) + " does not exist",
                                "zenith tag lists the tags.");
    }
    ZENITH_RETURN_IF_ERROR(repository_.RemoveTag(name));
    spdlog::info("page service: deleted tag \"{}\"", name);
    return Status::Ok();
}

}  // namespace zenith

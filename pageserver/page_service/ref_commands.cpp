#include "pageserver/page_service/ref_commands.h"

#include <ctime>
#include <map>
#include <utility>

#include "common/base/log.h"
#include "pageserver/page_service/command_parser.h"

namespace zenith {

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
    ZENITH_ASSIGN_OR_RETURN(TimelineFile file,
                            manager_.CreateTimeline(start, [&](const TimelineFile& made) {
                                return repository_.WriteBranch(name, made.id);
                            }));
    spdlog::info("page service: created branch \"{}\" as timeline {} from {} at {}", name,
                 file.id.ToString(), file.ancestor.ToString(), file.ancestor_lsn.ToString());
    session.AddRow({name, file.id.ToString(), IdText(file.ancestor), LsnText(file.ancestor_lsn)});
    return Status::Ok();
}

Status RefCommands::DeleteBranch(const std::string& name) {
    NameHold hold(*this, name);
    ZENITH_RETURN_IF_ERROR(hold.status());
    ZENITH_ASSIGN_OR_RETURN(std::optional<TimelineId> id, repository_.FindBranch(name));
    if (!id) {
        return Status::NotFound("branch " + QuoteForMessage(name) + " does not exist",
                                "zenith branch lists the branches.");
    }
    ZENITH_ASSIGN_OR_RETURN(std::vector<TimelineInfo> infos, manager_.List());
    for (const TimelineInfo& info : infos) {
        if (info.file.id == *id && info.receiving) {
            return Status::Refused("a compute is running on branch \"" + name + "\"",
                                   "Stop it first: zenith pg list shows its name, zenith pg stop "
                                   "stops it.");
        }
    }
    auto remove_name = [&]() -> Status {
        ZENITH_ASSIGN_OR_RETURN(auto branches, repository_.ListBranches());
        if (branches.size() <= 1) {
            return Status::Refused("branch \"" + name + "\" is the last one",
                                   "Make another branch first; to start over make a new repository "
                                   "with zenith init.");
        }
        return repository_.RemoveBranch(name);
    };
    Status deleted = manager_.DeleteTimeline(*id, remove_name);
    if (deleted.code() == StatusCode::kNotFound) {
        // A name without its timeline: only the name is left to remove.
        deleted = remove_name();
    }
    ZENITH_RETURN_IF_ERROR(deleted);
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
    ZENITH_ASSIGN_OR_RETURN(TimelinePoint target, repository_.ResolvePoint(point));
    ZENITH_ASSIGN_OR_RETURN(TimelinePoint pinned,
                            manager_.PinPoint(target, [&](const TimelinePoint& found) {
                                return repository_.WriteTag(name, found);
                            }));
    const std::string id = pinned.timeline.ToString();
    const Lsn lsn = pinned.lsn.value_or(Lsn());
    spdlog::info("page service: created tag \"{}\" at {}@{}", name, id, lsn.ToString());
    session.AddRow({name, id, LsnText(lsn)});
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
    ZENITH_RETURN_IF_ERROR(
        manager_.ReleasePoint(*tag, [&] { return repository_.RemoveTag(name); }));
    spdlog::info("page service: deleted tag \"{}\"", name);
    return Status::Ok();
}

}  // namespace zenith

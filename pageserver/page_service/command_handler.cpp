#include "pageserver/page_service/command_handler.h"

#include "common/base/log.h"
#include "common/base/time_text.h"
#include "pageserver/page_service/copy_out_sink.h"

namespace zenith {

namespace {

constexpr char kTooManyConnections[] = "53300";  // too_many_connections
constexpr int kLingerAfterBackupSeconds = 300;

// A place among the page streams, given back at the end.
class PagestreamPlace {
  public:
    PagestreamPlace(std::atomic<size_t>& taken, size_t limit)
        : taken_(taken), fits_(taken.fetch_add(1) < limit) {}
    PagestreamPlace(const PagestreamPlace&) = delete;
    PagestreamPlace& operator=(const PagestreamPlace&) = delete;
    ~PagestreamPlace() { taken_--; }
    bool fits() const { return fits_; }

  private:
    std::atomic<size_t>& taken_;
    bool fits_;
};

std::vector<std::string> ColumnsOf(CommandKind kind) {
    switch (kind) {
        case CommandKind::kStatus:
        case CommandKind::kTimelineInfo:
            return {"name", "value"};
        case CommandKind::kBranchList:
            return {"name",     "timeline",   "ancestor", "ancestor_lsn",
                    "last_lsn", "created_at", "running"};
        case CommandKind::kBranchCreate:
            return {"name", "timeline", "ancestor", "lsn"};
        case CommandKind::kTagList:
        case CommandKind::kTagCreate:
            return {"name", "timeline", "lsn"};
        case CommandKind::kTimelineList:
            return {"timeline", "ancestor", "ancestor_lsn", "created_at", "term",
                    "loaded",   "last_lsn", "flush_lsn",    "running",    "error",
                    "problem",  "problem_since", "problem_healed_at", "readable_from"};
        case CommandKind::kGarbage:
            return {"timeline",      "removed",       "readable_from",
                    "removed_bytes", "written_bytes", "dropped_versions"};
        case CommandKind::kRetention:
            return {"name", "value"};
        case CommandKind::kBranchDelete:
        case CommandKind::kTagDelete:
        case CommandKind::kPagestream:
        case CommandKind::kBaseBackup:
        case CommandKind::kCallMeMaybe:
        case CommandKind::kIgnored:
            return {};
    }
    return {};
}

class CommandStatement : public WireStatement {
  public:
    CommandStatement(CommandHandler& handler, Command command)
        : handler_(handler), command_(std::move(command)), columns_(ColumnsOf(command_.kind)) {}
    const std::vector<std::string>& columns() const override { return columns_; }
    Status Execute(WireSession& session) override { return handler_.Execute(command_, session); }

  private:
    CommandHandler& handler_;
    Command command_;
    std::vector<std::string> columns_;
};

std::optional<std::string> MicrosText(int64_t time) {
    return time == 0 ? std::nullopt : std::optional(FormatTimeMicros(time));
}

std::optional<std::string> TextOrNull(const std::string& text) {
    return text.empty() ? std::nullopt : std::optional(text);
}

}  // namespace

CommandHandler::CommandHandler(const Repository& repository, TimelineManager& manager,
                               PageReconstructor& reconstructor, BaseBackupFunction base_backup,
                               StatusFunction process_status, int wait_lsn_timeout_ms,
                               size_t max_pagestreams)
    : manager_(manager),
      reconstructor_(reconstructor),
      base_backup_(std::move(base_backup)),
      process_status_(std::move(process_status)),
      wait_lsn_timeout_ms_(wait_lsn_timeout_ms),
      max_pagestreams_(max_pagestreams),
      refs_(repository, manager) {}

Result<std::shared_ptr<WireStatement>> CommandHandler::Prepare(std::string_view query) {
    ZENITH_ASSIGN_OR_RETURN(std::optional<Command> command, ParseCommand(query));
    if (!command) {
        return std::shared_ptr<WireStatement>();
    }
    return std::shared_ptr<WireStatement>(
        std::make_shared<CommandStatement>(*this, *std::move(command)));
}

Status CommandHandler::Execute(const Command& command, WireSession& session) {
    switch (command.kind) {
        case CommandKind::kStatus:
            return ExecuteStatus(session);
        case CommandKind::kPagestream:
            return ExecutePagestream(command, session);
        case CommandKind::kBaseBackup:
            return ExecuteBaseBackup(command, session);
        case CommandKind::kCallMeMaybe:
            session.SetTag("CALLMEMAYBE");
            return manager_.CallMeMaybe(command.timeline, command.term, command.connstr);
        case CommandKind::kBranchList:
            return refs_.ListBranches(session);
        case CommandKind::kBranchCreate:
            return refs_.CreateBranch(command.name, command.point, session);
        case CommandKind::kBranchDelete:
            session.SetTag("BRANCH_DELETE");
            return refs_.DeleteBranch(command.name);
        case CommandKind::kTagList:
            return refs_.ListTags(session);
        case CommandKind::kTagCreate:
            return refs_.CreateTag(command.name, command.point, session);
        case CommandKind::kTagDelete:
            session.SetTag("TAG_DELETE");
            return refs_.DeleteTag(command.name);
        case CommandKind::kTimelineList:
            return ExecuteTimelineList(session);
        case CommandKind::kTimelineInfo:
            return ExecuteTimelineInfo(command, session);
        case CommandKind::kGarbage:
            return ExecuteGarbage(command, session);
        case CommandKind::kRetention:
            return ExecuteRetention(command, session);
        case CommandKind::kIgnored:
            session.SetTag(command.tag);
            return Status::Ok();
    }
    return Status::Internal("command without code");
}

Status CommandHandler::ExecuteStatus(WireSession& session) {
    ZENITH_ASSIGN_OR_RETURN(std::vector<TimelineInfo> infos, manager_.List());
    size_t loaded = 0;
    size_t running = 0;
    size_t problems = 0;
    for (const TimelineInfo& info : infos) {
        problems += info.problem.going_on() || !info.ingest_error.empty() ? 1 : 0;
        loaded += info.loaded ? 1 : 0;
        running += info.receiving ? 1 : 0;
    }
    auto add = [&session](const char* name, std::string value) {
        session.AddRow({name, std::move(value)});
    };
    for (auto& [name, value] : process_status_()) {
        add(name.c_str(), std::move(value));
    }
    add("system_identifier", std::to_string(manager_.config().system_identifier));
    add("timelines", std::to_string(infos.size()));
    add("timelines_loaded", std::to_string(loaded));
    add("computes_running", std::to_string(running));
    add("storage_problems", std::to_string(problems));
    add("page_requests", std::to_string(counters_.requests.load()));
    add("page_batches", std::to_string(counters_.batches.load()));
    add("pages_served", std::to_string(counters_.pages.load()));
    add("page_failures", std::to_string(counters_.failures.load()));
    if (const RedoCheckStats check = reconstructor_.check_stats(); check.percent > 0) {
        add("redo_checks", std::to_string(check.checked()));
        add("redo_checks_from_wal", std::to_string(check.from_wal));
        add("redo_checks_impossible", std::to_string(check.impossible));
        add("redo_differences", std::to_string(check.differences));
    }
    return Status::Ok();
}

Status CommandHandler::ExecuteBaseBackup(const Command& command, WireSession& session) {
    // A read-only one: until the compute that is made of it has connected.
    std::shared_ptr<void> lease;
    if (command.lsn) {
        ZENITH_ASSIGN_OR_RETURN(
            lease, manager_.HoldLsn(command.timeline, *command.lsn, kLingerAfterBackupSeconds));
    }
    CopyOutSink sink(session);
    Status status = base_backup_(command.timeline, command.lsn, sink);
    if (status.ok()) {
        status = sink.Finish();
    }
    if (status.ok()) {
        spdlog::info("page service: sent a base backup of timeline {} {}",
                     command.timeline.ToString(),
                     command.lsn ? "at " + command.lsn->ToString() : "at its tip");
    } else {
        spdlog::info("page service: base backup of timeline {} failed: {}",
                     command.timeline.ToString(), status.message());
    }
    return status;
}

Status CommandHandler::ExecutePagestream(const Command& command, WireSession& session) {
    PagestreamPlace place(pagestreams_, max_pagestreams_);
    if (!place.fits()) {
        session.EndConnection(kTooManyConnections);
        return Status::Unavailable(
            "too many connections that read pages",
            "The page server serves " + std::to_string(max_pagestreams_) +
                " of them at once; close some, or start it with a higher --max-connections.");
    }
    ZENITH_ASSIGN_OR_RETURN(std::shared_ptr<Timeline> timeline, manager_.Get(command.timeline));
    auto hold = [&](Lsn lsn) { return manager_.HoldLsn(command.timeline, lsn, 0); };
    return PagestreamHandler(std::move(timeline), reconstructor_, counters_, wait_lsn_timeout_ms_,
                             manager_.config().data_checksums, hold)
        .Serve(session);
}

Status CommandHandler::ExecuteTimelineList(WireSession& session) {
    ZENITH_ASSIGN_OR_RETURN(std::vector<TimelineInfo> infos, manager_.List());
    for (const TimelineInfo& info : infos) {
        session.AddRow({info.file.id.ToString(), IdText(info.file.ancestor),
                        LsnText(info.file.ancestor_lsn), TimeText(info.file.created_at),
                        std::to_string(info.file.term), BoolText(info.loaded),
                        LsnText(info.last_record_end), LsnText(info.flush_lsn),
                        BoolText(info.receiving), TextOrNull(info.ingest_error),
                        TextOrNull(info.problem.what), MicrosText(info.problem.since),
                        MicrosText(info.problem.healed_at), LsnText(info.readable_from)});
    }
    return Status::Ok();
}

Status CommandHandler::ExecuteGarbage(const Command& command, WireSession& session) {
    ZENITH_ASSIGN_OR_RETURN(GarbageReport report,
                            manager_.CollectGarbage(command.timeline, command.dry_run));
    session.AddRow({report.timeline.ToString(), BoolText(report.removed),
                    LsnText(report.retention.readable_from),
                    std::to_string(report.retention.removed_bytes),
                    std::to_string(report.retention.written_bytes),
                    std::to_string(report.retention.dropped_versions)});
    return Status::Ok();
}

Status CommandHandler::ExecuteRetention(const Command& command, WireSession& session) {
    if (command.retention) {
        const auto& [seconds, bytes] = *command.retention;
        // As ParseInterval().
        if (seconds > 86400ull * 1000000) {
            return Status::InvalidArgument("a pitr_interval of " + std::to_string(seconds) +
                                               " seconds is too long",
                                           "Give at most a million days.");
        }
        ZENITH_RETURN_IF_ERROR(manager_.SetRetention({static_cast<int64_t>(seconds), bytes}));
    }
    const RetentionSettings settings = manager_.retention();
    session.AddRow({"pitr_interval_seconds", std::to_string(settings.pitr_interval_seconds)});
    session.AddRow({"retain_bytes", std::to_string(settings.retain_bytes)});
    return Status::Ok();
}

Status CommandHandler::ExecuteTimelineInfo(const Command& command, WireSession& session) {
    // Loads it, so that the LSNs are known.
    ZENITH_ASSIGN_OR_RETURN(std::shared_ptr<Timeline> timeline, manager_.Get(command.timeline));
    ZENITH_ASSIGN_OR_RETURN(std::vector<TimelineInfo> infos, manager_.List());
    for (const TimelineInfo& info : infos) {
        if (info.file.id != command.timeline) {
            continue;
        }
        session.AddRow({"timeline", info.file.id.ToString()});
        session.AddRow({"ancestor", IdText(info.file.ancestor)});
        session.AddRow({"ancestor_lsn", LsnText(info.file.ancestor_lsn)});
        session.AddRow({"created_at", TimeText(info.file.created_at)});
        session.AddRow({"term", std::to_string(info.file.term)});
        session.AddRow({"start_lsn", LsnText(timeline->start_lsn())});
        session.AddRow({"last_lsn", LsnText(timeline->last_record_end())});
        session.AddRow({"flush_lsn", LsnText(info.flush_lsn)});
        session.AddRow({"compute", TextOrNull(info.file.compute_connstr)});
        session.AddRow({"running", BoolText(info.receiving)});
        session.AddRow({"error", TextOrNull(info.ingest_error)});
        return Status::Ok();
    }
    return Status::NotFound("timeline " + command.timeline.ToString() + " does not exist",
                            "timeline_list shows the timelines.");
}

}  // namespace zenith

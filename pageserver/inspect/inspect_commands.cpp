#include "pageserver/inspect/inspect_commands.h"

#include <stdlib.h>
#include <sys/stat.h>

#include <CLI/CLI.hpp>
#include <cerrno>
#include <chrono>
#include <cstdio>
#include <memory>
#include <set>

#include "common/base/log.h"
#include "common/base/posix_file.h"
#include "pageserver/inspect/check_repository.h"
#include "pageserver/redo/redo_process_pool.h"

namespace zenith {

namespace {

void PrintToStdout(const std::string& line) { std::printf("%s\n", line.c_str()); }

std::string Counted(uint64_t number, const char* what) {
    return std::to_string(number) + " " + what + (number == 1 ? "" : "s");
}

// Scratch of the redo processes, not in the repository: the page server's own are there.
class ScratchDirectory {
  public:
    static Result<std::unique_ptr<ScratchDirectory>> Make() {
        const char* top = getenv("TMPDIR");
        std::string path = std::string(top != nullptr && *top != '\0' ? top : "/tmp") +
                           "/zenith-fsck-XXXXXX";
        if (mkdtemp(path.data()) == nullptr) {
            return ErrnoStatus("create directory", path, errno);
        }
        // Run by root, the processes are another user's.
        if (geteuid() == 0) {
            chmod(path.c_str(), 0755);
        }
        return std::unique_ptr<ScratchDirectory>(new ScratchDirectory(path));
    }
    ~ScratchDirectory() { RemoveTree(path_).Ignore("it is below /tmp"); }
    ScratchDirectory(const ScratchDirectory&) = delete;
    ScratchDirectory& operator=(const ScratchDirectory&) = delete;
    const std::string& path() const { return path_; }

  private:
    explicit ScratchDirectory(std::string path) : path_(std::move(path)) {}
    const std::string path_;
};

// A line now and then on stderr, none for what takes no time.
Progress TellNowAndThen() {
    auto last = std::make_shared<std::chrono::steady_clock::time_point>(
        std::chrono::steady_clock::now());
    return [last](const std::string& what) {
        const auto now = std::chrono::steady_clock::now();
        if (now - *last >= std::chrono::seconds(2)) {
            *last = now;
            std::fprintf(stderr, "fsck: %s\n", what.c_str());
        }
    };
}

void PrintReport(const FsckReport& report, bool deep, bool json) {
    const size_t errors = report.findings.errors();
    const size_t warnings = report.findings.warnings();
    if (json) {
        std::printf("{\"findings\": [");
        const char* separator = "\n";
        for (const Finding& finding : report.findings.listed()) {
            std::printf("%s%s", separator, finding.Json().c_str());
            separator = ",\n";
        }
        std::printf("],\n\"errors\": %zu, \"warnings\": %zu, \"timelines\": %llu, "
                    "\"records\": %llu, \"pages\": %llu, \"not_listed\": %zu}\n",
                    errors, warnings, static_cast<unsigned long long>(report.timelines),
                    static_cast<unsigned long long>(report.records),
                    static_cast<unsigned long long>(report.pages),
                    report.findings.not_listed());
        return;
    }
    std::set<std::string> hints;
    for (const Finding& finding : report.findings.listed()) {
        std::printf("fsck: %s: %s\n",
                    finding.severity == Finding::Severity::kError ? "error" : "warning",
                    finding.Message().c_str());
        if (!finding.hint.empty()) {
            hints.insert(finding.hint);
        }
    }
    if (report.findings.not_listed() > 0) {
        std::printf("fsck: %s not listed\n",
                    Counted(report.findings.not_listed(), "more finding").c_str());
    }
    for (const std::string& hint : hints) {
        std::printf("fsck: hint: %s\n", hint.c_str());
    }
    std::printf("fsck: %s, %s in %s with %s of WAL%s\n", Counted(errors, "error").c_str(),
                Counted(warnings, "warning").c_str(),
                Counted(report.timelines, "timeline").c_str(),
                Counted(report.records, "record").c_str(),
                deep ? (", " + Counted(report.pages, "page") + " rebuilt").c_str() : "");
}

}  // namespace

InspectCommands::InspectCommands(CLI::App& app, std::string* repository)
    : repository_(repository) {
    auto add_common = [this](CLI::App* command, Command which) {
        command->add_option("--repo-dir", *repository_, "the repository (a .zenith directory)");
        command->add_flag("--json", json_, "as JSON");
        command->callback([this, which] { given_ = which; });
    };
    CLI::App* fsck = app.add_subcommand(
        "fsck", "verify every byte of a repository, beside a running page server or without one");
    add_common(fsck, Command::kFsck);
    fsck->add_flag("--deep", deep_,
                   "also follow every reference to WAL and rebuild every page that can be read");
    fsck->add_option("--redo-library", redo_library_,
                     "library that redo processes preload; a path when it is not installed")
        ->capture_default_str();
    fsck->add_option("--redo-processes", redo_processes_, "PostgreSQL processes for redo")
        ->check(CLI::Range(1, 64))
        ->capture_default_str();

    CLI::App* layer = app.add_subcommand("layer", "look at layer files: list, dump");
    layer->require_subcommand(1);
    CLI::App* list = layer->add_subcommand("list", "the layer files of a timeline, or of all");
    add_common(list, Command::kLayerList);
    list->add_option("TIMELINE", timeline_, "a branch, a tag or a timeline id; default: all");
    CLI::App* dump = layer->add_subcommand("dump", "the contents of a layer or image file");
    add_common(dump, Command::kLayerDump);
    dump->add_option("FILE", dump_.file, "its path, or its name in one of the timelines")
        ->required();
    dump->add_option("--relation", dump_relation_,
                     "only this relation: tablespace/database/relfilenode, with _main, _fsm, _vm "
                     "or _init for one fork");
    dump->add_option("--block", dump_block_, "only this block")->check(CLI::Range(0u, UINT32_MAX));
    dump->add_option("--timeline", dump_timeline_, "whose file it is, where its path does not say");
}

Result<int> InspectCommands::RunFsck() {
    const Repository repository(*repository_);
    std::unique_ptr<ScratchDirectory> scratch;
    std::unique_ptr<RedoProcessPool> pool;
    FsckOptions options;
    options.progress = TellNowAndThen();
    if (deep_) {
        auto config = repository.ReadConfig();
        if (config.ok()) {
            ZENITH_ASSIGN_OR_RETURN(scratch, ScratchDirectory::Make());
            RedoPoolOptions redo;
            redo.process.pg_bin_dir = config->pg_bindir;
            redo.process.work_dir = scratch->path() + "/redo";
            redo.process.preload = redo_library_;
            redo.processes = redo_processes_;
            pool = std::make_unique<RedoProcessPool>(redo);
            options.deep = pool.get();
        }
    }
    ZENITH_ASSIGN_OR_RETURN(FsckReport report, CheckRepository(repository, options));
    if (deep_ && options.deep == nullptr) {
        Finding finding;
        finding.file = repository.ConfigPath();
        finding.what = "--deep was left out: which PostgreSQL applies records is not known; no "
                       "reference was followed and no page rebuilt";
        finding.hint = "Repair config.json, then run fsck --deep again.";
        report.findings.Add(std::move(finding));
    }
    PrintReport(report, options.deep != nullptr, json_);
    return report.findings.errors() == 0 ? 0 : 1;
}

Result<int> InspectCommands::Run() {
    // Findings say it better.
    spdlog::set_level(spdlog::level::off);
    const Repository repository(*repository_);
    switch (given_) {
        case Command::kFsck:
            return RunFsck();
        case Command::kLayerList:
            ZENITH_RETURN_IF_ERROR(repository.ReadConfig().status());
            ZENITH_RETURN_IF_ERROR(ListLayers(repository, timeline_, json_, PrintToStdout));
            return 0;
        case Command::kLayerDump:
            dump_.json = json_;
            if (!dump_relation_.empty()) {
                ZENITH_RETURN_IF_ERROR(ParseRelation(dump_relation_, &dump_));
            }
            if (dump_block_ >= 0) {
                dump_.block = static_cast<BlockNumber>(dump_block_);
            }
            if (!dump_timeline_.empty()) {
                dump_.timeline = TimelineId::Parse(dump_timeline_);
                if (!dump_.timeline) {
                    return Status::InvalidArgument(
                        "\"" + dump_timeline_ + "\" is not a timeline id",
                        "Give 32 hexadecimal digits.");
                }
            }
            ZENITH_RETURN_IF_ERROR(DumpLayer(repository, dump_, PrintToStdout));
            return 0;
        case Command::kNone:
            break;
    }
    return Status::Internal("no command was given");
}

}  // namespace zenith

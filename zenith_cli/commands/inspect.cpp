// zenith fsck, zenith layer list, zenith layer dump: what the page server program does without
// serving. It takes the place of the CLI's process, so that output, exit code and Ctrl-C are its own.
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <cerrno>
#include <filesystem>
#include <memory>
#include <string>
#include <vector>

#include "common/base/posix_file.h"
#include "zenith_cli/commands/command.h"
#include "zenith_cli/find_repository.h"
#include "zenith_cli/interrupt.h"
#include "zenith_cli/privileges.h"
#include "zenith_cli/program_paths.h"

namespace zenith {

namespace {

// Runs "pageserver <words> --repo-dir <repository>"; returns only when that failed. The configuration
// is not read here: that it is damaged is for fsck to say.
Status BecomePageServerProgram(const GlobalOptions& globals, std::vector<std::string> words) {
    ZENITH_ASSIGN_OR_RETURN(std::string repository, FindRepository(globals.repo_dir));
    ZENITH_ASSIGN_OR_RETURN(std::string program, FindPageServerProgram());
    ZENITH_RETURN_IF_ERROR(BecomeOwnerOf(repository));
    words.insert(words.begin(), program);
    words.push_back("--repo-dir");
    words.push_back(repository);
    std::vector<char*> argv;
    for (std::string& word : words) {
        argv.push_back(word.data());
    }
    argv.push_back(nullptr);
    RestoreSignals();
    execv(program.c_str(), argv.data());
    return ErrnoStatus("execute", program, errno);
}

struct InspectOptions {
    bool json = false;
    bool deep = false;
    std::string redo_library;
    std::string timeline;
    std::string file;
    std::string relation;
    std::string block;
    std::string file_timeline;
};

void AddValue(std::vector<std::string>* words, const char* option, const std::string& value) {
    if (!value.empty()) {
        words->push_back(option);
        words->push_back(value);
    }
}

void AddFlag(std::vector<std::string>* words, const char* option, bool given) {
    if (given) {
        words->push_back(option);
    }
}

Result<int> RunFsck(const InspectOptions& options, const GlobalOptions& globals) {
    std::vector<std::string> words = {"fsck"};
    AddFlag(&words, "--deep", options.deep);
    AddFlag(&words, "--json", options.json);
    AddValue(&words, "--redo-library", options.redo_library);
    return BecomePageServerProgram(globals, std::move(words));
}

Result<int> RunLayerList(const InspectOptions& options, const GlobalOptions& globals) {
    std::vector<std::string> words = {"layer", "list"};
    AddFlag(&words, "--json", options.json);
    if (!options.timeline.empty()) {
        words.push_back(options.timeline);
    }
    return BecomePageServerProgram(globals, std::move(words));
}

Result<int> RunLayerDump(const InspectOptions& options, const GlobalOptions& globals) {
    std::vector<std::string> words = {"layer", "dump"};
    AddFlag(&words, "--json", options.json);
    AddValue(&words, "--relation", options.relation);
    AddValue(&words, "--block", options.block);
    AddValue(&words, "--timeline", options.file_timeline);
    // The working directory may change with the user.
    std::error_code error;
    const std::string path = std::filesystem::absolute(options.file, error).string();
    words.push_back(!error && FileExists(path) ? path : options.file);
    return BecomePageServerProgram(globals, std::move(words));
}

}  // namespace

void AddInspectCommands(CLI::App& app, CommandRun& chosen) {
    auto options = std::make_shared<InspectOptions>();
    using Run = Result<int> (*)(const InspectOptions&, const GlobalOptions&);
    auto add_common = [options, &chosen](CLI::App* command, Run run) {
        command->add_flag("--json", options->json, "as JSON");
        command->callback([options, &chosen, run] {
            chosen.run = [options, run](const GlobalOptions& globals) {
                return run(*options, globals);
            };
        });
    };
    CLI::App* fsck = app.add_subcommand(
        "fsck", "verify every byte of the repository; the page server may run or not");
    add_common(fsck, &RunFsck);
    fsck->add_flag("--deep", options->deep,
                   "also follow every reference to WAL and rebuild every page that can be read");
    fsck->add_option("--redo-library", options->redo_library,
                     "the extension's library, where it is not installed");
    fsck->footer("Exit code 0: no errors. Each finding is one line; a hint follows where there is "
                 "something to do.");

    CLI::App* layer = app.add_subcommand("layer", "look at layer files: list, dump");
    layer->require_subcommand(1);
    CLI::App* list = layer->add_subcommand("list", "the layer files of a branch, or of all");
    add_common(list, &RunLayerList);
    list->add_option("TIMELINE", options->timeline,
                     "a branch, a tag or a timeline id; default: all timelines");
    CLI::App* dump = layer->add_subcommand("dump", "the contents of a layer or image file");
    add_common(dump, &RunLayerDump);
    dump->add_option("FILE", options->file, "its path, or its name as \"layer list\" has it")
        ->required();
    dump->add_option("--relation", options->relation,
                     "only tablespace/database/relfilenode, such as 1663/5/16384; with _main, "
                     "_fsm, _vm or _init for one fork");
    dump->add_option("--block", options->block, "only this block")->check(CLI::Range(0u, UINT32_MAX));
    dump->add_option("--timeline", options->file_timeline,
                     "whose file it is, where its path does not say");
}

}  // namespace zenith

// The subcommands of the page server program that look at a repository without serving it: fsck,
// layer list, layer dump. Their exit codes: 0 all is well, 1 it is not.
#pragma once

#include <string>

#include "common/base/result.h"
#include "pageserver/inspect/layer_list.h"

namespace CLI {
class App;
}

namespace zenith {

class InspectCommands {
  public:
    // Adds the subcommands; `repository` takes --repo-dir. Both outlive this object.
    InspectCommands(CLI::App& app, std::string* repository);

    // After parsing: one of them is the command given.
    bool given() const { return given_ != Command::kNone; }
    // Runs it; the exit code, or why it could not be run.
    Result<int> Run();

  private:
    enum class Command { kNone, kFsck, kLayerList, kLayerDump };

    Result<int> RunFsck();

    std::string* const repository_;
    Command given_ = Command::kNone;
    bool json_ = false;
    bool deep_ = false;
    std::string redo_library_ = "zenith";
    int redo_processes_ = 2;
    std::string timeline_;  // of layer list: a branch, a tag or an id
    DumpOptions dump_;
    std::string dump_relation_;
    int64_t dump_block_ = -1;
    std::string dump_timeline_;
};

}  // namespace zenith

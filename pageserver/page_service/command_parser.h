// command_parser: the text of one command of the page service, taken apart.
//
//   command  := word { token } [ ";" ]          words and tokens separated by white space
//   token    := bare word | 'quoted text', a quote inside doubled
//
// Command words are not case-sensitive. Every error is kInvalidArgument with a hint that says how
// the command is written, or which commands there are. Functions keep no state.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <utility>

#include "common/base/ids.h"
#include "common/base/lsn.h"
#include "common/base/result.h"

namespace zenith {

enum class CommandKind {
    kStatus,
    kPagestream,
    kBaseBackup,
    kCallMeMaybe,
    kBranchList,
    kBranchCreate,
    kBranchDelete,
    kTagList,
    kTagCreate,
    kTagDelete,
    kTimelineList,
    kTimelineInfo,
    kGarbage,
    kRetention,
    // SET, BEGIN, COMMIT, ROLLBACK: drivers send them unasked; accepted without effect, since every
    // command stands for itself.
    kIgnored,
};

struct Command {
    CommandKind kind;
    TimelineId timeline;     // pagestream, basebackup, callmemaybe, timeline_info, gc
    std::optional<Lsn> lsn;  // basebackup
    uint64_t term = 0;       // callmemaybe
    std::string connstr;     // callmemaybe
    std::string name;        // branch_* and tag_*
    std::string point;       // branch_create, tag_create: for Repository::ResolvePoint
    bool dry_run = false;    // gc
    // retention: what is to be set; nullopt shows it. Seconds and bytes.
    std::optional<std::pair<uint64_t, uint64_t>> retention;
    std::string tag;         // kIgnored: what CommandComplete says
};

// nullopt: nothing but white space and semicolons.
Result<std::optional<Command>> ParseCommand(std::string_view text);

// `text` of a client in double quotes, cut and with unprintable bytes replaced: for messages.
std::string QuoteForMessage(std::string_view text);

}  // namespace zenith

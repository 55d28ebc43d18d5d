#include "pageserver/page_service/command_parser.h"

#include <algorithm>
#include <array>
#include <charconv>

namespace zenith {

namespace {

struct CommandSpec {
    const char* word;
    CommandKind kind;
    const char* usage;
};

// The one list of commands; the hint for an unknown command is made from it.
constexpr std::array kCommands = {
    CommandSpec{"status", CommandKind::kStatus, "status"},
    CommandSpec{"branch_list", CommandKind::kBranchList, "branch_list"},
    CommandSpec{"branch_create", CommandKind::kBranchCreate, "branch_create <name> <point>"},
    CommandSpec{"branch_delete", CommandKind::kBranchDelete, "branch_delete <name>"},
    CommandSpec{"tag_list", CommandKind::kTagList, "tag_list"},
    CommandSpec{"tag_create", CommandKind::kTagCreate, "tag_create <name> <point>"},
    CommandSpec{"tag_delete", CommandKind::kTagDelete, "tag_delete <name>"},
    CommandSpec{"timeline_list", CommandKind::kTimelineList, "timeline_list"},
    CommandSpec{"timeline_info", CommandKind::kTimelineInfo, "timeline_info <timeline>"},
    CommandSpec{"gc", CommandKind::kGarbage, "gc [dry-run] <timeline>"},
    CommandSpec{"retention", CommandKind::kRetention,
                "retention [<pitr interval in seconds> <retain bytes>]"},
    CommandSpec{"basebackup", CommandKind::kBaseBackup, "basebackup <timeline> [<lsn>]"},
    CommandSpec{"pagestream", CommandKind::kPagestream, "pagestream <timeline>"},
    CommandSpec{"callmemaybe", CommandKind::kCallMeMaybe,
                "callmemaybe <timeline> <term> <connection string>"},
};

constexpr std::array kIgnoredWords = {"set", "begin", "commit", "rollback"};

constexpr size_t kMaxQuotedLength = 64;

bool IsSpace(char c) {
    return c == ' ' || c == '\t' || c == '\n' || c == '\r';
}

std::string_view TrimSpace(std::string_view text) {
    while (!text.empty() && IsSpace(text.front())) {
        text.remove_prefix(1);
    }
    while (!text.empty() && IsSpace(text.back())) {
        text.remove_suffix(1);
    }
    return text;
}

std::string ListOfCommands() {
    std::string list = "Commands are:";
    for (const CommandSpec& spec : kCommands) {
        list += list.ends_with(':') ? " " : ", ";
        list += spec.usage;
    }
    return list + ".";
}

// Takes tokens off the front of a command.
class Tokens {
  public:
    Tokens(std::string_view text, const char* usage) : rest_(text), usage_(usage) {}

    Status Wrong(const std::string& message) const {
        return Status::InvalidArgument(message, "Write it like this: " + std::string(usage_) + ".");
    }
    bool AtEnd() {
        rest_ = TrimSpace(rest_);
        return rest_.empty();
    }
    Status ExpectEnd() {
        return AtEnd() ? Status::Ok() : Wrong("unexpected " + QuoteForMessage(rest_));
    }
    Result<std::string> Next(const char* what) {
        if (AtEnd()) {
            return Wrong("missing " + std::string(what));
        }
        if (rest_.front() == '\'') {
            return Quoted();
        }
        size_t end = 0;
        while (end < rest_.size() && !IsSpace(rest_[end])) {
            if (rest_[end] == '\'') {
                return Wrong("a quote inside the word " + QuoteForMessage(rest_));
            }
            end++;
        }
        std::string token(rest_.substr(0, end));
        rest_.remove_prefix(end);
        return token;
    }
    // Everything that is left: one quoted text, or the bare text as it stands.
    Result<std::string> Rest(const char* what) {
        if (AtEnd()) {
            return Wrong("missing " + std::string(what));
        }
        if (rest_.front() != '\'') {
            std::string all(rest_);
            rest_ = {};
            return all;
        }
        ZENITH_ASSIGN_OR_RETURN(std::string text, Quoted());
        ZENITH_RETURN_IF_ERROR(ExpectEnd());
        return text;
    }
    // Takes the next token when it is `word`.
    bool TakeWord(std::string_view word) {
        if (AtEnd() || !rest_.starts_with(word) ||
            (rest_.size() > word.size() && !IsSpace(rest_[word.size()]))) {
            return false;
        }
        rest_.remove_prefix(word.size());
        return true;
    }
    Result<uint64_t> NextNumber(const std::string& what) {
        ZENITH_ASSIGN_OR_RETURN(std::string token, Next(what.c_str()));
        uint64_t number = 0;
        auto [end, error] = std::from_chars(token.data(), token.data() + token.size(), number);
        if (error != std::errc() || end != token.data() + token.size()) {
            return Wrong(QuoteForMessage(token) + " is not " +
                         (what.front() == 'i' ? "an " : "a ") + what);
        }
        return number;
    }
    Result<TimelineId> NextTimeline() {
        ZENITH_ASSIGN_OR_RETURN(std::string token, Next("timeline id"));
        std::optional<TimelineId> id = TimelineId::Parse(token);
        if (!id || !id->valid()) {
            return Status::InvalidArgument(
                QuoteForMessage(token) + " is not a timeline id",
                "A timeline id has 32 hexadecimal digits; timeline_list shows them.");
        }
        return *id;
    }

  private:
    // Requires: the rest begins with a quote.
    Result<std::string> Quoted() {
        std::string token;
        for (size_t i = 1; i < rest_.size(); i++) {
            if (rest_[i] != '\'') {
                token.push_back(rest_[i]);
            } else if (i + 1 < rest_.size() && rest_[i + 1] == '\'') {
                token.push_back('\'');
                i++;
            } else {
                rest_.remove_prefix(i + 1);
                if (!rest_.empty() && !IsSpace(rest_.front())) {
                    return Wrong("no space after the quoted text " + QuoteForMessage(token));
                }
                return token;
            }
        }
        return Wrong("unterminated quoted text " + QuoteForMessage(rest_));
    }

    std::string_view rest_;
    const char* usage_;
};

Result<std::optional<Command>> ParseArguments(const CommandSpec& spec, std::string_view text) {
    Tokens tokens(text, spec.usage);
    Command command;
    command.kind = spec.kind;
    switch (spec.kind) {
        case CommandKind::kStatus:
        case CommandKind::kBranchList:
        case CommandKind::kTagList:
        case CommandKind::kTimelineList:
        case CommandKind::kIgnored:
            break;
        case CommandKind::kGarbage: {
            command.dry_run = tokens.TakeWord("dry-run");
            ZENITH_ASSIGN_OR_RETURN(command.timeline, tokens.NextTimeline());
            break;
        }
        case CommandKind::kRetention: {
            if (!tokens.AtEnd()) {
                ZENITH_ASSIGN_OR_RETURN(uint64_t seconds, tokens.NextNumber("interval"));
                ZENITH_ASSIGN_OR_RETURN(uint64_t bytes, tokens.NextNumber("number of bytes"));
                command.retention = {seconds, bytes};
            }
            break;
        }
        case CommandKind::kPagestream:
        case CommandKind::kTimelineInfo: {
            ZENITH_ASSIGN_OR_RETURN(command.timeline, tokens.NextTimeline());
            break;
        }
        case CommandKind::kBaseBackup: {
            ZENITH_ASSIGN_OR_RETURN(command.timeline, tokens.NextTimeline());
            if (!tokens.AtEnd()) {
                ZENITH_ASSIGN_OR_RETURN(std::string token, tokens.Next("LSN"));
                command.lsn = Lsn::Parse(token);
                if (!command.lsn || !command.lsn->valid()) {
                    return Status::InvalidArgument(
                        QuoteForMessage(token) + " is not an LSN",
                        "An LSN is written as PostgreSQL prints it, like 0/15FFB08.");
                }
            }
            break;
        }
        case CommandKind::kCallMeMaybe: {
            ZENITH_ASSIGN_OR_RETURN(command.timeline, tokens.NextTimeline());
            ZENITH_ASSIGN_OR_RETURN(command.term, tokens.NextNumber("term"));
            ZENITH_ASSIGN_OR_RETURN(command.connstr, tokens.Rest("connection string"));
            break;
        }
        case CommandKind::kBranchCreate:
        case CommandKind::kTagCreate: {
            ZENITH_ASSIGN_OR_RETURN(command.name, tokens.Next("name"));
            ZENITH_ASSIGN_OR_RETURN(command.point, tokens.Next("point in time"));
            break;
        }
        case CommandKind::kBranchDelete:
        case CommandKind::kTagDelete: {
            ZENITH_ASSIGN_OR_RETURN(command.name, tokens.Next("name"));
            break;
        }
    }
    ZENITH_RETURN_IF_ERROR(tokens.ExpectEnd());
    return std::optional<Command>(std::move(command));
}

}  // namespace

std::string QuoteForMessage(std::string_view text) {
    std::string quoted = "\"";
    for (char c : text.substr(0, kMaxQuotedLength)) {
        quoted.push_back(c >= ' ' && c <= '~' ? c : '?');
    }
    return quoted + (text.size() > kMaxQuotedLength ? "...\"" : "\"");
}

Result<std::optional<Command>> ParseCommand(std::string_view text) {
    text = TrimSpace(text);
    while (!text.empty() && text.back() == ';') {
        text.remove_suffix(1);
        text = TrimSpace(text);
    }
    if (text.empty()) {
        return std::optional<Command>();
    }
    size_t end =
        static_cast<size_t>(std::find_if(text.begin(), text.end(), IsSpace) - text.begin());
    std::string word(text.substr(0, end));
    std::transform(word.begin(), word.end(), word.begin(),
                   [](char c) { return c >= 'A' && c <= 'Z' ? static_cast<char>(c + 32) : c; });
    for (const CommandSpec& spec : kCommands) {
        if (word == spec.word) {
            return ParseArguments(spec, text.substr(end));
        }
    }
    if (std::find(kIgnoredWords.begin(), kIgnoredWords.end(), word) != kIgnoredWords.end()) {
        Command command;
        command.kind = CommandKind::kIgnored;
        command.tag = word;
        std::transform(word.begin(), word.end(), command.tag.begin(),
                       [](char c) { return static_cast<char>(c - 32); });
        return std::optional<Command>(std::move(command));
    }
    return Status::InvalidArgument("unknown command " + QuoteForMessage(text.substr(0, end)),
                                   ListOfCommands());
}

}  // namespace zenith

// Findings: what an inspection of a repository found, in the order it was found.
//
// Threads  one thread.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "common/base/ids.h"
#include "common/base/lsn.h"
#include "common/base/status.h"

namespace zenith {

struct Finding {
    enum class Severity {
        kWarning,  // worth a look; nothing is lost
        kError,    // damage
    };
    Severity severity = Severity::kError;
    std::string file;                // its path; empty: the repository as a whole
    std::optional<uint64_t> offset;  // in `file`
    std::string what;
    std::optional<TimelineId> timeline;
    Lsn lsn;  // invalid: none in particular
    std::string hint;

    // file "...", offset N: what (timeline, LSN)
    std::string Message() const;
    // The members above as a JSON object, in one line.
    std::string Json() const;
};

class Findings {
  public:
    void Add(Finding finding) { all_.push_back(std::move(finding)); }
    // Damage in `file`, as the code that reads it words it.
    void Error(const std::string& file, const Status& status,
               std::optional<TimelineId> timeline = std::nullopt);
    void Warning(const std::string& file, const std::string& what,
                 std::optional<TimelineId> timeline = std::nullopt);

    const std::vector<Finding>& all() const { return all_; }
    size_t errors() const;
    size_t warnings() const { return all_.size() - errors(); }
    void Append(Findings&& other);

  private:
    std::vector<Finding> all_;
};

// `text` as a JSON string with its quotes; bytes that are not ASCII as \u00XX.
std::string QuoteJson(std::string_view text);

// Where a long inspection has got to, for people who wait. May be empty.
using Progress = std::function<void(const std::string&)>;

}  // namespace zenith

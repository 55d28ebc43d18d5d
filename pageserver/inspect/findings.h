// Findings: what an inspection of a repository found, in the order it was found.
//
// Threads  one thread.
// Memory   bounded: of each severity the first kMostListed are kept, the rest is counted.
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
    // One disk that is gone is a finding for each page. Warnings do not use up the room of errors.
    static constexpr size_t kMostListed = 1000;

    void Add(Finding finding);
    // Damage in `file`, as the code that reads it words it.
    void Error(const std::string& file, const Status& status,
               std::optional<TimelineId> timeline = std::nullopt);
    void Warning(const std::string& file, const std::string& what,
                 std::optional<TimelineId> timeline = std::nullopt);

    const std::vector<Finding>& listed() const { return listed_; }
    // Listed or not.
    size_t errors() const { return errors_; }
    size_t warnings() const { return warnings_; }
    size_t not_listed() const { return errors_ + warnings_ - listed_.size(); }
    void Append(Findings&& other);

  private:
    std::vector<Finding> listed_;
    size_t errors_ = 0;
    size_t warnings_ = 0;
};

// `text` as a JSON string with its quotes; bytes that are not ASCII as \u00XX.
std::string QuoteJson(std::string_view text);

// Where a long inspection has got to, for people who wait. May be empty.
using Progress = std::function<void(const std::string&)>;

}  // namespace zenith

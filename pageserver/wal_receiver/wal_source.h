// WalSource: where a receiver gets WAL from: a compute's walsender, or a script in tests.
//
// Threads  one at a time.
#pragma once

#include <cstddef>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>

#include "common/base/ids.h"
#include "common/base/lsn.h"
#include "common/base/result.h"

namespace zenith {

// Which compute a receiver serves.
struct WalSourceTarget {
    TimelineId timeline;
    uint64_t term = 0;
    uint64_t system_identifier = 0;
    std::string connstr;
};

struct WalMessage {
    enum class Kind { kData, kKeepalive };
    Kind kind = Kind::kKeepalive;
    Lsn lsn;           // kData: position of the first byte
    std::string data;  // kData
    bool reply_requested = false;
};

class WalSource {
  public:
    virtual ~WalSource() = default;
    // Where the compute began: it has no WAL of its own before.
    virtual Lsn first_lsn() const = 0;
    // Starts streaming at `from`.
    virtual Status Start(Lsn from) = 0;
    // The next message; nullopt when none came within `timeout_ms` or the wake descriptor became
    // readable. An error ends the stream.
    virtual Result<std::optional<WalMessage>> Next(int timeout_ms) = 0;
    // Standby status update. `ask` wants an answer from the peer.
    virtual Status SendStatus(Lsn written, Lsn flushed, Lsn applied, bool ask) = 0;
};

// Connects and verifies that the peer is the compute in `target`. `wake_fd` becoming readable ends
// every wait.
using WalSourceConnector =
    std::function<Result<std::unique_ptr<WalSource>>(const WalSourceTarget& target, int wake_fd)>;

}  // namespace zenith

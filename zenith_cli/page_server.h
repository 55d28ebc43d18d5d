// The page server as the CLI sees it: its process, and its commands over the page service.
//
// Thread rule: the CLI has one thread.
#pragma once

#include <optional>
#include <string>

#include "common/base/result.h"
#include "common/pqclient/pq_connection.h"
#include "common/repo/repository.h"
#include "zenith_cli/local_process.h"

namespace zenith {

enum class StopMode { kFast, kImmediate };

class PageServer {
  public:
    // `repository` outlives this object.
    explicit PageServer(const Repository& repository) : repository_(repository) {}

    // The running process that the pid file names; nullopt when there is none.
    std::optional<ProcessHandle> FindProcess() const;
    // The TCP port it listens on; nullopt when it does not run or has none.
    std::optional<int> TcpPort() const;

    // Starts it and waits until it answers. False: it ran already. An error carries the end of its
    // log.
    Result<bool> Start() const;
    // Ends it and waits until it has. False: it did not run. Immediate: SIGKILL.
    Result<bool> Stop(StopMode mode) const;

    // Connects over the Unix socket; kUnavailable with a hint when it does not run.
    Result<PqConnection> Connect() const;
    // One command on a connection of its own.
    Result<PqRows> Query(const std::string& command) const;
    // The same for commands that may take long; only an interrupt or the server's end ends them.
    Result<PqRows> QueryWithoutHurry(const std::string& command) const;

  private:
    const Repository& repository_;
};

// The named column of a row: kInternal when the page server did not send it; null is "".
Result<std::string> RowField(const PqRows& rows, size_t row, const char* column);

// `point` as an argument of a page service command. A time in it, which is in our time zone and
// counts from now when it is an interval, becomes one in UTC. kInvalidArgument when it could be taken
// for several words (blanks, quotes).
Result<std::string> PointAsWord(const std::string& point);

}  // namespace zenith

#include "regress/check_pages/standby_control.h"

#include <fcntl.h>
#include <poll.h>
#include <unistd.h>

#include <cerrno>
#include <cinttypes>
#include <cstdio>

#include "common/base/posix_file.h"

namespace zenith {

namespace {
constexpr int kStartSeconds = 60;
}

Result<StandbyControl> StandbyControl::Open(const std::string& directory, const std::string& data) {
    // Read-write, so that neither end is missing before the standby has opened its own.
    ZENITH_ASSIGN_OR_RETURN(UniqueFd commands, OpenFile(directory + "/commands", O_RDWR));
    ZENITH_ASSIGN_OR_RETURN(UniqueFd reports, OpenFile(directory + "/reports", O_RDWR));
    return StandbyControl(directory, data, std::move(commands), std::move(reports));
}

Result<std::string> StandbyControl::Ask(const std::string& command) {
    const std::string line = command + "\n";
    if (write(commands_.get(), line.data(), line.size()) != static_cast<ssize_t>(line.size())) {
        return ErrnoStatus("write to pipe", directory_ + "/commands", errno);
    }
    std::string report;
    int seconds = 0;
    for (;;) {
        pollfd wait{reports_.get(), POLLIN, 0};
        const int ready = poll(&wait, 1, 1000);
        if (ready < 0 && errno != EINTR) {
            return ErrnoStatus("poll pipe", directory_ + "/reports", errno);
        }
        if (ready <= 0) {
            // The pipe does not tell when the standby ends; its pid file does.
            auto pid = ReadWholeFile(data_ + "/postmaster.pid");
            const bool lives =
                pid.ok() && FileExists("/proc/" + pid->substr(0, pid->find('\n')) + "/stat");
            if (!lives && ++seconds > kStartSeconds) {
                return Status::Unavailable("the standby is not running",
                                           "Look into its log, log/standby.log.");
            }
            continue;
        }
        char c;
        if (read(reports_.get(), &c, 1) != 1) {
            return ErrnoStatus("read pipe", directory_ + "/reports", errno);
        }
        if (c == '\n') {
            return report;
        }
        report += c;
    }
}

Result<StandbyPosition> StandbyControl::GoTo(Lsn lsn) {
    ZENITH_ASSIGN_OR_RETURN(std::string report, Ask("to " + std::to_string(lsn.value)));
    StandbyPosition position;
    if (std::sscanf(report.c_str(), "stopped %" SCNu64 " %" SCNu64 " %u %u %u %u %u %u %u %u %u",
                    &position.lsn.value, &position.next_xid, &position.next_oid,
                    &position.next_multi, &position.next_multi_offset, &position.oldest_multi,
                    &position.oldest_multi_db, &position.oldest_xid, &position.oldest_xid_db,
                    &position.oldest_commit_ts_xid, &position.newest_commit_ts_xid) != 11) {
        return Status::Internal("unexpected report of the standby: \"" + report + "\"");
    }
    return position;
}

Result<bool> StandbyControl::Mask(int rmid, uint32_t block, PageBuffer* one, PageBuffer* other) {
    const std::string path = directory_ + "/pages";
    ZENITH_ASSIGN_OR_RETURN(UniqueFd fd, OpenFile(path, O_RDWR | O_CREAT));
    ZENITH_RETURN_IF_ERROR(WriteAllAt(fd.get(), path, 0, *one));
    ZENITH_RETURN_IF_ERROR(WriteAllAt(fd.get(), path, kPageSize, *other));
    ZENITH_ASSIGN_OR_RETURN(std::string report,
                            Ask("mask " + std::to_string(rmid) + " " + std::to_string(block)));
    ZENITH_RETURN_IF_ERROR(ReadExactAt(fd.get(), path, 0, *one));
    ZENITH_RETURN_IF_ERROR(ReadExactAt(fd.get(), path, kPageSize, *other));
    return report == "masked";
}

}  // namespace zenith

// StandbyControl: the driver's end of the pipes of stepping_standby.c.
#pragma once

#include <cstdint>
#include <string>

#include "common/base/lsn.h"
#include "common/base/result.h"
#include "common/base/unique_fd.h"
#include "common/pgformat/page_format.h"

namespace zenith {

// Where the standby stands: all of the WAL before `lsn` is replayed and on its disk.
struct StandbyPosition {
    Lsn lsn;
    uint64_t next_xid = 0;
    uint32_t next_oid = 0;
    uint32_t next_multi = 0;
    uint32_t next_multi_offset = 0;
    uint32_t oldest_multi = 0;
    uint32_t oldest_multi_db = 0;
    uint32_t oldest_xid = 0;
    uint32_t oldest_xid_db = 0;
    uint32_t oldest_commit_ts_xid = 0;
    uint32_t newest_commit_ts_xid = 0;
};

class StandbyControl {
  public:
    // `directory` holds the pipes, `data` is the standby's data directory (to see that it lives).
    // Open before the standby starts, or it waits.
    static Result<StandbyControl> Open(const std::string& directory, const std::string& data);

    // Goes on to the first record that begins at `lsn` or later, and stops before it.
    Result<StandbyPosition> GoTo(Lsn lsn);

    // Applies PostgreSQL's rm_mask of resource manager `rmid` to both pages. False when one of
    // them is not a page of that kind; they may be half masked then.
    Result<bool> Mask(int rmid, uint32_t block, PageBuffer* one, PageBuffer* other);

  private:
    StandbyControl(std::string directory, std::string data, UniqueFd commands, UniqueFd reports)
        : directory_(std::move(directory)),
          data_(std::move(data)),
          commands_(std::move(commands)),
          reports_(std::move(reports)) {}
    Result<std::string> Ask(const std::string& command);

    std::string directory_;
    std::string data_;
    UniqueFd commands_;
    UniqueFd reports_;
};

}  // namespace zenith

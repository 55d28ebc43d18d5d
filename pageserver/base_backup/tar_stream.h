// TarStream: writes a GNU tar archive, member by member.
//
// Format  POSIX header blocks with GNU magic; sparse files in the old GNU sparse format (type 'S'),
//         which every GNU tar, libarchive and BusyBox extracts with holes.
// Source  "Basic Tar Format" and "Storing Sparse Files" of the GNU tar manual.
// Threads one at a time.
#pragma once

#include <cstddef>
#include <cstdint>
#include <ctime>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "common/base/status.h"
#include "pageserver/base_backup/base_backup_writer.h"

namespace zenith {

class TarStream {
  public:
    // Members belong to the user and group of this process and were modified now.
    explicit TarStream(BaseBackupSink& sink);

    Status Directory(const std::string& path);
    // `mode`: permission bits.
    Status File(const std::string& path, std::string_view content, unsigned mode = 0600);
    // A file of `size` bytes that reads as zeroes and takes no room.
    Status Hole(const std::string& path, uint64_t size) {
        return size == 0 ? File(path, {}) : SparseFile(path, size, {});
    }
    // A file of `size` bytes with data at some places. At most three regions, ascending, each a
    // multiple of 512 bytes in offset and length.
    struct Region {
        uint64_t offset = 0;
        std::string_view data;
    };
    Status SparseFile(const std::string& path, uint64_t size, const std::vector<Region>& regions);
    // Ends the archive; nothing may follow.
    Status Finish();

  private:
    Status Header(const std::string& path, char type, unsigned mode, uint64_t stored_size,
                  std::string_view sparse_part);
    Status Put(std::string_view bytes);
    Status PutPadded(std::string_view bytes);
    Status Flush();

    BaseBackupSink& sink_;
    const std::time_t now_;
    std::string buffer_;  // not yet handed to the sink
};

}  // namespace zenith

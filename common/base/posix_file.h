// Files the way a database needs them: whole reads and writes, errors with the file's name and
// offset, atomic replacement. Functions are thread-safe; they keep no state.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "common/base/result.h"
#include "common/base/unique_fd.h"

namespace zenith {

// open(2) with O_CLOEXEC; `flags` and `mode` as there.
Result<UniqueFd> OpenFile(const std::string& path, int flags, unsigned mode = 0600);

// Reads exactly buffer.size() bytes at `offset`; a short file is kCorruption naming file and offset.
Status ReadExactAt(int fd, const std::string& path, uint64_t offset, std::span<std::byte> buffer);
// Reads up to buffer.size() bytes; returns the number read (less only at end of file).
Result<size_t> ReadUpToAt(int fd, const std::string& path, uint64_t offset,
                          std::span<std::byte> buffer);
Status WriteAllAt(int fd, const std::string& path, uint64_t offset, std::span<const std::byte> data);
Status FsyncFile(int fd, const std::string& path);
Status FdatasyncFile(int fd, const std::string& path);
Status FsyncDirectory(const std::string& path);

Result<std::string> ReadWholeFile(const std::string& path);
// Writes path.tmp, fsyncs, renames over `path`, fsyncs the directory. After an OK return the new
// content survives a crash; after an error the old content, if any, is untouched.
Status ReplaceFileAtomically(const std::string& path, std::string_view content,
                             unsigned mode = 0600);
// mkdir(2); an existing directory is fine. Parents are not made.
Status EnsureDirectory(const std::string& path, unsigned mode = 0700);
bool FileExists(const std::string& path);
// Names in a directory without "." and "..", unsorted.
Result<std::vector<std::string>> ListDirectory(const std::string& path);
Status RemoveFile(const std::string& path);
// Removes a directory and all below it; not following symbolic links. Missing is OK, and so is another
// process that removes it at the same time.
Status RemoveTree(const std::string& path);

}  // namespace zenith

#include "common/base/posix_file.h"

#include <dirent.h>
#include <fcntl.h>
#include <sys/stat.h>

#include <cerrno>
#include <filesystem>

namespace zenith {

namespace {
std::string DirectoryOf(const std::string& path) {
    size_t slash = path.rfind('/');
    if (slash == std::string::npos) {
        return ".";
    }
    return slash == 0 ? "/" : path.substr(0, slash);
}

std::string AtOffset(const std::string& what, uint64_t offset) {
    return what + " at offset " + std::to_string(offset) + " of file";
}
}  // namespace

Result<UniqueFd> OpenFile(const std::string& path, int flags, unsigned mode) {
    int fd;
    do {
        fd = open(path.c_str(), flags | O_CLOEXEC, mode);
    } while (fd < 0 && errno == EINTR);
    if (fd < 0) {
        return ErrnoStatus((flags & O_CREAT) ? "create file" : "open file", path, errno);
    }
    return UniqueFd(fd);
}

Result<size_t> ReadUpToAt(int fd, const std::string& path, uint64_t offset,
                          std::span<std::byte> buffer) {
    size_t done = 0;
    while (done < buffer.size()) {
        ssize_t n = pread(fd, buffer.data() + done, buffer.size() - done,
                          static_cast<off_t>(offset + done));
        if (n < 0) {
            if (errno == EINTR) {
                continue;
            }
            return ErrnoStatus(AtOffset("read", offset + done), path, errno);
        }
        if (n == 0) {
            break;
        }
        done += static_cast<size_t>(n);
    }
    return done;
}

Status ReadExactAt(int fd, const std::string& path, uint64_t offset, std::span<std::byte> buffer) {
    ZENITH_ASSIGN_OR_RETURN(size_t n, ReadUpToAt(fd, path, offset, buffer));
    if (n != buffer.size()) {
        return Status::Corruption("file \"" + path + "\" ends early: read " + std::to_string(n) +
                                  " of " + std::to_string(buffer.size()) + " bytes at offset " +
                                  std::to_string(offset));
    }
    return Status::Ok();
}

Status WriteAllAt(int fd, const std::string& path, uint64_t offset,
                  std::span<const std::byte> data) {
    size_t done = 0;
    while (done < data.size()) {
        ssize_t n = pwrite(fd, data.data() + done, data.size() - done,
                           static_cast<off_t>(offset + done));
        if (n < 0) {
            if (errno == EINTR) {
                continue;
            }
            return ErrnoStatus(AtOffset("write", offset + done), path, errno);
        }
        done += static_cast<size_t>(n);
    }
    return Status::Ok();
}

Status FsyncFile(int fd, const std::string& path) {
    if (fsync(fd) != 0) {
        return ErrnoStatus("fsync file", path, errno);
    }
    return Status::Ok();
}

Status FdatasyncFile(int fd, const std::string& path) {
    if (fdatasync(fd) != 0) {
        return ErrnoStatus("fdatasync file", path, errno);
    }
    return Status::Ok();
}

Status FsyncDirectory(const std::string& path) {
    ZENITH_ASSIGN_OR_RETURN(UniqueFd fd, OpenFile(path, O_RDONLY | O_DIRECTORY));
    return FsyncFile(fd.get(), path);
}

Result<std::string> ReadWholeFile(const std::string& path) {
    ZENITH_ASSIGN_OR_RETURN(UniqueFd fd, OpenFile(path, O_RDONLY));
    std::string content;
    char buffer[65536];
    for (;;) {
        ssize_t n = read(fd.get(), buffer, sizeof buffer);
        if (n < 0) {
            if (errno == EINTR) {
                continue;
            }
            return ErrnoStatus("read file", path, errno);
        }
        if (n == 0) {
            return content;
        }
        content.append(buffer, static_cast<size_t>(n));
    }
}

Status ReplaceFileAtomically(const std::string& path, std::string_view content, unsigned mode) {
    const std::string temporary = path + ".tmp";
    {
        ZENITH_ASSIGN_OR_RETURN(UniqueFd fd,
                                OpenFile(temporary, O_WRONLY | O_CREAT | O_TRUNC, mode));
        Status status =
            WriteAllAt(fd.get(), temporary, 0, std::as_bytes(std::span(content.data(), content.size())));
        if (status.ok()) {
            status = FsyncFile(fd.get(), temporary);
        }
        if (!status.ok()) {
            unlink(temporary.c_str());
            return status;
        }
    }
    if (rename(temporary.c_str(), path.c_str()) != 0) {
        Status status = ErrnoStatus("rename file", temporary, errno);
        unlink(temporary.c_str());
        return status;
    }
    return FsyncDirectory(DirectoryOf(path));
}

Status EnsureDirectory(const std::string& path, unsigned mode) {
    if (mkdir(path.c_str(), mode) != 0 && errno != EEXIST) {
        return ErrnoStatus("create directory", path, errno);
    }
    return Status::Ok();
}

bool FileExists(const std::string& path) {
    struct stat info;
    return stat(path.c_str(), &info) == 0;
}

Result<std::vector<std::string>> ListDirectory(const std::string& path) {
    DIR* dir = opendir(path.c_str());
    if (dir == nullptr) {
        return ErrnoStatus("open directory", path, errno);
    }
    std::vector<std::string> names;
    errno = 0;
    while (struct dirent* entry = readdir(dir)) {
        std::string name = entry->d_name;
        if (name != "." && name != "..") {
            names.push_back(std::move(name));
        }
        errno = 0;
    }
    int error_number = errno;
    closedir(dir);
    if (error_number != 0) {
        return ErrnoStatus("read directory", path, error_number);
    }
    return names;
}

Status RemoveFile(const std::string& path) {
    if (unlink(path.c_str()) != 0) {
        return ErrnoStatus("remove file", path, errno);
    }
    return Status::Ok();
}

Status RemoveTree(const std::string& path) {
    // Somebody else who removes it as well makes entries vanish between looking and removing.
    constexpr int kAttempts = 1000;
    std::error_code error;
    for (int attempt = 0; attempt < kAttempts; attempt++) {
        std::filesystem::remove_all(path, error);
        if (error.value() != ENOENT && error.value() != ENOTEMPTY) {
            break;
        }
    }
    if (error) {
        return ErrnoStatus("remove directory", path, error.value());
    }
    return Status::Ok();
}

}  // namespace zenith

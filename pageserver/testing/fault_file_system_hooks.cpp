// The calls of the C library that FaultFileSystem watches, defined again: a test program's own
// definitions come first, for the shared libraries it uses as well. Without a FaultFileSystem, and
// for files elsewhere, each of them is what it was.
#include <dlfcn.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdarg>
#include <cstdio>
#include <mutex>
#include <optional>
#include <string_view>

#include "pageserver/testing/fault_file_system.h"

namespace zenith {
namespace {

using Need = FaultFileSystem::Need;
using Place = FaultFileSystem::Place;
using Verdict = FaultFileSystem::Verdict;

// The next definition of a function after ours.
#define REAL(function) \
    static auto* const real = reinterpret_cast<decltype(&::function)>(dlsym(RTLD_NEXT, #function))

// The lock and what it guards, when somebody watches.
class Watch {
  public:
    Watch() {
        if (FaultFileSystem::Active() != nullptr) {
            lock_ = std::unique_lock(FaultFileSystem::Mutex());
            disk_ = FaultFileSystem::Active();
        }
    }
    explicit operator bool() const { return disk_ != nullptr; }
    FaultFileSystem* operator->() const { return disk_; }
    void Unlock() {
        if (lock_.owns_lock()) {
            lock_.unlock();
        }
    }

  private:
    std::unique_lock<std::mutex> lock_;
    FaultFileSystem* disk_ = nullptr;
};

int Failed(int error_number) {
    errno = error_number;
    return -1;
}

bool Exists(int directory_fd, const char* path) {
    struct stat info;
    return fstatat(directory_fd, path, &info, AT_SYMLINK_NOFOLLOW) == 0;
}

// `really()` opens.
template <typename Real>
int Open(int directory_fd, const char* path, int flags, Real&& really) {
    constexpr int kChanges = O_CREAT | O_TRUNC;
    Watch disk;
    std::optional<Place> place;
    if (disk && (flags & kChanges) != 0) {
        place = disk->Find(directory_fd, path);
    }
    const bool exists = place && Exists(directory_fd, path);
    const bool creates = place && !exists && (flags & O_CREAT) != 0;
    const bool truncates = exists && (flags & O_TRUNC) != 0 && (flags & O_ACCMODE) != O_RDONLY;
    if (!creates && !truncates) {
        disk.Unlock();  // an open can wait, of a pipe for instance
        return really();
    }
    const Verdict verdict = disk->Begin(creates ? Need::kSpace : Need::kNoSpace);
    if (!verdict.happens) {
        return Failed(verdict.error_number);
    }
    const int fd = really();
    if (fd < 0) {
        return fd;
    }
    if (creates) {
        disk->Created(*place, directory_fd, path, false);
    } else if (auto node = disk->FindOpen(fd)) {
        disk->model().Resize(*node, 0);
    }
    if (verdict.error_number != 0) {
        close(fd);
        return Failed(verdict.error_number);
    }
    return fd;
}

// `really(length)` writes up to so many bytes; `end_of` says where the last one went.
template <typename Real, typename EndOf>
ssize_t Write(int fd, const void* data, size_t length, Real&& really, EndOf&& end_of) {
    Watch disk;
    const std::optional<DurabilityModel::Node> node = disk ? disk->FindOpen(fd) : std::nullopt;
    if (!node) {
        disk.Unlock();
        return really(length);
    }
    const Verdict verdict = disk->Begin(Need::kSpace);
    size_t allowed = length;
    bool fails = verdict.error_number != 0;
    if (!verdict.happens) {
        if (verdict.error_number != ENOSPC || length < 2 || disk->TossCoin()) {
            return Failed(verdict.error_number);
        }
        allowed = length / 2;  // a short write; the next one fails
        fails = false;
    }
    const ssize_t n = really(allowed);
    if (n > 0) {
        const uint64_t end = static_cast<uint64_t>(end_of(n));
        disk->model().Write(*node, end - static_cast<uint64_t>(n),
                            {static_cast<const char*>(data), static_cast<size_t>(n)});
    }
    return fails ? Failed(verdict.error_number) : n;
}

// Something of an open file or its name: really() does it, then(node) tells the model.
template <typename Real, typename Then>
int ChangeOpen(int fd, Need need, Real&& really, Then&& then) {
    Watch disk;
    const std::optional<DurabilityModel::Node> node = disk ? disk->FindOpen(fd) : std::nullopt;
    if (!node) {
        disk.Unlock();
        return really();
    }
    const Verdict verdict = disk->Begin(need);
    if (verdict.happens) {
        const int result = really();
        if (result != 0) {
            return result;
        }
        then(*disk.operator->(), *node);
    }
    return verdict.error_number == 0 ? 0 : Failed(verdict.error_number);
}

template <typename Real>
int Sync(int fd, Real&& really) {
    Watch disk;
    const std::optional<DurabilityModel::Node> node = disk ? disk->FindOpen(fd) : std::nullopt;
    if (!node) {
        disk.Unlock();
        return really();
    }
    const Verdict verdict = disk->Begin(Need::kNoSpace);
    if (verdict.happens) {
        disk->model().Sync(*node);
    } else if (!disk->PowerIsOff()) {
        disk->SyncFailed(*node);
    }
    return verdict.error_number == 0 ? 0 : Failed(verdict.error_number);
}

template <typename Real>
int Remove(int directory_fd, const char* path, Real&& really) {
    Watch disk;
    const std::optional<Place> place = disk ? disk->Find(directory_fd, path) : std::nullopt;
    if (!place) {
        disk.Unlock();
        return really();
    }
    const auto known = disk->Look(directory_fd, path);
    const Verdict verdict = disk->Begin(Need::kNoSpace);
    if (verdict.happens) {
        if (const int result = really(); result != 0) {
            return result;
        }
        disk->Removed(*place, known);
    }
    return verdict.error_number == 0 ? 0 : Failed(verdict.error_number);
}

template <typename Real>
int MakeDirectory(int directory_fd, const char* path, Real&& really) {
    Watch disk;
    const std::optional<Place> place = disk ? disk->Find(directory_fd, path) : std::nullopt;
    if (!place || Exists(directory_fd, path)) {
        disk.Unlock();
        return really();
    }
    const Verdict verdict = disk->Begin(Need::kSpace);
    if (verdict.happens) {
        if (const int result = really(); result != 0) {
            return result;
        }
        disk->Created(*place, directory_fd, path, true);
    }
    return verdict.error_number == 0 ? 0 : Failed(verdict.error_number);
}

template <typename Real>
int Rename(int from_fd, const char* from, int to_fd, const char* to, Real&& really) {
    Watch disk;
    const std::optional<Place> from_place = disk ? disk->Find(from_fd, from) : std::nullopt;
    const std::optional<Place> to_place = disk ? disk->Find(to_fd, to) : std::nullopt;
    const auto known = from_place && to_place ? disk->Look(from_fd, from) : std::nullopt;
    if (!known) {
        disk.Unlock();
        return really();
    }
    const auto replaced = disk->Look(to_fd, to);
    const Verdict verdict = disk->Begin(Need::kNoSpace);
    if (verdict.happens) {
        if (const int result = really(); result != 0) {
            return result;
        }
        disk->Renamed(*from_place, *known, *to_place, replaced);
    }
    return verdict.error_number == 0 ? 0 : Failed(verdict.error_number);
}

template <typename Real>
int Link(int from_fd, const char* from, int to_fd, const char* to, Real&& really) {
    Watch disk;
    const std::optional<Place> place = disk ? disk->Find(to_fd, to) : std::nullopt;
    const auto known = place ? disk->Look(from_fd, from) : std::nullopt;
    if (!known) {
        disk.Unlock();
        return really();
    }
    const Verdict verdict = disk->Begin(Need::kSpace);
    if (verdict.happens) {
        if (const int result = really(); result != 0) {
            return result;
        }
        disk->Linked(*place, known->node);
    }
    return verdict.error_number == 0 ? 0 : Failed(verdict.error_number);
}

// posix_fallocate returns the error instead of setting errno.
template <typename Real>
int Allocate(int fd, off_t end, Real&& really) {
    int error_number = 0;
    const int failed = ChangeOpen(
        fd, Need::kSpace, [&] { return (error_number = really()); },
        [&](FaultFileSystem& disk, DurabilityModel::Node node) {
            disk.model().Grow(node, static_cast<uint64_t>(end));
        });
    return failed == -1 ? errno : error_number;
}

template <typename Real>
int Truncate(int fd, off_t length, Real&& really) {
    return ChangeOpen(fd, Need::kNoSpace, really,
                      [&](FaultFileSystem& disk, DurabilityModel::Node node) {
                          disk.model().Resize(node, static_cast<uint64_t>(length));
                      });
}

mode_t ModeOf(int flags, va_list arguments) {
    return (flags & (O_CREAT | O_TMPFILE)) != 0 ? va_arg(arguments, mode_t) : 0;
}

}  // namespace
}  // namespace zenith

extern "C" {

#define HOOK_OPEN(function)                                                           \
    int function(const char* path, int flags, ...) {                                  \
        REAL(function);                                                               \
        va_list arguments;                                                            \
        va_start(arguments, flags);                                                   \
        const mode_t mode = zenith::ModeOf(flags, arguments);                         \
        va_end(arguments);                                                            \
        return zenith::Open(AT_FDCWD, path, flags, [&] { return real(path, flags, mode); }); \
    }
HOOK_OPEN(open)
HOOK_OPEN(open64)

#define HOOK_OPENAT(function)                                                         \
    int function(int directory_fd, const char* path, int flags, ...) {                \
        REAL(function);                                                               \
        va_list arguments;                                                            \
        va_start(arguments, flags);                                                   \
        const mode_t mode = zenith::ModeOf(flags, arguments);                         \
        va_end(arguments);                                                            \
        return zenith::Open(directory_fd, path, flags,                                \
                            [&] { return real(directory_fd, path, flags, mode); });   \
    }
HOOK_OPENAT(openat)
HOOK_OPENAT(openat64)

int creat(const char* path, mode_t mode) {
    return open(path, O_CREAT | O_WRONLY | O_TRUNC, mode);
}

ssize_t write(int fd, const void* data, size_t length) {
    REAL(write);
    return zenith::Write(
        fd, data, length, [&](size_t allowed) { return real(fd, data, allowed); },
        [&](ssize_t) { return lseek(fd, 0, SEEK_CUR); });
}

#define HOOK_PWRITE(function)                                                                     \
    ssize_t function(int fd, const void* data, size_t length, off_t offset) {                     \
        REAL(function);                                                                           \
        return zenith::Write(                                                                     \
            fd, data, length, [&](size_t allowed) { return real(fd, data, allowed, offset); },    \
            [&](ssize_t n) { return offset + n; });                                               \
    }
HOOK_PWRITE(pwrite)
HOOK_PWRITE(pwrite64)

// Piece by piece, as a caller must expect of it anyway.
ssize_t writev(int fd, const struct iovec* pieces, int count) {
    return count > 0 ? write(fd, pieces[0].iov_base, pieces[0].iov_len) : 0;
}
ssize_t pwritev(int fd, const struct iovec* pieces, int count, off_t offset) {
    return count > 0 ? pwrite(fd, pieces[0].iov_base, pieces[0].iov_len, offset) : 0;
}

int fsync(int fd) {
    REAL(fsync);
    return zenith::Sync(fd, [&] { return real(fd); });
}
int fdatasync(int fd) {
    REAL(fdatasync);
    return zenith::Sync(fd, [&] { return real(fd); });
}
void sync() noexcept {
    zenith::Watch disk;
    if (disk) {
        disk->model().SyncAll();
    }
}

int ftruncate(int fd, off_t length) noexcept {
    REAL(ftruncate);
    return zenith::Truncate(fd, length, [&] { return real(fd, length); });
}
int ftruncate64(int fd, off64_t length) noexcept {
    REAL(ftruncate64);
    return zenith::Truncate(fd, length, [&] { return real(fd, length); });
}
int truncate(const char* path, off_t length) noexcept {
    const int fd = open(path, O_WRONLY | O_CLOEXEC);
    if (fd < 0) {
        return -1;
    }
    const int result = ftruncate(fd, length);
    close(fd);
    return result;
}
int posix_fallocate(int fd, off_t offset, off_t length) {
    REAL(posix_fallocate);
    return zenith::Allocate(fd, offset + length, [&] { return real(fd, offset, length); });
}
int posix_fallocate64(int fd, off64_t offset, off64_t length) {
    REAL(posix_fallocate64);
    return zenith::Allocate(fd, offset + length, [&] { return real(fd, offset, length); });
}

int unlink(const char* path) noexcept {
    REAL(unlink);
    return zenith::Remove(AT_FDCWD, path, [&] { return real(path); });
}
int rmdir(const char* path) noexcept {
    REAL(rmdir);
    return zenith::Remove(AT_FDCWD, path, [&] { return real(path); });
}
int unlinkat(int directory_fd, const char* path, int flags) noexcept {
    REAL(unlinkat);
    return zenith::Remove(directory_fd, path, [&] { return real(directory_fd, path, flags); });
}
// libstdc++'s std::filesystem::remove calls this one.
int remove(const char* path) noexcept {
    struct stat info;
    const bool is_directory = lstat(path, &info) == 0 && S_ISDIR(info.st_mode);
    return is_directory ? rmdir(path) : unlink(path);
}

int mkdir(const char* path, mode_t mode) noexcept {
    REAL(mkdir);
    return zenith::MakeDirectory(AT_FDCWD, path, [&] { return real(path, mode); });
}
int mkdirat(int directory_fd, const char* path, mode_t mode) noexcept {
    REAL(mkdirat);
    return zenith::MakeDirectory(directory_fd, path,
                                 [&] { return real(directory_fd, path, mode); });
}

int rename(const char* from, const char* to) noexcept {
    REAL(rename);
    return zenith::Rename(AT_FDCWD, from, AT_FDCWD, to, [&] { return real(from, to); });
}
int renameat(int from_fd, const char* from, int to_fd, const char* to) noexcept {
    REAL(renameat);
    return zenith::Rename(from_fd, from, to_fd, to, [&] { return real(from_fd, from, to_fd, to); });
}
int link(const char* from, const char* to) noexcept {
    REAL(link);
    return zenith::Link(AT_FDCWD, from, AT_FDCWD, to, [&] { return real(from, to); });
}
int linkat(int from_fd, const char* from, int to_fd, const char* to, int flags) noexcept {
    REAL(linkat);
    return zenith::Link(from_fd, from, to_fd, to,
                        [&] { return real(from_fd, from, to_fd, to, flags); });
}

}  // extern "C"

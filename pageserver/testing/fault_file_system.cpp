#include "pageserver/testing/fault_file_system.h"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <stdexcept>
#include <string_view>
#include <vector>

namespace zenith {

namespace {

std::atomic<FaultFileSystem*> active{nullptr};

[[noreturn]] void Fail(const std::string& what, const std::string& path) {
    throw std::runtime_error("fault file system: cannot " + what + " \"" + path +
                             "\": " + std::strerror(errno));
}

// The directory part of a path and the last part. "a/" is "a".
std::pair<std::string, std::string> SplitPath(std::string_view path) {
    while (path.size() > 1 && path.back() == '/') {
        path.remove_suffix(1);
    }
    const size_t slash = path.rfind('/');
    if (slash == std::string_view::npos) {
        return {".", std::string(path)};
    }
    return {std::string(path.substr(0, std::max<size_t>(slash, 1))),
            std::string(path.substr(slash + 1))};
}

}  // namespace

FaultFileSystem* FaultFileSystem::Active() {
    return active.load(std::memory_order_acquire);
}

std::mutex& FaultFileSystem::Mutex() {
    static std::mutex mutex;
    return mutex;
}

FaultFileSystem::FaultFileSystem(const std::string& root, uint32_t seed) : random_(seed) {
    struct stat info;
    if (stat(root.c_str(), &info) != 0 || !S_ISDIR(info.st_mode)) {
        Fail("watch", root);
    }
    nodes_[{info.st_dev, info.st_ino}] = DurabilityModel::kRoot;
    Adopt(root, DurabilityModel::kRoot);
    Resume();
}

FaultFileSystem::~FaultFileSystem() {
    Pause();
}

void FaultFileSystem::Pause() {
    std::lock_guard lock(Mutex());
    FaultFileSystem* self = this;
    active.compare_exchange_strong(self, nullptr);
}

void FaultFileSystem::Resume() {
    std::lock_guard lock(Mutex());
    if (active.load() != nullptr) {
        throw std::logic_error("another fault file system watches");
    }
    active.store(this);
}

void FaultFileSystem::Adopt(const std::string& path, DurabilityModel::Node directory) {
    for (const auto& entry : std::filesystem::directory_iterator(path)) {
        const std::string child = entry.path().string();
        struct stat info;
        if (lstat(child.c_str(), &info) != 0) {
            Fail("look at", child);
        }
        DurabilityModel::Node node;
        if (S_ISDIR(info.st_mode)) {
            node = model_.AddDirectory();
            Adopt(child, node);
        } else if (S_ISREG(info.st_mode)) {
            node = model_.AddFile();
            AdoptContent(child, node);
        } else {
            continue;
        }
        nodes_[{info.st_dev, info.st_ino}] = node;
        model_.AssumeDurable(directory, entry.path().filename().string(), node);
    }
}

void FaultFileSystem::AdoptContent(const std::string& path, DurabilityModel::Node node) {
    const int fd = open(path.c_str(), O_RDONLY | O_CLOEXEC);
    if (fd < 0) {
        Fail("read", path);
    }
    const off_t size = lseek(fd, 0, SEEK_END);
    std::vector<char> buffer(1 << 16);
    // A file without data (all holes) has no first byte of data either.
    off_t at = lseek(fd, 0, SEEK_DATA);
    while (at >= 0 && at < size) {
        const ssize_t n = pread(fd, buffer.data(), buffer.size(), at);
        if (n <= 0) {
            break;
        }
        model_.AssumeDurable(node, static_cast<uint64_t>(at),
                             std::string_view(buffer.data(), static_cast<size_t>(n)),
                             static_cast<uint64_t>(size));
        at = lseek(fd, at + n, SEEK_DATA);
    }
    model_.AssumeDurable(node, 0, {}, static_cast<uint64_t>(size));
    close(fd);
}

uint64_t FaultFileSystem::operations() const {
    std::lock_guard lock(Mutex());
    return operations_;
}

void FaultFileSystem::PowerOffAt(uint64_t n) {
    std::lock_guard lock(Mutex());
    power_off_at_ = operations_ + n;
}

bool FaultFileSystem::power_is_off() const {
    std::lock_guard lock(Mutex());
    return PowerIsOff();
}

void FaultFileSystem::FailFrom(uint64_t n, uint64_t count, int error_number) {
    std::lock_guard lock(Mutex());
    fail_from_ = count == 0 ? 0 : operations_ + n;
    fail_until_ = operations_ + n + count;
    fail_with_ = error_number;
}

FaultFileSystem::Verdict FaultFileSystem::Begin(Need need) {
    operations_++;
    if (PowerIsOff()) {
        return {operations_ == power_off_at_ && TossCoin(), EIO};
    }
    if (fail_from_ != 0 && operations_ >= fail_from_ && operations_ < fail_until_ &&
        (fail_with_ != ENOSPC || need == Need::kSpace)) {
        return {false, fail_with_};
    }
    return {};
}

void FaultFileSystem::CrashInto(const std::string& directory) {
    DurabilityModel::Tree tree;
    {
        std::lock_guard lock(Mutex());
        tree = model_.Crash(random_);
    }
    std::filesystem::create_directory(directory);
    for (const std::string& path : tree.directories) {
        std::filesystem::create_directory(directory + "/" + path);
    }
    for (const auto& [path, content] : tree.files) {
        const std::string full = directory + "/" + path;
        {
            std::ofstream file(full, std::ios::binary);
            content.ForEachBlock([&](uint64_t offset, std::string_view bytes) {
                file.seekp(static_cast<std::streamoff>(offset));
                file.write(bytes.data(), static_cast<std::streamsize>(bytes.size()));
            });
            if (!file.flush()) {
                Fail("write", full);
            }
        }
        std::filesystem::resize_file(full, content.size());
    }
}

// ---- for the hooks ------------------------------------------------------------------------------

std::optional<DurabilityModel::Node> FaultFileSystem::NodeOf(const struct stat& info) const {
    auto found = nodes_.find({info.st_dev, info.st_ino});
    return found == nodes_.end() ? std::nullopt : std::optional(found->second);
}

std::optional<FaultFileSystem::Place> FaultFileSystem::Find(int directory_fd,
                                                            const char* path) const {
    auto [directory, name] = SplitPath(path);
    if (name.empty() || name == "." || name == "..") {
        return std::nullopt;
    }
    struct stat info;
    if (fstatat(directory_fd, directory.c_str(), &info, 0) != 0) {
        return std::nullopt;
    }
    std::optional<DurabilityModel::Node> node = NodeOf(info);
    return node ? std::optional(Place{*node, std::move(name)}) : std::nullopt;
}

std::optional<DurabilityModel::Node> FaultFileSystem::FindOpen(int fd) const {
    struct stat info;
    return fstat(fd, &info) == 0 ? NodeOf(info) : std::nullopt;
}

std::optional<FaultFileSystem::Known> FaultFileSystem::Look(int directory_fd,
                                                            const char* path) const {
    struct stat info;
    if (fstatat(directory_fd, path, &info, AT_SYMLINK_NOFOLLOW) != 0) {
        return std::nullopt;
    }
    std::optional<DurabilityModel::Node> node = NodeOf(info);
    if (!node) {
        return std::nullopt;
    }
    return Known{{info.st_dev, info.st_ino}, *node, S_ISDIR(info.st_mode) || info.st_nlink == 1};
}

void FaultFileSystem::Created(const Place& place, int directory_fd, const char* path,
                              bool is_directory) {
    struct stat info;
    if (fstatat(directory_fd, path, &info, 0) != 0) {
        Fail("look at", path);
    }
    const DurabilityModel::Node node = is_directory ? model_.AddDirectory() : model_.AddFile();
    nodes_[{info.st_dev, info.st_ino}] = node;
    model_.Link(place.directory, place.name, node);
}

void FaultFileSystem::Linked(const Place& place, DurabilityModel::Node node) {
    model_.Link(place.directory, place.name, node);
}

// Inode numbers are used again. What is written to a file that has no name any more does not count.
void FaultFileSystem::ForgetIfLast(const Known& known) {
    if (known.last_name) {
        nodes_.erase(known.inode);
    }
}

void FaultFileSystem::Removed(const Place& place, const std::optional<Known>& known) {
    if (known) {
        ForgetIfLast(*known);
        model_.Unlink(place.directory, place.name);
    }
}

void FaultFileSystem::Renamed(const Place& from, const Known& known, const Place& to,
                              const std::optional<Known>& replaced) {
    if (replaced && replaced->node == known.node) {
        return;  // two names of one file: rename does nothing
    }
    if (replaced) {
        ForgetIfLast(*replaced);
    }
    model_.Rename(from.directory, from.name, to.directory, to.name, known.node);
}

}  // namespace zenith

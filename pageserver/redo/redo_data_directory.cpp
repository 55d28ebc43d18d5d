#include "pageserver/redo/redo_data_directory.h"

#include <fcntl.h>
#include <pwd.h>
#include <sys/ipc.h>
#include <sys/shm.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <sstream>
#include <vector>

#include "common/base/log.h"
#include "common/base/posix_file.h"
#include "common/pgformat/control_file.h"

namespace zenith {

namespace {

constexpr char kDirectoryPrefix[] = "redo-process.";
// postmaster.pid: LOCK_FILE_LINE_SHMEM_KEY of miscadmin.h
constexpr int kShmemKeyLine = 7;

Status WriteFile(const std::string& path, const std::string& content) {
    ZENITH_ASSIGN_OR_RETURN(UniqueFd fd, OpenFile(path, O_WRONLY | O_CREAT | O_EXCL, 0600));
    return WriteAllAt(fd.get(), path, 0, std::as_bytes(std::span(content.data(), content.size())));
}

Status GiveTo(const std::string& path, const std::optional<RedoUser>& owner) {
    if (owner.has_value() && chown(path.c_str(), owner->uid, owner->gid) != 0) {
        return ErrnoStatus("change owner of", path, errno);
    }
    return Status::Ok();
}

std::string QuoteSetting(const std::string& value) {
    std::string quoted = "'";
    for (char c : value) {
        if (c == '\'') {
            quoted += '\'';
        }
        quoted += c;
    }
    return quoted + "'";
}

std::string Settings(const std::string& library, bool hint_bits_logged) {
    // As little shared memory and as few semaphores as PostgreSQL accepts.
    return "shared_preload_libraries = " + QuoteSetting(library) +
           "\n"
           "wal_log_hints = " +
           (hint_bits_logged ? "on" : "off") +
           "\n"
           "shared_buffers = 128kB\n"
           "wal_buffers = 32kB\n"
           "shared_memory_type = mmap\n"
           "dynamic_shared_memory_type = mmap\n"
           "huge_pages = off\n"
           "max_connections = 1\n"
           "superuser_reserved_connections = 0\n"
           "max_worker_processes = 0\n"
           "max_parallel_workers = 0\n"
           "autovacuum_max_workers = 1\n"
           "autovacuum = off\n"
           "max_wal_senders = 0\n"
           "max_replication_slots = 0\n"
           "max_prepared_transactions = 0\n"
           "max_locks_per_transaction = 10\n"
           "max_pred_locks_per_transaction = 10\n"
           "wal_level = minimal\n"
           "fsync = off\n"
           "jit = off\n"
           "track_activities = off\n"
           "track_counts = off\n"
           "update_process_title = off\n"
           "logging_collector = off\n"
           "log_destination = stderr\n"
           "log_line_prefix = 'redo process [%p] '\n";
}

Status Fill(const std::string& directory, const std::string& library, bool hint_bits_logged,
            const std::optional<RedoUser>& owner) {
    // The numbers only have to be valid: nothing is ever recovered from here.
    ControlFile control;
    control.system_identifier = 1;
    control.check_point = Lsn(0x1000028);
    control.check_point_copy.redo = control.check_point;
    control.check_point_copy.next_xid = 3;
    control.check_point_copy.next_oid = 10000;
    control.check_point_copy.next_multi = 1;
    control.check_point_copy.oldest_xid = 3;
    control.check_point_copy.oldest_xid_db = 1;
    control.check_point_copy.oldest_multi = 1;
    control.check_point_copy.oldest_multi_db = 1;
    control.mock_authentication_nonce = std::string(32, '\0');

    ZENITH_RETURN_IF_ERROR(EnsureDirectory(directory + "/global"));
    // AsyncShmemInit() looks into pg_notify, dsm_impl_mmap() keeps its files in pg_dynshmem
    ZENITH_RETURN_IF_ERROR(EnsureDirectory(directory + "/pg_notify"));
    ZENITH_RETURN_IF_ERROR(EnsureDirectory(directory + "/pg_dynshmem"));
    ZENITH_RETURN_IF_ERROR(WriteFile(directory + "/PG_VERSION", "15\n"));
    ZENITH_RETURN_IF_ERROR(
        WriteFile(directory + "/postgresql.conf", Settings(library, hint_bits_logged)));
    // read as well, and logged when it is missing
    ZENITH_RETURN_IF_ERROR(WriteFile(directory + "/postgresql.auto.conf", ""));
    ZENITH_RETURN_IF_ERROR(
        WriteFile(directory + "/global/pg_control", EncodeControlFile(control)));
    for (const char* name : {"", "/global", "/pg_notify", "/pg_dynshmem", "/PG_VERSION",
                             "/postgresql.conf", "/postgresql.auto.conf", "/global/pg_control"}) {
        ZENITH_RETURN_IF_ERROR(GiveTo(directory + name, owner));
    }
    return Status::Ok();
}

// A process that was killed leaves the small segment by which PostgreSQL notices a second
// postmaster; its id is in postmaster.pid.
void RemoveSharedMemorySegment(const std::string& directory) {
    Result<std::string> lock_file = ReadWholeFile(directory + "/postmaster.pid");
    if (!lock_file.ok()) {
        return;  // removed by an orderly end
    }
    std::istringstream lines(*lock_file);
    std::string line;
    for (int i = 0; i < kShmemKeyLine; ++i) {
        if (!std::getline(lines, line)) {
            return;
        }
    }
    unsigned long key = 0;
    int id = -1;
    if (std::sscanf(line.c_str(), "%lu %d", &key, &id) != 2 || id < 0) {
        return;
    }
    struct shmid_ds segment;
    if (shmctl(id, IPC_STAT, &segment) == 0 && segment.shm_nattch == 0 &&
        static_cast<unsigned long>(segment.shm_perm.__key) == key) {
        shmctl(id, IPC_RMID, nullptr);
    }
}

}  // namespace

Result<std::optional<RedoUser>> FindRedoUser(const std::string& name) {
    if (geteuid() != 0) {
        return std::optional<RedoUser>();
    }
    std::vector<char> buffer(16384);
    struct passwd entry;
    struct passwd* found = nullptr;
    int error = getpwnam_r(name.c_str(), &entry, buffer.data(), buffer.size(), &found);
    if (error != 0) {
        return ErrnoStatus("look up user", name, error);
    }
    if (found == nullptr) {
        return Status::NotFound("user \"" + name + "\" does not exist",
                                "PostgreSQL does not run as root. Create the user, or run the page "
                                "server as an ordinary user.");
    }
    return std::optional<RedoUser>(RedoUser{entry.pw_uid, entry.pw_gid});
}

Result<std::string> MakeRedoDataDirectory(const std::string& work_dir, const std::string& library,
                                          bool hint_bits_logged,
                                          const std::optional<RedoUser>& owner) {
    std::string path = work_dir + "/" + kDirectoryPrefix + "XXXXXX";
    if (mkdtemp(path.data()) == nullptr) {
        return ErrnoStatus("create directory", path, errno);
    }
    Status status = Fill(path, library, hint_bits_logged, owner);
    if (!status.ok()) {
        RemoveRedoDataDirectory(path);
        return status;
    }
    return path;
}

void RemoveRedoDataDirectory(const std::string& directory) {
    RemoveSharedMemorySegment(directory);
    Status status = RemoveTree(directory);
    if (!status.ok()) {
        spdlog::warn("redo: {}", status.message());
    }
}

void RemoveLeftoverRedoDirectories(const std::string& work_dir) {
    Result<std::vector<std::string>> names = ListDirectory(work_dir);
    if (!names.ok()) {
        return;  // not there yet
    }
    for (const std::string& name : *names) {
        if (name.starts_with(kDirectoryPrefix)) {
            RemoveRedoDataDirectory(work_dir + "/" + name);
        }
    }
}

}  // namespace zenith

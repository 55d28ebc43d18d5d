// The page server program: reads the configuration, wires the stages together, waits for a signal.
#include <fcntl.h>
#include <malloc.h>
#include <signal.h>
#include <sys/file.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <cerrno>
#include <chrono>
#include <cstdio>
#include <string>
#include <thread>

#include "common/base/log.h"
#include "common/base/posix_file.h"
#include "common/repo/repository.h"
#include "pageserver/inspect/inspect_commands.h"
#include "pageserver/page_service/page_service.h"
#include "pageserver/reconstruct/page_reconstructor.h"
#include "pageserver/reconstruct/reconstructing_imager.h"
#include "pageserver/redo/redo_process_pool.h"
#include "pageserver/timelines/import_cluster.h"
#include "pageserver/timelines/timeline_manager.h"

namespace zenith {
namespace {

struct Options {
    std::string repository;
    std::string listen_address;
    int listen_port = -1;  // -1: config.json's
    std::string socket_directory;
    std::string log_file;
    std::string redo_library = "zenith";
    int redo_processes = 2;
    int memory_mb = 256;
    int page_cache_mb = 0;  // 0: half of memory_mb
    size_t max_connections = PageServiceOptions().max_connections;
    int layer_memory_mb = 0;  // 0: a quarter of memory_mb
    int layer_wal_mb = 8;
    double check_redo_percent = 0;
    // import
    std::string pgdata;
    std::string timeline;
};

// Whether the process that `pid_text` names is dead, or a zombie whose threads are still ending.
bool ProcessHasEnded(const std::string& pid_text) {
    const std::string pid = pid_text.substr(0, pid_text.find('\n'));
    auto status = ReadWholeFile("/proc/" + pid + "/stat");
    if (!status.ok()) {
        return status.status().code() == StatusCode::kNotFound;
    }
    // "<pid> (<program>) <state> ...": the program's name may hold anything, so from the right.
    size_t name_end = status->rfind(") ");
    return name_end != std::string::npos && name_end + 2 < status->size() &&
           ((*status)[name_end + 2] == 'Z' || (*status)[name_end + 2] == 'X');
}

// The pid file, locked for as long as the page server runs: no second one on this repository.
class PidFile {
  public:
    static Result<PidFile> Acquire(const std::string& path) {
        const auto give_up = std::chrono::steady_clock::now() + std::chrono::seconds(5);
        while (true) {
            ZENITH_ASSIGN_OR_RETURN(UniqueFd fd, OpenFile(path, O_RDWR | O_CREAT));
            if (flock(fd.get(), LOCK_EX | LOCK_NB) != 0) {
                if (errno == EWOULDBLOCK) {
                    auto pid = ReadWholeFile(path);
                    // A process that was killed keeps its locks until its last thread is gone.
                    if (pid.ok() && ProcessHasEnded(*pid) &&
                        std::chrono::steady_clock::now() < give_up) {
                        std::this_thread::sleep_for(std::chrono::milliseconds(10));
                        continue;
                    }
                    std::string who = pid.ok() ? pid->substr(0, pid->find('\n')) : "";
                    return Status::Refused("another page server" +
                                               (who.empty() ? "" : " (pid " + who + ")") +
                                               " serves this repository",
                                           "Use \"zenith stop\" to stop it.");
                }
                return ErrnoStatus("lock file", path, errno);
            }
            // The one before may have removed the file between our open and our lock.
            struct stat ours;
            struct stat current;
            if (fstat(fd.get(), &ours) != 0 || stat(path.c_str(), &current) != 0 ||
                ours.st_ino != current.st_ino || ours.st_dev != current.st_dev) {
                continue;
            }
            if (ftruncate(fd.get(), 0) != 0) {
                return ErrnoStatus("truncate file", path, errno);
            }
            const std::string text = std::to_string(getpid()) + "\n";
            ZENITH_RETURN_IF_ERROR(WriteAllAt(
                fd.get(), path, 0, std::as_bytes(std::span(text.data(), text.size()))));
            return PidFile(path, std::move(fd));
        }
    }
    PidFile(PidFile&&) = default;
    ~PidFile() {
        if (fd_.valid()) {
            unlink(path_.c_str());
        }
    }

  private:
    PidFile(std::string path, UniqueFd fd) : path_(std::move(path)), fd_(std::move(fd)) {}
    std::string path_;
    UniqueFd fd_;
};

// Many timelines, many segments, many connections.
void RaiseFileLimit() {
    rlimit limit;
    if (getrlimit(RLIMIT_NOFILE, &limit) == 0 && limit.rlim_cur < limit.rlim_max) {
        limit.rlim_cur = limit.rlim_max;
        if (setrlimit(RLIMIT_NOFILE, &limit) != 0) {
            spdlog::warn("could not raise the limit of open files");
        }
    }
}

Status Serve(const Options& options, const sigset_t& stop_signals) {
    const Repository repository(options.repository);
    ZENITH_ASSIGN_OR_RETURN(RepoConfig config, repository.ReadConfig());
    ZENITH_ASSIGN_OR_RETURN(PidFile pid_file, PidFile::Acquire(repository.PageServerPidPath()));
    InitLog(options.log_file);
    RaiseFileLimit();
    ZENITH_RETURN_IF_ERROR(repository.RemoveLeftovers());
    // They only take space: that something is broken elsewhere keeps nobody from his branches.
    if (Status status = repository.RemoveUnnamedTimelines(); !status.ok()) {
        spdlog::warn("page server: kept timelines that may have no branch: {}", status.message());
    }

    RedoPoolOptions redo;
    redo.process.pg_bin_dir = config.pg_bindir;
    redo.process.work_dir = repository.RedoDirectory();
    redo.process.preload = options.redo_library;
    // Hint bits are logged for the checksums' sake, and wal_log_hints is off on computes.
    redo.process.hint_bits_logged = config.data_checksums;
    redo.processes = options.redo_processes;
    RedoProcessPool pool(redo);
    // Half for rebuilt pages, a quarter for history that is in no file yet; the rest is for what has
    // no limit of its own: connections, indexes of open files, batches of redo.
    const size_t memory = static_cast<size_t>(options.memory_mb) << 20;
    const size_t page_cache = options.page_cache_mb > 0
                                  ? static_cast<size_t>(options.page_cache_mb) << 20
                                  : memory / 2;
    LayerMemory layer_memory(options.layer_memory_mb > 0
                                 ? static_cast<size_t>(options.layer_memory_mb) << 20
                                 : memory / 4);
    PageReconstructor reconstructor(pool, page_cache, options.check_redo_percent);
    ReconstructingImager imager(reconstructor);
    LayerWorker layer_worker;
    LayerOptions layers;
    layers.imager = &imager;
    layers.memory = &layer_memory;
    layers.worker = &layer_worker;
    layers.limits.memory_bytes = layer_memory.limit_bytes;
    layers.limits.wal_bytes = static_cast<uint64_t>(options.layer_wal_mb) << 20;
    ZENITH_ASSIGN_OR_RETURN(std::unique_ptr<TimelineManager> manager,
                            TimelineManager::Open(repository, layers));

    PageServiceOptions service_options;
    service_options.listen_address =
        options.listen_address.empty() ? config.listen_address : options.listen_address;
    service_options.listen_port =
        options.listen_port >= 0 ? options.listen_port : config.listen_port;
    if (options.socket_directory.empty()) {
        ZENITH_RETURN_IF_ERROR(repository.EnsureSocketDirectory());
        service_options.socket_directory = repository.SocketDirectory();
    } else {
        service_options.socket_directory = options.socket_directory;
    }
    service_options.max_connections = options.max_connections;
    PageService service(service_options, repository, *manager, reconstructor);
    ZENITH_RETURN_IF_ERROR(service.Start());
    manager->StartHousekeeping();
    if (service.port() != 0) {
        ZENITH_RETURN_IF_ERROR(ReplaceFileAtomically(repository.PageServerPortPath(),
                                                     std::to_string(service.port()) + "\n"));
    }
    spdlog::info("page server: serving repository {}", repository.path());

    int signal_number = 0;
    while (sigwait(&stop_signals, &signal_number) != 0) {
    }
    spdlog::info("page server: stopping on signal {}", signal_number);
    // First the manager: it wakes whoever waits for a compute inside a command.
    manager->Shutdown();
    service.Stop();
    manager->FlushAll();
    pool.Shutdown();
    if (const RedoCheckStats check = reconstructor.check_stats(); check.percent > 0) {
        spdlog::info("redo check: {} pages rebuilt a second way, {} of them from WAL alone, {} "
                     "differences, {} could not be checked",
                     check.checked(), check.from_wal, check.differences, check.impossible);
    }
    unlink(repository.PageServerPortPath().c_str());
    spdlog::info("page server: stopped");
    return Status::Ok();
}

Status Import(const Options& options) {
    std::optional<TimelineId> id = TimelineId::Parse(options.timeline);
    if (!id.has_value()) {
        return Status::InvalidArgument("\"" + options.timeline + "\" is not a timeline id",
                                       "Give 32 hexadecimal digits.");
    }
    return ImportCluster(Repository(options.repository), options.pgdata, *id);
}

int Run(int argc, char** argv) {
    Options options;
    CLI::App app("The Zenith page server: keeps the history of PostgreSQL clusters and serves "
                 "pages of any branch at any LSN.");
    auto add_repository = [&options](CLI::App& to) {
        to.add_option("--repo-dir", options.repository, "the repository (a .zenith directory)");
    };
    add_repository(app);
    app.add_option("--listen-address", options.listen_address,
                   "TCP address instead of config.json's");
    app.add_option("--listen-port", options.listen_port,
                   "TCP port instead of config.json's; 0 lets the kernel choose")
        ->check(CLI::Range(0, 65535));
    app.add_option("--listen-socket-dir", options.socket_directory,
                   "directory of the Unix socket instead of the repository's");
    app.add_option("--log-file", options.log_file, "where to log; default: standard error");
    app.add_option("--redo-processes", options.redo_processes, "PostgreSQL processes for redo")
        ->check(CLI::Range(1, 64))
        ->capture_default_str();
    app.add_option("--redo-library", options.redo_library,
                   "library that redo processes preload; a path when it is not installed")
        ->capture_default_str();
    app.add_option("--memory-mb", options.memory_mb,
                   "memory: half for rebuilt pages, a quarter for history that is in no file yet, "
                   "the rest for everything else")
        ->check(CLI::Range(16, 1 << 20))
        ->capture_default_str();
    app.add_option("--page-cache-mb", options.page_cache_mb,
                   "memory for rebuilt pages instead of half of --memory-mb")
        ->check(CLI::Range(1, 1 << 20));
    app.add_option("--max-connections", options.max_connections,
                   "computes' connections that may read pages at once")
        ->check(CLI::Range(1, 100000))
        ->capture_default_str();
    app.add_option("--layer-memory-mb", options.layer_memory_mb,
                   "memory for history that is in no file yet instead of a quarter of --memory-mb")
        ->check(CLI::Range(1, 1 << 20));
    app.add_option("--layer-wal-mb", options.layer_wal_mb,
                   "WAL of a timeline before its index goes to a layer file")
        ->check(CLI::Range(1, 1 << 20))
        ->capture_default_str();
    app.add_option("--check-redo-percent", options.check_redo_percent,
                   "for debugging: how many of the pages that are read to rebuild a second way, "
                   "from WAL alone, and compare; 0.5 is one in 200")
        ->check(CLI::Range(0.0, 100.0))
        ->capture_default_str();
    app.require_subcommand(0, 1);

    CLI::App* import = app.add_subcommand(
        "import", "load a cleanly shut down PostgreSQL 15 data directory as a root timeline");
    add_repository(*import);
    import->add_option("--pgdata", options.pgdata, "the data directory; it is only read")
        ->required();
    import->add_option("--timeline", options.timeline, "id of the new timeline")->required();
    InspectCommands inspect(app, &options.repository);
    CLI11_PARSE(app, argc, argv);

    Status status;
    if (options.repository.empty()) {
        status = Status::InvalidArgument("no repository given", "Add --repo-dir DIRECTORY.");
    } else if (import->parsed()) {
        status = Import(options);
    } else if (inspect.given()) {
        Result<int> outcome = inspect.Run();
        if (outcome.ok()) {
            return *outcome;
        }
        status = outcome.status();
    } else {
        // Blocked before any thread starts, so that only sigwait() takes them.
        sigset_t stop_signals;
        sigemptyset(&stop_signals);
        sigaddset(&stop_signals, SIGTERM);
        sigaddset(&stop_signals, SIGINT);
        pthread_sigmask(SIG_BLOCK, &stop_signals, nullptr);
        signal(SIGPIPE, SIG_IGN);
        signal(SIGHUP, SIG_IGN);
        status = Serve(options, stop_signals);
    }
    if (!status.ok()) {
        std::fprintf(stderr, "pageserver: error: %s\n", status.message().c_str());
        if (!status.hint().empty()) {
            std::fprintf(stderr, "pageserver: hint: %s\n", status.hint().c_str());
        }
        return 1;
    }
    return 0;
}

}  // namespace
}  // namespace zenith

int main(int argc, char** argv) {
    // Nothing of a repository is for others to read.
    umask(077);
    // By default glibc gives every few threads a heap of its own, and what a connection freed stays in
    // its thread's: with 145 threads 466 MB were resident of a budget of 256.
    mallopt(M_ARENA_MAX, 2);
    return zenith::Run(argc, argv);
}

#include "pageserver/page_service/page_service.h"

#include <unistd.h>

#include <random>
#include <utility>

#include "common/base/log.h"

namespace zenith {

namespace {

constexpr char kTooManyConnections[] = "53300";  // too_many_connections

std::string SocketPath(const PageServiceOptions& options) {
    if (options.socket_directory.empty()) {
        return "";
    }
    return options.socket_directory + "/.s.PGSQL." + std::to_string(options.socket_port);
}

ListenerOptions ListenerOptionsOf(const PageServiceOptions& options) {
    ListenerOptions result;
    result.address = options.listen_address;
    result.port = options.listen_port;
    result.socket_path = SocketPath(options);
    result.max_connections = options.max_connections + options.reserved_connections;
    return result;
}

}  // namespace

PageService::PageService(PageServiceOptions options, const Repository& repository,
                         TimelineManager& manager, PageReconstructor& reconstructor)
    : options_(std::move(options)),
      repository_(repository),
      socket_path_(SocketPath(options_)),
      started_at_(std::chrono::steady_clock::now()),
      handler_(
          repository, manager, reconstructor,
          [&manager, &reconstructor](const TimelineId& id, std::optional<Lsn> lsn,
                                     BaseBackupSink& sink) {
              return WriteBaseBackup(manager, reconstructor, id, lsn, sink);
          },
          [this] { return ProcessStatus(); }, options_.wait_lsn_timeout_ms,
          options_.max_connections),
      listener_(ListenerOptionsOf(options_),
                [this](AcceptedConnection connection) { Serve(std::move(connection)); }) {}

PageService::~PageService() {
    Stop();
}

Status PageService::Start() {
    ZENITH_RETURN_IF_ERROR(listener_.Start());
    if (port() != 0) {
        spdlog::info("page service: listening on {}:{}", options_.listen_address, port());
    }
    if (!socket_path_.empty()) {
        spdlog::info("page service: listening on {}", socket_path_);
    }
    return Status::Ok();
}

void PageService::Stop() {
    listener_.Stop();
}

void PageService::Serve(AcceptedConnection connection) {
    WireOptions options;
    options.timeouts = options_.timeouts;
    // Drivers take the number in front to know what the server can do.
    options.parameters = {{"server_version", "15.0 (zenith pageserver)"},
                          {"server_encoding", "UTF8"},
                          {"client_encoding", "UTF8"},
                          {"DateStyle", "ISO, MDY"},
                          {"IntervalStyle", "postgres"},
                          {"TimeZone", "UTC"},
                          {"integer_datetimes", "on"},
                          {"standard_conforming_strings", "on"},
                          {"is_superuser", "off"}};
    options.process_id = connection.number;
    options.secret = std::random_device()();
    std::optional<WireError> refusal;
    if (connection.over_limit) {
        refusal = WireError{"FATAL", kTooManyConnections, "too many connections",
                            "The page server serves " +
                                std::to_string(options_.max_connections +
                                               options_.reserved_connections) +
                                " connections at once; close some and try again."};
    }
    WireConnection wire(std::move(connection.socket), listener_.stop_signal(), handler_,
                        std::move(options));
    Status status = wire.Run(refusal);
    if (!status.ok()) {
        spdlog::debug("page service: connection {} ended: {}", connection.number, status.message());
    }
}

std::vector<std::pair<std::string, std::string>> PageService::ProcessStatus() const {
    auto uptime = std::chrono::duration_cast<std::chrono::seconds>(
        std::chrono::steady_clock::now() - started_at_);
    return {{"version", options_.version},
            {"repository", repository_.path()},
            {"pid", std::to_string(getpid())},
            {"listen_address",
             port() == 0 ? "" : options_.listen_address + ":" + std::to_string(port())},
            {"socket", socket_path_},
            {"uptime_seconds", std::to_string(uptime.count())},
            {"connections", std::to_string(listener_.connections())},
            {"pagestreams", std::to_string(handler_.pagestreams())},
            {"max_connections", std::to_string(options_.max_connections)},
            {"connections_total", std::to_string(listener_.connections_total())}};
}

}  // namespace zenith

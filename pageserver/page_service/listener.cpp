#include "pageserver/page_service/listener.h"

#include <fcntl.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>

#include <cerrno>
#include <cstring>
#include <exception>
#include <memory>
#include <system_error>

#include "common/base/log.h"

namespace zenith {

namespace {

// Connections over the limit that may wait to be told so at the same time.
constexpr size_t kOverLimitReserve = 32;
constexpr int kBacklog = 128;
// How long to wait when the process is out of descriptors, memory or threads.
constexpr int kOverloadPauseMs = 100;

void SetOption(int fd, int level, int name, int value) {
    if (setsockopt(fd, level, name, &value, sizeof value) != 0) {
        spdlog::debug("page service: setsockopt({}, {}) failed: {}", level, name, strerror(errno));
    }
}

// A vanished host is noticed after about a minute and a half.
void SetTcpOptions(int fd) {
    SetOption(fd, IPPROTO_TCP, TCP_NODELAY, 1);
    SetOption(fd, SOL_SOCKET, SO_KEEPALIVE, 1);
    SetOption(fd, IPPROTO_TCP, TCP_KEEPIDLE, 60);
    SetOption(fd, IPPROTO_TCP, TCP_KEEPINTVL, 10);
    SetOption(fd, IPPROTO_TCP, TCP_KEEPCNT, 3);
}

int PortOf(const sockaddr_storage& address) {
    if (address.ss_family == AF_INET6) {
        sockaddr_in6 in6;
        std::memcpy(&in6, &address, sizeof in6);
        return ntohs(in6.sin6_port);
    }
    sockaddr_in in;
    std::memcpy(&in, &address, sizeof in);
    return ntohs(in.sin_port);
}

Status BindStatus(const std::string& where, int error) {
    if (error == EADDRINUSE) {
        return Status::Refused("could not listen on " + where + ": address already in use",
                               "Stop the process that listens there, or choose another port.");
    }
    return ErrnoStatus("listen on", where, error);
}

}  // namespace

Listener::Listener(ListenerOptions options, ServeFunction serve)
    : options_(std::move(options)), serve_(std::move(serve)) {}

Listener::~Listener() {
    Stop();
}

Status Listener::Start() {
    Status status = options_.address.empty() ? Status::Ok() : ListenTcp();
    if (status.ok() && !options_.socket_path.empty()) {
        status = ListenUnix();
    }
    if (status.ok() && sockets_.empty()) {
        status = Status::InvalidArgument("neither an address nor a socket to listen on");
    }
    if (!status.ok()) {
        Stop();
        return status;
    }
    acceptor_ = std::thread([this] { AcceptLoop(); });
    return Status::Ok();
}

void Listener::Stop() {
    stop_.Set();
    if (acceptor_.joinable()) {
        acceptor_.join();
    }
    sockets_.clear();
    if (std::exchange(socket_file_made_, false)) {
        unlink(options_.socket_path.c_str());
    }
    for (Worker& worker : workers_) {
        worker.thread.join();
    }
    workers_.clear();
}

Status Listener::ListenTcp() {
    addrinfo hints = {};
    hints.ai_family = AF_UNSPEC;
    hints.ai_socktype = SOCK_STREAM;
    hints.ai_flags = AI_PASSIVE;
    addrinfo* found = nullptr;
    const char* host = options_.address == "*" ? nullptr : options_.address.c_str();
    int error = getaddrinfo(host, std::to_string(options_.port).c_str(), &hints, &found);
    if (error != 0) {
        return Status::InvalidArgument(
            "could not resolve listen address \"" + options_.address + "\": " + gai_strerror(error),
            "Set listen_address in config.json to an address of this machine.");
    }
    std::unique_ptr<addrinfo, decltype(&freeaddrinfo)> addresses(found, freeaddrinfo);
    Status first_error;
    for (const addrinfo* a = addresses.get(); a != nullptr; a = a->ai_next) {
        UniqueFd fd(socket(a->ai_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
        if (!fd.valid()) {
            continue;  // a family this machine does not have
        }
        SetOption(fd.get(), SOL_SOCKET, SO_REUSEADDR, 1);
        if (a->ai_family == AF_INET6) {
            SetOption(fd.get(), IPPROTO_IPV6, IPV6_V6ONLY, 1);
        }
        sockaddr_storage address = {};
        std::memcpy(&address, a->ai_addr, a->ai_addrlen);
        if (port_ != 0) {
            // All addresses of a host get the port the kernel chose for the first.
            uint16_t port = htons(static_cast<uint16_t>(port_));
            size_t at = a->ai_family == AF_INET6 ? offsetof(sockaddr_in6, sin6_port)
                                                 : offsetof(sockaddr_in, sin_port);
            std::memcpy(reinterpret_cast<char*>(&address) + at, &port, sizeof port);
        }
        socklen_t length = a->ai_addrlen;
        if (bind(fd.get(), reinterpret_cast<sockaddr*>(&address), length) != 0 ||
            listen(fd.get(), kBacklog) != 0 ||
            getsockname(fd.get(), reinterpret_cast<sockaddr*>(&address), &length) != 0) {
            if (first_error.ok()) {
                first_error =
                    BindStatus(options_.address + ":" + std::to_string(options_.port), errno);
            }
            continue;
        }
        port_ = PortOf(address);
        sockets_.push_back(std::move(fd));
    }
    if (!sockets_.empty()) {
        return Status::Ok();
    }
    return first_error.ok() ? Status::IoError("could not make a TCP socket") : first_error;
}

Status Listener::ListenUnix() {
    sockaddr_un address = {};
    address.sun_family = AF_UNIX;
    const std::string& path = options_.socket_path;
    if (path.size() >= sizeof address.sun_path) {
        return Status::InvalidArgument("Unix socket path \"" + path +
                                           "\" is too long: the limit is " +
                                           std::to_string(sizeof address.sun_path - 1) + " bytes",
                                       "Set socket_directory in config.json to a shorter path.");
    }
    std::memcpy(address.sun_path, path.data(), path.size());
    const auto* generic = reinterpret_cast<const sockaddr*>(&address);
    UniqueFd probe(socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
    if (probe.valid() && connect(probe.get(), generic, sizeof address) == 0) {
        return Status::Refused("another process serves the socket \"" + path + "\"",
                               "Stop the other page server first: zenith pageserver stop.");
    }
    probe.Reset();
    // Nobody answers there: what is left of a server that was killed.
    if (unlink(path.c_str()) != 0 && errno != ENOENT) {
        return ErrnoStatus("remove", path, errno);
    }
    UniqueFd fd(socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
    if (!fd.valid()) {
        return ErrnoStatus("make socket", path, errno);
    }
    if (bind(fd.get(), generic, sizeof address) != 0) {
        return BindStatus(path, errno);
    }
    socket_file_made_ = true;
    if (chmod(path.c_str(), 0700) != 0 || listen(fd.get(), kBacklog) != 0) {
        return ErrnoStatus("listen on", path, errno);
    }
    sockets_.push_back(std::move(fd));
    return Status::Ok();
}

void Listener::AcceptLoop() {
    std::vector<pollfd> fds;
    fds.push_back({stop_.fd(), POLLIN, 0});
    for (const UniqueFd& socket : sockets_) {
        fds.push_back({socket.get(), POLLIN, 0});
    }
    while (!stop_.is_set()) {
        if (poll(fds.data(), fds.size(), -1) < 0 && errno != EINTR) {
            spdlog::error("page service: poll failed: {}", strerror(errno));
            return;
        }
        bool overloaded = false;
        for (size_t i = 1; i < fds.size() && !stop_.is_set(); i++) {
            if (fds[i].revents != 0 && !AcceptOne(fds[i].fd)) {
                overloaded = true;
            }
        }
        JoinFinished();
        if (overloaded) {
            poll(fds.data(), 1, kOverloadPauseMs);
        }
    }
}

bool Listener::AcceptOne(int listening_socket) {
    sockaddr_storage address = {};
    socklen_t length = sizeof address;
    UniqueFd fd(accept4(listening_socket, reinterpret_cast<sockaddr*>(&address), &length,
                        SOCK_CLOEXEC | SOCK_NONBLOCK));
    if (!fd.valid()) {
        if (errno == EMFILE || errno == ENFILE || errno == ENOBUFS || errno == ENOMEM) {
            spdlog::error("page service: could not accept a connection: {}", strerror(errno));
            return false;
        }
        return true;  // the client has already gone
    }
    if (address.ss_family != AF_UNIX) {
        SetTcpOptions(fd.get());
    }
    if (open_.load() >= options_.max_connections + kOverLimitReserve) {
        return true;
    }
    AcceptedConnection connection;
    connection.socket = std::move(fd);
    connection.number = ++next_number_;
    // This thread alone counts up, so the limit cannot be passed between look and count.
    connection.over_limit = served_.load() >= options_.max_connections;
    bool counted = !connection.over_limit;
    open_++;
    served_ += counted ? 1 : 0;
    Worker& worker = workers_.emplace_back();
    try {
        worker.thread =
            std::thread([this, &worker, counted,
                         held = std::make_shared<AcceptedConnection>(std::move(connection))] {
                uint32_t number = held->number;
                try {
                    serve_(std::move(*held));
                } catch (const std::exception& e) {
                    spdlog::error("page service: connection {} ended by {}", number, e.what());
                }
                served_ -= counted ? 1 : 0;
                open_--;
                worker.done = true;
            });
    } catch (const std::system_error& e) {
        spdlog::error("page service: could not start a thread: {}", e.what());
        workers_.pop_back();
        served_ -= counted ? 1 : 0;
        open_--;
        return false;
    }
    return true;
}

void Listener::JoinFinished() {
    for (auto it = workers_.begin(); it != workers_.end();) {
        if (it->done.load()) {
            it->thread.join();
            it = workers_.erase(it);
        } else {
            ++it;
        }
    }
}

}  // namespace zenith

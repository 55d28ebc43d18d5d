// Listener: accepts connections on TCP addresses and a Unix socket and gives each a thread.
//
// Limits    at most `max_connections` are served at once. A connection beyond that is handed over
//           as `over_limit`, to be told so; beyond a further reserve it is closed without a word.
// Stop      Stop() stops accepting, sets the stop signal that every served connection watches,
//           waits for their threads and removes the socket file.
// Threads   Start and Stop from one thread; the serve function is called from many.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <list>
#include <string>
#include <thread>
#include <vector>

#include "common/base/status.h"
#include "common/base/unique_fd.h"
#include "common/pgwire/stop_signal.h"

namespace zenith {

struct ListenerOptions {
    // Host name or address, "*" for all; empty: no TCP.
    std::string address = "127.0.0.1";
    int port = 0;             // 0: the kernel chooses
    std::string socket_path;  // of the Unix socket; empty: none
    size_t max_connections = 1064;
};

struct AcceptedConnection {
    UniqueFd socket;
    uint32_t number = 0;  // counts up from 1
    bool over_limit = false;
};

class Listener {
  public:
    using ServeFunction = std::function<void(AcceptedConnection connection)>;

    // `serve` runs in the connection's thread and returns when the connection has ended.
    Listener(ListenerOptions options, ServeFunction serve);
    // Stops.
    ~Listener();

    // kRefused when another process serves the address or the socket; kInvalidArgument for an
    // address that does not resolve or a socket path that is too long.
    Status Start();
    void Stop();

    const StopSignal& stop_signal() const { return stop_; }
    // The TCP port in use; 0 without TCP.
    int port() const { return port_; }
    size_t connections() const { return served_.load(); }
    uint64_t connections_total() const { return next_number_.load(); }

  private:
    struct Worker {
        std::thread thread;
        std::atomic<bool> done{false};
    };

    Status ListenTcp();
    Status ListenUnix();
    void AcceptLoop();
    // False when there was nothing to accept and trying again at once would not help.
    bool AcceptOne(int listening_socket);
    void JoinFinished();

    ListenerOptions options_;
    ServeFunction serve_;
    StopSignal stop_;
    std::vector<UniqueFd> sockets_;
    bool socket_file_made_ = false;
    int port_ = 0;
    std::thread acceptor_;
    std::list<Worker> workers_;  // of the accepting thread
    std::atomic<size_t> served_{0};
    std::atomic<size_t> open_{0};
    std::atomic<uint32_t> next_number_{0};
};

}  // namespace zenith

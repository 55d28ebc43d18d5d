// PageService: the page server as its clients see it: PostgreSQL's protocol on TCP and a Unix
// socket, the commands of command_parser.h behind it.
//
// Threads  Start and Stop from one thread. One thread for each connection inside.
#pragma once

#include <chrono>
#include <cstddef>
#include <memory>
#include <string>

#include "common/base/status.h"
#include "common/pgwire/wire_stream.h"
#include "common/repo/repository.h"
#include "pageserver/page_service/command_handler.h"
#include "pageserver/page_service/listener.h"
#include "pageserver/reconstruct/page_reconstructor.h"
#include "pageserver/timelines/timeline_manager.h"

namespace zenith {

struct PageServiceOptions {
    // Host name or address, "*" for all; empty: no TCP.
    std::string listen_address = "127.0.0.1";
    int listen_port = 0;  // 0: the kernel chooses, see PageService::port()
    // Directory of the Unix socket ".s.PGSQL.<socket_port>"; empty: no Unix socket.
    std::string socket_directory;
    int socket_port = kPageServerSocketPort;
    // Connections that may run `pagestream` at once. The other commands do not count: a page server
    // full of computes can still be told what to do.
    size_t max_connections = 1000;
    // Connections of any kind beyond those.
    size_t reserved_connections = 64;
    // How long a page request may wait for WAL that has not arrived.
    int wait_lsn_timeout_ms = 60 * 1000;
    WireTimeouts timeouts;
    std::string version = "1.0";  // of the page server, for `status`
};

class PageService {
  public:
    // References outlive the service.
    PageService(PageServiceOptions options, const Repository& repository, TimelineManager& manager,
                PageReconstructor& reconstructor);
    // Stops.
    ~PageService();

    // Listens; errors as Listener::Start.
    Status Start();
    // Closes the listening sockets, removes the socket file, tells every client that the server
    // stops, and waits until all connections have ended. A connection that is inside the timeline
    // manager ends when that call does. Not to be started again.
    void Stop();

    // The TCP port in use; 0 without TCP.
    int port() const { return listener_.port(); }
    // Path of the Unix socket; empty without one.
    const std::string& socket_path() const { return socket_path_; }

  private:
    void Serve(AcceptedConnection connection);
    std::vector<std::pair<std::string, std::string>> ProcessStatus() const;

    PageServiceOptions options_;
    const Repository& repository_;
    std::string socket_path_;
    std::chrono::steady_clock::time_point started_at_;
    CommandHandler handler_;
    Listener listener_;
};

}  // namespace zenith

// CommandHandler: runs the commands of the page service, one WireStatement for each parsed command.
//
// Adding a command: an entry in command_parser.cpp, its columns and its case here.
//
// Threads  shared by all connections; all methods from any thread.
#pragma once

#include <atomic>
#include <cstddef>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "common/base/result.h"
#include "common/base/status.h"
#include "common/pgwire/wire_server.h"
#include "common/repo/repository.h"
#include "pageserver/base_backup/base_backup_writer.h"
#include "pageserver/page_service/command_parser.h"
#include "pageserver/page_service/pagestream_handler.h"
#include "pageserver/page_service/ref_commands.h"
#include "pageserver/reconstruct/page_reconstructor.h"
#include "pageserver/timelines/timeline_manager.h"

namespace zenith {

class CommandHandler : public WireHandler {
  public:
    using BaseBackupFunction =
        std::function<Status(const TimelineId&, std::optional<Lsn>, BaseBackupSink&)>;
    // What `status` shows about the process itself: names and values.
    using StatusFunction = std::function<std::vector<std::pair<std::string, std::string>>()>;

    // References outlive the handler. `max_pagestreams`: served at once; one more ends its
    // connection.
    CommandHandler(const Repository& repository, TimelineManager& manager,
                   PageReconstructor& reconstructor, BaseBackupFunction base_backup,
                   StatusFunction process_status, int wait_lsn_timeout_ms, size_t max_pagestreams);

    Result<std::shared_ptr<WireStatement>> Prepare(std::string_view query) override;

    Status Execute(const Command& command, WireSession& session);

    // Being served now.
    size_t pagestreams() const { return pagestreams_.load(); }

  private:
    Status ExecuteStatus(WireSession& session);
    Status ExecuteBaseBackup(const Command& command, WireSession& session);
    Status ExecutePagestream(const Command& command, WireSession& session);
    Status ExecuteTimelineList(WireSession& session);
    Status ExecuteTimelineInfo(const Command& command, WireSession& session);
    Status ExecuteGarbage(const Command& command, WireSession& session);
    Status ExecuteRetention(const Command& command, WireSession& session);

    TimelineManager& manager_;
    PageReconstructor& reconstructor_;
    BaseBackupFunction base_backup_;
    StatusFunction process_status_;
    int wait_lsn_timeout_ms_;
    size_t max_pagestreams_;
    std::atomic<size_t> pagestreams_{0};
    RefCommands refs_;
    PagestreamCounters counters_;
};

}  // namespace zenith

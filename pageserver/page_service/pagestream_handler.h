// PagestreamHandler: answers the page requests of one compute over one COPY BOTH stream.
//
// Requests that have arrived together are answered together: one PageReconstructor::GetPages call
// for each run of requests that read at the same LSN, so that redo sees batches. Responses leave
// in the order of the requests. A page that cannot be had is one failed response; the stream goes
// on. Protocol: common/pagestream/README.md.
//
// Memory   one batch of pages, about kMaxBatchPages of 8 kB.
// Threads  one thread per stream; counters from any.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <vector>

#include "common/base/status.h"
#include "common/pagestream/page_request.h"
#include "common/pgwire/wire_server.h"
#include "pageserver/layers/timeline.h"
#include "pageserver/reconstruct/page_reconstructor.h"

namespace zenith {

struct PagestreamCounters {
    std::atomic<uint64_t> requests{0};
    std::atomic<uint64_t> batches{0};  // calls of GetPages
    std::atomic<uint64_t> pages{0};    // responses with a page, or that there is none
    std::atomic<uint64_t> failures{0};
};

class PagestreamHandler {
  public:
    // Keeps an LSN readable as long as the object exists.
    using HoldFunction = std::function<Result<std::shared_ptr<void>>(Lsn)>;

    // Everything given outlives the handler. `wait_timeout_ms`: how long a request may wait for
    // WAL that has not been ingested yet. `data_checksums`: the cluster has them; redo leaves none,
    // so they are set here, and the compute's buffer manager verifies them. `hold` (may be empty) is
    // called for the LSN of exact reads; the last one is kept.
    PagestreamHandler(std::shared_ptr<Timeline> timeline, PageReconstructor& reconstructor,
                      PagestreamCounters& counters, int wait_timeout_ms, bool data_checksums,
                      HoldFunction hold = {});

    // Serves the stream until the client ends it (OK) or breaks the protocol (kInvalidArgument).
    Status Serve(WireSession& session);

  private:
    static constexpr size_t kMaxBatchPages = kMaxPagesPerRequest;

    // Waits for one request, then takes what else is here. Returns after a broken request with
    // the whole ones before it in *batch.
    Status ReadBatch(WireSession& session, std::vector<PageRequest>* batch, bool* done);
    Status AnswerBatch(WireSession& session, std::span<const PageRequest> batch);
    // The LSN to read a request at; may wait for it. kNotFound, kUnavailable: the answer to it.
    Result<Lsn> ReadLsn(WireSession& session, const PageRequest& request);
    Status WaitForLsn(WireSession& session, Lsn lsn);
    Status AnswerRun(WireSession& session, std::span<const PageRequest> run, Lsn at);
    Status AnswerFailure(WireSession& session, const PageRequest& request, const Status& failure);

    std::shared_ptr<Timeline> timeline_;
    PageReconstructor& reconstructor_;
    PagestreamCounters& counters_;
    int wait_timeout_ms_;
    bool data_checksums_;
    HoldFunction hold_;
    Lsn held_lsn_;
    std::shared_ptr<void> held_;
};

}  // namespace zenith

// PageStream: pages of a page server at an exact LSN, many at a time.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "common/base/lsn.h"
#include "common/base/result.h"
#include "common/pagestream/page_request.h"
#include "common/pagestream/page_response.h"
#include "common/pqclient/pq_connection.h"

namespace zenith {

class PageStream {
  public:
    static Result<PageStream> Open(const std::string& connstr, const std::string& timeline);

    struct Range {
        RelForkKey rel;
        BlockNumber block = 0;
        uint16_t count = 1;  // at most kMaxPagesPerRequest
    };
    // Reads all ranges as of `lsn`. `sink` gets every answer, in order, with its range; `response`
    // is valid during the call. Returns the first error of the stream or of the sink.
    Status Read(Lsn lsn, const std::vector<Range>& ranges,
                const std::function<Status(const Range&, const PageResponse& response)>& sink);

    // Waits until the server has ingested up to `lsn`.
    Status WaitFor(Lsn lsn);

  private:
    explicit PageStream(PqConnection connection) : connection_(std::move(connection)) {}
    Status Send(const PageRequest& request);
    Result<std::string> Receive();

    PqConnection connection_;
};

}  // namespace zenith

#include "regress/check_pages/page_stream.h"

#include "common/pagestream/pagestream_codec.h"
#include "common/pgformat/page_format.h"

namespace zenith {

namespace {
constexpr int kTimeoutMs = 120000;
// Requests under way: enough for the server to work ahead, little enough for the socket's buffers
// not to stop both sides.
constexpr size_t kRequestsAhead = 8;
constexpr Oid kCatalogWithPages = 1262;  // pg_database: it is always there
}  // namespace

Result<PageStream> PageStream::Open(const std::string& connstr, const std::string& timeline) {
    ZENITH_ASSIGN_OR_RETURN(PqConnection connection, PqConnection::Connect(connstr, kTimeoutMs));
    ZENITH_RETURN_IF_ERROR(connection.StartCopyBoth("pagestream " + timeline, kTimeoutMs));
    return PageStream(std::move(connection));
}

Status PageStream::Send(const PageRequest& request) {
    std::string message;
    AppendPageRequest(request, &message);
    return connection_.SendCopyData(std::as_bytes(std::span(message.data(), message.size())),
                                    kTimeoutMs);
}

Result<std::string> PageStream::Receive() {
    ZENITH_ASSIGN_OR_RETURN(std::optional<std::string> message,
                            connection_.ReceiveCopyData(kTimeoutMs));
    if (!message.has_value()) {
        return Status::Unavailable("the page server does not answer");
    }
    return *std::move(message);
}

Status PageStream::Read(
    Lsn lsn, const std::vector<Range>& ranges,
    const std::function<Status(const Range&, const PageResponse& response)>& sink) {
    size_t sent = 0;
    for (size_t answered = 0; answered < ranges.size(); answered++) {
        for (; sent < ranges.size() && sent < answered + kRequestsAhead; sent++) {
            PageRequest request;
            request.request_id = sent;
            request.mode = PageReadMode::kExact;
            request.lsn = lsn;
            request.rel = ranges[sent].rel;
            request.block = ranges[sent].block;
            request.count = ranges[sent].count;
            ZENITH_RETURN_IF_ERROR(Send(request));
        }
        const Range& range = ranges[answered];
        for (BlockNumber block = range.block; block < range.block + range.count; block++) {
            ZENITH_ASSIGN_OR_RETURN(std::string message, Receive());
            ZENITH_ASSIGN_OR_RETURN(
                PageResponse response,
                DecodePageResponse(std::as_bytes(std::span(message.data(), message.size()))));
            if (response.request_id != answered || response.block != block) {
                return Status::Corruption("the page server answered a different request");
            }
            ZENITH_RETURN_IF_ERROR(sink(range, response));
        }
    }
    return Status::Ok();
}

Status PageStream::WaitFor(Lsn lsn) {
    PageRequest request;
    request.mode = PageReadMode::kLatest;
    request.lsn = lsn;
    request.rel = {{kGlobalTablespaceOid, 0, kCatalogWithPages}, Fork::kMain};
    ZENITH_RETURN_IF_ERROR(Send(request));
    ZENITH_ASSIGN_OR_RETURN(std::string message, Receive());
    ZENITH_ASSIGN_OR_RETURN(
        PageResponse response,
        DecodePageResponse(std::as_bytes(std::span(message.data(), message.size()))));
    if (response.kind == PageResponse::Kind::kFailure) {
        return Status::Unavailable(std::string(response.message), std::string(response.hint));
    }
    return Status::Ok();
}

}  // namespace zenith

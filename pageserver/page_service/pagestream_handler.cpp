#include "pageserver/page_service/pagestream_handler.h"

#include <algorithm>
#include <chrono>
#include <string>
#include <utility>

#include "common/base/log.h"
#include "common/pagestream/pagestream_codec.h"
#include "common/pgformat/page_checksum.h"

namespace zenith {

namespace {

// A wait for WAL looks this often whether the server stops or the client has gone.
constexpr int kWaitSliceMs = 200;

std::span<const std::byte> AsBytes(const std::string& text) {
    return std::as_bytes(std::span(text.data(), text.size()));
}

}  // namespace

PagestreamHandler::PagestreamHandler(std::shared_ptr<Timeline> timeline,
                                     PageReconstructor& reconstructor, PagestreamCounters& counters,
                                     int wait_timeout_ms, bool data_checksums,
                                     HoldFunction hold)
    : timeline_(std::move(timeline)),
      reconstructor_(reconstructor),
      counters_(counters),
      wait_timeout_ms_(wait_timeout_ms),
      data_checksums_(data_checksums),
      hold_(std::move(hold)) {}

Status PagestreamHandler::Serve(WireSession& session) {
    ZENITH_RETURN_IF_ERROR(session.StartCopyBoth());
    std::vector<PageRequest> batch;
    bool done = false;
    while (!done) {
        batch.clear();
        Status read = ReadBatch(session, &batch, &done);
        ZENITH_RETURN_IF_ERROR(AnswerBatch(session, batch));
        ZENITH_RETURN_IF_ERROR(read);
    }
    return Status::Ok();
}

Status PagestreamHandler::ReadBatch(WireSession& session, std::vector<PageRequest>* batch,
                                    bool* done) {
    size_t pages = 0;
    while (pages < kMaxBatchPages) {
        std::span<const std::byte> message;
        ZENITH_ASSIGN_OR_RETURN(WireSession::CopyInput input,
                                session.ReceiveCopyData(/*wait=*/batch->empty(), &message));
        if (input == WireSession::CopyInput::kNothingYet) {
            break;
        }
        if (input == WireSession::CopyInput::kDone) {
            *done = true;
            break;
        }
        ZENITH_ASSIGN_OR_RETURN(PageRequest request, DecodePageRequest(message));
        pages += request.count;
        batch->push_back(request);
    }
    counters_.requests += batch->size();
    return Status::Ok();
}

Status PagestreamHandler::AnswerBatch(WireSession& session, std::span<const PageRequest> batch) {
    size_t begin = 0;
    while (begin < batch.size()) {
        Result<Lsn> at = ReadLsn(session, batch[begin]);
        if (!at.ok()) {
            ZENITH_RETURN_IF_ERROR(AnswerFailure(session, batch[begin], at.status()));
            begin++;
            continue;
        }
        // The run goes on while nothing has to be waited for and the LSN is the same.
        size_t end = begin + 1;
        while (end < batch.size() && batch[end].mode == batch[begin].mode &&
               (batch[end].mode == PageReadMode::kLatest ? batch[end].lsn <= *at
                                                         : batch[end].lsn == *at)) {
            end++;
        }
        ZENITH_RETURN_IF_ERROR(AnswerRun(session, batch.subspan(begin, end - begin), *at));
        begin = end;
    }
    return Status::Ok();
}

Result<Lsn> PagestreamHandler::ReadLsn(WireSession& session, const PageRequest& request) {
    Lsn last = timeline_->last_record_end();
    if (request.mode == PageReadMode::kLatest) {
        if (request.lsn > last) {
            ZENITH_RETURN_IF_ERROR(WaitForLsn(session, request.lsn));
            last = timeline_->last_record_end();
        }
        return last;
    }
    if (request.lsn > last) {
        return Status::NotFound("LSN " + request.lsn.ToString() + " is in the future of timeline " +
                                    timeline_->id().ToString() + ", whose last LSN is " +
                                    last.ToString(),
                                "Ask for an LSN at or before the last one.");
    }
    if (hold_ && request.lsn != held_lsn_) {
        ZENITH_ASSIGN_OR_RETURN(held_, hold_(request.lsn));
        held_lsn_ = request.lsn;
    }
    return request.lsn;
}

Status PagestreamHandler::WaitForLsn(WireSession& session, Lsn lsn) {
    // Answers to earlier requests do not wait with us.
    ZENITH_RETURN_IF_ERROR(session.Flush());
    using Clock = std::chrono::steady_clock;
    auto deadline = Clock::now() + std::chrono::milliseconds(wait_timeout_ms_);
    for (;;) {
        auto left = std::chrono::ceil<std::chrono::milliseconds>(deadline - Clock::now()).count();
        int slice = static_cast<int>(std::clamp<int64_t>(left, 0, kWaitSliceMs));
        Status status = timeline_->WaitForLsn(lsn, slice);
        if (status.code() != StatusCode::kUnavailable) {
            return status;
        }
        if (session.ShouldStop()) {
            return Status::Unavailable("the request was given up");
        }
        if (left <= slice) {
            return Status::Unavailable(
                "timeline " + timeline_->id().ToString() + " has not reached LSN " +
                    lsn.ToString() + " within " + std::to_string(wait_timeout_ms_) +
                    " ms, its last LSN is " + timeline_->last_record_end().ToString(),
                "Look in the page server's log for why the WAL does not arrive.");
        }
    }
}

Status PagestreamHandler::AnswerRun(WireSession& session, std::span<const PageRequest> run,
                                    Lsn at) {
    std::vector<PageKey> keys;
    for (const PageRequest& request : run) {
        for (uint32_t i = 0; i < request.count; i++) {
            keys.push_back(PageKey::Relation(request.rel, request.block + i));
        }
    }
    counters_.batches++;
    std::vector<PageReconstructor::PageResult> results =
        reconstructor_.GetPages(timeline_, keys, at);
    if (results.size() != keys.size()) {
        return Status::Internal("asked for " + std::to_string(keys.size()) + " pages, got " +
                                std::to_string(results.size()));
    }
    std::string message;
    size_t next = 0;
    for (const PageRequest& request : run) {
        for (uint32_t i = 0; i < request.count; i++, next++) {
            PageReconstructor::PageResult& result = results[next];
            message.clear();
            if (!result.ok()) {
                counters_.failures++;
                spdlog::warn("page service: could not read {} of timeline {} at {}: {}",
                             keys[next].ToString(), timeline_->id().ToString(), at.ToString(),
                             result.status().message());
                AppendPageFailure(request.request_id, keys[next].block, result.status(), &message);
            } else {
                counters_.pages++;
                PageResponse response;
                response.request_id = request.request_id;
                response.block = keys[next].block;
                if (result->has_value()) {
                    if (data_checksums_) {
                        SetPageChecksum(**result, response.block);
                    }
                    response.kind = PageResponse::Kind::kPage;
                    response.page = **result;
                }
                AppendPageResponse(response, &message);
            }
            ZENITH_RETURN_IF_ERROR(session.SendCopyData(AsBytes(message)));
        }
    }
    return Status::Ok();
}

Status PagestreamHandler::AnswerFailure(WireSession& session, const PageRequest& request,
                                        const Status& failure) {
    std::string message;
    for (uint32_t i = 0; i < request.count; i++) {
        counters_.failures++;
        message.clear();
        AppendPageFailure(request.request_id, request.block + i, failure, &message);
        ZENITH_RETURN_IF_ERROR(session.SendCopyData(AsBytes(message)));
    }
    return Status::Ok();
}

}  // namespace zenith

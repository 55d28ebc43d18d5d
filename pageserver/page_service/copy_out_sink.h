// CopyOutSink: carries a base backup into a COPY OUT stream in pieces of moderate size.
//
// The stream starts with the first byte, so that a backup refused before that is answered by an
// ordinary error. Finish() sends what is left. Not thread-safe; the session outlives the sink.
#pragma once

#include <algorithm>
#include <cstddef>
#include <span>
#include <string>

#include "common/pgwire/wire_server.h"
#include "pageserver/base_backup/base_backup_writer.h"

namespace zenith {

class CopyOutSink : public BaseBackupSink {
  public:
    explicit CopyOutSink(WireSession& session) : session_(session) {}

    Status Write(std::span<const std::byte> data) override {
        while (!data.empty()) {
            size_t n = std::min(data.size(), kPieceSize - buffer_.size());
            buffer_.append(reinterpret_cast<const char*>(data.data()), n);
            data = data.subspan(n);
            if (buffer_.size() == kPieceSize) {
                ZENITH_RETURN_IF_ERROR(SendBuffer());
            }
        }
        return Status::Ok();
    }

    Status Finish() { return SendBuffer(); }

  private:
    static constexpr size_t kPieceSize = 32 * 1024;

    Status SendBuffer() {
        if (!started_) {
            started_ = true;
            ZENITH_RETURN_IF_ERROR(session_.StartCopyOut());
        }
        if (buffer_.empty()) {
            return Status::Ok();
        }
        Status status =
            session_.SendCopyData(std::as_bytes(std::span(buffer_.data(), buffer_.size())));
        buffer_.clear();
        return status;
    }

    WireSession& session_;
    std::string buffer_;
    bool started_ = false;
};

}  // namespace zenith

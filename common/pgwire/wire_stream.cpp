#include "common/pgwire/wire_stream.h"

#include <fcntl.h>
#include <poll.h>
#include <sys/socket.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <limits>

#include "common/base/byte_reader.h"

namespace zenith {

namespace {

constexpr size_t kReadSize = 16 * 1024;
constexpr size_t kFlushSize = 64 * 1024;
// A buffer that one large message made larger than this is given back.
constexpr size_t kKeepCapacity = 256 * 1024;
constexpr size_t kHeaderSize = 5;
// When the server stops, a client that takes nothing holds it up no longer than this.
constexpr int kStoppingWriteMs = 1000;

int PollTimeout(std::optional<int64_t> deadline_ms) {
    if (!deadline_ms) {
        return -1;
    }
    return static_cast<int>(std::clamp<int64_t>(*deadline_ms - WireStream::NowMs(), 0,
                                                std::numeric_limits<int>::max()));
}

std::span<const std::byte> AsBytes(const std::string& text, size_t offset, size_t length) {
    return std::as_bytes(std::span(text.data() + offset, length));
}

Status Gone() {
    return Status::Unavailable("client closed the connection");
}
Status Stopping() {
    return Status::Unavailable("the server is shutting down");
}

}  // namespace

int64_t WireStream::NowMs() {
    return std::chrono::duration_cast<std::chrono::milliseconds>(
               std::chrono::steady_clock::now().time_since_epoch())
        .count();
}

WireStream::WireStream(UniqueFd socket, const StopSignal& stop, const WireTimeouts& timeouts)
    : socket_(std::move(socket)),
      stop_(stop),
      timeouts_(timeouts),
      startup_deadline_ms_(NowMs() + timeouts.startup_ms) {
    int flags = fcntl(socket_.get(), F_GETFL);
    if (flags < 0 || fcntl(socket_.get(), F_SETFL, flags | O_NONBLOCK) != 0) {
        broken_ = true;
    }
}

bool WireStream::PeerGone() const {
    pollfd fd = {socket_.get(), POLLRDHUP, 0};
    return poll(&fd, 1, 0) > 0 && (fd.revents & (POLLRDHUP | POLLHUP | POLLERR)) != 0;
}

void WireStream::DropConsumed() {
    if (input_offset_ == input_.size()) {
        input_.clear();
        input_offset_ = 0;
        if (input_.capacity() > kKeepCapacity) {
            input_.shrink_to_fit();
        }
    } else if (input_offset_ >= kReadSize) {
        input_.erase(0, input_offset_);
        input_offset_ = 0;
    }
}

Result<bool> WireStream::ReceiveSome() {
    size_t old_size = input_.size();
    input_.resize(old_size + kReadSize);
    ssize_t n;
    do {
        n = recv(socket_.get(), input_.data() + old_size, kReadSize, MSG_DONTWAIT);
    } while (n < 0 && errno == EINTR);
    int error = errno;
    input_.resize(old_size + static_cast<size_t>(std::max<ssize_t>(n, 0)));
    if (n > 0) {
        return true;
    }
    if (n < 0 && (error == EAGAIN || error == EWOULDBLOCK)) {
        return false;
    }
    return Gone();
}

Status WireStream::Fill(size_t n, std::optional<int64_t> deadline_ms) {
    while (unread() < n) {
        ZENITH_ASSIGN_OR_RETURN(bool received, ReceiveSome());
        if (received) {
            continue;
        }
        if (stop_.is_set()) {
            return Stopping();
        }
        pollfd fds[2] = {{socket_.get(), POLLIN, 0}, {stop_.fd(), POLLIN, 0}};
        int ready = poll(fds, 2, PollTimeout(deadline_ms));
        if (ready == 0) {
            return Status::Unavailable("client did not send a whole message in time");
        }
        if (ready < 0 && errno != EINTR) {
            return ErrnoStatus("wait for", "client", errno);
        }
    }
    return Status::Ok();
}

Result<std::span<const std::byte>> WireStream::ReadStartupPacket() {
    DropConsumed();
    Status status = Fill(4, startup_deadline_ms_);
    if (!status.ok()) {
        // Port scans and readiness probes connect and leave.
        if (unread() == 0 && !stopping()) {
            return std::span<const std::byte>();
        }
        return status;
    }
    ByteReader reader(AsBytes(input_, input_offset_, 4));
    uint32_t length = reader.U32Be();
    if (length < 8 || length > kMaxStartupPacket) {
        return Status::InvalidArgument("invalid length of startup packet");
    }
    ZENITH_RETURN_IF_ERROR(Fill(length, startup_deadline_ms_));
    std::span<const std::byte> packet = AsBytes(input_, input_offset_ + 4, length - 4);
    input_offset_ += length;
    return packet;
}

Result<size_t> WireStream::PayloadLength() const {
    ByteReader reader(AsBytes(input_, input_offset_, kHeaderSize));
    char type = static_cast<char>(reader.U8());
    uint32_t length = reader.U32Be();
    std::optional<size_t> limit = MaxFrontendPayload(type);
    if (!limit) {
        return Status::InvalidArgument("invalid frontend message type " +
                                       std::to_string(static_cast<unsigned char>(type)));
    }
    if (length < 4 || length - 4 > *limit) {
        return Status::InvalidArgument("invalid message length");
    }
    return length - 4;
}

WireStream::Message WireStream::TakeMessage(size_t payload_length) {
    Message message;
    message.type = input_[input_offset_];
    message.payload = AsBytes(input_, input_offset_ + kHeaderSize, payload_length);
    input_offset_ += kHeaderSize + payload_length;
    return message;
}

Result<WireStream::Message> WireStream::ReadMessage(
    std::optional<int64_t> deadline_ms) {
    ZENITH_RETURN_IF_ERROR(Flush());
    if (stop_.is_set()) {
        return Stopping();
    }
    DropConsumed();
    ZENITH_RETURN_IF_ERROR(Fill(1, deadline_ms));
    int64_t message_deadline_ms = NowMs() + timeouts_.message_ms;
    ZENITH_RETURN_IF_ERROR(Fill(kHeaderSize, message_deadline_ms));
    ZENITH_ASSIGN_OR_RETURN(size_t length, PayloadLength());
    ZENITH_RETURN_IF_ERROR(Fill(kHeaderSize + length, message_deadline_ms));
    return TakeMessage(length);
}

Result<std::optional<WireStream::Message>> WireStream::TryReadMessage() {
    DropConsumed();
    bool tried = false;
    for (;;) {
        if (unread() >= kHeaderSize) {
            ZENITH_ASSIGN_OR_RETURN(size_t length, PayloadLength());
            if (unread() >= kHeaderSize + length) {
                return std::optional<Message>(TakeMessage(length));
            }
        }
        if (tried) {
            return std::optional<Message>();
        }
        tried = true;
        // The end of the connection is reported by ReadMessage, when what came before is answered.
        Result<bool> received = ReceiveSome();
        if (!received.ok() || !*received) {
            return std::optional<Message>();
        }
    }
}

Status WireStream::MaybeFlush() {
    if (output_.size() < kFlushSize) {
        return Status::Ok();
    }
    if (stop_.is_set()) {
        return Stopping();
    }
    return Flush();
}

Status WireStream::Flush() {
    size_t sent = 0;
    while (!broken_ && sent < output_.size()) {
        ssize_t n = send(socket_.get(), output_.data() + sent, output_.size() - sent,
                         MSG_DONTWAIT | MSG_NOSIGNAL);
        if (n > 0) {
            sent += static_cast<size_t>(n);
            continue;
        }
        if (n < 0 && errno == EINTR) {
            continue;
        }
        if (n == 0 || (errno != EAGAIN && errno != EWOULDBLOCK)) {
            broken_ = true;
            break;
        }
        int timeout = timeouts_.write_ms;
        bool was_stopping = stop_.is_set();
        if (was_stopping) {
            timeout = std::min(timeout, kStoppingWriteMs);
        }
        pollfd fds[2] = {{socket_.get(), POLLOUT, 0}, {stop_.fd(), POLLIN, 0}};
        int ready = poll(fds, was_stopping ? 1 : 2, timeout);
        if (ready == 0 || (ready < 0 && errno != EINTR)) {
            broken_ = true;
        }
    }
    output_.clear();
    if (output_.capacity() > kKeepCapacity) {
        output_.shrink_to_fit();
    }
    return broken_ ? Status::Unavailable("client is gone or does not read") : Status::Ok();
}

Status WireStream::SendRawByte(char byte) {
    output_.push_back(byte);
    return Flush();
}

}  // namespace zenith

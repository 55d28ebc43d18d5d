// WireStream: the bytes of one client connection, in messages, with a time limit on every wait that
// the client could prolong.
//
// Reading   the buffer grows by what has arrived, never by a length the client claims. Waiting for
//           the first byte of a message has no limit; the rest of it must follow within
//           `message_timeout_ms`.
//           The wait for the first byte can be given a deadline, too.
// Writing   collects in memory and goes out when kFlushSize has come together or Flush() is called.
//           A client that takes no byte for `write_timeout_ms` is given up.
// Errors    kUnavailable: the client is gone, stuck, or the stop signal was set; nothing more can
// be
//           read or, when broken(), written. kInvalidArgument: the client broke the protocol.
// Threads   one thread at a time; the stop signal from any.
#pragma once

#include <cstddef>
#include <optional>
#include <span>
#include <string>

#include "common/base/result.h"
#include "common/base/status.h"
#include "common/base/unique_fd.h"
#include "common/pgwire/stop_signal.h"
#include "common/pgwire/wire_message.h"

namespace zenith {

struct WireTimeouts {
    int startup_ms = 10 * 1000;
    // From the stream's construction to the first command a client runs.
    int first_command_ms = 60 * 1000;
    int message_ms = 60 * 1000;
    int write_ms = 60 * 1000;
};

class WireStream {
  public:
    // The clock of deadlines: steady, in milliseconds.
    static int64_t NowMs();

    // `stop` outlives the stream. The socket becomes non-blocking.
    WireStream(UniqueFd socket, const StopSignal& stop, const WireTimeouts& timeouts);

    struct Message {
        char type = 0;
        std::span<const std::byte> payload;  // valid until the next read
    };

    // The first packet: its bytes after the length word. All packets of a startup together must
    // arrive within `startup_ms` of the stream's construction. Empty: the client left silently.
    Result<std::span<const std::byte>> ReadStartupPacket();
    // Sends what is collected, then waits for a whole message; kUnavailable when none has begun at
    // `deadline_ms` of NowMs().
    Result<Message> ReadMessage(std::optional<int64_t> deadline_ms = std::nullopt);
    // A message that is here already; nullopt when none is. Does not wait and does not send.
    Result<std::optional<Message>> TryReadMessage();

    // Messages are appended here by the functions of wire_message.h; then MaybeFlush or Flush.
    std::string& output() { return output_; }
    Status MaybeFlush();
    Status Flush();
    // Sends one byte outside of any message, the answer to a request for encryption.
    Status SendRawByte(char byte);

    // Writing has failed: there is nobody to send an error to.
    bool broken() const { return broken_; }
    bool stopping() const { return stop_.is_set(); }
    // The client has closed the connection, as far as can be seen without reading.
    bool PeerGone() const;

  private:
    // Waits until `n` unread bytes are in the buffer.
    Status Fill(size_t n, std::optional<int64_t> deadline_ms);
    // Takes what the socket has without waiting; false when there was nothing.
    Result<bool> ReceiveSome();
    // Length of the payload of the message at the front, whose 5 header bytes are in the buffer.
    Result<size_t> PayloadLength() const;
    size_t unread() const { return input_.size() - input_offset_; }
    Message TakeMessage(size_t payload_length);
    void DropConsumed();

    UniqueFd socket_;
    const StopSignal& stop_;
    WireTimeouts timeouts_;
    int64_t startup_deadline_ms_;
    std::string input_;
    size_t input_offset_ = 0;
    std::string output_;
    bool broken_ = false;
};

}  // namespace zenith

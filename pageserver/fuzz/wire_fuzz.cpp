// A whole conversation over a socket pair: the first byte chooses whether a good startup packet
// goes before the rest of the input. The connection must end by itself once the input is used up.
#include <sys/socket.h>

#include <cstdint>
#include <cstdlib>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "common/pgwire/wire_server.h"

namespace {

// A statement of each shape: rows, a stream out, a stream both ways, an error.
class FuzzStatement : public zenith::WireStatement {
  public:
    explicit FuzzStatement(char shape) : shape_(shape) {
        if (shape_ == 'r') {
            columns_ = {"a", "b"};
        }
    }
    const std::vector<std::string>& columns() const override { return columns_; }
    zenith::Status Execute(zenith::WireSession& session) override {
        switch (shape_) {
            case 'r':
                for (int i = 0; i < 3; i++) {
                    session.AddRow({"value", std::nullopt});
                }
                return zenith::Status::Ok();
            case 'o':
                ZENITH_RETURN_IF_ERROR(session.StartCopyOut());
                return session.SendCopyData(std::as_bytes(std::span("data")));
            case 'b': {
                ZENITH_RETURN_IF_ERROR(session.StartCopyBoth());
                for (;;) {
                    std::span<const std::byte> data;
                    ZENITH_ASSIGN_OR_RETURN(auto input, session.ReceiveCopyData(true, &data));
                    if (input == zenith::WireSession::CopyInput::kDone) {
                        return zenith::Status::Ok();
                    }
                    ZENITH_RETURN_IF_ERROR(session.SendCopyData(data));
                }
            }
            default:
                return zenith::Status::NotFound("nothing", "Look elsewhere.");
        }
    }

  private:
    char shape_;
    std::vector<std::string> columns_;
};

class FuzzHandler : public zenith::WireHandler {
  public:
    zenith::Result<std::shared_ptr<zenith::WireStatement>> Prepare(
        std::string_view query) override {
        if (query.empty()) {
            return std::shared_ptr<zenith::WireStatement>();
        }
        if (query.front() == 'x') {
            return zenith::Status::InvalidArgument("no such command");
        }
        return std::shared_ptr<zenith::WireStatement>(
            std::make_shared<FuzzStatement>(query.front()));
    }
};

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
    if (size == 0) {
        return 0;
    }
    std::string input;
    if (data[0] % 4 != 0) {
        input.assign("\0\0\0\x10\0\3\0\0user\0u\0\0", 16);
    }
    input.append(reinterpret_cast<const char*>(data + 1), size - 1);
    int fds[2];
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds) != 0) {
        abort();
    }
    zenith::UniqueFd client(fds[0]);
    std::thread reader([&client, &input] {
        // The server may close before it has read everything.
        send(client.get(), input.data(), input.size(), MSG_NOSIGNAL);
        shutdown(client.get(), SHUT_WR);
        char buffer[4096];
        while (recv(client.get(), buffer, sizeof buffer, 0) > 0) {
        }
    });
    zenith::StopSignal stop;
    FuzzHandler handler;
    zenith::WireConnection(zenith::UniqueFd(fds[1]), stop, handler, {})
        .Run()
        .Ignore("any outcome but a crash or a hang is fine");
    reader.join();
    return 0;
}

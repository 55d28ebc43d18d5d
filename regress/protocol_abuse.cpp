// protocol_abuse: sends the page server what no client should, over TCP and the Unix socket, and
// after every kind of abuse asks for its status in an orderly way.
//
//   protocol_abuse HOST PORT SOCKET_PATH TIMELINE SEED
//
// Random bytes, half messages, wrong and huge lengths, unknown message types, protocol violations
// of the extended protocol and of COPY BOTH, unknown timelines, LSNs from the future. Every abuse
// must be answered by an error or by the end of the connection, in kAnswerSeconds. Exit code 0: it
// was.
#include <arpa/inet.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <chrono>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <random>
#include <string>
#include <vector>

namespace {

constexpr int kAnswerSeconds = 20;

std::string Int32(uint32_t value) {
    return {static_cast<char>(value >> 24), static_cast<char>(value >> 16),
            static_cast<char>(value >> 8), static_cast<char>(value)};
}
std::string Int16(uint16_t value) {
    return {static_cast<char>(value >> 8), static_cast<char>(value)};
}
std::string Int64(uint64_t value) {
    return Int32(static_cast<uint32_t>(value >> 32)) + Int32(static_cast<uint32_t>(value));
}
std::string Text(const std::string& text) {
    return text + std::string(1, '\0');
}
std::string Message(char type, const std::string& body) {
    return std::string(1, type) + Int32(static_cast<uint32_t>(body.size() + 4)) + body;
}
std::string Startup() {
    const std::string body = Int32(196608) + Text("user") + Text("postgres") +
                             Text("application_name") + Text("protocol_abuse") +
                             std::string(1, '\0');
    return Int32(static_cast<uint32_t>(body.size() + 4)) + body;
}
std::string Query(const std::string& command) {
    return Message('Q', Text(command));
}

struct Address {
    std::string host;
    int port = 0;
    std::string socket_path;
};

class Connection {
  public:
    Connection(const Address& address, bool by_socket) {
        if (by_socket) {
            sockaddr_un name{};
            name.sun_family = AF_UNIX;
            snprintf(name.sun_path, sizeof name.sun_path, "%s", address.socket_path.c_str());
            fd_ = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
            Connect(reinterpret_cast<sockaddr*>(&name), sizeof name);
        } else {
            sockaddr_in name{};
            name.sin_family = AF_INET;
            name.sin_port = htons(static_cast<uint16_t>(address.port));
            inet_pton(AF_INET, address.host.c_str(), &name.sin_addr);
            fd_ = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
            Connect(reinterpret_cast<sockaddr*>(&name), sizeof name);
        }
    }
    Connection(const Connection&) = delete;
    Connection& operator=(const Connection&) = delete;
    ~Connection() { Close(); }

    void Close() {
        if (fd_ >= 0) {
            close(fd_);
        }
        fd_ = -1;
    }

    // What the server no longer wants to read is not sent; it has closed the connection then.
    void Send(const std::string& bytes) {
        size_t sent = 0;
        while (sent < bytes.size()) {
            pollfd wait{fd_, POLLOUT, 0};
            if (poll(&wait, 1, kAnswerSeconds * 1000) <= 0) {
                return;
            }
            ssize_t n =
                send(fd_, bytes.data() + sent, bytes.size() - sent, MSG_NOSIGNAL | MSG_DONTWAIT);
            if (n <= 0) {
                return;
            }
            sent += static_cast<size_t>(n);
        }
    }
    void EndOfInput() { shutdown(fd_, SHUT_WR); }

    enum class Answer { kMessage, kClosed, kTimeout };
    Answer Receive(char* type, std::string* body) {
        for (;;) {
            if (received_.size() >= 5) {
                uint32_t length = 0;
                for (int i = 1; i <= 4; i++) {
                    length =
                        length << 8 | static_cast<unsigned char>(received_[static_cast<size_t>(i)]);
                }
                if (received_.size() >= length + size_t{1}) {
                    *type = received_[0];
                    *body = received_.substr(5, length - 4);
                    received_.erase(0, length + size_t{1});
                    return Answer::kMessage;
                }
            }
            pollfd wait{fd_, POLLIN, 0};
            if (poll(&wait, 1, kAnswerSeconds * 1000) <= 0) {
                return Answer::kTimeout;
            }
            char buffer[16384];
            ssize_t n = recv(fd_, buffer, sizeof buffer, 0);
            if (n <= 0) {
                return Answer::kClosed;
            }
            received_.append(buffer, static_cast<size_t>(n));
        }
    }

    // Reads until one of `types` or the end; '\0' for the end, '!' for silence.
    char Await(const std::string& types) {
        char type = 0;
        std::string body;
        for (;;) {
            switch (Receive(&type, &body)) {
                case Answer::kClosed:
                    return '\0';
                case Answer::kTimeout:
                    return '!';
                case Answer::kMessage:
                    if (types.find(type) != std::string::npos) {
                        return type;
                    }
            }
        }
    }

  private:
    void Connect(sockaddr* name, socklen_t size) {
        if (fd_ < 0 || connect(fd_, name, size) != 0) {
            perror("could not connect to the page server");
            exit(1);
        }
    }

    int fd_ = -1;
    std::string received_;
};

class Abuse {
  public:
    Abuse(Address address, std::string timeline, unsigned seed)
        : address_(std::move(address)), timeline_(std::move(timeline)), random_(seed) {}

    int Run() {
        for (bool by_socket : {false, true}) {
            by_socket_ = by_socket;
            BeforeStartup();
            Messages();
            ExtendedProtocol();
            Commands();
            Pagestream();
            ManyAtOnce();
        }
        printf("%d abuses, %d failures\n", count_, failures_);
        return failures_ == 0 ? 0 : 1;
    }

  private:
    std::unique_ptr<Connection> Open() {
        return std::make_unique<Connection>(address_, by_socket_);
    }
    std::unique_ptr<Connection> OpenReady() {
        auto connection = Open();
        connection->Send(Startup());
        if (connection->Await("Z") != 'Z') {
            Failure("an orderly startup got no answer");
        }
        return connection;
    }

    void Failure(const std::string& what) {
        failures_++;
        fprintf(stderr, "%s: %s\n", by_socket_ ? "Unix socket" : "TCP", what.c_str());
    }

    // The server still serves: a new connection gets rows for "status".
    void CheckServing(const std::string& after) {
        auto connection = OpenReady();
        connection->Send(Query("status"));
        if (connection->Await("DEZ") != 'D' || connection->Await("Z") != 'Z') {
            Failure("no status after: " + after);
        }
    }

    // Sends bytes as the whole input of a connection and demands an end: an error, or just the end
    // of the connection.
    void Refused(const std::string& name, bool started, const std::string& bytes,
                 bool end_of_input = false) {
        count_++;
        auto connection = started ? OpenReady() : Open();
        connection->Send(bytes);
        if (end_of_input) {
            connection->EndOfInput();
        }
        char answer = connection->Await("E");
        if (answer != 'E' && answer != '\0') {
            Failure("neither an error nor the end of the connection: " + name);
        }
        connection->Close();
        CheckServing(name);
    }

    // Sends bytes and leaves.
    void Abandoned(const std::string& name, bool started, const std::string& bytes) {
        count_++;
        auto connection = started ? OpenReady() : Open();
        connection->Send(bytes);
        connection->Close();
        CheckServing(name);
    }

    std::string RandomBytes(size_t size) {
        std::string bytes(size, '\0');
        for (char& byte : bytes) {
            byte = static_cast<char>(random_());
        }
        return bytes;
    }

    void BeforeStartup() {
        for (size_t size : {size_t{0}, size_t{1}, size_t{3}, size_t{7}, size_t{8}, size_t{100},
                            size_t{5000}, size_t{100000}}) {
            for (int i = 0; i < 5; i++) {
                Refused("random bytes", false, RandomBytes(size), true);
                Abandoned("random bytes", false, RandomBytes(size));
            }
        }
        for (uint32_t length :
             {0U, 1U, 3U, 4U, 7U, 8U, 9U, 0x7fffffffU, 0x80000000U, 0xffffffffU}) {
            Refused("startup of a wrong length", false, Int32(length) + Int32(196608) + "user",
                    true);
        }
        Refused("protocol 2", false, Int32(8) + Int32(131072));
        Refused("protocol 9.9", false, Int32(9) + Int32(9 << 16 | 9) + std::string(1, '\0'));
        Refused("startup without an end", false, Int32(20) + Int32(196608) + "user12345678");
        Refused("SSL twice, then nothing", false,
                Int32(8) + Int32(80877103) + Int32(8) + Int32(80877103), true);
        Refused("cancel of an unknown process", false,
                Int32(16) + Int32(80877102) + Int32(1) + Int32(2));
        const std::string startup = Startup();
        for (size_t part = 1; part < startup.size(); part += 5) {
            Abandoned("half a startup", false, startup.substr(0, part));
        }
        std::string many = Int32(196608);
        for (int i = 0; i < 1000; i++) {
            many += Text("name" + std::to_string(i)) + Text("value");
        }
        many += std::string(1, '\0');
        Abandoned("a thousand parameters", false,
                  Int32(static_cast<uint32_t>(many.size() + 4)) + many);
    }

    void Messages() {
        for (int type = 0; type < 256; type++) {
            if (strchr("QPBDECSHXdcfFp", type) == nullptr || type == 0) {
                Refused("unknown message type " + std::to_string(type), true,
                        Message(static_cast<char>(type), "body"));
            }
        }
        for (uint32_t length : {0U, 1U, 3U, 0x10000000U, 0x7fffffffU, 0x80000000U, 0xffffffffU}) {
            Refused("query of a wrong length", true, "Q" + Int32(length) + Text("status"), true);
            Refused("parse of a wrong length", true, "P" + Int32(length) + Text("status"), true);
        }
        Refused("query without an end", true, Message('Q', "status"));
        Refused("query with an inner end", true, Message('Q', Text("status") + Text("x")));
        Refused("long garbage", true, Query(std::string(1000000, 'x')));
        Refused("random query", true, Message('Q', RandomBytes(500) + std::string(1, '\0')));
        const std::string query = Query("status");
        for (size_t part = 1; part < query.size(); part++) {
            Abandoned("half a query", true, query.substr(0, part));
        }
        for (int i = 0; i < 50; i++) {
            Refused("random bytes after startup", true, RandomBytes(1 + random_() % 2000), true);
        }
        Abandoned("a thousand queries at once", true, [] {
            std::string all;
            for (int i = 0; i < 1000; i++) {
                all += Query("status");
            }
            return all;
        }());
    }

    void ExtendedProtocol() {
        const std::string sync = Message('S', "");
        Refused("bind of an unknown statement", true,
                Message('B', Text("") + Text("nothing") + Int16(0) + Int16(0) + Int16(0)) + sync);
        Refused("execute of an unknown portal", true,
                Message('E', Text("nothing") + Int32(0)) + sync);
        Refused("describe of nothing", true, Message('D', "X" + Text("")) + sync);
        Refused("empty bind", true, Message('B', "") + sync);
        for (uint16_t count : {uint16_t{1}, uint16_t{0x7fff}, uint16_t{0xffff}}) {
            Refused("bind with too few values", true,
                    Message('P', Text("") + Text("status") + Int16(0)) +
                        Message('B', Text("") + Text("") + Int16(0) + Int16(count)) + sync);
            Refused("bind with too few formats", true,
                    Message('P', Text("") + Text("status") + Int16(0)) +
                        Message('B', Text("") + Text("") + Int16(count)) + sync);
            Refused("parse with too few types", true,
                    Message('P', Text("") + Text("status") + Int16(count)) + sync);
        }
        Refused("a value of negative length", true,
                Message('P', Text("") + Text("status") + Int16(0)) +
                    Message('B', Text("") + Text("") + Int16(0) + Int16(1) + Int32(0x80000000)) +
                    sync);
        Refused("COPY data out of place", true,
                Message('d', "data") + Message('Q', Text("nonsense")));
        Abandoned("execute without sync", true,
                  Message('P', Text("") + Text("status") + Int16(0)) +
                      Message('B', Text("") + Text("") + Int16(0) + Int16(0) + Int16(0)) +
                      Message('E', Text("") + Int32(0)));
    }

    void Commands() {
        const std::string unknown = "0123456789abcdef0123456789abcdef";
        for (const std::string& command : std::vector<std::string>{
                 "nonsense",
                 "pagestream",
                 "pagestream " + unknown,
                 "pagestream ../../etc",
                 "pagestream " + timeline_ + " more words",
                 "basebackup",
                 "basebackup " + unknown,
                 "basebackup " + timeline_ + " FFFFFFFF/FFFFFFFF",
                 "basebackup " + timeline_ + " 0/0",
                 "basebackup " + timeline_ + " 0/1",
                 "basebackup " + timeline_ + " x",
                 "basebackup " + timeline_ + " FFFFFFFFFF/0",
                 "callmemaybe",
                 "callmemaybe " + unknown + " 1 x",
                 "callmemaybe " + timeline_ + " 99999999999999999999 'host=/nowhere'",
                 "callmemaybe " + timeline_ + " -1 'host=/nowhere'",
                 "callmemaybe " + timeline_ + " 4000000000 'host=/nowhere'",
                 "callmemaybe " + timeline_ + " 0 'host=/nowhere'",
                 "callmemaybe " + timeline_ + " 1 'unterminated",
                 "branch_create ../x main",
                 "branch_create x main@FFFFFFFF/FFFFFFFF",
                 "branch_create x " + unknown,
                 "branch_create x nothing",
                 "branch_delete nothing",
                 "branch_delete main",
                 "branch_create main main",
                 "tag_create x main@FFFFFFFF/0",
                 "tag_delete nothing",
                 "timeline_info " + unknown,
                 "timeline_info ''",
                 "'",
                 "''''",
                 std::string(5000, '\'')}) {
            Refused("command " + command.substr(0, 60), true, Query(command));
        }
    }

    std::string PageRequest(uint8_t mode, uint64_t lsn, uint32_t relation, uint8_t fork,
                            uint32_t block, uint16_t count, uint8_t version = 1) {
        std::string body = "G";
        body += static_cast<char>(version);
        body += Int64(7);
        body += static_cast<char>(mode);
        body += Int64(lsn) + Int32(1663) + Int32(1) + Int32(relation);
        body += static_cast<char>(fork);
        return body + Int32(block) + Int16(count);
    }

    // In COPY BOTH: an error message, a failure of one block, or the end; a page only where `page`.
    void StreamRefused(const std::string& name, const std::string& bytes,
                       bool end_of_input = false) {
        count_++;
        auto connection = OpenReady();
        connection->Send(Query("pagestream " + timeline_));
        if (connection->Await("WE") != 'W') {
            Failure("pagestream of a known timeline was refused");
            return;
        }
        connection->Send(bytes);
        if (end_of_input) {
            connection->EndOfInput();
        }
        char type = 0;
        std::string body;
        Connection::Answer answer = connection->Receive(&type, &body);
        const bool failure = answer == Connection::Answer::kMessage &&
                             (type == 'E' || type == 'c' || (type == 'd' && body[0] == 'E'));
        if (!failure && answer != Connection::Answer::kClosed) {
            Failure("neither an error nor the end of the stream: " + name);
        }
        connection->Close();
        CheckServing(name);
    }

    void Pagestream() {
        auto data = [](const std::string& body) { return Message('d', body); };
        constexpr uint64_t kFuture = 0xffffffff00000000;
        StreamRefused("exact LSN from the future", data(PageRequest(1, kFuture, 1259, 0, 0, 1)));
        StreamRefused("exact LSN before history", data(PageRequest(1, 1, 1259, 0, 0, 1)));
        StreamRefused("unknown mode", data(PageRequest(9, 1, 1259, 0, 0, 1)));
        StreamRefused("unknown version", data(PageRequest(0, 1, 1259, 0, 0, 1, 99)));
        StreamRefused("unknown fork", data(PageRequest(0, 1, 1259, 200, 0, 1)));
        StreamRefused("no block", data(PageRequest(0, 1, 1259, 0, 0, 0)));
        StreamRefused("too many blocks", data(PageRequest(0, 1, 1259, 0, 0, 65535)));
        StreamRefused("blocks past the last number",
                      data(PageRequest(0, 1, 1259, 0, 0xffffffff, 256)));
        StreamRefused("empty request", data(""));
        StreamRefused("COPY data of a huge length", "d" + Int32(0x7fffffff) + "G", true);
        StreamRefused("COPY data of a wrong length", "d" + Int32(2) + "G");
        StreamRefused("query inside the stream", Query("status"));
        StreamRefused("end at once", Message('c', ""));
        StreamRefused("COPY failed", Message('f', Text("gave up")));
        const std::string request = PageRequest(0, 1, 1259, 0, 0, 1);
        for (size_t part = 1; part < request.size(); part += 3) {
            StreamRefused("half a request", data(request.substr(0, part)));
        }
        StreamRefused("a request and more", data(request + "x"));
        for (int i = 0; i < 50; i++) {
            std::string bytes = RandomBytes(1 + random_() % 100);
            bytes[0] = i % 2 == 0 ? 'G' : bytes[0];
            if (bytes.size() > 1) {
                bytes[1] = 2;  // a version there is not, so that no valid request comes about
            }
            StreamRefused("random request", data(bytes));
        }
        // Waits for an LSN that does not come, and pages asked for and never taken.
        const std::string to_stream = Query("pagestream " + timeline_);
        Abandoned("waiting for the future", true,
                  to_stream + data(PageRequest(0, kFuture, 1259, 0, 0, 1)));
        std::string flood = to_stream;
        for (int i = 0; i < 2000; i++) {
            flood += data(PageRequest(0, 1, 1259, 0, 0, 256));
        }
        Abandoned("half a million pages asked for", true, flood);
        Abandoned("a base backup nobody takes", true, Query("basebackup " + timeline_ + " 0/0"));
    }

    void ManyAtOnce() {
        std::vector<std::unique_ptr<Connection>> idle;
        for (int i = 0; i < 100; i++) {
            idle.push_back(Open());
            if (i % 4 == 1) {
                idle.back()->Send(Startup().substr(0, 10));
            } else if (i % 4 == 2) {
                idle.back()->Send(Startup());
            } else if (i % 4 == 3) {
                idle.back()->Send(Startup() + Query("pagestream " + timeline_) +
                                  Message('d', PageRequest(0, 0xffffffff00000000, 1259, 0, 0, 1)));
            }
        }
        count_ += 100;
        CheckServing("a hundred connections that say nothing more");
    }

    Address address_;
    std::string timeline_;
    std::mt19937 random_;
    bool by_socket_ = false;
    int count_ = 0;
    int failures_ = 0;
};

}  // namespace

int main(int argc, char** argv) {
    if (argc != 6) {
        fprintf(stderr, "usage: protocol_abuse HOST PORT SOCKET_PATH TIMELINE SEED\n");
        return 2;
    }
    Address address{argv[1], atoi(argv[2]), argv[3]};
    return Abuse(address, argv[4], static_cast<unsigned>(atoi(argv[5]))).Run();
}

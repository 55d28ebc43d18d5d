// storage_probe: what bench_storage.sh measures to the millisecond, over the page server's Unix socket.
//
//   storage_probe start SOCKET LOG TIMELINE SPC/DB/REL BLOCK PROGRAM [ARGUMENT...]
//       starts a page server (which stays) and asks for one page as soon as it answers; prints the
//       milliseconds from before the start to the page
//   storage_probe branches SOCKET COUNT PREFIX POINT...
//       branch_create PREFIX1 ... PREFIXn in one connection, at each of the points in turn; prints
//       p50, p99 and the longest, in milliseconds
//   storage_probe chain SOCKET COUNT PREFIX POINT
//       the same, each a branch of the one before, the first of POINT
//   storage_probe reads SOCKET TIMELINE SPC/DB/REL BLOCKS COUNT SEED
//       reads single random pages one after the other; prints p50, p99 and mean, in microseconds
//
// Exit code 1 and a message when anything is answered by an error.
#include <fcntl.h>
#include <poll.h>
#include <sys/inotify.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <random>
#include <string>
#include <utility>
#include <vector>

namespace {

using Clock = std::chrono::steady_clock;
constexpr int kAnswerMs = 60000;
constexpr size_t kPageSize = 8192;

[[noreturn]] void Fail(const std::string& what) {
    fprintf(stderr, "storage_probe: %s\n", what.c_str());
    exit(1);
}

double Microseconds(Clock::duration time) {
    return std::chrono::duration<double, std::micro>(time).count();
}

std::string Big(uint64_t value, int bytes) {
    std::string text;
    for (int shift = 8 * (bytes - 1); shift >= 0; shift -= 8) {
        text += static_cast<char>(value >> shift);
    }
    return text;
}
std::string Text(const std::string& text) {
    return text + std::string(1, '\0');
}
std::string Message(char type, const std::string& body) {
    return std::string(1, type) + Big(body.size() + 4, 4) + body;
}

struct Relation {
    uint64_t spc = 0, db = 0, rel = 0;
};

Relation ParseRelation(const char* text) {
    Relation relation;
    if (sscanf(text, "%lu/%lu/%lu", &relation.spc, &relation.db, &relation.rel) != 3) {
        Fail(std::string("not a relation: ") + text);
    }
    return relation;
}

// A connection to the page service. Waits in poll(), never in sleep.
class Connection {
  public:
    // False: nobody listens there yet.
    bool Connect(const std::string& path) {
        sockaddr_un name{};
        name.sun_family = AF_UNIX;
        snprintf(name.sun_path, sizeof name.sun_path, "%s", path.c_str());
        fd_ = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
        if (fd_ < 0) {
            Fail("no socket");
        }
        if (connect(fd_, reinterpret_cast<sockaddr*>(&name), sizeof name) != 0) {
            close(fd_);
            return false;
        }
        const std::string body = Big(196608, 4) + Text("user") + Text("postgres") +
                                 Text("application_name") + Text("storage_probe") +
                                 std::string(1, '\0');
        Send(Big(body.size() + 4, 4) + body);
        Await('Z');
        return true;
    }

    void Command(const std::string& command) {
        Send(Message('Q', Text(command)));
        Await('Z');
    }
    void BeginPagestream(const std::string& timeline) {
        Send(Message('Q', Text("pagestream " + timeline)));
        Await('W');
    }
    // The newest version.
    void ReadPage(const Relation& relation, uint64_t block) {
        request_++;
        Send(Message('d', "G" + Big(1, 1) + Big(request_, 8) + Big(0, 1) + Big(0, 8) +
                              Big(relation.spc, 4) + Big(relation.db, 4) + Big(relation.rel, 4) +
                              Big(0, 1) + Big(block, 4) + Big(1, 2)));
        const std::string answer = Await('d');
        // 'P', request, block, present, page
        if (answer.empty() || answer[0] != 'P' || answer.size() != 14 + kPageSize) {
            Fail("block " + std::to_string(block) + " was not served: " +
                 answer.substr(answer.empty() || answer[0] == 'P' ? 0 : 18));
        }
    }

  private:
    void Send(const std::string& bytes) {
        for (size_t sent = 0; sent < bytes.size();) {
            const ssize_t n = send(fd_, bytes.data() + sent, bytes.size() - sent, MSG_NOSIGNAL);
            if (n <= 0) {
                Fail("the page server closed the connection");
            }
            sent += static_cast<size_t>(n);
        }
    }
    // The body of the next message of `type`; an error ends the program.
    std::string Await(char type) {
        for (;;) {
            if (received_.size() >= 5) {
                uint32_t length = 0;
                for (size_t i = 1; i <= 4; i++) {
                    length = length << 8 | static_cast<unsigned char>(received_[i]);
                }
                if (received_.size() >= length + size_t{1}) {
                    const char found = received_[0];
                    std::string body = received_.substr(5, length - 4);
                    received_.erase(0, length + size_t{1});
                    if (found == 'E') {
                        std::replace(body.begin(), body.end(), '\0', ' ');
                        Fail("the page server answered: " + body);
                    }
                    if (found == type) {
                        return body;
                    }
                    continue;
                }
            }
            pollfd wait{fd_, POLLIN, 0};
            if (poll(&wait, 1, kAnswerMs) <= 0) {
                Fail("no answer");
            }
            char buffer[16384];
            const ssize_t n = recv(fd_, buffer, sizeof buffer, 0);
            if (n <= 0) {
                Fail("the page server closed the connection");
            }
            received_.append(buffer, static_cast<size_t>(n));
        }
    }

    int fd_ = -1;
    uint64_t request_ = 0;
    std::string received_;
};

void ConnectNow(Connection* connection, const std::string& socket) {
    if (!connection->Connect(socket)) {
        Fail("nobody listens on " + socket);
    }
}

// The process is a daemon afterwards: its own session, output into the log.
void StartProgram(char** argv, const char* log) {
    const pid_t pid = fork();
    if (pid < 0) {
        Fail("no process");
    }
    if (pid > 0) {
        return;
    }
    setsid();
    const int in = open("/dev/null", O_RDONLY);
    const int out = open(log, O_WRONLY | O_CREAT | O_APPEND, 0600);
    if (in < 0 || out < 0 || dup2(in, 0) < 0 || dup2(out, 1) < 0 || dup2(out, 2) < 0) {
        _exit(126);
    }
    execvp(argv[0], argv);
    _exit(127);
}

int Start(int argc, char** argv) {
    if (argc < 8) {
        Fail("start needs more arguments");
    }
    const std::string socket = argv[2];
    const Relation relation = ParseRelation(argv[5]);
    const uint64_t block = strtoul(argv[6], nullptr, 10);
    // The socket of a killed one would look like the new one's.
    unlink(socket.c_str());
    const int watch = inotify_init1(IN_CLOEXEC | IN_NONBLOCK);
    if (watch < 0 || inotify_add_watch(watch, socket.substr(0, socket.rfind('/')).c_str(),
                                       IN_CREATE) < 0) {
        Fail("cannot watch the socket's directory");
    }
    const Clock::time_point begin = Clock::now();
    StartProgram(argv + 7, argv[3]);
    Connection connection;
    while (!connection.Connect(socket)) {
        // Between the socket's creation and its listen() there is no event to wait for.
        pollfd wait{watch, POLLIN, 0};
        poll(&wait, 1, access(socket.c_str(), F_OK) == 0 ? 0 : 100);
        char events[4096];
        while (read(watch, events, sizeof events) > 0) {
        }
        if (Clock::now() - begin > std::chrono::seconds(60)) {
            Fail("the page server does not answer");
        }
    }
    connection.BeginPagestream(argv[4]);
    connection.ReadPage(relation, block);
    printf("%.1f\n", Microseconds(Clock::now() - begin) / 1000);
    return 0;
}

void Print(std::vector<double> times, double unit) {
    std::sort(times.begin(), times.end());
    auto at = [&](double part) {
        return times[static_cast<size_t>(part * static_cast<double>(times.size() - 1))] / unit;
    };
    double sum = 0;
    for (double time : times) {
        sum += time;
    }
    printf("%.2f %.2f %.2f %.2f\n", at(0.5), at(0.99), times.back() / unit,
           sum / static_cast<double>(times.size()) / unit);
}

int Branches(int argc, char** argv, bool chain) {
    if (argc < 6) {
        Fail("branches needs more arguments");
    }
    Connection connection;
    ConnectNow(&connection, argv[2]);
    const int count = atoi(argv[3]);
    const std::string prefix = argv[4];
    std::vector<double> times;
    std::string point;
    for (int i = 1; i <= count; i++) {
        if (!chain || i == 1) {
            point = argv[5 + (i - 1) % (argc - 5)];
        }
        const std::string name = prefix + std::to_string(i);
        const Clock::time_point begin = Clock::now();
        connection.Command("branch_create " + name + " " + point);
        times.push_back(Microseconds(Clock::now() - begin));
        point = name;
    }
    Print(times, 1000);
    return 0;
}

int Reads(int argc, char** argv) {
    if (argc != 8) {
        Fail("reads needs other arguments");
    }
    Connection connection;
    ConnectNow(&connection, argv[2]);
    connection.BeginPagestream(argv[3]);
    const Relation relation = ParseRelation(argv[4]);
    const uint64_t blocks = strtoul(argv[5], nullptr, 10);
    std::mt19937_64 random(strtoul(argv[7], nullptr, 10));
    std::vector<double> times;
    for (long i = atol(argv[6]); i > 0; i--) {
        const uint64_t block = random() % blocks;
        const Clock::time_point begin = Clock::now();
        connection.ReadPage(relation, block);
        times.push_back(Microseconds(Clock::now() - begin));
    }
    Print(times, 1);
    return 0;
}

}  // namespace

int main(int argc, char** argv) {
    const std::string command = argc > 2 ? argv[1] : "";
    if (command == "start") {
        return Start(argc, argv);
    }
    if (command == "branches" || command == "chain") {
        return Branches(argc, argv, command == "chain");
    }
    if (command == "reads") {
        return Reads(argc, argv);
    }
    Fail("unknown command");
}

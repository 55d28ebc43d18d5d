// The client of the page server below the C border of page_client.h. Contract: see there.
#include "contrib/zenith/client/page_client.h"

#include <poll.h>

#include <cstdio>
#include <cstring>
#include <exception>
#include <memory>
#include <span>
#include <string>
#include <string_view>

#include <libpq-fe.h>

#include "common/pagestream/pagestream_codec.h"

static_assert(ZENITH_PAGE_SIZE == zenith::kPageSize);
static_assert(ZENITH_MAX_PAGES_PER_REQUEST == zenith::kMaxPagesPerRequest);

namespace {

struct FinishConnection {
    void operator()(PGconn* connection) const { PQfinish(connection); }
};
struct ClearResult {
    void operator()(PGresult* result) const { PQclear(result); }
};
struct FreeMemory {
    void operator()(char* memory) const { PQfreemem(memory); }
};
using ResultPtr = std::unique_ptr<PGresult, ClearResult>;

void CopyText(std::string_view text, char* out, size_t out_size) {
    while (!text.empty() && (text.back() == '\n' || text.back() == ' ')) {
        text.remove_suffix(1);
    }
    size_t length = text.size() < out_size ? text.size() : out_size - 1;
    std::memcpy(out, text.data(), length);
    out[length] = '\0';
}

void SetError(zenith_error* error, std::string_view sqlstate, bool retryable,
              std::string_view message, std::string_view detail = "", std::string_view hint = "") {
    CopyText(sqlstate, error->sqlstate, sizeof error->sqlstate);
    error->retryable = retryable;
    CopyText(message, error->message, sizeof error->message);
    CopyText(detail, error->detail, sizeof error->detail);
    CopyText(hint, error->hint, sizeof error->hint);
}

constexpr char kConnectionFailure[] = "08006";
constexpr char kProtocolViolation[] = "08P01";
constexpr char kOutOfMemory[] = "53200";
constexpr char kInternalError[] = "XX000";

// Connection trouble, exhausted resources, shutdown, and "not in the right state now".
bool IsRetryable(std::string_view sqlstate) {
    return sqlstate.starts_with("08") || sqlstate.starts_with("53") || sqlstate.starts_with("57") ||
           sqlstate.starts_with("55");
}

std::string_view Field(const PGresult* result, int code) {
    const char* value = PQresultErrorField(result, code);
    return value == nullptr ? std::string_view() : std::string_view(value);
}

void SetErrorFromException(zenith_error* error) {
    try {
        throw;
    } catch (const std::bad_alloc&) {
        SetError(error, kOutOfMemory, true, "out of memory in the page server client");
    } catch (const std::exception& e) {
        SetError(error, kInternalError, false, "internal error in the page server client",
                 e.what());
    } catch (...) {
        SetError(error, kInternalError, false, "internal error in the page server client");
    }
}

}  // namespace

struct zenith_session {
  public:
    zenith_session(std::string command, zenith_command_kind kind)
        : command_(std::move(command)), kind_(kind) {}

    bool Open(const char* conninfo, zenith_error* error) {
        // Later entries win, so what the conninfo string says replaces these defaults.
        const char* keywords[] = {"application_name", "keepalives_idle", "keepalives_interval",
                                  "keepalives_count", "dbname",          nullptr};
        const char* values[] = {"zenith", "10", "5", "3", conninfo, nullptr};
        connection_.reset(PQconnectStartParams(keywords, values, 1));
        if (connection_ == nullptr) {
            SetError(error, kOutOfMemory, true, "out of memory in the page server client");
            return false;
        }
        if (PQstatus(connection_.get()) == CONNECTION_BAD) {
            Lost(error);
            return false;
        }
        return true;
    }

    int Socket() const { return PQsocket(connection_.get()); }

    zenith_step Advance(zenith_error* error) {
        if (phase_ == Phase::kConnecting) {
            zenith_step step = Connect(error);
            if (step != ZENITH_DONE) {
                return step;
            }
            if (PQsetnonblocking(connection_.get(), 1) != 0 ||
                PQsendQuery(connection_.get(), command_.c_str()) != 1) {
                return Lost(error);
            }
            phase_ = Phase::kCommand;
        }
        return phase_ == Phase::kCommand ? FinishCommand(error) : ZENITH_DONE;
    }

    zenith_step Check(zenith_error* error) {
        if (PQconsumeInput(connection_.get()) != 1 ||
            PQstatus(connection_.get()) != CONNECTION_OK) {
            return Lost(error);
        }
        return ZENITH_WANT_READ;
    }

    bool Send(const zenith_page_request& in, zenith_error* error) {
        zenith::PageRequest request;
        request.request_id = in.request_id;
        request.mode = in.exact ? zenith::PageReadMode::kExact : zenith::PageReadMode::kLatest;
        request.lsn = zenith::Lsn(in.lsn);
        request.rel.node = {in.spc, in.db, in.rel};
        request.rel.fork = static_cast<zenith::Fork>(in.fork);
        request.block = in.block;
        request.count = in.count;
        encoded_.clear();
        zenith::AppendPageRequest(request, &encoded_);
        // In non-blocking mode libpq queues what the socket does not take.
        if (PQputCopyData(connection_.get(), encoded_.data(), static_cast<int>(encoded_.size())) !=
            1) {
            Lost(error);
            return false;
        }
        return true;
    }

    zenith_step Flush(zenith_error* error) {
        int result = PQflush(connection_.get());
        if (result < 0) {
            return Lost(error);
        }
        return result == 0 ? ZENITH_DONE : ZENITH_WANT_WRITE;
    }

    zenith_step Receive(zenith_page_response* response, zenith_error* error) {
        char* data = nullptr;
        int length = PQgetCopyData(connection_.get(), &data, 1);
        if (length == 0) {
            if (PQconsumeInput(connection_.get()) != 1) {
                return Lost(error);
            }
            length = PQgetCopyData(connection_.get(), &data, 1);
        }
        message_.reset(data);
        if (length == 0) {
            return ZENITH_WANT_READ;
        }
        if (length < 0) {
            return StreamEnded(error);
        }
        auto bytes = std::as_bytes(std::span(message_.get(), static_cast<size_t>(length)));
        zenith::Result<zenith::PageResponse> decoded = zenith::DecodePageResponse(bytes);
        if (!decoded.ok()) {
            SetError(error, kProtocolViolation, false, decoded.status().message(), "",
                     "Use the zenith extension and the page server of the same release.");
            return ZENITH_FAILED;
        }
        response->request_id = decoded->request_id;
        response->block = decoded->block;
        response->page = nullptr;
        switch (decoded->kind) {
            case zenith::PageResponse::Kind::kPage:
                response->outcome = ZENITH_PAGE_PRESENT;
                response->page = decoded->page.data();
                break;
            case zenith::PageResponse::Kind::kMissing:
                response->outcome = ZENITH_PAGE_ABSENT;
                break;
            case zenith::PageResponse::Kind::kFailure:
                response->outcome = ZENITH_PAGE_FAILURE;
                SetError(&response->failure, decoded->sqlstate, IsRetryable(decoded->sqlstate),
                         decoded->message, "", decoded->hint);
                break;
        }
        return ZENITH_DONE;
    }

  private:
    enum class Phase { kConnecting, kCommand, kReady };

    zenith_step Connect(zenith_error* error) {
        // PQconnectPoll may only be called when the socket is what its last answer asked for.
        for (;;) {
            short events = want_ == PGRES_POLLING_READING ? POLLIN : POLLOUT;
            struct pollfd fd = {Socket(), events, 0};
            if (poll(&fd, 1, 0) == 0) {
                return want_ == PGRES_POLLING_READING ? ZENITH_WANT_READ : ZENITH_WANT_WRITE;
            }
            want_ = PQconnectPoll(connection_.get());
            if (want_ == PGRES_POLLING_OK) {
                return ZENITH_DONE;
            }
            if (want_ == PGRES_POLLING_FAILED) {
                return Lost(error);
            }
        }
    }

    zenith_step FinishCommand(zenith_error* error) {
        zenith_step step = Flush(error);
        if (step != ZENITH_DONE) {
            return step;
        }
        if (PQconsumeInput(connection_.get()) != 1) {
            return Lost(error);
        }
        while (PQisBusy(connection_.get()) == 0) {
            ResultPtr result(PQgetResult(connection_.get()));
            if (result == nullptr) {
                if (kind_ == ZENITH_COMMAND_PAGESTREAM) {
                    SetError(error, kProtocolViolation, false,
                             "the page server did not start a page stream");
                    return ZENITH_FAILED;
                }
                phase_ = Phase::kReady;
                return ZENITH_DONE;
            }
            ExecStatusType status = PQresultStatus(result.get());
            if (kind_ == ZENITH_COMMAND_PAGESTREAM && status == PGRES_COPY_BOTH) {
                phase_ = Phase::kReady;
                return ZENITH_DONE;
            }
            bool fine = kind_ == ZENITH_COMMAND_SIMPLE &&
                        (status == PGRES_COMMAND_OK || status == PGRES_TUPLES_OK);
            if (!fine) {
                return Refused(result.get(), error);
            }
        }
        return ZENITH_WANT_READ;
    }

    // After the end of the copy stream: the server's error, or a plain loss.
    zenith_step StreamEnded(zenith_error* error) {
        if (PQstatus(connection_.get()) == CONNECTION_OK && PQisBusy(connection_.get()) == 0) {
            ResultPtr result(PQgetResult(connection_.get()));
            if (result != nullptr && PQresultStatus(result.get()) == PGRES_FATAL_ERROR) {
                return Refused(result.get(), error);
            }
        }
        Lost(error);
        return ZENITH_FAILED;
    }

    zenith_step Refused(const PGresult* result, zenith_error* error) {
        std::string_view sqlstate = Field(result, PG_DIAG_SQLSTATE);
        if (sqlstate.empty()) {
            return Lost(error);
        }
        SetError(error, sqlstate, IsRetryable(sqlstate), Field(result, PG_DIAG_MESSAGE_PRIMARY),
                 Field(result, PG_DIAG_MESSAGE_DETAIL), Field(result, PG_DIAG_MESSAGE_HINT));
        return ZENITH_FAILED;
    }

    zenith_step Lost(zenith_error* error) {
        const char* reason = PQerrorMessage(connection_.get());
        SetError(error, kConnectionFailure, true,
                 phase_ == Phase::kConnecting ? "could not connect to the page server"
                                              : "lost the connection to the page server",
                 reason);
        return ZENITH_FAILED;
    }

    std::unique_ptr<PGconn, FinishConnection> connection_;
    std::string command_;
    zenith_command_kind kind_;
    Phase phase_ = Phase::kConnecting;
    PostgresPollingStatusType want_ = PGRES_POLLING_WRITING;
    std::string encoded_;
    std::unique_ptr<char, FreeMemory> message_;
};

extern "C" {

zenith_session* zenith_session_open(const char* conninfo, const char* command,
                                    zenith_command_kind kind, zenith_error* error) noexcept {
    try {
        auto session = std::make_unique<zenith_session>(command, kind);
        if (!session->Open(conninfo, error)) {
            return nullptr;
        }
        return session.release();
    } catch (...) {
        SetErrorFromException(error);
        return nullptr;
    }
}

void zenith_session_close(zenith_session* session) noexcept {
    std::unique_ptr<zenith_session> owned(session);
}

int zenith_session_socket(zenith_session* session) noexcept {
    return session->Socket();
}

zenith_step zenith_session_advance(zenith_session* session, zenith_error* error) noexcept {
    try {
        return session->Advance(error);
    } catch (...) {
        SetErrorFromException(error);
        return ZENITH_FAILED;
    }
}

zenith_step zenith_session_check(zenith_session* session, zenith_error* error) noexcept {
    try {
        return session->Check(error);
    } catch (...) {
        SetErrorFromException(error);
        return ZENITH_FAILED;
    }
}

bool zenith_pagestream_send(zenith_session* session, const zenith_page_request* request,
                            zenith_error* error) noexcept {
    try {
        return session->Send(*request, error);
    } catch (...) {
        SetErrorFromException(error);
        return false;
    }
}

zenith_step zenith_pagestream_flush(zenith_session* session, zenith_error* error) noexcept {
    try {
        return session->Flush(error);
    } catch (...) {
        SetErrorFromException(error);
        return ZENITH_FAILED;
    }
}

zenith_step zenith_pagestream_receive(zenith_session* session, zenith_page_response* response,
                                      zenith_error* error) noexcept {
    try {
        return session->Receive(response, error);
    } catch (...) {
        SetErrorFromException(error);
        return ZENITH_FAILED;
    }
}

void zenith_conninfo_describe(const char* conninfo, char* out, size_t out_size) noexcept {
    try {
        std::string text;
        PQconninfoOption* options = PQconninfoParse(conninfo, nullptr);
        for (PQconninfoOption* option = options; option != nullptr && option->keyword != nullptr;
             ++option) {
            std::string_view keyword = option->keyword;
            bool shown = keyword == "host" || keyword == "hostaddr" || keyword == "port";
            if (shown && option->val != nullptr) {
                text += text.empty() ? "" : " ";
                text += option->keyword;
                text += "=";
                text += option->val;
            }
        }
        PQconninfoFree(options);
        CopyText(text, out, out_size);
    } catch (...) {
        CopyText("", out, out_size);
    }
}

bool zenith_conninfo_valid(const char* conninfo, zenith_error* error) noexcept {
    char* reason = nullptr;
    PQconninfoOption* options = PQconninfoParse(conninfo, &reason);
    std::unique_ptr<char, FreeMemory> owned_reason(reason);
    if (options == nullptr) {
        SetError(error, "22023", false, "invalid connection string",
                 reason == nullptr ? "" : reason);
        return false;
    }
    PQconninfoFree(options);
    return true;
}

}  // extern "C"

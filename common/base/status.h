// Status: the outcome of an operation that can fail. No exceptions cross our interfaces.
//
// A Status carries a code, a message in PostgreSQL's style (lower case, no final period) and an
// optional hint (a full sentence naming what to do next). Add a code only where a caller would
// act on it. Cheap to move; an OK status allocates nothing. Thread rule: none, plain value.
#pragma once

#include <memory>
#include <string>
#include <utility>

namespace zenith {

enum class StatusCode {
    kOk = 0,
    kInvalidArgument,  // the caller's input is wrong; repeating it will not help
    kNotFound,         // the named thing does not exist
    kAlreadyExists,    // the name is taken
    kRefused,          // valid, but not now: in use, older term, a conflicting state
    kUnavailable,      // the peer cannot be reached or did not answer in time; may be retried
    kCorruption,       // stored or received bytes fail a check
    kIoError,          // the operating system refused a file or socket operation
    kInternal,         // a bug or an unexpected state
};

// The SQLSTATE that stands for `code` on the wire, five characters.
const char* SqlState(StatusCode code);

class [[nodiscard]] Status {
  public:
    Status() = default;
    Status(StatusCode code, std::string message, std::string hint = "")
        : rep_(code == StatusCode::kOk
                   ? nullptr
                   : std::make_shared<const Rep>(Rep{code, std::move(message), std::move(hint)})) {}

    static Status Ok() { return Status(); }
    static Status InvalidArgument(std::string message, std::string hint = "") {
        return Status(StatusCode::kInvalidArgument, std::move(message), std::move(hint));
    }
    static Status NotFound(std::string message, std::string hint = "") {
        return Status(StatusCode::kNotFound, std::move(message), std::move(hint));
    }
    static Status AlreadyExists(std::string message, std::string hint = "") {
        return Status(StatusCode::kAlreadyExists, std::move(message), std::move(hint));
    }
    static Status Refused(std::string message, std::string hint = "") {
        return Status(StatusCode::kRefused, std::move(message), std::move(hint));
    }
    static Status Unavailable(std::string message, std::string hint = "") {
        return Status(StatusCode::kUnavailable, std::move(message), std::move(hint));
    }
    static Status Corruption(std::string message, std::string hint = "") {
        return Status(StatusCode::kCorruption, std::move(message), std::move(hint));
    }
    static Status IoError(std::string message, std::string hint = "") {
        return Status(StatusCode::kIoError, std::move(message), std::move(hint));
    }
    static Status Internal(std::string message, std::string hint = "") {
        return Status(StatusCode::kInternal, std::move(message), std::move(hint));
    }

    bool ok() const { return rep_ == nullptr; }
    StatusCode code() const { return rep_ ? rep_->code : StatusCode::kOk; }
    const std::string& message() const;
    const std::string& hint() const;

    // The same failure with "context: " put before its message. No-op on OK.
    Status WithContext(const std::string& context) const;
    Status WithHint(std::string hint) const;

    // Drops the outcome on purpose; `why` is there to be searched for.
    void Ignore([[maybe_unused]] const char* why) const {}

  private:
    struct Rep {
        StatusCode code;
        std::string message;
        std::string hint;
    };
    // Shared so that a Status copies cheaply; the representation never changes.
    std::shared_ptr<const Rep> rep_;
};

// Status of a failed system call: "could not <what> "<name>": <strerror>".
Status ErrnoStatus(const std::string& what, const std::string& name, int error_number);

}  // namespace zenith

#define ZENITH_RETURN_IF_ERROR(expr)               \
    do {                                           \
        ::zenith::Status zenith_status__ = (expr); \
        if (!zenith_status__.ok()) {               \
            return zenith_status__;                \
        }                                          \
    } while (0)

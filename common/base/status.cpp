#include "common/base/status.h"

#include <system_error>

namespace zenith {

namespace {
const std::string kEmpty;
}

const char* SqlState(StatusCode code) {
    switch (code) {
        case StatusCode::kOk:
            return "00000";
        case StatusCode::kInvalidArgument:
            return "22023";
        case StatusCode::kNotFound:
            return "42704";
        case StatusCode::kAlreadyExists:
            return "42710";
        case StatusCode::kRefused:
            return "55006";
        case StatusCode::kUnavailable:
            return "08006";
        case StatusCode::kCorruption:
            return "XX001";
        case StatusCode::kIoError:
            return "58030";
        case StatusCode::kInternal:
            return "XX000";
    }
    return "XX000";
}

const std::string& Status::message() const { return rep_ ? rep_->message : kEmpty; }
const std::string& Status::hint() const { return rep_ ? rep_->hint : kEmpty; }

Status Status::WithContext(const std::string& context) const {
    if (ok()) {
        return *this;
    }
    return Status(code(), context + ": " + message(), hint());
}

Status Status::WithHint(std::string hint) const {
    if (ok()) {
        return *this;
    }
    return Status(code(), message(), std::move(hint));
}

Status ErrnoStatus(const std::string& what, const std::string& name, int error_number) {
    std::string message = "could not " + what + " \"" + name +
                          "\": " + std::system_category().message(error_number);
    switch (error_number) {
        case ENOENT:
            return Status::NotFound(std::move(message));
        case EEXIST:
            return Status::AlreadyExists(std::move(message));
        default:
            return Status::IoError(std::move(message));
    }
}

}  // namespace zenith

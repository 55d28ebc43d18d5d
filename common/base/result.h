// Result<T>: a value, or the Status that says why there is none.
//
// Requires: value(), operator* and operator-> only when ok(). A Result is never built from an OK
// Status. Thread rule: none, plain value.
#pragma once

#include <cassert>
#include <optional>
#include <utility>

#include "common/base/status.h"

namespace zenith {

template <typename T>
class [[nodiscard]] Result {
  public:
    Result(T value) : value_(std::move(value)) {}              // NOLINT: implicit on purpose
    Result(Status status) : status_(std::move(status)) {       // NOLINT: implicit on purpose
        assert(!status_.ok());
    }

    bool ok() const { return value_.has_value(); }
    const Status& status() const { return status_; }
    T& value() & { return *value_; }
    const T& value() const& { return *value_; }
    T&& value() && { return *std::move(value_); }
    T& operator*() & { return *value_; }
    const T& operator*() const& { return *value_; }
    T&& operator*() && { return *std::move(value_); }
    T* operator->() { return &*value_; }
    const T* operator->() const { return &*value_; }

  private:
    Status status_;
    std::optional<T> value_;
};

}  // namespace zenith

#define ZENITH_CONCAT_INNER(a, b) a##b
#define ZENITH_CONCAT(a, b) ZENITH_CONCAT_INNER(a, b)
#define ZENITH_ASSIGN_OR_RETURN_IMPL(result, lhs, expr) \
    auto result = (expr);                               \
    if (!result.ok()) {                                 \
        return result.status();                         \
    }                                                   \
    lhs = *std::move(result)

// ZENITH_ASSIGN_OR_RETURN(auto page, ReadPage()); returns the Status on failure.
#define ZENITH_ASSIGN_OR_RETURN(lhs, expr) \
    ZENITH_ASSIGN_OR_RETURN_IMPL(ZENITH_CONCAT(zenith_result__, __LINE__), lhs, expr)

// Numbers at byte offsets of a page. Requires: the number lies inside the page.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>

#include "common/pgformat/page_format.h"

namespace zenith {

template <typename T>
T LoadAt(ConstPageSpan page, size_t offset) {
    T value;
    std::memcpy(&value, page.data() + offset, sizeof value);
    return value;
}

template <typename T>
void StoreAt(PageSpan page, size_t offset, T value) {
    std::memcpy(page.data() + offset, &value, sizeof value);
}

}  // namespace zenith

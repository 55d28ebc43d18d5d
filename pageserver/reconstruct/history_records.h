// What both ways to rebuild a page do with the records of its history. Private to this folder.
#pragma once

#include <span>
#include <string>

#include "common/base/result.h"
#include "common/pgformat/relation_key.h"
#include "pageserver/layers/timeline.h"

namespace zenith {

// The page's name in the record: another one when the page came with a copy of its database.
PageKey KeyInRecord(const PageKey& key, const RecordRef& ref);

Status ReadRecord(const RecordRef& ref, std::string* bytes);

inline std::span<const std::byte> AsBytes(const std::string& text) {
    return std::as_bytes(std::span(text.data(), text.size()));
}

}  // namespace zenith

// JsonReader and JsonWriter: the few shapes our files have, over RapidJSON.
//
// A file ends with the member "crc32c": 8 lower-case hexadecimal digits, the CRC-32C of all bytes
// before that member's name. Where people edit a file they may take the member away; where they do
// not, it must be there.
//
// RapidJSON asserts on a wrong type instead of reporting it, so every access goes through here,
// where the type is checked first. Errors are kCorruption and name the file and the field. Not
// thread-safe; one object per file.
#pragma once

#include <rapidjson/document.h>
#include <rapidjson/prettywriter.h>
#include <rapidjson/stringbuffer.h>

#include <cstdint>
#include <functional>
#include <set>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "common/base/ids.h"
#include "common/base/lsn.h"
#include "common/base/result.h"

namespace zenith {

class JsonReader {
  public:
    // Parses `text`, the content of the file `path`; its top must be an object. The checksum is
    // verified when there is one.
    static Result<JsonReader> Parse(const std::string& path, const std::string& text);

    bool has_checksum() const { return has_checksum_; }
    Status RequireChecksum() const;
    // Requires: every field there may be was asked for, at least by Has(). An unknown one is a
    // misspelt or a damaged name, and what it was to say would be lost in silence.
    Status CheckNoOtherFields() const;

    bool Has(const char* name) const;
    Result<std::string> String(const char* name) const;
    // An integer in [low, high].
    Result<int64_t> Integer(const char* name, int64_t low, int64_t high) const;
    Result<bool> Boolean(const char* name) const;
    // A decimal number written as a string: numbers above 2^53 do not survive every JSON reader.
    Result<uint64_t> BigNumber(const char* name) const;
    Result<Lsn> ReadLsn(const char* name) const;
    Result<TimelineId> ReadTimelineId(const char* name) const;
    // An array of [name, value] pairs.
    Result<std::vector<std::pair<std::string, std::string>>> Pairs(const char* name) const;

    // kCorruption: file "path": <what>.
    Status Error(const std::string& what) const;

  private:
    explicit JsonReader(std::string path) : path_(std::move(path)) {}
    Result<const rapidjson::Value*> Member(const char* name) const;

    Status CheckChecksum(const std::string& text);

    std::string path_;
    rapidjson::Document document_;
    bool has_checksum_ = false;
    mutable std::set<std::string, std::less<>> asked_for_;
};

class JsonWriter {
  public:
    JsonWriter();
    void String(const char* name, std::string_view value);
    void Integer(const char* name, int64_t value);
    void Boolean(const char* name, bool value);
    void BigNumber(const char* name, uint64_t value);
    void Pairs(const char* name, const std::vector<std::pair<std::string, std::string>>& pairs);
    // The whole text, with the checksum and a final newline. Nothing may be added afterwards.
    std::string Finish();

  private:
    rapidjson::StringBuffer buffer_;
    rapidjson::PrettyWriter<rapidjson::StringBuffer> writer_;
};

}  // namespace zenith

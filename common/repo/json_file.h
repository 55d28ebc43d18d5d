// JsonReader and JsonWriter: the few shapes our files have, over RapidJSON.
//
// RapidJSON asserts on a wrong type instead of reporting it, so every access goes through here,
// where the type is checked first. Errors are kCorruption and name the file and the field. Not
// thread-safe; one object per file.
#pragma once

#include <rapidjson/document.h>
#include <rapidjson/prettywriter.h>
#include <rapidjson/stringbuffer.h>

#include <cstdint>
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
    // Parses `text`, the content of the file `path`; its top must be an object.
    static Result<JsonReader> Parse(const std::string& path, const std::string& text);

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

    std::string path_;
    rapidjson::Document document_;
};

class JsonWriter {
  public:
    JsonWriter();
    void String(const char* name, std::string_view value);
    void Integer(const char* name, int64_t value);
    void Boolean(const char* name, bool value);
    void BigNumber(const char* name, uint64_t value);
    void Pairs(const char* name, const std::vector<std::pair<std::string, std::string>>& pairs);
    // The whole text, with a final newline. Nothing may be added afterwards.
    std::string Finish();

  private:
    rapidjson::StringBuffer buffer_;
    rapidjson::PrettyWriter<rapidjson::StringBuffer> writer_;
};

}  // namespace zenith

#include "common/repo/json_file.h"

#include <rapidjson/error/en.h>

#include <charconv>
#include <cstdio>
#include <span>

#include "common/base/crc32c.h"

namespace zenith {

namespace {

constexpr char kChecksumName[] = "crc32c";
constexpr size_t kChecksumDigits = 8;

uint32_t ChecksumOf(std::string_view text) {
    return Crc32c(std::as_bytes(std::span(text.data(), text.size())));
}

// The end of a file, whose bytes before it have the checksum `crc`: one spelling, so that every
// byte of it counts.
std::string ChecksumTail(uint32_t crc) {
    char tail[64];
    std::snprintf(tail, sizeof tail, "\"%s\": \"%08x\"\n}\n", kChecksumName, crc);
    return tail;
}

// A name from a damaged file, for a message.
std::string Printable(std::string_view text) {
    std::string shown;
    for (char c : text.substr(0, 60)) {
        shown += (c >= ' ' && c < 127) ? c : '?';
    }
    return shown;
}

}  // namespace

Result<JsonReader> JsonReader::Parse(const std::string& path, const std::string& text) {
    JsonReader reader(path);
    // Iterative: a deeply nested file must not exhaust the stack. Trailing commas: one stays where
    // somebody took the checksum away.
    constexpr unsigned kFlags = rapidjson::kParseIterativeFlag |
                                rapidjson::kParseValidateEncodingFlag |
                                rapidjson::kParseTrailingCommasFlag;
    reader.document_.Parse<kFlags>(text.data(), text.size());
    if (reader.document_.HasParseError()) {
        return reader.Error(std::string("not valid JSON at byte ") +
                            std::to_string(reader.document_.GetErrorOffset()) + " (" +
                            rapidjson::GetParseError_En(reader.document_.GetParseError()) + ")");
    }
    if (!reader.document_.IsObject()) {
        return reader.Error("not a JSON object");
    }
    ZENITH_RETURN_IF_ERROR(reader.CheckChecksum(text));
    return reader;
}

Status JsonReader::CheckChecksum(const std::string& text) {
    if (!document_.HasMember(kChecksumName)) {
        return Status::Ok();
    }
    asked_for_.insert(kChecksumName);
    const std::string hint =
        "Restore the file from a backup; if it was edited on purpose, remove the line \"" +
        std::string(kChecksumName) + "\".";
    const size_t tail_size = ChecksumTail(0).size();
    if (text.size() < tail_size) {
        return Error("\"crc32c\" is not at the end").WithHint(hint);
    }
    const std::string_view body(text.data(), text.size() - tail_size);
    if (std::string_view(text).substr(body.size()) != ChecksumTail(ChecksumOf(body))) {
        return Error("checksum mismatch").WithHint(hint);
    }
    has_checksum_ = true;
    return Status::Ok();
}

Status JsonReader::RequireChecksum() const {
    return has_checksum_ ? Status::Ok() : Error("field \"crc32c\" is missing");
}

Status JsonReader::CheckNoOtherFields() const {
    std::set<std::string_view> seen;
    for (const auto& member : document_.GetObject()) {
        const std::string_view name(member.name.GetString(), member.name.GetStringLength());
        if (!asked_for_.contains(name)) {
            // What it is called may be anything: not into a message whole.
            return Error("unknown field \"" + Printable(name) + "\"");
        }
        if (!seen.insert(name).second) {
            return Error("field \"" + std::string(name) + "\" is there twice");
        }
    }
    return Status::Ok();
}

Status JsonReader::Error(const std::string& what) const {
    return Status::Corruption("file \"" + path_ + "\": " + what);
}

bool JsonReader::Has(const char* name) const {
    asked_for_.insert(name);
    return document_.HasMember(name);
}

Result<const rapidjson::Value*> JsonReader::Member(const char* name) const {
    asked_for_.insert(name);
    auto member = document_.FindMember(name);
    if (member == document_.MemberEnd()) {
        return Error(std::string("field \"") + name + "\" is missing");
    }
    return &member->value;
}

Result<std::string> JsonReader::String(const char* name) const {
    ZENITH_ASSIGN_OR_RETURN(const rapidjson::Value* value, Member(name));
    if (!value->IsString()) {
        return Error(std::string("field \"") + name + "\" is not a string");
    }
    return std::string(value->GetString(), value->GetStringLength());
}

Result<int64_t> JsonReader::Integer(const char* name, int64_t low, int64_t high) const {
    ZENITH_ASSIGN_OR_RETURN(const rapidjson::Value* value, Member(name));
    if (!value->IsInt64()) {
        return Error(std::string("field \"") + name + "\" is not an integer");
    }
    int64_t number = value->GetInt64();
    if (number < low || number > high) {
        return Error(std::string("field \"") + name + "\" is " + std::to_string(number) +
                     ", expected " + std::to_string(low) + " to " + std::to_string(high));
    }
    return number;
}

Result<bool> JsonReader::Boolean(const char* name) const {
    ZENITH_ASSIGN_OR_RETURN(const rapidjson::Value* value, Member(name));
    if (!value->IsBool()) {
        return Error(std::string("field \"") + name + "\" is not true or false");
    }
    return value->GetBool();
}

Result<uint64_t> JsonReader::BigNumber(const char* name) const {
    ZENITH_ASSIGN_OR_RETURN(std::string text, String(name));
    uint64_t number = 0;
    const char* end = text.data() + text.size();
    auto [stop, error] = std::from_chars(text.data(), end, number);
    if (error != std::errc() || stop != end) {
        return Error(std::string("field \"") + name + "\" is not a decimal number");
    }
    return number;
}

Result<Lsn> JsonReader::ReadLsn(const char* name) const {
    ZENITH_ASSIGN_OR_RETURN(std::string text, String(name));
    std::optional<Lsn> lsn = Lsn::Parse(text);
    if (!lsn) {
        return Error(std::string("field \"") + name + "\" is not an LSN");
    }
    return *lsn;
}

Result<TimelineId> JsonReader::ReadTimelineId(const char* name) const {
    ZENITH_ASSIGN_OR_RETURN(std::string text, String(name));
    std::optional<TimelineId> id = TimelineId::Parse(text);
    if (!id) {
        return Error(std::string("field \"") + name + "\" is not a timeline id");
    }
    return *id;
}

Result<std::vector<std::pair<std::string, std::string>>> JsonReader::Pairs(const char* name) const {
    ZENITH_ASSIGN_OR_RETURN(const rapidjson::Value* value, Member(name));
    if (!value->IsArray()) {
        return Error(std::string("field \"") + name + "\" is not an array");
    }
    std::vector<std::pair<std::string, std::string>> pairs;
    for (const rapidjson::Value& item : value->GetArray()) {
        if (!item.IsArray() || item.Size() != 2 || !item[0].IsString() || !item[1].IsString()) {
            return Error(std::string("field \"") + name + "\" holds something else than pairs");
        }
        pairs.emplace_back(std::string(item[0].GetString(), item[0].GetStringLength()),
                           std::string(item[1].GetString(), item[1].GetStringLength()));
    }
    return pairs;
}

JsonWriter::JsonWriter() : writer_(buffer_) {
    writer_.SetIndent(' ', 2);
    writer_.StartObject();
}

void JsonWriter::String(const char* name, std::string_view value) {
    writer_.Key(name);
    writer_.String(value.data(), static_cast<rapidjson::SizeType>(value.size()));
}

void JsonWriter::Integer(const char* name, int64_t value) {
    writer_.Key(name);
    writer_.Int64(value);
}

void JsonWriter::Boolean(const char* name, bool value) {
    writer_.Key(name);
    writer_.Bool(value);
}

void JsonWriter::BigNumber(const char* name, uint64_t value) {
    String(name, std::to_string(value));
}

void JsonWriter::Pairs(const char* name,
                       const std::vector<std::pair<std::string, std::string>>& pairs) {
    writer_.Key(name);
    writer_.StartArray();
    for (const auto& [first, second] : pairs) {
        writer_.StartArray();
        writer_.String(first.data(), static_cast<rapidjson::SizeType>(first.size()));
        writer_.String(second.data(), static_cast<rapidjson::SizeType>(second.size()));
        writer_.EndArray();
    }
    writer_.EndArray();
}

std::string JsonWriter::Finish() {
    // Written by the same writer as the rest, so that comma and indentation are right whatever came
    // before; then the end is replaced by one with the true sum.
    String(kChecksumName, std::string(kChecksumDigits, '0'));
    writer_.EndObject();
    std::string text = std::string(buffer_.GetString(), buffer_.GetSize()) + "\n";
    text.resize(text.size() - ChecksumTail(0).size());
    return text + ChecksumTail(ChecksumOf(text));
}

}  // namespace zenith

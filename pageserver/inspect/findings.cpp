#include "pageserver/inspect/findings.h"

#include <cstdio>
#include <utility>

namespace zenith {

std::string QuoteJson(std::string_view text) {
    std::string quoted = "\"";
    for (char c : text) {
        const auto byte = static_cast<unsigned char>(c);
        if (c == '"' || c == '\\') {
            quoted += '\\';
            quoted += c;
        } else if (byte < 0x20 || byte >= 0x7F) {
            char escape[8];
            std::snprintf(escape, sizeof escape, "\\u%04x", byte);
            quoted += escape;
        } else {
            quoted += c;
        }
    }
    return quoted + "\"";
}

std::string Finding::Message() const {
    std::string message;
    // Most readers name their file themselves.
    if (!file.empty() && what.find(file) == std::string::npos) {
        message = "file \"" + file + "\"";
        if (offset.has_value()) {
            message += ", offset " + std::to_string(*offset);
        }
        message += ": ";
    }
    message += what;
    std::string place;
    if (timeline.has_value() && what.find(timeline->ToString()) == std::string::npos) {
        place = "timeline " + timeline->ToString();
    }
    if (lsn.valid()) {
        place += (place.empty() ? "" : ", ") + lsn.ToString();
    }
    return place.empty() ? message : message + " (" + place + ")";
}

std::string Finding::Json() const {
    std::string json = std::string("{\"severity\": ") +
                       (severity == Severity::kError ? "\"error\"" : "\"warning\"") +
                       ", \"file\": " + (file.empty() ? "null" : QuoteJson(file)) +
                       ", \"offset\": " + (offset ? std::to_string(*offset) : "null") +
                       ", \"timeline\": " + (timeline ? QuoteJson(timeline->ToString()) : "null") +
                       ", \"lsn\": " + (lsn.valid() ? QuoteJson(lsn.ToString()) : "null") +
                       ", \"message\": " + QuoteJson(Message());
    if (!hint.empty()) {
        json += ", \"hint\": " + QuoteJson(hint);
    }
    return json + "}";
}

void Findings::Error(const std::string& file, const Status& status,
                     std::optional<TimelineId> timeline) {
    Finding finding;
    finding.file = file;
    finding.what = status.message();
    finding.timeline = timeline;
    finding.hint = status.hint();
    Add(std::move(finding));
}

void Findings::Warning(const std::string& file, const std::string& what,
                       std::optional<TimelineId> timeline) {
    Finding finding;
    finding.severity = Finding::Severity::kWarning;
    finding.file = file;
    finding.what = what;
    finding.timeline = timeline;
    Add(std::move(finding));
}

void Findings::Add(Finding finding) {
    size_t& count = finding.severity == Finding::Severity::kError ? errors_ : warnings_;
    if (count++ < kMostListed) {
        listed_.push_back(std::move(finding));
    }
}

void Findings::Append(Findings&& other) {
    const size_t errors = errors_ + other.errors_;
    const size_t warnings = warnings_ + other.warnings_;
    for (Finding& finding : other.listed_) {
        Add(std::move(finding));
    }
    errors_ = errors;
    warnings_ = warnings;
}

}  // namespace zenith

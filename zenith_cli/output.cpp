#include "zenith_cli/output.h"

#include <algorithm>
#include <cassert>
#include <cstdio>
#include <ctime>

namespace zenith {

namespace {

// Length of the UTF-8 sequence at the start of `text`; 0 when there is none.
size_t Utf8Length(std::string_view text) {
    auto byte = [&](size_t i) { return static_cast<unsigned char>(text[i]); };
    size_t length = byte(0) < 0x80   ? 1
                    : byte(0) < 0xC2 ? 0
                    : byte(0) < 0xE0 ? 2
                    : byte(0) < 0xF0 ? 3
                    : byte(0) < 0xF5 ? 4
                                     : 0;
    if (length == 0 || text.size() < length) {
        return 0;
    }
    for (size_t i = 1; i < length; i++) {
        if ((byte(i) & 0xC0) != 0x80) {
            return 0;
        }
    }
    // Overlong forms, surrogates, and what is above U+10FFFF.
    if ((byte(0) == 0xE0 && byte(1) < 0xA0) || (byte(0) == 0xED && byte(1) > 0x9F) ||
        (byte(0) == 0xF0 && byte(1) < 0x90) || (byte(0) == 0xF4 && byte(1) > 0x8F)) {
        return 0;
    }
    return length;
}

}  // namespace

std::string JsonString(std::string_view text) {
    std::string out = "\"";
    while (!text.empty()) {
        unsigned char c = static_cast<unsigned char>(text[0]);
        size_t length = Utf8Length(text);
        if (length == 0) {
            out += "\\ufffd";
            length = 1;
        } else if (c == '"' || c == '\\') {
            out += '\\';
            out += text[0];
        } else if (c < 0x20) {
            char escape[8];
            snprintf(escape, sizeof escape, "\\u%04x", c);
            out += escape;
        } else {
            out += text.substr(0, length);
        }
        text.remove_prefix(length);
    }
    return out + "\"";
}

std::string CellText(const Cell& cell) {
    if (const std::string* text = std::get_if<std::string>(&cell)) {
        return *text;
    }
    if (const int64_t* number = std::get_if<int64_t>(&cell)) {
        return std::to_string(*number);
    }
    if (const bool* yes = std::get_if<bool>(&cell)) {
        return *yes ? "yes" : "no";
    }
    return "-";
}

std::string CellJson(const Cell& cell) {
    if (const std::string* text = std::get_if<std::string>(&cell)) {
        return JsonString(*text);
    }
    if (const int64_t* number = std::get_if<int64_t>(&cell)) {
        return std::to_string(*number);
    }
    if (const bool* yes = std::get_if<bool>(&cell)) {
        return *yes ? "true" : "false";
    }
    return "null";
}

void Table::AddRow(std::vector<Cell> cells, int indent) {
    assert(cells.size() == columns_.size());
    rows_.push_back(Row{std::move(cells), indent});
}

std::string Table::ToText() const {
    std::vector<std::vector<std::string>> lines(1);
    for (const Column& column : columns_) {
        lines[0].push_back(column.title);
    }
    for (const Row& row : rows_) {
        std::vector<std::string> line;
        for (const Cell& cell : row.cells) {
            line.push_back(CellText(cell));
        }
        line[0].insert(0, static_cast<size_t>(row.indent), ' ');
        lines.push_back(std::move(line));
    }
    std::vector<size_t> widths(columns_.size(), 0);
    for (const auto& line : lines) {
        for (size_t i = 0; i < line.size(); i++) {
            widths[i] = std::max(widths[i], line[i].size());
        }
    }
    std::string text;
    for (const auto& line : lines) {
        std::string out;
        for (size_t i = 0; i < line.size(); i++) {
            if (!columns_[i].title.empty()) {
                out += line[i] + std::string(widths[i] - line[i].size() + 2, ' ');
            }
        }
        out.resize(out.find_last_not_of(' ') + 1);
        text += out + "\n";
    }
    return text;
}

std::string Table::ToJson() const {
    std::string text = "[";
    for (size_t r = 0; r < rows_.size(); r++) {
        text += r == 0 ? "\n  {" : ",\n  {";
        for (size_t i = 0; i < columns_.size(); i++) {
            text += (i == 0 ? "" : ", ") + JsonString(columns_[i].key) + ": " +
                    CellJson(rows_[r].cells[i]);
        }
        text += "}";
    }
    return text + (rows_.empty() ? "]" : "\n]");
}

void Print(const std::string& text) {
    fwrite(text.data(), 1, text.size(), stdout);
    fflush(stdout);
}

void PrintError(const Status& status) {
    std::string text = "zenith: error: " + status.message() + "\n";
    if (!status.hint().empty()) {
        text += "HINT:  " + status.hint() + "\n";
    }
    fwrite(text.data(), 1, text.size(), stderr);
}

void PrintWarning(const std::string& message) {
    fprintf(stderr, "zenith: warning: %s\n", message.c_str());
}

std::string FormatTime(int64_t unix_seconds) {
    time_t seconds = static_cast<time_t>(unix_seconds);
    struct tm parts;
    char buffer[64];
    if (localtime_r(&seconds, &parts) == nullptr ||
        strftime(buffer, sizeof buffer, "%Y-%m-%d %H:%M:%S", &parts) == 0) {
        return std::to_string(unix_seconds);
    }
    return buffer;
}

}  // namespace zenith

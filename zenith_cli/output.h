// Output: what commands print. A Table is for people (aligned columns) or for programs (JSON), from
// the same rows. Errors go to stderr as "zenith: error: ..." with the hint below it.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "common/base/status.h"

namespace zenith {

// A value of a table: nothing ("-", null), text, a number, or yes/no.
using Cell = std::variant<std::monostate, std::string, int64_t, bool>;

std::string CellText(const Cell& cell);
std::string CellJson(const Cell& cell);
// `text` as a JSON string with its quotes. Bytes that are not UTF-8 become U+FFFD.
std::string JsonString(std::string_view text);

struct Column {
    std::string title;  // in the text form; empty: in the JSON form alone
    std::string key;    // in the JSON form
};

class Table {
  public:
    explicit Table(std::vector<Column> columns) : columns_(std::move(columns)) {}
    // Requires: as many cells as columns. `indent` shifts the first column of the text form.
    void AddRow(std::vector<Cell> cells, int indent = 0);
    bool empty() const { return rows_.empty(); }

    // A header line and a line per row; no space at the end of a line.
    std::string ToText() const;
    // An array of objects, one line per object, without a final newline.
    std::string ToJson() const;

  private:
    struct Row {
        std::vector<Cell> cells;
        int indent;
    };
    std::vector<Column> columns_;
    std::vector<Row> rows_;
};

// Writes to stdout, whole. Errors (a closed pipe) are not reported: there is nobody to tell.
void Print(const std::string& text);
// "zenith: error: <message>" and "HINT:  <hint>" to stderr.
void PrintError(const Status& status);
void PrintWarning(const std::string& message);

// "2026-11-22 10:00:00" in local time.
std::string FormatTime(int64_t unix_seconds);

}  // namespace zenith

#include "zenith_cli/compute_settings.h"

#include <algorithm>
#include <array>
#include <cstdio>

namespace zenith {

namespace {

constexpr std::string_view kPreload = "shared_preload_libraries";

// Whoever sets one of these sets it for the compute to work at all.
constexpr std::array<std::string_view, 12> kReserved = {
    "port",
    "unix_socket_directories",
    "data_directory",
    "hba_file",
    "ident_file",
    "config_file",
    "external_pid_file",
    "zenith.timeline",
    "zenith.term",
    "zenith.start_lsn",
    "zenith.pageserver",
    "zenith.compute_connstr",
};

std::string Lower(std::string_view text) {
    std::string lower(text);
    std::transform(lower.begin(), lower.end(), lower.begin(), [](unsigned char c) {
        return c >= 'A' && c <= 'Z' ? static_cast<char>(c + 32) : static_cast<char>(c);
    });
    return lower;
}

bool IsSettingName(std::string_view name) {
    auto is_letter = [](char c) {
        return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_';
    };
    if (name.empty() || !is_letter(name[0])) {
        return false;
    }
    return std::all_of(name.begin(), name.end(), [&](char c) {
        return is_letter(c) || (c >= '0' && c <= '9') || c == '.' || c == '$';
    });
}

std::string Trim(std::string_view text) {
    size_t start = text.find_first_not_of(" \t\r");
    if (start == std::string_view::npos) {
        return "";
    }
    return std::string(text.substr(start, text.find_last_not_of(" \t\r") - start + 1));
}

bool IsReserved(const std::string& lower_name) {
    return std::find(kReserved.begin(), kReserved.end(), lower_name) != kReserved.end();
}

std::vector<std::string> SplitLines(const std::string& text) {
    std::vector<std::string> lines;
    size_t start = 0;
    while (start < text.size()) {
        size_t end = std::min(text.find('\n', start), text.size());
        lines.push_back(text.substr(start, end - start));
        start = end + 1;
    }
    return lines;
}

// The name set by a line of postgresql.auto.conf, in lower case; empty for a comment.
std::string NameOfLine(std::string_view line) {
    size_t equals = line.find('=');
    return equals == std::string_view::npos ? "" : Lower(Trim(line.substr(0, equals)));
}

// The value of `name = 'value'` as ALTER SYSTEM writes it, the last one; empty when there is none.
std::string AutoConfValue(const std::string& text, std::string_view name) {
    std::string found;
    for (const std::string& line : SplitLines(text)) {
        if (NameOfLine(line) != name) {
            continue;
        }
        std::string value = Trim(std::string_view(line).substr(line.find('=') + 1));
        if (value.size() >= 2 && value.front() == '\'' && value.back() == '\'') {
            std::string plain;
            for (size_t i = 1; i + 1 < value.size(); i++) {
                plain += value[i];
                if (value[i] == '\'' && value[i + 1] == '\'') {
                    i++;
                }
            }
            value = plain;
        }
        found = value;
    }
    return found;
}

// The role the page server connects as; initdb makes it.
constexpr std::string_view kRole = "postgres";
constexpr std::string_view kIdentMap = "zenith_pageserver";

// A word of pg_hba.conf or pg_ident.conf; hba.c, next_token().
std::string QuoteWord(std::string_view word) {
    std::string out = "\"";
    for (char c : word) {
        out += c == '"' ? "\"\"" : std::string(1, c);
    }
    return out + "\"";
}

std::string WithFirstLine(const std::string& text, const std::string& line) {
    const std::string lines = "# Lets in the page server, which fetches the WAL.\n" + line + "\n";
    return text.starts_with(lines) ? text : lines + text;
}

}  // namespace

std::string QuoteSetting(std::string_view value) {
    std::string out = "'";
    for (unsigned char c : value) {
        if (c == '\'' || c == '\\') {
            out += static_cast<char>(c);
            out += static_cast<char>(c);
        } else if (c < ' ') {
            char escape[8];
            snprintf(escape, sizeof escape, "\\%03o", c);
            out += escape;
        } else {
            out += static_cast<char>(c);
        }
    }
    return out + "'";
}

Result<std::pair<std::string, std::string>> ParseSetting(const std::string& text) {
    size_t equals = text.find('=');
    std::string name = Trim(std::string_view(text).substr(0, equals));
    if (equals == std::string::npos || !IsSettingName(name)) {
        return Status::InvalidArgument("\"" + text + "\" is not a setting",
                                       "Write it as name=value, such as shared_buffers=256MB.");
    }
    if (IsReserved(Lower(name)) || Lower(name) == "listen_addresses") {
        return Status::InvalidArgument(
            "\"" + name + "\" is set by zenith and cannot be changed",
            "The port and the addresses have options of their own: --port and --listen.");
    }
    return std::pair(name, Trim(std::string_view(text).substr(equals + 1)));
}

std::string ComputeConnstr(const Repository& repository, const ComputeFile& compute) {
    return "host=" + repository.SocketDirectory() + " port=" + std::to_string(compute.port) +
           " user=" + std::string(kRole);
}

std::string ComputeConfText(const Repository& repository, const ComputeFile& compute) {
    std::string text =
        "# Written by \"zenith pg start\" for compute \"" + compute.name +
        "\"; overwritten at every start.\n"
        "# Lasting settings: ALTER SYSTEM, or \"zenith pg create --set name=value\".\n";
    auto add = [&](std::string_view name, std::string_view value) {
        text += std::string(name) + " = " + QuoteSetting(value) + "\n";
    };
    add("port", std::to_string(compute.port));
    add("listen_addresses", compute.listen_addresses);
    add("unix_socket_directories", repository.SocketDirectory());
    add("zenith.pageserver", repository.PageServerConnstr());
    add("zenith.compute_connstr", ComputeConnstr(repository, compute));
    add("cluster_name", compute.name.substr(0, 63));
    add("logging_collector", "off");
    add("log_destination", "stderr");
    for (const auto& [name, value] : compute.settings) {
        if (Lower(name) != kPreload) {
            add(name, value);
        }
    }
    return text;
}

std::string KeptAutoConf(const std::string& auto_conf) {
    std::string kept;
    for (const std::string& line : SplitLines(auto_conf)) {
        if (!IsReserved(NameOfLine(line))) {
            kept += line + "\n";
        }
    }
    return kept;
}

std::string HbaWithPageServer(const std::string& hba, std::string_view system_user) {
    std::string line = "local replication " + std::string(kRole) + " peer";
    if (system_user != kRole) {
        line += " map=" + std::string(kIdentMap);
    }
    return WithFirstLine(hba, line);
}

std::string IdentWithPageServer(const std::string& ident, std::string_view system_user) {
    if (system_user == kRole) {
        return ident;
    }
    return WithFirstLine(ident, std::string(kIdentMap) + " " + QuoteWord(system_user) + " " +
                                    std::string(kRole));
}

std::string PreloadLibraries(const ComputeFile& compute, const std::string& auto_conf) {
    std::string wanted;
    for (const auto& [name, value] : compute.settings) {
        if (Lower(name) == kPreload) {
            wanted = value;
        }
    }
    std::string altered = AutoConfValue(auto_conf, kPreload);
    if (!altered.empty()) {
        wanted = altered;
    }
    std::string libraries = "zenith";
    size_t start = 0;
    while (start <= wanted.size()) {
        size_t end = std::min(wanted.find(',', start), wanted.size());
        std::string library = Trim(std::string_view(wanted).substr(start, end - start));
        std::string plain = library;
        plain.erase(std::remove(plain.begin(), plain.end(), '"'), plain.end());
        if (!plain.empty() && plain != "zenith") {
            libraries += "," + library;
        }
        start = end + 1;
    }
    return libraries;
}

}  // namespace zenith

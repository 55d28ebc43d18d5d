#include "zenith_cli/program_paths.h"

#include <unistd.h>

#include <filesystem>

#include "common/base/posix_file.h"
#include "zenith_cli/local_process.h"

namespace zenith {

namespace {

constexpr const char* kDebianBindir = "/usr/lib/postgresql/15/bin";
constexpr const char* kVersionPrefix = "postgres (PostgreSQL) 15.";

std::string own_directory;

bool IsProgram(const std::string& path) {
    return access(path.c_str(), F_OK) == 0 && !std::filesystem::is_directory(path);
}

std::string FirstLine(const std::string& text) {
    return text.substr(0, text.find('\n'));
}

}  // namespace

void RememberOwnProgram(const char* argv0) {
    std::error_code error;
    std::filesystem::path self = std::filesystem::read_symlink("/proc/self/exe", error);
    if (error) {
        self = std::filesystem::canonical(argv0, error);
    }
    own_directory = self.parent_path().string();
}

Result<std::string> FindPageServerProgram() {
    for (const std::string& path :
         {own_directory + "/pageserver", own_directory + "/../libexec/zenith/pageserver"}) {
        if (IsProgram(path)) {
            return path;
        }
    }
    return Status::NotFound(
        "could not find the program pageserver beside zenith in \"" + own_directory + "\"",
        "Use \"make\" or \"make install\" to have both in one place.");
}

Result<std::string> FindPostgresBindir(const std::string& wanted) {
    std::string bindir = wanted;
    if (bindir.empty() && IsProgram(std::string(kDebianBindir) + "/postgres")) {
        bindir = kDebianBindir;
    }
    if (bindir.empty()) {
        Result<std::string> text =
            RunProgram({{"/bin/sh", "-c", "exec pg_config --bindir"}, "", {{"LC_ALL", "C"}}});
        if (text.ok()) {
            bindir = FirstLine(*text);
        }
    }
    constexpr const char* kHint =
        "Install the package postgresql-15, or name the directory with --pg-bindir.";
    if (bindir.empty()) {
        return Status::NotFound("could not find PostgreSQL 15", kHint);
    }
    std::error_code error;
    bindir = std::filesystem::absolute(bindir, error).lexically_normal().string();
    for (const char* program : {"/postgres", "/initdb", "/pg_controldata"}) {
        if (!IsProgram(bindir + program)) {
            return Status::NotFound(
                "there is no " + std::string(program + 1) + " in \"" + bindir + "\"", kHint);
        }
    }
    ZENITH_ASSIGN_OR_RETURN(std::string version,
                            RunProgram({{bindir + "/postgres", "--version"}, "", {}}));
    if (!version.starts_with(kVersionPrefix)) {
        return Status::Refused(
            "\"" + bindir + "/postgres\" is not PostgreSQL 15 but \"" + FirstLine(version) + "\"",
            kHint);
    }
    return bindir;
}

bool ExtensionIsInstalled(const std::string& bindir) {
    // Debian: /usr/lib/postgresql/15/lib; built from source: <prefix>/lib or
    // <prefix>/lib/postgresql.
    return FileExists(bindir + "/../lib/zenith.so") ||
           FileExists(bindir + "/../lib/postgresql/zenith.so");
}

}  // namespace zenith

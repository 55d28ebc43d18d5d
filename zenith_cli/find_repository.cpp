#include "zenith_cli/find_repository.h"

#include <unistd.h>

#include <cerrno>
#include <cstdlib>
#include <filesystem>

#include "common/base/posix_file.h"

namespace zenith {

namespace {

constexpr const char* kDirectoryName = ".zenith";

std::string GivenPath(const std::string& option) {
    if (!option.empty()) {
        return option;
    }
    const char* variable = getenv("ZENITH_REPO_DIR");
    return variable == nullptr ? "" : variable;
}

Result<std::string> Absolute(const std::string& path) {
    std::error_code error;
    // Of a path of which nothing exists weakly_canonical would not make an absolute one.
    std::filesystem::path absolute = std::filesystem::absolute(path, error);
    if (!error) {
        absolute = std::filesystem::weakly_canonical(absolute, error);
    }
    if (error) {
        return ErrnoStatus("open repository", path, error.value());
    }
    std::string text = absolute.string();
    while (text.size() > 1 && text.back() == '/') {
        text.pop_back();
    }
    return text;
}

}  // namespace

Result<std::string> FindRepository(const std::string& option) {
    const std::string given = GivenPath(option);
    if (!given.empty()) {
        ZENITH_ASSIGN_OR_RETURN(std::string path, Absolute(given));
        if (!FileExists(path + "/config.json")) {
            // A directory of somebody else's may well be a repository that we cannot see into.
            if (access((path + "/config.json").c_str(), F_OK) != 0 && errno == EACCES) {
                return ErrnoStatus("open repository", path, EACCES)
                    .WithHint("Run zenith as the user the repository belongs to, or as root.");
            }
            return Status::NotFound("\"" + path + "\" is not a zenith repository",
                                    "Use \"zenith init --repo-dir " + path + "\" to make one.");
        }
        return path;
    }
    std::error_code error;
    std::filesystem::path directory = std::filesystem::current_path(error);
    if (error) {
        return ErrnoStatus("open directory", ".", error.value());
    }
    for (;;) {
        std::string candidate = (directory / kDirectoryName).string();
        if (FileExists(candidate + "/config.json")) {
            return Absolute(candidate);
        }
        if (!directory.has_relative_path()) {
            return Status::NotFound(
                "there is no repository in this directory or above it",
                "Use \"zenith init\" to make one here, or name one with --repo-dir or "
                "ZENITH_REPO_DIR.");
        }
        directory = directory.parent_path();
    }
}

Result<std::string> NewRepositoryPath(const std::string& option) {
    const std::string given = GivenPath(option);
    return Absolute(given.empty() ? kDirectoryName : given);
}

}  // namespace zenith

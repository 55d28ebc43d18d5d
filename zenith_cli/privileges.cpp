#include "zenith_cli/privileges.h"

#include <grp.h>
#include <pwd.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstdlib>

namespace zenith {

namespace {
UserAccount AccountOf(const struct passwd& entry) {
    return UserAccount{entry.pw_uid, entry.pw_gid, entry.pw_name, entry.pw_dir};
}
}  // namespace

Result<UserAccount> AccountByName(const std::string& name) {
    struct passwd* entry = getpwnam(name.c_str());
    if (entry == nullptr) {
        return Status::NotFound("there is no user \"" + name + "\"",
                                "Installing the package postgresql-15 makes it.");
    }
    return AccountOf(*entry);
}

Result<UserAccount> AccountById(uid_t uid) {
    struct passwd* entry = getpwuid(uid);
    if (entry == nullptr) {
        return Status::NotFound("there is no user with id " + std::to_string(uid));
    }
    return AccountOf(*entry);
}

Status BecomeUser(const UserAccount& account) {
    if (initgroups(account.name.c_str(), account.gid) != 0 || setgid(account.gid) != 0 ||
        setuid(account.uid) != 0) {
        return ErrnoStatus("become user", account.name, errno);
    }
    setenv("HOME", account.home.c_str(), 1);
    setenv("USER", account.name.c_str(), 1);
    setenv("LOGNAME", account.name.c_str(), 1);
    // PostgreSQL's programs complain about a working directory they cannot return to.
    if (access(".", R_OK | X_OK) != 0 && chdir("/") != 0) {
        return ErrnoStatus("change to directory", "/", errno);
    }
    return Status::Ok();
}

Status BecomeOwnerOf(const std::string& directory) {
    struct stat info;
    if (stat(directory.c_str(), &info) != 0) {
        return ErrnoStatus("open repository", directory, errno);
    }
    if (geteuid() == 0) {
        if (info.st_uid == 0) {
            return Status::Refused(
                "repository \"" + directory + "\" belongs to root, whom PostgreSQL does not run as",
                "Give it to the user it shall run as, as \"zenith init\" does: chown -R "
                "postgres: " +
                    directory);
        }
        ZENITH_ASSIGN_OR_RETURN(UserAccount account, AccountById(info.st_uid));
        return BecomeUser(account);
    }
    if (info.st_uid != geteuid()) {
        Result<UserAccount> owner = AccountById(info.st_uid);
        const std::string name = owner.ok() ? owner->name : std::to_string(info.st_uid);
        return Status::Refused("repository \"" + directory + "\" belongs to user " + name,
                               "Run zenith as " + name + " or as root.");
    }
    return Status::Ok();
}

}  // namespace zenith

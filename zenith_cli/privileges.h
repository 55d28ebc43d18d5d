// Who the CLI runs as. PostgreSQL refuses to run as root, so a repository made by root belongs to
// the "postgres" user, and the CLI started by root becomes the owner of the repository before it
// does anything to it. Thread rule: the CLI has one thread.
#pragma once

#include <sys/types.h>

#include <string>

#include "common/base/result.h"

namespace zenith {

struct UserAccount {
    uid_t uid;
    gid_t gid;
    std::string name;
    std::string home;
};

Result<UserAccount> AccountByName(const std::string& name);
Result<UserAccount> AccountById(uid_t uid);

// Gives up root for good: groups, group, user, HOME, USER and LOGNAME; a working directory the
// account cannot be in is left for "/". Requires: the effective user is root.
Status BecomeUser(const UserAccount& account);

// Becomes the owner of `directory` when root runs this; kRefused when it belongs to somebody else
// than the caller, or to root (PostgreSQL would not start).
Status BecomeOwnerOf(const std::string& directory);

}  // namespace zenith

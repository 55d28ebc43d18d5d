// ComputeNode: which computes a repository has, under which names and ports.
#include <netinet/in.h>
#include <sys/socket.h>

#include <algorithm>
#include <ctime>
#include <set>

#include "common/base/posix_file.h"
#include "common/base/unique_fd.h"
#include "zenith_cli/compute_node.h"

namespace zenith {

namespace {

constexpr int kFirstPort = 15432;
// From here on the kernel hands out ports for outgoing connections.
constexpr int kLastPort = 32767;

// Nobody listens there, on whatever address.
bool PortIsFree(int port) {
    UniqueFd fd(socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
    int on = 1;
    struct sockaddr_in address = {};
    address.sin_family = AF_INET;
    address.sin_port = htons(static_cast<uint16_t>(port));
    address.sin_addr.s_addr = htonl(INADDR_ANY);
    return fd.valid() && setsockopt(fd.get(), SOL_SOCKET, SO_REUSEADDR, &on, sizeof on) == 0 &&
           bind(fd.get(), reinterpret_cast<struct sockaddr*>(&address), sizeof address) == 0;
}

// Requires: the lock on computes/ is held.
Status CheckPortUnused(const Repository& repository, int port, const std::string& name) {
    ZENITH_ASSIGN_OR_RETURN(std::vector<ComputeNode> computes, ComputeNode::All(repository));
    for (const ComputeNode& compute : computes) {
        if (compute.file().port == port && compute.file().name != name) {
            return Status::AlreadyExists("port " + std::to_string(port) + " belongs to compute \"" +
                                             compute.file().name + "\"",
                                         "Choose another with --port.");
        }
    }
    return Status::Ok();
}

Result<int> ChoosePort(const std::vector<ComputeNode>& computes) {
    std::set<int> used;
    for (const ComputeNode& compute : computes) {
        used.insert(compute.file().port);
    }
    for (int port = kFirstPort; port <= kLastPort; port++) {
        if (used.count(port) == 0 && PortIsFree(port)) {
            return port;
        }
    }
    return Status::Refused("no port from " + std::to_string(kFirstPort) + " to " +
                               std::to_string(kLastPort) + " is free",
                           "Choose one with --port.");
}

std::string ChooseName(const std::vector<ComputeNode>& computes, const std::string& branch) {
    std::string base = branch;
    std::replace(base.begin(), base.end(), '/', '-');
    std::set<std::string> used;
    for (const ComputeNode& compute : computes) {
        used.insert(compute.file().name);
    }
    std::string name = base;
    for (int i = 2; used.count(name) != 0; i++) {
        name = base + "-" + std::to_string(i);
    }
    return name;
}

}  // namespace

Result<TimelineId> ComputeNode::TimelineOfBranch(const Repository& repository,
                                                 const std::string& branch) {
    ZENITH_ASSIGN_OR_RETURN(TimelinePoint point, repository.ResolvePoint(branch));
    if (point.lsn) {
        return Status::InvalidArgument(
            "\"" + branch + "\" is a point in the past; a compute runs on a branch",
            "Use \"zenith branch NAME " + branch + "\" to make a branch there.");
    }
    return point.timeline;
}

Result<ComputeNode> ComputeNode::Open(const Repository& repository, const std::string& name) {
    ZENITH_ASSIGN_OR_RETURN(ComputeFile file, repository.ReadCompute(name));
    return ComputeNode(repository, std::move(file));
}

Result<std::vector<ComputeNode>> ComputeNode::All(const Repository& repository) {
    ZENITH_ASSIGN_OR_RETURN(std::vector<std::string> names, repository.ListComputes());
    std::vector<ComputeNode> computes;
    for (const std::string& name : names) {
        Result<ComputeNode> compute = Open(repository, name);
        if (compute.ok()) {
            computes.push_back(*std::move(compute));
        } else if (compute.status().code() != StatusCode::kNotFound) {
            return compute.status();  // kNotFound: destroyed meanwhile
        }
    }
    return computes;
}

Result<ComputeNode> ComputeNode::Create(const Repository& repository,
                                        const ComputeRequest& request) {
    ComputeFile file;
    file.branch = request.branch;
    file.listen_addresses = request.listen_addresses;
    file.settings = request.settings;
    file.created_at = time(nullptr);
    ZENITH_ASSIGN_OR_RETURN(file.timeline, TimelineOfBranch(repository, request.branch));
    ZENITH_ASSIGN_OR_RETURN(UniqueFd lock, LockFile(repository.ComputesDirectory() + "/.lock"));
    ZENITH_ASSIGN_OR_RETURN(std::vector<ComputeNode> computes, All(repository));
    file.name = request.name.empty() ? ChooseName(computes, request.branch) : request.name;
    ZENITH_RETURN_IF_ERROR(Repository::CheckComputeName(file.name));
    for (const ComputeNode& compute : computes) {
        if (compute.file().name == file.name) {
            return Status::AlreadyExists("compute \"" + file.name + "\" already exists",
                                         "Choose another name with --name, or use \"zenith pg "
                                         "start " +
                                             file.name + "\".");
        }
    }
    if (request.port == 0) {
        ZENITH_ASSIGN_OR_RETURN(file.port, ChoosePort(computes));
    } else {
        ZENITH_RETURN_IF_ERROR(CheckPortUnused(repository, request.port, file.name));
        file.port = request.port;
        file.port_is_fixed = true;
    }
    // A directory without compute.json is what an interrupted creation or removal left.
    const std::string directory = repository.ComputeDirectory(file.name);
    ZENITH_RETURN_IF_ERROR(RemoveTree(directory));
    ZENITH_RETURN_IF_ERROR(EnsureDirectory(directory));
    Status status = repository.WriteCompute(file);
    if (!status.ok()) {
        RemoveTree(directory).Ignore("the first error is the one to report");
        return status;
    }
    return ComputeNode(repository, std::move(file));
}

Status ComputeNode::CheckPortFree() const {
    if (file_.listen_addresses.empty() || PortIsFree(file_.port)) {
        return Status::Ok();
    }
    return Status::Refused(
        "port " + std::to_string(file_.port) + " of compute \"" + file_.name +
            "\" is used by another program",
        "Use \"zenith pg start " + file_.name + " --port PORT\" to move it to another port.");
}

// Makes file_.port one to start on: `wanted` if given, and if another program has taken the one it
// had, another, unless the user chose it. Requires: the compute's lock is held, it does not run.
Status ComputeNode::SettlePort(std::optional<int> wanted) {
    const bool move = wanted && *wanted != file_.port;
    if (!move && (file_.listen_addresses.empty() || PortIsFree(file_.port))) {
        return Status::Ok();
    }
    ZENITH_ASSIGN_OR_RETURN(UniqueFd all, LockFile(repository_->ComputesDirectory() + "/.lock"));
    if (move) {
        ZENITH_RETURN_IF_ERROR(CheckPortUnused(*repository_, *wanted, file_.name));
        file_.port = *wanted;
        file_.port_is_fixed = true;
    } else if (!file_.port_is_fixed) {
        ZENITH_ASSIGN_OR_RETURN(std::vector<ComputeNode> computes, All(*repository_));
        ZENITH_ASSIGN_OR_RETURN(file_.port, ChoosePort(computes));
    }
    ZENITH_RETURN_IF_ERROR(CheckPortFree());
    return repository_->WriteCompute(file_);
}

}  // namespace zenith

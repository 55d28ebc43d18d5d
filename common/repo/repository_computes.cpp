#include <algorithm>

#include "common/base/posix_file.h"
#include "common/repo/json_file.h"
#include "common/repo/repository.h"

namespace zenith {

namespace {
std::string ComputeJson(const Repository& repository, const std::string& name) {
    return repository.ComputeDirectory(name) + "/compute.json";
}
}  // namespace

Status Repository::CheckComputeName(std::string_view name) {
    ZENITH_RETURN_IF_ERROR(CheckRefName(name));
    if (name.find('/') != std::string_view::npos) {
        return Status::InvalidArgument(
            "\"" + std::string(name) + "\" is not a valid name for a compute: it has a \"/\"",
            "Names of computes have letters, digits and . _ -.");
    }
    return Status::Ok();
}

Result<ComputeFile> Repository::ReadCompute(const std::string& name) const {
    ZENITH_RETURN_IF_ERROR(CheckComputeName(name));
    const std::string path = ComputeJson(*this, name);
    Result<std::string> text = ReadWholeFile(path);
    if (!text.ok()) {
        if (text.status().code() == StatusCode::kNotFound) {
            return Status::NotFound("compute \"" + name + "\" does not exist",
                                    "Use \"zenith pg list\" to see the computes, \"zenith pg "
                                    "create\" to make one.");
        }
        return text.status();
    }
    ZENITH_ASSIGN_OR_RETURN(JsonReader json, JsonReader::Parse(path, *text));
    ComputeFile file;
    file.name = name;
    ZENITH_ASSIGN_OR_RETURN(file.branch, json.String("branch"));
    ZENITH_ASSIGN_OR_RETURN(file.timeline, json.ReadTimelineId("timeline"));
    ZENITH_ASSIGN_OR_RETURN(int64_t port, json.Integer("port", 1, 65535));
    file.port = static_cast<int>(port);
    ZENITH_ASSIGN_OR_RETURN(file.port_is_fixed, json.Boolean("port_is_fixed"));
    ZENITH_ASSIGN_OR_RETURN(file.listen_addresses, json.String("listen_addresses"));
    ZENITH_ASSIGN_OR_RETURN(file.settings, json.Pairs("settings"));
    ZENITH_ASSIGN_OR_RETURN(file.created_at, json.Integer("created_at", 0, INT64_MAX));
    ZENITH_RETURN_IF_ERROR(json.CheckNoOtherFields());
    file.has_checksum = json.has_checksum();
    return file;
}

Status Repository::WriteCompute(const ComputeFile& file) const {
    ZENITH_RETURN_IF_ERROR(CheckComputeName(file.name));
    JsonWriter json;
    json.String("branch", file.branch);
    json.String("timeline", file.timeline.ToString());
    json.Integer("port", file.port);
    json.Boolean("port_is_fixed", file.port_is_fixed);
    json.String("listen_addresses", file.listen_addresses);
    json.Pairs("settings", file.settings);
    json.Integer("created_at", file.created_at);
    return ReplaceFileAtomically(ComputeJson(*this, file.name), json.Finish());
}

Result<std::vector<std::string>> Repository::ListComputes() const {
    ZENITH_ASSIGN_OR_RETURN(std::vector<std::string> entries, ListDirectory(ComputesDirectory()));
    std::vector<std::string> names;
    for (std::string& entry : entries) {
        if (CheckComputeName(entry).ok() && FileExists(ComputeJson(*this, entry))) {
            names.push_back(std::move(entry));
        }
    }
    std::sort(names.begin(), names.end());
    return names;
}

}  // namespace zenith

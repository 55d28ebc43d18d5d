#include "pageserver/testing/durability_model.h"

#include <algorithm>
#include <cstddef>

namespace zenith {

namespace {

constexpr uint64_t kSectorSize = 512;

bool Percent(unsigned percent, std::mt19937& random) {
    return random() % 100 < percent;
}

}  // namespace

// ---- contents -----------------------------------------------------------------------------------

void SparseContent::Write(uint64_t offset, std::string_view data) {
    size_ = std::max(size_, offset + data.size());
    while (!data.empty()) {
        const uint64_t within = offset % kBlockSize;
        const size_t n = std::min<uint64_t>(data.size(), kBlockSize - within);
        auto found = blocks_.find(offset / kBlockSize);
        if (found == blocks_.end() && data.find_first_not_of('\0') >= n) {
            // Nothing but zeroes where there are only zeroes.
        } else {
            if (found == blocks_.end()) {
                found = blocks_.try_emplace(offset / kBlockSize).first;
                found->second.fill('\0');
            }
            std::copy_n(data.data(), n, found->second.data() + within);
        }
        data.remove_prefix(n);
        offset += n;
    }
}

void SparseContent::Resize(uint64_t size) {
    if (size < size_) {
        blocks_.erase(blocks_.lower_bound((size + kBlockSize - 1) / kBlockSize), blocks_.end());
        if (auto last = blocks_.find(size / kBlockSize); last != blocks_.end()) {
            std::fill(last->second.begin() + static_cast<ptrdiff_t>(size % kBlockSize),
                      last->second.end(), '\0');
        }
    }
    size_ = size;
}

// ---- what happens -------------------------------------------------------------------------------

DurabilityModel::DurabilityModel() {
    directories_[kRoot] = {};
}

DurabilityModel::Node DurabilityModel::AddFile() {
    files_[next_] = {};
    return next_++;
}

DurabilityModel::Node DurabilityModel::AddDirectory() {
    directories_[next_] = {};
    return next_++;
}

void DurabilityModel::AssumeDurable(Node directory, const std::string& name, Node node) {
    directories_[directory][name] = node;
}

void DurabilityModel::AssumeDurable(Node file, uint64_t offset, std::string_view data,
                                    uint64_t size) {
    files_[file].durable.Write(offset, data);
    files_[file].durable.Resize(size);
}

void DurabilityModel::Link(Node directory, const std::string& name, Node node) {
    name_changes_.push_back({{directory, name, node}});
}

void DurabilityModel::Unlink(Node directory, const std::string& name) {
    name_changes_.push_back({{directory, name, 0}});
}

void DurabilityModel::Rename(Node from, const std::string& from_name, Node to,
                             const std::string& to_name, Node node) {
    name_changes_.push_back({{from, from_name, 0}, {to, to_name, node}});
}

void DurabilityModel::Write(Node file, uint64_t offset, std::string_view data) {
    files_[file].unsynced.push_back({Change::kWrite, offset, std::string(data)});
}

void DurabilityModel::Resize(Node file, uint64_t size) {
    files_[file].unsynced.push_back({Change::kResize, size, {}});
}

void DurabilityModel::Grow(Node file, uint64_t size) {
    files_[file].unsynced.push_back({Change::kGrow, size, {}});
}

void DurabilityModel::Apply(const Change& change, SparseContent* content) {
    switch (change.kind) {
        case Change::kWrite:
            content->Write(change.offset, change.data);
            return;
        case Change::kResize:
            content->Resize(change.offset);
            return;
        case Change::kGrow:
            content->Resize(std::max(content->size(), change.offset));
            return;
    }
}

void DurabilityModel::Apply(const NameChange& change, Directories* directories) {
    for (const NameEdit& edit : change) {
        if (edit.node == 0) {
            (*directories)[edit.directory].erase(edit.name);
        } else {
            (*directories)[edit.directory][edit.name] = edit.node;
        }
    }
}

void DurabilityModel::MakeNamesDurable(Node directory) {
    std::vector<NameChange> rest;
    for (NameChange& change : name_changes_) {
        if (std::none_of(change.begin(), change.end(),
                         [&](const NameEdit& edit) { return edit.directory == directory; })) {
            rest.push_back(std::move(change));
            continue;
        }
        Apply(change, &directories_);
        // What an older change did to the same names must not come back over it.
        for (NameChange& older : rest) {
            std::erase_if(older, [&](const NameEdit& edit) {
                return std::any_of(change.begin(), change.end(), [&](const NameEdit& newer) {
                    return newer.directory == edit.directory && newer.name == edit.name;
                });
            });
        }
    }
    std::erase_if(rest, [](const NameChange& change) { return change.empty(); });
    name_changes_ = std::move(rest);
}

void DurabilityModel::Sync(Node node) {
    if (directories_.contains(node)) {
        MakeNamesDurable(node);
        return;
    }
    FileState& file = files_[node];
    for (const Change& change : file.unsynced) {
        Apply(change, &file.durable);
    }
    file.unsynced.clear();
}

void DurabilityModel::SyncAll() {
    for (auto& [node, file] : files_) {
        Sync(node);
    }
    for (const NameChange& change : name_changes_) {
        Apply(change, &directories_);
    }
    name_changes_.clear();
}

void DurabilityModel::LoseUnsynced(Node file, std::mt19937& random) {
    if (directories_.contains(file)) {
        return;
    }
    FileState& state = files_[file];
    state.durable = CrashFile(state, random);
    state.unsynced.clear();
}

// ---- what is left ---------------------------------------------------------------------------------

void DurabilityModel::ApplyPartly(const Change& change, unsigned keep_percent,
                                  std::mt19937& random, SparseContent* content) {
    if (change.kind != Change::kWrite) {
        if (Percent(keep_percent, random)) {
            Apply(change, content);
        }
        return;
    }
    std::string_view data = change.data;
    uint64_t offset = change.offset;
    while (!data.empty()) {
        const size_t n = std::min<uint64_t>(data.size(), kSectorSize - offset % kSectorSize);
        if (Percent(keep_percent, random)) {
            content->Write(offset, data.substr(0, n));
        }
        data.remove_prefix(n);
        offset += n;
    }
    if (Percent(keep_percent, random)) {
        content->Resize(std::max(content->size(), offset));
    }
}

SparseContent DurabilityModel::CrashFile(const FileState& file, std::mt19937& random) const {
    SparseContent content = file.durable;
    constexpr unsigned kKeep[] = {0, 50, 90, 100};
    const unsigned keep_percent = kKeep[random() % std::size(kKeep)];
    for (const Change& change : file.unsynced) {
        ApplyPartly(change, keep_percent, random, &content);
    }
    return content;
}

DurabilityModel::Tree DurabilityModel::Crash(std::mt19937& random) const {
    Directories directories = directories_;
    // Names: as a journal would have it (the oldest changes), or any of them.
    const bool in_order = random() % 2 == 0;
    const size_t kept = random() % (name_changes_.size() + 1);
    for (size_t i = 0; i < name_changes_.size(); i++) {
        if (in_order ? i < kept : Percent(50, random)) {
            Apply(name_changes_[i], &directories);
        }
    }
    Tree tree;
    std::vector<std::pair<Node, std::string>> open = {{kRoot, ""}};
    std::set<Node> seen = {kRoot};
    while (!open.empty()) {
        const auto [directory, path] = open.back();
        open.pop_back();
        for (const auto& [name, node] : directories[directory]) {
            if (files_.contains(node)) {
                tree.files[path + name] = CrashFile(files_.at(node), random);
            } else if (seen.insert(node).second) {  // a half done move can name it twice
                tree.directories.insert(path + name);
                open.emplace_back(node, path + name + "/");
            }
        }
    }
    return tree;
}

}  // namespace zenith

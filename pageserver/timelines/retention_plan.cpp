#include "pageserver/timelines/retention_plan.h"

#include <algorithm>

namespace zenith {

Result<RetentionFacts> ReadRetentionFacts(const Repository& repository) {
    RetentionFacts facts;
    ZENITH_ASSIGN_OR_RETURN(auto branches, repository.ListBranches());
    for (const auto& [name, id] : branches) {
        facts.branches[id].push_back(name);
    }
    if (branches.empty()) {
        return Status::Corruption("there is no branch below \"" + repository.path() + "/refs\"",
                                  "Restore refs/ and timelines/ from the same backup.");
    }
    ZENITH_ASSIGN_OR_RETURN(std::vector<TimelineId> ids, repository.ListTimelines());
    for (const TimelineId& id : ids) {
        ZENITH_ASSIGN_OR_RETURN(facts.timelines[id], repository.ReadTimeline(id));
    }
    ZENITH_ASSIGN_OR_RETURN(auto tags, repository.ListTags());
    for (const auto& [name, point] : tags) {
        const Lsn lsn = point.lsn.value_or(Lsn());
        facts.tags.push_back({name, HolderOf(facts, point.timeline, lsn), lsn});
    }
    return facts;
}

TimelineId HolderOf(const RetentionFacts& facts, TimelineId id, Lsn lsn) {
    // A timeline that is its own ancestor is damage; it must not hang us.
    for (size_t steps = 0; steps < facts.timelines.size(); steps++) {
        auto found = facts.timelines.find(id);
        if (found == facts.timelines.end() || !found->second.ancestor.valid() ||
            lsn >= found->second.ancestor_lsn) {
            break;
        }
        id = found->second.ancestor;
    }
    return id;
}

std::vector<TimelineId> UnreferencedTimelines(const RetentionFacts& facts,
                                              const std::set<TimelineId>& roots) {
    std::map<TimelineId, size_t> references;
    for (const auto& [id, file] : facts.timelines) {
        references[id] += facts.named(id) ? 1 : 0;
        if (file.ancestor.valid()) {
            references[file.ancestor]++;
        } else if (!roots.contains(id)) {
            references[id]++;
        }
    }
    for (const RetentionFacts::Tag& tag : facts.tags) {
        references[tag.timeline]++;
    }
    for (const auto& [id, lsn] : facts.held) {
        references[id]++;
    }
    std::vector<TimelineId> removed;
    std::vector<TimelineId> free;
    for (const auto& [id, file] : facts.timelines) {
        if (references[id] == 0) {
            free.push_back(id);
        }
    }
    while (!free.empty()) {
        const TimelineId id = free.back();
        free.pop_back();
        removed.push_back(id);
        const TimelineId ancestor = facts.timelines.at(id).ancestor;
        if (ancestor.valid() && --references[ancestor] == 0 && facts.timelines.contains(ancestor)) {
            free.push_back(ancestor);
        }
    }
    return removed;
}

std::vector<Lsn> NeededPoints(const RetentionFacts& facts, const TimelineId& id,
                              const std::set<TimelineId>& removed) {
    std::vector<Lsn> points;
    for (const auto& [child, file] : facts.timelines) {
        if (file.ancestor == id && !removed.contains(child)) {
            points.push_back(file.ancestor_lsn);
        }
    }
    for (const RetentionFacts::Tag& tag : facts.tags) {
        if (tag.timeline == id) {
            points.push_back(tag.lsn);
        }
    }
    auto [begin, end] = facts.held.equal_range(id);
    for (auto held = begin; held != end; ++held) {
        points.push_back(held->second);
    }
    std::sort(points.begin(), points.end());
    points.erase(std::unique(points.begin(), points.end()), points.end());
    return points;
}

}  // namespace zenith

#include "regress/check_pages/comparison.h"

#include <algorithm>
#include <array>
#include <cstdio>
#include <cstring>
#include <set>

#include "common/pgformat/control_file.h"
#include "common/pgformat/page_format.h"

namespace zenith {

namespace {

constexpr const char* kForkNames[] = {"main", "fsm", "vm", "init"};
constexpr size_t kChecksumOffset = 8;  // pd_checksum of bufpage.h

uint16_t Get16(const PageBuffer& page, size_t offset) {
    uint16_t value;
    std::memcpy(&value, page.data() + offset, sizeof value);
    return value;
}
uint32_t Get32(const PageBuffer& page, size_t offset) {
    uint32_t value;
    std::memcpy(&value, page.data() + offset, sizeof value);
    return value;
}

// Whose rm_mask a page needs (numbers of rmgrlist.h). Pages tell their kind by the size of their
// special space and the id at its end, made so "for the benefit of pg_filedump": HASHO_PAGE_ID of
// hash.h, GIST_PAGE_ID of gist.h, SPGIST_PAGE_ID of spgist_private.h, BRIN_PAGETYPE_* of
// brin_page.h, BLOOM_PAGE_ID of bloom.h; btpo_cycleid of nbtree.h is below all of them; SEQ_MAGIC
// is sequence.c's. What is left with a special space of 8 bytes is GIN's.
struct PageKind {
    const char* name;
    int rmid;
};
PageKind KindOf(const PageBuffer& page) {
    const size_t special = Get16(page, 16);
    const uint16_t id = Get16(page, kPageSize - 2);
    if (special == kPageSize) {
        return {"heap", 10};
    }
    if (special + 16 == kPageSize) {
        switch (id) {
            case 0xFF80:
                return {"hash", 12};
            case 0xFF81:
                return {"gist", 14};
            default:
                return {"btree", 11};
        }
    }
    if (special + 8 == kPageSize) {
        if (Get32(page, special) == 0x1717) {
            return {"sequence", 15};
        }
        switch (id) {
            case 0xFF82:
                return {"spgist", 16};
            case 0xFF83:
                return {"bloom", 20};
            case 0xF091:
            case 0xF092:
            case 0xF093:
                return {"brin", 17};
            default:
                return {"gin", 13};
        }
    }
    return {"generic", 20};
}

std::string DifferingRanges(std::string_view one, std::string_view other) {
    std::string text;
    int shown = 0;
    for (size_t i = 0; i < one.size();) {
        if (one[i] == other[i]) {
            i++;
            continue;
        }
        size_t end = i;
        while (end < one.size() && one[end] != other[end]) {
            end++;
        }
        if (++shown > 8) {
            return text + " ...";
        }
        text += (text.empty() ? "" : ", ") + std::to_string(i) +
                (end - i > 1 ? "-" + std::to_string(end - 1) : "");
        char bytes[32];
        std::snprintf(bytes, sizeof bytes, " (%02x:%02x)", static_cast<unsigned char>(one[i]),
                      static_cast<unsigned char>(other[i]));
        text += bytes;
        i = end;
    }
    return text;
}

// Clears what is older than `oldest` in a page of pg_commit_ts: entries nobody reads any more
// (TransactionIdGetCommitTsData() of commit_ts.c). A standby still has them in its buffers when
// DeactivateCommitTs() has removed the files, and writes them again.
void ForgetCommitTimestamps(uint32_t page, uint32_t oldest, std::string* bytes) {
    constexpr size_t kEntry = 10;                             // SizeOfCommitTimestampEntry
    constexpr uint32_t kEntriesPerPage = kPageSize / kEntry;  // COMMIT_TS_XACTS_PER_PAGE
    for (uint32_t i = 0; i < kEntriesPerPage; i++) {
        const uint32_t xid = page * kEntriesPerPage + i;
        if (oldest == 0 || static_cast<int32_t>(xid - oldest) < 0) {
            bytes->replace(size_t{i} * kEntry, kEntry, kEntry, '\0');
        }
    }
}

std::string_view Text(const PageBuffer& page) {
    return {reinterpret_cast<const char*>(page.data()), page.size()};
}

bool AllZero(std::string_view bytes) {
    return bytes.find_first_not_of('\0') == std::string_view::npos;
}

}  // namespace

std::string Comparison::Name(const RelForkKey& rel) const {
    auto name = setup_.names.find(rel.node);
    return rel.ToString() + (name == setup_.names.end() ? "" : " (" + name->second + ")");
}

void Comparison::Differs(const std::string& what, const std::string& how) {
    totals_.differences++;
    std::printf("DIFFERENCE at %s: %s: %s\n", at_.lsn.ToString().c_str(), what.c_str(),
                how.c_str());
}

Status Comparison::CompareAt(const StandbyPosition& position) {
    at_ = position;
    totals_.points++;
    ZENITH_ASSIGN_OR_RETURN(standby_files_, ReadDataDirectory(setup_.data));
    ZENITH_ASSIGN_OR_RETURN(
        server_files_,
        ReadBaseBackup(server_, "basebackup " + setup_.timeline + " " + at_.lsn.ToString()));
    ZENITH_RETURN_IF_ERROR(CompareRelations());
    CompareSlrus();
    CompareFiles();
    return CompareCounters();
}

// Sizes and existence first; then the pages of every fork that either side has.
Status Comparison::CompareRelations() {
    std::set<RelForkKey> all;
    for (const auto* side : {&standby_files_, &server_files_}) {
        for (const auto& [rel, blocks] : side->relations) {
            all.insert(rel);
        }
    }
    std::vector<RelForkKey> forks;
    for (const RelForkKey& rel : all) {
        // The main fork of an unlogged relation is not in WAL: the base backup's is a copy of the
        // init fork, a standby has none.
        const bool unlogged = all.contains({rel.node, Fork::kInit});
        if (unlogged && rel.fork != Fork::kInit) {
            continue;
        }
        auto standby = standby_files_.relations.find(rel);
        auto server = server_files_.relations.find(rel);
        totals_.forks++;
        const auto end = std::pair(standby == standby_files_.relations.end(),
                                   server == server_files_.relations.end());
        // Redo of heap records keeps the standby's free space map, no record does.
        if (rel.fork == Fork::kFsm && end.second) {
            continue;
        }
        if (end.first || end.second) {
            Differs(Name(rel), end.first ? "only the page server has it" : "only the standby has it");
            continue;
        }
        const bool fits = rel.fork == Fork::kFsm ? server->second <= standby->second
                                                 : server->second == standby->second;
        if (!fits) {
            Differs(Name(rel), "the standby has " + std::to_string(standby->second) +
                                   " blocks, the page server " + std::to_string(server->second));
        }
        forks.push_back(rel);
    }
    return ComparePages(forks);
}

Status Comparison::ComparePages(const std::vector<RelForkKey>& forks) {
    std::vector<PageStream::Range> ranges;
    for (const RelForkKey& rel : forks) {
        BlockNumber blocks = server_files_.relations[rel];
        if (rel.fork != Fork::kFsm) {
            blocks = std::max(blocks, standby_files_.relations[rel]);
        }
        for (BlockNumber block = 0; block < blocks; block += kMaxPagesPerRequest) {
            ranges.push_back({rel, block,
                              static_cast<uint16_t>(std::min<BlockNumber>(kMaxPagesPerRequest,
                                                                          blocks - block))});
        }
    }
    std::optional<RelationFile> file;
    std::optional<RelForkKey> open;
    std::string ours;
    return pages_.Read(
        at_.lsn, ranges, [&](const PageStream::Range& range, const PageResponse& response) {
            if (open != range.rel) {
                open = range.rel;
                file.emplace(setup_.data, range.rel);
            }
            if (response.block == range.block) {
                ours.clear();
                ZENITH_RETURN_IF_ERROR(file->Read(range.block, range.count, &ours));
            }
            const size_t offset = size_t{response.block - range.block} * kPageSize;
            return ComparePage(range.rel, response,
                               std::as_bytes(std::span(ours.data() + offset, kPageSize)));
        });
}

Status Comparison::ComparePage(const RelForkKey& rel, const PageResponse& response,
                               std::span<const std::byte> ours) {
    totals_.pages++;
    const BlockNumber block = response.block;
    const std::string what = "block " + std::to_string(block) + " of " + Name(rel);
    if (response.kind == PageResponse::Kind::kFailure) {
        Differs(what, "the page server fails: " + std::string(response.message));
        if (totals_.differences <= setup_.details) {
            ShowRecords(rel, block);
        }
        return Status::Ok();
    }
    PageBuffer standby;
    PageBuffer server{};
    std::copy(ours.begin(), ours.end(), standby.begin());
    if (response.kind == PageResponse::Kind::kPage) {
        std::copy(response.page.begin(), response.page.end(), server.begin());
    }
    // The checksum is set by whoever writes the page to a file.
    const PageBuffer whole_standby = standby;
    const PageBuffer whole_server = server;
    for (PageBuffer* page : {&standby, &server}) {
        std::memset(page->data() + kChecksumOffset, 0, 2);
    }
    if (standby == server) {
        totals_.equal++;
        return Status::Ok();
    }
    // The standby's redo of heap records changes free space maps as it goes, and leaves the LSN,
    // which is that of the last record that logged the page.
    if (rel.fork == Fork::kFsm && PageLsn(standby) == PageLsn(server)) {
        totals_.fsm_hints++;
        return Status::Ok();
    }
    // Under heap_mask nothing would be left of a visibility map page: it is all "unused space".
    if (rel.fork != Fork::kVm && rel.fork != Fork::kFsm && !PageIsAllZero(standby) && !PageIsAllZero(server)) {
        const PageKind kind = KindOf(standby);
        if (kind.rmid == KindOf(server).rmid) {
            ZENITH_ASSIGN_OR_RETURN(bool masked, standby_.Mask(kind.rmid, block, &standby, &server));
            if (masked && standby == server) {
                totals_.masked++;
                if (totals_.masked_by_kind[kind.name]++ < 3) {
                    std::printf("only equal under masks at %s: %s, a %s page\n",
                                at_.lsn.ToString().c_str(), what.c_str(), kind.name);
                    ShowPage(rel, block, whole_standby, whole_server);
                }
                return Status::Ok();
            }
        }
    }
    Differs(what, rel.fork == Fork::kVm    ? "different visibility map"
                  : rel.fork == Fork::kFsm ? "different versions of a free space map"
                                           : std::string("different ") + KindOf(standby).name +
                                                 " page");
    if (totals_.differences <= setup_.details) {
        ShowPage(rel, block, whole_standby, whole_server);
        std::printf("  under masks: %s\n", DifferingRanges(Text(standby), Text(server)).c_str());
    }
    return Status::Ok();
}

void Comparison::ShowPage(const RelForkKey& rel, BlockNumber block, const PageBuffer& standby,
                          const PageBuffer& server) {
    std::printf("  LSN standby %s, page server %s; bytes (standby:page server): %s\n",
                PageLsn(standby).ToString().c_str(), PageLsn(server).ToString().c_str(),
                DifferingRanges(Text(standby), Text(server)).c_str());
    ShowRecords(rel, block);
}

// The records of the block since its last image, by pg_waldump.
void Comparison::ShowRecords(const RelForkKey& rel, BlockNumber block) {
    const std::string command =
        "'" + setup_.pg_bindir + "/pg_waldump' -p '" + setup_.data + "/pg_wal' -s " +
        setup_.wal_start.ToString() + " -e " + at_.lsn.ToString() + " --relation=" +
        std::to_string(rel.node.spc) + "/" + std::to_string(rel.node.db) + "/" +
        std::to_string(rel.node.rel) + " --fork=" + kForkNames[static_cast<size_t>(rel.fork)] +
        " --block=" + std::to_string(block) + " 2>&1";
    std::fflush(stdout);
    FILE* pipe = popen(command.c_str(), "r");
    if (pipe == nullptr) {
        return;
    }
    std::vector<std::string> lines;
    char line[2048];
    while (std::fgets(line, sizeof line, pipe) != nullptr) {
        if (std::strstr(line, "FPW") != nullptr || std::strstr(line, "+INIT") != nullptr) {
            lines.clear();
        }
        lines.push_back(line);
    }
    pclose(pipe);
    constexpr size_t kMaxLines = 40;
    for (size_t i = lines.size() > kMaxLines ? lines.size() - kMaxLines : 0; i < lines.size(); i++) {
        std::printf("    %s", lines[i].c_str());
    }
}

// ---- everything but relations ---------------------------------------------------------------------

void Comparison::CompareSlrus() {
    for (SlruKind kind : kSlruKinds) {
        const std::string directory = std::string(SlruDirectory(kind)) + "/";
        std::set<std::string> names;
        for (const auto* side : {&standby_files_, &server_files_}) {
            for (auto at = side->files.lower_bound(directory);
                 at != side->files.end() && at->first.starts_with(directory); ++at) {
                names.insert(at->first);
            }
        }
        for (const std::string& name : names) {
            // A page that is not there and a page of zeroes say the same.
            std::string standby = standby_files_.files[name];
            std::string server = server_files_.files[name];
            const size_t size = std::max(standby.size(), server.size());
            standby.resize(size);
            server.resize(size);
            for (size_t offset = 0; offset < size; offset += kPageSize) {
                totals_.slru_pages++;
                std::string one = standby.substr(offset, kPageSize);
                std::string other = server.substr(offset, kPageSize);
                if (kind == SlruKind::kCommitTs) {
                    const uint32_t page = static_cast<uint32_t>(
                        std::stoul(name.substr(directory.size()), nullptr, 16) *
                            kSlruPagesPerSegment + offset / kPageSize);
                    ForgetCommitTimestamps(page, at_.oldest_commit_ts_xid, &one);
                    ForgetCommitTimestamps(page, at_.oldest_commit_ts_xid, &other);
                }
                if (one == other) {
                    continue;
                }
                Differs("page " + std::to_string(offset / kPageSize) + " of " + name,
                        AllZero(other) ? "the page server has none"
                        : AllZero(one) ? "the standby has none"
                                       : "bytes (standby:page server) " + DifferingRanges(one, other));
            }
        }
    }
}

void Comparison::CompareFiles() {
    const std::string origins = "pg_logical/replorigin_checkpoint";
    std::set<std::string> names;
    for (const auto* side : {&standby_files_, &server_files_}) {
        for (const auto& [name, bytes] : side->files) {
            if (name.starts_with("pg_twophase/") || name.ends_with("/pg_filenode.map") ||
                name.ends_with("/PG_VERSION") || name == origins) {
                names.insert(name);
            }
        }
    }
    for (const std::string& name : names) {
        totals_.files++;
        auto standby = standby_files_.files.find(name);
        auto server = server_files_.files.find(name);
        if (name == origins) {
            // Entries of 16 bytes between a magic number and a checksum, in any order; a file of
            // none is as good as no file (CheckPointReplicationOrigin() of origin.c).
            std::array<std::set<std::string>, 2> entries;
            size_t index = 0;
            for (const auto* side : {&standby_files_, &server_files_}) {
                auto found = side->files.find(name);
                if (found != side->files.end()) {
                    for (size_t at = 4; at + 16 + 4 <= found->second.size(); at += 16) {
                        std::string entry = found->second.substr(at, 16);
                        entry.replace(2, 6, 6, '\0');
                        entries[index].insert(entry);
                    }
                }
                index++;
            }
            if (entries[0] != entries[1]) {
                Differs(name, "different positions");
            }
        } else if (standby == standby_files_.files.end()) {
            Differs(name, "only the page server has it");
        } else if (server == server_files_.files.end()) {
            Differs(name, "only the standby has it");
        } else if (standby->second.size() != server->second.size()) {
            Differs(name, "the standby's has " + std::to_string(standby->second.size()) +
                              " bytes, the page server's " + std::to_string(server->second.size()));
        } else if (standby->second != server->second) {
            Differs(name, "bytes (standby:page server) " +
                              DifferingRanges(standby->second, server->second));
        }
    }
}

// What the base backup's pg_control says against the standby's shared memory, and the settings
// that records keep in pg_control (PARAMETER_CHANGE) against the standby's own file.
Status Comparison::CompareCounters() {
    const std::string name = "global/pg_control";
    auto bytes = [](const std::string& text) {
        return std::as_bytes(std::span(text.data(), text.size()));
    };
    ZENITH_ASSIGN_OR_RETURN(ControlFile server, DecodeControlFile(bytes(server_files_.files[name])));
    ZENITH_ASSIGN_OR_RETURN(ControlFile standby,
                            DecodeControlFile(bytes(standby_files_.files[name])));
    const CheckPointFields& copy = server.check_point_copy;
    auto field = [&](const char* what, uint64_t one, uint64_t other) {
        totals_.counters++;
        if (one != other) {
            Differs(std::string("pg_control: ") + what,
                    "the standby has " + std::to_string(one) + ", the page server " +
                        std::to_string(other));
        }
    };
    field("nextXid", at_.next_xid, copy.next_xid);
    field("nextOid", at_.next_oid, copy.next_oid);
    field("nextMulti", at_.next_multi, copy.next_multi);
    field("nextMultiOffset", at_.next_multi_offset, copy.next_multi_offset);
    field("oldestMulti", at_.oldest_multi, copy.oldest_multi);
    field("oldestMultiDB", at_.oldest_multi_db, copy.oldest_multi_db);
    field("oldestXid", at_.oldest_xid, copy.oldest_xid);
    field("oldestXidDB", at_.oldest_xid_db, copy.oldest_xid_db);
    field("oldestCommitTsXid", at_.oldest_commit_ts_xid, copy.oldest_commit_ts_xid);
    field("newestCommitTsXid", at_.newest_commit_ts_xid, copy.newest_commit_ts_xid);
    field("system_identifier", standby.system_identifier, server.system_identifier);
    field("wal_level", static_cast<uint64_t>(standby.wal_level),
          static_cast<uint64_t>(server.wal_level));
    field("wal_log_hints", standby.wal_log_hints, server.wal_log_hints);
    field("track_commit_timestamp", standby.track_commit_timestamp, server.track_commit_timestamp);
    field("MaxConnections", static_cast<uint64_t>(standby.max_connections),
          static_cast<uint64_t>(server.max_connections));
    field("max_prepared_xacts", static_cast<uint64_t>(standby.max_prepared_xacts),
          static_cast<uint64_t>(server.max_prepared_xacts));
    return Status::Ok();
}

}  // namespace zenith

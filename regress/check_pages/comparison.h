// Comparison: a standby's files against what the page server gives at the same LSN.
//
// What is compared, and what not and why, is in regress/README.md.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "common/base/status.h"
#include "regress/check_pages/cluster_files.h"
#include "regress/check_pages/page_stream.h"
#include "regress/check_pages/standby_control.h"

namespace zenith {

struct ComparisonTotals {
    uint64_t points = 0;
    uint64_t forks = 0;         // relation forks, sizes compared
    uint64_t pages = 0;         // relation pages compared, all of these:
    uint64_t equal = 0;         //   the same bytes, but for the checksum
    uint64_t masked = 0;        //   the same under rm_mask
    uint64_t fsm_hints = 0;     //   free space map pages that redo changed without a record
    uint64_t slru_pages = 0;
    uint64_t files = 0;         // relation maps, two-phase states, origins, PG_VERSION
    uint64_t counters = 0;      // fields of pg_control
    uint64_t differences = 0;
    std::map<std::string, uint64_t> masked_by_kind;
};

class Comparison {
  public:
    struct Setup {
        std::string data;      // the standby's data directory
        std::string timeline;
        std::string pg_bindir; // for pg_waldump
        Lsn wal_start;         // where pg_waldump begins
        size_t details = 20;   // so many differences are explained in full
        std::map<RelFileNode, std::string> names;
    };
    // Everything given outlives this object.
    Comparison(Setup setup, StandbyControl& standby, PageStream& pages, PqConnection& server)
        : setup_(std::move(setup)), standby_(standby), pages_(pages), server_(server) {}

    // Compares everything; differences are printed and counted, an error means that it could not.
    Status CompareAt(const StandbyPosition& position);
    const ComparisonTotals& totals() const { return totals_; }

  private:
    Status CompareRelations();
    Status ComparePages(const std::vector<RelForkKey>& forks);
    Status ComparePage(const RelForkKey& rel, const PageResponse& response,
                       std::span<const std::byte> ours);
    void CompareSlrus();
    void CompareFiles();
    Status CompareCounters();
    void Differs(const std::string& what, const std::string& how);
    void ShowPage(const RelForkKey& rel, BlockNumber block, const PageBuffer& standby,
                  const PageBuffer& server);
    void ShowRecords(const RelForkKey& rel, BlockNumber block);
    std::string Name(const RelForkKey& rel) const;

    const Setup setup_;
    StandbyControl& standby_;
    PageStream& pages_;
    PqConnection& server_;
    StandbyPosition at_;
    ClusterFiles standby_files_;
    ClusterFiles server_files_;
    ComparisonTotals totals_;
};

}  // namespace zenith

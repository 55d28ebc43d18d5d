// check_pages: drives a stepping standby (stepping_standby.c) through the history of a timeline
// and compares its files with what the page server gives, at random LSNs and at the end.
//
// Exit code 0: no difference. 1: differences, printed. 2: it could not be found out.
#include <fcntl.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <cstdio>
#include <fstream>
#include <random>
#include <set>
#include <sstream>
#include <string>

#include "common/base/posix_file.h"
#include "regress/check_pages/comparison.h"
#include "regress/check_pages/page_stream.h"
#include "regress/check_pages/standby_control.h"

namespace zenith {
namespace {

struct Options {
    std::string data;
    std::string pipes;
    std::string server;
    std::string timeline;
    std::string pg_bindir;
    std::string names;
    std::string from;
    std::string to;
    std::vector<std::string> at;
    size_t points = 50;
    uint64_t seed = 1;
    bool sabotage = false;
};

constexpr uint64_t kSabotages = 5;

Status FlipByte(const std::string& path, uint64_t offset) {
    ZENITH_ASSIGN_OR_RETURN(UniqueFd fd, OpenFile(path, O_RDWR));
    std::byte byte{};
    ZENITH_RETURN_IF_ERROR(ReadExactAt(fd.get(), path, offset, {&byte, 1}));
    byte ^= std::byte{1};
    return WriteAllAt(fd.get(), path, offset, {&byte, 1});
}

// Damages the standby's files in kSabotages ways, each of which must be one difference: a tuple's
// xmin, a bit of a visibility map, a transaction's status, a length, a file that is not there.
Status Sabotage(const std::string& data) {
    ZENITH_ASSIGN_OR_RETURN(ClusterFiles files, ReadDataDirectory(data));
    auto find = [&files](Fork fork, BlockNumber blocks, std::set<RelFileNode>* used) {
        for (const auto& [rel, length] : files.relations) {
            if (rel.fork == fork && length >= blocks && used->insert(rel.node).second) {
                return rel;
            }
        }
        return RelForkKey();
    };
    std::set<RelFileNode> maps;
    std::set<RelFileNode> used;
    const RelForkKey map = find(Fork::kVm, 1, &maps);
    const std::string table = data + "/" + RelationSegmentPath({map.node, Fork::kMain}, 0);
    uint32_t item = 0;  // ItemIdData: the low 15 bits are the tuple's offset
    ZENITH_ASSIGN_OR_RETURN(UniqueFd fd, OpenFile(table, O_RDONLY));
    ZENITH_RETURN_IF_ERROR(ReadExactAt(fd.get(), table, kPageHeaderSize,
                                       std::as_writable_bytes(std::span(&item, 1))));
    ZENITH_RETURN_IF_ERROR(FlipByte(table, item & 0x7FFF));
    ZENITH_RETURN_IF_ERROR(
        FlipByte(data + "/" + RelationSegmentPath(map, 0), kPageHeaderSize));
    ZENITH_RETURN_IF_ERROR(FlipByte(data + "/pg_xact/0000", 100));
    used.insert(map.node);
    const std::string longer =
        data + "/" + RelationSegmentPath(find(Fork::kMain, 1, &used), 0);
    ZENITH_ASSIGN_OR_RETURN(std::string content, ReadWholeFile(longer));
    ZENITH_ASSIGN_OR_RETURN(UniqueFd appended, OpenFile(longer, O_RDWR));
    const PageBuffer page{};
    ZENITH_RETURN_IF_ERROR(WriteAllAt(appended.get(), longer, content.size(), page));
    return RemoveFile(data + "/" + RelationSegmentPath(find(Fork::kMain, 1, &used), 0));
}

// Lines "tablespace database relfilenode name".
std::map<RelFileNode, std::string> ReadNames(const std::string& path) {
    std::map<RelFileNode, std::string> names;
    std::ifstream file(path);
    std::string line;
    while (std::getline(file, line)) {
        std::istringstream in(line);
        RelFileNode node;
        std::string name;
        if (in >> node.spc >> node.db >> node.rel && std::getline(in >> std::ws, name)) {
            names[node] = name;
        }
    }
    return names;
}

void PrintTotals(const ComparisonTotals& totals) {
    std::printf("%llu points, %llu forks, %llu relation pages",
                static_cast<unsigned long long>(totals.points),
                static_cast<unsigned long long>(totals.forks),
                static_cast<unsigned long long>(totals.pages));
    std::printf(" (%llu equal, %llu only under masks, %llu free space map hints)",
                static_cast<unsigned long long>(totals.equal),
                static_cast<unsigned long long>(totals.masked),
                static_cast<unsigned long long>(totals.fsm_hints));
    std::printf(", %llu slru pages, %llu files, %llu counters, %llu differences\n",
                static_cast<unsigned long long>(totals.slru_pages),
                static_cast<unsigned long long>(totals.files),
                static_cast<unsigned long long>(totals.counters),
                static_cast<unsigned long long>(totals.differences));
}

Result<bool> Run(const Options& options) {
    std::optional<Lsn> from = Lsn::Parse(options.from);
    std::optional<Lsn> to = Lsn::Parse(options.to);
    if (!from || !to || *from >= *to) {
        return Status::InvalidArgument("--from and --to are not an interval of LSNs");
    }
    std::vector<Lsn> points;
    std::mt19937_64 random(options.seed);
    std::uniform_int_distribution<uint64_t> any(from->value, to->value);
    for (size_t i = 0; i < options.points; i++) {
        points.push_back(Lsn(any(random)));
    }
    for (const std::string& text : options.at) {
        std::optional<Lsn> lsn = Lsn::Parse(text);
        if (!lsn || *lsn < *from || *lsn > *to) {
            return Status::InvalidArgument("--at " + text + " is not between --from and --to");
        }
        points.push_back(*lsn);
    }
    points.push_back(*to);
    std::sort(points.begin(), points.end());

    ZENITH_ASSIGN_OR_RETURN(StandbyControl standby,
                            StandbyControl::Open(options.pipes, options.data));
    ZENITH_ASSIGN_OR_RETURN(PqConnection server, PqConnection::Connect(options.server, 20000));
    ZENITH_ASSIGN_OR_RETURN(PageStream pages, PageStream::Open(options.server, options.timeline));
    ZENITH_RETURN_IF_ERROR(pages.WaitFor(*to));
    Comparison::Setup setup;
    setup.data = options.data;
    setup.timeline = options.timeline;
    setup.pg_bindir = options.pg_bindir;
    setup.wal_start = *from;
    setup.names = ReadNames(options.names);
    Comparison comparison(std::move(setup), standby, pages, server);
    Lsn last;
    for (Lsn point : points) {
        ZENITH_ASSIGN_OR_RETURN(StandbyPosition position, standby.GoTo(point));
        // Two points may lie within one record; before the first record there is nothing new.
        if (position.lsn == last || !position.lsn.valid()) {
            continue;
        }
        last = position.lsn;
        if (options.sabotage && point == points.back()) {
            ZENITH_RETURN_IF_ERROR(Sabotage(options.data));
        }
        if (Status status = comparison.CompareAt(position); !status.ok()) {
            return status.WithContext("at " + position.lsn.ToString());
        }
        std::fflush(stdout);
    }
    PrintTotals(comparison.totals());
    if (options.sabotage) {
        return comparison.totals().differences == kSabotages;
    }
    return comparison.totals().differences == 0;
}

int Main(int argc, char** argv) {
    Options options;
    CLI::App app("compare a stepping standby with the page server");
    app.add_option("--data", options.data, "the standby's data directory")->required();
    app.add_option("--pipes", options.pipes, "its check_pages.directory")->required();
    app.add_option("--server", options.server, "connection string of the page server")->required();
    app.add_option("--timeline", options.timeline)->required();
    app.add_option("--pg-bindir", options.pg_bindir)->required();
    app.add_option("--names", options.names, "file of relation names");
    app.add_option("--from", options.from, "where the standby starts")->required();
    app.add_option("--to", options.to, "the last LSN to compare at; records must follow")->required();
    app.add_option("--at", options.at, "also compare here");
    app.add_option("--points", options.points, "number of random LSNs before the end");
    app.add_option("--seed", options.seed);
    app.add_flag("--sabotage", options.sabotage,
                 "damage the standby's files at the end, and succeed if just that is found");
    CLI11_PARSE(app, argc, argv);
    Result<bool> equal = Run(options);
    if (!equal.ok()) {
        std::fprintf(stderr, "check_pages: error: %s\n", equal.status().message().c_str());
        if (!equal.status().hint().empty()) {
            std::fprintf(stderr, "check_pages: hint: %s\n", equal.status().hint().c_str());
        }
        return 2;
    }
    return *equal ? 0 : 1;
}

}  // namespace
}  // namespace zenith

int main(int argc, char** argv) {
    return zenith::Main(argc, argv);
}

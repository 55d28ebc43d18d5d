// check_pages: drives a stepping standby (stepping_standby.c) through the history of a timeline
// and compares its files with what the page server gives, at random LSNs and at the end.
//
// Exit code 0: no difference. 1: differences, printed. 2: it could not be found out.
#include <CLI/CLI.hpp>
#include <algorithm>
#include <chrono>
#include <cstdio>
#include <fstream>
#include <random>
#include <sstream>
#include <string>

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
};

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
        if (Status status = comparison.CompareAt(position); !status.ok()) {
            return status.WithContext("at " + position.lsn.ToString());
        }
        std::fflush(stdout);
    }
    PrintTotals(comparison.totals());
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

// FsckTest: fsck on a BuiltRepository, its findings as text. Tests only.
#pragma once

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/file.h>

#include <string>
#include <utility>

#include "common/pgformat/segment_name.h"
#include "pageserver/inspect/built_repository_for_test.h"
#include "pageserver/inspect/check_repository.h"

namespace zenith {

inline std::string Text(const Findings& findings) {
    std::string text;
    for (const Finding& finding : findings.listed()) {
        text += finding.Message() + "\n";
    }
    return text;
}

class FsckTest : public testing::Test {
  protected:
    FsckReport Fsck(bool deep = false, Progress progress = nullptr) {
        FsckOptions options;
        options.deep = deep ? &built_.redo : nullptr;
        options.progress = std::move(progress);
        auto report = CheckRepository(built_.repository, options);
        EXPECT_TRUE(report.ok()) << report.status().message();
        return report.ok() ? *std::move(report) : FsckReport();
    }
    // Some finding, an error, is about `file`.
    void ExpectError(const std::string& file, const std::string& what = "") {
        const FsckReport report = Fsck();
        for (const Finding& finding : report.findings.listed()) {
            if (finding.severity == Finding::Severity::kError &&
                finding.Message().find(file) != std::string::npos &&
                finding.Message().find(what) != std::string::npos) {
                return;
            }
        }
        ADD_FAILURE() << "no error \"" << what << "\" about " << file << ": "
                      << Text(report.findings);
    }
    // Until the lock goes a page server seems to run.
    UniqueFd LockAsPageServer() {
        built_.Write("pageserver.pid", "1\n");
        UniqueFd lock(open(built_.repository.PageServerPidPath().c_str(), O_RDWR | O_CLOEXEC));
        EXPECT_EQ(flock(lock.get(), LOCK_EX | LOCK_NB), 0);
        return lock;
    }
    std::string Directory(const TimelineId& id) const { return "timelines/" + id.ToString(); }
    std::string Segment(const TimelineId& id, uint64_t number) const {
        return Directory(id) + "/wal/" + WalSegmentName(number);
    }

    BuiltRepository built_;
};

}  // namespace zenith

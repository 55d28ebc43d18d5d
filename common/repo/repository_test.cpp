#include "common/repo/repository.h"

#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cstdlib>
#include <cstdio>
#include <fstream>
#include <functional>
#include <span>
#include <thread>

#include "common/base/crc32c.h"
#include "common/base/posix_file.h"
#include "common/base/time.h"

namespace zenith {
namespace {

// A reference file with the right checksum of what it says.
std::string WithChecksum(const std::string& content) {
    char checksum[16];
    snprintf(checksum, sizeof checksum, " %08x\n",
             Crc32c(std::as_bytes(std::span(content.data(), content.size()))));
    return content + checksum;
}

class RepositoryTest : public testing::Test {
  protected:
    void SetUp() override {
        char name[] = "/tmp/zenith_repo_test_XXXXXX";
        ASSERT_NE(mkdtemp(name), nullptr);
        directory_ = name;
        repository_ = std::make_unique<Repository>(directory_ + "/repo");
        ASSERT_TRUE(repository_->CreateLayout().ok());
    }
    void TearDown() override { RemoveTree(directory_).Ignore("end of the test"); }

    void Put(const std::string& path, const std::string& content) {
        std::ofstream(repository_->path() + "/" + path, std::ios::binary) << content;
    }

    TimelineId MakeTimeline(const TimelineId& ancestor = TimelineId()) {
        TimelineFile file;
        file.id = TimelineId::Random();
        file.ancestor = ancestor;
        file.ancestor_lsn = Lsn(0x15FFB08);
        EXPECT_TRUE(repository_->WriteTimeline(file).ok());
        return file.id;
    }

    // Every bit of the file at `path` in turn: `read` must fail each time, naming the file.
    void FlipEveryBit(const std::string& path, const std::function<Status()>& read) {
        const std::string whole = repository_->path() + "/" + path;
        const std::string good = *ReadWholeFile(whole);
        for (size_t i = 0; i < good.size() * 8; i++) {
            std::string bad = good;
            bad[i / 8] = static_cast<char>(bad[i / 8] ^ (1 << i % 8));
            Put(path, bad);
            Status status = read();
            ASSERT_FALSE(status.ok()) << path << ", bit " << i % 8 << " of byte " << i / 8;
            EXPECT_EQ(status.code(), StatusCode::kCorruption);
            EXPECT_NE(status.message().find(whole), std::string::npos) << status.message();
        }
        for (size_t length = 0; length < good.size(); length++) {
            Put(path, good.substr(0, length));
            EXPECT_FALSE(read().ok()) << path << " cut to " << length;
        }
        Put(path, good);
        EXPECT_TRUE(read().ok());
    }

    std::string directory_;
    std::unique_ptr<Repository> repository_;
};

TEST_F(RepositoryTest, EveryFlippedBitIsFound) {
    RepoConfig config;
    config.system_identifier = 7300000000000000123;
    config.pg_bindir = "/usr/lib/postgresql/15/bin";
    config.socket_directory = "/tmp/x";
    ASSERT_TRUE(repository_->WriteConfig(config).ok());
    FlipEveryBit("config.json", [&] { return repository_->ReadConfig().status(); });

    TimelineFile file;
    file.id = TimelineId::Random();
    file.ancestor = TimelineId::Random();
    file.ancestor_lsn = Lsn(0xABCDEF0123456789ULL);
    file.created_at = 1790000000;
    file.compute_connstr = "host=/tmp/x port=1";
    ASSERT_TRUE(repository_->WriteTimeline(file).ok());
    FlipEveryBit("timelines/" + file.id.ToString() + "/timeline.json",
                 [&] { return repository_->ReadTimeline(file.id).status(); });

    ASSERT_TRUE(repository_->WriteBranch("main", file.id).ok());
    ASSERT_TRUE(repository_->WriteTag("v1", TimelinePoint{file.id, Lsn(0xBEEF)}).ok());
    FlipEveryBit("refs/branches/main", [&] { return repository_->FindBranch("main").status(); });
    FlipEveryBit("refs/tags/v1", [&] { return repository_->FindTag("v1").status(); });

    ComputeFile compute;
    compute.name = "c";
    compute.branch = "main";
    compute.timeline = file.id;
    compute.port = 15432;
    compute.settings = {{"shared_buffers", "1MB"}};
    ASSERT_TRUE(EnsureDirectory(repository_->ComputeDirectory("c")).ok());
    ASSERT_TRUE(repository_->WriteCompute(compute).ok());
    FlipEveryBit("computes/c/compute.json", [&] { return repository_->ReadCompute("c").status(); });
}

// A file that somebody edited: refused with the way out, which leaves a comma behind.
TEST_F(RepositoryTest, EditedFilesMayGoWithoutChecksum) {
    RepoConfig config;
    config.pg_bindir = "/x";
    ASSERT_TRUE(repository_->WriteConfig(config).ok());
    EXPECT_TRUE(repository_->ReadConfig()->has_checksum);
    std::string text = *ReadWholeFile(repository_->ConfigPath());
    text.replace(text.find("127.0.0.1"), 9, "10.0.0.1");
    Put("config.json", text);
    Status status = repository_->ReadConfig().status();
    EXPECT_EQ(status.code(), StatusCode::kCorruption);
    EXPECT_NE(status.hint().find("remove the line"), std::string::npos);
    const size_t line = text.find("  \"crc32c\"");
    text.erase(line, text.find('\n', line) + 1 - line);
    Put("config.json", text);
    Result<RepoConfig> read = repository_->ReadConfig();
    ASSERT_TRUE(read.ok()) << read.status().message();
    EXPECT_FALSE(read->has_checksum);
    EXPECT_EQ(read->listen_address, "10.0.0.1");

    // Nobody edits this one.
    TimelineId id = MakeTimeline();
    const std::string path = "timelines/" + id.ToString() + "/timeline.json";
    text = *ReadWholeFile(repository_->path() + "/" + path);
    text.erase(text.find(",\n  \"crc32c\""));
    Put(path, text + "\n}\n");
    status = repository_->ReadTimeline(id).status();
    EXPECT_EQ(status.code(), StatusCode::kCorruption);
    EXPECT_NE(status.message().find("\"crc32c\" is missing"), std::string::npos);
}

TEST_F(RepositoryTest, ConfigRoundTrip) {
    RepoConfig config;
    config.system_identifier = UINT64_MAX - 1;  // does not fit a double
    config.data_checksums = true;
    config.listen_address = "0.0.0.0";
    config.listen_port = 6400;
    config.pg_bindir = "/opt/with \"quotes\" and \\/bin";
    ASSERT_TRUE(repository_->WriteConfig(config).ok());
    Result<RepoConfig> read = repository_->ReadConfig();
    ASSERT_TRUE(read.ok()) << read.status().message();
    EXPECT_EQ(read->system_identifier, UINT64_MAX - 1);
    EXPECT_TRUE(read->data_checksums);
    EXPECT_EQ(read->listen_address, "0.0.0.0");
    EXPECT_EQ(read->listen_port, 6400);
    EXPECT_EQ(read->pg_bindir, config.pg_bindir);
    EXPECT_FALSE(FileExists(repository_->ConfigPath() + ".tmp"));
}

TEST_F(RepositoryTest, NoRepositoryIsNotFoundWithHint) {
    Result<RepoConfig> read = Repository(directory_ + "/nowhere").ReadConfig();
    ASSERT_FALSE(read.ok());
    EXPECT_EQ(read.status().code(), StatusCode::kNotFound);
    EXPECT_NE(read.status().hint().find("zenith init"), std::string::npos);
}

TEST_F(RepositoryTest, NewerFormatIsRefused) {
    Put("config.json", R"({"format_version": 3, "anything": {"new": []}})");
    EXPECT_EQ(repository_->ReadConfig().status().code(), StatusCode::kRefused);
}

TEST_F(RepositoryTest, OlderFormatIsRefusedWithWhatToDo) {
    Put("config.json", R"({"format_version": 1, "system_identifier": "7", "listen_address": "",
                           "listen_port": 0, "pg_bindir": "/x"})");
    Result<RepoConfig> read = repository_->ReadConfig();
    ASSERT_FALSE(read.ok());
    EXPECT_EQ(read.status().code(), StatusCode::kRefused);
    EXPECT_NE(read.status().hint().find("zenith init"), std::string::npos);
}

TEST_F(RepositoryTest, HostileConfigIsCorruption) {
    const std::string good_tail =
        R"("listen_address": "127.0.0.1", "listen_port": 0, "pg_bindir": "/x"})";
    const std::string cases[] = {
        "",
        "null",
        "[]",
        "{",
        "\"text\"",
        std::string(1, '\0'),
        std::string(200000, '['),
        std::string(200000, '{'),
        R"({"format_version": "1"})",
        R"({"format_version": 1.5})",
        R"({"format_version": -1})",
        R"({"format_version": 1e400})",
        R"({"format_version": 0})",
        R"({"format_version": [1]})",
        R"({"format_version": 2, "system_identifier": 7, )" + good_tail,
        R"({"format_version": 2, "system_identifier": "7x", )" + good_tail,
        R"({"format_version": 2, "system_identifier": "", )" + good_tail,
        R"({"format_version": 2, "system_identifier": "99999999999999999999999", )" + good_tail,
        R"({"format_version": 2, "system_identifier": "7"})",
        R"({"format_version": 2, "system_identifier": "7", "listen_address": null,)"
        R"( "listen_port": 0, "pg_bindir": "/x"})",
        R"({"format_version": 2, "system_identifier": "7", "listen_address": "",)"
        R"( "listen_port": 65536, "pg_bindir": "/x"})",
        R"({"format_version": 2, "system_identifier": "7", "listen_address": "",)"
        R"( "listen_port": 0, "pg_bindir": {}})",
        "{\"format_version\": 2, \"system_identifier\": \"\xff\xfe\", " + good_tail,
        R"({"format_version": 2, "system_identifier": "7", "pitr": "1 day", )" + good_tail,
        R"({"format_version": 2, "system_identifier": "7", "listen_port": 1, )" + good_tail,
        R"({"format_version": 2, "system_identifier": "7", "crc32c": "00000000", )" + good_tail,
        R"({"format_version": 2, "system_identifier": "7", "crc32c": 5, )" + good_tail,
        R"({"format_version": 2, "system_identifier": "7", "socket_directory": "relative", )" +
            good_tail,
        R"({"format_version": 2, "system_identifier": "7", "socket_directory": "/a,/b", )" +
            good_tail,
    };
    for (const std::string& text : cases) {
        Put("config.json", text);
        Result<RepoConfig> read = repository_->ReadConfig();
        ASSERT_FALSE(read.ok()) << text.substr(0, 100);
        EXPECT_EQ(read.status().code(), StatusCode::kCorruption) << text.substr(0, 100);
        EXPECT_NE(read.status().message().find(repository_->ConfigPath()), std::string::npos);
    }
}

TEST_F(RepositoryTest, TimelineRoundTrip) {
    TimelineFile file;
    file.id = TimelineId::Random();
    file.ancestor = TimelineId::Random();
    file.ancestor_lsn = Lsn(0xABCDEF0123456789ULL);
    file.created_at = 1790000000;
    file.term = UINT64_MAX;
    file.compute_connstr = "host='/tmp/a b' port=1";
    file.compute_start_lsn = Lsn(0x1234);
    ASSERT_TRUE(repository_->WriteTimeline(file).ok());
    Result<TimelineFile> read = repository_->ReadTimeline(file.id);
    ASSERT_TRUE(read.ok()) << read.status().message();
    EXPECT_EQ(read->id, file.id);
    EXPECT_EQ(read->ancestor, file.ancestor);
    EXPECT_EQ(read->ancestor_lsn, file.ancestor_lsn);
    EXPECT_EQ(read->created_at, file.created_at);
    EXPECT_EQ(read->term, UINT64_MAX);
    EXPECT_EQ(read->compute_connstr, file.compute_connstr);
    EXPECT_EQ(read->compute_start_lsn, file.compute_start_lsn);
    EXPECT_FALSE(FileExists(repository_->WalDirectory(file.id))) << "1,000 branches stay small";

    file.ancestor = TimelineId();
    file.compute_connstr.clear();
    ASSERT_TRUE(repository_->WriteTimeline(file).ok());
    read = repository_->ReadTimeline(file.id);
    ASSERT_TRUE(read.ok());
    EXPECT_FALSE(read->ancestor.valid());
    EXPECT_EQ(read->compute_connstr, "");
}

TEST_F(RepositoryTest, HostileTimelineIsCorruption) {
    TimelineId id = MakeTimeline();
    const std::string head = R"({"id": ")" + id.ToString() + R"(", )";
    const std::string cases[] = {
        "",
        "{}",
        R"({"id": 5})",
        R"({"id": "xyz"})",
        R"({"id": ")" + TimelineId::Random().ToString() +
            R"(", "ancestor_lsn": "0/1", "created_at": 1, "term": "0"})",
        head + R"("ancestor_lsn": "0/G", "created_at": 1, "term": "0"})",
        head + R"("ancestor_lsn": 1, "created_at": 1, "term": "0"})",
        head + R"("ancestor_lsn": "0/1", "created_at": -1, "term": "0"})",
        head + R"("ancestor_lsn": "0/1", "created_at": 1, "term": "-1"})",
        head + R"("ancestor_lsn": "0/1", "created_at": 1, "term": "1", "ancestor": ""})",
        head + R"("ancestor_lsn": "0/1", "created_at": 1, "term": "1", "compute_connstr": 1})",
    };
    for (const std::string& text : cases) {
        Put("timelines/" + id.ToString() + "/timeline.json", text);
        Result<TimelineFile> read = repository_->ReadTimeline(id);
        ASSERT_FALSE(read.ok()) << text;
        EXPECT_EQ(read.status().code(), StatusCode::kCorruption) << text;
    }
}

TEST_F(RepositoryTest, RemovedTimelineIsGone) {
    TimelineId id = MakeTimeline();
    TimelineId other = MakeTimeline();
    ASSERT_EQ(repository_->ListTimelines()->size(), 2u);
    ASSERT_TRUE(repository_->RemoveTimeline(id).ok());
    EXPECT_EQ(repository_->ReadTimeline(id).status().code(), StatusCode::kNotFound);
    EXPECT_EQ(repository_->RemoveTimeline(id).code(), StatusCode::kNotFound);
    EXPECT_EQ(*repository_->ListTimelines(), std::vector<TimelineId>{other});
    EXPECT_FALSE(FileExists(repository_->TimelineDirectory(id)));
}

TEST_F(RepositoryTest, LeftoversAreRemovedAndNothingElse) {
    TimelineId whole = MakeTimeline();
    TimelineId unfinished = MakeTimeline();
    TimelineId lost_json = MakeTimeline();
    TimelineId removed = MakeTimeline();
    unlink((repository_->TimelineDirectory(unfinished) + "/timeline.json").c_str());
    unlink((repository_->TimelineDirectory(lost_json) + "/timeline.json").c_str());
    ASSERT_TRUE(EnsureDirectory(repository_->WalDirectory(lost_json)).ok());
    Put("timelines/" + lost_json.ToString() + "/wal/000000010000000000000001", "bytes");
    rename(repository_->TimelineDirectory(removed).c_str(),
           (repository_->TimelineDirectory(removed) + ".removed").c_str());
    Put("timelines/" + whole.ToString() + "/timeline.json.tmp", "half");
    ASSERT_TRUE(EnsureDirectory(repository_->WalDirectory(whole)).ok());
    Put("timelines/" + whole.ToString() + "/wal/durable.tmp", "half");
    Put("timelines/notes.txt", "somebody's");
    ASSERT_TRUE(repository_->WriteBranch("main", whole).ok());
    Put("refs/branches/half.tmp", "4");

    ASSERT_TRUE(repository_->RemoveLeftovers().ok());
    EXPECT_TRUE(FileExists(repository_->TimelineDirectory(whole) + "/timeline.json"));
    EXPECT_FALSE(FileExists(repository_->TimelineDirectory(whole) + "/timeline.json.tmp"));
    EXPECT_FALSE(FileExists(repository_->WalDirectory(whole) + "/durable.tmp"));
    EXPECT_FALSE(FileExists(repository_->TimelineDirectory(unfinished)));
    EXPECT_TRUE(FileExists(repository_->TimelineDirectory(lost_json)));
    EXPECT_FALSE(FileExists(repository_->TimelineDirectory(removed) + ".removed"));
    EXPECT_TRUE(FileExists(repository_->path() + "/timelines/notes.txt"));
    EXPECT_FALSE(FileExists(repository_->path() + "/refs/branches/half.tmp"));
    EXPECT_TRUE(FileExists(repository_->path() + "/refs/branches/main"));
}

// A crash between a timeline and its branch file left a timeline that kept its parent for ever.
TEST_F(RepositoryTest, TimelinesWithoutANameAreRemoved) {
    TimelineId root = MakeTimeline();
    TimelineId imported = MakeTimeline();  // a root nobody has named yet
    TimelineId orphan = MakeTimeline(root);
    TimelineId dev = MakeTimeline(root);
    TimelineId orphan_child = MakeTimeline(dev);
    TimelineId orphan_grandchild = MakeTimeline(orphan_child);
    TimelineId tagged = MakeTimeline(root);
    TimelineId nameless_parent = MakeTimeline(root);
    TimelineId named_child = MakeTimeline(nameless_parent);
    ASSERT_TRUE(repository_->WriteBranch("main", root).ok());
    ASSERT_TRUE(repository_->WriteBranch("team/dev", dev).ok());
    ASSERT_TRUE(repository_->WriteBranch("child", named_child).ok());
    ASSERT_TRUE(repository_->WriteTag("v1", TimelinePoint{tagged, Lsn(0x15FFB08)}).ok());

    Status status = repository_->RemoveUnnamedTimelines();
    ASSERT_TRUE(status.ok()) << status.message();
    std::vector<TimelineId> stay = {root, imported, dev, tagged, nameless_parent, named_child};
    std::sort(stay.begin(), stay.end());
    EXPECT_EQ(*repository_->ListTimelines(), stay);
    for (const TimelineId& id : {orphan, orphan_child, orphan_grandchild}) {
        EXPECT_FALSE(FileExists(repository_->TimelineDirectory(id)));
    }
    // A branch_delete that was interrupted after its first half.
    ASSERT_TRUE(repository_->RemoveBranch("child").ok());
    ASSERT_TRUE(repository_->RemoveUnnamedTimelines().ok());
    stay = {root, imported, dev, tagged};
    std::sort(stay.begin(), stay.end());
    EXPECT_EQ(*repository_->ListTimelines(), stay);
}

TEST_F(RepositoryTest, NothingIsRemovedWhenNamesMayBeLost) {
    TimelineId root = MakeTimeline();
    TimelineId orphan = MakeTimeline(root);
    auto expect_kept = [&] {
        EXPECT_EQ(repository_->RemoveUnnamedTimelines().code(), StatusCode::kCorruption);
        EXPECT_TRUE(FileExists(repository_->TimelineDirectory(orphan) + "/timeline.json"));
    };
    expect_kept();  // no branch at all
    ASSERT_TRUE(repository_->WriteBranch("main", root).ok());
    Put("refs/branches/broken", "?");
    expect_kept();
    ASSERT_TRUE(repository_->RemoveBranch("broken").ok());
    Put("refs/tags/broken", "?");
    expect_kept();
    ASSERT_TRUE(repository_->RemoveTag("broken").ok());
    TimelineId unreadable = MakeTimeline(orphan);
    Put("timelines/" + unreadable.ToString() + "/timeline.json", "{");
    expect_kept();
    ASSERT_TRUE(RemoveTree(repository_->TimelineDirectory(unreadable)).ok());
    ASSERT_TRUE(repository_->RemoveUnnamedTimelines().ok());
    EXPECT_FALSE(FileExists(repository_->TimelineDirectory(orphan)));
}

TEST(RefName, Rules) {
    for (const char* name : {"main", "a", "feature/x", "v1.2", "a-b_c", "0", "_x", "Main", "a/b/c",
                             "deadbeef", "tmp", "x.tmpl"}) {
        EXPECT_TRUE(Repository::CheckRefName(name).ok()) << name;
    }
    const std::string bad[] = {"",
                               "/a",
                               "a/",
                               "a//b",
                               ".",
                               "..",
                               ".a",
                               "a.",
                               "a/.b",
                               "-d",
                               "a-",
                               "a/-b",
                               "a..b",
                               "../main",
                               "a@b",
                               "a b",
                               "a\nb",
                               "a\"b",
                               "a'b",
                               "a\\b",
                               "x.tmp",
                               "x.tmp/y",
                               "\xc3\xa4",
                               std::string("a\0b", 3),
                               std::string(201, 'a'),
                               "0123456789abcdef0123456789ABCDEF"};
    for (const std::string& name : bad) {
        Status status = Repository::CheckRefName(name);
        EXPECT_EQ(status.code(), StatusCode::kInvalidArgument) << name;
        EXPECT_FALSE(status.hint().empty());
        EXPECT_EQ(status.message().find('\n'), std::string::npos);
    }
    EXPECT_TRUE(Repository::CheckRefName(std::string(200, 'a')).ok());
    EXPECT_FALSE(Repository::CheckComputeName("a/b").ok());
    EXPECT_TRUE(Repository::CheckComputeName("a-b").ok());
}

TEST_F(RepositoryTest, BranchesAndTags) {
    TimelineId a = MakeTimeline();
    TimelineId b = MakeTimeline();
    ASSERT_TRUE(repository_->WriteBranch("main", a).ok());
    ASSERT_TRUE(repository_->WriteBranch("feature/x", b).ok());
    ASSERT_TRUE(repository_->WriteTag("v1", TimelinePoint{a, Lsn(0xBEEF)}).ok());
    Put("refs/branches/half.tmp", "4");  // an interrupted write is no branch

    auto branches = repository_->ListBranches();
    ASSERT_TRUE(branches.ok());
    EXPECT_EQ(*branches, (std::map<std::string, TimelineId>{{"main", a}, {"feature/x", b}}));
    EXPECT_EQ(**repository_->FindBranch("feature/x"), b);
    EXPECT_FALSE(repository_->FindBranch("feature")->has_value());
    EXPECT_FALSE(repository_->FindBranch("../tags/v1")->has_value());
    EXPECT_EQ((*repository_->FindTag("v1"))->lsn, Lsn(0xBEEF));

    EXPECT_EQ(repository_->WriteBranch("main", b).code(), StatusCode::kAlreadyExists);
    EXPECT_EQ(repository_->WriteBranch("v1", b).code(), StatusCode::kAlreadyExists);
    EXPECT_EQ(repository_->WriteBranch("feature", b).code(), StatusCode::kAlreadyExists);
    EXPECT_EQ(repository_->WriteBranch("main/x", b).code(), StatusCode::kAlreadyExists);
    EXPECT_EQ(repository_->WriteBranch("../x", b).code(), StatusCode::kInvalidArgument);
    EXPECT_EQ(repository_->WriteTag("main", TimelinePoint{a, Lsn(1)}).code(),
              StatusCode::kAlreadyExists);
    EXPECT_EQ(repository_->WriteTag("v2", TimelinePoint{a, std::nullopt}).code(),
              StatusCode::kInvalidArgument);
    EXPECT_EQ(**repository_->FindBranch("main"), a);

    EXPECT_TRUE(repository_->RemoveBranch("feature/x").ok());
    EXPECT_EQ(repository_->RemoveBranch("feature/x").code(), StatusCode::kNotFound);
    EXPECT_TRUE(repository_->WriteBranch("feature", b).ok());  // its directory is not in the way
    EXPECT_TRUE(repository_->RemoveTag("v1").ok());
    EXPECT_EQ(repository_->RemoveTag("v1").code(), StatusCode::kNotFound);
    EXPECT_TRUE(repository_->ListTags()->empty());
}

TEST_F(RepositoryTest, BrokenRefsAreCorruption) {
    TimelineId a = MakeTimeline();
    for (const std::string& text :
         {std::string(), std::string("main"), a.ToString() + "x", a.ToString() + "\n",
          a.ToString() + " 00000000\n", std::string("../../etc/passwd"), std::string(1, '\0'),
          WithChecksum(""), WithChecksum("main"), WithChecksum(a.ToString() + "x"),
          WithChecksum(a.ToString()) + "\n", " " + WithChecksum(a.ToString())}) {
        Put("refs/branches/b", text);
        EXPECT_EQ(repository_->FindBranch("b").status().code(), StatusCode::kCorruption);
        EXPECT_EQ(repository_->ListBranches().status().code(), StatusCode::kCorruption);
    }
    for (const std::string& content : {std::string("@"), a.ToString(), a.ToString() + "@",
                                       a.ToString() + "@0/", "@" + a.ToString() + "@0/1"}) {
        Put("refs/tags/t", WithChecksum(content));
        EXPECT_EQ(repository_->FindTag("t").status().code(), StatusCode::kCorruption);
        EXPECT_EQ(repository_->ListTags().status().code(), StatusCode::kCorruption);
    }
}

// A directory that goes while the names are listed must not take the names after it along: what has no
// name is removed.
TEST_F(RepositoryTest, ListsAllNamesOrFails) {
    const TimelineId id = TimelineId::Random();
    for (int i = 0; i < 20; i++) {
        ASSERT_TRUE(repository_->WriteBranch("stays" + std::to_string(i), id).ok());
    }
    std::atomic<bool> stop = false;
    std::thread other([&] {
        while (!stop.load()) {
            for (int i = 0; i < 20; i++) {
                const std::string name = "d" + std::to_string(i) + "/b";
                EXPECT_TRUE(repository_->WriteBranch(name, id).ok());
                EXPECT_TRUE(repository_->RemoveBranch(name).ok());
            }
        }
    });
    for (int i = 0; i < 3000; i++) {
        auto branches = repository_->ListBranches();
        ASSERT_TRUE(branches.ok()) << branches.status().message();
        size_t found = 0;
        for (const auto& [name, of] : *branches) {
            found += name.starts_with("stays") ? 1 : 0;
        }
        if (found != 20) {
            ADD_FAILURE() << "only " << found << " names";
            break;
        }
    }
    stop.store(true);
    other.join();
}

TEST_F(RepositoryTest, ResolvePoint) {
    TimelineId a = MakeTimeline();
    ASSERT_TRUE(repository_->WriteBranch("main", a).ok());
    ASSERT_TRUE(repository_->WriteBranch("feature/x", a).ok());
    ASSERT_TRUE(repository_->WriteTag("v1", TimelinePoint{a, Lsn(0x1234)}).ok());
    std::string upper = a.ToString();
    for (char& c : upper) {
        c = static_cast<char>(toupper(c));
    }

    struct Case {
        std::string text;
        std::optional<Lsn> lsn;
    };
    const Case good[] = {
        {"main", std::nullopt},
        {"main@0/15FFB08", Lsn(0x15FFB08)},
        {"main@0/15ffb08", Lsn(0x15FFB08)},
        {"main@AB/CDEF0123", Lsn(0xABCDEF0123)},
        {"feature/x@0/A", Lsn(0xA)},
        {"v1", Lsn(0x1234)},
        {a.ToString(), std::nullopt},
        {a.ToString() + "@0/DEAD", Lsn(0xDEAD)},
        {upper + "@0/10", Lsn(0x10)},  // hexadecimal, not ten
    };
    for (const Case& c : good) {
        Result<TimelinePoint> point = repository_->ResolvePoint(c.text);
        ASSERT_TRUE(point.ok()) << c.text << ": " << point.status().message();
        EXPECT_EQ(point->timeline, a) << c.text;
        EXPECT_EQ(point->lsn, c.lsn) << c.text;
    }

    for (const char* text : {"main@2026-11-22T10:00:00Z", "main@2026-11-22 12:00:00+02:00",
                             "v1@2026-11-22T10:00:00Z"}) {
        Result<TimelinePoint> point = repository_->ResolvePoint(text);
        ASSERT_TRUE(point.ok()) << text << ": " << point.status().message();
        EXPECT_EQ(point->timeline, a);
        EXPECT_EQ(point->time, 1795341600 * kMicrosPerSecond) << text;
        EXPECT_EQ(point->lsn.has_value(), text[0] == 'v') << "not after the tag";
    }
    Result<TimelinePoint> ago = repository_->ResolvePoint(a.ToString() + "@-10min");
    ASSERT_TRUE(ago.ok());
    EXPECT_NEAR(static_cast<double>(*ago->time), static_cast<double>(NowMicros()) - 600e6, 60e6);

    const std::pair<std::string, StatusCode> bad[] = {
        {"main@yesterday", StatusCode::kInvalidArgument},
        {"main@2026-11-31", StatusCode::kInvalidArgument},
        {"", StatusCode::kInvalidArgument},
        {"@0/1", StatusCode::kInvalidArgument},
        {"main@", StatusCode::kInvalidArgument},
        {"main@0", StatusCode::kInvalidArgument},
        {"main@0/", StatusCode::kInvalidArgument},
        {"main@0/0", StatusCode::kInvalidArgument},
        {"main@0/G", StatusCode::kInvalidArgument},
        {"main@0/123456789", StatusCode::kInvalidArgument},
        {"main@0/1@0/1", StatusCode::kInvalidArgument},
        {"main@0/1 ", StatusCode::kInvalidArgument},
        {"v1@0/1", StatusCode::kInvalidArgument},
        {"../main", StatusCode::kInvalidArgument},
        {"nothing", StatusCode::kNotFound},
        {TimelineId::Random().ToString(), StatusCode::kNotFound},
    };
    for (const auto& [text, code] : bad) {
        Result<TimelinePoint> point = repository_->ResolvePoint(text);
        ASSERT_FALSE(point.ok()) << text;
        EXPECT_EQ(point.status().code(), code) << text;
        EXPECT_FALSE(point.status().hint().empty()) << text;
    }
}

TEST_F(RepositoryTest, ComputeRoundTrip) {
    ComputeFile file;
    file.name = "main";
    file.branch = "feature/x";
    file.timeline = TimelineId::Random();
    file.port = 15432;
    file.port_is_fixed = true;
    file.settings = {{"shared_buffers", "1MB"}, {"search_path", "'a b', c"}};
    ASSERT_TRUE(EnsureDirectory(repository_->ComputeDirectory("main")).ok());
    ASSERT_TRUE(repository_->WriteCompute(file).ok());
    Result<ComputeFile> read = repository_->ReadCompute("main");
    ASSERT_TRUE(read.ok()) << read.status().message();
    EXPECT_EQ(read->branch, "feature/x");
    EXPECT_EQ(read->timeline, file.timeline);
    EXPECT_EQ(read->port, 15432);
    EXPECT_TRUE(read->port_is_fixed);
    EXPECT_EQ(read->listen_addresses, "127.0.0.1");
    EXPECT_EQ(read->settings, file.settings);

    ASSERT_TRUE(EnsureDirectory(repository_->ComputeDirectory("halfmade")).ok());
    EXPECT_EQ(*repository_->ListComputes(), std::vector<std::string>{"main"});
    EXPECT_EQ(repository_->ReadCompute("halfmade").status().code(), StatusCode::kNotFound);
    EXPECT_EQ(repository_->ReadCompute("../main").status().code(), StatusCode::kInvalidArgument);

    for (const char* settings : {"1", "{}", "[1]", "[[\"a\"]]", "[[\"a\", 1]]"}) {
        Put("computes/main/compute.json",
            R"({"branch": "m", "timeline": ")" + file.timeline.ToString() +
                R"(", "port": 1, "port_is_fixed": false, "listen_addresses": "", )" +
                R"("created_at": 0, "settings": )" + settings + "}");
        EXPECT_EQ(repository_->ReadCompute("main").status().code(), StatusCode::kCorruption)
            << settings;
    }
}

TEST_F(RepositoryTest, SocketDirectoryFitsAndIsOurs) {
    EXPECT_EQ(repository_->SocketDirectory(), repository_->path() + "/run");
    EXPECT_EQ(Repository(repository_->path() + "/./").SocketDirectory(),
              repository_->path() + "/run");
    ASSERT_TRUE(repository_->EnsureSocketDirectory().ok());
    ASSERT_TRUE(repository_->EnsureSocketDirectory().ok());
    struct stat info;
    ASSERT_EQ(stat(repository_->SocketDirectory().c_str(), &info), 0);
    EXPECT_EQ(info.st_mode & 0777, 0700u);

    // Too long for a socket, or with characters that mean something in a list of hosts.
    for (const std::string& name :
         {std::string(120, 'x'), std::string("a,b"), std::string("a b")}) {
        std::string socket = Repository(directory_ + "/" + name).SocketDirectory();
        EXPECT_EQ(socket.find("/tmp/.zenith-"), 0u) << name;
        EXPECT_EQ(socket.size(), 13u + 16u) << name;
        EXPECT_EQ(socket, Repository(directory_ + "/" + name).SocketDirectory());
    }
    EXPECT_EQ(Repository("nowhere/at/all").SocketDirectory().front(), '/');
    EXPECT_NE(Repository("/a,b").SocketDirectory(), Repository("/a,c").SocketDirectory());
    EXPECT_EQ(repository_->PageServerConnstr(), "host=" + repository_->path() + "/run port=6400");

    RepoConfig config;
    config.pg_bindir = "/x";
    config.socket_directory = directory_ + "/elsewhere";
    ASSERT_TRUE(repository_->WriteConfig(config).ok());
    EXPECT_EQ(repository_->SocketDirectory(), directory_ + "/elsewhere");
    ASSERT_EQ(symlink("/tmp", (directory_ + "/elsewhere").c_str()), 0);
    EXPECT_EQ(repository_->EnsureSocketDirectory().code(), StatusCode::kRefused);
}

}  // namespace
}  // namespace zenith

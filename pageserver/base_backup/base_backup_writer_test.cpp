#include "pageserver/base_backup/base_backup_writer.h"

#include <gtest/gtest.h>
#include <sys/stat.h>

#include <cstring>
#include <fstream>

#include "common/base/byte_reader.h"
#include "common/base/byte_writer.h"
#include "common/base/crc32c.h"
#include "common/pgformat/page_checksum.h"
#include "common/pgformat/control_file.h"
#include "common/pgformat/segment_name.h"
#include "pageserver/layers/wal_storage.h"
#include "pageserver/testing/fake_redo_applier.h"
#include "pageserver/testing/wal_builder.h"
#include "pageserver/timelines/import_cluster.h"
#include "pageserver/timelines/small_cluster_for_test.h"
#include "pageserver/wal_decoder/decoded_record.h"
#include "pageserver/wal_decoder/record_assembler.h"

namespace zenith {
namespace {

class StringSink : public BaseBackupSink {
  public:
    Status Write(std::span<const std::byte> data) override {
        if (bytes_.size() + data.size() > limit_) {
            return Status::Unavailable("the peer is gone");
        }
        bytes_.append(reinterpret_cast<const char*>(data.data()), data.size());
        return Status::Ok();
    }
    std::string bytes_;
    size_t limit_ = SIZE_MAX;
};

class BaseBackupTest : public testing::Test {
  protected:
    void SetUp() override {
        root_ = TimelineId::Random();
        Status status = ImportCluster(repository_, cluster_.pgdata(), root_);
        ASSERT_TRUE(status.ok()) << status.message();
    }

    // Puts the builder's WAL where a receiver would have put it, then opens the repository.
    void OpenWith(const WalBuilder& builder) {
        WalStorage storage(repository_.WalDirectory(root_), cluster_.end(), nullptr);
        ASSERT_TRUE(storage.Append(builder.start(), builder.bytes()).ok());
        ASSERT_TRUE(storage.Sync().ok());
        auto manager = TimelineManager::Open(repository_);
        ASSERT_TRUE(manager.ok()) << manager.status().message();
        manager_ = *std::move(manager);
    }
    WalBuilder Builder() {
        return WalBuilder(cluster_.end(), SmallCluster::kSystemIdentifier,
                          cluster_.checkpoint_start());
    }

    // Writes a backup and has GNU tar unpack it.
    void Backup(std::optional<Lsn> lsn, const TimelineId& id) {
        StringSink sink;
        Status status = WriteBaseBackup(*manager_, reconstructor_, id, lsn, sink);
        ASSERT_TRUE(status.ok()) << status.message();
        directory_ = cluster_.path() + "/backup";
        ASSERT_TRUE(RemoveTree(directory_).ok());
        ASSERT_TRUE(EnsureDirectory(directory_).ok());
        std::ofstream(cluster_.path() + "/backup.tar", std::ios::binary) << sink.bytes_;
        ASSERT_EQ(system(("tar -C " + directory_ + " -xf " + cluster_.path() +
                          "/backup.tar 2>&1").c_str()),
                  0);
    }
    std::string Content(const std::string& name) {
        auto content = ReadWholeFile(directory_ + "/" + name);
        EXPECT_TRUE(content.ok()) << name;
        return content.ok() ? *content : "";
    }
    // -1: there is no such file.
    int64_t Size(const std::string& name) {
        struct stat info;
        return stat((directory_ + "/" + name).c_str(), &info) == 0 ? info.st_size : -1;
    }
    int64_t Blocks(const std::string& name) {
        struct stat info;
        return stat((directory_ + "/" + name).c_str(), &info) == 0 ? info.st_blocks : -1;
    }
    ControlFile Control() {
        std::string bytes = Content("global/pg_control");
        auto control =
            DecodeControlFile(std::as_bytes(std::span(bytes.data(), bytes.size())));
        EXPECT_TRUE(control.ok()) << control.status().message();
        return control.ok() ? *control : ControlFile{};
    }

    SmallCluster cluster_;
    Repository repository_{cluster_.repository_path()};
    FakeRedoApplier applier_;
    PageReconstructor reconstructor_{applier_, 1 << 20};
    TimelineId root_;
    std::unique_ptr<TimelineManager> manager_;
    std::string directory_;
};

void AppendNode(const RelFileNode& node, ByteWriter* out) {
    out->U32Le(node.spc);
    out->U32Le(node.db);
    out->U32Le(node.rel);
}

// XLOG_SMGR_CREATE of storage_xlog.h.
void CreateFork(WalBuilder* builder, const RelForkKey& rel) {
    ByteWriter data;
    AppendNode(rel.node, &data);
    data.U32Le(static_cast<uint32_t>(rel.fork));
    builder->Append({.rmgr = Rmgr::kSmgr, .info = 0x10, .blocks = {}, .main_data = data.Take()});
}

// XLOG_FPI with the image.
void PutImage(WalBuilder* builder, const RelForkKey& rel, BlockNumber block, char fill) {
    PageBuffer page;
    page.fill(static_cast<std::byte>(fill));
    WalRecordSpec spec;
    spec.rmgr = Rmgr::kXlog;
    spec.info = 0xB0;
    spec.blocks.push_back({.id = 0, .rel = rel, .block = block, .image = page});
    builder->Append(spec);
}

TEST_F(BaseBackupTest, FreshCluster) {
    OpenWith(Builder());
    Backup(std::nullopt, root_);
    for (const char* name : {"pg_wal/archive_status", "pg_notify", "pg_subtrans", "pg_twophase",
                             "pg_logical/mappings", "pg_tblspc", "pg_stat_tmp", "base/1"}) {
        struct stat info;
        ASSERT_EQ(stat((directory_ + "/" + name).c_str(), &info), 0) << name;
        EXPECT_EQ(info.st_mode, static_cast<unsigned>(S_IFDIR | 0700)) << name;
    }
    struct stat guard;
    ASSERT_EQ(stat((directory_ + "/zenith_compute_do_not_copy_use_zenith_branch_or_pg_dump").c_str(),
                   &guard),
              0);
    EXPECT_EQ(guard.st_mode, static_cast<unsigned>(S_IFREG)) << "nobody may open it";
    EXPECT_EQ(guard.st_size, 0);
    EXPECT_EQ(Size("base/1/1259"), 3 * 8192);
    EXPECT_EQ(Blocks("base/1/1259"), 0) << "a hole";
    EXPECT_EQ(Size("base/5/1259_vm"), 8192);
    EXPECT_EQ(Size("base/5/2613"), 0);
    EXPECT_EQ(Content("base/5/PG_VERSION"), "15\n");
    EXPECT_EQ(Content("base/5/pg_filenode.map"), std::string(512, 'm'));
    EXPECT_EQ(Content("global/pg_filenode.map"), std::string(512, 'g'));
    EXPECT_EQ(Content("pg_hba.conf"), "local all all trust\n");
    EXPECT_EQ(Content("postgresql.conf"),
              "max_connections = 100\n\ninclude_if_exists = 'zenith.conf'\n"
              "include_if_exists = 'zenith_compute.conf'\n");
    EXPECT_NE(Content("zenith.conf").find("zenith.term = '1'"), std::string::npos);
    EXPECT_EQ(Content("pg_xact/0000"), std::string(8192, '\x55'));
    EXPECT_EQ(Content("pg_replslot/zenith/state"),
              EncodePhysicalSlotState("zenith", cluster_.end()));
    EXPECT_EQ(Size("backup_label"), -1);

    // pg_control points to the synthesized record, which follows on the timeline's last one.
    ControlFile control = Control();
    EXPECT_EQ(control.state, 1u);
    EXPECT_EQ(control.system_identifier, SmallCluster::kSystemIdentifier);
    EXPECT_EQ(control.check_point, WalRecordStartAt(cluster_.end()));
    EXPECT_EQ(control.check_point_copy.redo, control.check_point);
    EXPECT_EQ(control.check_point_copy.next_xid, 740u);
    EXPECT_EQ(control.check_point_copy.oldest_active_xid, 0u);
    EXPECT_EQ(control.mock_authentication_nonce, std::string(32, 'n'));
    std::string wal =
        Content("pg_wal/" + WalSegmentName(WalSegmentNumber(control.check_point)));
    ASSERT_EQ(wal.size(), kWalSegmentSize);
    RecordAssembler assembler(cluster_.end(), cluster_.checkpoint_start(),
                              SmallCluster::kSystemIdentifier);
    assembler.Feed(std::as_bytes(
        std::span(wal.data(), wal.size()).subspan(cluster_.end().value % kWalSegmentSize)));
    RecordAssembler::Record record;
    ASSERT_EQ(assembler.NextRecord(&record), RecordAssembler::Outcome::kRecord)
        << assembler.end_reason();
    EXPECT_EQ(record.start, control.check_point);
    DecodedRecord decoded;
    ASSERT_TRUE(DecodeRecord(record.start, record.end, record.bytes, &decoded).ok());
    EXPECT_EQ(decoded.rmgr, Rmgr::kXlog);
    EXPECT_EQ(decoded.info, 0);
    auto checkpoint = DecodeCheckPoint(decoded.main_data);
    ASSERT_TRUE(checkpoint.ok());
    EXPECT_EQ(EncodeCheckPoint(*checkpoint), EncodeCheckPoint(control.check_point_copy));
    // The real bytes before it on its page.
    std::string own =
        *ReadWholeFile(repository_.WalDirectory(root_) + "/" +
                       WalSegmentName(WalSegmentNumber(cluster_.end())));
    size_t page = cluster_.end().value % kWalSegmentSize / 8192 * 8192;
    size_t length = cluster_.end().value % 8192;
    EXPECT_EQ(wal.substr(page, length), own.substr(page, length));
}

TEST_F(BaseBackupTest, RelationsOfEveryKind) {
    WalBuilder builder = Builder();
    const RelForkKey unlogged{{1663, 5, 20000}, Fork::kMain};
    const RelForkKey init{unlogged.node, Fork::kInit};
    const RelForkKey big{{1663, 5, 20001}, Fork::kMain};
    const RelForkKey exact{{1663, 5, 20002}, Fork::kMain};
    const RelForkKey elsewhere{{30000, 5, 20003}, Fork::kMain};
    const RelForkKey empty_init{{1663, 5, 20004}, Fork::kInit};
    // XLOG_TBLSPC_CREATE of an in-place tablespace.
    ByteWriter tablespace;
    tablespace.U32Le(30000);
    tablespace.CString("");
    builder.Append({.rmgr = Rmgr::kTblspc, .blocks = {}, .main_data = tablespace.Take()});
    CreateFork(&builder, unlogged);
    CreateFork(&builder, init);
    PutImage(&builder, init, 0, 'i');
    PutImage(&builder, init, 1, 'j');
    CreateFork(&builder, empty_init);
    CreateFork(&builder, big);
    PutImage(&builder, big, kRelationSegmentBlocks + 5, 'b');
    CreateFork(&builder, exact);
    PutImage(&builder, exact, kRelationSegmentBlocks - 1, 'e');
    CreateFork(&builder, elsewhere);
    PutImage(&builder, elsewhere, 0, 'x');
    OpenWith(builder);
    Backup(std::nullopt, root_);

    auto filled = [](char c) {
        std::string page(kPageSize, c);
        return page;
    };
    std::string pages = Content("base/5/20000_init");
    ASSERT_EQ(pages.size(), 2 * kPageSize);
    // But for the LSN that replaying the image sets.
    EXPECT_EQ(pages.substr(8, kPageSize - 8), filled('i').substr(8));
    EXPECT_EQ(pages.substr(kPageSize + 8), filled('j').substr(8));
    EXPECT_EQ(Content("base/5/20000"), pages);
    EXPECT_EQ(Size("base/5/20004_init"), 0);
    EXPECT_EQ(Size("base/5/20004"), 0);
    EXPECT_EQ(Size("base/5/20001"), 1 << 30);
    EXPECT_EQ(Size("base/5/20001.1"), 6 * 8192);
    EXPECT_EQ(Size("base/5/20001.2"), -1);
    EXPECT_EQ(Blocks("base/5/20001"), 0);
    EXPECT_EQ(Size("base/5/20002"), 1 << 30);
    EXPECT_EQ(Size("base/5/20002.1"), -1);
    EXPECT_EQ(Size("pg_tblspc/30000/PG_15_202209061/5/20003"), 8192);
    EXPECT_EQ(Size("pg_tblspc/30000/PG_15_202209061/5/PG_VERSION"), -1)
        << "DROP TABLESPACE wants the directory empty";
}

TEST_F(BaseBackupTest, ClusterWithChecksums) {
    ControlFile control = cluster_.control();
    control.data_checksum_version = 1;
    cluster_.WriteControlFile(control);
    auto config = repository_.ReadConfig();
    ASSERT_TRUE(config.ok());
    config->data_checksums = true;
    ASSERT_TRUE(repository_.WriteConfig(*config).ok());
    root_ = TimelineId::Random();
    Status status = ImportCluster(repository_, cluster_.pgdata(), root_);
    ASSERT_TRUE(status.ok()) << status.message();

    WalBuilder builder = Builder();
    const RelForkKey init{{1663, 5, 20000}, Fork::kInit};
    CreateFork(&builder, {init.node, Fork::kMain});
    CreateFork(&builder, init);
    PutImage(&builder, init, 0, 'i');
    PutImage(&builder, init, 1, 'j');
    OpenWith(builder);
    Backup(std::nullopt, root_);

    EXPECT_EQ(Control().data_checksum_version, 1u);
    std::string pages = Content("base/5/20000_init");
    ASSERT_EQ(pages.size(), 2 * kPageSize);
    for (BlockNumber block = 0; block < 2; block++) {
        PageBuffer page;
        std::memcpy(page.data(), pages.data() + block * kPageSize, kPageSize);
        uint16_t stored;
        std::memcpy(&stored, page.data() + kPageChecksumOffset, sizeof stored);
        EXPECT_EQ(stored, PageChecksum(page, block));
    }
    EXPECT_EQ(Content("base/5/20000"), pages);

    // Somebody has edited the file.
    manager_.reset();
    config->data_checksums = false;
    ASSERT_TRUE(repository_.WriteConfig(*config).ok());
    OpenWith(Builder());
    StringSink sink;
    EXPECT_EQ(WriteBaseBackup(*manager_, reconstructor_, root_, std::nullopt, sink).code(),
              StatusCode::kCorruption);
    EXPECT_TRUE(sink.bytes_.empty());
}

// What startup reads is there even when its page was never written.
TEST_F(BaseBackupTest, SlruPagesThatStartupReads) {
    WalBuilder builder = Builder();
    // The next transaction is on a page of pg_xact, a segment later, that no record has touched.
    WalRecordSpec spec;
    spec.rmgr = Rmgr::kLogicalMsg;
    spec.xid = 33 * 32768 + 5;
    spec.main_data = "m";
    builder.Append(spec);
    OpenWith(builder);
    Backup(std::nullopt, root_);
    EXPECT_EQ(Control().check_point_copy.next_xid, 33u * 32768 + 6);
    EXPECT_EQ(Size("pg_xact/0000"), 8192);
    EXPECT_EQ(Content("pg_xact/0001"), std::string(2 * 8192, '\0'));
    EXPECT_EQ(Size("pg_multixact/offsets/0000"), 8192);
    EXPECT_EQ(Size("pg_multixact/members/0000"), 8192);
}

TEST_F(BaseBackupTest, ReplicationOrigins) {
    WalBuilder builder = Builder();
    for (uint16_t node : {uint16_t{2}, uint16_t{7}}) {
        ByteWriter data;  // xl_replorigin_set
        data.U64Le(0x1000 + node);
        data.U16Le(node);
        data.U8(0);
        data.Zeros(5);
        builder.Append({.rmgr = Rmgr::kReplorigin, .blocks = {}, .main_data = data.Take()});
    }
    OpenWith(builder);
    Backup(std::nullopt, root_);
    std::string file = Content("pg_logical/replorigin_checkpoint");
    ASSERT_EQ(file.size(), 4u + 2 * 16 + 4);
    auto bytes = std::as_bytes(std::span(file.data(), file.size()));
    ByteReader in(bytes);
    EXPECT_EQ(in.U32Le(), 0x1257DADEu);
    EXPECT_EQ(in.U16Le(), 2);
    in.Skip(6);
    EXPECT_EQ(in.U64Le(), 0x1002u);
    EXPECT_EQ(in.U16Le(), 7);
    in.Skip(6);
    EXPECT_EQ(in.U64Le(), 0x1007u);
    EXPECT_EQ(in.U32Le(), Crc32c(bytes.first(36)));
}

TEST_F(BaseBackupTest, ReadOnlyAtAPastLsn) {
    WalBuilder builder = Builder();
    const RelForkKey rel{{1663, 5, 20001}, Fork::kMain};
    CreateFork(&builder, rel);
    PutImage(&builder, rel, 0, 'a');
    Lsn past = builder.position();
    PutImage(&builder, rel, 9, 'b');
    OpenWith(builder);
    Backup(past + 8, root_);
    EXPECT_EQ(Size("base/5/20001"), 8192);
    EXPECT_EQ(Control().check_point, WalRecordStartAt(past));
    EXPECT_EQ(Size("pg_replslot/zenith/state"), -1);
    std::string conf = Content("zenith.conf");
    EXPECT_NE(conf.find("zenith.term = '0'"), std::string::npos);
    EXPECT_NE(conf.find("zenith.start_lsn = '" + past.ToString() + "'"), std::string::npos);
    EXPECT_NE(conf.find("default_transaction_read_only = 'on'"), std::string::npos);
    EXPECT_EQ(repository_.ReadTimeline(root_)->term, 0u);

    StringSink sink;
    Lsn future = builder.position() + 8;
    EXPECT_EQ(WriteBaseBackup(*manager_, reconstructor_, root_, future, sink).code(),
              StatusCode::kNotFound);
    EXPECT_EQ(WriteBaseBackup(*manager_, reconstructor_, TimelineId::Random(), std::nullopt, sink)
                  .code(),
              StatusCode::kNotFound);
    EXPECT_TRUE(sink.bytes_.empty());
}

TEST_F(BaseBackupTest, BranchAndBrokenSink) {
    OpenWith(Builder());
    auto branch = manager_->CreateTimeline({root_, std::nullopt});
    ASSERT_TRUE(branch.ok());
    StringSink sink;
    sink.limit_ = 0;
    EXPECT_EQ(WriteBaseBackup(*manager_, reconstructor_, branch->id, std::nullopt, sink).code(),
              StatusCode::kUnavailable);
    // The failed one cost a term, nothing else.
    Backup(std::nullopt, branch->id);
    EXPECT_NE(Content("zenith.conf").find("zenith.term = '2'"), std::string::npos);
    EXPECT_NE(Content("zenith.conf").find(branch->id.ToString()), std::string::npos);
    EXPECT_EQ(Size("base/1/1259"), 3 * 8192);
}

// xl_logical_message of no database, as contrib/zenith/zenith_keep_files.c writes it.
void SendFile(WalBuilder* builder, const std::string& prefix, const std::string& path,
              const std::string& content) {
    ByteWriter data;
    data.U64Le(0);
    data.U64Le(prefix.size() + 1);
    data.U64Le(path.size() + 1 + content.size());
    data.Text(prefix);
    data.U8(0);
    data.Text(path);
    data.U8(0);
    data.Text(content);
    builder->Append({.rmgr = Rmgr::kLogicalMsg, .blocks = {}, .main_data = data.Take()});
}

TEST_F(BaseBackupTest, StatisticsOfACleanStop) {
    WalBuilder builder = Builder();
    SendFile(&builder, "zenith stop file", "pg_stat/pgstat.stat", "statistics");
    const Lsn stopped = builder.position();
    CreateFork(&builder, {{1663, 5, 20001}, Fork::kMain});
    OpenWith(builder);
    Backup(stopped, root_);
    EXPECT_EQ(Content("pg_stat/pgstat.stat"), "statistics");
    Backup(std::nullopt, root_);
    EXPECT_EQ(Size("pg_stat/pgstat.stat"), -1) << "something has changed since";
}

TEST_F(BaseBackupTest, LogicalSlots) {
    WalBuilder builder = Builder();
    const std::string there = EncodePhysicalSlotState("there", cluster_.end());
    const std::string lost = EncodePhysicalSlotState("lost", Lsn(0x100));
    SendFile(&builder, "zenith slot file", "pg_logical/snapshots/0-15FFB08.snap", "snapshot");
    SendFile(&builder, "zenith slot file", "pg_replslot/there/state", there);
    SendFile(&builder, "zenith slot file", "pg_replslot/lost/state", lost);
    // Over the end of a segment.
    while (WalSegmentNumber(builder.position()) == WalSegmentNumber(cluster_.end())) {
        SendFile(&builder, "other", "x", std::string(1 << 20, 'x'));
    }
    OpenWith(builder);
    Backup(std::nullopt, root_);
    EXPECT_EQ(Content("pg_logical/snapshots/0-15FFB08.snap"), "snapshot");
    EXPECT_EQ(Content("pg_replslot/there/state"), there);
    EXPECT_EQ(Content("pg_replslot/lost/state"), InvalidatedSlotState(lost));
    EXPECT_NE(Content("zenith.conf").find("wal_level = 'logical'"), std::string::npos);
    // All that the slot has to read.
    const Lsn at = builder.position();
    std::string wal;
    for (uint64_t n = WalSegmentNumber(cluster_.end()); n <= WalSegmentNumber(at); n++) {
        wal += Content("pg_wal/" + WalSegmentName(n));
    }
    const Lsn begin = WalSegmentStart(WalSegmentNumber(cluster_.end()));
    const std::string_view built(reinterpret_cast<const char*>(builder.bytes().data()),
                                 builder.bytes().size());
    ASSERT_GE(wal.size(), at - begin);
    EXPECT_TRUE(std::string_view(wal).substr(builder.start() - begin, built.size()) == built);
    EXPECT_NE(wal[0], '\0') << "the header of the first segment";

    Backup(at, root_);
    EXPECT_EQ(Size("pg_replslot/there/state"), -1) << "a past state has no slots";
}

// A compute that archives its WAL hands on what was written there before it began, too.
TEST_F(BaseBackupTest, FirstSegmentIsWhole) {
    WalBuilder builder = Builder();
    for (int i = 0; i < 10; i++) {
        SendFile(&builder, "other", "x", std::string(3000, 'x'));
    }
    OpenWith(builder);
    Backup(std::nullopt, root_);
    const Lsn at = builder.position();
    const uint64_t number = WalSegmentNumber(at);
    ASSERT_EQ(number, WalSegmentNumber(builder.start()));
    const std::string wal = Content("pg_wal/" + WalSegmentName(number));
    ASSERT_EQ(wal.size(), kWalSegmentSize);
    const std::string_view built(reinterpret_cast<const char*>(builder.bytes().data()),
                                 builder.bytes().size());
    EXPECT_TRUE(std::string_view(wal).substr(builder.start() - WalSegmentStart(number),
                                             built.size()) == built);
}

}  // namespace
}  // namespace zenith

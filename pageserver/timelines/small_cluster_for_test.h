// SmallCluster: a repository and a data directory that can be imported into it, without a
// PostgreSQL: the few files that a snapshot is made of, and a WAL segment with the checkpoint.
// Tests only.
#pragma once

#include <gtest/gtest.h>
#include <stdlib.h>

#include <fstream>
#include <string>

#include "common/base/posix_file.h"
#include "common/pgformat/control_file.h"
#include "common/pgformat/page_format.h"
#include "common/pgformat/segment_name.h"
#include "common/pgformat/wal_format.h"
#include "common/repo/repository.h"

namespace zenith {

class SmallCluster {
  public:
    static constexpr uint64_t kSystemIdentifier = 7300000000000000123ull;

    // The shutdown checkpoint's record begins where a record may begin at or after `checkpoint_at`.
    explicit SmallCluster(Lsn checkpoint_at = Lsn(kWalSegmentSize + 0x500000 + 1000)) {
        char name[] = "/tmp/zenith_cluster_XXXXXX";
        EXPECT_NE(mkdtemp(name), nullptr);
        path_ = name;
        MakeRepository();
        MakePgdata(checkpoint_at);
    }
    ~SmallCluster() { EXPECT_TRUE(RemoveTree(path_).ok()); }
    SmallCluster(const SmallCluster&) = delete;
    SmallCluster& operator=(const SmallCluster&) = delete;

    std::string repository_path() const { return path_ + "/repo"; }
    std::string pgdata() const { return path_ + "/pgdata"; }
    const std::string& path() const { return path_; }
    const ControlFile& control() const { return control_; }
    // The end of the shutdown checkpoint: where the root timeline starts.
    Lsn end() const { return end_; }
    Lsn checkpoint_start() const { return control_.check_point; }

    void WriteControlFile(const ControlFile& control) {
        Write("global/pg_control", EncodeControlFile(control));
    }

  private:
    void Write(const std::string& name, const std::string& content) {
        std::ofstream file(pgdata() + "/" + name, std::ios::binary | std::ios::trunc);
        file << content;
        EXPECT_TRUE(file.flush().good()) << name;
    }

    void MakeRepository() {
        Repository repository(repository_path());
        EXPECT_TRUE(repository.CreateLayout().ok());
        RepoConfig config;
        config.system_identifier = kSystemIdentifier;
        EXPECT_TRUE(repository.WriteConfig(config).ok());
    }

    // A page that looks like one to PageIsNew(): pd_upper is not zero.
    static std::string Page(char fill) {
        PageBuffer page{};
        page.fill(static_cast<std::byte>(fill));
        SetPageLsn(page, Lsn(0x1000));
        return {reinterpret_cast<const char*>(page.data()), page.size()};
    }

    void MakePgdata(Lsn checkpoint_at) {
        for (const char* name :
             {"", "/global", "/base", "/base/1", "/base/5", "/pg_wal", "/pg_xact",
              "/pg_multixact", "/pg_multixact/offsets", "/pg_multixact/members", "/pg_commit_ts",
              "/pg_twophase", "/pg_tblspc", "/pg_logical"}) {
            EXPECT_TRUE(EnsureDirectory(pgdata() + name).ok());
        }
        CheckPointFields fields;
        fields.next_xid = 740;
        fields.next_oid = 16384;
        fields.next_multi = 1;
        fields.next_multi_offset = 0;
        fields.oldest_xid = 716;
        fields.oldest_xid_db = 1;
        fields.oldest_multi = 1;
        fields.oldest_multi_db = 1;
        fields.time = 1700000000;
        fields.full_page_writes = true;
        CheckpointWal wal = SynthesizeCheckpointWal(checkpoint_at, checkpoint_at - 200,
                                                    kSystemIdentifier, fields, {});
        for (size_t i = 0; i < wal.segments.size(); i++) {
            Write("pg_wal/" + WalSegmentName(wal.first_segment + i), wal.segments[i]);
        }
        end_ = wal.record_end;
        fields.redo = wal.record_start;
        control_.system_identifier = kSystemIdentifier;
        control_.time = 1700000001;
        control_.check_point = wal.record_start;
        control_.check_point_copy = fields;
        control_.mock_authentication_nonce = std::string(32, 'n');
        WriteControlFile(control_);

        Write("PG_VERSION", "15\n");
        Write("postgresql.conf", "max_connections = 100\n");
        Write("pg_hba.conf", "local all all trust\n");
        Write("pg_ident.conf", "# none\n");
        Write("global/pg_filenode.map", std::string(512, 'g'));
        Write("global/1262", Page('d'));
        for (const char* db : {"base/1/", "base/5/"}) {
            Write(std::string(db) + "PG_VERSION", "15\n");
            Write(std::string(db) + "pg_filenode.map", std::string(512, 'm'));
            Write(std::string(db) + "1259", Page('a') + Page('b') + Page('c'));
            Write(std::string(db) + "1259_vm", Page('v'));
            Write(std::string(db) + "2613", "");
        }
        Write("pg_xact/0000", std::string(kPageSize, '\x55'));
        Write("pg_multixact/offsets/0000", std::string(kPageSize, '\0'));
        Write("pg_multixact/members/0000", std::string(kPageSize, '\0'));
    }

    std::string path_;
    ControlFile control_;
    Lsn end_;
};

}  // namespace zenith

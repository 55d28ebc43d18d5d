// The acceptance test of redo: PostgreSQL's own recovery and the redo processes get the same
// cluster and the same WAL, and every page must come out the same, byte for byte.
//
// A cluster is made and copied, a workload changes it, and then
//   - the copy is recovered by an ordinary server up to the end of the WAL: the reference;
//   - every page that the WAL refers to is rebuilt by the pool from the copy's page.
// Of the free space map only the images that are in WAL are applied; recovery makes up the rest as
// it goes. Visibility maps of truncated tables are left out: our own code clears their tail.
//
// ZENITH_REDO_WORKLOAD replaces the workload by a shell command, run with PGHOST, PGPORT and PGUSER
// set. The test was accepted with PostgreSQL's regression suite as the workload.
#include <cstdlib>
#include <fstream>
#include <map>
#include <set>

#include "common/base/byte_reader.h"
#include "common/pgformat/control_file.h"
#include "common/pgformat/segment_name.h"
#include "pageserver/redo/redo_test_support.h"
#include "pageserver/wal_decoder/decoded_record.h"
#include "pageserver/wal_decoder/record_assembler.h"

namespace zenith {
namespace {

constexpr char kPort[] = "6543";  // of a Unix socket in the test's directory

constexpr char kWorkload[] = R"(
SET maintenance_work_mem = '1MB';
CREATE TABLE t (id int, name text, tags text[], at point, amount numeric, filler text)
    WITH (fillfactor = 80);
CREATE INDEX ON t USING btree (id);
CREATE INDEX ON t USING hash (name);
CREATE INDEX ON t USING gin (tags) WITH (fastupdate = on);
CREATE INDEX ON t USING gist (at);
CREATE INDEX ON t USING spgist (name);
CREATE INDEX ON t USING brin (id) WITH (pages_per_range = 2, autosummarize = off);
INSERT INTO t SELECT i, 'name ' || i % 997, ARRAY['a' || i % 13, 'b' || i % 101, 'c' || i],
    point(i % 83, i % 89), i, repeat('x', 60) FROM generate_series(1, 6000) i;
UPDATE t SET amount = amount + 1 WHERE id % 3 = 0;
UPDATE t SET name = 'changed ' || id WHERE id % 5 = 0;
DELETE FROM t WHERE id % 7 = 0;
VACUUM t;
INSERT INTO t SELECT i, 'more ' || i % 97, ARRAY['m' || i % 7], point(i, i), i, repeat('y', 200)
    FROM generate_series(6001, 9000) i;
BEGIN; SELECT count(*) FROM (SELECT 1 FROM t WHERE id % 11 = 0 FOR SHARE) s;
SAVEPOINT a; SELECT count(*) FROM (SELECT 1 FROM t WHERE id % 22 = 0 FOR UPDATE) s;
ROLLBACK TO a; UPDATE t SET amount = 0 WHERE id % 33 = 0; COMMIT;
DELETE FROM t WHERE id BETWEEN 1000 AND 4000;
VACUUM (FREEZE) t;
UPDATE t SET filler = 'z' WHERE id < 500;
BEGIN; DELETE FROM t WHERE id < 600; ROLLBACK;
SELECT brin_summarize_new_values('t_id_idx1');
SELECT brin_desummarize_range('t_id_idx1', 0);

CREATE TABLE toasted (id int PRIMARY KEY, big text);
ALTER TABLE toasted ALTER big SET STORAGE EXTERNAL;
INSERT INTO toasted SELECT i, repeat(md5(i::text), 400) FROM generate_series(1, 60) i;
INSERT INTO toasted VALUES (1, 'short') ON CONFLICT (id) DO UPDATE SET big = 'shorter';
UPDATE toasted SET big = big || 'longer' WHERE id % 2 = 0;
DELETE FROM toasted WHERE id % 3 = 0;
VACUUM toasted;

CREATE TABLE hashed (k int);
CREATE INDEX ON hashed USING hash (k) WITH (fillfactor = 10);
INSERT INTO hashed SELECT i % 300 FROM generate_series(1, 9000) i;
DELETE FROM hashed WHERE k % 4 <> 0;
VACUUM hashed;
INSERT INTO hashed SELECT 7 FROM generate_series(1, 3000) i;
DELETE FROM hashed WHERE k = 7;
VACUUM hashed;

CREATE TABLE tree (k text);
CREATE INDEX ON tree (k);
INSERT INTO tree SELECT md5(i::text) || repeat('k', 200) FROM generate_series(1, 5000) i;
INSERT INTO tree SELECT 'same' FROM generate_series(1, 3000) i;
DELETE FROM tree WHERE k > '4';
VACUUM tree;
VACUUM tree;
CREATE INDEX ON tree USING spgist (k);
INSERT INTO tree SELECT 'prefix/' || i % 50 || '/' || i FROM generate_series(1, 4000) i;

CREATE SEQUENCE s; SELECT count(nextval('s')) FROM generate_series(1, 200);
CREATE UNLOGGED TABLE unlogged (id int PRIMARY KEY);
CREATE MATERIALIZED VIEW summary AS SELECT id % 10 AS k, count(*) FROM t GROUP BY 1;
REFRESH MATERIALIZED VIEW summary;
CREATE TABLE clustered AS SELECT id, name FROM t ORDER BY name;
CREATE INDEX clustered_id ON clustered (id);
CLUSTER clustered USING clustered_id;
CREATE TABLE gone AS SELECT generate_series(1, 1000) i; DROP TABLE gone;
CREATE TABLE cut AS SELECT generate_series(1, 5000) i; VACUUM cut;
DELETE FROM cut WHERE i > 100; VACUUM cut; INSERT INTO cut SELECT generate_series(1, 3000);
CREATE DATABASE other STRATEGY wal_log;
\c other
CREATE TABLE there AS SELECT i, i::text AS t FROM generate_series(1, 1000) i;
REINDEX SYSTEM other;
)";

struct ClusterKind {
    const char* name;
    const char* initdb_options;
    const char* settings;
    bool hint_bits_logged;
};

class RedoAgainstRecoveryTest : public testing::TestWithParam<ClusterKind> {
  protected:
    RedoAgainstRecoveryTest() {
        // PostgreSQL does not run as root.
        if (geteuid() == 0) {
            as_postgres_ = "setpriv --reuid=postgres --regid=postgres --clear-groups -- ";
            EXPECT_EQ(chmod(directory_.path().c_str(), 0777), 0);
        }
    }

    ~RedoAgainstRecoveryTest() override {
        for (const char* cluster : {"primary", "reference"}) {
            if (FileExists(Path(std::string(cluster) + "/postmaster.pid"))) {
                Run(std::string("pg_ctl stop -w -s -m immediate -D ") + cluster);
            }
        }
    }

    std::string Path(const std::string& name) const { return directory_.path() + "/" + name; }

    // Runs a shell command as the user PostgreSQL runs as; its output goes to commands.log.
    void Run(const std::string& command) {
        std::ofstream script(Path("command.sh"));
        script << "set -e\numask 077\nexport PATH=" << PostgresBinDirectory() << ":$PATH\n"
               << "export PGHOST=" << directory_.path() << " PGPORT=" << kPort
               << " PGUSER=postgres PGDATABASE=postgres LC_ALL=C\ncd " << directory_.path() << "\n"
               << command << "\n";
        script.close();
        ASSERT_EQ(chmod(Path("command.sh").c_str(), 0755), 0);
        int status = std::system((as_postgres_ + "sh " + Path("command.sh") + " >>" +
                                  Path("commands.log") + " 2>&1 </dev/null")
                                     .c_str());
        Result<std::string> log = ReadWholeFile(Path("commands.log"));
        ASSERT_EQ(status, 0) << command << "\n" << (log.ok() ? *log : "");
    }

    void MakeClusters() {
        ASSERT_NO_FATAL_FAILURE(Run(std::string(R"(
initdb -N -U postgres --auth=trust -D primary )") + GetParam().initdb_options + R"(
cat >> primary/postgresql.conf <<'END'
listen_addresses = ''
fsync = off
autovacuum = off
shared_buffers = 16MB
wal_level = replica
wal_keep_size = 10GB
max_wal_size = 10GB
max_prepared_transactions = 10
restart_after_crash = off
jit = off
)" + GetParam().settings + R"(
END
echo "unix_socket_directories = '$PGHOST'" >> primary/postgresql.conf
echo "port = $PGPORT" >> primary/postgresql.conf
cp -a primary copy
pg_ctl start -w -s -D primary -l primary.log)"));

        const char* workload = std::getenv("ZENITH_REDO_WORKLOAD");
        if (workload != nullptr) {
            ASSERT_NO_FATAL_FAILURE(Run(workload));
        } else {
            std::ofstream(Path("workload.sql")) << kWorkload;
            ASSERT_EQ(chmod(Path("workload.sql").c_str(), 0644), 0);
            ASSERT_NO_FATAL_FAILURE(Run("psql -X -q -v ON_ERROR_STOP=1 -f workload.sql"));
        }
        ASSERT_NO_FATAL_FAILURE(Run("pg_ctl stop -w -s -m fast -D primary"));

        // The WAL ends with the shutdown checkpoint; recovery writes everything out there.
        end_ = Control("primary").check_point;
        ASSERT_NO_FATAL_FAILURE(Run(R"(
cp -a copy reference
touch reference/recovery.signal
cat >> reference/postgresql.conf <<END
hot_standby = off
restore_command = 'cp "$PGHOST/primary/pg_wal/%f" "%p"'
recovery_target_lsn = ')" + end_.ToString() +
                                    R"('
recovery_target_action = shutdown
END
postgres -D reference 2>recovery.log || grep -q 'shutdown at recovery target' recovery.log)"));
        start_ = Control("copy").check_point;
        // All relation files of the reference are as of that checkpoint.
        ASSERT_EQ(Control("reference").check_point, end_);
    }

    ControlFile Control(const std::string& cluster) const {
        Result<std::string> bytes = ReadWholeFile(Path(cluster + "/global/pg_control"));
        EXPECT_TRUE(bytes.ok());
        Result<ControlFile> control =
            DecodeControlFile(std::as_bytes(std::span(bytes->data(), bytes->size())));
        EXPECT_TRUE(control.ok()) << control.status().message();
        return control.ok() ? *control : ControlFile();
    }

    // Distributes the WAL over the pages it changes.
    void ReadWal() {
        RecordAssembler assembler(start_, Lsn(), 0);
        DecodedRecord decoded;
        for (Lsn at = start_;;) {
            Result<std::string> segment = ReadWholeFile(
                Path("primary/pg_wal/" + WalSegmentName(WalSegmentNumber(at))));
            ASSERT_TRUE(segment.ok()) << segment.status().message();
            size_t offset = at.value % kWalSegmentSize;
            assembler.Feed(std::as_bytes(std::span(*segment).subspan(offset)));
            at = WalSegmentStart(WalSegmentNumber(at) + 1);
            for (;;) {
                RecordAssembler::Record record;
                RecordAssembler::Outcome outcome = assembler.NextRecord(&record);
                if (outcome == RecordAssembler::Outcome::kNeedMore) {
                    break;
                }
                ASSERT_EQ(outcome, RecordAssembler::Outcome::kRecord) << assembler.end_reason();
                Status status = DecodeRecord(record.start, record.end, record.bytes, &decoded);
                ASSERT_TRUE(status.ok()) << status.message();
                NoteRecord(decoded, record.bytes);
                if (record.start == end_) {
                    return;
                }
            }
        }
    }

    void NoteRecord(const DecodedRecord& record, std::span<const std::byte> bytes) {
        RedoRecord redo{record.start, record.end,
                        std::string(reinterpret_cast<const char*>(bytes.data()), bytes.size())};
        std::set<PageKey> pages = ImpliedMaps(record);
        for (int i = 0; i <= record.max_block_id; ++i) {
            const DecodedBlock& block = record.blocks[static_cast<size_t>(i)];
            if (block.in_use) {
                pages.insert(PageKey::Relation(block.rel, block.block));
            }
        }
        for (const PageKey& page : pages) {
            chains_[page].push_back(redo);
        }
        if (record.rmgr == Rmgr::kSmgr && record.rmgr_info() == kSmgrTruncate) {
            Truncate(record);
        }
    }

    // Pages whose visibility map bits the record clears.
    static std::set<PageKey> ImpliedMaps(const DecodedRecord& record) {
        std::set<PageKey> maps;
        size_t offset = 0;
        uint8_t mask = 1;
        uint8_t operation = record.info & kHeapOpMask;
        if (record.rmgr == Rmgr::kHeap) {
            switch (operation) {
                case kHeapInsert:
                    offset = kHeapInsertFlagsOffset;
                    break;
                case kHeapDelete:
                    offset = kHeapDeleteFlagsOffset;
                    break;
                case kHeapUpdate:
                case kHeapHotUpdate:
                    offset = kHeapUpdateFlagsOffset;
                    mask = kHeapOldAllVisibleCleared | kHeapNewAllVisibleCleared;
                    break;
                case kHeapLock:
                    offset = kHeapLockFlagsOffset;
                    break;
                default:
                    return maps;
            }
        } else if (record.rmgr == Rmgr::kHeap2 && operation == kHeap2MultiInsert) {
            offset = kHeap2MultiInsertFlagsOffset;
        } else if (record.rmgr == Rmgr::kHeap2 && operation == kHeap2LockUpdated) {
            offset = kHeap2LockUpdatedFlagsOffset;
        } else {
            return maps;
        }
        uint8_t flags = static_cast<uint8_t>(record.main_data[offset]) & mask;
        for (int i = 0; flags != 0 && i <= record.max_block_id; ++i) {
            // an update names the new page first; without a second one it stayed on the page
            const DecodedBlock& block = record.blocks[static_cast<size_t>(i)];
            bool is_new = i == 0 && record.max_block_id > 0;
            uint8_t bit = is_new ? kHeapNewAllVisibleCleared : kHeapOldAllVisibleCleared;
            if (mask != 1 && record.max_block_id > 0 && (flags & bit) == 0) {
                continue;
            }
            maps.insert(PageKey::Relation({block.rel.node, Fork::kVm},
                                          block.block / kHeapBlocksPerVmPage));
        }
        return maps;
    }

    void Truncate(const DecodedRecord& record) {
        ByteReader reader(record.main_data);
        BlockNumber blocks = reader.U32Le();
        RelFileNode node;
        node.spc = reader.U32Le();
        node.db = reader.U32Le();
        node.rel = reader.U32Le();
        ASSERT_TRUE(reader.ok());
        auto first = chains_.lower_bound(PageKey::Relation({node, Fork::kMain}, blocks));
        auto last = first;
        while (last != chains_.end() && last->first.node == node &&
               last->first.fork == Fork::kMain) {
            ++last;
        }
        chains_.erase(first, last);
        auto [cut, added] = truncated_.try_emplace(node, blocks);
        cut->second = std::min(cut->second, blocks);
    }

    // The page in a cluster's files; nothing when it is beyond their end.
    std::optional<PageBuffer> ReadPage(const std::string& cluster, const PageKey& key) {
        std::string path = Path(cluster + "/" +
                                RelationSegmentPath(key.relation(),
                                                    key.block / kRelationSegmentBlocks));
        auto [it, added] = files_.try_emplace(path);
        if (added) {
            Result<UniqueFd> fd = OpenFile(path, 0);
            if (fd.ok()) {
                it->second = *std::move(fd);
            }
        }
        if (!it->second.valid()) {
            return std::nullopt;
        }
        PageBuffer page;
        Result<size_t> n = ReadUpToAt(it->second.get(), path,
                                      key.block % kRelationSegmentBlocks * kPageSize, page);
        EXPECT_TRUE(n.ok());
        if (!n.ok() || *n < kPageSize) {
            return std::nullopt;
        }
        return page;
    }

    TestDirectory directory_;
    std::string as_postgres_;
    Lsn start_;
    Lsn end_;
    std::map<PageKey, std::vector<RedoRecord>> chains_;
    std::map<RelFileNode, BlockNumber> truncated_;  // to how many blocks at the least
    std::map<std::string, UniqueFd> files_;
};

INSTANTIATE_TEST_SUITE_P(
    , RedoAgainstRecoveryTest,
    testing::Values(ClusterKind{"AsOnComputes", "", "full_page_writes = off", false},
                    ClusterKind{"ChecksumsAndCompressedImages", "--data-checksums",
                                "full_page_writes = on\nwal_compression = lz4", true}),
    [](const testing::TestParamInfo<ClusterKind>& info) { return info.param.name; });

TEST_P(RedoAgainstRecoveryTest, EveryPageComesOutTheSame) {
    ASSERT_NO_FATAL_FAILURE(MakeClusters());
    ASSERT_NO_FATAL_FAILURE(ReadWal());

    std::vector<RedoRequest> requests;
    std::vector<std::optional<PageBuffer>> expected;
    size_t compared = 0;
    for (auto& [key, records] : chains_) {
        if (key.fork != Fork::kMain && truncated_.contains(key.node)) {
            continue;
        }
        requests.push_back({key, std::nullopt, std::move(records)});
        auto cut = truncated_.find(key.node);
        if (cut == truncated_.end() || key.fork != Fork::kMain || key.block < cut->second) {
            requests.back().base = ReadPage("copy", key);
        }
        // Nothing when the relation was dropped; all its records must still apply.
        expected.push_back(key.fork == Fork::kFsm ? std::nullopt : ReadPage("reference", key));
        compared += expected.back().has_value() ? 1 : 0;
    }
    ASSERT_GT(compared, 1000u);

    RedoPoolOptions options = TestPoolOptions(directory_, 1);
    options.process.hint_bits_logged = GetParam().hint_bits_logged;
    RedoProcessPool pool(options);
    auto begin = std::chrono::steady_clock::now();
    std::vector<Result<PageBuffer>> pages = pool.Apply(requests);
    double seconds =
        std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();

    int failed = 0;
    int different = 0;
    for (size_t i = 0; i < requests.size(); ++i) {
        const RedoRequest& request = requests[i];
        if (!pages[i].ok()) {
            if (++failed <= 10) {
                ADD_FAILURE() << pages[i].status().message();
            }
            continue;
        }
        if (!expected[i].has_value()) {
            continue;
        }
        // The checksum is set by whoever writes the page.
        std::memcpy(pages[i]->data() + 8, expected[i]->data() + 8, 2);
        if (*pages[i] != *expected[i] && ++different <= 10) {
            size_t at = 0;
            while ((*pages[i])[at] == (*expected[i])[at]) {
                ++at;
            }
            ADD_FAILURE() << request.key.ToString() << " differs from offset " << at
                          << " on, after " << request.records.size() << " records; LSN "
                          << PageLsn(*pages[i]).ToString() << ", expected "
                          << PageLsn(*expected[i]).ToString();
        }
    }
    EXPECT_EQ(failed, 0);
    EXPECT_EQ(different, 0);
    RedoProcessPool::Stats stats = pool.stats();
    std::printf("%zu redos of %zu pages in %.3f s, compared %zu pages\n",
                static_cast<size_t>(stats.records), requests.size(), seconds, compared);
    // The workload reaches every resource manager that changes pages.
    std::set<uint8_t> managers;
    for (const RedoRequest& request : requests) {
        for (const RedoRecord& record : request.records) {
            managers.insert(static_cast<uint8_t>(record.bytes[17]));
        }
    }
    for (Rmgr rmgr : {Rmgr::kXlog, Rmgr::kHeap, Rmgr::kHeap2, Rmgr::kBtree, Rmgr::kHash, Rmgr::kGin,
                      Rmgr::kGist, Rmgr::kSeq, Rmgr::kSpgist, Rmgr::kBrin}) {
        EXPECT_TRUE(managers.contains(static_cast<uint8_t>(rmgr))) << static_cast<int>(rmgr);
    }
}

}  // namespace
}  // namespace zenith

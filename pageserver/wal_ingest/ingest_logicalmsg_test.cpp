// Files that a compute sends in logical messages.
#include "pageserver/layers/blob_keys.h"
#include "pageserver/wal_ingest/ingest_test_util.h"

namespace zenith {
namespace {

WalRecordSpec Message(const std::string& prefix, const std::string& message, Oid database = 0) {
    ByteWriter body;
    body.U32Le(database);
    body.U32Le(0);
    body.U64Le(prefix.size() + 1);
    body.U64Le(message.size());
    body.Text(prefix);
    body.U8(0);
    body.Text(message);
    return PlainRecord(Rmgr::kLogicalMsg, 0, body.Take());
}

std::string File(const std::string& path, const std::string& content) {
    return path + std::string(1, '\0') + content;
}

const std::string kStat = "pg_stat/pgstat.stat";

TEST_F(IngestTest, StopFileCountsUntilSomethingChanges) {
    const Changes drop{"drop blob stop/pg_stat/pgstat.stat"};
    EXPECT_EQ(Changes{"blob stop/pg_stat/pgstat.stat"},
              Ingest(Message(kStopFileMessage, File(kStat, "stat"))));
    EXPECT_EQ("stat", timeline_.blobs["stop/pg_stat/pgstat.stat"]);
    EXPECT_EQ(Changes{}, Ingest(PlainRecord(Rmgr::kXlog, kXlogNoop, "")));
    EXPECT_EQ(Changes{}, Ingest(PlainRecord(Rmgr::kXlog, kXlogFpwChange, std::string(1, '\1'))));
    // Also one that another ingester has seen.
    timeline_.blobs["stop/pg_stat/pgstat.stat"] = "stat";
    Restart();
    const Changes changes = Ingest(XactSpec{.xid = 1000}.Record());
    ASSERT_EQ(2u, changes.size());
    EXPECT_EQ(drop[0], changes[0]);
    EXPECT_EQ(Changes{"put pg_xact 0 flags 2"}, Ingest(XactSpec{.xid = 1001}.Record()));
}

TEST_F(IngestTest, RecordsThatEndAStop) {
    const WalRecordSpec ending[] = {
        PlainRecord(Rmgr::kXlog, kXlogNextOid, Words({20000})),
        Message("of a user", "text", 5),
        XactSpec{.info = kXactAbort, .xid = 1000}.Record(),
        PlainRecord(Rmgr::kHeap, kHeapConfirm, std::string(2, '\0')),
    };
    for (const WalRecordSpec& spec : ending) {
        Ingest(Message(kStopFileMessage, File(kStat, "stat")));
        const Changes changes = Ingest(spec);
        ASSERT_FALSE(changes.empty()) << static_cast<int>(spec.rmgr);
        EXPECT_EQ("drop blob stop/pg_stat/pgstat.stat", changes[0]);
    }
}

TEST_F(IngestTest, OnlyKnownFilesOfNoDatabase) {
    for (const char* path :
         {"pg_hba.conf", "postgresql.auto.conf", "../outside", "/etc/passwd", "",
          "pg_stat/../pg_hba.conf", "pg_replslot/a/state"}) {
        EXPECT_EQ(Changes{}, Ingest(Message(kStopFileMessage, File(path, "x")))) << path;
    }
    for (const char* path :
         {"pg_stat/pgstat.stat", "pg_replslot/../x/state", "pg_replslot//state",
          "pg_replslot/a/b/state", "pg_replslot/A/state", "pg_logical/snapshots/../0-1.snap",
          "pg_logical/snapshots/.snap", "pg_logical/mappings/map-",
          "pg_logical/mappings/map-a/b"}) {
        EXPECT_EQ(Changes{}, Ingest(Message(kSlotFileMessage, File(path, "x")))) << path;
    }
    // What pg_logical_emit_message() writes names the database.
    EXPECT_EQ(Changes{}, Ingest(Message(kStopFileMessage, File(kStat, "x"), 5)));
    EXPECT_EQ(Changes{}, Ingest(Message(kStopFileMessage, "no end of the path")));
    EXPECT_EQ(Changes{}, Ingest(Message("zenith", File(kStat, "x"))));
}

TEST_F(IngestTest, SlotFilesCountUntilAListWithoutThem) {
    const std::string slot = "pg_replslot/my_slot_1/state";
    const std::string snapshot = "pg_logical/snapshots/0-15FFB08.snap";
    const std::string mapping = "pg_logical/mappings/map-5-4eb-0_15FFB08-2d7-2d8";
    EXPECT_EQ(1u, Ingest(Message(kSlotFileMessage, File(slot, "state"))).size());
    EXPECT_EQ(1u, Ingest(Message(kSlotFileMessage, File(snapshot, "snap"))).size());
    EXPECT_EQ(1u, Ingest(Message(kSlotFileMessage, File(mapping, "map"))).size());
    EXPECT_EQ(Changes{},
              Ingest(Message(kSlotListMessage, File("", File(slot, "") + File(snapshot, "") +
                                                            File(mapping, "")))));
    EXPECT_EQ(Changes{"drop blob " + SlotFileBlobKey(timeline_.id(), mapping)},
              Ingest(Message(kSlotListMessage, File("", File(slot, "") + File(snapshot, "")))));
    // A list cut short takes the rest for gone, and does no harm.
    EXPECT_EQ(2u, Ingest(Message(kSlotListMessage, File("", ""))).size());
}

TEST_F(IngestTest, MessagesOfWrongLengths) {
    const WalRecordSpec whole = Message(kStopFileMessage, File(kStat, "stat"));
    for (size_t size = 0; size < whole.main_data.size(); size += 7) {
        WalRecordSpec cut = whole;
        cut.main_data.resize(size);
        EXPECT_EQ(Changes{}, Ingest(cut)) << size;
    }
    WalRecordSpec huge = whole;
    huge.main_data.replace(8, 8, std::string(8, '\xff'));
    EXPECT_EQ(Changes{}, Ingest(huge));
}

}  // namespace
}  // namespace zenith

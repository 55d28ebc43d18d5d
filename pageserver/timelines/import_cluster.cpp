#include "pageserver/timelines/import_cluster.h"

#include <fcntl.h>

#include <ctime>
#include <vector>

#include "common/base/posix_file.h"
#include "common/pgformat/control_file.h"
#include "common/pgformat/segment_name.h"
#include "common/pgformat/wal_format.h"
#include "pageserver/layers/snapshot_file.h"
#include "pageserver/timelines/loaded_timeline.h"
#include "pageserver/wal_decoder/decoded_record.h"
#include "pageserver/wal_decoder/record_assembler.h"

namespace zenith {

namespace {

constexpr uint32_t kDbShutdowned = 1;  // DB_SHUTDOWNED
constexpr uint8_t kXlogCheckpointShutdown = 0x00;

// Reads the cluster's last checkpoint from its WAL; the end of that record is where the timeline
// starts.
Result<Lsn> EndOfShutdownCheckpoint(const std::string& wal_directory, const ControlFile& control) {
    Lsn start = control.check_point;
    // The assembler starts at record boundaries: a page boundary when the record is a page's first.
    Lsn boundary = start;
    Lsn page = start - start.value % kWalPageSize;
    if (start == WalRecordStartAt(page)) {
        boundary = page;
    }
    RecordAssembler assembler(boundary, Lsn(), control.system_identifier);
    std::vector<std::byte> buffer(64 * 1024);
    Lsn position = boundary;
    while (true) {
        const std::string path = wal_directory + "/" + WalSegmentName(WalSegmentNumber(position));
        ZENITH_ASSIGN_OR_RETURN(UniqueFd fd, OpenFile(path, O_RDONLY));
        uint64_t offset = position.value % kWalSegmentSize;
        size_t n = std::min<uint64_t>(buffer.size(), kWalSegmentSize - offset);
        std::span<std::byte> chunk(buffer.data(), n);
        ZENITH_RETURN_IF_ERROR(ReadExactAt(fd.get(), path, offset, chunk));
        assembler.Feed(chunk);
        position = position + n;
        RecordAssembler::Record record;
        switch (assembler.NextRecord(&record)) {
            case RecordAssembler::Outcome::kNeedMore:
                continue;
            case RecordAssembler::Outcome::kEndOfWal:
                return Status::Corruption("no valid checkpoint record at " + start.ToString() +
                                          ": " + assembler.end_reason());
            case RecordAssembler::Outcome::kRecord:
                break;
        }
        DecodedRecord decoded;
        ZENITH_RETURN_IF_ERROR(DecodeRecord(record.start, record.end, record.bytes, &decoded));
        if (decoded.start != start || decoded.rmgr != Rmgr::kXlog ||
            decoded.rmgr_info() != kXlogCheckpointShutdown) {
            return Status::Corruption("record at " + start.ToString() +
                                      " is not the shutdown checkpoint");
        }
        return record.end;
    }
}

Status CopySegment(const std::string& from, const std::string& to) {
    ZENITH_ASSIGN_OR_RETURN(std::string bytes, ReadWholeFile(from));
    if (bytes.size() != kWalSegmentSize) {
        return Status::Corruption("WAL segment file \"" + from + "\" has " +
                                      std::to_string(bytes.size()) + " bytes",
                                  "Use a cluster with 16 MB WAL segments.");
    }
    return ReplaceFileAtomically(to, bytes);
}

}  // namespace

Status ImportCluster(const Repository& repository, const std::string& pgdata,
                     const TimelineId& id) {
    if (repository.ReadTimeline(id).ok()) {
        return Status::AlreadyExists("timeline " + id.ToString() + " exists already");
    }
    const std::string control_path = pgdata + "/global/pg_control";
    ZENITH_ASSIGN_OR_RETURN(std::string control_bytes, ReadWholeFile(control_path));
    auto decoded = DecodeControlFile(
        std::as_bytes(std::span(control_bytes.data(), control_bytes.size())));
    if (!decoded.ok()) {
        return decoded.status().WithContext("file \"" + control_path + "\"");
    }
    const ControlFile& control = *decoded;
    if (control.state != kDbShutdowned || FileExists(pgdata + "/postmaster.pid")) {
        return Status::Refused("the cluster in \"" + pgdata + "\" is not cleanly shut down",
                               "Stop it with pg_ctl stop -m fast first.");
    }
    if (control.check_point_copy.this_timeline != kWalTimelineId) {
        return Status::Refused(
            "the cluster in \"" + pgdata + "\" is on WAL timeline " +
                std::to_string(control.check_point_copy.this_timeline) + " instead of 1",
            "Load it with pg_dumpall into a fresh repository instead.");
    }
    ZENITH_ASSIGN_OR_RETURN(RepoConfig config, repository.ReadConfig());
    const bool checksums = control.data_checksum_version != 0;
    if (config.system_identifier == 0) {
        config.system_identifier = control.system_identifier;
        config.data_checksums = checksums;
        ZENITH_RETURN_IF_ERROR(repository.WriteConfig(config));
    } else if (config.system_identifier != control.system_identifier) {
        return Status::Refused("the cluster has system identifier " +
                               std::to_string(control.system_identifier) +
                               ", the repository has " + std::to_string(config.system_identifier),
                               "Use \"zenith init\" in another directory for another cluster.");
    } else if (config.data_checksums != checksums) {
        // What the page server serves has them or has them not, whatever the timeline.
        return Status::Refused(
            std::string("the cluster has ") + (checksums ? "data checksums" : "no data checksums") +
                ", the repository has " + (checksums ? "none" : "them"),
            std::string("Use pg_checksums --") + (checksums ? "disable" : "enable") + " on it first.");
    }
    ZENITH_ASSIGN_OR_RETURN(Lsn end, EndOfShutdownCheckpoint(pgdata + "/pg_wal", control));

    ZENITH_RETURN_IF_ERROR(EnsureDirectory(repository.TimelineDirectory(id)));
    ZENITH_RETURN_IF_ERROR(EnsureDirectory(repository.WalDirectory(id)));
    ZENITH_RETURN_IF_ERROR(EnsureDirectory(repository.SnapshotDirectory(id)));
    auto load = [&]() -> Status {
        // The bytes before `end` on its page become part of every compute's first WAL page. At a
        // segment's start there is nothing on that page yet.
        for (uint64_t segment = WalSegmentNumber(control.check_point);
             WalSegmentStart(segment) < end; segment++) {
            const std::string name = WalSegmentName(segment);
            ZENITH_RETURN_IF_ERROR(CopySegment(pgdata + "/pg_wal/" + name,
                                               repository.WalDirectory(id) + "/" + name));
        }
        ZENITH_RETURN_IF_ERROR(WriteSnapshotFile(pgdata, end, control.system_identifier,
                                                 SnapshotPath(repository, id)));
        TimelineFile file;
        file.id = id;
        file.ancestor_lsn = end;
        file.created_at = std::time(nullptr);
        return repository.WriteTimeline(file);
    };
    Status status = load();
    if (!status.ok()) {
        RemoveTree(repository.TimelineDirectory(id)).Ignore("the import's own error says more");
    }
    return status;
}

}  // namespace zenith

#include "pageserver/wal_receiver/wal_follower.h"

#include <algorithm>
#include <utility>
#include <vector>

#include "common/base/time.h"
#include "common/pgformat/wal_format.h"
#include "pageserver/layers/wal_storage.h"
#include "pageserver/wal_decoder/record_assembler.h"

namespace zenith {

namespace {
constexpr uint64_t kReadSize = 512 * 1024;
// Readers of the timeline wait while a batch is written.
constexpr int kRecordsPerBatch = 1000;

// Feeds the next piece of WAL; false where the files end.
Result<bool> FeedNext(const WalStorage& wal, uint64_t size_limit, std::vector<std::byte>* buffer,
                      RecordAssembler* assembler) {
    Lsn from = assembler->fed_up_to();
    // Never across a segment's end, so that a missing segment is seen as such.
    buffer->resize(std::min(
        {kReadSize, size_limit, kWalSegmentSize - from.value % kWalSegmentSize}));
    Status status = wal.Read(from, *buffer);
    if (status.code() == StatusCode::kNotFound) {
        return false;
    }
    ZENITH_RETURN_IF_ERROR(status);
    assembler->Feed(*buffer);
    return true;
}

}  // namespace

WalFollower::WalFollower(Timeline& timeline, ClusterState state, uint64_t system_identifier)
    : timeline_(timeline),
      system_identifier_(system_identifier),
      ingester_(timeline, std::move(state)) {}

Status WalFollower::IngestUpTo(Lsn limit) { return Ingest(limit); }

Status WalFollower::IngestToEnd() { return Ingest(std::nullopt); }

Status WalFollower::error() const {
    std::lock_guard lock(mutex_);
    return error_;
}

Status WalFollower::Fail(Status status) {
    std::lock_guard lock(mutex_);
    error_ = status;
    return status;
}

Status WalFollower::Ingest(std::optional<Lsn> limit) {
    ZENITH_RETURN_IF_ERROR(error());
    RecordAssembler assembler(last_end(), last_start(), system_identifier_);
    std::vector<std::byte> buffer;
    while (!limit.has_value() || assembler.last_end() < *limit) {
        if (limit.has_value() && assembler.fed_up_to() >= *limit) {
            return Status::Internal("WAL record before " + limit->ToString() +
                                    " is not whole: it begins after " +
                                    assembler.last_end().ToString());
        }
        if (stop_ != nullptr && stop_->load()) {
            return Status::Unavailable("the page server is shutting down");
        }
        uint64_t size_limit = limit.has_value() ? *limit - assembler.fed_up_to() : kReadSize;
        ZENITH_ASSIGN_OR_RETURN(
            bool fed, FeedNext(timeline_.wal(), size_limit, &buffer, &assembler));
        if (!fed) {
            if (limit.has_value()) {
                return Status::Corruption("WAL of timeline " + timeline_.id().ToString() +
                                          " from " + assembler.fed_up_to().ToString() +
                                          " on is missing");
            }
            return Status::Ok();
        }

        RecordAssembler::Record record;
        RecordAssembler::Outcome outcome = assembler.NextRecord(&record);
        while (outcome == RecordAssembler::Outcome::kRecord) {
            Status status;
            timeline_.BeginRecords();
            for (int i = 0; i < kRecordsPerBatch; i++) {
                status = ingester_.IngestRecord(record);
                if (!status.ok()) {
                    break;
                }
                outcome = assembler.NextRecord(&record);
                if (outcome != RecordAssembler::Outcome::kRecord) {
                    break;
                }
            }
            timeline_.CommitRecords();
            if (status.ok() && timeline_.last_record_end() < last_end()) {
                // The timeline met a failure of its own while indexing; this says which.
                status = timeline_.WaitForLsn(last_end(), 0);
            }
            if (!status.ok()) {
                return Fail(status.WithContext("could not ingest WAL of timeline " +
                                               timeline_.id().ToString() + " after " +
                                               last_end().ToString()));
            }
            if (last_end() <= flush_limit_ && timeline_.WantsFlush()) {
                Flush();
            }
        }
        if (outcome == RecordAssembler::Outcome::kEndOfWal) {
            if (limit.has_value()) {
                return Status::Corruption("WAL of timeline " + timeline_.id().ToString() +
                                          " ends at " + assembler.last_end().ToString() +
                                          " instead of " + limit->ToString() + ": " +
                                          assembler.end_reason());
            }
            return Status::Ok();
        }
    }
    return Status::Ok();
}

void WalFollower::Flush() {
    if (!unflushed() && !timeline_.WantsFlush()) {
        return;
    }
    timeline_.BeginRecords();
    ingester_.SaveState();
    timeline_.CommitRecords();
    timeline_.Flush();
    flushed_to_ = last_end();
    flush_begun_ = true;
}

Status WalFollower::WaitForFlush() {
    Status status = timeline_.WaitForFlush();
    flush_begun_ = false;
    if (!status.ok()) {
        flushed_to_ = Lsn();
    }
    std::lock_guard lock(mutex_);
    if (!status.ok() && problem_.what != status.message()) {
        problem_ = {status.message(), NowMicros(), 0};
    } else if (!status.ok()) {
        problem_.healed_at = 0;
    } else if (problem_.going_on()) {
        problem_.healed_at = NowMicros();
    }
    return status;
}

StorageProblem WalFollower::problem() const {
    std::lock_guard lock(mutex_);
    return problem_;
}

Result<WalFollower::Position> WalFollower::FindEndOfWal() const {
    RecordAssembler assembler(last_end(), last_start(), system_identifier_);
    std::vector<std::byte> buffer;
    while (true) {
        ZENITH_ASSIGN_OR_RETURN(bool fed,
                                FeedNext(timeline_.wal(), kReadSize, &buffer, &assembler));
        RecordAssembler::Record record;
        RecordAssembler::Outcome outcome = RecordAssembler::Outcome::kEndOfWal;
        while (fed &&
               (outcome = assembler.NextRecord(&record)) == RecordAssembler::Outcome::kRecord) {
        }
        if (outcome == RecordAssembler::Outcome::kEndOfWal) {
            return Position{assembler.last_end(), assembler.last_start()};
        }
    }
}

}  // namespace zenith

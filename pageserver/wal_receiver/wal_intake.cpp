#include "pageserver/wal_receiver/wal_intake.h"

#include <algorithm>
#include <vector>

#include "common/pgformat/segment_name.h"

namespace zenith {

namespace {
// The last record may be long, and a compute keeps only some WAL behind what was acknowledged
// (wal_keep_size, 64 MB): of a longer one its end is compared.
constexpr uint64_t kMostToVerify = 16ull << 20;
}  // namespace

WalIntake::WalIntake(WalStorage& storage, Lsn end, Lsn last_start, uint64_t system_identifier)
    : storage_(storage),
      system_identifier_(system_identifier),
      durable_end_(end),
      durable_start_(last_start),
      verify_position_(end) {
    Restart();
}

Status WalIntake::Receive(Lsn lsn, std::span<const std::byte> data) {
    if (lsn != received_to()) {
        return Status::Corruption("WAL stream continues at " + lsn.ToString() + " instead of " +
                                  received_to().ToString());
    }
    if (!verified()) {
        ZENITH_RETURN_IF_ERROR(Verify(&lsn, &data));
        if (data.empty()) {
            return Status::Ok();
        }
    }
    ZENITH_RETURN_IF_ERROR(storage_.Append(lsn, data));
    assembler_->Feed(data);
    RecordAssembler::Record record;
    RecordAssembler::Outcome outcome;
    do {
        outcome = assembler_->NextRecord(&record);
    } while (outcome == RecordAssembler::Outcome::kRecord);
    if (outcome == RecordAssembler::Outcome::kEndOfWal) {
        return Status::Corruption("WAL stream has no valid record at " +
                                  assembler_->last_end().ToString() + ": " +
                                  assembler_->end_reason());
    }
    return Status::Ok();
}

Status WalIntake::Verify(Lsn* lsn, std::span<const std::byte>* data) {
    size_t n = std::min<uint64_t>(data->size(), durable_end_ - verify_position_);
    std::vector<std::byte> stored(n);
    ZENITH_RETURN_IF_ERROR(storage_.Read(verify_position_, stored));
    auto [ours, theirs] = std::mismatch(stored.begin(), stored.end(), data->begin());
    if (ours != stored.end()) {
        return Status::Corruption(
            "the compute's WAL at " +
            (verify_position_ + static_cast<uint64_t>(ours - stored.begin())).ToString() +
                " is not what it had acknowledged up to " + durable_end_.ToString() +
                "; it runs on an older copy of its data directory",
            "Start it with \"zenith pg start\", which makes a new data directory.");
    }
    verify_position_ = verify_position_ + n;
    *lsn = *lsn + n;
    *data = data->subspan(n);
    return Status::Ok();
}

Lsn WalIntake::ResumeFrom(Lsn first_lsn) {
    // Nothing of this compute's is stored yet: there is nothing it could have lost.
    verify_position_ = durable_end_;
    if (durable_end_ > first_lsn) {
        verify_position_ = durable_start_;
        if (durable_end_ - durable_start_ > kMostToVerify) {
            verify_position_ = durable_end_ - kMostToVerify;
        }
        // Retention may have removed where the record begins; what is left of it is compared.
        const Lsn last_segment = WalSegmentStart(WalSegmentNumber(durable_end_ - 1));
        std::byte first;
        while (verify_position_ < last_segment &&
               storage_.Read(verify_position_, std::span(&first, 1)).code() ==
                   StatusCode::kNotFound) {
            verify_position_ = WalSegmentStart(WalSegmentNumber(verify_position_) + 1);
        }
    }
    return verify_position_;
}

Status WalIntake::MakeDurable() {
    if (assembler_->last_end() == durable_end_) {
        return Status::Ok();  // nothing that could be acknowledged
    }
    ZENITH_RETURN_IF_ERROR(storage_.Sync());
    durable_end_ = assembler_->last_end();
    verify_position_ = durable_end_;
    durable_start_ = assembler_->last_start();
    return Status::Ok();
}

void WalIntake::Restart() {
    assembler_.emplace(durable_end_, durable_start_, system_identifier_);
    verify_position_ = durable_end_;
}

}  // namespace zenith

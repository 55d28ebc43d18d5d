#include "pageserver/wal_receiver/wal_intake.h"

namespace zenith {

WalIntake::WalIntake(WalStorage& storage, Lsn end, Lsn last_start, uint64_t system_identifier)
    : storage_(storage),
      system_identifier_(system_identifier),
      durable_end_(end),
      durable_start_(last_start) {
    Restart();
}

Status WalIntake::Receive(Lsn lsn, std::span<const std::byte> data) {
    if (lsn != received_to()) {
        return Status::Corruption("WAL stream continues at " + lsn.ToString() + " instead of " +
                                  received_to().ToString());
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

Status WalIntake::MakeDurable() {
    if (assembler_->last_end() == durable_end_) {
        return Status::Ok();  // nothing that could be acknowledged
    }
    ZENITH_RETURN_IF_ERROR(storage_.Sync());
    durable_end_ = assembler_->last_end();
    durable_start_ = assembler_->last_start();
    return Status::Ok();
}

void WalIntake::Restart() {
    assembler_.emplace(durable_end_, durable_start_, system_identifier_);
}

}  // namespace zenith

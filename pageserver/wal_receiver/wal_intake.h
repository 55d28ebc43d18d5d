// WalIntake: what the receiver does with the bytes of a WAL stream: stores them, finds where whole
// records end, and makes them durable.
//
// A position is acknowledged only when it is the end of a whole record and everything before it is
// on disk; so whatever a crash leaves behind can be continued from durable_end().
//
// A compute that was started again on an older copy of its data directory has lost WAL that is
// acknowledged, and writes other WAL in its place. So a stream begins a little before durable_end(),
// at ResumeFrom(), and what comes again must be, byte for byte, what is stored: the last record's
// prev-link and checksum tie everything before it to that. Until then nothing may be acknowledged.
// Threads  one at a time.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>

#include "common/base/lsn.h"
#include "common/base/status.h"
#include "pageserver/layers/wal_storage.h"
#include "pageserver/wal_decoder/record_assembler.h"

namespace zenith {

class WalIntake {
  public:
    // `end` and `last_start`: end and start of the last whole record in `storage`, which is durable
    // up to there and outlives this object.
    WalIntake(WalStorage& storage, Lsn end, Lsn last_start, uint64_t system_identifier);

    // Stores the bytes at `lsn`, which must follow on what was received before. kCorruption when
    // they do not, or when they are no WAL; Restart() before going on after any error.
    Status Receive(Lsn lsn, std::span<const std::byte> data);
    // Makes all whole records received so far durable. After an error nothing received since the
    // last success may be trusted: the kernel may have dropped it.
    Status MakeDurable();
    // Forgets what is not durable; the next byte expected is the one at durable_end().
    void Restart();
    // Where to start a stream of a compute that began at `first_lsn`; after Restart().
    Lsn ResumeFrom(Lsn first_lsn);
    // Whether the compute has shown that it knows everything up to durable_end().
    bool verified() const { return verify_position_ >= durable_end_; }

    // End and start of the last whole record that is durable.
    Lsn durable_end() const { return durable_end_; }
    Lsn durable_start() const { return durable_start_; }
    // First byte not received yet.
    Lsn received_to() const { return verified() ? assembler_->fed_up_to() : verify_position_; }

  private:
    // Compares the bytes at verify_position_ with what is stored; takes them off *data.
    Status Verify(Lsn* lsn, std::span<const std::byte>* data);

    WalStorage& storage_;
    const uint64_t system_identifier_;
    Lsn durable_end_;
    Lsn durable_start_;
    Lsn verify_position_;  // first byte that has not been compared; durable_end_ or more: all have
    std::optional<RecordAssembler> assembler_;  // always set
};

}  // namespace zenith

// WalIntake: what the receiver does with the bytes of a WAL stream: stores them, finds where whole
// records end, and makes them durable.
//
// A position is acknowledged only when it is the end of a whole record and everything before it is
// on disk; so whatever a crash leaves behind can be continued from durable_end().
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

    // End and start of the last whole record that is durable.
    Lsn durable_end() const { return durable_end_; }
    Lsn durable_start() const { return durable_start_; }
    // First byte not received yet.
    Lsn received_to() const { return assembler_->fed_up_to(); }

  private:
    WalStorage& storage_;
    const uint64_t system_identifier_;
    Lsn durable_end_;
    Lsn durable_start_;
    std::optional<RecordAssembler> assembler_;  // always set
};

}  // namespace zenith

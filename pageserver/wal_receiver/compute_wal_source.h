// The walsender of a compute node as a WalSource: physical streaming replication over libpq.
// Source: protocol.sgml "Streaming Replication Protocol", walsender.c of PostgreSQL 15.
#pragma once

#include <map>
#include <memory>
#include <string>

#include "common/base/result.h"
#include "pageserver/wal_receiver/wal_source.h"

namespace zenith {

// Name of the replication slot and of the receiver in synchronous_standby_names; both are written
// by base_backup.
inline constexpr char kReplicationSlotName[] = "zenith";
inline constexpr char kReceiverApplicationName[] = "zenith_pageserver";

// A WalSourceConnector. kUnavailable when the compute cannot be reached, kRefused when somebody
// else answers: another cluster, timeline or term.
Result<std::unique_ptr<WalSource>> ConnectToComputeWal(const WalSourceTarget& target, int wake_fd);

// Which timeline and term the server at the other end of a replication connection has, compared
// with what is expected; kRefused when they differ.
class PqConnection;
Status VerifyCompute(PqConnection& connection, const TimelineId& timeline, uint64_t term,
                     int timeout_ms);

// `connstr` (keywords or URI) with `settings` put over it and user postgres by default.
// kInvalidArgument when it does not parse.
Result<std::string> ConnstrWith(const std::string& connstr,
                                const std::map<std::string, std::string>& settings);

}  // namespace zenith

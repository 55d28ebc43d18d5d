#include "pageserver/timelines/compute_client.h"

#include <libpq-fe.h>

#include <chrono>
#include <map>

#include "common/pqclient/pq_connection.h"
#include "pageserver/wal_receiver/compute_wal_source.h"

namespace zenith {

namespace {
constexpr int kProbeTimeoutMs = 3000;
}  // namespace

ComputeLiveness ProbeCompute(const std::string& connstr, const TimelineId& timeline, uint64_t term,
                             int wake_fd) {
    // A replication connection: it needs no database and no free max_connections slot.
    auto full = ConnstrWith(connstr, {{"replication", "true"},
                                      {"application_name", "zenith_probe"},
                                      {"connect_timeout", "3"}});
    if (!full.ok()) {
        return ComputeLiveness::kGone;
    }
    auto begin = std::chrono::steady_clock::now();
    auto connection = PqConnection::Connect(*full, kProbeTimeoutMs, wake_fd);
    if (!connection.ok()) {
        // Who has not answered at all would not answer the second question either.
        bool answered = std::chrono::steady_clock::now() - begin <
                        std::chrono::milliseconds(kProbeTimeoutMs);
        if (!answered) {
            return ComputeLiveness::kGone;
        }
        // A server that is there but does not let us in (no free walsender, say) may be the compute.
        PGPing ping = PQping(full->c_str());
        return ping == PQPING_REJECT || ping == PQPING_OK ? ComputeLiveness::kBusy
                                                          : ComputeLiveness::kGone;
    }
    return VerifyCompute(*connection, timeline, term, kProbeTimeoutMs).ok()
               ? ComputeLiveness::kLives
               : ComputeLiveness::kGone;
}

Result<Lsn> FlushCompute(const std::string& connstr, int timeout_ms, int wake_fd) {
    auto ask = [&](const std::map<std::string, std::string>& settings,
                   const std::string& query) -> Result<Lsn> {
        ZENITH_ASSIGN_OR_RETURN(std::string full, ConnstrWith(connstr, settings));
        ZENITH_ASSIGN_OR_RETURN(PqConnection connection,
                                PqConnection::Connect(full, timeout_ms, wake_fd));
        ZENITH_ASSIGN_OR_RETURN(PqRows rows, connection.Query(query, timeout_ms));
        ZENITH_ASSIGN_OR_RETURN(std::string text, rows.SingleValue());
        auto lsn = Lsn::Parse(text);
        if (!lsn.has_value() || !lsn->valid()) {
            return Status::Corruption("the compute answered \"" + text + "\" instead of an LSN");
        }
        return *lsn;
    };
    // A replication connection, as above. The extension flushes for one of this name.
    Result<Lsn> flushed = ask({{"replication", "true"}, {"application_name", "zenith_branch"}},
                              "SHOW zenith.flushed_lsn");
    if (flushed.ok()) {
        return flushed;
    }
    // All walsenders may be in use; a session has another limit.
    Result<Lsn> by_session =
        ask({{"dbname", "postgres"},
             {"application_name", "zenith_branch"},
             {"options", "-c synchronous_commit=on -c default_transaction_read_only=off"}},
            "SELECT pg_catalog.pg_logical_emit_message(true, 'zenith', 'branch')");
    return by_session.ok() ? by_session : flushed;
}

}  // namespace zenith

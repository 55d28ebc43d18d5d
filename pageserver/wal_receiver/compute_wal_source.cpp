#include "pageserver/wal_receiver/compute_wal_source.h"

#include <libpq-fe.h>
#include <sys/time.h>

#include "common/base/byte_reader.h"
#include "common/base/byte_writer.h"
#include "common/pqclient/pq_connection.h"

namespace zenith {

namespace {

constexpr int kConnectTimeoutMs = 5000;
constexpr int kCommandTimeoutMs = 10000;
// Seconds between the Unix epoch and PostgreSQL's, 2000-01-01.
constexpr int64_t kPostgresEpochSeconds = 946684800;

int64_t PostgresTimestamp() {
    timeval now;
    gettimeofday(&now, nullptr);
    return (static_cast<int64_t>(now.tv_sec) - kPostgresEpochSeconds) * 1000000 + now.tv_usec;
}

class ComputeWalSource : public WalSource {
  public:
    ComputeWalSource(PqConnection connection, Lsn first_lsn)
        : connection_(std::move(connection)), first_lsn_(first_lsn) {}

    Lsn first_lsn() const override { return first_lsn_; }

    Status Start(Lsn from) override {
        return connection_.StartCopyBoth(std::string("START_REPLICATION SLOT ") +
                                             kReplicationSlotName + " PHYSICAL " +
                                             from.ToString() + " TIMELINE 1",
                                         kCommandTimeoutMs);
    }

    Result<std::optional<WalMessage>> Next(int timeout_ms) override {
        auto payload = connection_.ReceiveCopyData(timeout_ms);
        if (!payload.ok()) {
            // An interruption leaves the connection open; the receiver looks why it was woken.
            if (connection_.connected() && payload.status().message() == "interrupted") {
                return std::optional<WalMessage>();
            }
            return payload.status();
        }
        if (!payload->has_value()) {
            return std::optional<WalMessage>();
        }
        std::string& bytes = **payload;
        ByteReader in(std::as_bytes(std::span(bytes.data(), bytes.size())));
        WalMessage message;
        uint8_t type = in.U8();
        switch (type) {
            case 'w':
                message.kind = WalMessage::Kind::kData;
                message.lsn = Lsn(in.U64Be());
                in.Skip(8 + 8);  // the server's flush position, its clock
                if (in.ok()) {
                    bytes.erase(0, in.offset());
                    message.data = std::move(bytes);
                }
                break;
            case 'k':
                message.kind = WalMessage::Kind::kKeepalive;
                in.Skip(8 + 8);
                message.reply_requested = in.U8() != 0;
                break;
            default:
                return Status::Corruption("unknown replication message type " +
                                          std::to_string(type));
        }
        if (!in.ok()) {
            return Status::Corruption("replication message is too short");
        }
        return std::optional<WalMessage>(std::move(message));
    }

    Status SendStatus(Lsn written, Lsn flushed, Lsn applied, bool ask) override {
        ByteWriter out;
        out.U8('r');
        out.U64Be(written.value);
        out.U64Be(flushed.value);
        out.U64Be(applied.value);
        out.U64Be(static_cast<uint64_t>(PostgresTimestamp()));
        out.U8(ask ? 1 : 0);
        return connection_.SendCopyData(out.bytes(), kCommandTimeoutMs);
    }

  private:
    PqConnection connection_;
    const Lsn first_lsn_;
};

}  // namespace

Result<std::string> ConnstrWith(const std::string& connstr,
                                const std::map<std::string, std::string>& settings) {
    char* error = nullptr;
    PQconninfoOption* options = PQconninfoParse(connstr.c_str(), &error);
    if (options == nullptr) {
        std::string message = error != nullptr ? error : "out of memory";
        PQfreemem(error);
        while (!message.empty() && message.back() == '\n') {
            message.pop_back();
        }
        return Status::InvalidArgument("invalid connection string: " + message);
    }
    std::map<std::string, std::string> all = {{"user", "postgres"}};
    for (PQconninfoOption* option = options; option->keyword != nullptr; option++) {
        if (option->val != nullptr) {
            all[option->keyword] = option->val;
        }
    }
    PQconninfoFree(options);
    for (const auto& [name, value] : settings) {
        all[name] = value;
    }
    std::string result;
    for (const auto& [name, value] : all) {
        if (!result.empty()) {
            result += ' ';
        }
        result += name + "=" + QuoteConnstrValue(value);
    }
    return result;
}

Status VerifyCompute(PqConnection& connection, const TimelineId& timeline, uint64_t term,
                     int timeout_ms) {
    auto timeline_rows = connection.Query("SHOW zenith.timeline", timeout_ms);
    if (!timeline_rows.ok()) {
        return timeline_rows.status().WithContext("the server is not a compute of this timeline");
    }
    ZENITH_ASSIGN_OR_RETURN(std::string found_timeline, timeline_rows->SingleValue());
    if (found_timeline != timeline.ToString()) {
        return Status::Refused("the compute belongs to timeline " + found_timeline +
                               " instead of " + timeline.ToString());
    }
    ZENITH_ASSIGN_OR_RETURN(PqRows term_rows, connection.Query("SHOW zenith.term", timeout_ms));
    ZENITH_ASSIGN_OR_RETURN(std::string found_term, term_rows.SingleValue());
    if (found_term != std::to_string(term)) {
        return Status::Refused("the compute has term " + found_term + " instead of " +
                               std::to_string(term));
    }
    return Status::Ok();
}

Result<std::unique_ptr<WalSource>> ConnectToComputeWal(const WalSourceTarget& target,
                                                       int wake_fd) {
    ZENITH_ASSIGN_OR_RETURN(std::string connstr,
                            ConnstrWith(target.connstr,
                                        {{"replication", "true"},
                                         {"application_name", kReceiverApplicationName},
                                         {"keepalives_idle", "10"},
                                         {"keepalives_interval", "5"},
                                         {"keepalives_count", "3"},
                                         {"tcp_user_timeout", "30000"}}));
    ZENITH_ASSIGN_OR_RETURN(PqConnection connection,
                            PqConnection::Connect(connstr, kConnectTimeoutMs, wake_fd));
    ZENITH_ASSIGN_OR_RETURN(PqRows system, connection.Query("IDENTIFY_SYSTEM", kCommandTimeoutMs));
    if (system.rows.size() != 1 || system.rows[0].size() < 2 || !system.rows[0][0].has_value() ||
        !system.rows[0][1].has_value()) {
        return Status::Corruption("unexpected answer to IDENTIFY_SYSTEM");
    }
    if (*system.rows[0][0] != std::to_string(target.system_identifier)) {
        return Status::Refused("the compute has system identifier " + *system.rows[0][0] +
                               " instead of " + std::to_string(target.system_identifier));
    }
    if (*system.rows[0][1] != "1") {
        return Status::Refused("the compute is on WAL timeline " + *system.rows[0][1] +
                               " instead of 1");
    }
    ZENITH_RETURN_IF_ERROR(
        VerifyCompute(connection, target.timeline, target.term, kCommandTimeoutMs));
    ZENITH_ASSIGN_OR_RETURN(PqRows start_rows,
                            connection.Query("SHOW zenith.start_lsn", kCommandTimeoutMs));
    ZENITH_ASSIGN_OR_RETURN(std::string start_text, start_rows.SingleValue());
    std::optional<Lsn> first_lsn = Lsn::Parse(start_text);
    if (!first_lsn.has_value()) {
        return Status::Corruption("unexpected value of zenith.start_lsn: \"" + start_text + "\"");
    }
    return std::unique_ptr<WalSource>(
        std::make_unique<ComputeWalSource>(std::move(connection), *first_lsn));
}

}  // namespace zenith

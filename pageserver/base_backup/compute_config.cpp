#include "pageserver/base_backup/compute_config.h"

#include <algorithm>

#include "pageserver/wal_receiver/compute_wal_source.h"

namespace zenith {

namespace {
// A slot per replication origin is what StartupReplicationOrigin() of origin.c asks for.
constexpr int kReplicationSlots = 10;
}  // namespace

std::string ZenithConf(const ComputeConfig& config) {
    const bool writes = config.term != 0;
    std::string conf =
        "# Written by the page server into every base backup; changes are lost at the next start.\n"
        "# Put your own settings into zenith_compute.conf.\n\n";
    auto set = [&conf](const char* name, const std::string& value, const char* why) {
        conf += std::string(name) + " = '" + value + "'";
        if (why != nullptr) {
            conf += std::string("  # ") + why;
        }
        conf += "\n";
    };
    set("shared_preload_libraries", "zenith", nullptr);
    set("zenith.timeline", config.timeline.ToString(), nullptr);
    set("zenith.term", std::to_string(config.term), nullptr);
    set("zenith.start_lsn", config.start_lsn.ToString(), nullptr);
    set("zenith.branch_xid", std::to_string(config.branch_xid), nullptr);
    conf += "\n";
    set("wal_level", config.logical_slots > 0 ? "logical" : "replica",
        config.logical_slots > 0 ? "there are logical replication slots" : nullptr);
    set("synchronous_standby_names", writes ? kReceiverApplicationName : "",
        writes ? "a commit returns when its WAL is on the page server's disk" : nullptr);
    set("fsync", "off", "nothing in this directory outlives a crash");
    set("full_page_writes", "off", "for the same reason pages cannot tear");
    set("wal_log_hints", "off", nullptr);
    set("restart_after_crash", "off", "a crash ends in a new base backup");
    set("jit", "off", "inlined code would bypass the storage manager");
    set("max_wal_senders", "10", nullptr);
    set("max_replication_slots",
        std::to_string(std::max({kReplicationSlots, 2 * config.replication_origins,
                                 2 * config.logical_slots})),
        nullptr);
    // WAL that the page server has not received is kept, however much it is (a bulk load faster
    // than the ingest, a long outage of the page server). Beyond a limit the slot would be
    // invalidated, and as nobody could fetch the WAL any more, every commit would wait for ever. A
    // full local disk ends the compute instead, which says why; the next start goes on from what
    // was received.
    set("max_slot_wal_keep_size", "-1", "a limit would leave commits waiting for ever");
    set("wal_keep_size", "64MB", nullptr);
    set("checkpoint_flush_after", "0", "no reason to push disposable files to the disk");
    set("bgwriter_flush_after", "0", nullptr);
    set("backend_flush_after", "0", nullptr);
    if (config.min_prepared_transactions > 0) {
        set("max_prepared_transactions", std::to_string(config.min_prepared_transactions),
            "there are prepared transactions");
    }
    if (!writes) {
        conf += "\n";
        set("default_transaction_read_only", "on", "a past state: what is written here is lost");
        set("autovacuum", "off", nullptr);
        set("max_logical_replication_workers", "0", "the slots of subscriptions are used elsewhere");
    }
    return conf;
}

std::string WithIncludes(const std::string& own) {
    std::string conf = own;
    if (!conf.empty() && conf.back() != '\n') {
        conf += '\n';
    }
    conf += "\ninclude_if_exists = 'zenith.conf'\ninclude_if_exists = 'zenith_compute.conf'\n";
    return conf;
}

}  // namespace zenith

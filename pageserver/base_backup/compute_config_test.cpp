#include "pageserver/base_backup/compute_config.h"

#include <gtest/gtest.h>

namespace zenith {
namespace {

bool HasLine(const std::string& conf, const std::string& start) {
    return ("\n" + conf).find("\n" + start) != std::string::npos;
}

ComputeConfig Sample() {
    ComputeConfig config;
    config.timeline = *TimelineId::Parse("0123456789abcdef0123456789abcdef");
    config.term = 7;
    config.start_lsn = Lsn(0x15FFB08);
    return config;
}

TEST(ComputeConfig, ReadWrite) {
    std::string conf = ZenithConf(Sample());
    EXPECT_TRUE(HasLine(conf, "zenith.timeline = '0123456789abcdef0123456789abcdef'"));
    EXPECT_TRUE(HasLine(conf, "zenith.term = '7'"));
    EXPECT_TRUE(HasLine(conf, "zenith.start_lsn = '0/15FFB08'"));
    EXPECT_TRUE(HasLine(conf, "synchronous_standby_names = 'zenith_pageserver'"));
    EXPECT_TRUE(HasLine(conf, "full_page_writes = 'off'"));
    EXPECT_TRUE(HasLine(conf, "restart_after_crash = 'off'"));
    EXPECT_TRUE(HasLine(conf, "max_slot_wal_keep_size = '-1'"));
    EXPECT_TRUE(HasLine(conf, "zenith.branch_xid = '0'"));
    EXPECT_FALSE(HasLine(conf, "default_transaction_read_only"));
    EXPECT_FALSE(HasLine(conf, "max_logical_replication_workers"));
    EXPECT_FALSE(HasLine(conf, "max_prepared_transactions"));
}

TEST(ComputeConfig, ReadOnly) {
    ComputeConfig config = Sample();
    config.term = 0;
    std::string conf = ZenithConf(config);
    EXPECT_TRUE(HasLine(conf, "zenith.term = '0'"));
    EXPECT_TRUE(HasLine(conf, "synchronous_standby_names = ''"));
    EXPECT_TRUE(HasLine(conf, "default_transaction_read_only = 'on'"));
    EXPECT_TRUE(HasLine(conf, "max_logical_replication_workers = '0'"));
}

TEST(ComputeConfig, LimitsThatTheStateNeeds) {
    ComputeConfig config = Sample();
    config.min_prepared_transactions = 3;
    config.replication_origins = 20;
    std::string conf = ZenithConf(config);
    EXPECT_TRUE(HasLine(conf, "max_prepared_transactions = '3'"));
    EXPECT_TRUE(HasLine(conf, "max_replication_slots = '40'"));
}

TEST(ComputeConfig, IncludesComeLast) {
    EXPECT_EQ(WithIncludes("port = 1"),
              "port = 1\n\ninclude_if_exists = 'zenith.conf'\n"
              "include_if_exists = 'zenith_compute.conf'\n");
}

}  // namespace
}  // namespace zenith

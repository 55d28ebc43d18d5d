#include "pageserver/wal_decoder/multixact_record.h"

#include <cstring>
#include <string>

#include "common/base/byte_reader.h"

namespace zenith {

TransactionId MultiXactCreate::member_xid(size_t i) const {
    TransactionId xid;
    std::memcpy(&xid, members.data() + i * 8, sizeof xid);
    return xid;
}

uint8_t MultiXactCreate::member_status(size_t i) const {
    return static_cast<uint8_t>(members[i * 8 + 4]);
}

Result<MultiXactCreate> ParseMultiXactCreate(const DecodedRecord& record) {
    ByteReader reader(record.main_data);
    MultiXactCreate out;
    out.multi = reader.U32Le();
    out.offset = reader.U32Le();
    out.member_count = reader.U32Le();
    out.members = reader.Bytes(static_cast<uint64_t>(out.member_count) * 8);
    if (!reader.ok()) {
        return Status::Corruption("WAL record at " + record.start.ToString() +
                                  ": multixact record is too short for its members");
    }
    return out;
}

Result<BlockNumber> ParseZeroPage(const DecodedRecord& record) {
    ByteReader reader(record.main_data);
    const BlockNumber page = reader.U32Le();
    if (!reader.ok()) {
        return Status::Corruption("WAL record at " + record.start.ToString() +
                                  ": zero page record is too short");
    }
    return page;
}

}  // namespace zenith

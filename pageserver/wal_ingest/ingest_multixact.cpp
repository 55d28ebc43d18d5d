// Source: multixact_redo(), RecordNewMultiXact(), PerformMembersTruncation(),
// PerformOffsetsTruncation() of multixact.c as of PostgreSQL 15.18.
//
// Since 15.16 or so, creating a multixact also writes the offset of the next one. WAL of an older
// server has no initialized page for it yet when the multixact is the last of its page: that page
// is then initialized here, and the ZERO_OFF_PAGE record that follows is ignored once.
#include "common/base/byte_reader.h"
#include "common/base/log.h"
#include "common/pgformat/record_types.h"
#include "common/pgformat/slru_format.h"
#include "pageserver/wal_decoder/multixact_record.h"
#include "pageserver/wal_ingest/record_ingest.h"

namespace zenith {

namespace {

Status IngestZeroOffsets(IngestContext& context, const DecodedRecord& record) {
    ZENITH_ASSIGN_OR_RETURN(const BlockNumber page, ParseZeroPage(record));
    const bool already = context.pre_initialized_offsets_page == page;
    context.pre_initialized_offsets_page = -1;
    if (already) {
        return Status::Ok();
    }
    context.last_initialized_offsets_page = page;
    context.latest_offsets_page = page;
    return context.slru.Change(record, SlruKind::kMultiOffsets, page, true);
}

Status IngestCreate(IngestContext& context, const DecodedRecord& record) {
    ZENITH_ASSIGN_OR_RETURN(const MultiXactCreate create, ParseMultiXactCreate(record));
    if (context.pre_initialized_offsets_page != -1) {
        spdlog::warn("wal_ingest: expected page {} of pg_multixact/offsets, initialized earlier, "
                     "to be zeroed before the record at {}",
                     context.pre_initialized_offsets_page, record.start.ToString());
        context.pre_initialized_offsets_page = -1;
    }

    const BlockNumber page = MultiOffsetsPage(create.multi);
    const BlockNumber next_page = MultiOffsetsPage(NextMulti(create.multi));
    ZENITH_RETURN_IF_ERROR(context.slru.Change(record, SlruKind::kMultiOffsets, page, false));
    if (next_page != page) {
        bool init = context.last_initialized_offsets_page == page;
        if (context.last_initialized_offsets_page == -1) {
            ZENITH_ASSIGN_OR_RETURN(const bool exists,
                                    context.slru.Exists(SlruKind::kMultiOffsets, next_page));
            init = !exists;
        }
        if (init) {
            context.pre_initialized_offsets_page = next_page;
            context.last_initialized_offsets_page = next_page;
            context.latest_offsets_page = next_page;
        }
        ZENITH_RETURN_IF_ERROR(
            context.slru.Change(record, SlruKind::kMultiOffsets, next_page, init));
    }

    // Members are contiguous and wrap at 2^32, so each page comes up once.
    MultiXactOffset offset = create.offset;
    for (uint32_t left = create.member_count; left > 0;) {
        const BlockNumber members_page = MultiMembersPage(offset);
        uint32_t here = 0;
        while (here < left && MultiMembersPage(offset + here) == members_page) {
            here++;
        }
        ZENITH_RETURN_IF_ERROR(
            context.slru.Change(record, SlruKind::kMultiMembers, members_page, false));
        offset += here;
        left -= here;
    }
    return Status::Ok();
}

Status IngestTruncate(IngestContext& context, const DecodedRecord& record) {
    ByteReader reader(record.main_data);
    reader.Skip(8);  // database, startTruncOff
    const MultiXactId oldest_multi = reader.U32Le();
    const MultiXactOffset first_member = reader.U32Le();
    const MultiXactOffset end_member = reader.U32Le();
    if (!reader.ok()) {
        return BadRecord(record, "multixact truncation record is too short");
    }
    // Only whole segments below the one that holds the first member still needed.
    ZENITH_RETURN_IF_ERROR(context.slru.DropSegments(
        SlruKind::kMultiMembers, SlruSegment(MultiMembersPage(first_member)),
        SlruSegment(MultiMembersPage(end_member)), SlruSegment(MultiMembersPage(0xFFFFFFFF))));
    // One step back, so that a cutoff page that does not exist yet is not taken for wraparound.
    return context.slru.Truncate(SlruKind::kMultiOffsets,
                                 MultiOffsetsPage(PreviousMulti(oldest_multi)),
                                 context.latest_offsets_page);
}

}  // namespace

Status IngestMultixact(IngestContext& context, const DecodedRecord& record) {
    switch (record.rmgr_info()) {
        case kMultixactZeroOffPage:
            return IngestZeroOffsets(context, record);
        case kMultixactZeroMemPage: {
            ZENITH_ASSIGN_OR_RETURN(const BlockNumber page, ParseZeroPage(record));
            return context.slru.Change(record, SlruKind::kMultiMembers, page, true);
        }
        case kMultixactCreateId:
            return IngestCreate(context, record);
        case kMultixactTruncateId:
            return IngestTruncate(context, record);
        default:
            return BadRecord(record, "unknown multixact record");
    }
}

}  // namespace zenith

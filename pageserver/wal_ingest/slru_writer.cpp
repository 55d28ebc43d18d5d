#include "pageserver/wal_ingest/slru_writer.h"

#include <algorithm>
#include <string>

#include "common/base/log.h"
#include "common/pgformat/slru_format.h"
#include "pageserver/layers/wal_storage.h"
#include "pageserver/native_redo/native_redo.h"

namespace zenith {

SlruWriter::Tip* SlruWriter::Insert(const PageKey& key) {
    if (tips_.size() >= kMaxPages && tips_.find(key) == tips_.end()) {
        const auto used_before = [](const auto& a, const auto& b) {
            return a.second.last_use < b.second.last_use;
        };
        tips_.erase(std::min_element(tips_.begin(), tips_.end(), used_before));
    }
    Tip& tip = tips_[key];
    tip.image.fill(std::byte{0});
    tip.references = 0;
    tip.last_use = ++uses_;
    return &tip;
}

Result<SlruWriter::Tip*> SlruWriter::Find(const PageKey& key) {
    auto found = tips_.find(key);
    if (found != tips_.end()) {
        found->second.last_use = ++uses_;
        return &found->second;
    }
    ZENITH_ASSIGN_OR_RETURN(const PageHistory history, timeline_.WriterCollectPage(key));
    PageBuffer image{};
    if (history.base) {
        image = *history.base;
    }
    DecodedRecord record;
    std::string bytes;
    for (const RecordRef& ref : history.records) {
        bytes.clear();
        ZENITH_RETURN_IF_ERROR(ref.wal->ReadRecord(ref.start, ref.end, &bytes));
        ZENITH_RETURN_IF_ERROR(DecodeRecord(
            ref.start, ref.end, std::as_bytes(std::span(bytes.data(), bytes.size())), &record));
        ZENITH_RETURN_IF_ERROR(ApplyNative(record, key, image));
    }
    Tip* tip = Insert(key);
    tip->image = image;
    tip->references = static_cast<uint32_t>(history.records.size());
    return tip;
}

Status SlruWriter::Change(const DecodedRecord& record, SlruKind kind, BlockNumber page,
                          bool init) {
    const PageKey key = PageKey::Slru(kind, page);
    Tip* tip;
    if (init) {
        tip = Insert(key);
    } else {
        ZENITH_ASSIGN_OR_RETURN(tip, Find(key));
    }
    ZENITH_RETURN_IF_ERROR(ApplyNative(record, key, tip->image));
    if (tip->references + 1 >= kReferencesPerImage) {
        timeline_.PutImage(key, tip->image);
        tip->references = 0;
    } else {
        timeline_.PutRecord(key, init ? kRefWillInit | kRefNative : kRefNative);
        tip->references++;
    }
    return Status::Ok();
}

void SlruWriter::PutZeroes(SlruKind kind, BlockNumber page) {
    const PageKey key = PageKey::Slru(kind, page);
    timeline_.PutImage(key, Insert(key)->image);
}

Result<bool> SlruWriter::Exists(SlruKind kind, BlockNumber page) {
    ZENITH_ASSIGN_OR_RETURN(const std::vector<BlockNumber> pages,
                            timeline_.WriterListSlruPages(kind));
    return std::find(pages.begin(), pages.end(), page) != pages.end();
}

void SlruWriter::Drop(SlruKind kind, BlockNumber page) {
    const PageKey key = PageKey::Slru(kind, page);
    tips_.erase(key);
    timeline_.DropPage(key);
}

Status SlruWriter::Truncate(SlruKind kind, BlockNumber cutoff, BlockNumber latest) {
    if (SlruPagePrecedes(kind, latest, cutoff)) {
        spdlog::warn("wal_ingest: could not truncate {}: apparent wraparound",
                     SlruDirectory(kind));
        return Status::Ok();
    }
    ZENITH_ASSIGN_OR_RETURN(const std::vector<BlockNumber> pages,
                            timeline_.WriterListSlruPages(kind));
    for (BlockNumber page : pages) {
        if (SlruMayDeleteSegmentOf(kind, page, cutoff)) {
            Drop(kind, page);
        }
    }
    return Status::Ok();
}

Status SlruWriter::DropSegments(SlruKind kind, uint32_t first, uint32_t end,
                                uint32_t last_segment) {
    ZENITH_ASSIGN_OR_RETURN(const std::vector<BlockNumber> pages,
                            timeline_.WriterListSlruPages(kind));
    for (BlockNumber page : pages) {
        const uint32_t segment = SlruSegment(page);
        const bool inside = first <= end
                                ? segment >= first && segment < end
                                : (segment >= first && segment <= last_segment) || segment < end;
        if (inside) {
            Drop(kind, page);
        }
    }
    return Status::Ok();
}

Status SlruWriter::DropAll(SlruKind kind) {
    ZENITH_ASSIGN_OR_RETURN(const std::vector<BlockNumber> pages,
                            timeline_.WriterListSlruPages(kind));
    for (BlockNumber page : pages) {
        Drop(kind, page);
    }
    return Status::Ok();
}

}  // namespace zenith

#include "pageserver/layers/delta_layer_block.h"

namespace zenith {

bool ReadVarint(std::string_view bytes, size_t limit, size_t* position, uint64_t* value) {
    uint64_t result = 0;
    size_t at = *position;
    for (unsigned shift = 0; at < limit && shift < 64; shift += 7) {
        uint64_t byte = static_cast<uint8_t>(bytes[at++]);
        if (shift == 63 && byte > 1) {
            return false;  // more than 64 bits
        }
        result |= (byte & 0x7F) << shift;
        if ((byte & 0x80) == 0) {
            *position = at;
            *value = result;
            return true;
        }
    }
    return false;
}

uint64_t DeltaBlock::Varint(size_t limit) {
    uint64_t value = 0;
    if (ok_ && !ReadVarint(bytes_, limit, &position_, &value)) {
        ok_ = false;
    }
    return value;
}

bool DeltaBlock::KeyIsValid() const {
    switch (kind_) {
        case DeltaBlockKind::kCuts:
        case DeltaBlockKind::kDatabases:
            return key_.size() == kDatabaseKeySize;
        case DeltaBlockKind::kSizes:
        case DeltaBlockKind::kFloors:
            return key_.size() == kRelationKeySize &&
                   static_cast<uint8_t>(key_[kRelationKeySize - 1]) < kForkCount;
        case DeltaBlockKind::kBlobs:
            return true;
        case DeltaBlockKind::kPages:
            return key_.size() == kPageKeySize &&
                   static_cast<uint8_t>(key_[kRelationKeySize - 1]) < kForkCount;
    }
    return false;
}

bool DeltaBlock::NextGroup() {
    position_ = group_end_;
    if (!ok_ || position_ == bytes_.size()) {
        return false;
    }
    uint64_t shared = Varint(bytes_.size());
    uint64_t rest = Varint(bytes_.size());
    if (!ok_ || shared > key_.size() || rest > bytes_.size() - position_) {
        return Fail();
    }
    key_.resize(shared);
    key_.append(bytes_, position_, rest);
    position_ += rest;
    count_ = Varint(bytes_.size());
    uint64_t length = Varint(bytes_.size());
    // An entry takes two bytes at least.
    if (!ok_ || !KeyIsValid() || length > bytes_.size() - position_ || count_ == 0 ||
        count_ > length / 2) {
        return Fail();
    }
    entries_begin_ = position_;
    group_end_ = position_ + length;
    return true;
}

bool DeltaBlock::ReadEntry(Lsn previous, size_t limit, DeltaEntry* entry) {
    uint64_t distance = Varint(limit);
    entry->number = Varint(limit);
    if (!ok_ || distance > end_ - previous) {
        return Fail();
    }
    entry->lsn = previous + distance;
    switch (kind_) {
        case DeltaBlockKind::kCuts:
            if (entry->number == 1) {
                uint64_t spc = Varint(limit);
                uint64_t db = Varint(limit);
                entry->source = {static_cast<Oid>(spc), static_cast<Oid>(db)};
                return (spc <= UINT32_MAX && db <= UINT32_MAX && ok_) || Fail();
            }
            return entry->number == 0 || Fail();
        case DeltaBlockKind::kDatabases:
            return entry->number <= 1 || Fail();
        case DeltaBlockKind::kSizes:
        case DeltaBlockKind::kFloors:
            return entry->number <= UINT32_MAX || Fail();
        case DeltaBlockKind::kBlobs:
            if (entry->number > 0) {
                if (entry->number - 1 > limit - position_) {
                    return Fail();
                }
                entry->value = bytes_.substr(position_, entry->number - 1);
                position_ += entry->value.size();
            }
            return true;
        case DeltaBlockKind::kPages: {
            const uint64_t what = DeltaPageWhat(entry->number);
            const uint64_t extent = DeltaPageExtent(entry->number);
            if (what == kDeltaPageImage) {
                entry->image.file = extent;
                entry->image.offset = Varint(limit);
                uint64_t length = Varint(limit);
                entry->image.length = static_cast<uint32_t>(length);
                return (ok_ && length >= kMinImageFrame && length <= kMaxImageFrame) || Fail();
            }
            if (what == kDeltaPageTombstone) {
                return extent == 0 || Fail();
            }
            return (what < kDeltaPageTombstone && extent <= entry->lsn.value) || Fail();
        }
    }
    return Fail();
}

void DeltaBlock::Entries(Lsn at, std::vector<DeltaEntry>* entries) {
    entries->clear();
    position_ = entries_begin_;
    Lsn previous = start_;
    for (uint64_t i = 0; i < count_; i++) {
        DeltaEntry entry;
        if (!ReadEntry(previous, group_end_, &entry)) {
            entries->clear();
            return;
        }
        if (entry.lsn > at) {
            return;
        }
        previous = entry.lsn;
        entries->push_back(entry);
    }
    if (position_ != group_end_) {
        ok_ = false;
        entries->clear();
    }
}

}  // namespace zenith

// The writing half of TimelineImpl: turns what a record changes into versions, floors and cuts.
// All of it runs in the writer's thread between BeginRecords() and CommitRecords().
#include <algorithm>
#include <cassert>

#include "common/base/log.h"
#include "pageserver/layers/blob_keys.h"
#include "pageserver/layers/timeline_impl.h"

namespace zenith {

void TimelineImpl::BeginRecords() {
    mutex_.lock();
    writer_.store(std::this_thread::get_id(), std::memory_order_relaxed);
}

void TimelineImpl::StartRecord(Lsn start, Lsn end) {
    assert(writer_.load(std::memory_order_relaxed) == std::this_thread::get_id());
    assert(start.value % 8 == 0 && start < end && end >= record_end_);
    assert(!abandoned_);
    record_start_ = start;
    previous_end_ = record_end_;
    record_end_ = end;
}

void TimelineImpl::AbandonRecord() {
    assert(writer_.load(std::memory_order_relaxed) == std::this_thread::get_id());
    assert(!abandoned_ && previous_end_.valid());
    record_end_ = previous_end_;
    abandoned_ = true;
}

void TimelineImpl::CommitRecords() {
    // Not past a failure: nobody is told that those records are readable.
    if (!failed_.load()) {
        last_record_end_.store(record_end_.value);
    }
    open_->ChargeMemory();
    writer_.store(std::thread::id(), std::memory_order_relaxed);
    mutex_.unlock();
    // A waiter counts itself before it looks at last_record_end_, so one of the two sees the other.
    if (waiters_.load() > 0) {
        std::lock_guard lock(wait_mutex_);
        advanced_.notify_all();
    }
}

void TimelineImpl::NoteWriterFailure(const Status& status) {
    if (!failed_.load()) {
        failure_ = status.WithContext("timeline " + id_.ToString() +
                                      " failed to index the record at " + record_start_.ToString());
        spdlog::error("layers: {}", failure_.message());
        failed_.store(true);
    }
}

std::optional<BlockNumber> TimelineImpl::TipSize(const RelForkKey& rel) {
    InMemoryLayer::TipSize tip = open_->GetTipSize(rel);
    if (tip.known == InMemoryLayer::Known::kUnknown) {
        Result<std::optional<BlockNumber>> found = FindSize(rel, kMaxLsn);
        if (!found.ok()) {
            NoteWriterFailure(found.status());
            return std::nullopt;
        }
        open_->RememberSize(rel, *found);
        return *found;
    }
    return tip.known == InMemoryLayer::Known::kExists ? std::optional(tip.blocks) : std::nullopt;
}

bool TimelineImpl::TipDatabaseExists(const DatabaseKey& db) {
    std::optional<bool> tip = open_->GetTipDatabaseExists(db);
    if (!tip) {
        Result<bool> found = FindDatabase(db, kMaxLsn);
        if (!found.ok()) {
            NoteWriterFailure(found.status());
            return false;
        }
        open_->RememberDatabaseExists(db, *found);
        tip = *found;
    }
    return *tip;
}

void TimelineImpl::EnsureSize(const RelForkKey& rel, BlockNumber blocks) {
    std::optional<BlockNumber> size = TipSize(rel);
    if (size && *size >= blocks) {
        return;
    }
    if (!size) {
        // As PostgreSQL makes the directory for a database's first relation in a tablespace.
        CreateDatabase({rel.node.spc, rel.node.db});
    }
    open_->SetSize(rel, record_end_, blocks);
}

void TimelineImpl::PutRecord(const PageKey& key, uint8_t ref_flags) {
    if (!key.is_slru) {
        EnsureSize(key.relation(), key.block + 1);
    }
    open_->AddRecord(key, record_start_, record_end_, ref_flags);
}

void TimelineImpl::PutImage(const PageKey& key, ConstPageSpan image) {
    if (!key.is_slru) {
        EnsureSize(key.relation(), key.block + 1);
    }
    open_->AddImage(key, record_end_, image);
}

void TimelineImpl::DropPage(const PageKey& key) {
    open_->AddTombstone(key, record_end_);
}

void TimelineImpl::CreateRelation(const RelForkKey& rel) {
    EnsureSize(rel, 0);
}

void TimelineImpl::TruncateRelation(const RelForkKey& rel, BlockNumber blocks) {
    std::optional<BlockNumber> size = TipSize(rel);
    if (size && *size > blocks) {
        open_->AddFloor(rel, record_end_, blocks);
        open_->SetSize(rel, record_end_, blocks);
    }
}

void TimelineImpl::DropFork(const RelForkKey& rel) {
    if (TipSize(rel)) {
        open_->AddFloor(rel, record_end_, 0);
        open_->SetSize(rel, record_end_, std::nullopt);
    }
}

void TimelineImpl::DropRelation(const RelFileNode& node) {
    for (int fork = 0; fork < kForkCount; fork++) {
        DropFork({node, static_cast<Fork>(fork)});
    }
}

void TimelineImpl::CreateDatabase(const DatabaseKey& db) {
    if (db.db != 0 && !TipDatabaseExists(db)) {
        open_->SetDatabaseExists(db, record_end_, true);
    }
}

void TimelineImpl::CloneDatabase(const DatabaseKey& db, const DatabaseKey& source) {
    if (db.db == 0 || source.db == 0 || db == source) {
        spdlog::warn("layers: record at {} copies database {}/{} to {}/{}: ignored",
                     record_start_.ToString(), source.spc, source.db, db.spc, db.db);
        return;
    }
    open_->CutDatabase(db, DatabaseCut{record_end_, source});
    open_->SetDatabaseExists(db, record_end_, true);
}

void TimelineImpl::DropDatabase(const DatabaseKey& db) {
    if (db.db == 0) {
        spdlog::warn("layers: record at {} drops the shared relations of tablespace {}: ignored",
                     record_start_.ToString(), db.spc);
        return;
    }
    open_->CutDatabase(db, DatabaseCut{record_end_, std::nullopt});
    open_->SetDatabaseExists(db, record_end_, false);
}

void TimelineImpl::PutBlob(const std::string& key, std::string value) {
    open_->SetBlob(key, record_end_, std::move(value));
}

void TimelineImpl::DropBlob(const std::string& key) {
    open_->SetBlob(key, record_end_, std::nullopt);
    if (!key.starts_with(kTablespaceBlobPrefix)) {
        return;
    }
    // The tablespace's (empty) database directories go with it.
    std::set<DatabaseKey> databases;
    Status status = CollectDatabases(generation_, kMaxLsn, &databases);
    if (!status.ok()) {
        NoteWriterFailure(status);
        return;
    }
    for (const DatabaseKey& db : databases) {
        if (TablespaceBlobKey(db.spc) == key) {
            DropDatabase(db);
        }
    }
}

}  // namespace zenith

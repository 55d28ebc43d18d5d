#include "pageserver/reconstruct/redo_check.h"

#include <algorithm>
#include <random>
#include <string>
#include <utility>

#include "common/base/log.h"
#include "pageserver/native_redo/native_redo.h"
#include "pageserver/reconstruct/history_records.h"
#include "pageserver/wal_decoder/decoded_record.h"

namespace zenith {

namespace {

// Records given to the applier at once, as in PageReconstructor.
constexpr size_t kPieceBytes = 8 * 1024 * 1024;
// Records in a message: the newest ones.
constexpr size_t kNamedRecords = 16;

std::string Plural(size_t n, const char* what) {
    return std::to_string(n) + " " + what + (n == 1 ? "" : "s");
}

// "3 records on an image as of 0/15FF0A0"
std::string Origin(size_t records, Lsn base_lsn, bool base_is_image) {
    return Plural(records, "record") +
           (base_is_image       ? " on an image as of " + base_lsn.ToString()
            : base_lsn.valid() ? " on the initial snapshot"
                                : " on nothing");
}

// The newest records, for pg_waldump.
std::string NameRecords(const std::vector<RecordRef>& records) {
    std::string text;
    std::string bytes;
    DecodedRecord decoded;
    const size_t left_out = records.size() - std::min(records.size(), kNamedRecords);
    for (size_t i = left_out; i < records.size(); i++) {
        const RecordRef& ref = records[i];
        text += text.empty() ? "" : ", ";
        text += ref.start.ToString();
        if (ReadRecord(ref, &bytes).ok() &&
            DecodeRecord(ref.start, ref.end, AsBytes(bytes), &decoded).ok()) {
            text += fmt::format(" (resource manager {}, info {:02X})",
                                static_cast<unsigned>(decoded.rmgr), decoded.info);
        }
    }
    return text.empty() ? "none" : text;
}

}  // namespace

bool RedoCheck::Chosen() const {
    if (percent_ >= 100) {
        return true;
    }
    thread_local std::minstd_rand random{std::random_device{}()};
    return std::uniform_real_distribution<double>(0, 100)(random) < percent_;
}

Result<std::optional<PageBuffer>> RedoCheck::Rebuild(const PageKey& key,
                                                     PageHistory* history) const {
    std::optional<PageBuffer> page = std::exchange(history->base, std::nullopt);
    const std::vector<RecordRef>& records = history->records;
    std::string bytes;
    DecodedRecord decoded;
    for (size_t next = 0; next < records.size();) {
        const RecordRef& ref = records[next];
        const PageKey name = KeyInRecord(key, ref);
        if ((ref.flags & kRefNative) != 0) {
            if (!page.has_value()) {
                page.emplace();
                page->fill(std::byte{0});
            }
            ZENITH_RETURN_IF_ERROR(ReadRecord(ref, &bytes));
            ZENITH_RETURN_IF_ERROR(DecodeRecord(ref.start, ref.end, AsBytes(bytes), &decoded));
            ZENITH_RETURN_IF_ERROR(ApplyNative(decoded, name, *page));
            next++;
            continue;
        }
        RedoRequest request;
        request.key = name;
        request.base = page;
        for (size_t piece = 0; piece < kPieceBytes && next < records.size() &&
                               (records[next].flags & kRefNative) == 0 &&
                               KeyInRecord(key, records[next]) == name;
             next++) {
            RedoRecord record{records[next].start, records[next].end, ""};
            ZENITH_RETURN_IF_ERROR(ReadRecord(records[next], &record.bytes));
            piece += record.bytes.size();
            request.records.push_back(std::move(record));
        }
        std::vector<Result<PageBuffer>> results = applier_.Apply(std::span(&request, 1));
        if (results.empty()) {
            return Status::Internal("the applier gave no answer");
        }
        ZENITH_RETURN_IF_ERROR(results.front().status());
        page = *results.front();
    }
    return page;
}

Status RedoCheck::Check(Timeline& timeline, const PageKey& key, Lsn at, const PageBuffer& page,
                        const First& first) {
    const std::string where = "timeline " + timeline.id().ToString() + ": " + key.ToString() +
                              " at " + at.ToString();
    auto impossible = [&](const Status& status) {
        impossible_++;
        spdlog::warn("redo check: {}: could not rebuild it a second way: {}", where,
                     status.message());
        return Status::Ok();
    };
    Result<PageHistory> history = timeline.CollectPageFromWal(key, at, kMaxRecords);
    if (!history.ok() && history.status().code() != StatusCode::kCorruption) {
        // As a rule kNotFound: garbage collection came between the two reads.
        return impossible(history.status());
    }
    if (history.ok() && history->records.empty() && first.records == 0) {
        return Status::Ok();  // the same image, and nothing that was done to it
    }
    Result<std::optional<PageBuffer>> again =
        history.ok() ? Rebuild(key, &*history)
                     : Result<std::optional<PageBuffer>>(history.status());
    if (again.ok() && again->has_value() && **again == page) {
        (history->base_is_image ? from_image_ : from_wal_)++;
        return Status::Ok();
    }
    if (!again.ok() && (again.status().code() == StatusCode::kUnavailable ||
                        again.status().code() == StatusCode::kIoError)) {
        return impossible(again.status());
    }

    differences_++;
    std::string what;
    if (!again.ok()) {
        what = "could not be rebuilt: " + again.status().message();
    } else if (!again->has_value()) {
        what = "does not exist";
    } else {
        const PageBuffer& second = **again;
        const auto at_byte = std::mismatch(page.begin(), page.end(), second.begin());
        size_t different = 0;
        for (size_t i = 0; i < kPageSize; i++) {
            different += page[i] != second[i] ? 1 : 0;
        }
        what = fmt::format("has LSN {} and differs in {}, first at offset {}: {:02x} there, {:02x} "
                           "in the reader's",
                           PageLsn(second).ToString(), Plural(different, "byte"),
                           at_byte.first - page.begin(), static_cast<unsigned>(*at_byte.second),
                           static_cast<unsigned>(*at_byte.first));
    }
    spdlog::error(
        "redo check: {}: the reader's page has LSN {}, rebuilt from {}, {} of them in a version at "
        "hand; from {} the page {}; newest records: {}",
        where, PageLsn(page).ToString(), Origin(first.records, first.base_lsn, first.base_is_image),
        first.known,
        history.ok() ? Origin(history->records.size(), history->base_lsn, history->base_is_image)
                     : "WAL",
        what, history.ok() ? NameRecords(history->records) : "unknown");
    return Status::Corruption("redo check: " + where + " is not what its WAL gives: the latter " +
                                  what,
                              "The page server's log has the details.");
}

RedoCheckStats RedoCheck::stats() const {
    return {percent_, from_wal_.load(), from_image_.load(), impossible_.load(),
            differences_.load()};
}

}  // namespace zenith

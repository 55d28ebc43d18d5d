#include "pageserver/wal_receiver/wal_receiver.h"

#include <poll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <utility>

#include "common/base/log.h"
#include "common/base/time.h"
#include "pageserver/layers/wal_storage.h"

namespace zenith {

namespace {

using Clock = std::chrono::steady_clock;

constexpr int kFirstPauseMs = 50;
constexpr int kLongestPauseMs = 1000;
// How often the peer hears from us when there is nothing new (wal_receiver_status_interval).
constexpr int kStatusIntervalMs = 1000;
// The same while ingest is behind what was acknowledged as flushed: synchronous_commit =
// remote_apply waits for it.
constexpr int kApplyIntervalMs = 20;
// A peer that stays silent for so long is asked, then given up.
constexpr std::chrono::seconds kAskAfter(10);
constexpr std::chrono::seconds kGiveUpAfter(60);
// One fsync covers at most so much of what is waiting in the socket.
constexpr uint64_t kBytesPerSync = 4ull << 20;
// How much acknowledged WAL may be unknown to the next start of the page server, in time.
constexpr int kSaveIntervalMs = 1000;
// Receiving pauses when ingest is further behind than this, until it is half of it.
constexpr uint64_t kIngestLagLimit = 64ull << 20;
// A timeline whose compute has nothing to write goes to a file after so long, so that whoever loads
// it next has nothing to ingest.
constexpr std::chrono::seconds kIdleFlushAfter(30);

std::span<const std::byte> AsBytes(const std::string& s) {
    return std::as_bytes(std::span(s.data(), s.size()));
}

}  // namespace

Result<std::unique_ptr<WalReceiver>> WalReceiver::Create(WalSourceTarget target, Timeline& timeline,
                                                         WalFollower& follower,
                                                         WalFollower::Position from,
                                                         WalSourceConnector connector) {
    UniqueFd wake_fd(eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
    if (!wake_fd.valid()) {
        return ErrnoStatus("create", "eventfd", errno);
    }
    return std::unique_ptr<WalReceiver>(new WalReceiver(
        std::move(target), timeline, follower, from, std::move(connector), std::move(wake_fd)));
}

WalReceiver::WalReceiver(WalSourceTarget target, Timeline& timeline, WalFollower& follower,
                         WalFollower::Position from, WalSourceConnector connector,
                         UniqueFd wake_fd)
    : target_(std::move(target)),
      timeline_(timeline),
      follower_(follower),
      connector_(std::move(connector)),
      wake_fd_(std::move(wake_fd)),
      intake_(timeline.wal(), from.end, from.start, target_.system_identifier),
      durable_end_(from.end) {}

WalReceiver::~WalReceiver() { Stop(); }

void WalReceiver::Start() {
    receive_thread_ = std::thread([this] { ReceiveLoop(); });
    ingest_thread_ = std::thread([this] { IngestLoop(); });
}

void WalReceiver::Stop() {
    stop_.store(true);
    uint64_t one = 1;
    while (write(wake_fd_.get(), &one, sizeof one) < 0 && errno == EINTR) {
    }
    {
        // So that a waiter is either before its check of stop_ or already waiting.
        std::lock_guard lock(mutex_);
    }
    changed_.notify_all();
    std::lock_guard join(join_mutex_);
    if (receive_thread_.joinable()) {
        receive_thread_.join();
    }
    if (ingest_thread_.joinable()) {
        ingest_thread_.join();
    }
}

bool WalReceiver::WaitForStreaming(bool wanted, int timeout_ms) {
    std::unique_lock lock(mutex_);
    return changed_.wait_for(lock, std::chrono::milliseconds(timeout_ms),
                             [&] { return streaming_.load() == wanted; });
}

Lsn WalReceiver::durable_end() const {
    std::lock_guard lock(mutex_);
    return durable_end_;
}

void WalReceiver::SetStreaming(bool streaming) {
    {
        std::lock_guard lock(mutex_);
        streaming_.store(streaming);
    }
    changed_.notify_all();
}

void WalReceiver::PublishDurable() {
    {
        std::lock_guard lock(mutex_);
        if (durable_end_ == intake_.durable_end()) {
            return;
        }
        durable_end_ = intake_.durable_end();
    }
    changed_.notify_all();
}

void WalReceiver::Pause(int milliseconds) {
    pollfd wake = {wake_fd_.get(), POLLIN, 0};
    Clock::time_point end = Clock::now() + std::chrono::milliseconds(milliseconds);
    while (!stop_.load()) {
        auto left =
            std::chrono::duration_cast<std::chrono::milliseconds>(end - Clock::now()).count();
        if (left <= 0 || (poll(&wake, 1, static_cast<int>(left)) < 0 && errno != EINTR)) {
            return;
        }
    }
}

void WalReceiver::ReportBroken(const Status& status) {
    // A compute that was stopped refuses connections once a second: say so once.
    if (status.message() == last_problem_) {
        return;
    }
    last_problem_ = status.message();
    bool serious = status.code() != StatusCode::kUnavailable;
    spdlog::log(serious ? spdlog::level::err : spdlog::level::info,
                "wal_receiver: timeline {} term {}: {}; will try again at {}",
                target_.timeline.ToString(), target_.term, status.message(),
                intake_.durable_end().ToString());
}

void WalReceiver::ReceiveLoop() {
    int pause = kFirstPauseMs;
    while (!stop_.load()) {
        Clock::time_point begin = Clock::now();
        Status status = follower_.error();
        if (!status.ok()) {
            // For good, until somebody has done something about it.
            ReportBroken(status);
            Pause(kLongestPauseMs);
            continue;
        }
        status = StreamOnce();
        intake_.Restart();
        if (stop_.load()) {
            break;
        }
        ReportBroken(status);
        // A stream that breaks at once again and again must not be retried at full speed.
        if (Clock::now() - begin > std::chrono::milliseconds(2 * kLongestPauseMs)) {
            pause = kFirstPauseMs;
        }
        Pause(pause);
        pause = std::min(2 * pause, kLongestPauseMs);
    }
}

Status WalReceiver::StreamOnce() {
    auto source = connector_(target_, wake_fd_.get());
    if (!source.ok()) {
        return source.status().WithContext("could not reach the compute");
    }
    const Lsn from = intake_.ResumeFrom((*source)->first_lsn());
    ZENITH_RETURN_IF_ERROR((*source)->Start(from).WithContext("could not start streaming"));
    spdlog::info("wal_receiver: timeline {} term {}: streaming from {}",
                 target_.timeline.ToString(), target_.term, intake_.durable_end().ToString());
    last_problem_.clear();
    SetStreaming(true);
    Status status = Stream(**source);
    SetStreaming(false);
    return status;
}

Status WalReceiver::Stored(Status status) {
    if (status.code() == StatusCode::kIoError) {
        std::lock_guard lock(mutex_);
        if (problem_.what != status.message() || !problem_.going_on()) {
            problem_ = {status.message(), NowMicros(), 0};
        }
    }
    return status;
}

void WalReceiver::NoteHealed() {
    std::lock_guard lock(mutex_);
    if (problem_.going_on()) {
        problem_.healed_at = NowMicros();
        spdlog::info("wal_receiver: timeline {}: WAL is stored again after {} s",
                     target_.timeline.ToString(),
                     (problem_.healed_at - problem_.since) / kMicrosPerSecond);
    }
}

StorageProblem WalReceiver::problem() const {
    std::lock_guard lock(mutex_);
    return problem_;
}

Status WalReceiver::Flush() {
    std::unique_lock lock(mutex_);
    const uint64_t mine = ++flushes_wanted_;
    changed_.notify_all();
    changed_.wait(lock, [&] { return stop_.load() || flushes_done_ >= mine; });
    return flushes_done_ >= mine ? flush_status_
                                 : Status::Unavailable("the WAL receiver is being stopped");
}

void WalReceiver::FlushWhenWanted(Clock::time_point last_ingest, bool idle) {
    uint64_t wanted;
    uint64_t done;
    {
        std::lock_guard lock(mutex_);
        wanted = flushes_wanted_;
        done = flushes_done_;
    }
    if (wanted > done) {
        Status status = follower_.error();
        if (status.ok()) {
            follower_.Flush();
            status = follower_.WaitForFlush();
        }
        {
            std::lock_guard lock(mutex_);
            flushes_done_ = wanted;
            flush_status_ = status;
        }
        changed_.notify_all();
        return;
    }
    if (!follower_.error().ok()) {
        return;
    }
    if (idle && follower_.flush_begun()) {
        // A failure is for problem(); the timeline says when to try again.
        (void)follower_.WaitForFlush();
    }
    if (timeline_.WantsFlush() ||
        (follower_.unflushed() && Clock::now() - last_ingest > kIdleFlushAfter)) {
        follower_.Flush();
    }
}

Status WalReceiver::Reply(WalSource& source, bool ask) {
    if (!intake_.verified()) {
        return source.SendStatus(Lsn(), Lsn(), Lsn(), ask);  // says only that we are here
    }
    Lsn flushed = intake_.durable_end();
    Lsn applied = std::min(timeline_.last_record_end(), flushed);
    applied_sent_ = applied;
    return source.SendStatus(intake_.received_to(), flushed, applied, ask);
}

Status WalReceiver::Stream(WalSource& source) {
    ZENITH_RETURN_IF_ERROR(Reply(source, false));
    Clock::time_point heard = Clock::now();
    Clock::time_point asked = heard;
    while (!stop_.load()) {
        int timeout = applied_sent_ < intake_.durable_end() && follower_.error().ok()
                          ? kApplyIntervalMs
                          : kStatusIntervalMs;
        // Everything the peer has sent by now, then one fsync for all of it.
        uint64_t received = 0;
        bool reply_requested = false;
        bool any = false;
        const bool was_verified = intake_.verified();
        while (received < kBytesPerSync && !reply_requested) {
            auto message = source.Next(any ? 0 : timeout);
            if (!message.ok()) {
                // What came before the end of the stream still counts.
                ZENITH_RETURN_IF_ERROR(Stored(intake_.MakeDurable()));
                PublishDurable();
                return message.status();
            }
            if (!message->has_value()) {
                break;
            }
            any = true;
            if ((*message)->kind == WalMessage::Kind::kData) {
                ZENITH_RETURN_IF_ERROR(
                    Stored(intake_.Receive((*message)->lsn, AsBytes((*message)->data))));
                received += (*message)->data.size();
            } else {
                reply_requested = (*message)->reply_requested;
            }
        }
        Lsn durable_before = intake_.durable_end();
        ZENITH_RETURN_IF_ERROR(Stored(intake_.MakeDurable()));
        if (durable_before != intake_.durable_end()) {
            NoteHealed();
        }
        // What is behind a record that cannot be ingested is never acknowledged.
        ZENITH_RETURN_IF_ERROR(follower_.error());
        PublishDurable();

        Clock::time_point now = Clock::now();
        bool ask = false;
        if (any) {
            heard = now;
        } else if (now - heard > kGiveUpAfter) {
            return Status::Unavailable("the compute has been silent for " +
                                       std::to_string(kGiveUpAfter.count()) + " s");
        } else if (now - heard > kAskAfter && now - asked > kAskAfter) {
            asked = now;
            ask = true;
        }
        if (!any || reply_requested || durable_before != intake_.durable_end() ||
            was_verified != intake_.verified()) {
            ZENITH_RETURN_IF_ERROR(Reply(source, ask));
        }
        ZENITH_RETURN_IF_ERROR(WaitForIngest(source));
    }
    return Status::Ok();
}

Status WalReceiver::WaitForIngest(WalSource& source) {
    auto lag = [this] {
        Lsn applied = timeline_.last_record_end();
        return durable_end_ > applied ? durable_end_ - applied : 0;
    };
    uint64_t limit = kIngestLagLimit;
    while (!stop_.load() && follower_.error().ok()) {
        {
            std::unique_lock lock(mutex_);
            if (lag() <= limit) {
                return Status::Ok();
            }
            limit = kIngestLagLimit / 2;
            if (changed_.wait_for(lock, std::chrono::milliseconds(kStatusIntervalMs),
                                  [&] { return stop_.load() || lag() <= limit; })) {
                return Status::Ok();
            }
        }
        ZENITH_RETURN_IF_ERROR(Reply(source, false));
    }
    return Status::Ok();
}

void WalReceiver::IngestLoop() {
    std::unique_lock lock(mutex_);
    Lsn saved;
    Clock::time_point saved_at;
    Clock::time_point last_ingest = Clock::now();
    bool failed = false;
    // What a later start of the page server must find again; now and then, not for every commit.
    auto save = [&](Lsn lsn) {
        if (lsn == saved) {
            return;
        }
        Status status = timeline_.wal().SaveDurablePosition(lsn);
        saved_at = Clock::now();
        if (!status.ok()) {
            spdlog::warn("wal_receiver: {}", status.message());
            return;
        }
        saved = lsn;
    };
    while (true) {
        changed_.wait_for(lock, std::chrono::milliseconds(kSaveIntervalMs), [&] {
            return stop_.load() || (!failed && follower_.last_end() < durable_end_) ||
                   flushes_wanted_ > flushes_done_;
        });
        Lsn target = durable_end_;
        lock.unlock();
        if (stop_.load()) {
            save(target);
            return;
        }
        if (Clock::now() - saved_at >= std::chrono::milliseconds(kSaveIntervalMs)) {
            save(target);
        }
        const bool anything_new = follower_.last_end() < target;
        Status status = follower_.IngestUpTo(target);
        changed_.notify_all();
        if (anything_new) {
            last_ingest = Clock::now();
        }
        FlushWhenWanted(last_ingest, !anything_new);
        if (!follower_.error().ok()) {
            if (!failed) {
                spdlog::critical("wal_receiver: {}; this timeline stays at {} and nothing more of "
                                 "its compute's WAL is acknowledged",
                                 status.message(), follower_.last_end().ToString());
            }
            failed = true;
        } else if (!status.ok()) {
            spdlog::error("wal_receiver: could not read back WAL: {}; will try again",
                          status.message());
            Pause(kLongestPauseMs);
        }
        lock.lock();
    }
}

}  // namespace zenith

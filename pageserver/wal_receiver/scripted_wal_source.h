// ScriptedCompute: a compute's walsender for tests. Hands out a prepared WAL stream from wherever
// it is asked to start, in pieces of a chosen size, breaks the connection where told to, and
// remembers every status update.
//
// Threads  all methods from any thread.
#pragma once

#include <poll.h>

#include <algorithm>
#include <chrono>
#include <condition_variable>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "pageserver/wal_receiver/wal_source.h"

namespace zenith {

class ScriptedCompute {
  public:
    struct StatusUpdate {
        Lsn written;
        Lsn flushed;
        Lsn applied;
        Lsn sent;  // how far the stream had got then
        bool ask = false;
    };

    // Requires: the compute outlives the receivers that use it.
    WalSourceConnector Connector() {
        return [this](const WalSourceTarget&,
                      int wake_fd) -> Result<std::unique_ptr<WalSource>> {
            std::lock_guard lock(mutex_);
            connects_++;
            changed_.notify_all();
            if (!connect_error_.ok()) {
                return connect_error_;
            }
            return std::unique_ptr<WalSource>(std::make_unique<Source>(*this, wake_fd));
        };
    }

    // What the compute has flushed: `stream` from `start` on.
    void SetStream(Lsn start, std::string stream) {
        std::lock_guard lock(mutex_);
        start_ = start;
        stream_ = std::move(stream);
        changed_.notify_all();
    }
    // Where the compute says it began; default: the start of its stream.
    void SetFirstLsn(Lsn lsn) {
        std::lock_guard lock(mutex_);
        first_lsn_ = lsn;
    }
    void SetPieceSize(size_t size) {
        std::lock_guard lock(mutex_);
        piece_size_ = size;
    }
    // The connection breaks once when the stream gets to `lsn`.
    void BreakOnceAt(Lsn lsn) {
        std::lock_guard lock(mutex_);
        break_at_ = lsn;
    }
    void SetConnectError(Status status) {
        std::lock_guard lock(mutex_);
        connect_error_ = std::move(status);
    }
    void AskForReply() {
        std::lock_guard lock(mutex_);
        ask_ = true;
        changed_.notify_all();
    }

    template <typename Condition>
    bool WaitFor(Condition condition, int timeout_ms = 20000) {
        std::unique_lock lock(mutex_);
        return changed_.wait_for(lock, std::chrono::milliseconds(timeout_ms),
                                 [&] { return condition(*this); });
    }
    // To be called in a WaitFor condition, or when no receiver runs.
    int connects() const { return connects_; }
    const std::vector<Lsn>& starts() const { return starts_; }
    const std::vector<StatusUpdate>& updates() const { return updates_; }
    // Keepalives that asked for a reply and got it before anything else was read.
    int answered() const { return answered_; }
    bool Flushed(Lsn lsn) const { return !updates_.empty() && updates_.back().flushed >= lsn; }

  private:
    class Source : public WalSource {
      public:
        Source(ScriptedCompute& compute, int wake_fd) : compute_(compute), wake_fd_(wake_fd) {}

        Lsn first_lsn() const override {
            std::lock_guard lock(compute_.mutex_);
            return compute_.first_lsn_.value_or(compute_.start_);
        }

        Status Start(Lsn from) override {
            std::lock_guard lock(compute_.mutex_);
            compute_.starts_.push_back(from);
            position_ = from;
            return Status::Ok();
        }

        Result<std::optional<WalMessage>> Next(int timeout_ms) override {
            auto deadline =
                std::chrono::steady_clock::now() + std::chrono::milliseconds(timeout_ms);
            std::unique_lock lock(compute_.mutex_);
            compute_.unanswered_ = false;
            while (true) {
                Lsn end = compute_.start_ + compute_.stream_.size();
                if (compute_.ask_) {
                    compute_.ask_ = false;
                    compute_.unanswered_ = true;
                    WalMessage message;
                    message.reply_requested = true;
                    return std::optional<WalMessage>(message);
                }
                if (compute_.break_at_ && position_ >= *compute_.break_at_) {
                    compute_.break_at_.reset();
                    return Status::Unavailable("connection lost");
                }
                if (position_ < end) {
                    size_t n = std::min<uint64_t>(compute_.piece_size_, end - position_);
                    if (compute_.break_at_) {
                        n = std::min<uint64_t>(n, *compute_.break_at_ - position_);
                    }
                    WalMessage message;
                    message.kind = WalMessage::Kind::kData;
                    message.lsn = position_;
                    message.data = compute_.stream_.substr(position_ - compute_.start_, n);
                    position_ = position_ + n;
                    return std::optional<WalMessage>(std::move(message));
                }
                pollfd wake = {wake_fd_, POLLIN, 0};
                if (poll(&wake, 1, 0) > 0 || std::chrono::steady_clock::now() >= deadline) {
                    return std::optional<WalMessage>();
                }
                compute_.changed_.wait_for(lock, std::chrono::milliseconds(5));
            }
        }

        Status SendStatus(Lsn written, Lsn flushed, Lsn applied, bool ask) override {
            std::lock_guard lock(compute_.mutex_);
            compute_.answered_ += compute_.unanswered_ ? 1 : 0;
            compute_.unanswered_ = false;
            compute_.updates_.push_back({written, flushed, applied, position_, ask});
            compute_.changed_.notify_all();
            return Status::Ok();
        }

      private:
        ScriptedCompute& compute_;
        const int wake_fd_;
        Lsn position_;
    };

    std::mutex mutex_;
    std::condition_variable changed_;
    Lsn start_;
    std::optional<Lsn> first_lsn_;
    std::string stream_;
    size_t piece_size_ = 1000;
    std::optional<Lsn> break_at_;
    Status connect_error_;
    bool ask_ = false;
    bool unanswered_ = false;
    int answered_ = 0;
    int connects_ = 0;
    std::vector<Lsn> starts_;
    std::vector<StatusUpdate> updates_;
};

}  // namespace zenith

#include "pageserver/redo/redo_process_pool.h"

#include <algorithm>

#include "common/base/log.h"
#include "pageserver/redo/redo_data_directory.h"
#include "pageserver/redo/redo_protocol.h"

namespace zenith {

namespace {

// Requests a process may owe us: enough to hide the round trip, few enough to repeat one by one.
constexpr size_t kMaxInFlight = 64;
// Deaths of the process over one request, alone in flight, before the request is given up.
constexpr int kMaxDeaths = 2;

Status CheckRequest(const RedoRequest& request) {
    if (request.key.is_slru || request.records.empty()) {
        return Status::InvalidArgument("redo of " + request.key.ToString() +
                                       " is not for a redo process");
    }
    if (RedoRequestSize(request) > kMaxRedoRequest) {
        return Status::InvalidArgument("redo of " + request.key.ToString() + " takes " +
                                       std::to_string(RedoRequestSize(request)) +
                                       " bytes, more than a redo process accepts");
    }
    return Status::Ok();
}

}  // namespace

RedoProcessPool::RedoProcessPool(RedoPoolOptions options)
    : options_(std::move(options)), slots_(std::max(1, options_.processes)) {}

RedoProcessPool::~RedoProcessPool() { Shutdown(); }

void RedoProcessPool::Shutdown() {
    std::unique_lock<std::mutex> lock(mutex_);
    shut_down_ = true;
    slot_free_.notify_all();
    slot_free_.wait(lock, [this] {
        return std::none_of(slots_.begin(), slots_.end(), [](const Slot& s) { return s.busy; });
    });
    for (Slot& slot : slots_) {
        slot.process.reset();
        slot.pid = -1;
    }
}

RedoProcessPool::Stats RedoProcessPool::stats() const {
    std::lock_guard<std::mutex> lock(mutex_);
    return stats_;
}

std::vector<pid_t> RedoProcessPool::ProcessIds() const {
    std::lock_guard<std::mutex> lock(mutex_);
    std::vector<pid_t> ids;
    for (const Slot& slot : slots_) {
        if (slot.pid > 0) {
            ids.push_back(slot.pid);
        }
    }
    return ids;
}

RedoProcessPool::Slot* RedoProcessPool::Acquire() {
    std::unique_lock<std::mutex> lock(mutex_);
    for (;;) {
        if (shut_down_) {
            return nullptr;
        }
        Slot* free_slot = nullptr;
        for (Slot& slot : slots_) {
            // a process that is there already comes before a new one
            if (!slot.busy && (free_slot == nullptr || (slot.pid > 0 && free_slot->pid < 0))) {
                free_slot = &slot;
            }
        }
        if (free_slot != nullptr) {
            free_slot->busy = true;
            return free_slot;
        }
        slot_free_.wait(lock);
    }
}

void RedoProcessPool::Release(Slot* slot) {
    std::lock_guard<std::mutex> lock(mutex_);
    slot->busy = false;
    slot_free_.notify_all();  // callers and Shutdown() wait for different things
}

Status RedoProcessPool::EnsureProcess(Slot* slot) {
    if (slot->process != nullptr && slot->process->HasEnded()) {
        spdlog::warn("redo: process {} ended by itself", slot->process->pid());
        EndProcess(slot);
    }
    if (slot->process != nullptr) {
        return Status::Ok();
    }
    {
        std::lock_guard<std::mutex> lock(mutex_);
        if (!cleaned_) {
            RemoveLeftoverRedoDirectories(options_.process.work_dir);
            cleaned_ = true;
        }
    }
    Result<std::unique_ptr<PostgresRedoProcess>> process =
        PostgresRedoProcess::Start(options_.process);
    if (!process.ok()) {
        return Status(StatusCode::kUnavailable, process.status().message(),
                      process.status().hint());
    }
    slot->process = *std::move(process);
    std::lock_guard<std::mutex> lock(mutex_);
    slot->pid = slot->process->pid();
    ++stats_.process_starts;
    return Status::Ok();
}

void RedoProcessPool::EndProcess(Slot* slot) {
    {
        std::lock_guard<std::mutex> lock(mutex_);
        slot->pid = -1;
    }
    slot->process.reset();
}

void RedoProcessPool::ApplyIn(Slot* slot, std::span<const RedoRequest* const> requests,
                              std::vector<Result<PageBuffer>>* results) {
    // A process that dies takes with it the answers it had not sent yet. The requests that were in
    // flight are then repeated one at a time: whoever is in flight at the next death is to blame.
    size_t one_at_a_time = 0;
    int deaths = 0;
    while (results->size() < requests.size()) {
        Status started = EnsureProcess(slot);
        if (!started.ok()) {
            results->resize(requests.size(), started);
            return;
        }

        size_t before = results->size();
        std::span<const RedoRequest* const> todo = requests.subspan(before);
        bool careful = one_at_a_time > 0;
        if (careful) {
            todo = todo.subspan(0, std::min(one_at_a_time, todo.size()));
        }
        std::string why;
        PostgresRedoProcess::RunEnd end =
            slot->process->Run(todo, careful ? 1 : kMaxInFlight, results, &why);
        size_t progress = results->size() - before;
        one_at_a_time -= std::min(one_at_a_time, progress);
        if (progress > 0) {
            deaths = 0;
        }
        if (end == PostgresRedoProcess::RunEnd::kDone) {
            continue;
        }
        pid_t pid = slot->process->pid();
        EndProcess(slot);
        if (end == PostgresRedoProcess::RunEnd::kFailedAnswer) {
            continue;
        }

        const RedoRequest& suspect = *requests[results->size()];
        spdlog::warn("redo: process {} failed with {} as the first page it owed: {}", pid,
                     suspect.key.ToString(), why);
        if (!careful) {
            one_at_a_time = kMaxInFlight;
            continue;
        }
        ++deaths;
        if (end == PostgresRedoProcess::RunEnd::kTimedOut || deaths >= kMaxDeaths) {
            results->push_back(Status::Internal(
                "redo process failed while it applied WAL to " + suspect.key.ToString() +
                ", from " + suspect.records.front().start.ToString() + " to " +
                suspect.records.back().end.ToString() + ": " + why));
            one_at_a_time -= 1;
            deaths = 0;
        }
    }
}

std::vector<Result<PageBuffer>> RedoProcessPool::Apply(std::span<const RedoRequest> requests) {
    std::vector<Status> checks;
    std::vector<const RedoRequest*> valid;
    for (const RedoRequest& request : requests) {
        checks.push_back(CheckRequest(request));
        if (checks.back().ok()) {
            valid.push_back(&request);
        }
    }

    std::vector<Result<PageBuffer>> applied;
    applied.reserve(valid.size());
    if (!valid.empty()) {
        Slot* slot = Acquire();
        if (slot == nullptr) {
            applied.resize(valid.size(), Status::Unavailable("redo processes are shut down"));
        } else {
            ApplyIn(slot, valid, &applied);
            Release(slot);
        }
    }

    std::vector<Result<PageBuffer>> results;
    results.reserve(requests.size());
    size_t next = 0;
    Stats done;
    for (size_t i = 0; i < requests.size(); ++i) {
        results.push_back(checks[i].ok() ? std::move(applied[next++])
                                         : Result<PageBuffer>(checks[i]));
        if (results.back().ok()) {
            ++done.pages;
            done.records += requests[i].records.size();
        } else {
            ++done.failures;
        }
    }
    std::lock_guard<std::mutex> lock(mutex_);
    stats_.pages += done.pages;
    stats_.records += done.records;
    stats_.failures += done.failures;
    return results;
}

}  // namespace zenith
